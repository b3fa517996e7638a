use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::crd::change::merge_patch;

fn moment(now: &str) -> Moment {
    Moment {
        now: now.parse().unwrap(),
        generation: Some(2),
        issued_at: "2026-01-01T00:00:00Z".parse().unwrap(),
    }
}

#[test]
fn a_failed_task_says_it_in_every_place() {
    let outcome = Outcome {
        exit_code: Some(3),
        ..Outcome::new(Reason::ExitCode, "the command exited with code 3")
    };
    let status = finished(
        &TaskStatus::default(),
        None,
        &outcome,
        Gathered::default(),
        moment("2026-01-01T00:00:09.1234Z"),
    );
    assert_eq!(
        serde_json::to_value(&status).unwrap(),
        json!({
            "phase": "Failed", "reason": "ExitCode", "message": "the command exited with code 3", "exitCode": 3,
            "issuedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:09.123Z",
            "modifiedAt": "2026-01-01T00:00:09.123Z", "observedGeneration": 2,
            "result": {"status": 500, "sizeBytes": 0, "truncated": false},
            "error": {"code": 2, "message": "the command exited with code 3", "details": [{
                "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "ExitCode", "domain": "errand.dev",
            }]},
            "conditions": [{
                "type": "Finished", "status": "True", "reason": "ExitCode", "observedGeneration": 2,
                "message": "the command exited with code 3", "lastTransitionTime": "2026-01-01T00:00:09Z",
            }],
        })
    );
}

#[test]
fn success_is_complete_and_carries_no_error() {
    let outcome = Outcome::new(Reason::Completed, "done");
    let status = finished(
        &TaskStatus::default(),
        None,
        &outcome,
        Gathered::default(),
        moment("2026-01-01T00:00:09Z"),
    );
    assert_eq!(
        (
            status.phase,
            status.error,
            status.progress.and_then(|p| p.percent),
            status.result.map(|r| r.status)
        ),
        (Some(Phase::Succeeded), None, Some(100), Some(200))
    );
}

#[test]
fn evidence_that_is_missing_is_a_condition() {
    let gathered = Gathered {
        problem: Some("the log cannot be read".into()),
        ..Gathered::default()
    };
    let outcome = Outcome::new(Reason::NodeLost, "node gone");
    let status = finished(
        &TaskStatus::default(),
        None,
        &outcome,
        gathered,
        moment("2026-01-01T00:00:09Z"),
    );
    let evidence = status
        .conditions
        .iter()
        .find(|c| c.type_ == CONDITION_EVIDENCE)
        .unwrap();
    assert_eq!(
        (evidence.status.as_str(), evidence.message.as_str()),
        ("False", "the log cannot be read")
    );
}

#[test]
fn a_status_that_says_nothing_new_is_not_touched() {
    let first = queued(
        &TaskStatus::default(),
        "ConcurrencyLimit",
        "full",
        moment("2026-01-01T00:00:01Z"),
    );
    let second = queued(&first, "ConcurrencyLimit", "full", moment("2026-01-01T00:00:02Z"));
    assert_eq!(first, second);
}

#[test]
fn the_next_attempt_keeps_the_log_of_the_last_and_forgets_its_pod() {
    let old = TaskStatus {
        attempts: Some(1),
        pod: Some(crate::crd::PodRef::default()),
        ..TaskStatus::default()
    };
    let gathered = Gathered {
        logs: Some(crate::crd::LogTail {
            tail: "so far".into(),
            ..Default::default()
        }),
        ..Gathered::default()
    };
    let outcome = Outcome::new(Reason::NodeLost, "node gone");
    let at = "2026-01-01T00:00:10Z".parse().unwrap();
    let status = retrying(&old, &outcome, &gathered, at, moment("2026-01-01T00:00:09Z"));
    assert_eq!(
        (
            status.phase,
            status.attempts,
            status.pod,
            status.next_attempt_at,
            status.logs.map(|log| log.tail)
        ),
        (
            Some(Phase::Pending),
            Some(2),
            None,
            Some(at),
            Some("so far".into())
        )
    );
    assert_eq!(
        status.message.as_deref(),
        Some("attempt 1 ended with NodeLost: node gone; attempt 2 may start at 2026-01-01T00:00:10Z")
    );
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        ".*".prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-c]", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn a_merge_patch_turns_the_old_into_the_new(old in any_json(), new in any_json()) {
        let (mut old, new) = (json!({"status": old}), json!({"status": new}));
        match merge_patch(&old, &new) {
            None => prop_assert_eq!(&old, &new),
            Some(patch) => {
                json_patch::merge(&mut old, &patch);
                prop_assert_eq!(&old, &new);
            }
        }
    }
}
