//! `errand controller`: the engine in a cluster, with leader election, health and metrics.

use std::{io, net::SocketAddr, sync::Arc};

use clap::ValueEnum;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    callback_args::CallbackTls,
    connect::{self, ClusterArgs},
    outcome,
    signals::{self, stop_on_signals},
};
use crate::{
    crd::Duration,
    engine::{
        self,
        callback::Network,
        leader::{self, LeadError, LeaderConfig, Leadership},
        metrics::Metrics,
    },
    health::{self, Readiness},
    telemetry,
    tls::TlsError,
};

/// Arguments of `errand controller`.
#[derive(Debug, clap::Args)]
#[group(skip)]
#[command(after_help = "Each flag may also be given as the environment variable in brackets.")]
pub struct Args {
    /// Serve only this namespace; without it all of them
    #[arg(short, long, value_name = "NAMESPACE", env = "ERRAND_NAMESPACE_ONLY")]
    namespace: Option<String>,
    /// Tasks worked on at once
    #[arg(long, value_name = "COUNT", env = "ERRAND_WORKERS", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    workers: u16,
    /// Where /livez, /readyz and /metrics are served
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "ERRAND_HEALTH_ADDR",
        default_value = "0.0.0.0:8081"
    )]
    health_addr: SocketAddr,
    /// Image that holds this binary at /errand; the supervisor comes from it into containers
    #[arg(long, value_name = "IMAGE", env = "ERRAND_RUNNER_IMAGE", default_value_t = engine::Config::default().runner.image)]
    runner_image: String,
    /// When that image is pulled: Always, IfNotPresent or Never
    #[arg(long, value_name = "POLICY", env = "ERRAND_RUNNER_PULL_POLICY", value_parser = ["Always", "IfNotPresent", "Never"])]
    runner_pull_policy: Option<String>,
    /// How the supervisor comes into containers; auto asks the API server for its version
    #[arg(long, value_enum, env = "ERRAND_RUNNER_DELIVERY", default_value_t = Delivery::Auto)]
    runner_delivery: Delivery,
    /// A node that has not been Ready for so long is lost, and the Tasks on it with it
    #[arg(
        long,
        value_name = "DURATION",
        env = "ERRAND_NODE_LOST_AFTER",
        default_value = "1m"
    )]
    node_lost_after: Duration,
    #[command(flatten)]
    callbacks: CallbackArgs,
    #[command(flatten)]
    lease: LeaseArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    telemetry: telemetry::Args,
}

/// Who may be called back.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Callbacks")]
struct CallbackArgs {
    /// Network that callbacks may go to, such as 10.0.0.0/8; may be given again. Once given, they go nowhere else.
    /// Loopback must be named here; link-local addresses and metadata services of clouds are never called
    #[arg(
        long = "callback-allow",
        value_name = "NETWORK",
        env = "ERRAND_CALLBACK_ALLOW",
        value_delimiter = ','
    )]
    allow: Vec<Network>,
    /// Network that callbacks never go to; may be given again
    #[arg(
        long = "callback-deny",
        value_name = "NETWORK",
        env = "ERRAND_CALLBACK_DENY",
        value_delimiter = ','
    )]
    deny: Vec<Network>,
    #[command(flatten)]
    tls: CallbackTls,
}

/// How one of several controllers is chosen.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Leader election")]
struct LeaseArgs {
    /// Work without a Lease: only where nobody else does the same
    #[arg(long, env = "ERRAND_NO_LEADER_ELECTION")]
    no_leader_election: bool,
    /// Name of the Lease
    #[arg(
        long,
        value_name = "NAME",
        env = "ERRAND_LEASE_NAME",
        default_value = "errand-controller"
    )]
    lease_name: String,
    /// Namespace of the Lease; without it that of the pod or the kubeconfig
    #[arg(long, value_name = "NAMESPACE", env = "ERRAND_LEASE_NAMESPACE")]
    lease_namespace: Option<String>,
    /// How long others wait for a leader that says nothing
    #[arg(
        long,
        value_name = "DURATION",
        env = "ERRAND_LEASE_DURATION",
        default_value = "15s"
    )]
    lease_duration: Duration,
    /// How long the leader tries to renew before it steps down
    #[arg(
        long,
        value_name = "DURATION",
        env = "ERRAND_LEASE_RENEW_DEADLINE",
        default_value = "10s"
    )]
    lease_renew_deadline: Duration,
    /// Time between tries
    #[arg(
        long,
        value_name = "DURATION",
        env = "ERRAND_LEASE_RETRY_PERIOD",
        default_value = "2s"
    )]
    lease_retry_period: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Delivery {
    /// An image volume from Kubernetes 1.35 on, an init container before
    Auto,
    /// An image volume
    ImageVolume,
    /// An init container that copies it
    InitContainer,
}

