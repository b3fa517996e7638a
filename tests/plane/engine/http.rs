//! HTTP functions: one request, one answer, byte for byte.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use errand::crd::Phase;
use serde_json::json;

use crate::support::world::World;

/// Answers one request in a way that its path decides, and reports the request itself.
const SERVER: &str = r#"
import http.server, os, sys, json
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self):
        body = self.rfile.read(int(self.headers.get('content-length') or 0))
        if self.path.startswith('/binary'):
            out, kind, code = bytes(range(256)), 'application/x-thing', 200
        elif self.path.startswith('/teapot'):
            out, kind, code = b'short and stout', 'text/plain', 418
        elif self.path.startswith('/silent'):
            os._exit(7)
        else:
            out = json.dumps([self.command, self.path, self.headers.get('x-one'), self.headers.get('content-type'), body.hex()]).encode()
            kind, code = 'application/json', 201
        print('answered', self.path, flush=True)
        self.send_response(code)
        self.send_header('Content-Type', kind)
        self.send_header('X-Two', 'a')
        self.send_header('X-Two', 'b')
        self.send_header('Content-Length', str(len(out)))
        self.end_headers()
        self.wfile.write(out)
    do_GET = do_POST = do_PUT = answer
    def log_message(self, *args): pass
http.server.HTTPServer(('0.0.0.0', int(os.environ['PORT'])), Handler).serve_forever()
"#;

fn server(path: &str) -> serde_json::Value {
    json!({"function": {
        "container": {"image": "python:3-alpine", "command": ["python3", "-c", SERVER]}, "http": {"path": path},
    }})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_request_is_what_the_input_says_and_the_answer_is_the_result() {
    let world = World::start().await;
    let mut spec = server("/echo");
    spec["input"] = json!({
        "method": "PUT", "query": "a=%201&b", "headers": {"X-One": "1"}, "contentType": "application/x-in",
        "bodyBase64": STANDARD.encode([0, 255, 10]),
    });
    world.task("t", spec).await;
    let status = world.ended("t").await.status.unwrap();
    assert_eq!(
        (status.phase, status.message.as_deref()),
        (
            Some(Phase::Succeeded),
            Some("the function answered with status 201")
        )
    );
    let result = status.result.unwrap();
    assert_eq!(
        (result.status, result.content_type.as_deref()),
        (201, Some("application/json"))
    );
    assert_eq!(
        result.body.as_deref(),
        Some(r#"["PUT", "/echo?a=%201&b", "1", "application/x-in", "00ff0a"]"#)
    );
    assert_eq!(result.headers.get("x-two").map(String::as_str), Some("a, b"));
    assert!(status.logs.unwrap().tail.contains("answered /echo"));
    world.no_pods().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_status_is_an_answer_and_bytes_stay_bytes() {
    let world = World::start().await;
    world.task("binary", server("/binary")).await;
    world.task("teapot", server("/teapot")).await;
    let binary = world.succeeded("binary").await;
    assert_eq!(
        binary.body_base64.map(|text| STANDARD.decode(text).unwrap()),
        Some((0..=255).collect())
    );
    assert_eq!(binary.content_type.as_deref(), Some("application/x-thing"));
    let teapot = world.succeeded("teapot").await;
    assert_eq!(
        (teapot.status, teapot.body.as_deref()),
        (418, Some("short and stout"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_is_a_failure() {
    let world = World::start().await;
    world.task("t", server("/silent")).await;
    let status = world.ended("t").await.status.unwrap();
    assert_eq!(
        (status.phase, status.result.map(|r| r.status)),
        (Some(Phase::Failed), Some(500))
    );
    assert!(
        ["NoAnswer", "ExitCode"].contains(&status.reason.as_deref().unwrap()),
        "{:?}",
        status.reason
    );
    world.no_pods().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_that_never_listens_ends_at_its_limit() {
    let world = World::start().await;
    world
        .task(
            "t",
            json!({"timeout": "1s", "function": {
                "container": {"image": "busybox", "command": ["sleep", "600"]}, "http": {},
            }}),
        )
        .await;
    let status = world.ended("t").await.status.unwrap();
    assert_eq!(
        (status.reason.as_deref(), status.result.map(|r| r.status)),
        (Some("TimedOut"), Some(408))
    );
    world.no_pods().await;
}
