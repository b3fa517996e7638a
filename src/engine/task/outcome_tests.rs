use serde_json::{Value, json};

use super::*;
use crate::engine::task::view::{NodeHealth, RunState, health};
use k8s_openapi::api::core::v1::{Node, Pod};

/// A pod as the API server shows it, with the given status.
fn pod(status: Value) -> Pod {
    let facts = json!({
        "supervised": true, "resultFrom": "Stdout", "resultLimit": 10, "logLimit": 10, "timeoutMs": 90_000,
        "pendingTimeoutMs": 1000, "graceSeconds": 30, "retry": {"limit": 0, "on": [], "backoffMs": 0},
    });
    serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "p", "uid": "pu", "creationTimestamp": "2026-01-01T00:00:00Z",
            "annotations": {"errand.dev/run": facts.to_string()},
            "labels": {"errand.dev/attempt": "3"}, "finalizers": ["errand.dev/capture"],
        },
        "spec": {"nodeName": "n", "containers": []},
        "status": status,
    }))
    .unwrap()
}

fn view(status: Value) -> PodView {
    PodView::of(&pod(status), Some("nu".into()))
}

fn ended(mut status: Value, terminated: Value) -> (PodView, Ended) {
    status["containerStatuses"] = json!([{
        "name": "task", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"terminated": terminated},
    }]);
    let view = view(status);
    match view.state.clone() {
        RunState::Ended(ended) => (view, ended),
        other => panic!("not an end: {other:?}"),
    }
}

fn reason(status: Value, terminated: Value, cancelled: bool) -> Reason {
    let (view, ended) = ended(status, terminated);
    of_end(&view, &ended, None, cancelled).reason
}

fn record(outcome: Value) -> Record {
    serde_json::from_value(json!({
        "version": 1, "outcome": outcome, "finishedAt": "2026-01-01T00:00:01Z",
        "stdout": {"bytes": 0, "sha256": ""}, "stderr": {"bytes": 0, "sha256": ""},
        "log": {"sizeBytes": 0, "body": {"text": ""}},
    }))
    .unwrap()
}

#[test]
fn a_containers_own_end_decides_where_nothing_else_speaks() {
    assert_eq!(
        reason(json!({}), json!({"exitCode": 0, "reason": "Completed"}), false),
        Reason::Completed
    );
    assert_eq!(
        reason(json!({}), json!({"exitCode": 3, "reason": "Error"}), false),
        Reason::ExitCode
    );
    assert_eq!(
        reason(json!({}), json!({"exitCode": 137, "reason": "OOMKilled"}), false),
        Reason::OutOfMemory
    );
    assert_eq!(
        reason(json!({}), json!({"exitCode": 128, "reason": "StartError"}), false),
        Reason::StartFailed
    );
    assert_eq!(
        reason(
            json!({}),
            json!({"exitCode": 127, "reason": "ContainerCannotRun"}),
            false
        ),
        Reason::StartFailed
    );
}

