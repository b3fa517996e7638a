//! HTTP functions that are reached through the API server.

use std::sync::{Arc, Mutex, PoisonError};

use errand::crd::Phase;
use serde_json::{Value, json};

use crate::support::{
    fault::{Fault, Faults},
    world::World,
};

/// Answers with what it was asked, except on the path `/silent`.
const SERVER: &str = r"
import http.server, json, os
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self):
        body = self.rfile.read(int(self.headers.get('content-length') or 0))
        if self.path.startswith('/silent'):
            os._exit(7)
        out = json.dumps([self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body.hex()]).encode()
        self.send_response(503 if self.path.startswith('/busy') else 200)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Retry-After', '0')
        self.send_header('Content-Length', str(len(out)))
        self.end_headers()
        self.wfile.write(out)
    do_GET = do_POST = do_PUT = answer
    def log_message(self, *args): pass
http.server.HTTPServer(('0.0.0.0', int(os.environ['PORT'])), Handler).serve_forever()
";

fn function(path: &str) -> Value {
    json!({
        "container": {"image": "python:3-alpine", "command": ["python3", "-c", SERVER]},
        "http": {"path": path, "dispatch": "ApiProxy", "readinessPath": "/ready"},
    })
}

/// What the engine has asked of pods through the API server, as `METHOD PATH` from the proxy on; readiness left out.
#[derive(Clone, Default)]
struct Passed(Arc<Mutex<Vec<String>>>);

impl Passed {
    fn watch(&self) -> Faults {
        let passed = self.clone();
        Arc::new(move |request| {
            let (head, tail) = request.uri().path().split_once("/proxy/").unwrap_or_default();
            if !head.is_empty() && tail != "ready" {
                let said = format!("{} /{tail}", request.method());
                passed.0.lock().unwrap_or_else(PoisonError::into_inner).push(said);
            }
            Fault::None
        })
    }

    fn said(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    async fn world(&self) -> World {
        World::start_with(|setup| setup.fault = Some(self.watch())).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_request_and_its_answer_pass_through_the_api_server_once() {
    let passed = Passed::default();
    let world = passed.world().await;
    let input = json!({
        "method": "PUT", "query": "a=%201&b=/../", "headers": {"X-One": "1", "X-Forwarded-For": "10.0.0.9"},
        "contentType": "application/x-in", "body": "hello",
    });
    world
        .task("t", json!({"function": function("/echo/%C3%A9"), "input": input}))
        .await;
    let result = world.succeeded("t").await;
    assert_eq!(
        (result.status, result.content_type.as_deref()),
        (200, Some("application/json"))
    );
    let said: Value = serde_json::from_str(result.body.as_deref().unwrap()).unwrap();
    assert_eq!(
        (&said[0], &said[1], &said[3]),
        (
            &json!("PUT"),
            &json!("/echo/%C3%A9?a=%201&b=/../"),
            &json!("68656c6c6f")
        )
    );
    let headers = said[2].as_object().unwrap();
    let one = |name: &str| headers.get(name).and_then(Value::as_str);
    assert_eq!(
        (
            one("x-one"),
            one("content-type"),
            one("authorization"),
            one("x-forwarded-for")
        ),
        (Some("1"), Some("application/x-in"), None, None)
    );
    assert_eq!(passed.said(), ["PUT /echo/%C3%A9"]);
    world.no_pods().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_says_to_come_again_is_the_answer() {
    let passed = Passed::default();
    let world = passed.world().await;
    world.task("t", json!({"function": function("/busy")})).await;
    assert_eq!(world.succeeded("t").await.status, 503);
    assert_eq!(passed.said(), ["GET /busy"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_that_breaks_off_gave_no_answer() {
    let passed = Passed::default();
    let world = passed.world().await;
    world.task("t", json!({"function": function("/silent")})).await;
    let status = world.ended("t").await.status.unwrap();
    assert_eq!(status.phase, Some(Phase::Failed), "{status:#?}");
    let told = (
        status.reason.as_deref().unwrap(),
        status.message.as_deref().unwrap(),
    );
    assert!(
        told.0 == "ExitCode"
            || (told.0 == "NoAnswer"
                && told
                    .1
                    .starts_with("the API server got no answer from the function: ")),
        "{told:?}"
    );
    assert_eq!(passed.said(), ["GET /silent"]);
    world.no_pods().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_cannot_ask_the_api_server_as_somebody_else_or_for_something_else() {
    let passed = Passed::default();
    let world = passed.world().await;
    let hostile = [
        ("token", "/", json!({"Authorization": "Bearer stolen"})),
        ("user", "/", json!({"Impersonate-User": "system:admin"})),
        ("group", "/", json!({"impersonate-group": "system:masters"})),
        ("front", "/", json!({"X-Remote-User": "admin"})),
        ("host", "/", json!({"Host": "other.example"})),
        ("dots", "/../../../secrets", json!({})),
        ("escaped", "/%2e%2e/%2E%2e/log", json!({})),
        ("slashes", "//other/x", json!({})),
    ];
    for (name, path, headers) in hostile {
        world
            .task(
                name,
                json!({"function": function(path), "input": {"headers": headers}}),
            )
            .await;
        let status = world.ended(name).await.status.unwrap();
        assert_eq!(
            (status.phase, status.reason.as_deref(), status.pod),
            (Some(Phase::Failed), Some("InvalidSpec"), None),
            "{name}"
        );
        let words = status.message.unwrap();
        assert!(
            words.starts_with("http.dispatch: ApiProxy: ")
                && words.contains("does not go through the API server"),
            "{words}"
        );
    }
    assert_eq!(passed.said(), [""; 0]);
    world.no_pods().await;
}
