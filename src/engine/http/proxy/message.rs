//! What goes through the API server's pod proxy, and how it is asked to pass it on. Pure.
//!
//! The request carries the controller's own credentials, so nothing in a Task may change who asks, or for what:
//! authentication and authorization look at these headers (`k8s.io/apiserver/pkg/endpoints/filters`), and load
//! balancers before an API server choose it by `Host`. The proxy decodes and cleans paths (Go's `path.Join`); a path that would
//! not arrive as it was given is refused.

use http::{HeaderMap, Method, Uri};

use super::super::{Request, RequestError, route::PodProxy};
use crate::crd::{Http, Input};

/// Headers by which the API server, or what stands before it, tells who asks and where a request goes.
const REFUSED: [&str; 3] = ["authorization", "host", "proxy-authorization"];

/// The same, by how their names begin: impersonation, and the front proxy's word for who asks
/// (Kubernetes documentation, "Authenticating", by its default names).
const REFUSED_PREFIXES: [&str; 2] = ["impersonate-", "x-remote-"];

/// Headers of an input that are not sent. The API server writes its own, or would put them into its audit log as
/// the controller's.
const LEFT_OUT: [&str; 3] = ["audit-id", "forwarded", "x-real-ip"];

/// The same, by how their names begin. A header of WebSockets may bring a token.
const LEFT_OUT_PREFIXES: [&str; 2] = ["sec-websocket-", "x-forwarded-"];

/// Checks that the request of a Task, and the readiness path, go through the API server as they are.
///
/// # Errors
/// What does not, in a sentence.
pub fn check_proxied(http: &Http, input: &Input) -> Result<(), RequestError> {
    let ready = Request {
        path: http.readiness_path.clone().ok_or(RequestError::ProxyReadiness)?,
        ..Request::default()
    };
    for request in [&ready, &Request::new(http, Some(input))?] {
        request.proxied_method()?;
        request.proxied_target()?;
        request.proxied_headers()?;
    }
    Ok(())
}

impl Request {
    /// Head of the request to the API server.
    pub(super) fn proxied(&self, pod: &PodProxy) -> Result<http::request::Parts, RequestError> {
        let PodProxy {
            namespace, pod, port, ..
        } = pod;
        let target = self.proxied_target()?;
        let text = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy{target}");
        let (mut head, ()) = http::Request::new(()).into_parts();
        head.method = self.proxied_method()?;
        head.uri = Uri::try_from(text).map_err(|source| RequestError::Target {
            path: self.path.clone(),
            source,
        })?;
        head.headers = self.proxied_headers()?;
        Ok(head)
    }

    /// The methods that the proxy serves and that RBAC has a verb for. OPTIONS has none.
    fn proxied_method(&self) -> Result<Method, RequestError> {
        let method = self.http_method()?;
        match method {
            Method::GET | Method::HEAD | Method::POST | Method::PUT | Method::PATCH | Method::DELETE => {
                Ok(method)
            }
            _ => Err(RequestError::ProxyMethod {
                method: method.to_string(),
            }),
        }
    }

    fn proxied_target(&self) -> Result<Uri, RequestError> {
        let target = self.target()?;
        if stays_as_it_is(target.path()) {
            Ok(target)
        } else {
            Err(RequestError::ProxyPath {
                path: self.path.clone(),
            })
        }
    }

    fn proxied_headers(&self) -> Result<HeaderMap, RequestError> {
        let begins = |name: &str, prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
        let mut headers = HeaderMap::new();
        for (name, value) in &self.own_headers()? {
            let known = name.as_str();
            if REFUSED.contains(&known) || begins(known, &REFUSED_PREFIXES) {
                return Err(RequestError::ProxyHeader {
                    name: known.to_owned(),
                });
            }
            if !LEFT_OUT.contains(&known) && !begins(known, &LEFT_OUT_PREFIXES) {
                headers.append(name.clone(), value.clone());
            }
        }
        Ok(headers)
    }
}

/// True where neither the API server nor anything before it has a reason to change the path.
fn stays_as_it_is(path: &str) -> bool {
    let segments = path.strip_prefix('/').unwrap_or(path);
    let count = segments.split('/').count();
    segments.split('/').enumerate().all(|(index, segment)| {
        // A slash at the end stays.
        let last = index + 1 == count;
        (!segment.is_empty() || last) && is_plain(segment)
    })
}

fn is_plain(segment: &str) -> bool {
    let Some(decoded) = decode(segment) else {
        return false;
    };
    // Some servers take what follows a semicolon for parameters of the segment.
    let name = decoded.split(|byte| *byte == b';').next().unwrap_or_default();
    name != b"." && name != b".." && !decoded.iter().any(|byte| matches!(byte, b'/' | b'\\' | 0))
}

/// `None` for a percent sign without two hexadecimal digits.
fn decode(segment: &str) -> Option<Vec<u8>> {
    let mut bytes = segment.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        decoded.push(if byte == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16);
            u8::try_from(digit()? * 16 + digit()?).ok()?
        } else {
            byte
        });
    }
    Some(decoded)
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
