//! HTTP on a listener: TLS where asked for, HTTP/1.1 and h2, limits for clients that are slow, silent or hostile, and
//! an end that lets open requests finish.

use std::{io, pin::pin, sync::Arc, time::Duration};

use axum::{Extension, Router};
use hyper::server::conn::{http1, http2};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use nix::errno::Errno;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Layer as _;

use crate::tls::Peer;

/// A client has so long for the TLS handshake, and for the head of each request; an idle connection is closed after it
/// too.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause after a failed accept: mostly too many open files, which a tight loop would not cure.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Most bytes of a request's head.
const MAX_HEAD: u32 = 64 * 1024;
/// Most headers of an HTTP/1.1 request.
const MAX_HEADERS: usize = 128;

/// How a listener is served. Every request carries the [`Peer`] at the other end in its extensions.
#[derive(Clone)]
pub struct Serving {
    /// Certificate and key; `None` = plain HTTP.
    pub tls: Option<Arc<ServerConfig>>,
    /// Connections at a time; more wait in the backlog of the listener.
    pub connections: usize,
    /// Requests and open streams on one h2 connection.
    pub streams: u32,
    /// How long open requests may take to end at shutdown.
    pub linger: Duration,
}

impl Serving {
    /// Plain HTTP for a handful of peers.
    pub fn plain(connections: usize) -> Self {
        Self {
            tls: None,
            connections,
            streams: 1000,
            linger: Duration::from_secs(2),
        }
    }

    /// Serves until shutdown; returns when the connections are closed, at most `linger` later.
    ///
    /// # Errors
    /// The listener itself failed; what single connections do wrong is not an error.
    pub async fn serve(
        self,
        listener: TcpListener,
        router: Router,
        shutdown: CancellationToken,
    ) -> io::Result<()> {
        let acceptor = self.tls.clone().map(TlsAcceptor::from);
        let places = Arc::new(Semaphore::new(self.connections));
        let connections = TaskTracker::new();
        let abort = CancellationToken::new();
        let accepting = async {
            // The semaphore is never closed.
            while let Ok(place) = places.clone().acquire_owned().await {
                let stream = accept(&listener).await?;
                let serving = connection(
                    acceptor.clone(),
                    stream,
                    router.clone(),
                    self.streams,
                    shutdown.clone(),
                );
                let abort = abort.clone();
                connections.spawn(async move {
                    tokio::select! {
                        () = serving => {}
                        () = abort.cancelled() => {}
                    }
                    drop(place);
                });
            }
            Ok(())
        };
        let outcome = tokio::select! {
            outcome = accepting => outcome,
            () = shutdown.cancelled() => Ok(()),
        };
        drop(listener);
        connections.close();
        if timeout(self.linger, connections.wait()).await.is_err() {
            abort.cancel();
            connections.wait().await;
        }
        outcome
    }
}

async fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return Ok(stream),
            // The other side gave up.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) if passes(&error) => {
                tracing::warn!(%error, "no connection can be accepted for now");
                sleep(ACCEPT_PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// True for errors of accept(2) that another try may not meet.
fn passes(error: &io::Error) -> bool {
    error.raw_os_error().map(Errno::from_raw).is_some_and(|errno| {
        matches!(
            errno,
            Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM | Errno::EPERM | Errno::EPROTO
        )
    })
}

async fn connection(
    acceptor: Option<TlsAcceptor>,
    stream: TcpStream,
    router: Router,
    streams: u32,
    shutdown: CancellationToken,
) {
    // Small answers must not wait for the client's delayed acknowledgements.
    let _ = stream.set_nodelay(true);
    let Some(acceptor) = acceptor else {
        return match timeout(PATIENCE, begins_as_h2(&stream)).await {
            Ok(Ok(h2)) => speak(stream, h2, Peer::default(), router, streams, shutdown).await,
            Ok(Err(_)) | Err(_) => tracing::debug!("a connection never asked anything"),
        };
    };
    let handshake = tokio::select! {
        () = shutdown.cancelled() => return,
        handshake = timeout(PATIENCE, acceptor.accept(stream)) => handshake,
    };
    match handshake {
        Ok(Ok(stream)) => {
            let session = stream.get_ref().1;
            let h2 = session.alpn_protocol() == Some(b"h2");
            let shown = session.peer_certificates().and_then(<[_]>::first);
            let peer = shown.map(Peer::of).unwrap_or_default();
            speak(stream, h2, peer, router, streams, shutdown).await;
        }
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

/// True where the client begins with the preface of h2 (RFC 9113, section 3.4) and so has prior knowledge of it.
async fn begins_as_h2(stream: &TcpStream) -> io::Result<bool> {
    let mut begin = [0; 3];
    let length = stream.peek(&mut begin).await?;
    Ok(length == begin.len() && &begin == b"PRI")
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    h2: bool,
    peer: Peer,
    router: Router,
    streams: u32,
    shutdown: CancellationToken,
) {
    let service = TowerToHyperService::new(Extension(peer).layer(router));
    let stream = TokioIo::new(stream);
    let ended = if h2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(streams)
            .max_header_list_size(MAX_HEAD)
            .keep_alive_interval(Some(Duration::from_secs(30)))
            .keep_alive_timeout(PATIENCE);
        let mut connection = pin!(builder.serve_connection(stream, service));
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    } else {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_HEAD as usize);
        let mut connection = pin!(builder.serve_connection(stream, service).with_upgrades());
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended badly");
    }
}
