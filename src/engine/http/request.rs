//! The request to an HTTP function.

use std::{collections::BTreeMap, net::SocketAddr};

use axum::body::Bytes;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use http_body_util::Full;

use crate::crd::{self, Input};

/// Headers of an input that are not sent. They speak of the connection, which is ours, or of the length of the body,
/// which is counted (RFC 9110 section 7.6.1).
const NOT_SENT: [&str; 8] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A request as a Task's input describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Method; empty = POST with a body, GET without.
    pub method: String,
    /// Path, from its slash on; empty = `/`. It may bring a query of its own.
    pub path: String,
    /// Raw query without its question mark.
    pub query: Option<String>,
    /// Headers. Those of the connection (`connection`, `transfer-encoding`, ...) and `content-length` are left out.
    pub headers: BTreeMap<String, String>,
    /// Media type of the body; it goes before a `content-type` among the headers.
    pub content_type: Option<String>,
    /// Body, byte for byte.
    pub body: Bytes,
}

/// Why an input cannot be put into HTTP. Nothing was sent.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum RequestError {
    #[error("input.method {method:?} is not an HTTP method")]
    Method { method: String },
    #[error("path {path:?} with the query of the input is not a request target")]
    Target {
        path: String,
        #[source]
        source: http::uri::InvalidUri,
    },
    #[error("{name:?} is not a header name")]
    HeaderName { name: String },
    #[error("the value of header {name:?} holds characters that a header may not hold")]
    HeaderValue { name: String },
    #[error("input.bodyBase64 is not base64")]
    Body(#[source] base64::DecodeError),
    #[error("readinessPath must be set: the API server passes on requests, not bare connections")]
    ProxyReadiness,
    #[error(
        "method {method:?} does not go through the API server, which passes on GET, HEAD, POST, PUT, PATCH and DELETE"
    )]
    ProxyMethod { method: String },
    #[error(
        "header {name:?} does not go through the API server, which would take it as the controller's own; leave it out, or use http.dispatch: Direct"
    )]
    ProxyHeader { name: String },
    #[error(
        "path {path:?} does not go through the API server as it is: it may hold no empty, `.` or `..` segments, and no slash, backslash or lone % in another form"
    )]
    ProxyPath { path: String },
}

impl Request {
    /// The request that a Task's input asks of an HTTP function.
    ///
    /// # Errors
    /// A body that is not base64. What else HTTP cannot carry shows when the request is sent.
    pub fn new(http: &crd::Http, input: Option<&Input>) -> Result<Self, RequestError> {
        let path = http.path.clone().unwrap_or_default();
        let Some(input) = input else {
            return Ok(Self {
                path,
                ..Self::default()
            });
        };
        let body = match (&input.body, &input.body_base64) {
            (Some(text), _) => Bytes::from(text.clone()),
            (None, Some(text)) => Bytes::from(STANDARD.decode(text).map_err(RequestError::Body)?),
            (None, None) => Bytes::new(),
        };
        Ok(Self {
            method: input.method.clone().unwrap_or_default(),
            path,
            query: input.query.clone(),
            headers: input.headers.clone(),
            content_type: input.content_type.clone(),
            body,
        })
    }

    /// The message for the wire. `Host` is the input's own or else the target.
    pub(super) fn message(&self, target: SocketAddr) -> Result<http::Request<Full<Bytes>>, RequestError> {
        let mut message = http::Request::new(Full::new(self.body.clone()));
        *message.method_mut() = self.http_method()?;
        *message.uri_mut() = self.target()?;
        *message.headers_mut() = self.header_map(target)?;
        Ok(message)
    }

    pub(super) fn http_method(&self) -> Result<Method, RequestError> {
        match (self.method.as_str(), self.body.is_empty()) {
            ("", true) => Ok(Method::GET),
            ("", false) => Ok(Method::POST),
            // CONNECT asks for a tunnel, whose target has another form and whose answer has no end.
            ("CONNECT", _) => Err(RequestError::Method {
                method: self.method.clone(),
            }),
            (method, _) => Method::from_bytes(method.as_bytes()).map_err(|_| RequestError::Method {
                method: method.to_owned(),
            }),
        }
    }

    /// Path and query in origin form. Characters that a request target may not hold are percent-encoded, so that a
    /// `#` in a query arrives instead of cutting it off.
    pub(super) fn target(&self) -> Result<Uri, RequestError> {
        let mut target = String::new();
        if !self.path.starts_with('/') {
            target.push('/');
        }
        escape(&mut target, &self.path);
        if let Some(query) = &self.query {
            target.push(if target.contains('?') { '&' } else { '?' });
            escape(&mut target, query);
        }
        Uri::try_from(target).map_err(|source| RequestError::Target {
            path: self.path.clone(),
            source,
        })
    }

    fn header_map(&self, target: SocketAddr) -> Result<HeaderMap, RequestError> {
        let mut map = self.own_headers()?;
        if !map.contains_key(header::HOST) {
            map.insert(header::HOST, header_value("host", &target.to_string())?);
        }
        map.insert(header::CONNECTION, HeaderValue::from_static("close"));
        Ok(map)
    }

    /// The headers that the input gives, without those of the connection.
    pub(super) fn own_headers(&self) -> Result<HeaderMap, RequestError> {
        let mut map = HeaderMap::new();
        for (name, value) in &self.headers {
            let key = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| RequestError::HeaderName { name: name.clone() })?;
            // Names that differ only in case are one header; of Host there may be only one.
            let again = key == header::HOST && map.contains_key(&key);
            if !NOT_SENT.contains(&key.as_str()) && !again {
                map.append(key, header_value(name, value)?);
            }
        }
        if let Some(content_type) = &self.content_type {
            map.insert(header::CONTENT_TYPE, header_value("content-type", content_type)?);
        }
        Ok(map)
    }
}

