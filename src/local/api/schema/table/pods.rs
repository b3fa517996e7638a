//! Cells of a pod, with the reasons that the real server's printer finds.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{age, list, or_none, text};

pub(super) fn cells(pod: &Value, now: Timestamp) -> Vec<Value> {
    let summary = summarise(pod);
    let restarts = match (summary.restarts, summary.last_restart) {
        (0, _) | (_, None) => summary.restarts.to_string(),
        (n, Some(then)) => format!("{n} ({} ago)", age::since(then, now)),
    };
    let total = list(pod, "/spec/containers").len() + sidecars(pod).count();
    let ip = match list(pod, "/status/podIPs").first().map(|ip| text(ip, "/ip")) {
        Some(ip) if !ip.is_empty() => ip,
        _ => text(pod, "/status/podIP"),
    };
    vec![
        json!(text(pod, "/metadata/name")),
        json!(format!("{}/{total}", summary.ready)),
        json!(summary.reason),
        json!(restarts),
        json!(age::at(pod, "/metadata/creationTimestamp", now)),
        json!(or_none(ip)),
        json!(or_none(text(pod, "/spec/nodeName"))),
        json!(or_none(text(pod, "/status/nominatedNodeName"))),
        json!(readiness_gates(pod)),
    ]
}

#[derive(Default)]
struct Summary {
    reason: String,
    ready: usize,
    restarts: i64,
    last_restart: Option<Timestamp>,
}

/// Init containers that keep running beside the others.
fn sidecars(pod: &Value) -> impl Iterator<Item = &Value> {
    list(pod, "/spec/initContainers")
        .iter()
        .filter(|container| text(container, "/restartPolicy") == "Always")
}

fn summarise(pod: &Value) -> Summary {
    let phase = text(pod, "/status/phase");
    let mut reason = match text(pod, "/status/reason") {
        "" => phase.to_owned(),
        reason => reason.to_owned(),
    };
    let scheduled = condition(pod, "PodScheduled");
    if scheduled.is_some_and(|scheduled| text(scheduled, "/reason") == "SchedulingGated") {
        reason = "SchedulingGated".to_owned();
    }
    let mut summary = Summary::default();
    let initializing = init_containers(pod, &mut summary);
    if let Some(why) = &initializing {
        reason.clone_from(why);
    }
    if initializing.is_none() || is_true(condition(pod, "Initialized")) {
        containers(pod, &mut summary, &mut reason);
    }
    let deleted = pod
        .pointer("/metadata/deletionTimestamp")
        .is_some_and(Value::is_string);
    if deleted && text(pod, "/status/reason") == "NodeLost" {
        reason = "Unknown".to_owned();
    } else if deleted && !matches!(phase, "Succeeded" | "Failed") {
        reason = "Terminating".to_owned();
    }
    summary.reason = reason;
    summary
}

fn condition<'a>(pod: &'a Value, kind: &str) -> Option<&'a Value> {
    list(pod, "/status/conditions")
        .iter()
        .find(|condition| text(condition, "/type") == kind)
}

fn is_true(condition: Option<&Value>) -> bool {
    condition.is_some_and(|condition| text(condition, "/status") == "True")
}

fn count_restarts(status: &Value, summary: &mut Summary) {
    summary.restarts = summary.restarts.saturating_add(
        status
            .get("restartCount")
            .and_then(Value::as_i64)
            .unwrap_or_default(),
    );
    summary.last_restart = summary
        .last_restart
        .max(age::time(status, "/lastState/terminated/finishedAt"));
}

/// Why the pod still initializes, if it does.
fn init_containers(pod: &Value, summary: &mut Summary) -> Option<String> {
    let specs = list(pod, "/spec/initContainers");
    let mut of_sidecars = Summary::default();
    let mut why = None;
    for (i, status) in list(pod, "/status/initContainerStatuses").iter().enumerate() {
        count_restarts(status, summary);
        let is_sidecar = sidecars(pod).any(|spec| text(spec, "/name") == text(status, "/name"));
        if is_sidecar {
            count_restarts(status, &mut of_sidecars);
        }
        let terminated = status
            .pointer("/state/terminated")
            .filter(|state| state.is_object());
        if terminated.is_some_and(|state| state.get("exitCode").and_then(Value::as_i64) == Some(0)) {
            continue;
        }
        if is_sidecar && status.get("started").and_then(Value::as_bool) == Some(true) {
            if status.get("ready").and_then(Value::as_bool) == Some(true) {
                summary.ready += 1;
            }
            continue;
        }
        let waiting = text(status, "/state/waiting/reason");
        why = Some(match terminated {
            Some(state) => format!("Init:{}", ended(state)),
            None if !waiting.is_empty() && waiting != "PodInitializing" => format!("Init:{waiting}"),
            None => format!("Init:{i}/{}", specs.len()),
        });
        break;
    }
    if why.is_none() {
        // once running, only the restarts of what runs count
        summary.restarts = of_sidecars.restarts;
        summary.last_restart = of_sidecars.last_restart;
    }
    why
}

fn containers(pod: &Value, summary: &mut Summary, reason: &mut String) {
    let mut running = false;
    for status in list(pod, "/status/containerStatuses").iter().rev() {
        count_restarts(status, summary);
        let waiting = text(status, "/state/waiting/reason");
        let terminated = status
            .pointer("/state/terminated")
            .filter(|state| state.is_object());
        if !waiting.is_empty() {
            waiting.clone_into(reason);
        } else if let Some(state) = terminated {
            *reason = ended(state);
        } else if status.get("ready").and_then(Value::as_bool) == Some(true)
            && status.pointer("/state/running").is_some_and(Value::is_object)
        {
            running = true;
            summary.ready += 1;
        }
    }
    if reason == "Completed" && running {
        *reason = if is_true(condition(pod, "Ready")) {
            "Running"
        } else {
            "NotReady"
        }
        .to_owned();
    }
}

/// How a container ended, in a word.
fn ended(state: &Value) -> String {
    let number = |field: &str| state.get(field).and_then(Value::as_i64).unwrap_or_default();
    match (text(state, "/reason"), number("signal")) {
        ("", 0) => format!("ExitCode:{}", number("exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn readiness_gates(pod: &Value) -> String {
    let gates = list(pod, "/spec/readinessGates");
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let open = gates
        .iter()
        .filter(|gate| is_true(condition(pod, text(gate, "/conditionType"))))
        .count();
    format!("{open}/{}", gates.len())
}