/// Why the controller ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Logging could not be set up.
    #[error(transparent)]
    Telemetry(#[from] telemetry::Error),
    /// No cluster.
    #[error(transparent)]
    Connect(#[from] connect::Error),
    /// The address is taken or not of this machine.
    #[error("could not listen on {addr}; choose another address with --health-addr")]
    Listen {
        /// As given.
        addr: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Authorities, certificate or key for callbacks cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Signals cannot be received.
    #[error(transparent)]
    Signals(#[from] signals::Error),
    /// Health and metrics are no longer served.
    #[error("could not go on serving health and metrics")]
    Health(#[source] io::Error),
    /// The engine could not start.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// The election or the engine under it failed.
    #[error(transparent)]
    Lead(#[from] LeadError<engine::Error>),
}

/// Runs until SIGTERM or Ctrl-C.
pub async fn run(args: Args) -> Result<u8, Error> {
    args.telemetry.init()?;
    let mut config = args.config();
    config.callbacks.tls = args.callbacks.tls.open()?;
    telemetry::log_start("controller", &config);
    let shutdown = CancellationToken::new();
    stop_on_signals(shutdown.clone())?;
    let (client, namespace) = args.cluster.steady_client().await?;
    let listener = TcpListener::bind(args.health_addr).await;
    let listener = listener.map_err(|source| Error::Listen {
        addr: args.health_addr,
        source,
    })?;

    let metrics = Arc::new(Metrics::new());
    let readiness = Readiness::default();
    let gate = readiness.gate("caches");
    let served = async {
        match health::serve(listener, readiness, metrics.clone(), shutdown.clone()).await {
            Err(source) => Error::Health(source),
            // The end of the engine is what counts once the process stops.
            Ok(()) => std::future::pending().await,
        }
    };
    let lease = args.lease.config(namespace);
    let engine = async {
        let work = |leadership: Leadership| {
            metrics.set_leader(true);
            gate.set(false);
            let (gate, metrics) = (gate.clone(), metrics.clone());
            let engine = engine::run(
                client.clone(),
                config.clone(),
                metrics.clone(),
                move || gate.open(),
                leadership,
            );
            async move {
                let ended = engine.await;
                metrics.set_leader(false);
                ended
            }
        };
        if args.lease.no_leader_election {
            let alone = Leadership::alone(shutdown.clone());
            return work(alone).await.map_err(Error::from);
        }
        // Whoever waits for the lease does its part: it is ready to take over.
        gate.open();
        let lead = leader::lead(client.clone(), lease, shutdown.clone(), work);
        lead.await.map_err(Error::from)
    };
    let ended = tokio::select! {
        ended = engine => ended,
        failed = served => Err(failed),
    };
    shutdown.cancel();
    ended.map(|()| outcome::OK)
}

impl Args {
    fn config(&self) -> engine::Config {
        let mut config = engine::Config::default();
        config.namespace.clone_from(&self.namespace);
        config.workers = self.workers;
        config.runner.image.clone_from(&self.runner_image);
        config.runner.pull_policy.clone_from(&self.runner_pull_policy);
        config.runner.delivery = match self.runner_delivery {
            Delivery::Auto => None,
            Delivery::ImageVolume => Some(engine::Delivery::ImageVolume),
            Delivery::InitContainer => Some(engine::Delivery::InitContainer),
        };
        config.node_lost_after = self.node_lost_after.get();
        config.callbacks.networks.allow.clone_from(&self.callbacks.allow);
        config.callbacks.networks.deny.clone_from(&self.callbacks.deny);
        config
    }
}

impl LeaseArgs {
    fn config(&self, namespace: String) -> LeaderConfig {
        // The pod's name says who leads; the rest keeps two processes with one name apart.
        let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "errand".to_owned());
        let identity = format!("{host}_{}", Uuid::new_v4());
        let namespace = self.lease_namespace.clone().unwrap_or(namespace);
        LeaderConfig {
            lease_duration: self.lease_duration.get(),
            renew_deadline: self.lease_renew_deadline.get(),
            retry_period: self.lease_retry_period.get(),
            ..LeaderConfig::new(namespace, self.lease_name.clone(), identity)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::engine::callback::Networks;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn parse(line: &[&str]) -> Args {
        Cli::parse_from(std::iter::once("controller").chain(line.iter().copied())).args
    }

    #[test]
    fn flags_become_the_configuration() {
        let args = parse(&[
            "--namespace=jobs",
            "--workers=8",
            "--runner-image=reg/errand:1",
            "--runner-delivery=init-container",
            "--node-lost-after=30s",
            "--callback-allow=10.0.0.0/8,fd00::/8",
            "--callback-allow=192.0.2.1",
            "--callback-deny=10.96.0.0/12",
            "--lease-duration=20s",
        ]);
        let config = args.config();
        assert_eq!((config.namespace.as_deref(), config.workers), (Some("jobs"), 8));
        assert_eq!(config.runner.image, "reg/errand:1");
        assert_eq!(config.runner.delivery, Some(engine::Delivery::InitContainer));
        assert_eq!(config.node_lost_after, std::time::Duration::from_secs(30));
        let networks =
            |texts: &[&str]| -> Vec<Network> { texts.iter().map(|text| text.parse().unwrap()).collect() };
        let expected = Networks {
            allow: networks(&["10.0.0.0/8", "fd00::/8", "192.0.2.1"]),
            deny: networks(&["10.96.0.0/12"]),
            loopback: false,
        };
        assert_eq!(config.callbacks.networks, expected);
        let lease = args.lease.config("system".into());
        assert_eq!(
            (lease.namespace.as_str(), lease.name.as_str()),
            ("system", "errand-controller")
        );
        assert_eq!(lease.lease_duration, std::time::Duration::from_secs(20));
        assert!(lease.check().is_ok());
    }

    #[test]
    fn without_flags_the_defaults_of_the_engine_hold() {
        let (config, defaults) = (parse(&[]).config(), engine::Config::default());
        assert_eq!(format!("{config:?}"), format!("{defaults:?}"));
    }
}
