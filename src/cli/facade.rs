//! `errand facade`: the REST facade in a cluster, with health and metrics.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{
    access_args::AccessArgs,
    connect::{self, ClusterArgs},
    doors::{DiegoListen, DoorArgs, KeysError},
    outcome,
    signals::{self, stop_on_signals},
};
use crate::{
    crd::Duration,
    facade::{
        self, Listeners,
        access::static_tokens::StaticTokensError,
        metrics::Metrics,
        peers::{PeerListener, Proof},
    },
    health::{self, Gate, Readiness},
    telemetry,
    tls::{FileIdentity, IdentityFiles, TlsError},
};

/// Arguments of `errand facade`.
#[derive(Debug, clap::Args)]
#[group(skip)]
#[command(after_help = "Each flag may also be given as the environment variable in brackets.")]
pub struct Args {
    /// Where the doors are served: HTTPS with --tls-cert, else plain HTTP
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "ERRAND_FACADE_ADDR",
        default_value = "0.0.0.0:8080"
    )]
    facade_addr: SocketAddr,
    /// Where /livez, /readyz and /metrics are served
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "ERRAND_HEALTH_ADDR",
        default_value = "0.0.0.0:8081"
    )]
    health_addr: SocketAddr,
    /// Serve only this namespace; without it all of them
    #[arg(short, long, value_name = "NAMESPACE", env = "ERRAND_NAMESPACE_ONLY")]
    namespace: Option<String>,
    /// Namespace of what all namespaces share: the catalogue of runtimes
    #[arg(
        long,
        value_name = "NAMESPACE",
        env = "ERRAND_CATALOGUE_NAMESPACE",
        default_value = "default"
    )]
    catalogue_namespace: String,
    /// Requests answered at once; more get 429
    #[arg(long, value_name = "COUNT", env = "ERRAND_MAX_REQUESTS", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..))]
    max_requests: u16,
    /// Streams and long polls open at once; more get 429
    #[arg(long, value_name = "COUNT", env = "ERRAND_MAX_STREAMS", default_value_t = 4096, value_parser = clap::value_parser!(u16).range(1..))]
    max_streams: u16,
    /// How long an answer may take, streams and long polls apart; then 503. Half of it is for the body to arrive; then 408
    #[arg(
        long,
        value_name = "DURATION",
        env = "ERRAND_REQUEST_TIMEOUT",
        default_value = "30s"
    )]
    request_timeout: Duration,
    /// How long to go on answering after SIGTERM while /readyz says no, for callers that are still sent here
    #[arg(
        long,
        value_name = "DURATION",
        env = "ERRAND_SHUTDOWN_DELAY",
        default_value = "0s"
    )]
    shutdown_delay: Duration,
    #[command(flatten)]
    tls: TlsArgs,
    #[command(flatten)]
    access: AccessArgs,
    #[command(flatten)]
    diego: DiegoListen,
    #[command(flatten)]
    doors: DoorArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    telemetry: telemetry::Args,
}

