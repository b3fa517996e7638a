//! What is logged of a request that fails, and under which id.

use std::{
    io::{self, Write},
    sync::{Mutex, PoisonError},
};

use serde_json::Value;
use tracing::{Level, dispatcher::DefaultGuard};

use super::*;
use crate::facade::tests::line::Fault;

/// What this thread logs, as JSON, from level warn on.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Until the guard is dropped.
    fn catch() -> (Self, DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .with_max_level(Level::WARN)
            .with_writer(move || writer.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    /// The lines so far, which are forgotten: the id of the request, the message, and the error or what the API server
    /// said.
    fn take(&self) -> Vec<(String, String, String)> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let text = String::from_utf8(bytes).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let ours = lines.filter(|line: &Value| line["target"].as_str().unwrap().starts_with("errand::"));
        let told = ours.map(|line| {
            let said = |part: &Value| part.as_str().unwrap_or_default().to_owned();
            let fields = &line["fields"];
            (
                said(&line["span"]["request"]),
                said(&fields["message"]),
                said(&fields["error"]),
            )
        });
        told.collect()
    }
}

/// Calls whose message is empty.
const BARE: [&str; 4] = [
    "/v1/domains/list",
    "/v1/cells/list.r1",
    "/v1/events/tasks.r1",
    "/v1/events/tasks",
];

/// A request that each of the calls takes: a guid or a domain, and a cell or a reason.
fn body(path: &str) -> Vec<u8> {
    if path.contains("desire") {
        return desire("g", "d", &definition().encode_to_vec());
    }
    let mut body = Vec::new();
    put(&mut body, 1, b"g");
    if path.starts_with("/v1/tasks/") {
        put(&mut body, 2, b"cell");
    }
    body
}

impl Bbs {
    /// Calls under this trace id; the id that the answer has.
    async fn traced(&self, path: &str, id: Option<&[u8]>) -> String {
        let mut request = Request::post(path);
        if let Some(id) = id {
            let id = axum::http::HeaderValue::from_bytes(id).unwrap();
            request = request.header("X-Vcap-Request-Id", id);
        }
        let request = request.body(Body::from(body(path))).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 503, "{path}");
        assert!(!response.headers().contains_key("x-vcap-request-id"), "{path}");
        response.headers()["x-request-id"].to_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_store_that_fails_is_logged_under_the_trace_id_of_the_call() {
    let bbs = Bbs::open(with_cells(0)).await;
    let (log, _guard) = Log::catch();
    for (number, path) in CALLS.into_iter().chain(BARE).enumerate() {
        bbs.line.fail(0, Fault::Status(500));
        let id = format!("5f2b9d3e-0000-4000-8000-{number:012}::{number}");
        bbs.traced(path, Some(id.as_bytes())).await;
        let lines = log.take();
        let [(request, message, error)] = &lines[..] else {
            panic!("{path}: {lines:?}")
        };
        assert_eq!(
            (request, message.as_str()),
            (&id, "a caller cannot be checked"),
            "{path}"
        );
        assert!(error.contains("on purpose"), "{path}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_call_meets_behind_the_check_of_its_caller_is_logged_under_its_trace_id_too() {
    let bbs = Bbs::forgetful().await;
    let (log, _guard) = Log::catch();
    for (fault, message) in [
        (Fault::Status(500), "the API server failed"),
        (Fault::Status(503), "the API server failed"),
        (Fault::Status(403), "the facade lacks a right that it needs"),
        (Fault::Broken, "the API server cannot be asked"),
        (Fault::Silent, "the API server did not answer within 10 s"),
    ] {
        bbs.line.fail(1, fault);
        bbs.traced("/v1/tasks/desire.r2", Some(b"trace-1")).await;
        let lines: Vec<_> = log.take().into_iter().map(|line| (line.0, line.1)).collect();
        assert_eq!(lines, [("trace-1".to_owned(), message.to_owned())], "{fault:?}");
    }
}

#[tokio::test]
async fn a_trace_id_that_is_missing_or_unfit_for_a_log_makes_way_for_a_new_one() {
    let bbs = Bbs::open(with_cells(0)).await;
    let (log, _guard) = Log::catch();
    let longest = "x".repeat(300);
    bbs.line.fail(0, Fault::Status(500));
    assert_eq!(
        bbs.traced("/v1/tasks/cancel", Some(longest.as_bytes())).await,
        longest
    );
    assert_eq!(log.take()[0].0, longest);
    let huge = "x".repeat(60_000);
    let all: [Option<&[u8]>; 6] = [
        None,
        Some(b""),
        Some(b"forged\tline"),
        Some(b"two words"),
        Some(b"\xc2\x9b31m"),
        Some(huge.as_bytes()),
    ];
    for unfit in all {
        bbs.line.fail(0, Fault::Status(500));
        let made = bbs.traced("/v1/tasks/cancel", unfit).await;
        let is_hex = made.bytes().all(|byte| byte.is_ascii_hexdigit());
        assert!(is_hex && made.len() == 32, "{made}");
        let lines = log.take();
        assert_eq!((lines.len(), &lines[0].0), (1, &made), "{lines:?}");
    }
}
