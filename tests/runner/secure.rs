//! Downloads and uploads over TLS: whom the container trusts, and whom it does not.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use serde_json::{Value, json};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::actions::{actions, ended, quiet, serial, told};
use super::transfers::{archive, request};
use super::{Bench, Left};

/// An authority that no machine knows.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn make() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Two of one name would be told apart by their keys alone.
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let name = format!("authority {}", MADE.fetch_add(1, Ordering::Relaxed));
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A server's side of TLS, for these names; without one for the address of this machine.
    fn server(&self, name: Option<&str>) -> Arc<ServerConfig> {
        let names: Vec<String> = name.map(str::to_owned).into_iter().collect();
        let mut params = CertificateParams::new(names).unwrap();
        if name.is_none() {
            let here = SanType::IpAddress(IpAddr::from([127, 0, 0, 1]));
            params.subject_alt_names.push(here);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            );
        Arc::new(config.unwrap())
    }

    fn write(&self, path: &Path) {
        std::fs::write(path, self.0.pem()).unwrap();
    }
}

/// A server that gives everybody the archive, and counts who comes and who asks.
struct Server {
    port: u16,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

impl Server {
    fn start(tls: Arc<ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            port: listener.local_addr().unwrap().port(),
            connections: Arc::default(),
            requests: Arc::default(),
        };
        let (connections, requests) = (server.connections.clone(), server.requests.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                connections.fetch_add(1, Ordering::SeqCst);
                let connection = ServerConnection::new(tls.clone()).unwrap();
                let mut stream = StreamOwned::new(connection, stream);
                // Whoever does not trust us says so here.
                if stream.conn.complete_io(&mut stream.sock).is_err() {
                    continue;
                }
                requests.fetch_add(1, Ordering::SeqCst);
                drop(answer(&mut stream));
            }
        });
        server
    }

    fn url(&self) -> String {
        format!("https://127.0.0.1:{}/app.tgz", self.port)
    }

    fn counts(&self) -> (usize, usize) {
        let count = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        (count(&self.connections), count(&self.requests))
    }
}

