//! One POST on the wire, and the head of its answer.
//!
//! A name is looked up once, the addresses are judged, and the connection goes to one of them: what was judged is what
//! is called, also where the name leads elsewhere a moment later. No proxy is asked, whatever the environment says.
//! The body of an answer is nobody's business here and goes nowhere: status would show it to whoever may read the Task.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs as _},
    sync::Arc,
    time::Duration,
};

use axum::body::Bytes;
use http::{HeaderMap, HeaderValue, Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use k8s_openapi::jiff::{Timestamp, fmt::rfc2822};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::Semaphore,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};

use super::{
    Networks,
    decide::Answer,
    networks::Denied,
    target::{Target, TargetError},
};
use crate::{chain::chain, tls::Outgoing};

/// Redirects that are followed.
const MAX_REDIRECTS: usize = 3;
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 4;
/// An address that has not taken the connection by then makes way for the next one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Names looked up at once. A look-up cannot be stopped and may outlive its call, so it is counted by itself.
const LOOKUPS: usize = 32;
/// Bytes of an answer's head.
const MAX_HEAD: usize = 64 * 1024;
/// Headers of an answer.
const MAX_HEADERS: usize = 256;
/// What is read of an answer's body, so that a receiver that writes one is not cut off in the middle of a word.
const MAX_BODY: usize = 16 * 1024;
/// And for how long.
const BODY_TIMEOUT: Duration = Duration::from_millis(500);

/// What is sent.
#[derive(Clone, Debug)]
pub struct Message {
    /// Headers beside those of the connection.
    pub headers: HeaderMap,
    /// JSON.
    pub body: Bytes,
}

/// What a call may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Time until the head of the answer, redirects included.
    pub timeout: Duration,
    /// Whether redirects are followed.
    pub redirects: bool,
}

