//! Straight to a pod's address, over a connection of its own.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::body::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, timeout_at},
};

use super::{
    Answer, Limits, Request, SendError, Stage,
    send::{MAX_HEAD, MAX_HEADERS, read},
};

/// A connection to a pod either comes at once or not at all; without this limit the kernel tries for two minutes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn send(target: SocketAddr, request: &Request, limits: Limits) -> Result<Answer, SendError> {
    let message = request.message(target)?;
    let stream = connect(target, limits.deadline).await?;
    let (mut sender, connection) = http1::Builder::new()
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEAD)
        .max_buf_size(2 * MAX_HEAD)
        .handshake::<_, Full<Bytes>>(TokioIo::new(WriteFirst::new(stream)))
        .await
        .map_err(SendError::Closed)?;
    let exchange = async {
        let waiting = timeout_at(limits.deadline, sender.send_request(message)).await;
        let response = waiting.map_err(|_| SendError::Deadline {
            stage: Stage::Waiting,
            partial: None,
        })?;
        read(response.map_err(no_answer)?, limits).await
    };
    alongside(exchange, connection).await
}

/// Drives `exchange` and the connection under it in one task, so that both end together.
async fn alongside<T>(exchange: impl Future<Output = T>, connection: impl Future) -> T {
    let (mut exchange, mut connection) = (pin!(exchange), pin!(connection));
    tokio::select! {
        outcome = &mut exchange => outcome,
        // The connection has handed over all that came, and its error too.
        _ = &mut connection => exchange.await,
    }
}

async fn connect(target: SocketAddr, deadline: Instant) -> Result<TcpStream, SendError> {
    let patience = deadline.min(Instant::now() + CONNECT_TIMEOUT);
    let stream = match timeout_at(patience, TcpStream::connect(target)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(source)) => return Err(SendError::Connect { target, source }),
        Err(_) if patience == deadline => {
            return Err(SendError::Deadline {
                stage: Stage::Connecting,
                partial: None,
            });
        }
        Err(_) => {
            return Err(SendError::Connect {
                target,
                source: io::ErrorKind::TimedOut.into(),
            });
        }
    };
    // Without it the body of a request can wait 40 ms for the acknowledgement of its head. Not vital.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// A connection on which nothing can be read before something was written.
///
/// hyper takes bytes that come before the request was written for an error, and so depends on which side is faster:
/// small servers write their answer as soon as they have accepted.
struct WriteFirst {
    stream: TcpStream,
    written: bool,
    reader: Option<Waker>,
}

impl WriteFirst {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            written: false,
            reader: None,
        }
    }
}

impl AsyncRead for WriteFirst {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.written {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        self.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl AsyncWrite for WriteFirst {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if outcome.is_ready() {
            self.written = true;
            if let Some(reader) = self.reader.take() {
                reader.wake();
            }
        }
        outcome
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

fn no_answer(error: hyper::Error) -> SendError {
    if error.is_parse() {
        SendError::Malformed(error)
    } else {
        SendError::Closed(error)
    }
}
