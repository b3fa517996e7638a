//! `/livez`, `/readyz` and `/metrics` over plain HTTP.

use std::{
    collections::BTreeMap,
    fmt, io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::serve::Serving;

/// Media type of [`Exposition::encode`]: the OpenMetrics text format, version 1.0.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Connections at once; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 64;

/// Metrics that can be written out.
pub trait Exposition: Send + Sync {
    /// All metrics as [`CONTENT_TYPE`] text.
    ///
    /// # Errors
    /// A metric could not be written as text.
    fn encode(&self) -> Result<String, fmt::Error>;
}

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
    metrics: Arc<dyn Exposition>,
    shutdown: CancellationToken,
}

/// The routes, apart from the wire. After `shutdown`, `/readyz` says so.
pub fn router(readiness: Readiness, metrics: Arc<dyn Exposition>, shutdown: CancellationToken) -> Router {
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
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
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
    metrics: Arc<dyn Exposition>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let router = router(readiness, metrics, shutdown.clone());
    Serving::plain(MAX_CONNECTIONS)
        .serve(listener, router, shutdown)
        .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::metrics::Metrics;
    use axum::body::Body;
    use http_body_util::BodyExt as _;
    use std::time::Duration;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
        task::JoinHandle,
        time::timeout,
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
        assert_eq!(response.headers()["content-type"], CONTENT_TYPE);
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
