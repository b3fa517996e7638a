use std::collections::BTreeMap;

use axum::body::Bytes;
use http::header::HeaderName;
use proptest::prelude::*;

use super::*;

fn pod() -> PodProxy {
    let nobody = tower::service_fn(|_: http::Request<kube::client::Body>| async {
        Err::<http::Response<axum::body::Body>, _>(tower::BoxError::from("nobody"))
    });
    PodProxy {
        client: kube::Client::new(nobody, "ns"),
        namespace: "ns".into(),
        pod: "p".into(),
        port: 8080,
    }
}

fn get(path: &str) -> Request {
    Request {
        path: path.into(),
        ..Request::default()
    }
}

fn with_header(name: &str) -> Request {
    Request {
        headers: BTreeMap::from([(name.to_owned(), "x".to_owned())]),
        ..get("/")
    }
}

#[tokio::test]
async fn a_request_goes_to_the_port_of_the_pod_with_its_own_path_query_and_headers() {
    let request = Request {
        method: "PUT".into(),
        path: "/a/b%20c/?x=/../".into(),
        query: Some("y=%2e%2e/".into()),
        headers: BTreeMap::from(
            [
                ("X-A", "1"),
                ("Accept", "text/csv"),
                ("Connection", "x-a"),
                ("Cookie", "c=1"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        ),
        content_type: Some("text/plain".into()),
        body: Bytes::from_static(b"x"),
    };
    let head = request.proxied(&pod()).unwrap();
    assert_eq!(
        (head.method.as_str(), head.uri.to_string().as_str()),
        (
            "PUT",
            "/api/v1/namespaces/ns/pods/p:8080/proxy/a/b%20c/?x=/../&y=%2e%2e/"
        )
    );
    let names: Vec<&str> = head.headers.keys().map(HeaderName::as_str).collect();
    assert_eq!(names, ["accept", "cookie", "x-a", "content-type"]);
    let plain = get("").proxied(&pod()).unwrap();
    assert_eq!(plain.uri.to_string(), "/api/v1/namespaces/ns/pods/p:8080/proxy/");
}

#[test]
fn headers_that_say_who_asks_or_whom_are_refused_by_name() {
    for name in [
        "Authorization",
        "aUTHORIZATION",
        "Proxy-Authorization",
        "Host",
        "Impersonate-User",
        "impersonate-group",
        "Impersonate-Uid",
        "Impersonate-Extra-Scopes",
        "Impersonate-Anything-New",
        "X-Remote-User",
        "X-Remote-Group",
        "X-Remote-Extra-a",
    ] {
        let error = with_header(name).proxied_headers().unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "header {:?} does not go through the API server, which would take it as the controller's own; leave it \
                 out, or use http.dispatch: Direct",
                name.to_lowercase()
            )
        );
    }
}

#[test]
fn headers_that_the_api_server_writes_itself_are_left_out() {
    for name in [
        "X-Forwarded-For",
        "X-Forwarded-Uri",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "Forwarded",
        "X-Real-Ip",
        "Audit-Id",
        "Sec-WebSocket-Protocol",
        "Upgrade",
        "Connection",
        "Transfer-Encoding",
        "Content-Length",
    ] {
        assert_eq!(
            with_header(name).proxied_headers().unwrap(),
            HeaderMap::new(),
            "{name}"
        );
    }
}

#[test]
fn only_methods_that_rbac_has_a_verb_for_go_through() {
    let told = |method: &str| {
        let request = Request {
            method: method.into(),
            ..get("/")
        };
        request.proxied_method().map(|method| method.to_string())
    };
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] {
        assert_eq!(told(method).unwrap(), method);
    }
    for method in ["OPTIONS", "TRACE", "CONNECT", "PURGE", "get"] {
        assert!(told(method).is_err(), "{method}");
    }
}

#[test]
fn a_path_that_would_not_arrive_as_it_is_is_refused() {
    for good in [
        "/",
        "/a",
        "/a/",
        "/a/b.c/..d",
        "/%41/%C3%A9",
        "/a;v=1",
        "/%252e%252e/",
        "/...",
        "/a?b=//../",
    ] {
        assert!(get(good).proxied_target().is_ok(), "{good}");
    }
    for bad in [
        "//",
        "//a",
        "/a//b",
        "/..",
        "/../../secrets",
        "/a/../b",
        "/a/./b",
        "/%2e%2e/x",
        "/.%2E/x",
        "/a%2fb",
        "/..%2f..%2fsecrets",
        "/..%5c..%5csecrets",
        r"/..\..\secrets",
        "/..;/x",
        "/%2e%2e;a=1/x",
        "/a%00",
        "/a%",
        "/a%2",
        "/a%zz",
    ] {
        let refused = get(bad).proxied_target();
        assert!(
            matches!(refused, Err(RequestError::ProxyPath { .. })),
            "{bad}: {refused:?}"
        );
    }
}

#[test]
fn task_and_function_are_checked_before_anything_runs() {
    let http = |path: &str, ready: Option<&str>| Http {
        path: Some(path.into()),
        readiness_path: ready.map(str::to_owned),
        ..Http::default()
    };
    let input = Input {
        headers: BTreeMap::from([("x-a".to_owned(), "1".to_owned())]),
        ..Input::default()
    };
    assert!(check_proxied(&http("/a", Some("/ready")), &input).is_ok());
    let hostile = Input {
        headers: BTreeMap::from([("AUTHORIZATION".to_owned(), "Bearer stolen".to_owned())]),
        ..Input::default()
    };
    let refused = |http: &Http, input: &Input| check_proxied(http, input).unwrap_err();
    assert!(matches!(
        refused(&http("/a", Some("/ready")), &hostile),
        RequestError::ProxyHeader { .. }
    ));
    assert!(matches!(
        refused(&http("/a", None), &input),
        RequestError::ProxyReadiness
    ));
    assert!(matches!(
        refused(&http("/a/../b", Some("/ready")), &input),
        RequestError::ProxyPath { .. }
    ));
    assert!(matches!(
        refused(&http("/a", Some("//ready")), &input),
        RequestError::ProxyPath { .. }
    ));
}

proptest! {
    /// However a server reads the path, by decoding it once and cleaning it, it stays below the proxy.
    #[test]
    fn no_path_leaves_the_proxy(path in r"(/|\.|\.\.|%2[eEfF]|%5[cC]|%25|;|\\|a|\?|#|\PC){0,12}") {
        if let Ok(target) = get(&path).proxied_target() {
            let decoded = decode(target.path()).unwrap();
            let cleaned = String::from_utf8_lossy(&decoded).replace('\\', "/");
            let mut depth = 0;
            for segment in cleaned.split('/') {
                match segment.split(';').next().unwrap() {
                    "" | "." => {}
                    ".." => depth -= 1,
                    _ => depth += 1,
                }
                prop_assert!(depth >= 0, "{}", target);
            }
        }
    }

    /// Whatever headers an input brings, those that say who asks are not among what is sent.
    #[test]
    fn no_header_says_who_asks(name in "(?i)(authorization|impersonate-[a-z]{1,6}|x-remote-[a-z]{1,6}|host|x-[a-z]{1,6})") {
        if let Ok(headers) = with_header(&name).proxied_headers() {
            let says = |key: &HeaderName| {
                let key = key.as_str();
                key == "authorization" || key == "host" || key.starts_with("impersonate-") || key.starts_with("x-remote-")
            };
            prop_assert!(!headers.keys().any(says));
        }
    }
}
