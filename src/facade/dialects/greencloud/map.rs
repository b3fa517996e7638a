//! Tasks in the words of this API. Pure.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

use super::{
    ids::{Id, function_id},
    wire::{Needs, TaskDetail, TaskSummary},
};
use crate::{
    crd::{Capabilities, Function, FunctionSpec, Phase, Quantity, Task},
    facade::state::{is_over, phase},
    quantity,
};

/// Limit on the run time of a Task where neither it nor its Function names one.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3600);
/// Thousandths in a MiB.
const MILLI_OF_MIB: i64 = 1000 * 1024 * 1024;

/// Where a Task stands: nothing done yet, a node took it, its container can be reached, and the request was sent or
/// the command runs.
const WAITING: u8 = 0;
const ASSIGNED: u8 = 25;
const READY: u8 = 50;
const SENT: u8 = 75;
const DONE: u8 = 100;

/// A Task as a whole; `function` is the Function that it names, where there still is one.
pub fn detail(task: &Task, function: Option<&Function>) -> TaskDetail {
    let status = task.status.as_ref();
    let spec = function
        .map(|function| &function.spec)
        .or(task.spec.function.as_ref());
    let pod = status.and_then(|status| status.pod.as_ref());
    let named = task.spec.function_ref.as_ref();
    TaskDetail {
        function_id: match (function, named) {
            (Some(function), _) => function_id(&function.metadata),
            (None, named) => named.map(|named| named.name.clone()).unwrap_or_default(),
        },
        issued: issued(task),
        assigned: moment(status.and_then(|status| status.assigned_at)),
        finished: moment(status.and_then(|status| status.finished_at)),
        progress: progress(task),
        node: pod.and_then(|pod| pod.node_uid.clone()).unwrap_or_default(),
        timeout: timeout(task, spec),
        capabilities: needs(
            task.spec.capabilities.as_ref(),
            spec.and_then(|spec| spec.capabilities.as_ref()),
        ),
    }
}

/// A Task in a list.
pub fn summary(task: &Task) -> Option<TaskSummary> {
    Some(TaskSummary {
        id: Id::of(&task.metadata)?,
        issued: issued(task),
        progress: progress(task),
        status: outcome(task).unwrap_or(0),
    })
}

/// The HTTP status of a Task that is over: the function's own, 408 for one that ran out of time, 500 for any other end.
pub fn outcome(task: &Task) -> Option<u16> {
    let result = task.status.as_ref().and_then(|status| status.result.as_ref());
    let told = result.map(|result| result.status);
    match phase(task) {
        Phase::Succeeded => Some(told.unwrap_or(200)),
        Phase::Failed if told == Some(408) => told,
        Phase::Failed | Phase::Cancelled => Some(500),
        Phase::Queued | Phase::Pending | Phase::Running => None,
    }
}

fn progress(task: &Task) -> u8 {
    let status = task.status.as_ref();
    let told = status.and_then(|status| status.progress.as_ref()?.percent);
    let pod = status.and_then(|status| status.pod.as_ref());
    let assigned = status.is_some_and(|status| status.assigned_at.is_some());
    match phase(task) {
        _ if is_over(task) => DONE,
        Phase::Running => told.unwrap_or(SENT).min(DONE),
        Phase::Pending if pod.is_some_and(|pod| pod.ip.is_some()) => READY,
        Phase::Pending if assigned || pod.is_some_and(|pod| pod.node.is_some()) => ASSIGNED,
        _ => WAITING,
    }
}

fn issued(task: &Task) -> String {
    // What the id says, so that both agree: it was made a moment before the object.
    match Id::of(&task.metadata) {
        Some(id) => id.seconds().to_string(),
        None => moment(task.creation_timestamp().map(|time| time.0)),
    }
}

/// Unix seconds; "0" for what has not come.
fn moment(time: Option<Timestamp>) -> String {
    time.map_or(0, Timestamp::as_second).to_string()
}

fn timeout(task: &Task, function: Option<&FunctionSpec>) -> u64 {
    let own = task.spec.timeout;
    let limit = own.or_else(|| function.and_then(|function| function.timeout));
    whole_seconds(limit.map_or(DEFAULT_TIMEOUT, crate::crd::Duration::get))
}

/// The run time limit of a Function in seconds.
pub fn limit(function: &FunctionSpec) -> u64 {
    whole_seconds(
        function
            .timeout
            .map_or(DEFAULT_TIMEOUT, crate::crd::Duration::get),
    )
}

fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// What a Task needs: its own capabilities before the Function's, field by field.
pub fn needs(own: Option<&Capabilities>, function: Option<&Capabilities>) -> Needs {
    let of = |part: fn(&Capabilities) -> Option<&Quantity>| {
        let found = own.and_then(part).or_else(|| function.and_then(part));
        // What cannot be read was refused by the API server.
        found.map_or(0, |amount| quantity::milli(&amount.0).unwrap_or(0))
    };
    let latency = |of: &Capabilities| of.network_latency_ms;
    let privileged = |of: &Capabilities| of.privileged;
    Needs {
        cpu_count: whole(of(|needs| needs.cpu.as_ref()), 1000),
        mem_size: whole(of(|needs| needs.memory.as_ref()), MILLI_OF_MIB),
        network_latency: own.and_then(latency).or(function.and_then(latency)).unwrap_or(0),
        privileged: own
            .and_then(privileged)
            .or(function.and_then(privileged))
            .unwrap_or(false),
    }
}

