//! Requests that are passed on to pods.
use axum::{Router, body::Bytes};
use http::{HeaderMap, Method, Uri};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::wire::Wire;

const PODS: &str = "/api/v1/namespaces/default/pods";
const MERGE: (&str, &str) = ("content-type", "application/merge-patch+json");

/// Answers with what it was asked.
async fn echo(
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> ([(&'static str, &'static str); 1], String) {
    let headers: Value = headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().into()))
        .collect::<serde_json::Map<String, Value>>()
        .into();
    let body = String::from_utf8_lossy(&body);
    let said = json!({"method": method.as_str(), "uri": uri.to_string(), "headers": headers, "body": body});
    ([("x-own", "1")], said.to_string())
}

/// A pod named `p` at this machine's loopback address, with a server on the port that is returned.
async fn pod(wire: &Wire) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async { axum::serve(listener, Router::new().fallback(echo)).await });
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    assert_eq!(wire.post(PODS, pod).await.0, 201);
    let status = json!({"status": {"podIP": "127.0.0.1"}}).to_string();
    let patched = wire
        .send("PATCH", &format!("{PODS}/p/status"), &[MERGE], status)
        .await;
    assert_eq!(patched.0, 200);
    port
}

#[tokio::test]
async fn a_request_reaches_the_pod_without_the_callers_credentials() {
    let wire = Wire::new().await;
    let port = pod(&wire).await;
    let headers = [
        ("x-one", "1"),
        ("accept", "text/weird"),
        ("connection", "x-hop"),
        ("x-hop", "1"),
        ("proxy-authorization", "secret"),
    ];
    let path = format!("{PODS}/p:{port}/proxy/a//b/../c%20d/?q=%zz&watch=1");
    let (code, said) = wire.send("POST", &path, &headers, "hello").await;
    assert_eq!(code, 200);
    let expected = json!({
        "method": "POST", "uri": "/a/c%20d/?q=%zz&watch=1", "body": "hello", "headers": {
            "accept": "text/weird", "x-one": "1", "content-length": "5", "host": format!("127.0.0.1:{port}"),
            "x-forwarded-uri": format!("{PODS}/p:{port}/proxy/a//b/../c%20d/"),
            "x-forwarded-host": format!("127.0.0.1:{port}"), "x-forwarded-proto": "http",
        },
    });
    assert_eq!(said, expected);
}

#[tokio::test]
async fn a_pod_that_does_not_answer_is_a_503_in_the_api_servers_words() {
    let wire = Wire::new().await;
    pod(&wire).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    assert_eq!(
        wire.refused("GET", &format!("{PODS}/p:{port}/proxy/"), &[], "")
            .await,
        (
            503,
            "ServiceUnavailable".into(),
            format!("error trying to reach service: dial tcp 127.0.0.1:{port}: connect: connection refused")
        )
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let closing = tokio::spawn(async move { drop(listener.accept().await) });
    let (code, reason, message) = wire
        .refused("GET", &format!("{PODS}/p:{port}/proxy/"), &[], "")
        .await;
    assert_eq!((code, reason.as_str()), (503, "ServiceUnavailable"));
    assert!(
        message.starts_with("error trying to reach service: "),
        "{message}"
    );
    closing.await.unwrap();
    let nobody = wire
        .refused("GET", &format!("{PODS}/q:{port}/proxy/"), &[], "")
        .await;
    assert_eq!(nobody, (404, "NotFound".into(), "pods \"q\" not found".into()));
}

#[tokio::test]
async fn the_right_to_it_follows_the_method() {
    let wire = Wire::new().await;
    let port = pod(&wire).await;
    let roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    let role = json!({"metadata": {"name": "r"},
        "rules": [{"apiGroups": [""], "resources": ["pods/proxy"], "verbs": ["get", "create"]}]});
    assert_eq!(wire.post(&format!("{roles}/roles"), role).await.0, 201);
    let binding = json!({"metadata": {"name": "b"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"kind": "User", "name": "ann", "apiGroup": "rbac.authorization.k8s.io"}]});
    assert_eq!(wire.post(&format!("{roles}/rolebindings"), binding).await.0, 201);
    let ann = ("authorization", "Bearer ann1");
    let path = format!("{PODS}/p:{port}/proxy/x");
    for (method, code) in [
        ("GET", 200),
        ("POST", 200),
        ("HEAD", 200),
        ("PUT", 403),
        ("PATCH", 403),
        ("DELETE", 403),
    ] {
        assert_eq!(wire.send(method, &path, &[ann], "").await.0, code, "{method}");
    }
    assert_eq!(wire.send("OPTIONS", &path, &[], "").await.0, 405);
    // What follows another subresource is nothing.
    assert_eq!(
        wire.send("GET", &format!("{PODS}/p/status/x"), &[], "").await.0,
        404
    );
}
