use serde_json::{Value, json};

use super::*;
use crate::facade::dialects::diego::{map, messages::TaskDefinition, settings::Settings};

const CREATED: i64 = 1_767_225_600_000_000_000;

fn desired(cells: bool, marks: &Marks, status: Value) -> Task {
    let definition = TaskDefinition {
        root_fs: "docker:///busybox".into(),
        action: Some(messages::Action {
            run: Some(Box::default()),
            ..messages::Action::default()
        }),
        ..TaskDefinition::default()
    };
    let wanted = map::Wanted {
        guid: "g",
        domain: "d",
        bytes: b"\x0a\x03a:b",
        definition: &definition,
        hidden: None,
    };
    let settings = Settings {
        // A run without path is no tree that a Task holds.
        cells: true,
        ..Settings::default()
    };
    let mut task = map::task(&wanted, &settings).unwrap();
    if !cells {
        task.spec.external = None;
        task.spec.actions = Some(Default::default());
    }
    task.annotations_mut()
        .insert(names::MARKS.into(), marks.to_text());
    task.metadata.creation_timestamp = Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
    task.status = serde_json::from_value(status).unwrap();
    task
}

fn seen(cells: bool, marks: &Marks, status: Value) -> messages::Task {
    task(&desired(cells, marks, status), &Origin::default())
}

fn in_a_pod(status: Value) -> messages::Task {
    seen(false, &Marks::default(), status)
}

/// State, cell, failed, reason.
fn short(task: &messages::Task) -> (State, &str, bool, &str) {
    (task.state(), &task.cell_id, task.failed, &task.failure_reason)
}

#[test]
fn a_new_task_is_pending_and_says_what_was_sent() {
    let task = seen(true, &Marks::default(), json!({"phase": "Queued"}));
    let wanted = messages::Task {
        task_definition: Some(b"\x0a\x03a:b".to_vec()),
        task_guid: "g".into(),
        domain: "d".into(),
        created_at: CREATED,
        updated_at: CREATED,
        state: State::Pending.into(),
        ..messages::Task::default()
    };
    assert_eq!(task, wanted);
}

#[test]
fn a_pod_runs_on_its_node_and_ends_as_its_phase_says() {
    let pod = json!({"name": "p", "node": "n1"});
    let status = |phase: &str| json!({"phase": phase, "pod": pod, "finishedAt": "2026-01-01T00:00:07.250Z"});
    assert_eq!(
        short(&in_a_pod(status("Pending"))),
        (State::Pending, "", false, "")
    );
    assert_eq!(
        short(&in_a_pod(status("Running"))),
        (State::Running, "n1", false, "")
    );
    let done = in_a_pod(status("Succeeded"));
    assert_eq!(short(&done), (State::Completed, "", false, ""));
    let at = CREATED + 7_250_000_000;
    assert_eq!((done.first_completed_at, done.updated_at), (at, at));
    assert_eq!(
        short(&in_a_pod(status("Cancelled"))),
        (State::Completed, "", true, "task was cancelled")
    );
    for (reason, cell, words) in [
        ("ExitCode", "", "TSK: Exited with status 3"),
        ("NodeLost", "n1", "cell disappeared before completion"),
        ("PendingTimedOut", "", "not started within time limit"),
    ] {
        let mut status = status("Failed");
        status["reason"] = reason.into();
        status["message"] = "TSK: Exited with status 3".into();
        assert_eq!(
            short(&in_a_pod(status)),
            (State::Completed, cell, true, words),
            "{reason}"
        );
    }
    let mut long = status("Failed");
    long["message"] = "x".repeat(2000).into();
    assert_eq!(
        in_a_pod(long).failure_reason,
        format!("{}(truncated)", "x".repeat(1013))
    );
}

#[test]
fn a_task_is_completed_as_soon_as_its_end_is_decided() {
    let running =
        json!({"phase": "Running", "modifiedAt": "2026-01-01T00:00:01Z", "pod": {"name": "p", "node": "n1"}});
    let marks = Marks {
        cancelled_at: Some(CREATED + 5),
        ..Marks::default()
    };
    let cancelled = (State::Completed, "", true, "task was cancelled");
    let task = seen(false, &marks, running.clone());
    assert_eq!((short(&task), task.first_completed_at), (cancelled, CREATED + 5));
    // The container came to a good end all the same; but the end was told already.
    assert_eq!(
        short(&seen(false, &marks, json!({"phase": "Succeeded"}))),
        cancelled
    );

    let mut elsewhere = desired(false, &Marks::default(), running.clone());
    elsewhere.spec.cancel = Some(true);
    assert_eq!(short(&super::task(&elsewhere, &Origin::default())), cancelled);

    let mut reported = running;
    reported["reportedEnd"] = json!({"phase": "Failed", "message": "no"});
    assert_eq!(
        short(&in_a_pod(reported.clone())),
        (State::Completed, "", true, "no")
    );
    reported["reportedEnd"] =
        json!({"phase": "Succeeded", "result": {"status": 200, "body": "42", "truncated": false}});
    let task = in_a_pod(reported);
    assert_eq!(
        (short(&task), task.result.as_str()),
        ((State::Completed, "", false, ""), "42")
    );
}

