//! `/livez`, `/readyz` and `/metrics` over plain HTTP.

use std::{
    collections::BTreeMap,
    io,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use nix::errno::Errno;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::metrics::{self, Metrics};

/// From the start of a connection (or the end of the last answer) to the end of the next request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection is closed after this, whatever the other side does. Kubelets open one for each probe; Prometheus
/// opens a new one when it needs it.
const CONNECTION_LIFE: Duration = Duration::from_secs(120);

/// Time for requests under way when the process stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Connections at once; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 64;

/// What has to be there before this process is ready. Clones share their gates.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    gates: Arc<Mutex<BTreeMap<&'static str, Arc<AtomicBool>>>>,
}

/// One thing that has to be there; closed at first.
#[derive(Clone, Debug)]
pub struct Gate(Arc<AtomicBool>);

impl Readiness {
    /// Adds a gate, or gives the one that has this name. The name is what `/readyz` says is missing.
    pub fn gate(&self, name: &'static str) -> Gate {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        Gate(Arc::clone(gates.entry(name).or_default()))
    }

    /// Names of the gates that are closed.
    pub fn missing(&self) -> Vec<&'static str> {
        let gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        gates
            .iter()
            .filter(|(_, open)| !open.load(Ordering::Acquire))
            .map(|(name, _)| *name)
            .collect()
    }
}

impl Gate {
    /// Opens or closes the gate.
    pub fn set(&self, open: bool) {
        self.0.store(open, Ordering::Release);
    }

    /// Opens the gate.
    pub fn open(&self) {
        self.set(true);
    }
}

#[derive(Clone)]
struct Shared {
    readiness: Readiness,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
}

/// The routes, apart from the wire. After `shutdown`, `/readyz` says so.
pub fn router(readiness: Readiness, metrics: Arc<Metrics>, shutdown: CancellationToken) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(serve_metrics))
        .with_state(Shared {
            readiness,
            metrics,
            shutdown,
        })
}

async fn readyz(State(shared): State<Shared>) -> Response {
    if shared.shutdown.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n").into_response();
    }
    match shared.readiness.missing() {
        missing if missing.is_empty() => "ok\n".into_response(),
        missing => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready: {}\n", missing.join(", ")),
        )
            .into_response(),
    }
}

async fn serve_metrics(State(shared): State<Shared>) -> Response {
    match shared.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Serves the routes on `listener` until `shutdown`; requests under way then get a moment to end.
///
/// # Errors
/// The listener itself failed; what single connections do wrong is not an error.
pub async fn serve(
    listener: TcpListener,
    readiness: Readiness,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let service = TowerToHyperService::new(router(readiness, metrics, shutdown.clone()));
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    let accepting = async {
        // The semaphore is never closed.
        while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
            let stream = accept(&listener).await?;
            let connection = serve_connection(stream, service.clone(), shutdown.clone());
            connections.spawn(async move {
                connection.await;
                drop(slot);
            });
            while connections.try_join_next().is_some() {}
        }
        Ok(())
    };
    let outcome = tokio::select! {
        outcome = accepting => outcome,
        () = shutdown.cancelled() => Ok(()),
    };
    drop(listener);
    // The rest ends with the set.
    let _ = timeout(DRAIN_TIMEOUT, async {
        while connections.join_next().await.is_some() {}
    })
    .await;
    outcome
}

async fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return Ok(stream),
            // The other side gave up, or this process is out of descriptors for now.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error)
                if error
                    .raw_os_error()
                    .map(Errno::from_raw)
                    .is_some_and(out_of_descriptors) =>
            {
                tracing::warn!(%error, "no connection can be accepted for now");
                sleep(Duration::from_millis(100)).await;
            }
            Err(error) => return Err(error),
        }
    }
}

fn out_of_descriptors(errno: Errno) -> bool {
    matches!(errno, Errno::EMFILE | Errno::ENFILE)
}

async fn serve_connection(
    stream: TcpStream,
    service: TowerToHyperService<Router>,
    shutdown: CancellationToken,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let served = async {
        tokio::select! {
            outcome = &mut connection => outcome,
            () = shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    if let Ok(Err(error)) = timeout(CONNECTION_LIFE, served).await {
        tracing::debug!(%error, "connection to the health server ended early");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use http_body_util::BodyExt as _;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        task::JoinHandle,
    };
    use tower::ServiceExt as _;

    const LONG: Duration = Duration::from_secs(30);

    async fn ask(router: &Router, path: &str) -> (u16, String) {
        let request = http::Request::get(path).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readiness_names_what_is_missing() {
        let (readiness, shutdown) = (Readiness::default(), CancellationToken::new());
        let tasks = readiness.gate("cache of tasks");
        let pods = readiness.gate("cache of pods");
        let router = router(readiness.clone(), Arc::new(Metrics::new()), shutdown.clone());
        let missing = (503, "not ready: cache of pods, cache of tasks\n".to_owned());
        assert_eq!(ask(&router, "/readyz").await, missing);
        tasks.open();
        assert_eq!(
            ask(&router, "/readyz").await,
            (503, "not ready: cache of pods\n".to_owned())
        );
        pods.open();
        readiness.gate("cache of pods").open();
        assert_eq!(ask(&router, "/readyz").await, (200, "ok\n".to_owned()));
        pods.set(false);
        assert_eq!(ask(&router, "/readyz").await.0, 503);
        assert_eq!(ask(&router, "/livez").await, (200, "ok\n".to_owned()));
        pods.open();
        shutdown.cancel();
        assert_eq!(ask(&router, "/readyz").await, (503, "shutting down\n".to_owned()));
        assert_eq!(ask(&router, "/livez").await.0, 200);
    }

    #[tokio::test]
    async fn metrics_are_served_as_openmetrics() {
        let router = router(
            Readiness::default(),
            Arc::new(Metrics::new()),
            CancellationToken::new(),
        );
        let request = http::Request::get("/metrics").body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.headers()["content-type"], metrics::CONTENT_TYPE);
        assert!(ask(&router, "/metrics").await.1.ends_with("# EOF\n"));
        assert_eq!(ask(&router, "/").await.0, 404);
    }

    async fn start() -> (
        std::net::SocketAddr,
        CancellationToken,
        JoinHandle<io::Result<()>>,
    ) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(serve(
            listener,
            Readiness::default(),
            Arc::new(Metrics::new()),
            shutdown.clone(),
        ));
        (address, shutdown, server)
    }

    async fn livez(address: std::net::SocketAddr) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn the_server_answers_beside_idle_and_garbled_connections_and_stops_when_told() {
        let (address, shutdown, server) = start().await;
        let _idle = TcpStream::connect(address).await.unwrap();
        let mut garbled = TcpStream::connect(address).await.unwrap();
        garbled.write_all(b"\x16\x03\x01\x00\xff\r\n\r\n").await.unwrap();
        let answer = livez(address).await;
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("ok\n"),
            "{answer}"
        );
        shutdown.cancel();
        timeout(LONG, server).await.unwrap().unwrap().unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_never_asks_is_closed() {
        let (address, _shutdown, _server) = start().await;
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
        let mut answer = Vec::new();
        slow.read_to_end(&mut answer).await.unwrap();
        assert!(
            !answer.windows(3).any(|window| window == b"200"),
            "{}",
            answer.escape_ascii()
        );
    }
}