/// So many units as hold the amount.
fn whole(amount: i64, unit: i64) -> i64 {
    amount / unit + i64::from(amount % unit > 0)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn task(spec: Value, status: Value) -> Task {
        serde_json::from_value(json!({
            "apiVersion": "errand.dev/v1alpha1", "kind": "Task",
            "metadata": {"name": "6405942c9956fae80d7e0e91", "creationTimestamp": "2023-03-06T07:20:13Z"},
            "spec": spec, "status": status,
        }))
        .unwrap()
    }

    fn with_status(status: Value) -> Task {
        task(json!({"functionRef": {"name": "hello"}}), status)
    }

    fn function() -> Function {
        serde_json::from_value(json!({
            "apiVersion": "errand.dev/v1alpha1", "kind": "Function",
            "metadata": {"name": "hello", "uid": "0f1e2d3c-4b5a-4978-8069-1a2b3c4d5e6f", "creationTimestamp": "2023-03-06T07:20:12Z"},
            "spec": {"container": {"image": "x"}, "timeout": "1m500ms",
                "capabilities": {"cpu": "1500m", "memory": "100Mi", "networkLatencyMs": 20, "privileged": true}},
        }))
        .unwrap()
    }

    #[test]
    fn a_task_that_waits_has_no_times_and_no_node() {
        let waiting = with_status(json!({"phase": "Queued"}));
        let expected = TaskDetail {
            function_id: "hello".into(),
            issued: "1678087212".into(),
            assigned: "0".into(),
            finished: "0".into(),
            progress: 0,
            node: String::new(),
            timeout: 3600,
            capabilities: Needs::default(),
        };
        assert_eq!(detail(&waiting, None), expected);
    }

    #[test]
    fn a_task_that_is_over_says_all() {
        let over = task(
            json!({"functionRef": {"name": "hello"}, "timeout": "30s", "capabilities": {"cpu": 2, "privileged": false}}),
            json!({"phase": "Succeeded", "assignedAt": "2023-03-06T07:20:14.9Z", "finishedAt": "2023-03-06T07:20:15Z",
                "pod": {"name": "p", "node": "n", "nodeUid": "u"}, "result": {"status": 201, "truncated": false}}),
        );
        let expected = TaskDetail {
            function_id: "6405942c0f1e2d3c4b5a4978".into(),
            issued: "1678087212".into(),
            assigned: "1678087214".into(),
            finished: "1678087215".into(),
            progress: 100,
            node: "u".into(),
            timeout: 30,
            capabilities: Needs {
                cpu_count: 2,
                mem_size: 100,
                network_latency: 20,
                privileged: false,
            },
        };
        assert_eq!(detail(&over, Some(&function())), expected);
        let summary = summary(&over).unwrap();
        assert_eq!(
            serde_json::to_value(summary).unwrap(),
            json!({"id": "6405942c9956fae80d7e0e91", "issued": "1678087212", "progress": 100, "status": 201})
        );
    }

    #[test]
    fn amounts_are_rounded_up_to_whole_ones() {
        let function = function();
        assert_eq!(
            needs(None, function.spec.capabilities.as_ref()),
            Needs {
                cpu_count: 2,
                mem_size: 100,
                network_latency: 20,
                privileged: true
            }
        );
        assert_eq!(limit(&function.spec), 61);
        for (amount, expected) in [("1", 1), ("1Mi", 1), ("1048577", 2), ("1Gi", 1024), ("x", 0)] {
            let own = Capabilities {
                memory: Some(amount.into()),
                ..Capabilities::default()
            };
            assert_eq!(needs(Some(&own), None).mem_size, expected, "{amount}");
        }
    }

    #[test]
    fn progress_goes_from_waiting_to_done_and_the_functions_own_wins_while_it_runs() {
        for (status, expected) in [
            (json!(null), (0, None)),
            (json!({"phase": "Queued", "progress": {"percent": 30}}), (0, None)),
            (json!({"phase": "Pending"}), (0, None)),
            (
                json!({"phase": "Pending", "assignedAt": "2023-03-06T07:20:14Z"}),
                (25, None),
            ),
            (
                json!({"phase": "Pending", "pod": {"name": "p", "ip": "10.0.0.1"}}),
                (50, None),
            ),
            (json!({"phase": "Running"}), (75, None)),
            (json!({"phase": "Running", "progress": {"percent": 3}}), (3, None)),
            (
                json!({"phase": "Succeeded", "progress": {"percent": 3}, "result": {"status": 404}}),
                (100, Some(404)),
            ),
            (
                json!({"phase": "Succeeded", "result": {"status": 200}}),
                (100, Some(200)),
            ),
            (
                json!({"phase": "Failed", "result": {"status": 408}}),
                (100, Some(408)),
            ),
            (
                json!({"phase": "Failed", "result": {"status": 500}}),
                (100, Some(500)),
            ),
            (json!({"phase": "Failed"}), (100, Some(500))),
            (
                json!({"phase": "Cancelled", "result": {"status": 499}}),
                (100, Some(500)),
            ),
        ] {
            let task = with_status(status.clone());
            assert_eq!((progress(&task), outcome(&task)), expected, "{status}");
        }
    }
}
