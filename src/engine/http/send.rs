//! One request, one answer.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::body::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Body as _, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, timeout_at},
};

use super::{Answer, Request, RequestError, answer};
use crate::handover::hex;

/// Bytes of a body that are read and counted by default, kept or not. Longer ones are left where they are.
pub const READ_CAP: u64 = 1 << 30;

/// Bytes of an answer's head. A Task's status holds the headers, and has 1.5 MiB in all.
const MAX_HEAD: usize = 64 * 1024;

/// Headers of an answer.
const MAX_HEADERS: usize = 256;

/// A connection to a pod either comes at once or not at all; without this limit the kernel tries for two minutes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What a request may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the body that are kept.
    pub result: usize,
    /// Bytes of the body that are read: what goes over `result` is counted and digested only. See [`READ_CAP`].
    pub read: u64,
    /// When the whole exchange has to be over.
    pub deadline: Instant,
}

/// How far a request had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// No connection yet: nothing was sent.
    Connecting,
    /// The request was sent, whole or in part, and no answer had come.
    Waiting,
    /// The answer was being read.
    Reading,
}

/// Why there is no (whole) answer. Only [`Self::Request`] and [`Self::Connect`] promise that nothing was sent.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum SendError {
    #[error("the input cannot be sent over HTTP")]
    Request(#[from] RequestError),
    #[error("could not connect to {target}; nothing was sent")]
    Connect {
        target: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("the connection to the function ended before an answer")]
    Closed(#[source] hyper::Error),
    #[error("the function answered with something other than HTTP/1.1, or with too large a head")]
    Malformed(#[source] hyper::Error),
    #[error("the function switched protocols (101), which it was not asked for")]
    Switched,
    #[error("the function's answer broke off after {received} bytes")]
    BrokenOff {
        received: u64,
        /// What had come.
        partial: Box<Answer>,
        #[source]
        source: hyper::Error,
    },
    #[error("no whole answer within the time limit ({stage:?})")]
    Deadline {
        stage: Stage,
        /// What had come, in stage Reading.
        partial: Option<Box<Answer>>,
    },
}

impl SendError {
    /// True where the request cannot have reached the function, so that another attempt starts nothing twice.
    pub fn nothing_sent(&self) -> bool {
        matches!(
            self,
            Self::Request(_)
                | Self::Connect { .. }
                | Self::Deadline {
                    stage: Stage::Connecting,
                    ..
                }
        )
    }

    /// What had come of the answer when it failed.
    pub fn into_partial(self) -> Option<Answer> {
        match self {
            Self::BrokenOff { partial, .. } => Some(*partial),
            Self::Deadline { partial, .. } => partial.map(|partial| *partial),
            _ => None,
        }
    }
}

/// Sends the request once and reads the answer, whatever its status; 1xx answers before it are passed over.
///
/// Dropping the future closes the connection.
///
/// # Errors
/// No whole answer: see [`SendError`].
pub async fn send(target: SocketAddr, request: &Request, limits: Limits) -> Result<Answer, SendError> {
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

async fn read(response: http::Response<Incoming>, limits: Limits) -> Result<Answer, SendError> {
    let (head, mut body) = response.into_parts();
    if head.status == http::StatusCode::SWITCHING_PROTOCOLS {
        return Err(SendError::Switched);
    }
    let mut keep = Keep::new(limits, body.size_hint().exact());
    let end = loop {
        match timeout_at(limits.deadline, body.frame()).await {
            // Frames other than data are trailers.
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data()
                    && !keep.take(&data)
                {
                    break End::Capped;
                }
            }
            Ok(Some(Err(source))) => break End::BrokenOff(source),
            Ok(None) => break End::Whole,
            Err(_) => break End::Deadline,
        }
    };
    let received = keep.received;
    let answer = keep.answer(&head, matches!(end, End::Whole));
    match end {
        End::Whole | End::Capped => Ok(answer),
        End::BrokenOff(source) => Err(SendError::BrokenOff {
            received,
            partial: Box::new(answer),
            source,
        }),
        End::Deadline => Err(SendError::Deadline {
            stage: Stage::Reading,
            partial: Some(Box::new(answer)),
        }),
    }
}

enum End {
    Whole,
    Capped,
    BrokenOff(hyper::Error),
    Deadline,
}

/// A body on its way: kept up to one limit, read up to another.
struct Keep {
    limits: Limits,
    announced: Option<u64>,
    kept: Vec<u8>,
    received: u64,
    digest: Sha256,
}

impl Keep {
    fn new(limits: Limits, announced: Option<u64>) -> Self {
        Self {
            limits,
            announced,
            kept: Vec::new(),
            received: 0,
            digest: Sha256::new(),
        }
    }

    /// False once no more is to be read.
    fn take(&mut self, data: &[u8]) -> bool {
        self.received += data.len() as u64;
        let room = self.limits.result.saturating_sub(self.kept.len()).min(data.len());
        self.kept.extend_from_slice(data.get(..room).unwrap_or_default());
        self.digest.update(data);
        self.received < self.limits.read || self.announced == Some(self.received)
    }

    fn answer(self, head: &http::response::Parts, whole: bool) -> Answer {
        let content_type = head
            .headers
            .get(http::header::CONTENT_TYPE)
            .map(|value| answer::text(value.as_bytes()));
        Answer {
            status: head.status.as_u16(),
            headers: answer::kept_headers(&head.headers),
            content_type,
            truncated: !whole || (self.kept.len() as u64) < self.received,
            size: if whole {
                Some(self.received)
            } else {
                self.announced
            },
            sha256: whole.then(|| hex(&self.digest.finalize())),
            body: self.kept,
        }
    }
}
