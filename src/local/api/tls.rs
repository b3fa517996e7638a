//! HTTPS: an authority made at the start, a certificate by it, and the loop that serves connections.

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

/// Limit on the handshake and on the head of each request.
const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// Time for requests under way once the server stops; watches would stay for ever.
const DRAIN: Duration = Duration::from_millis(500);
/// Pause after a failed accept: mostly too many open files, which a tight loop would not cure.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Making it failed.
    #[error("could not make the certificate of the API server")]
    Make(#[from] rcgen::Error),
    /// It does not fit its key.
    #[error("could not use the certificate of the API server")]
    Use(#[from] rustls::Error),
}

/// A fresh authority and a server certificate by it.
pub struct Identity {
    /// The authority's certificate, PEM: what clients trust.
    pub authority_pem: String,
    config: Arc<ServerConfig>,
}

impl Identity {
    /// For a server that is reached under `names` (host names and addresses). The authority's key is thrown away.
    ///
    /// # Errors
    /// A name that no certificate can carry.
    pub fn make(names: Vec<String>) -> Result<Self, Error> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, "errand-dev authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;

        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, "errand-dev");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &authority)?;

        // One provider is compiled in; naming it keeps libraries that install another out of the choice.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { authority_pem: authority.pem(), config: Arc::new(config) })
    }
}

/// Serves `router` on `listener` until `shutdown` completes; requests under way then get a moment to end.
///
/// # Errors
/// None at present: what single connections do wrong ends them alone.
pub async fn serve(
    listener: TcpListener,
    identity: &Identity,
    router: Router,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let acceptor = TlsAcceptor::from(identity.config.clone());
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(acceptor.clone(), stream, router.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "could not accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    // Idle connections and watches do not end by themselves.
    let _ = timeout(DRAIN, drained).await;
    connections.shutdown().await;
    Ok(())
}

async fn connection(acceptor: TlsAcceptor, stream: TcpStream, router: Router) {
    // Small answers must not wait for the client's delayed acknowledgements.
    let _ = stream.set_nodelay(true);
    let stream = match timeout(HEAD_LIMIT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "a handshake failed"),
        Err(_) => return tracing::debug!("a handshake took too long"),
    };
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT);
    let service = TowerToHyperService::new(router);
    if let Err(error) = server.serve_connection_with_upgrades(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a connection ended badly");
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use kube::{Client, Config};
    use tokio_util::sync::CancellationToken;

    use super::*;

    #[tokio::test]
    async fn kube_trusts_the_authority_and_speaks_to_the_server() {
        let identity = Identity::make(vec!["127.0.0.1".into(), "localhost".into()]).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let pem = identity.authority_pem.clone();
        let stop = CancellationToken::new();
        let router = Router::new().route("/version", get(async || r#"{"major":"1","minor":"35","gitVersion":"v1.35.0","gitCommit":"","gitTreeState":"","buildDate":"","goVersion":"","compiler":"","platform":""}"#));
        let until = stop.clone();
        let server = tokio::spawn(async move {
            serve(listener, &identity, router, until.cancelled_owned()).await
        });

        let mut config = Config::new(url.parse().unwrap());
        let der = pem.lines().filter(|line| !line.starts_with("-----")).collect::<String>();
        let der = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, der).unwrap();
        config.root_cert = Some(vec![der]);
        let client = Client::try_from(config).unwrap();
        assert_eq!(client.apiserver_version().await.unwrap().minor, "35");

        let mut stranger = Config::new(url.parse().unwrap());
        stranger.default_retry = false;
        assert!(Client::try_from(stranger).unwrap().apiserver_version().await.is_err());
        stop.cancel();
        server.await.unwrap().unwrap();
    }
}
