//! Clients that are known by their certificates, and receivers of callbacks that know the plane by its own.

use std::{
    fs, io,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use serde_json::Value;
use tempfile::TempDir;
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, ServerConfig, ServerConnection, StreamOwned, pki_types::ServerName,
};

use super::{Bbs, NOT_FOUND, error, script};
use crate::support::{
    Dev, PATIENCE,
    authority::{Authority, Issued},
    http::Http,
    protobuf::{Fields, message, text},
    wait_for,
};

/// Status and body of an answer.
type Heard = (String, Vec<u8>);

/// A call of a client.
fn call(tls: Arc<ClientConfig>, address: SocketAddr, path: &str, body: &[u8]) -> io::Result<Heard> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let host = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(tls, host).unwrap();
    let mut stream = StreamOwned::new(connection, stream);
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n");
    let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = String::from_utf8_lossy(&answer[9..12]).into_owned();
    Ok((status, answer[end + 4..].to_vec()))
}

/// Why there is no connection. A server refuses a client's certificate after the client's own part is done, so it is
/// listened to before anything is said.
fn refused(tls: Arc<ClientConfig>, address: SocketAddr) -> String {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let host = ServerName::try_from("localhost").unwrap();
    let mut stream = StreamOwned::new(ClientConnection::new(tls, host).unwrap(), stream);
    stream.read(&mut [0]).unwrap_err().to_string()
}

const ROLES: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: tasks, namespace: default}
rules:
- {apiGroups: [errand.dev], resources: [tasks], verbs: [create, get]}
- {apiGroups: [''], resources: [secrets], verbs: [create]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: tasks, namespace: default}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: tasks}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: cloud_controller}]
";

/// A flag with a file of this content.
fn flag(folder: &TempDir, flag: &str, content: &str) -> String {
    let path = folder.path().join(flag);
    fs::write(&path, content).unwrap();
    format!("--{flag}={}", path.display())
}

/// A plane whose door shows a certificate of `own` to clients of `clients`.
fn open(own: &Authority, clients: &Authority) -> (Dev, SocketAddr, TempDir) {
    let (folder, shown) = (tempfile::tempdir().unwrap(), own.issue("bbs"));
    let dev = Dev::start(&[
        "--diego-addr=127.0.0.1:0",
        &flag(&folder, "diego-ca", &clients.pem()),
        &flag(&folder, "diego-cert", &shown.pem()),
        &flag(&folder, "diego-key", &shown.key_pem()),
    ]);
    let url = dev.says("diego").strip_prefix("https://").unwrap();
    let address = url.parse().unwrap();
    (dev, address, folder)
}

#[test]
fn the_name_in_a_certificate_is_the_user_whose_rights_count() {
    let authority = Authority::make();
    let (dev, address, _folder) = open(&authority, &authority);
    dev.apply(ROLES);
    let call = |name: &str, path: &str, body: &[u8]| {
        let shown = authority.issue(name);
        call(authority.client(Some(&shown)), address, path, body).unwrap()
    };
    let pong = ("200".to_owned(), vec![8, 1]);
    assert_eq!(call("cloud_controller", "/v1/ping", b""), pong);

    let run = [text(1, "true"), text(6, "root")].concat();
    let definition = [text(1, "docker:///busybox"), message(3, &message(3, &run))].concat();
    let desire = |name: &str, guid: &str, more: &[u8]| {
        let definition = [&definition, more].concat();
        let desired = [message(1, &definition), text(2, guid), text(3, "d")].concat();
        let (status, body) = call(name, "/v1/tasks/desire.r2", &desired);
        assert_eq!(status, "200");
        error(&Fields::parse(&body))
    };
    let (kind, words) = desire("stranger", "g", b"").unwrap_err();
    assert_eq!(
        (kind, &*words),
        (0, r#"user "stranger" cannot create tasks in namespace "default""#)
    );
    assert_eq!(desire("cloud_controller", "g", b""), Ok(()));
    // image_username and image_password, which a plane in memory seals with a key of its own.
    let password = [text(23, "ann"), text(24, "hush")].concat();
    assert_eq!(desire("cloud_controller", "private", &password), Ok(()));
    // What the name of a certificate must not say.
    let (status, _) = call("system:admin", "/v1/ping", b"");
    assert_eq!(status, "401");
}

#[test]
fn neither_end_talks_to_the_other_without_the_certificate_that_it_wants() {
    let (own, clients) = (Authority::make(), Authority::make());
    let (dev, address, _folder) = open(&own, &clients);
    let (known, stranger) = (clients.issue("cc"), own.issue("cc"));
    let pong = ("200".to_owned(), vec![8, 1]);
    let ping = || call(own.client(Some(&known)), address, "/v1/ping", b"");
    assert_eq!(ping().unwrap(), pong);
    for (tls, words) in [
        // A certificate of another authority, and none.
        (own.client(Some(&stranger)), "received fatal alert: UnknownCA"),
        (own.client(None), "received fatal alert: CertificateRequired"),
        // A client that trusts another authority than the server's.
        (
            clients.client(Some(&known)),
            "invalid peer certificate: UnknownIssuer",
        ),
    ] {
        assert_eq!(refused(tls, address), words);
    }
    let mut plain = TcpStream::connect(address).unwrap();
    plain.set_read_timeout(Some(PATIENCE)).unwrap();
    plain
        .write_all(b"POST /v1/ping HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    // It may also be cut off.
    drop(plain.read_to_end(&mut answer));
    assert!(!answer.starts_with(b"HTTP/"), "{answer:?}");
    drop(dev);
    assert_eq!(ping().unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
}

/// A receiver of callbacks over TLS that answers 200 to whoever its authority knows, and notes the bodies.
fn receive(tls: Arc<ServerConfig>) -> (String, Arc<Mutex<Vec<Value>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/done", listener.local_addr().unwrap());
    let heard = Arc::new(Mutex::new(Vec::new()));
    let noted = heard.clone();
    // It ends with the process of the tests.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if let Ok(body) = take(tls.clone(), stream) {
                noted.lock().unwrap().push(body);
            }
        }
    });
    (url, heard)
}

