//! Fills the views, opens the doors, and closes them in order.

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use kube::Client;
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    access::Access,
    config::Config,
    dialects,
    metrics::Metrics,
    objects::Objects,
    peers::{self, PeerListener},
    reports::Reports,
    server,
    state::{Facade, Inner},
    views::{Table, Views},
};
use crate::{serve::Serving, tls::FileIdentity};

/// How long requests under way may take to end; streams are told to end at once.
const LINGER: Duration = Duration::from_secs(3);
/// How long the last reports may take to be written.
const FLUSH: Duration = Duration::from_secs(1);
/// How often the size of the view is told to the metrics.
const COUNT_EVERY: Duration = Duration::from_secs(5);

/// Where callers come in.
pub struct Listeners {
    /// Of the doors whose callers bring a token.
    pub doors: TcpListener,
    /// Of the doors whose callers show a certificate, where these are open.
    pub peers: Option<PeerListener>,
}

impl From<TcpListener> for Listeners {
    fn from(doors: TcpListener) -> Self {
        Self { doors, peers: None }
    }
}

/// Serves all doors until `shutdown`; `ready` is called once the views are filled. Requests that come before wait in the
/// backlog of their listener.
///
/// # Errors
/// A listener failed.
pub async fn run(
    client: Client,
    config: Config,
    listeners: impl Into<Listeners>,
    metrics: Arc<Metrics>,
    ready: impl FnOnce(),
    shutdown: CancellationToken,
) -> io::Result<()> {
    let Listeners { doors, peers } = listeners.into();
    let views = Views::default();
    let feeding = views.feed(client.clone(), config.namespace.as_deref(), shutdown.clone());
    let serving = async {
        tokio::select! {
            () = views.wait_until_ready() => {}
            () = shutdown.cancelled() => return Ok(()),
        }
        let facade = facade(client, &config, &views, metrics, &shutdown);
        let (router, _) = server::router(&facade, dialects::doors(), dialects::errand::refuse);
        ready();
        let served = tokio::select! {
            served = serve(&facade, config.tls.as_ref(), doors, router) => served,
            Err(failed) = serve_peers(&facade, peers) => Err(failed),
            never = count(&facade) => match never {},
        };
        facade.sockets.close();
        // Sockets are told to end by the shutdown, and bound themselves.
        let _ = tokio::time::timeout(FLUSH, facade.sockets.wait()).await;
        if tokio::time::timeout(FLUSH, facade.reports.flush()).await.is_err() {
            tracing::warn!("the last reports of progress could not all be written");
        }
        served
    };
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        served = &mut serving => return served,
        // Ends with the shutdown, which ends the serving too.
        () = feeding => {}
    }
    serving.await
}

/// Serves one listener until the shutdown, and looks after its certificate meanwhile.
async fn serve(
    facade: &Facade,
    tls: Option<&FileIdentity>,
    listener: TcpListener,
    router: Router,
) -> io::Result<()> {
    let serving = Serving {
        tls: tls.map(FileIdentity::server_config),
        linger: LINGER,
        ..Serving::plain(facade.config.connections)
    };
    tokio::select! {
        served = serving.serve(listener, router, facade.shutdown.clone()) => served,
        never = follow(tls) => match never {},
    }
}

async fn serve_peers(facade: &Facade, peers: Option<PeerListener>) -> io::Result<()> {
    let Some(PeerListener { listener, proof }) = peers else {
        return Ok(());
    };
    let router = peers::identify(server::peer_router(facade, dialects::peer_doors()), &proof);
    serve(facade, proof.identity(), listener, router).await
}

fn facade(
    client: Client,
    config: &Config,
    views: &Views,
    metrics: Arc<Metrics>,
    shutdown: &CancellationToken,
) -> Facade {
    let objects = Objects::new(client.clone(), config.manager.clone(), config.api_timeout);
    Facade::new(Inner {
        access: Access::new(client, config.access.clone()),
        views: views.clone(),
        reports: Reports::new(
            views.tasks.clone(),
            objects.clone(),
            config.reporters,
            shutdown.clone(),
        ),
        objects,
        config: config.clone(),
        metrics,
        shutdown: shutdown.clone(),
        logs: Arc::new(Semaphore::new(config.logs)),
        sockets: TaskTracker::new(),
    })
}

/// Looks after the certificate for as long as it is served.
async fn follow(tls: Option<&FileIdentity>) -> std::convert::Infallible {
    match tls {
        Some(identity) => identity.follow().await,
        None => std::future::pending().await,
    }
}

async fn count(facade: &Facade) -> std::convert::Infallible {
    let mut ticks = tokio::time::interval(COUNT_EVERY);
    loop {
        ticks.tick().await;
        facade.metrics.set_tasks(facade.views.tasks.read(Table::len));
    }
}