fn header_value(name: &str, value: &str) -> Result<HeaderValue, RequestError> {
    HeaderValue::from_bytes(value.as_bytes()).map_err(|_| RequestError::HeaderValue {
        name: name.to_owned(),
    })
}

fn escape(target: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'!' | b'$'..=b';' | b'=' | b'?'..=b'_' | b'a'..=b'~' => target.push(char::from(byte)),
            _ => target.push_str(&format!("%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 8080))
    }

    fn request() -> Request {
        Request {
            path: "/run".into(),
            ..Request::default()
        }
    }

    #[test]
    fn an_input_becomes_a_request() {
        let input = Input {
            method: Some("PUT".into()),
            query: Some("a=1&b=%20".into()),
            headers: BTreeMap::from([("X-A".into(), "1".into())]),
            content_type: Some("application/octet-stream".into()),
            body_base64: Some("AP8=".into()),
            ..Input::default()
        };
        let http = crd::Http {
            path: Some("/run".into()),
            ..crd::Http::default()
        };
        let expected = Request {
            method: "PUT".into(),
            path: "/run".into(),
            query: Some("a=1&b=%20".into()),
            headers: BTreeMap::from([("X-A".into(), "1".into())]),
            content_type: Some("application/octet-stream".into()),
            body: Bytes::from_static(&[0, 255]),
        };
        assert_eq!(Request::new(&http, Some(&input)).unwrap(), expected);
        let bad = Input {
            body_base64: Some("A".into()),
            ..Input::default()
        };
        assert!(matches!(
            Request::new(&http, Some(&bad)),
            Err(RequestError::Body(_))
        ));
        assert_eq!(Request::new(&http, None).unwrap(), request());
    }

    #[test]
    fn the_method_follows_from_the_body_unless_it_is_given() {
        assert_eq!(request().http_method().unwrap(), Method::GET);
        let post = Request {
            body: Bytes::from_static(b"x"),
            ..request()
        };
        assert_eq!(post.http_method().unwrap(), Method::POST);
        let own = Request {
            method: "PURGE".into(),
            ..request()
        };
        assert_eq!(own.http_method().unwrap().as_str(), "PURGE");
        for method in ["CONNECT", "A B", "GET\r\n"] {
            let bad = Request {
                method: method.into(),
                ..request()
            };
            assert!(
                matches!(bad.http_method(), Err(RequestError::Method { .. })),
                "{method:?}"
            );
        }
    }

    #[test]
    fn every_printable_character_of_path_and_query_arrives() {
        let printable: String = (b'!'..=b'~').map(char::from).collect();
        let request = Request {
            path: format!("/{printable}"),
            query: Some(printable),
            ..Request::default()
        };
        let escaped = concat!(
            "!%22%23$%&'()*+,-./0123456789:;%3C=%3E?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_%60",
            "abcdefghijklmnopqrstuvwxyz{|}~"
        );
        assert_eq!(
            request.target().unwrap().to_string(),
            format!("/{escaped}&{escaped}")
        );
    }

    #[test]
    fn targets_are_put_together() {
        let text = |path: &str, query: Option<&str>| {
            let query = query.map(str::to_owned);
            Request {
                path: path.into(),
                query,
                ..Request::default()
            }
            .target()
            .unwrap()
            .to_string()
        };
        assert_eq!(text("", None), "/");
        assert_eq!(text("/a", Some("")), "/a?");
        assert_eq!(text("/a?b=1", Some("c=2")), "/a?b=1&c=2");
        assert_eq!(text("//other.example/x", None), "//other.example/x");
        assert_eq!(text("/a\r\nX: y", None), "/a%0D%0AX:%20y");
    }

    #[test]
    fn headers_of_the_connection_are_ours_and_the_rest_is_the_inputs() {
        let headers = [
            ("Host", "function.example"),
            ("host", "second.example"),
            ("Connection", "upgrade"),
            ("Transfer-Encoding", "chunked"),
            ("Content-Length", "99"),
            ("Content-Type", "text/plain"),
            ("X-Name", "Zoë"),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let request = Request {
            headers: BTreeMap::from(headers),
            content_type: Some("application/json".into()),
            ..request()
        };
        let expected = HeaderMap::from_iter([
            (header::HOST, HeaderValue::from_static("function.example")),
            (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (
                HeaderName::from_static("x-name"),
                HeaderValue::from_bytes("Zoë".as_bytes()).unwrap(),
            ),
            (header::CONNECTION, HeaderValue::from_static("close")),
        ]);
        assert_eq!(request.header_map(target()).unwrap(), expected);
        let plain = self::request().header_map("[::1]:80".parse().unwrap()).unwrap();
        assert_eq!(plain[header::HOST], "[::1]:80");
    }

    #[test]
    fn headers_that_would_break_the_message_are_refused_by_name() {
        let with = |name: &str, value: &str| {
            let headers = BTreeMap::from([(name.to_owned(), value.to_owned())]);
            Request { headers, ..request() }
                .header_map(target())
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            with("x-a", "1\r\nevil: 2"),
            "the value of header \"x-a\" holds characters that a header may not hold"
        );
        assert_eq!(with("x a", "1"), "\"x a\" is not a header name");
    }
}
