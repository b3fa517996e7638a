//! `pods/NAME/proxy/PATH`: passes a request on to a pod, and its answer back.
//!
//! Rules and texts follow `k8s.io/kubernetes/pkg/registry/core/pod/strategy.go` (ResourceLocation) and
//! `k8s.io/apimachinery/pkg/util/proxy` (upgradeaware.go, transport.go). Knowingly different: pods of this plane have
//! loopback addresses, which a cluster refuses; there are no upgrades and no HTTPS to pods; links in HTML and
//! `Location` headers stay as they are.
use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};

use super::{
    path::Target,
    router::Exchange,
    status::{ApiError, Result},
};
use crate::local::api::{meta, verbs::WriteOptions};

/// As long as Kubernetes' own dialer tries.
const DIAL_TIMEOUT: Duration = Duration::from_secs(30);

/// Headers of one connection (Go's `net/http/httputil.ReverseProxy`), and the credentials, which authentication used up.
const NOT_PASSED: [&str; 10] = [
    "authorization",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

pub(super) async fn serve(exchange: &Exchange<'_>, request: Request<Body>) -> Result<Response<Body>> {
    let (name, port) = name_and_port(exchange.name()?)?;
    let pod = exchange.call(WriteOptions::default()).stored(name)?.value();
    let address = address(&pod, port)?;
    let message = message(exchange.target, address, request)?;
    let stream = match timeout(DIAL_TIMEOUT, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(unreachable(&format!("dial tcp {address}: {}", words(&error)))),
        Err(_) => return Err(unreachable(&format!("dial tcp {address}: i/o timeout"))),
    };
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| unreachable(&error.to_string()))?;
    let end = exchange.core.shutdown.clone();
    // The body of the answer comes over the connection long after this function has returned.
    tokio::spawn(async move {
        tokio::select! {
            () = end.cancelled() => {}
            _ = connection => {}
        }
    });
    let answer = sender.send_request(message).await;
    let mut answer = answer.map_err(|error| {
        unreachable(
            if error.is_incomplete_message() {
                "EOF".to_owned()
            } else {
                error.to_string()
            }
            .as_str(),
        )
    })?;
    drop_connection_headers(answer.headers_mut());
    Ok(answer.map(Body::new))
}

/// `[http:]NAME[:PORT]`.
fn name_and_port(id: &str) -> Result<(&str, Option<&str>)> {
    let invalid = || ApiError::bad_request(format!("invalid pod request {id:?}"));
    let mut parts = id.split(':');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(name), None, None, None) if !name.is_empty() => Ok((name, None)),
        (Some(name), Some(port), None, None) | (Some("http" | ""), Some(name), Some(port), None)
            if !name.is_empty() =>
        {
            Ok((name, Some(port).filter(|port| !port.is_empty())))
        }
        _ => Err(invalid()),
    }
}

fn address(pod: &Value, port: Option<&str>) -> Result<SocketAddr> {
    let ip: IpAddr = meta::text(pod, &["status", "podIP"])
        .parse()
        .map_err(|_| ApiError::bad_request("address not allowed"))?;
    let first = || {
        let containers = pod.pointer("/spec/containers")?.as_array()?;
        let mut ports = containers
            .iter()
            .filter_map(|container| container.pointer("/ports/0/containerPort"));
        u16::try_from(ports.next()?.as_u64()?).ok()
    };
    let port = match port {
        Some(text) => text
            .parse()
            .map_err(|_| ApiError::bad_request(format!("invalid port {text:?}")))?,
        None => first().unwrap_or(80),
    };
    Ok(SocketAddr::new(ip, port))
}

