//! Clients with certificates, over real connections.

use std::net::SocketAddr;

use axum::{Extension, Router, routing::get};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, pki_types::ServerName},
};
use tokio_util::sync::CancellationToken;

use super::{
    issue::{Authority, Issued},
    *,
};
use crate::serve::Serving;

const LONG: Duration = Duration::from_secs(30);

/// A listener that greets each client by the name in its certificate.
struct Server {
    address: SocketAddr,
    folder: TempDir,
    stop: CancellationToken,
}

impl Server {
    async fn start(own: &Authority, clients: &Authority) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let shown = own.issue("server");
        shown.write(&path("tls.crt"), &path("tls.key"));
        clients.write(&path("ca.crt"));
        let files = IdentityFiles {
            certificate: path("tls.crt"),
            key: path("tls.key"),
            authority: Some(path("ca.crt")),
        };
        let identity = FileIdentity::open(files).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let serving = Serving {
            tls: Some(identity.server_config()),
            ..Serving::plain(8)
        };
        let greet =
            async |Extension(Peer(name)): Extension<Peer>| format!("hello {}", name.unwrap_or_default());
        let router = Router::new().route("/", get(greet));
        tokio::spawn(serving.serve(listener, router, stop.clone()));
        let ends = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                never = identity.follow() => match never {},
                () = ends.cancelled() => {}
            }
        });
        Self {
            address,
            folder,
            stop,
        }
    }

    /// What the server says to this client.
    async fn greeting(&self, own: &Authority, client: Option<&Issued>) -> io::Result<String> {
        let mut roots = RootCertStore::empty();
        roots.add(own.0.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match client {
            None => builder.with_no_client_auth(),
            Some(client) => {
                let shown = builder.with_client_auth_cert(client.chain(), client.private());
                shown.unwrap()
            }
        };
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer.rsplit("\r\n").next().unwrap_or_default().to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test]
async fn only_clients_of_the_authority_are_let_in_and_each_by_its_name() {
    let (own, clients) = (Authority::make(), Authority::make());
    let server = Server::start(&own, &clients).await;
    let ann = clients.issue("ann");
    assert_eq!(server.greeting(&own, Some(&ann)).await.unwrap(), "hello ann");
    let stranger = own.issue("ann");
    assert!(server.greeting(&own, Some(&stranger)).await.is_err());
    assert!(server.greeting(&own, None).await.is_err());
}

#[tokio::test]
async fn a_new_authority_counts_without_a_restart() {
    let (own, old, new) = (Authority::make(), Authority::make(), Authority::make());
    let server = Server::start(&own, &old).await;
    let (ann, bob) = (old.issue("ann"), new.issue("bob"));
    assert_eq!(server.greeting(&own, Some(&ann)).await.unwrap(), "hello ann");
    assert!(server.greeting(&own, Some(&bob)).await.is_err());
    fs::write(server.folder.path().join("ca.crt"), new.0.pem()).unwrap();
    let rotated = async {
        while server.greeting(&own, Some(&bob)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LONG, rotated).await.unwrap();
    assert!(server.greeting(&own, Some(&ann)).await.is_err());
}

#[test]
fn an_authority_that_is_none_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let shown = Authority::make().issue("server");
    shown.write(&path("tls.crt"), &path("tls.key"));
    let open = |authority: &str| {
        fs::write(path("ca.crt"), authority).unwrap();
        let files = IdentityFiles {
            certificate: path("tls.crt"),
            key: path("tls.key"),
            authority: Some(path("ca.crt")),
        };
        FileIdentity::open(files).unwrap_err().to_string()
    };
    let ca = path("ca.crt");
    assert_eq!(
        open("secret words"),
        format!("found no certificate in PEM in {}", ca.display())
    );
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_eq!(
        open(broken),
        format!("could not use {} as the authority of clients", ca.display())
    );
}