/// What the doors show of themselves.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "TLS")]
struct TlsArgs {
    /// Certificate chain (PEM) of the doors; read again when it changes
    #[arg(long, value_name = "FILE", env = "ERRAND_TLS_CERT", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Key of the certificate (PEM)
    #[arg(long, value_name = "FILE", env = "ERRAND_TLS_KEY", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

/// Why the facade ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Logging could not be set up.
    #[error(transparent)]
    Telemetry(#[from] telemetry::Error),
    /// The file of static tokens cannot be used.
    #[error(transparent)]
    StaticTokens(#[from] StaticTokensError),
    /// Certificate and key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The keys of Diego's door cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// No cluster.
    #[error(transparent)]
    Connect(#[from] connect::Error),
    /// The address is taken or not of this machine.
    #[error("could not listen on {addr}; choose another address with {flag}")]
    Listen {
        /// As given.
        addr: SocketAddr,
        /// The flag that chooses it.
        flag: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Callers without a token must show a certificate.
    #[error(
        "--diego-addr needs --diego-ca, --diego-cert and --diego-key: plain HTTP is for `errand dev` on loopback only"
    )]
    Plain,
    /// Signals cannot be received.
    #[error(transparent)]
    Signals(#[from] signals::Error),
    /// A listener failed.
    #[error("could not go on serving")]
    Serve(#[source] io::Error),
}

/// Runs until SIGTERM or Ctrl-C.
pub async fn run(args: Args) -> Result<u8, Error> {
    args.telemetry.init()?;
    let mut config = args.config()?;
    config.access.check()?;
    config.tls = args.tls.open()?;
    let peers = args.peers()?;
    telemetry::log_start("facade", &config);
    let asked = CancellationToken::new();
    stop_on_signals(asked.clone())?;
    let (client, _) = args.cluster.steady_client().await?;
    let health = listen(args.health_addr, "--health-addr").await?;
    let doors = listen(args.facade_addr, "--facade-addr").await?;
    let peers = match peers {
        Some((addr, proof)) => Some(PeerListener {
            listener: listen(addr, "--diego-addr").await?,
            proof,
        }),
        None => None,
    };

    let metrics = Arc::new(Metrics::new());
    let readiness = Readiness::default();
    let gate = readiness.gate("caches");
    let staying = readiness.gate("staying");
    staying.open();
    let shutdown = CancellationToken::new();
    tokio::spawn(wind_down(
        asked,
        staying,
        args.shutdown_delay.get(),
        shutdown.clone(),
    ));
    let healthy = health::serve(health, readiness, metrics.clone(), shutdown.clone());
    let served = facade::run(
        client,
        config,
        Listeners { doors, peers },
        metrics,
        move || gate.open(),
        shutdown.clone(),
    );
    let ended = tokio::select! {
        ended = served => ended,
        Err(failed) = healthy => Err(failed),
    };
    shutdown.cancel();
    ended.map(|()| outcome::OK).map_err(Error::Serve)
}

/// Ends the facade a while after it was asked to. Kubernetes takes a pod out of its Services and ends it at the same
/// time, so nodes that have not heard of it yet go on sending callers here.
async fn wind_down(
    asked: CancellationToken,
    staying: Gate,
    delay: std::time::Duration,
    shutdown: CancellationToken,
) {
    asked.cancelled().await;
    staying.set(false);
    tokio::time::sleep(delay).await;
    shutdown.cancel();
}

async fn listen(addr: SocketAddr, flag: &'static str) -> Result<TcpListener, Error> {
    let listener = TcpListener::bind(addr).await;
    listener.map_err(|source| Error::Listen { addr, flag, source })
}

impl Args {
    /// Where callers with certificates come in, and what they are shown.
    fn peers(&self) -> Result<Option<(SocketAddr, Proof)>, Error> {
        let Some(addr) = self.diego.diego_addr else {
            return Ok(None);
        };
        let identity = self.diego.identity()?.ok_or(Error::Plain)?;
        Ok(Some((addr, Proof::Certificate(identity))))
    }

    fn config(&self) -> Result<facade::Config, Error> {
        Ok(facade::Config {
            access: self.access.config(),
            dialects: self.doors.settings()?,
            namespace: self.namespace.clone(),
            catalogue: self.catalogue_namespace.clone(),
            requests: usize::from(self.max_requests),
            streams: usize::from(self.max_streams),
            request_timeout: self.request_timeout.get(),
            ..facade::Config::default()
        })
    }
}

impl TlsArgs {
    fn open(&self) -> Result<Option<FileIdentity>, TlsError> {
        let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) else {
            return Ok(None);
        };
        let files = IdentityFiles {
            certificate: certificate.clone(),
            key: key.clone(),
            authority: None,
        };
        FileIdentity::open(files).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn config(line: &[&str]) -> facade::Config {
        let line = std::iter::once("facade").chain(line.iter().copied());
        Cli::parse_from(line).args.config().unwrap()
    }

    #[test]
    fn flags_become_the_configuration() {
        let got = config(&[
            "--namespace=jobs",
            "--catalogue-namespace=shared",
            "--max-requests=8",
            "--max-streams=9",
            "--request-timeout=5s",
            "--cloudru-any-form=both",
        ]);
        let want = facade::Config {
            namespace: Some("jobs".into()),
            catalogue: "shared".into(),
            requests: 8,
            streams: 9,
            request_timeout: std::time::Duration::from_secs(5),
            dialects: facade::dialects::Settings {
                cloudru: facade::dialects::cloudru::Settings {
                    any: facade::dialects::cloudru::AnyForm::Both,
                    ..Default::default()
                },
                ..Default::default()
            },
            ..facade::Config::default()
        };
        assert_eq!(format!("{got:?}"), format!("{want:?}"));
    }

    #[test]
    fn a_certificate_without_its_key_is_refused() {
        for flag in ["--tls-cert=a", "--tls-key=a"] {
            assert!(Cli::try_parse_from(["facade", flag]).is_err(), "{flag}");
        }
    }

    #[test]
    fn without_flags_the_defaults_of_the_facade_hold() {
        let (got, want) = (config(&[]), facade::Config::default());
        assert_eq!(format!("{got:?}"), format!("{want:?}"));
    }

    #[tokio::test(start_paused = true)]
    async fn asked_to_end_it_says_so_at_once_and_stops_answering_after_the_delay() {
        let (asked, shutdown, readiness) = (
            CancellationToken::new(),
            CancellationToken::new(),
            Readiness::default(),
        );
        let staying = readiness.gate("staying");
        staying.open();
        let delay = std::time::Duration::from_secs(5);
        let winding = tokio::spawn(wind_down(asked.clone(), staying, delay, shutdown.clone()));
        asked.cancel();
        tokio::time::sleep(delay - std::time::Duration::from_millis(10)).await;
        assert_eq!(
            (readiness.missing(), shutdown.is_cancelled()),
            (vec!["staying"], false)
        );
        winding.await.unwrap();
        assert!(shutdown.is_cancelled());
    }
}
