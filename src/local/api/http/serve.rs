//! HTTPS on a listener: handshake, HTTP/1.1 and h2, limits for clients that are slow, silent or hostile.
use std::{pin::pin, sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A client has so long for the TLS handshake, and for the head of each request.
const PATIENCE: Duration = Duration::from_secs(10);
/// Connections at a time; more wait in the backlog of the listener.
const MAX_CONNECTIONS: usize = 1024;
/// Requests and open watches on one h2 connection. kube clients put all of theirs on one.
const MAX_STREAMS: u32 = 1000;
/// How long open requests may take to end at shutdown; watches are told to end first.
const LINGER: Duration = Duration::from_secs(2);
/// Pause after a failed accept: mostly too many open files, which a tight loop would not cure.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until shutdown; returns when the connections are closed, after at most a short time.
pub(in crate::local::api) async fn serve(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    router: Router,
    shutdown: CancellationToken,
) {
    let acceptor = TlsAcceptor::from(config);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = TaskTracker::new();
    let abort = CancellationToken::new();
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            break;
        };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let serving = connection(acceptor.clone(), stream, router.clone(), shutdown.clone());
                let abort = abort.clone();
                connections.spawn(async move {
                    tokio::select! {
                        () = serving => {}
                        () = abort.cancelled() => {}
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if timeout(LINGER, connections.wait()).await.is_err() {
        abort.cancel();
        connections.wait().await;
    }
}

async fn connection(acceptor: TlsAcceptor, stream: TcpStream, router: Router, shutdown: CancellationToken) {
    // Small answers must not wait for the client's delayed acknowledgements.
    let _ = stream.set_nodelay(true);
    let handshake = tokio::select! {
        () = shutdown.cancelled() => return,
        handshake = timeout(PATIENCE, acceptor.accept(stream)) => handshake,
    };
    let stream = match handshake {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => return tracing::debug!("a TLS handshake took too long"),
    };
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(64 * 1024);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(64 * 1024)
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .keep_alive_timeout(PATIENCE);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended badly");
    }
}
