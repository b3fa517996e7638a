//! The engine is stopped between every two of its writes, and another one finishes the same story.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use errand::crd::{Phase, Task};
use http::Method;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::ends::inline;
use crate::support::{
    fault::{Fault, with_faults},
    world::World,
};

/// What must be the same however often the engine was stopped.
fn story(task: &Task) -> Value {
    let status = task.status.clone().unwrap_or_default();
    json!({
        "phase": status.phase, "reason": status.reason, "attempts": status.attempts, "exitCode": status.exit_code,
        "result": status.result, "log": status.logs,
    })
}

/// Runs a Task with an engine that stops for good in its write number `stop_at` (from 0): before the write reaches the API
/// server, or after it was done and before the answer came. Returns the writes made before that.
async fn interrupted(spec: Value, runs: &str, stop_at: usize, after: bool) -> (usize, Value, String) {
    let world = World::start_with(|setup| setup.start_engine = false).await;
    let file = world.folder().join(runs);
    let mut spec = spec;
    spec["env"] = json!([{"name": "RUNS", "value": file.to_str().unwrap()}]);
    let writes = Arc::new(AtomicUsize::new(0));
    let dead = CancellationToken::new();
    let client = {
        let (writes, dead) = (writes.clone(), dead.clone());
        with_faults(
            world.client.clone(),
            Arc::new(move |request| {
                if dead.is_cancelled() {
                    return Fault::Hang;
                }
                let write = request.method() != Method::GET && !request.uri().path().contains("/events");
                if !write || writes.fetch_add(1, Ordering::SeqCst) != stop_at {
                    return Fault::None;
                }
                dead.cancel();
                if after { Fault::DoneThenHang } else { Fault::Hang }
            }),
        )
    };
    let first = world.engine_on(client);
    world.task("t", spec).await;
    tokio::select! {
        () = dead.cancelled() => {}
        () = world.all_let_go("t") => {}
    }
    first.abort().await;
    let second = world.engine_on(world.client.clone());
    world.all_let_go("t").await;
    let task = world.get("t").await;
    second.stop().await;
    let ran = std::fs::read_to_string(file).unwrap_or_default();
    (writes.load(Ordering::SeqCst), story(&task), ran)
}

async fn same_end_at_every_point(spec: Value, expected_runs: &str, phase: Phase) {
    let (writes, undisturbed, ran) = interrupted(spec.clone(), "runs", usize::MAX, false).await;
    assert_eq!(ran, expected_runs);
    assert_eq!(undisturbed["phase"], json!(phase));
    assert!(
        writes >= 3,
        "a plain Task takes at least three writes, not {writes}"
    );
    for stop_at in 0..writes {
        for after in [false, true] {
            let (_, end, ran) = interrupted(spec.clone(), "runs", stop_at, after).await;
            let point = format!(
                "stopped in write {stop_at} ({})",
                if after { "done" } else { "not done" }
            );
            assert_eq!(end, undisturbed, "{point}");
            assert_eq!(ran, expected_runs, "{point}: each attempt starts one container");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_task() {
    same_end_at_every_point(inline("echo run >> $RUNS; echo done"), "run\n", Phase::Succeeded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_is_tried_again() {
    let mut spec = inline("echo $ERRAND_ATTEMPT >> $RUNS; test $ERRAND_ATTEMPT = 2");
    spec["retry"] = json!({"limit": 1, "on": ["Failure"], "backoff": "1ms"});
    same_end_at_every_point(spec, "1\n2\n", Phase::Succeeded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_times_out() {
    let mut spec = inline("echo run >> $RUNS; exec sleep 600");
    spec["timeout"] = json!("300ms");
    same_end_at_every_point(spec, "run\n", Phase::Failed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http_request_is_never_sent_twice() {
    let server = r"
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        open(os.environ['RUNS'], 'a').write('request\n')
        self.send_response(200); self.send_header('Content-Length', '0'); self.end_headers()
    def log_message(self, *args): pass
http.server.HTTPServer(('0.0.0.0', int(os.environ['PORT'])), Handler).serve_forever()
";
    let spec = json!({"function": {"container": {"image": "python:3-alpine", "command": ["python3", "-c", server]}, "http": {}}});
    let (writes, _, ran) = interrupted(spec.clone(), "runs", usize::MAX, false).await;
    assert_eq!(ran, "request\n");
    for stop_at in 0..writes {
        for after in [false, true] {
            let (_, end, ran) = interrupted(spec.clone(), "runs", stop_at, after).await;
            let whole = end["phase"] == json!("Succeeded") && ran == "request\n";
            let lost = end["reason"] == json!("DispatchInterrupted") && ran.len() <= "request\n".len();
            assert!(
                whole || lost,
                "stopped in write {stop_at} (after: {after}): {end} after {ran:?}"
            );
        }
    }
}
