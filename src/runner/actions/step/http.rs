//! The requests of downloads and uploads: HTTP/1.1, with and without TLS.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST, LOCATION, USER_AGENT};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore, crypto::ring};

/// A connection that does not come about by then does not at all.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a server may think about a request.
const ANSWER: Duration = Duration::from_secs(300);
/// Redirects that are followed, as Go's client does.
const MAX_REDIRECTS: usize = 10;

/// Why there is no answer. The texts do not show URLs, which may hold secrets.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    #[error("the URL cannot be used: {0}")]
    Url(&'static str),
    #[error("could not connect to {host}:{port}: {source}")]
    Connect {
        host: String,
        port: u16,
        source: io::Error,
    },
    #[error("could not speak TLS with {host}: {source}")]
    Tls { host: String, source: io::Error },
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
    #[error("the exchange with the server broke off: {}", crate::chain::chain(.0))]
    Exchange(#[from] hyper::Error),
    #[error("the server did not answer within {ANSWER:?}")]
    Silent,
    #[error("more than {MAX_REDIRECTS} redirects")]
    Redirects,
    #[error("the request cannot be made: {0}")]
    Request(#[from] http::Error),
}

/// Where a URL leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    tls: bool,
    host: String,
    port: u16,
    path: String,
    authorization: Option<String>,
}

impl Target {
    pub(super) fn parse(url: &str) -> Result<Self, HttpError> {
        let uri: Uri = url.parse().map_err(|_| HttpError::Url("it is no URL"))?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(HttpError::Url("only http and https are spoken")),
        };
        let authority = uri.authority().ok_or(HttpError::Url("it names no host"))?;
        let host = authority.host();
        if host.is_empty() {
            return Err(HttpError::Url("it names no host"));
        }
        let user = authority.as_str().rsplit_once('@').map(|(user, _)| user);
        Ok(Self {
            tls,
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
            authorization: user.map(|user| format!("Basic {}", BASE64.encode(decode(user)))),
        })
    }

    /// Where a redirect leads from here.
    fn join(&self, location: &str) -> Result<Self, HttpError> {
        if location.contains("://") {
            return Self::parse(location);
        }
        if let Some(rest) = location.strip_prefix("//") {
            let scheme = if self.tls { "https" } else { "http" };
            return Self::parse(&format!("{scheme}://{rest}"));
        }
        let path = match location.starts_with('/') {
            true => location.to_owned(),
            false => {
                let path = self.path.split('?').next().unwrap_or("/");
                let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
                format!("{folder}/{location}")
            }
        };
        Ok(Self { path, ..self.clone() })
    }

    fn host_header(&self) -> String {
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => self.host.clone(),
            (_, port) => format!("{}:{port}", self.host),
        }
    }
}

/// Undoes percent signs.
fn decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let digits = text.get(at + 1..at + 3).filter(|_| *byte == b'%');
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(decoded) => {
                out.push(decoded);
                at += 3;
            }
            None => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    out
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Sends a request, and follows redirects that keep the method; those that turn it into GET only for GET. `body` makes
/// a new body for each.
pub(super) async fn send<B>(
    method: Method,
    url: &str,
    headers: &HeaderMap,
    mut body: impl FnMut() -> B,
) -> Result<Response<Incoming>, HttpError>
where
    B: Body<Data = Bytes, Error = io::Error> + Send + Unpin + 'static,
{
    let mut target = Target::parse(url)?;
    for _ in 0..=MAX_REDIRECTS {
        let response = exchange(&method, &target, headers, body()).await?;
        let follow = match response.status() {
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => true,
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER => {
                method == Method::GET
            }
            _ => false,
        };
        let location = response
            .headers()
            .get(LOCATION)
            .and_then(|location| location.to_str().ok());
        let Some(location) = location.filter(|_| follow) else {
            return Ok(response);
        };
        let next = target.join(location)?;
        // Who is known to one server is nobody's business at another.
        let same = next.host == target.host && next.port == target.port;
        let authorization = next
            .authorization
            .clone()
            .or_else(|| target.authorization.clone().filter(|_| same));
        target = Target {
            authorization,
            ..next
        };
    }
    Err(HttpError::Redirects)
}

async fn exchange<B>(
    method: &Method,
    target: &Target,
    headers: &HeaderMap,
    body: B,
) -> Result<Response<Incoming>, HttpError>
where
    B: Body<Data = Bytes, Error = io::Error> + Send + Unpin + 'static,
{
    let mut request = Request::builder()
        .method(method)
        .uri(&target.path)
        .header(HOST, target.host_header())
        .header(USER_AGENT, concat!("errand/", env!("CARGO_PKG_VERSION")));
    if let Some(authorization) = &target.authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    let mut request = request.body(body)?;
    request.headers_mut().extend(headers.clone());
    let (mut sender, connection) = http1::handshake::<_, B>(TokioIo::new(connect(target).await?)).await?;
    // Its errors reach the exchange too.
    tokio::spawn(async move { drop(connection.await) });
    match timeout(ANSWER, sender.send_request(request)).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(HttpError::Silent),
    }
}

async fn connect(target: &Target) -> Result<Box<dyn Stream>, HttpError> {
    let refused = |source| HttpError::Connect {
        host: target.host.clone(),
        port: target.port,
        source,
    };
    // Brackets belong to the URL, not to the address.
    let host = target.host.trim_matches(['[', ']']);
    let stream = match timeout(CONNECT, TcpStream::connect((host, target.port))).await {
        Ok(stream) => stream.map_err(refused)?,
        Err(_) => return Err(refused(io::ErrorKind::TimedOut.into())),
    };
    let _ = stream.set_nodelay(true);
    if !target.tls {
        return Ok(Box::new(stream));
    }
    let name =
        ServerName::try_from(host.to_owned()).map_err(|_| HttpError::Url("its host has no valid name"))?;
    let shaken = timeout(
        CONNECT,
        TlsConnector::from(Arc::new(config()?)).connect(name, stream),
    )
    .await;
    let tls = shaken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    Ok(Box::new(tls.map_err(|source| HttpError::Tls {
        host: target.host.clone(),
        source,
    })?))
}

/// Trusts whom the container trusts (`SSL_CERT_FILE`, `SSL_CERT_DIR`, the usual places), and whom Mozilla trusts where
/// an image has no authorities of its own.
fn config() -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    Ok(builder
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Target {
        Target::parse(url).unwrap()
    }

    #[test]
    fn urls_lead_to_hosts_with_or_without_user() {
        let plain = Target {
            tls: false,
            host: "h".into(),
            port: 80,
            path: "/".into(),
            authorization: None,
        };
        assert_eq!(target("http://h"), plain);
        let known = Target {
            tls: true,
            host: "[::1]".into(),
            port: 8443,
            path: "/a?b=c".into(),
            authorization: Some("Basic dTpwQDE=".into()),
        };
        assert_eq!(target("https://u:p%401@[::1]:8443/a?b=c"), known);
        for bad in ["", "x", "/path", "ftp://h/x", "http://", "http:///x"] {
            assert!(matches!(Target::parse(bad), Err(HttpError::Url(_))), "{bad:?}");
        }
    }

    #[test]
    fn redirects_lead_from_where_they_stand() {
        let from = target("http://u@h:1/a/b?c");
        assert_eq!(from.join("/x?y").unwrap().path, "/x?y");
        assert_eq!(from.join("x").unwrap().path, "/a/x");
        assert_eq!(from.join("https://o/x").unwrap(), target("https://o/x"));
        assert_eq!(from.join("//o/x").unwrap(), target("http://o/x"));
    }
}
