use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector, rustls::pki_types::ServerName};

use super::*;
use crate::tls::{
    Peer,
    issue::{Authority, Issued},
};

const LONG: Duration = Duration::from_secs(30);

/// Files of a caller, in a folder that goes with it.
struct Files(tempfile::TempDir);

impl Files {
    fn new(authority: &Authority, shown: &Issued) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        authority.write(&files.path("ca.crt"));
        shown.write(&files.path("tls.crt"), &files.path("tls.key"));
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn all(&self) -> OutgoingFiles {
        OutgoingFiles {
            authorities: Some(self.path("ca.crt")),
            identity: Some((self.path("tls.crt"), self.path("tls.key"))),
        }
    }
}

/// A server that tells each client the name in its certificate; it shows `shown`, and lets in clients of `clients`.
async fn serve(shown: &Issued, clients: &Authority) -> u16 {
    let acceptor = TlsAcceptor::from(shown.server(Some(clients)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let shown = &stream.get_ref().1.peer_certificates().unwrap()[0];
            let name = Peer::of(shown).0.unwrap();
            stream.write_all(name.as_bytes()).await.unwrap();
            drop(stream.shutdown().await);
        }
    });
    port
}

/// What the server tells a caller.
async fn told(outgoing: &Outgoing, port: u16) -> Result<String, String> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connected = TlsConnector::from(outgoing.config()).connect(name, stream).await;
    let mut stream = connected.map_err(|error| error.to_string())?;
    let mut name = String::new();
    let read = stream.read_to_string(&mut name).await;
    read.map(|_| name).map_err(|error| error.to_string())
}

/// Looks at the files for as long as this takes.
async fn following(outgoing: &Outgoing, work: impl Future<Output = ()>) {
    tokio::select! {
        never = outgoing.follow() => match never {},
        done = tokio::time::timeout(LONG, work) => done.unwrap(),
    }
}

#[tokio::test]
async fn a_caller_shows_its_certificate_to_whom_it_trusts() {
    let (servers, callers) = (Authority::make(), Authority::make());
    let port = serve(&servers.issue("server"), &callers).await;
    let files = Files::new(&servers, &callers.issue("caller"));
    let outgoing = Outgoing::open(files.all()).unwrap();
    assert_eq!(told(&outgoing, port).await.unwrap(), "caller");
    let without = OutgoingFiles {
        identity: None,
        ..files.all()
    };
    let words = told(&Outgoing::open(without).unwrap(), port).await.unwrap_err();
    assert_eq!(words, "received fatal alert: CertificateRequired");
    let without = OutgoingFiles {
        authorities: None,
        ..files.all()
    };
    let words = told(&Outgoing::open(without).unwrap(), port).await.unwrap_err();
    assert_eq!(words, "invalid peer certificate: UnknownIssuer");
    // One that the server's authority has not made.
    servers
        .issue("caller")
        .write(&files.path("tls.crt"), &files.path("tls.key"));
    let words = told(&Outgoing::open(files.all()).unwrap(), port)
        .await
        .unwrap_err();
    assert!(words.starts_with("received fatal alert: "), "{words}");
}

#[tokio::test]
async fn new_files_count_without_a_restart_and_what_cannot_be_used_does_not() {
    let (old, new, callers) = (Authority::make(), Authority::make(), Authority::make());
    let (first, second) = (
        serve(&old.issue("server"), &callers).await,
        serve(&new.issue("server"), &callers).await,
    );
    let files = Files::new(&old, &callers.issue("one"));
    let outgoing = Outgoing::open(files.all()).unwrap();
    assert_eq!(told(&outgoing, first).await.unwrap(), "one");
    assert!(told(&outgoing, second).await.is_err());
    // A certificate without its key yet: the one before it stays.
    let two = callers.issue("two");
    fs_write(&files.path("tls.crt"), &two.certificate.pem());
    assert!(outgoing.look().is_err());
    assert!(!outgoing.look().unwrap(), "told once");
    assert_eq!(told(&outgoing, first).await.unwrap(), "one");
    two.write(&files.path("tls.crt"), &files.path("tls.key"));
    new.write(&files.path("ca.crt"));
    following(&outgoing, async {
        while told(&outgoing, second).await.ok().as_deref() != Some("two") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert!(told(&outgoing, first).await.is_err(), "the old authority is gone");
    std::fs::remove_file(files.path("tls.key")).unwrap();
    assert!(outgoing.look().is_err());
    assert_eq!(told(&outgoing, second).await.unwrap(), "two");
}

fn fs_write(path: &std::path::Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

#[test]
fn files_that_cannot_be_used_are_refused_at_the_start() {
    let authority = Authority::make();
    let files = Files::new(&authority, &authority.issue("caller"));
    authority
        .issue("other")
        .write(&files.path("x"), &files.path("tls.key"));
    let refused = || Outgoing::open(files.all()).unwrap_err();
    assert!(matches!(refused(), TlsError::Use { .. }), "{:?}", refused());
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    fs_write(&files.path("ca.crt"), broken);
    let words = format!("could not trust what is in {}", files.path("ca.crt").display());
    let only = OutgoingFiles {
        identity: None,
        ..files.all()
    };
    assert_eq!(Outgoing::open(only).unwrap_err().to_string(), words);
    std::fs::remove_file(files.path("tls.crt")).unwrap();
    assert!(matches!(refused(), TlsError::Read { .. }), "{:?}", refused());
}

#[tokio::test]
async fn without_files_the_authorities_of_mozilla_are_trusted_and_nothing_is_shown() {
    let outgoing = Outgoing::open(OutgoingFiles::default()).unwrap();
    assert!(webpki_roots::TLS_SERVER_ROOTS.len() > 100);
    assert!(!outgoing.config().client_auth_cert_resolver.has_certs());
    assert!(futures::poll!(std::pin::pin!(outgoing.follow())).is_pending());
}