#[test]
fn a_pod_that_the_node_took_off_says_so_whatever_its_container_returned() {
    let killed = json!({"exitCode": 137, "reason": "Error"});
    for (word, expected) in [
        ("Evicted", Reason::Evicted),
        ("Preempting", Reason::Preempted),
        ("NodeShutdown", Reason::NodeLost),
    ] {
        assert_eq!(
            reason(json!({"phase": "Failed", "reason": word}), killed.clone(), false),
            expected,
            "{word}"
        );
    }
    let disrupted = |reason: &str| json!({"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "m"}]});
    for (word, expected) in [
        ("PreemptionByScheduler", Reason::Preempted),
        ("DeletionByTaintManager", Reason::NodeLost),
        ("EvictionByEvictionAPI", Reason::Evicted),
        ("TerminationByKubelet", Reason::Evicted),
    ] {
        assert_eq!(reason(disrupted(word), killed.clone(), false), expected, "{word}");
    }
    let done = json!({"exitCode": 0, "reason": "Completed"});
    assert_eq!(
        reason(disrupted("EvictionByEvictionAPI"), done, false),
        Reason::Completed,
        "it had done its work"
    );
}

#[test]
fn a_pod_stopped_by_the_engine_was_cancelled_or_timed_out() {
    let status = json!({"phase": "Failed", "reason": "DeadlineExceeded"});
    let killed = json!({"exitCode": 143, "reason": "Error"});
    assert_eq!(reason(status.clone(), killed.clone(), true), Reason::Cancelled);
    assert_eq!(reason(status, killed, false), Reason::TimedOut);
}

#[test]
fn a_pod_that_failed_without_starting_was_refused_by_its_node() {
    let view = view(json!({"phase": "Failed", "reason": "OutOfcpu", "message": "no room"}));
    let RunState::Ended(ended) = &view.state else {
        panic!()
    };
    let outcome = of_end(&view, ended, None, false);
    assert_eq!(
        outcome,
        Outcome::new(
            Reason::PodRejected,
            "the node refused the pod (OutOfcpu): no room"
        )
    );
}

#[test]
fn the_supervisors_record_knows_better_than_the_exit_code() {
    let (view, ended) = ended(json!({}), json!({"exitCode": 124, "reason": "Error"}));
    for (outcome, cancelled, expected) in [
        (
            json!({"ended": {"code": 124}}),
            false,
            (Reason::ExitCode, "the command exited with code 124"),
        ),
        (
            json!({"ended": {"signal": 11}}),
            false,
            (Reason::ExitCode, "the command was ended by signal 11"),
        ),
        (
            json!({"timedOut": {"signal": 15}}),
            false,
            (Reason::TimedOut, "the run time limit of 1m30s passed"),
        ),
        (
            json!({"stopped": {"signal": 15, "ended": {"code": 0}}}),
            true,
            (Reason::Cancelled, "the Task was cancelled"),
        ),
        (
            json!({"notStarted": {"exitCode": 127, "message": "no such command"}}),
            false,
            (Reason::StartFailed, "no such command"),
        ),
    ] {
        let found = of_end(&view, &ended, Some(&record(outcome)), cancelled);
        assert_eq!(
            (found.reason, found.message.as_str(), found.exit_code),
            (expected.0, expected.1, Some(124))
        );
    }
}

#[test]
fn a_command_that_ended_well_while_it_was_being_cancelled_has_succeeded() {
    let (view, ended) = ended(json!({}), json!({"exitCode": 0, "reason": "Completed"}));
    let outcome = of_end(&view, &ended, Some(&record(json!({"ended": {"code": 0}}))), true);
    assert_eq!(outcome.reason, Reason::Completed);
}

#[test]
fn every_reason_but_success_has_an_error_code_and_only_cancel_is_not_failed() {
    let all = [
        Reason::Completed,
        Reason::ExitCode,
        Reason::OutOfMemory,
        Reason::TimedOut,
        Reason::PendingTimedOut,
        Reason::Unschedulable,
        Reason::ImagePullFailed,
        Reason::ContainerConfigFailed,
        Reason::StartFailed,
        Reason::Evicted,
        Reason::Preempted,
        Reason::PodRejected,
        Reason::NodeLost,
        Reason::PodLost,
        Reason::Cancelled,
        Reason::FunctionNotFound,
        Reason::InvalidSpec,
        Reason::PodRefused,
        Reason::NoAnswer,
        Reason::DispatchInterrupted,
    ];
    for reason in all {
        assert_eq!(
            reason.code().is_none(),
            reason.phase() == Phase::Succeeded,
            "{reason:?}"
        );
        assert!(reason.word().chars().all(char::is_alphanumeric), "{reason:?}");
    }
}

#[test]
fn a_waiting_container_tells_what_it_waits_for() {
    let waiting = |reason: &str| {
        let status = json!({"phase": "Pending", "containerStatuses": [{
            "name": "task", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": reason, "message": "m"}},
        }]});
        view(status).state
    };
    let words = |reason: &str| (reason.to_owned(), "m".to_owned());
    let (reason, message) = words("ImagePullBackOff");
    assert_eq!(
        waiting("ImagePullBackOff"),
        RunState::Waiting(Waiting::Image(reason, message))
    );
    let (reason, message) = words("CreateContainerConfigError");
    assert_eq!(
        waiting("CreateContainerConfigError"),
        RunState::Waiting(Waiting::Config(reason, message))
    );
    assert_eq!(waiting("ContainerCreating"), RunState::Waiting(Waiting::Starting));
    assert_eq!(waiting("SomethingNew"), RunState::Waiting(Waiting::Starting));
}

#[test]
fn a_pod_is_read_whole() {
    let mut source = pod(json!({
        "phase": "Running", "podIP": "10.0.0.9", "startTime": "2026-01-01T00:00:02Z",
        "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:01Z"}],
        "containerStatuses": [{
            "name": "task", "image": "", "imageID": "", "ready": true, "restartCount": 0,
            "state": {"running": {"startedAt": "2026-01-01T00:00:03Z"}},
        }],
    }));
    source.spec.as_mut().unwrap().active_deadline_seconds = Some(5);
    let view = PodView::of(&source, Some("nu".into()));
    let time = |text: &str| text.parse().unwrap();
    assert_eq!(
        view,
        PodView {
            pod: crate::crd::PodRef {
                name: "p".into(),
                uid: Some("pu".into()),
                node: Some("n".into()),
                node_uid: Some("nu".into()),
                ip: Some("10.0.0.9".into()),
            },
            attempt: 3,
            created_at: time("2026-01-01T00:00:00Z"),
            facts: view.facts.clone(),
            assigned_at: Some(time("2026-01-01T00:00:01Z")),
            acknowledged_at: Some(time("2026-01-01T00:00:02Z")),
            deletion_due: None,
            held: true,
            stop_at: Some(time("2026-01-01T00:00:07Z")),
            reason: None,
            message: None,
            disruption: None,
            state: RunState::Running {
                started_at: time("2026-01-01T00:00:03Z")
            },
        }
    );
    assert_eq!(view.facts.map(|facts| facts.timeout_ms), Some(90_000));
}

