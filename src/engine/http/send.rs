//! One request, one answer.

use std::{io, net::SocketAddr};

use axum::body::Bytes;
use http_body_util::BodyExt as _;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, timeout_at};
use tower::BoxError;

use super::{
    Answer, Request, RequestError, Route, answer, direct,
    proxy::{self, Refusal},
};
use crate::handover::hex;

/// Bytes of a body that are read and counted by default, kept or not. Longer ones are left where they are.
pub const READ_CAP: u64 = 1 << 30;

/// Bytes of an answer's head. A Task's status holds the headers, and has 1.5 MiB in all.
pub(super) const MAX_HEAD: usize = 64 * 1024;

/// Headers of an answer.
pub(super) const MAX_HEADERS: usize = 256;

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

/// Why there is no (whole) answer. [`Self::nothing_sent`] tells whether anything can have reached the function.
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
        source: BoxError,
    },
    #[error("the function answered with too large a head ({bytes} bytes)")]
    LargeHead { bytes: usize },
    #[error("the API server could not be asked to pass the request on")]
    ApiServer {
        /// False where there was no connection to it.
        sent: bool,
        #[source]
        source: Box<kube::Error>,
    },
    #[error("the API server got no answer from the function: {}", .0.message)]
    NotPassedOn(Refusal),
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
                | Self::ApiServer { sent: false, .. }
                | Self::NotPassedOn(Refusal { sent: false, .. })
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
pub async fn send(route: &Route, request: &Request, limits: Limits) -> Result<Answer, SendError> {
    match route {
        Route::Direct(target) => direct::send(*target, request, limits).await,
        Route::ApiProxy(pod) => proxy::send(pod, request, limits).await,
    }
}

/// Reads an answer within the limits.
pub(super) async fn read<B>(response: http::Response<B>, limits: Limits) -> Result<Answer, SendError>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
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
            Ok(Some(Err(source))) => break End::BrokenOff(source.into()),
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
    BrokenOff(BoxError),
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
