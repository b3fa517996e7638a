//! A controller goes away while the request to an HTTP function is under way, and another one comes.

use std::{fs, sync::Arc, time::Duration};

use errand::{
    crd::{Phase, TaskStatus},
    engine::{
        self, Config,
        leader::{self, LeaderConfig, Leadership},
    },
};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{
    wait_for,
    world::{Engine, World},
};

/// Notes each request, and answers once the gate is there.
const SERVER: &str = r"
import http.server, os, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header('Content-Length', '0'); self.end_headers()
    def do_POST(self):
        self.rfile.read(int(self.headers['content-length']))
        open(os.environ['RUNS'], 'a').write('request\n')
        while not os.path.exists(os.environ['GATE']):
            time.sleep(0.01)
        self.send_response(200); self.send_header('Content-Length', '4'); self.end_headers()
        self.wfile.write(b'done')
    def log_message(self, *args): pass
http.server.ThreadingHTTPServer(('0.0.0.0', int(os.environ['PORT'])), Handler).serve_forever()
";

/// Both ways to the function.
fn ways() -> [Value; 2] {
    [
        json!({}),
        json!({"dispatch": "ApiProxy", "readinessPath": "/ready"}),
    ]
}

/// A function that holds its answers back.
struct Held {
    world: World,
}

impl Held {
    async fn start() -> Self {
        let world = World::start_with(|setup| setup.start_engine = false).await;
        Self { world }
    }

    /// Makes the Task and waits until its request has arrived.
    async fn sent(&self, http: Value, retry: Value) {
        let folder = self.world.folder();
        let spec = json!({
            "input": {"body": "x"}, "retry": retry,
            "env": [{"name": "RUNS", "value": folder.join("runs")}, {"name": "GATE", "value": folder.join("gate")}],
            "function": {"container": {"image": "python:3-alpine", "command": ["python3", "-c", SERVER]}, "http": http},
        });
        self.world.task("t", spec).await;
        self.requests(1);
    }

    fn runs(&self) -> usize {
        let runs = fs::read_to_string(self.world.folder().join("runs")).unwrap_or_default();
        runs.lines().count()
    }

    /// Waits until so many requests have arrived.
    fn requests(&self, count: usize) {
        let arrived = || (self.runs() >= count).then_some(());
        tokio::task::block_in_place(|| wait_for("the request", || format!("{} came", self.runs()), arrived));
    }

    fn answer(&self) {
        fs::write(self.world.folder().join("gate"), "").unwrap();
    }

    async fn killed_and_replaced(&self, http: Value, retry: Value) -> Engine {
        let first = self.world.engine_on(self.world.client.clone());
        self.sent(http, retry).await;
        first.abort().await;
        self.world.engine_on(self.world.client.clone())
    }

    async fn end(&self) -> TaskStatus {
        let status = self.world.ended("t").await.status.unwrap();
        self.world.no_pods().await;
        status
    }
}

/// A controller that stands for election.
struct Candidate {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Candidate {
    fn stand(client: Client, identity: &str) -> Self {
        let config = LeaderConfig {
            retry_period: Duration::from_millis(100),
            ..LeaderConfig::new("default", "controller", identity)
        };
        let stop = CancellationToken::new();
        let shutdown = stop.clone();
        let task = tokio::spawn(async move {
            let work = |leadership: Leadership| {
                engine::run(
                    client.clone(),
                    Config::default(),
                    Arc::default(),
                    || {},
                    leadership,
                )
            };
            let led = leader::lead(client.clone(), config, shutdown, work);
            led.await.unwrap();
        });
        Self { stop, task }
    }

    async fn step_down(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

async fn leader(client: &Client) -> String {
    let leases: Api<Lease> = Api::namespaced(client.clone(), "default");
    let lease = leases.get("controller").await.unwrap();
    lease.spec.unwrap().holder_identity.unwrap()
}

fn assert_interrupted(status: &TaskStatus) {
    assert_eq!(
        (status.phase, status.reason.as_deref(), status.attempts),
        (Some(Phase::Failed), Some("DispatchInterrupted"), Some(1)),
        "{status:#?}"
    );
    assert_eq!(status.error.as_ref().map(|error| error.code), Some(2));
    let words = status.message.as_deref().unwrap();
    assert!(
        words.contains("the controller went away while the request was under way"),
        "{words}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_request_of_a_controller_that_was_killed_is_not_sent_again() {
    for http in ways() {
        let held = Held::start().await;
        // A policy that names no class repeats what the platform did; this may have been done by the function too.
        let next = held.killed_and_replaced(http, json!({"limit": 3})).await;
        assert_interrupted(&held.end().await);
        assert_eq!(held.runs(), 1);
        next.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_repeats_failures_makes_another_attempt_of_it() {
    let held = Held::start().await;
    let retry = json!({"limit": 1, "on": ["Failure"], "backoff": "1ms"});
    let next = held.killed_and_replaced(json!({}), retry).await;
    held.requests(2);
    held.answer();
    let status = held.end().await;
    assert_eq!(
        (status.phase, status.attempts),
        (Some(Phase::Succeeded), Some(2)),
        "{status:#?}"
    );
    assert_eq!(held.runs(), 2);
    next.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idempotent_function_gets_the_request_again_in_the_same_pod() {
    for mut http in ways() {
        http["idempotent"] = json!(true);
        let held = Held::start().await;
        let next = held.killed_and_replaced(http, json!({})).await;
        held.requests(2);
        held.world.event("t", "RequestRepeated").await;
        let pods = held.world.pods().await;
        held.answer();
        let status = held.end().await;
        assert_eq!(
            (
                status.phase,
                status.attempts,
                status.result.unwrap().body.as_deref()
            ),
            (Some(Phase::Succeeded), Some(1), Some("done"))
        );
        let uids: Vec<_> = pods.into_iter().map(|pod| pod.metadata.uid).collect();
        assert_eq!(uids, [status.pod.unwrap().uid]);
        assert_eq!(held.runs(), 2);
        next.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_leader_interrupts_a_request_too() {
    for idempotent in [false, true] {
        let held = Held::start().await;
        let stand = |identity| Candidate::stand(held.world.client.clone(), identity);
        let (first, second) = (stand("first"), stand("second"));
        held.sent(json!({"idempotent": idempotent}), json!({})).await;
        let (leading, other) = match leader(&held.world.client).await.as_str() {
            "first" => (first, second),
            _ => (second, first),
        };
        leading.step_down().await;
        if idempotent {
            held.requests(2);
        }
        held.answer();
        let status = held.end().await;
        if idempotent {
            assert_eq!(
                (status.phase, status.attempts),
                (Some(Phase::Succeeded), Some(1)),
                "{status:#?}"
            );
        } else {
            assert_interrupted(&status);
        }
        assert_eq!(held.runs(), 1 + usize::from(idempotent));
        other.step_down().await;
    }
}