fn message(target: &Target, address: SocketAddr, request: Request<Body>) -> Result<Request<Body>> {
    let (mut head, body) = request.into_parts();
    let path = path(target, head.uri.path().ends_with('/'));
    let forwarded = [
        ("x-forwarded-uri", head.uri.path()),
        ("x-forwarded-host", &address.to_string()),
        ("x-forwarded-proto", "http"),
    ];
    let forwarded = forwarded.map(|(name, value)| (name, HeaderValue::from_str(value)));
    let wanted = match head.uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    let uri = Uri::try_from(wanted).map_err(|error| ApiError::bad_request(error.to_string()))?;
    drop_connection_headers(&mut head.headers);
    let impersonation = |name: &header::HeaderName| name.as_str().starts_with("impersonate-");
    let used: Vec<_> = head
        .headers
        .keys()
        .filter(|name| impersonation(name))
        .cloned()
        .collect();
    for name in used {
        head.headers.remove(name);
    }
    for (name, value) in forwarded {
        let value = value.map_err(|error| ApiError::bad_request(error.to_string()))?;
        head.headers.insert(name, value);
    }
    if !head.headers.contains_key(header::HOST) {
        let host = HeaderValue::from_str(&address.to_string());
        let host = host.map_err(|error| ApiError::bad_request(error.to_string()))?;
        head.headers.insert(header::HOST, host);
    }
    let mut message = Request::new(body);
    *message.method_mut() = head.method;
    *message.uri_mut() = uri;
    *message.headers_mut() = head.headers;
    Ok(message)
}

/// What follows `proxy`, as Go's `path.Join` cleans it and `url.URL.EscapedPath` writes it.
fn path(target: &Target, trailing_slash: bool) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in target.tail.iter().flat_map(|segment| segment.split('/')) {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    let mut path = String::new();
    for segment in &kept {
        path.push('/');
        escape(&mut path, segment);
    }
    if path.is_empty() || trailing_slash {
        path.push('/');
    }
    path
}

fn escape(path: &mut String, segment: &str) {
    for byte in segment.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => path.push(char::from(byte)),
            b'-' | b'_' | b'.' | b'~' | b'$' | b'&' | b'+' | b',' | b':' | b';' | b'=' | b'@' => {
                path.push(char::from(byte));
            }
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
}

fn drop_connection_headers(headers: &mut HeaderMap) {
    let named: Vec<String> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(',').map(|name| name.trim().to_lowercase()))
        .collect();
    for name in NOT_PASSED.iter().copied().chain(named.iter().map(String::as_str)) {
        headers.remove(name);
    }
}

fn unreachable(why: &str) -> ApiError {
    let message = format!("error trying to reach service: {why}");
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message)
}

/// Go's words where clients look at them.
fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        _ => format!("connect: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_is_named_with_its_port() {
        assert_eq!(name_and_port("p").unwrap(), ("p", None));
        assert_eq!(name_and_port("p:80").unwrap(), ("p", Some("80")));
        assert_eq!(name_and_port("http:p:80").unwrap(), ("p", Some("80")));
        for bad in ["", ":80", "ftp:p:80", "https:p:80", "http:p:80:1"] {
            assert!(name_and_port(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn without_a_port_the_first_declared_one_counts() {
        let pod = json!({"status": {"podIP": "127.1.2.3"}, "spec": {"containers": [
            {"name": "a"}, {"name": "b", "ports": [{"containerPort": 8080}]},
        ]}});
        assert_eq!(address(&pod, None).unwrap(), "127.1.2.3:8080".parse().unwrap());
        assert_eq!(address(&pod, Some("9")).unwrap(), "127.1.2.3:9".parse().unwrap());
        assert!(address(&pod, Some("x")).is_err());
        assert_eq!(
            address(&json!({}), Some("9")).unwrap_err().message,
            "address not allowed"
        );
    }

    #[test]
    fn a_path_is_cleaned_and_never_leaves_its_root() {
        let cleaned = |uri: &str| {
            let target = super::super::path::parse(uri).unwrap().unwrap();
            path(&target, uri.ends_with('/'))
        };
        let at = |tail: &str| cleaned(&format!("/api/v1/namespaces/n/pods/p:80/proxy{tail}"));
        assert_eq!(at(""), "/");
        assert_eq!(at("/"), "/");
        assert_eq!(at("/a/b"), "/a/b");
        assert_eq!(at("/a/b/"), "/a/b/");
        assert_eq!(at("//a//b"), "/a/b");
        assert_eq!(at("/a/../../../b"), "/b");
        assert_eq!(at("/a/%2e%2e%2fb"), "/b");
        assert_eq!(at("/a%20b/%C3%A9"), "/a%20b/%C3%A9");
    }
}