fn take(tls: Arc<ServerConfig>, stream: TcpStream) -> io::Result<Value> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let connection = ServerConnection::new(tls).unwrap();
    let mut reader = BufReader::new(StreamOwned::new(connection, stream));
    let (mut line, mut length) = (String::new(), 0);
    while line != "\r\n" {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(bytes) = line.to_lowercase().strip_prefix("content-length:") {
            length = bytes.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let stream = reader.get_mut();
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
    stream.conn.send_close_notify();
    stream.flush()?;
    Ok(serde_json::from_slice(&body)?)
}

/// Desires a task that fails, with a callback to this address.
fn desire(dev: &Dev, guid: &str, url: &str) -> Bbs {
    let bbs = Bbs(Http::to(dev.says("diego")));
    let definition = [script("exit 1", ""), text(12, url)].concat();
    bbs.desire(guid, "d", &definition).unwrap();
    bbs
}

#[test]
fn a_callback_goes_over_https_to_a_receiver_that_wants_to_know_the_plane() {
    let (receivers, planes) = (Authority::make(), Authority::make());
    let (url, heard) = receive(receivers.issue("cloud_controller").server(Some(&planes)));
    let start = |shown: &Issued| {
        let folder = tempfile::tempdir().unwrap();
        let dev = Dev::start(&[
            "--diego-addr=127.0.0.1:0",
            "--diego-stack=cflinuxfs4=busybox",
            &flag(&folder, "callback-ca", &receivers.pem()),
            &flag(&folder, "callback-cert", &shown.pem()),
            &flag(&folder, "callback-key", &shown.key_pem()),
        ]);
        (dev, folder)
    };
    let (dev, _folder) = start(&planes.issue("errand"));
    let bbs = desire(&dev, "told", &url);
    wait_for(
        "the end of the task",
        || dev.log(),
        || {
            let answer = bbs.call("/v1/tasks/get_by_task_guid.r3", &text(1, "told"));
            let (kind, _) = error(&answer).err()?;
            assert_eq!(kind, NOT_FOUND);
            Some(())
        },
    );
    let heard = heard.lock().unwrap().clone();
    let [body] = &heard[..] else { panic!("{heard:?}") };
    assert_eq!(
        (&body["task_guid"], &body["failure_reason"]),
        (&"told".into(), &"TSK: Exited with status 1".into())
    );
}

#[test]
fn a_receiver_that_does_not_know_the_plane_hears_nothing_and_the_task_waits_for_it() {
    let (receivers, planes) = (Authority::make(), Authority::make());
    let (url, heard) = receive(receivers.issue("cloud_controller").server(Some(&planes)));
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(&[
        "--diego-addr=127.0.0.1:0",
        "--diego-stack=cflinuxfs4=busybox",
        &flag(&folder, "callback-ca", &receivers.pem()),
    ]);
    let bbs = desire(&dev, "waits", &url);
    bbs.until_state("waits", super::RESOLVING);
    let task = wait_for(
        "the note of the try",
        || dev.log(),
        || {
            let shown = dev.kubectl(&["get", "tasks", "-o", "json"]).ok();
            let shown: Value = serde_json::from_str(&shown).unwrap();
            let callback = &shown["items"][0]["status"]["callback"];
            callback["attempts"].is_number().then(|| callback.clone())
        },
    );
    let said = task["message"].as_str().unwrap();
    assert!(
        said.starts_with("the connection broke before an answer: "),
        "{said}"
    );
    // Any other failure than no answer in time is not tried again at once.
    assert_eq!(
        (&task["state"], &task["attempts"]),
        (&"Delivering".into(), &1.into())
    );
    assert!(heard.lock().unwrap().is_empty());
}