/// Makes calls.
pub struct Caller {
    networks: Networks,
    tls: Outgoing,
    lookups: Arc<Semaphore>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error("could not look up {host}")]
    Lookup {
        host: String,
        #[source]
        source: io::Error,
    },
    #[error("could not connect to {address}")]
    Connect {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("could not agree on TLS with {host}")]
    Tls {
        host: String,
        #[source]
        source: io::Error,
    },
    #[error("the connection broke before an answer")]
    Closed(#[source] hyper::Error),
    #[error("the answer was a redirect without an address")]
    Location,
    #[error("the answers were more than {MAX_REDIRECTS} redirects")]
    Redirects,
    #[error("no answer within {limit:?} ({stage})")]
    Late { limit: Duration, stage: &'static str },
}

impl From<CallError> for Answer {
    fn from(error: CallError) -> Self {
        let words = chain(&error);
        match error {
            CallError::Target(_) | CallError::Denied(_) => Self::Refused(words),
            CallError::Late { .. } => Self::TimedOut(words),
            _ => Self::Broken(words),
        }
    }
}

/// A deadline that can say what it was.
#[derive(Clone, Copy)]
struct Deadline {
    at: Instant,
    limit: Duration,
}

impl Deadline {
    async fn before<T>(self, stage: &'static str, work: impl Future<Output = T>) -> Result<T, CallError> {
        let limit = self.limit;
        timeout_at(self.at, work)
            .await
            .map_err(|_| CallError::Late { limit, stage })
    }
}

impl Caller {
    /// Calls whom `networks` allow; what https receivers are shown and must show goes by `tls`.
    pub fn new(networks: Networks, tls: Outgoing) -> Self {
        Self {
            networks,
            tls,
            lookups: Arc::new(Semaphore::new(LOOKUPS)),
        }
    }

    /// POSTs once, and again to wherever redirects lead that may be followed. Dropping the future closes the connection.
    pub async fn post(&self, target: &Target, message: &Message, limits: Limits) -> Answer {
        match self.hops(target, message, limits).await {
            Ok(answer) => answer,
            Err(error) => error.into(),
        }
    }

    async fn hops(&self, target: &Target, message: &Message, limits: Limits) -> Result<Answer, CallError> {
        let deadline = Deadline {
            at: Instant::now() + limits.timeout,
            limit: limits.timeout,
        };
        let mut target = target.clone();
        for _ in 0..=MAX_REDIRECTS {
            let head = self.hop(&target, message, deadline).await?;
            let status = head.status.as_u16();
            // 303 asks for a GET, which would tell nobody anything.
            if !limits.redirects || !matches!(status, 301 | 302 | 307 | 308) {
                return Ok(Answer::Status(
                    status,
                    retry_after(&head.headers, Timestamp::now()),
                ));
            }
            let location = head.headers.get(header::LOCATION);
            let location = location.and_then(|value| value.to_str().ok());
            target = target.redirected(location.ok_or(CallError::Location)?)?;
        }
        Err(CallError::Redirects)
    }

    async fn hop(
        &self,
        target: &Target,
        message: &Message,
        deadline: Deadline,
    ) -> Result<http::response::Parts, CallError> {
        let addresses = self.addresses(target, deadline).await?;
        let stream = connect(&addresses, deadline).await?;
        // Without it the body can wait 40 ms for the acknowledgement of the head. Not vital.
        let _ = stream.set_nodelay(true);
        if !target.is_https() {
            return exchange(stream, target, message, deadline).await;
        }
        let failed = |source| CallError::Tls {
            host: target.authority().to_owned(),
            source,
        };
        let name = match target.host() {
            Ok(address) => ServerName::from(address),
            Err(name) => ServerName::try_from(name.to_owned())
                .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?,
        };
        let tls = TlsConnector::from(self.tls.config());
        let stream = deadline
            .before("agreeing on TLS", tls.connect(name, stream))
            .await?
            .map_err(failed)?;
        exchange(stream, target, message, deadline).await
    }

    /// The addresses that may be called.
    async fn addresses(&self, target: &Target, deadline: Deadline) -> Result<Vec<SocketAddr>, CallError> {
        let found = match target.host() {
            Ok(address) => vec![SocketAddr::new(address, target.port())],
            Err(name) => self.look_up(name, target.port(), deadline).await?,
        };
        let mut denied = None;
        let mut allowed = Vec::new();
        for address in found {
            match self.networks.judge(address.ip()) {
                Ok(()) => allowed.push(address),
                Err(error) => denied = denied.or(Some(error)),
            }
        }
        match (allowed.is_empty(), denied) {
            (true, Some(denied)) => Err(denied.into()),
            (true, None) => Err(CallError::Lookup {
                host: target.authority().to_owned(),
                source: io::Error::other("it has no address"),
            }),
            (false, _) => Ok(allowed),
        }
    }

    async fn look_up(&self, name: &str, port: u16, deadline: Deadline) -> Result<Vec<SocketAddr>, CallError> {
        let stage = "looking up the name";
        let host = name.to_owned();
        let failed = |source| CallError::Lookup {
            host: name.to_owned(),
            source,
        };
        let permit = deadline
            .before(stage, self.lookups.clone().acquire_owned())
            .await?;
        let permit = permit.map_err(|error| failed(io::Error::other(error)))?;
        let look = tokio::task::spawn_blocking(move || {
            let found = (host.as_str(), port).to_socket_addrs();
            drop(permit);
            found.map(Iterator::collect::<Vec<_>>)
        });
        let found = deadline.before(stage, look).await?;
        found
            .map_err(|error| failed(io::Error::other(error)))?
            .map_err(failed)
    }
}

/// Connects to the first address that takes it.
async fn connect(addresses: &[SocketAddr], deadline: Deadline) -> Result<TcpStream, CallError> {
    let mut last = None;
    let tried = addresses.len().min(MAX_ADDRESSES);
    for (place, address) in addresses.iter().take(tried).enumerate() {
        let dial = async {
            match place + 1 < tried {
                true => timeout(CONNECT_TIMEOUT, TcpStream::connect(address))
                    .await
                    .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
                false => TcpStream::connect(address).await,
            }
        };
        match deadline.before("connecting", dial).await? {
            Ok(stream) => return Ok(stream),
            Err(source) => {
                last = Some(CallError::Connect {
                    address: *address,
                    source,
                });
            }
        }
    }
    Err(last.unwrap_or(CallError::Late {
        limit: deadline.limit,
        stage: "connecting",
    }))
}

/// Sends the request and reads the head of the answer.
async fn exchange<S>(
    stream: S,
    target: &Target,
    message: &Message,
    deadline: Deadline,
) -> Result<http::response::Parts, CallError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::Builder::new()
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEAD)
        .max_buf_size(2 * MAX_HEAD)
        .handshake::<_, Full<Bytes>>(TokioIo::new(stream))
        .await
        .map_err(CallError::Closed)?;
    let request = request(target, message);
    let talk = async {
        let waiting = deadline.before("waiting for an answer", sender.send_request(request));
        let (head, body) = waiting.await?.map_err(CallError::Closed)?.into_parts();
        // Whatever becomes of the body, the answer is there.
        let _ = timeout(BODY_TIMEOUT, drain(body)).await;
        Ok(head)
    };
    // In one task, so that both end together.
    let (mut talk, mut connection) = (std::pin::pin!(talk), std::pin::pin!(connection));
    tokio::select! {
        outcome = &mut talk => outcome,
        // It has handed over all that came, and its error too.
        _ = &mut connection => talk.await,
    }
}

fn request(target: &Target, message: &Message) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(message.body.clone()));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = target.path().clone();
    let headers = request.headers_mut();
    headers.clone_from(&message.headers);
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    headers.insert(
        header::USER_AGENT,
        HeaderValue::from_static(concat!("errand/", env!("CARGO_PKG_VERSION"))),
    );
    // What a URL holds for a host is plain ASCII.
    if let Ok(host) = HeaderValue::from_str(target.authority()) {
        headers.insert(header::HOST, host);
    }
    request
}

async fn drain(mut body: hyper::body::Incoming) {
    let mut read = 0;
    while let Some(Ok(frame)) = body.frame().await {
        read += frame.data_ref().map_or(0, Bytes::len);
        if read >= MAX_BODY {
            return;
        }
    }
}

/// The wait that an answer asks for: seconds, or a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let date = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(Duration::try_from(date.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_asked_for_in_seconds_or_by_a_date() {
        let now: Timestamp = "1994-11-06T08:49:07Z".parse().unwrap();
        let asked = |text: &'static str| {
            let value = HeaderValue::from_static(text);
            retry_after(&HeaderMap::from_iter([(header::RETRY_AFTER, value)]), now)
        };
        let seconds = |count| Some(Duration::from_secs(count));
        assert_eq!(asked("120"), seconds(120));
        assert_eq!(asked("0"), seconds(0));
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:37 GMT"), seconds(30));
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:00 GMT"), seconds(0));
        for text in ["", "-1", "soon", "99999999999999999999", "1.5"] {
            assert_eq!(asked(text), None, "{text:?}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
