//! A registry of images that asks for a name and a password.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{PATIENCE, docker::DockerEngine};

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// Serves one image, on loopback, where engines do without TLS.
pub struct Registry {
    pub addr: SocketAddr,
}

impl Registry {
    /// Serves what the engine knows as `image`, to who shows `user:password`.
    pub fn serve(docker: &DockerEngine, image: &str, login: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("image.tar");
        docker.docker(&["save", "--output", archive.to_str().unwrap(), image]);
        let mut files = HashMap::new();
        for entry in tar::Archive::new(std::fs::File::open(archive).unwrap())
            .entries()
            .unwrap()
        {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            files.insert(entry.path().unwrap().to_str().unwrap().to_owned(), content);
        }
        let parts: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        let mut blobs = HashMap::new();
        let mut blob = |name: &Value, kind: &str| {
            let content = files[name.as_str().unwrap()].clone();
            let (digest, size) = (digest(&content), content.len());
            blobs.insert(digest.clone(), content);
            json!({"mediaType": format!("application/vnd.docker.{kind}"), "digest": digest, "size": size})
        };
        let config = blob(&parts[0]["Config"], "container.image.v1+json");
        let layers: Vec<Value> = parts[0]["Layers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|layer| blob(layer, "image.rootfs.diff.tar.gzip"))
            .collect();
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        let wanted = format!("authorization: Basic {}", STANDARD.encode(login));
        let served = Arc::new((manifest.to_string().into_bytes(), blobs, wanted));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let served = served.clone();
                std::thread::spawn(move || answer(stream, &served.0, &served.1, &served.2));
            }
        });
        Self { addr }
    }
}

fn digest(content: &[u8]) -> String {
    let digest = Sha256::digest(content);
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

/// One request on each connection. What is no HTTP, such as the TLS that engines try first, is hung up on.
fn answer(stream: TcpStream, manifest: &[u8], blobs: &HashMap<String, Vec<u8>>, login: &str) -> Option<()> {
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut first = [0];
    stream.peek(&mut first).ok()?;
    if !first[0].is_ascii_uppercase() {
        return None;
    }
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    let mut words = head.first()?.split(' ');
    let (method, path) = (words.next()?, words.next()?);
    let known = head.iter().any(|line| {
        let (name, value) = line.split_once(": ").unwrap_or((line, ""));
        format!("{}: {value}", name.to_lowercase()) == login
    });
    let (status, more, body): (&str, String, &[u8]) = match path.rsplit('/').next()? {
        _ if !known => (
            "401 Unauthorized",
            "WWW-Authenticate: Basic realm=\"t\"\r\n".to_owned(),
            b"",
        ),
        "" => ("200 OK", String::new(), b"{}"),
        _ if path.contains("/manifests/") => {
            let digest = digest(manifest);
            let more = format!("Content-Type: {MANIFEST}\r\nDocker-Content-Digest: {digest}\r\n");
            ("200 OK", more, manifest)
        }
        name => match blobs.get(name) {
            Some(blob) => (
                "200 OK",
                "Content-Type: application/octet-stream\r\n".to_owned(),
                blob,
            ),
            None => ("404 Not Found", String::new(), b""),
        },
    };
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\n{more}Content-Length: {length}\r\nConnection: close\r\n\r\n");
    let stream = reader.get_mut();
    stream.write_all(head.as_bytes()).ok()?;
    if method != "HEAD" {
        stream.write_all(body).ok()?;
    }
    Some(())
}