#[test]
fn a_nodes_health_is_its_ready_condition() {
    let node = |status: &str| -> Node {
        serde_json::from_value(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}, "status": {
            "conditions": [{"type": "Ready", "status": status, "lastTransitionTime": "2026-01-01T00:00:01Z"}],
        }}))
        .unwrap()
    };
    let since = NodeHealth::NotReady("2026-01-01T00:00:01Z".parse().unwrap());
    assert_eq!(health(Some(&node("True"))), NodeHealth::Ready);
    assert_eq!(health(Some(&node("Unknown"))), since);
    assert_eq!(health(Some(&node("False"))), since);
    assert_eq!(health(None), NodeHealth::Gone);
}

#[test]
fn actions_say_why_they_failed_and_what_stopped_them_comes_first() {
    let outcome = |recorded: Value, failure: &str, terminated: Value, cancelled: bool| {
        let (view, ended) = ended(json!({}), terminated);
        let record = Record {
            failure: Some(failure.to_owned()),
            ..record(recorded)
        };
        let outcome = of_end(&view, &ended, Some(&record), cancelled);
        (outcome.reason, outcome.message, outcome.exit_code)
    };
    let exit = |code: i32| json!({"exitCode": code, "reason": "Error"});
    let failure = "APP: Exited with status 7";
    assert_eq!(
        outcome(json!({"ended": {"code": 7}}), failure, exit(7), false),
        (Reason::ActionFailed, failure.to_owned(), Some(7))
    );
    let late = json!({"timedOut": {"code": 1}});
    let limit = "the run time limit of 1m30s passed";
    assert_eq!(outcome(late.clone(), "cancelled", exit(124), false).1, limit);
    assert_eq!(
        outcome(late, failure, exit(124), false),
        (
            Reason::TimedOut,
            format!("{limit}; the actions: {failure}"),
            Some(124)
        )
    );
    let stopped = json!({"stopped": {"signal": 15, "ended": {"code": 1}}});
    assert_eq!(
        outcome(stopped, "cancelled", exit(1), true),
        (Reason::Cancelled, "the Task was cancelled".to_owned(), Some(1))
    );
    let starved = json!({"exitCode": 137, "reason": "OOMKilled"});
    let failure = "LOG: Exited with status 137 (out of memory)";
    assert_eq!(
        outcome(json!({"ended": {"code": 137}}), failure, starved, false),
        (Reason::OutOfMemory, failure.to_owned(), Some(137))
    );
}
