use serde_json::json;

use super::*;
use crate::crd::EndPhase;

const NOW: &str = "2026-01-01T00:10:00.1234Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn task(spec: Value, status: Value) -> Task {
    serde_json::from_value(json!({
        "apiVersion": "errand.dev/v1alpha1", "kind": "Task",
        "metadata": {"name": "t", "namespace": "n", "uid": "u", "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": spec, "status": status,
    }))
    .unwrap()
}

fn steps(current: i64, maximum: i64) -> Progress {
    Progress {
        current: Some(current),
        maximum: Some(maximum),
        ..Progress::default()
    }
}

fn percent(percent: u8) -> Progress {
    Progress {
        percent: Some(percent),
        ..Progress::default()
    }
}

fn written(task: &Task, end: &ReportedEnd) -> Value {
    let status = task.status.clone().unwrap();
    value(&at_end(task, status, end, at(NOW)))
}

fn end(phase: EndPhase) -> ReportedEnd {
    ReportedEnd {
        phase,
        message: None,
        result: None,
    }
}

#[test]
fn what_a_report_leaves_out_stays_and_steps_make_a_percentage() {
    let titled = Progress {
        title: Some("copying".into()),
        ..percent(10)
    };
    let later = Progress {
        title: Some("copying".into()),
        ..percent(20)
    };
    assert_eq!(overlaid(Some(titled), percent(20)), later);
    let counted = Progress {
        percent: Some(42),
        ..steps(3, 7)
    };
    assert_eq!(overlaid(Some(percent(10)), steps(3, 7)), counted);
    let next = Progress {
        current: Some(7),
        ..Progress::default()
    };
    let all = Progress {
        percent: Some(100),
        ..steps(7, 7)
    };
    assert_eq!(overlaid(Some(counted), next), all);
    assert_eq!(percent_of(i64::MAX, 1), Some(100));
}

#[test]
fn the_same_progress_again_changes_nothing() {
    let old = TaskStatus {
        progress: Some(percent(10)),
        ..TaskStatus::default()
    };
    assert_eq!(progressed(&old, &percent(10), at(NOW)), old);
    assert_eq!(
        progressed(&old, &percent(11), at(NOW)).modified_at,
        Some(at("2026-01-01T00:10:00.123Z"))
    );
}

#[test]
fn nothing_is_reported_on_a_task_whose_end_is_known() {
    for (status, words) in [
        (json!({"phase": "Cancelled"}), "Task t is over (Cancelled)"),
        (
            json!({"phase": "Running", "reportedEnd": {"phase": "Failed"}}),
            "the end of Task t has been reported already",
        ),
    ] {
        let refused = open(&task(json!({}), status)).unwrap_err();
        assert!(
            matches!(refused, Refusal::Conflict(_)) && refused.to_string().contains(words),
            "{refused}"
        );
    }
    assert_eq!(open(&task(json!({}), json!({"phase": "Running"}))), Ok(()));
}

#[test]
fn the_reported_end_of_an_external_task_is_written_whole() {
    let task = task(
        json!({"external": {"processor": "p"}}),
        json!({"phase": "Running", "reason": "External", "startedAt": "2026-01-01T00:00:01Z", "progress": {"percent": 7}}),
    );
    assert_eq!(
        written(&task, &end(EndPhase::Failed)),
        json!({
            "phase": "Failed", "reason": "Reported", "message": "a failure was reported",
            "issuedAt": "2026-01-01T00:00:00Z", "startedAt": "2026-01-01T00:00:01Z",
            "finishedAt": "2026-01-01T00:10:00.123Z", "modifiedAt": "2026-01-01T00:10:00.123Z",
            "observedGeneration": 1, "progress": {"percent": 7},
            "result": {"status": 500, "sizeBytes": 0, "truncated": false},
            "error": {"code": 2, "message": "a failure was reported", "details": [{
                "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "Reported", "domain": "errand.dev",
            }]},
            "conditions": [{
                "type": "Finished", "status": "True", "reason": "Reported", "observedGeneration": 1,
                "message": "a failure was reported", "lastTransitionTime": "2026-01-01T00:10:00Z",
            }],
        })
    );
    let good = written(&task, &end(EndPhase::Succeeded));
    assert_eq!(
        (
            &good["phase"],
            &good["progress"]["percent"],
            &good["error"],
            &good["result"]["status"]
        ),
        (&json!("Succeeded"), &json!(100), &Value::Null, &json!(200))
    );
    let stopped = written(&task, &end(EndPhase::Cancelled));
    assert_eq!(
        (
            &stopped["phase"],
            &stopped["error"]["code"],
            &stopped["result"]["status"]
        ),
        (&json!("Cancelled"), &json!(1), &json!(499))
    );
}

#[test]
fn the_reported_end_of_a_task_with_a_pod_waits_for_the_pod_to_be_stopped() {
    let task = task(json!({"functionRef": {"name": "f"}}), json!({"phase": "Running"}));
    assert_eq!(
        written(&task, &end(EndPhase::Succeeded)),
        json!({"phase": "Running", "modifiedAt": "2026-01-01T00:10:00.123Z", "reportedEnd": {"phase": "Succeeded"}})
    );
}
