//! Statuses as a kubelet reports them. Pure.

use errand::handover::record::{Ended, Findings, Kept, Outcome, Stream};
use k8s_openapi::{
    api::core::v1::{Container, PodSpec},
    jiff::Timestamp,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// What every container writes to its standard output.
const OUTPUT: &[u8] = b"done\n";
/// All that a kubelet reads of a termination message.
const MESSAGE_LIMIT: usize = 4096;
const ADDRESS: &str = "192.0.2.1";

/// The containers of a pod.
pub struct Containers {
    init: Vec<Named>,
    main: Vec<Named>,
}

struct Named {
    name: String,
    image: String,
    supervised: bool,
}

impl Containers {
    pub fn of(spec: &PodSpec) -> Self {
        let named = |container: &Container| Named {
            name: container.name.clone(),
            image: container.image.clone().unwrap_or_default(),
            supervised: container.command.iter().flatten().any(|word| word == "runner"),
        };
        Self {
            init: spec.init_containers.iter().flatten().map(named).collect(),
            main: spec.containers.iter().map(named).collect(),
        }
    }

    /// The init containers have ended, the others run since `at`.
    pub fn running(&self, at: &str) -> Value {
        let state = |_: &Named| json!({"running": {"startedAt": at}});
        let mut status = self.status("Running", at, state);
        status["conditions"] = conditions(at, "True", None);
        status
    }

    /// All of them have ended, the last ones with `code` just now.
    pub fn ended(&self, started: &str, code: i32) -> Value {
        let (phase, reason) = if code == 0 {
            ("Succeeded", "Completed")
        } else {
            ("Failed", "Error")
        };
        let state = |container: &Named| {
            let mut state = terminated(started, &super::nodes::now(), code, reason);
            if container.supervised {
                state["terminated"]["message"] = record(code).into();
            }
            state
        };
        let mut status = self.status(phase, started, state);
        status["conditions"] = conditions(started, "False", Some("PodCompleted"));
        status
    }

    fn status(&self, phase: &str, started: &str, state: impl Fn(&Named) -> Value) -> Value {
        let list = |containers: &[Named], state: &dyn Fn(&Named) -> Value| -> Value {
            let one = |container: &Named| {
                let state = state(container);
                let runs = state.get("running").is_some();
                json!({
                    "name": container.name, "image": container.image, "imageID": format!("hollow://{}", container.image),
                    "containerID": format!("hollow://{}", container.name), "restartCount": 0,
                    "ready": runs, "started": runs, "state": state, "lastState": {},
                })
            };
            containers.iter().map(one).collect()
        };
        let mut status = json!({
            "phase": phase, "startTime": started, "hostIP": ADDRESS, "podIP": ADDRESS, "podIPs": [{"ip": ADDRESS}],
            "containerStatuses": list(&self.main, &state),
        });
        if !self.init.is_empty() {
            let done = |_: &Named| terminated(started, started, 0, "Completed");
            status["initContainerStatuses"] = list(&self.init, &done);
        }
        status
    }
}

fn terminated(started: &str, finished: &str, code: i32, reason: &str) -> Value {
    json!({"terminated": {"exitCode": code, "reason": reason, "startedAt": started, "finishedAt": finished}})
}

/// The scheduler wrote PodScheduled; the patch leaves it alone.
fn conditions(at: &str, ready: &str, reason: Option<&str>) -> Value {
    let condition = |type_: &str, status: &str| json!({"type": type_, "status": status, "reason": reason, "lastProbeTime": null, "lastTransitionTime": at});
    json!([
        condition("Initialized", "True"),
        condition("Ready", ready),
        condition("ContainersReady", ready)
    ])
}

/// What the supervisor leaves behind of a command that wrote [`OUTPUT`].
fn record(code: i32) -> String {
    let now = Timestamp::now();
    let digest = |bytes: &[u8]| -> String {
        let digest = Sha256::digest(bytes);
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let stream = |bytes: &[u8]| Stream {
        bytes: bytes.len() as u64,
        sha256: digest(bytes),
        ..Stream::default()
    };
    let kept = Kept {
        bytes: OUTPUT.to_vec(),
        size_bytes: OUTPUT.len() as u64,
        sha256: Some(digest(OUTPUT)),
        problem: None,
    };
    let findings = Findings {
        outcome: Outcome::Ended(Ended::Code(code)),
        started_at: Some(now),
        finished_at: now,
        stdout: stream(OUTPUT),
        stderr: stream(b""),
        log: Kept {
            sha256: None,
            ..kept.clone()
        },
        result: Some(kept),
        progress: None,
        failure: None,
    };
    findings.record(MESSAGE_LIMIT, "hollow", false).encode()
}