#[test]
fn cells_from_outside_say_when_a_task_runs() {
    let engine = json!({"phase": "Running", "reason": "External"});
    let marks = Marks {
        cell: Some("cell-z1".into()),
        running: true,
        ..Marks::default()
    };
    assert_eq!(
        short(&seen(true, &marks, engine.clone())),
        (State::Running, "cell-z1", false, "")
    );
    let rejected = Marks {
        running: false,
        rejections: 1,
        rejection_reason: Some("full".into()),
        ..marks
    };
    let task = seen(true, &rejected, engine);
    assert_eq!(short(&task), (State::Pending, "cell-z1", false, ""));
    assert_eq!(
        (task.rejection_count, task.rejection_reason.as_str()),
        (1, "full")
    );
}

#[test]
fn a_task_is_resolving_while_somebody_or_the_callback_says_so() {
    let resolving = Marks {
        resolving_at: Some(1),
        ..Marks::default()
    };
    assert_eq!(
        seen(true, &resolving, json!({"phase": "Failed"})).state(),
        State::Resolving
    );
    assert_eq!(
        seen(true, &resolving, json!({"phase": "Running"})).state(),
        State::Pending
    );
    for (callback, state) in [
        ("Pending", State::Completed),
        ("Delivering", State::Resolving),
        ("Delivered", State::Resolving),
        ("Failed", State::Completed),
    ] {
        let status = json!({"phase": "Succeeded", "callback": {"state": callback}});
        assert_eq!(in_a_pod(status).state(), state, "{callback}");
    }
}

#[test]
fn a_task_with_a_callback_is_resolving_from_its_end_on() {
    let state = |marks: &Marks, status: Value| {
        let mut made = desired(false, marks, status);
        made.spec.callback =
            Some(serde_json::from_value(json!({"url": "http://a", "policy": "Diego"})).unwrap());
        task(&made, &Origin::default()).state()
    };
    let plain = Marks::default();
    assert_eq!(state(&plain, json!({"phase": "Running"})), State::Running);
    assert_eq!(state(&plain, json!({"phase": "Failed"})), State::Resolving);
    let given_up = json!({"phase": "Failed", "callback": {"state": "Failed"}});
    assert_eq!(state(&plain, given_up), State::Completed);
    // Nobody is told before the evidence is there.
    let cancelled = Marks {
        cancelled_at: Some(1),
        ..Marks::default()
    };
    assert_eq!(state(&cancelled, json!({"phase": "Running"})), State::Completed);
    assert_eq!(state(&cancelled, json!({"phase": "Cancelled"})), State::Resolving);
}

#[test]
fn a_result_counts_unless_the_task_was_cancelled() {
    let result = json!({"status": 200, "body": "out", "sizeBytes": 3, "truncated": false});
    let of = |phase: &str| in_a_pod(json!({"phase": phase, "result": result})).result;
    assert_eq!(
        ["Succeeded", "Failed", "Cancelled", "Running"].map(of),
        ["out", "out", "", ""]
    );
    let lacks = |phase: &str, size: i64| {
        let status =
            json!({"phase": phase, "result": {"status": 200, "sizeBytes": size, "truncated": false}});
        lacks_result(&desired(false, &Marks::default(), status))
    };
    assert_eq!(
        [
            lacks("Succeeded", 3),
            lacks("Succeeded", 0),
            lacks("Cancelled", 3),
            lacks("Running", 3)
        ],
        [true, false, false, false]
    );
}

#[test]
fn a_task_that_was_made_elsewhere_is_told_by_its_name_and_what_it_runs() {
    let made: Task = serde_json::from_value(json!({
        "metadata": {"name": "copy", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {
            "function": {"container": {"image": "busybox:1", "command": ["sh", "-c"], "args": ["true"],
                "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}]},
                "capabilities": {"memory": "64Mi"}},
            "annotation": "note",
        },
        "status": {"phase": "Running", "pod": {"name": "p", "node": "n1"}},
    }))
    .unwrap();
    let shown = task(&made, &Origin::default());
    let definition = TaskDefinition::decode(&*shown.task_definition.clone().unwrap()).unwrap();
    let wanted = TaskDefinition {
        root_fs: "docker:///busybox#1".into(),
        environment_variables: vec![messages::EnvironmentVariable {
            name: "A".into(),
            value: "1".into(),
        }],
        action: Some(messages::Action {
            run: Some(Box::new(messages::RunAction {
                path: "sh".into(),
                args: vec!["-c".into(), "true".into()],
                ..messages::RunAction::default()
            })),
            ..messages::Action::default()
        }),
        memory_mb: 64,
        annotation: "note".into(),
        ..TaskDefinition::default()
    };
    assert_eq!(definition, wanted);
    assert_eq!(
        (shown.task_guid.as_str(), short(&shown)),
        ("copy", (State::Running, "n1", false, ""))
    );
}
