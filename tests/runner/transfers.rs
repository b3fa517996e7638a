//! Downloads and uploads, with a server, archives and users.

use std::io::{Read, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex};

use nix::unistd::geteuid;
use serde_json::{Value, json};

use super::Left;
use super::actions::{actions, ended, quiet, serial, told};

/// Head and body of a request.
type Seen = (String, Vec<u8>);

/// A server that answers every path with what is laid out for it, and keeps what it was sent.
struct Server {
    address: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    /// `answer`: status line's code, further headers, body.
    fn start(answer: impl Fn(&str) -> (u16, String, Vec<u8>) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (head, body) = request(&mut &stream);
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                kept.lock().unwrap().push((head, body));
                let (status, headers, body) = answer(&path);
                let head = format!(
                    "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n",
                    body.len()
                );
                let _ = (&stream)
                    .write_all(head.as_bytes())
                    .and_then(|()| (&stream).write_all(&body));
            }
        });
        Self { address, seen }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

pub fn request(stream: &mut impl Read) -> Seen {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).unwrap();
    (head, body)
}

pub fn archive() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(5);
    header.set_mode(0o640);
    builder
        .append_data(&mut header, "app/file", &b"hello"[..])
        .unwrap();
    let tar = builder.into_inner().unwrap();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&tar).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn an_archive_is_downloaded_checked_and_unpacked_as_its_user() {
    let bytes = archive();
    let digest = super::sha256(&bytes).to_uppercase();
    let size = bytes.len();
    let server = Server::start(move |path| match path {
        "/moved" => (302, "location: /app.tgz\r\n".into(), vec![]),
        _ => (200, String::new(), bytes.clone()),
    });
    let user = if geteuid().is_root() { "nobody" } else { "" };
    let bench = actions(|folder| {
        let mut download = json!({"from": server.url("/moved"), "to": format!("{folder}/new/place"), "artifact": "app",
            "checksum": {"algorithm": "sha256", "value": digest}, "logSource": "CELL"});
        if !user.is_empty() {
            download["user"] = json!(user);
        }
        json!({"download": download})
    });
    // Others must get to the folder.
    std::fs::set_permissions(
        bench.dir.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let left = bench.run();
    let stdout = format!("[CELL] Downloading app...\n[CELL] Downloaded app ({size}B)\n");
    assert_eq!(told(&left), (ended(0), None, stdout, String::new()));
    let file = bench.path("new/place/app/file");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "hello");
    if geteuid().is_root() {
        let owner = |path: &std::path::Path| std::fs::metadata(path).unwrap().uid();
        assert_eq!((owner(&file), owner(&bench.path("new"))), (65_534, 65_534));
    }
}

#[test]
fn downloads_that_fail_say_so_in_diegos_words_and_the_log_says_why() {
    let server = Server::start(|path| match path {
        "/noise" => (200, String::new(), b"noise".to_vec()),
        "/busy" => (503, String::new(), vec![]),
        _ => (404, String::new(), vec![]),
    });
    let run = |from: String, more: Value| {
        actions(|folder| {
            let mut download = json!({"from": from, "to": folder});
            download
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            json!({"download": download})
        })
        .run()
    };
    let failed = |left: &Left| {
        let (_, failure, _, stderr) = told(left);
        (failure.unwrap_or_default().to_owned(), stderr)
    };
    let left = run(server.url("/none"), json!({"artifact": "app"}));
    let why = "Downloading app failed: the server answered with status 404\n";
    assert_eq!(failed(&left), ("Downloading app failed".into(), why.into()));
    let left = run(server.url("/busy"), json!({}));
    let why = "Downloading failed: the server answered with status 503\n";
    assert_eq!(failed(&left), ("Downloading failed".into(), why.into()));
    assert_eq!(server.seen().len(), 4, "one, and then three attempts");
    let checksum = json!({"checksum": {"algorithm": "md5", "value": "0".repeat(32)}});
    let left = run(server.url("/noise"), checksum);
    assert_eq!(failed(&left).0, "Downloading failed");
    assert!(
        failed(&left).1.contains("its checksum is "),
        "{}",
        failed(&left).1
    );
    let left = run(server.url("/noise"), json!({"artifact": "app"}));
    let why = "Copying app into the container failed: it is neither tar nor gzipped tar nor zip";
    assert_eq!(failed(&left), (why.into(), format!("{why}\n")));
    let left = run("ftp://h/x".into(), json!({}));
    assert_eq!(failed(&left).0, "Downloading failed");
}

#[test]
fn a_file_is_uploaded_with_its_digests() {
    let server = Server::start(|_| (201, String::new(), vec![]));
    let bench = actions(|folder| {
        serial(vec![
            quiet(&format!("printf abc > {folder}/file")),
            json!({"upload": {"from": format!("{folder}/file"), "to": server.url("/put?a=b"), "artifact": "droplet"}}),
        ])
    });
    let left = bench.run();
    let stdout = "Uploading droplet...\nUploaded droplet (3B)\n";
    assert_eq!(told(&left), (ended(0), None, stdout.into(), String::new()));
    let [(head, body)] = &server.seen()[..] else {
        panic!("one request")
    };
    assert_eq!(body, b"abc");
    for line in [
        "post /put?a=b http/1.1",
        "content-type: application/octet-stream",
        "content-length: 3",
        // MD5 and SHA-256 of "abc"; the head is in lower case here.
        "content-md5: kafqmdzst7dwlj99kof/cg==",
        "content-digest: sha-256=:ungwv48bz+pbqudexa4ii7adyaowf3qctbd/yfiafa0=:",
    ] {
        assert!(head.lines().any(|other| other == line), "{line} is not in {head}");
    }
}

#[test]
fn uploads_that_fail_say_so() {
    let server = Server::start(|_| (404, String::new(), vec![]));
    let upload = |from: &str, artifact: bool| {
        let mut upload = json!({"from": from, "to": server.url("/put")});
        if artifact {
            upload["artifact"] = json!("droplet");
        }
        actions(|_| json!({"upload": upload})).run()
    };
    let left = upload("/etc/passwd", true);
    assert_eq!(
        left.record.failure.as_deref(),
        Some("Upload failed: Status code 404")
    );
    let stderr = String::from_utf8(left.stderr).unwrap();
    assert_eq!(
        stderr,
        "Failed to upload payload for droplet: Upload failed: Status code 404\n"
    );
    assert_eq!(server.seen().len(), 3, "three attempts");
    let left = upload("/errand/none", false);
    assert_eq!(
        left.record.failure.as_deref(),
        Some("Failed to establish stream from container")
    );
    let left = upload("/etc", true);
    assert_eq!(
        left.record.failure.as_deref(),
        Some("Failed to establish stream from container for droplet")
    );
}

#[test]
fn a_download_that_hangs_is_stopped_with_its_timeout() {
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/x", deaf.local_addr().unwrap());
    let left = actions(
        |folder| json!({"timeout": {"after": "200ms", "action": {"download": {"from": url, "to": folder}}}}),
    )
    .run();
    assert_eq!(left.record.failure.as_deref(), Some("exceeded 200ms timeout"));
}
