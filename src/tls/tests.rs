use std::net::SocketAddr;

use axum::{Router, routing::get};
use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, pki_types::ServerName},
};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::serve::Serving;

const LONG: Duration = Duration::from_secs(30);

/// A certificate for localhost that is its own authority.
struct Pair {
    der: CertificateDer<'static>,
    certificate: String,
    key: String,
}

impl Pair {
    fn make() -> Self {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self {
            der: certificate.der().clone(),
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

struct Folder(TempDir);

impl Folder {
    fn with(pair: &Pair) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.put(&pair.certificate, &pair.key);
        folder
    }

    fn put(&self, certificate: &str, key: &str) {
        fs::write(self.certificate(), certificate).unwrap();
        fs::write(self.key(), key).unwrap();
    }

    fn certificate(&self) -> PathBuf {
        self.0.path().join("tls.crt")
    }

    fn key(&self) -> PathBuf {
        self.0.path().join("tls.key")
    }

    fn files(&self) -> IdentityFiles {
        IdentityFiles {
            certificate: self.certificate(),
            key: self.key(),
            authority: None,
        }
    }

    fn open(&self) -> Result<FileIdentity, TlsError> {
        FileIdentity::open(self.files())
    }
}

fn shown(identity: &FileIdentity) -> CertificateDer<'static> {
    let current = identity.0.current.0.read().unwrap();
    current.cert[0].clone()
}

#[test]
fn a_new_pair_counts_from_the_next_look_on() {
    let (old, new) = (Pair::make(), Pair::make());
    let folder = Folder::with(&old);
    let identity = folder.open().unwrap();
    assert!(!identity.look().unwrap());
    assert_eq!(shown(&identity), old.der);
    folder.put(&new.certificate, &new.key);
    assert!(identity.look().unwrap());
    assert!(!identity.look().unwrap());
    assert_eq!(shown(&identity), new.der);
}

#[test]
fn a_bad_new_pair_is_told_once_and_the_old_one_stays() {
    let (old, new) = (Pair::make(), Pair::make());
    let folder = Folder::with(&old);
    let identity = folder.open().unwrap();
    let (certificate, key) = (folder.certificate(), folder.key());
    let says = |put: &dyn Fn()| {
        put();
        let first = identity.look().unwrap_err().to_string();
        assert!(!identity.look().unwrap(), "{first} was told twice");
        assert_eq!(shown(&identity), old.der);
        first
    };
    let mixed = format!(
        "could not use the certificate in {} with the key in {}",
        certificate.display(),
        key.display()
    );
    assert_eq!(says(&|| folder.put(&new.certificate, &old.key)), mixed);
    let no_key = format!("found no key in PEM in {}", key.display());
    assert_eq!(says(&|| folder.put(&new.certificate, "secret words")), no_key);
    let no_certificate = format!("found no certificate in PEM in {}", certificate.display());
    assert_eq!(says(&|| folder.put("", &new.key)), no_certificate);
    let gone = format!("could not read {}", key.display());
    assert_eq!(says(&|| fs::remove_file(&key).unwrap()), gone);
    folder.put(&new.certificate, &new.key);
    assert!(identity.look().unwrap());
    assert_eq!(shown(&identity), new.der);
}

#[test]
fn a_pair_that_cannot_be_used_is_refused_at_the_start() {
    let (one, other) = (Pair::make(), Pair::make());
    let folder = Folder::with(&one);
    folder.put(&one.certificate, &other.key);
    assert!(matches!(folder.open(), Err(TlsError::Use { .. })));
    folder.put(&one.key, &one.key);
    assert!(matches!(folder.open(), Err(TlsError::Pem { .. })));
    fs::remove_file(folder.certificate()).unwrap();
    assert!(matches!(folder.open(), Err(TlsError::Read { .. })));
}

/// What a client that trusts the pair gets to see: the protocol that was agreed on.
async fn knock(address: SocketAddr, trusted: &Pair, offered: &[&str]) -> io::Result<Option<Vec<u8>>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.der.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    Ok(stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec))
}

#[tokio::test]
async fn a_listener_shows_a_rotated_certificate_without_a_restart() {
    let (old, new) = (Pair::make(), Pair::make());
    let folder = Folder::with(&old);
    let identity = folder.open().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = Serving {
        tls: Some(identity.server_config()),
        ..Serving::plain(8)
    };
    let router = Router::new().route("/", get(async || "hello"));
    let shutdown = CancellationToken::new();
    let server = tokio::spawn(serving.serve(listener, router, shutdown.clone()));
    let following = tokio::spawn(async move { identity.follow().await });

    let agreed = knock(address, &old, &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(agreed.as_deref(), Some(&b"h2"[..]));
    let agreed = knock(address, &old, &["http/1.1"]).await.unwrap();
    assert_eq!(agreed.as_deref(), Some(&b"http/1.1"[..]));
    assert!(knock(address, &new, &[]).await.is_err());
    folder.put(&new.certificate, &new.key);
    let rotated = async {
        while knock(address, &new, &[]).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LONG, rotated).await.unwrap();
    assert!(knock(address, &old, &[]).await.is_err());

    following.abort();
    shutdown.cancel();
    timeout(LONG, server).await.unwrap().unwrap().unwrap();
}