fn answer(stream: &mut (impl Read + Write)) -> std::io::Result<()> {
    let (head, _) = request(stream);
    let body = match head.starts_with("get ") {
        true => archive(),
        false => Vec::new(),
    };
    write!(
        stream,
        "HTTP/1.1 200 X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )?;
    stream.write_all(&body)?;
    stream.flush()
}

/// Runs the tree in a container whose authorities are where these variables say.
fn run(bench: &Bench, variables: &[(&str, &Path)]) -> Left {
    let mut process = bench.process();
    process.env_remove("SSL_CERT_FILE").env_remove("SSL_CERT_DIR");
    process.envs(variables.iter().copied());
    let child = process
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    bench.finish(child)
}

fn download(url: &str, folder: &str) -> Value {
    json!({"download": {"from": url, "to": format!("{folder}/new"), "artifact": "app"}})
}

#[test]
fn who_vouches_for_a_server_is_said_by_the_containers_authorities() {
    let authority = Authority::make();
    let server = Server::start(authority.server(None));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bundle.pem");
    // One of several, as in a bundle.
    let bundle = [Authority::make().0.pem(), authority.0.pem()].concat();
    std::fs::write(&file, bundle).unwrap();
    // Named as OpenSSL's `c_rehash` does.
    let hashed = folder.path().join("hashed");
    std::fs::create_dir(&hashed).unwrap();
    authority.write(&hashed.join("0a1b2c3d.0"));
    for variables in [
        ("SSL_CERT_FILE", file.as_path()),
        ("SSL_CERT_DIR", hashed.as_path()),
    ] {
        let bench = actions(|folder| {
            serial(vec![
                download(&server.url(), folder),
                quiet(&format!("test \"$(cat {folder}/new/app/file)\" = hello")),
            ])
        });
        let left = run(&bench, &[variables]);
        let size = archive().len();
        let stdout = format!("Downloading app...\nDownloaded app ({size}B)\n");
        assert_eq!(
            told(&left),
            (ended(0), None, stdout, String::new()),
            "{variables:?}"
        );
    }
    let bench = actions(|folder| {
        serial(vec![
            quiet(&format!("printf abc > {folder}/file")),
            json!({"upload": {"from": format!("{folder}/file"), "to": server.url(), "artifact": "droplet"}}),
        ])
    });
    let left = run(&bench, &[("SSL_CERT_FILE", &file)]);
    let stdout = "Uploading droplet...\nUploaded droplet (3B)\n";
    assert_eq!(told(&left), (ended(0), None, stdout.into(), String::new()));
    assert_eq!(server.counts(), (3, 3));
}

#[test]
fn a_server_that_the_container_does_not_trust_is_asked_for_nothing() {
    let (trusted, stranger) = (Authority::make(), Authority::make());
    let folder = tempfile::tempdir().unwrap();
    let ours = folder.path().join("ours.pem");
    trusted.write(&ours);
    let (missing, garbage) = (folder.path().join("none.pem"), folder.path().join("garbage.pem"));
    std::fs::write(
        &garbage,
        "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    let unknown = "invalid peer certificate: UnknownIssuer";
    for (tls, file, why) in [
        (stranger.server(None), &ours, unknown),
        // Without authorities of its own a container trusts Mozilla's, which vouch for nobody here.
        (trusted.server(None), &missing, unknown),
        (trusted.server(None), &garbage, unknown),
        (
            trusted.server(Some("elsewhere.example.com")),
            &ours,
            "invalid peer certificate: certificate not valid for name \"127.0.0.1\"; certificate is only valid for DnsName(\"elsewhere.example.com\")",
        ),
    ] {
        let server = Server::start(tls);
        let bench = actions(|folder| download(&server.url(), folder));
        let left = run(&bench, &[("SSL_CERT_FILE", file)]);
        let (outcome, failure, stdout, stderr) = told(&left);
        let log = format!("Downloading app failed: could not speak TLS with 127.0.0.1: {why}\n");
        assert_eq!(
            (outcome, failure, stdout.as_str(), stderr),
            (
                ended(1),
                Some("Downloading app failed"),
                "Downloading app...\n",
                log
            ),
            "{}",
            file.display()
        );
        assert_eq!(server.counts(), (3, 0), "three attempts, and nothing asked for");
    }
}

#[test]
fn an_upload_to_a_server_that_is_not_trusted_sends_nothing_and_fails_in_diegos_words() {
    let server = Server::start(Authority::make().server(None));
    let folder = tempfile::tempdir().unwrap();
    let ours = folder.path().join("ours.pem");
    Authority::make().write(&ours);
    let bench = actions(|folder| {
        serial(vec![
            quiet(&format!("printf secret > {folder}/file")),
            json!({"upload": {"from": format!("{folder}/file"), "to": server.url()}}),
        ])
    });
    let left = run(&bench, &[("SSL_CERT_FILE", &ours)]);
    let why = "Upload failed: could not speak TLS with 127.0.0.1: invalid peer certificate: UnknownIssuer";
    let (outcome, failure, _, stderr) = told(&left);
    assert_eq!((outcome, failure), (ended(1), Some(why)));
    assert_eq!(stderr, format!("Failed to upload payload: {why}\n"));
    assert_eq!(server.counts(), (3, 0));
}

#[test]
fn a_server_that_speaks_no_tls_is_said_so() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/app.tgz", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"));
            drop(stream.read(&mut [0; 1024]));
        }
    });
    let bench = actions(|folder| download(&url, folder));
    let left = run(&bench, &[]);
    let (_, failure, _, stderr) = told(&left);
    assert_eq!(failure, Some("Downloading app failed"));
    let why = "Downloading app failed: could not speak TLS with 127.0.0.1: received corrupt message of type InvalidContentType\n";
    assert_eq!(stderr, why);
}
