//! Jobs: what is asked for, what becomes of it, and how it is shown.

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const ID: &str = "0f1e2d3c-4b5a-4978-8069-1a2b3c4d5e6f";

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn fields(body: &Value) -> Fields {
    let known: Vec<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
    Fields::read(body.to_string().as_bytes(), &known, &[]).unwrap()
}

fn times(body: Value) -> Result<Times, String> {
    Times::read(&fields(&body), now()).map_err(|refused| refused.to_string())
}

/// The Schedule of a job, as the API server hands it out.
fn made(body: Value) -> Schedule {
    let work = Work {
        name: Some("nightly".into()),
        alias: None,
        function: FunctionRef {
            name: "f".into(),
            version: Some(2),
        },
        input: Some("{\"a\":1}".into()),
        words: false,
        owner: "ann".into(),
    };
    let mut made = schedule(ID, "n", times(body).unwrap(), work);
    made.metadata.creation_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
    made.metadata.generation = Some(1);
    made
}

fn change(schedule: &mut Schedule, body: Value) -> Result<(), String> {
    let read = Change::read(&fields(&body), now());
    read.and_then(|change| change.apply(schedule, false))
        .map_err(|refused| refused.to_string())
}

fn observed(schedule: &mut Schedule, status: Value) {
    let mut status = status;
    status["observedGeneration"] = json!(schedule.metadata.generation);
    schedule.status = serde_json::from_value(status).unwrap();
}

#[test]
fn a_job_is_a_schedule_whose_tasks_are_executions_of_its_owner() {
    let job =
        made(json!({"pattern": "0 9 * * *", "count": 3, "first_execution_time": "2026-01-02T09:00:00Z"}));
    let expected = json!({
        "schedule": "0 9 * * *", "startAt": "2026-01-02T09:00:00Z", "count": 3,
        "template": {
            "metadata": {"annotations": {"errand.dev/qinling-execution": "{\"sync\":false}"}},
            "spec": {
                "functionRef": {"name": "f", "version": 2}, "owner": "ann", "description": format!("Created by Job {ID}"),
                "input": {"contentType": "application/json", "body": "{\"a\": 1}"},
            },
        },
    });
    assert_eq!(serde_json::to_value(&job.spec).unwrap(), expected);
    assert_eq!(
        (job.name_any(), job.namespace()),
        (ID.to_owned(), Some("n".to_owned()))
    );
    let text = serde_json::to_string(&shown(&job, Some("fid".into()))).unwrap();
    let expected = concat!(
        r#"{"id":"0f1e2d3c-4b5a-4978-8069-1a2b3c4d5e6f","name":"nightly","function_id":"fid","function_alias":null,"#,
        r#""function_version":2,"function_input":"{\"a\": 1}","status":"running","pattern":"0 9 * * *","count":3,"#,
        r#""first_execution_time":"2026-01-02T09:00:00Z","next_execution_time":"2026-01-02T09:00:00Z","#,
        r#""project_id":"n","created_at":"2026-01-01T00:00:00Z","updated_at":null}"#
    );
    assert_eq!(text, expected);
}

#[test]
fn times_are_read_as_clients_write_them() {
    for text in [
        "2026-01-02T09:00:00Z",
        "2026-01-02 09:00:00",
        "2026-01-02T09:00",
        "2026-01-02T09:00:00+05:00",
    ] {
        let once = times(json!({"first_execution_time": text, "count": "1"})).unwrap();
        assert_eq!(once.start.unwrap().to_string(), "2026-01-02T09:00:00Z", "{text}");
    }
    let far = "2026-01-01T00:01:00";
    assert!(times(json!({"first_execution_time": far})).is_ok());
    assert!(times(json!({"pattern": "*/5 * * * *", "first_execution_time": null, "count": null})).is_ok());
    let neither = "pattern or first_execution_time must be specified.";
    for (body, sentence) in [
        (json!({}), neither),
        (json!({"pattern": "", "first_execution_time": ""}), neither),
        (
            json!({"pattern": "* * * *"}),
            "The specified pattern is not valid: * * * *",
        ),
        (json!({"pattern": "x"}), "The specified pattern is not valid: x"),
        (
            json!({"first_execution_time": "soon"}),
            "Unknown string format: soon",
        ),
        (
            json!({"first_execution_time": "2026-01-01T00:00:59"}),
            "Execution time must be at least 1 minute in the future.",
        ),
        (
            json!({"first_execution_time": far, "count": 2}),
            "pattern must be provided if count is greater than 1.",
        ),
        (
            json!({"pattern": "* * * * *", "count": 1_000_000_001_i64}),
            "count may be at most 1000000000",
        ),
        (
            json!({"pattern": "* * * * *", "count": 0}),
            "Invalid input for field/attribute count. Value: '0'. Value should be greater or equal to 1",
        ),
    ] {
        assert_eq!(times(body.clone()).unwrap_err(), sentence, "{body}");
    }
}

#[test]
fn a_job_shows_where_its_schedule_stands() {
    let status = |schedule: &Schedule| {
        let shown = shown(schedule, None);
        (shown.status, shown.count, shown.next_execution_time)
    };
    let time = |text: &str| Some(text.to_owned());
    let mut job = made(json!({"pattern": "0 * * * *", "count": 2}));
    assert_eq!(status(&job), ("running", Some(2), time("2026-01-01T01:00:00Z")));
    observed(
        &mut job,
        json!({"lastScheduleTime": "2026-01-01T01:00:00Z", "nextScheduleTime": "2026-01-01T02:00:00Z", "created": 1}),
    );
    assert_eq!(status(&job), ("running", Some(1), time("2026-01-01T02:00:00Z")));
    change(&mut job, json!({"status": "paused"})).unwrap();
    observed(
        &mut job,
        json!({"lastScheduleTime": "2026-01-01T01:00:00Z", "created": 1}),
    );
    assert_eq!(status(&job), ("paused", Some(1), time("2026-01-01T02:00:00Z")));
    change(&mut job, json!({"status": "running"})).unwrap();
    job.metadata.generation = Some(9);
    assert_eq!(
        status(&job),
        ("running", Some(1), time("2026-01-01T02:00:00Z")),
        "not seen by the controller yet"
    );
    observed(
        &mut job,
        json!({"lastScheduleTime": "2026-01-01T02:00:00Z", "created": 2}),
    );
    assert_eq!(status(&job), ("done", Some(0), time("2026-01-01T02:00:00Z")));
    let mut once = made(json!({"first_execution_time": "2026-01-01T02:00:00Z"}));
    assert_eq!(status(&once), ("running", Some(1), time("2026-01-01T02:00:00Z")));
    change(&mut once, json!({"status": "cancelled"})).unwrap();
    assert_eq!(
        status(&once),
        ("cancelled", Some(1), time("2026-01-01T02:00:00Z"))
    );
    assert_eq!(once.spec.suspend, Some(true));
}

#[test]
fn changes_follow_the_rules_of_the_api() {
    let cron = || made(json!({"pattern": "0 * * * *"}));
    let once = || made(json!({"first_execution_time": "2026-01-01T02:00:00Z"}));
    let type_ = "Can not change job type.";
    for (mut job, body, sentence) in [
        (cron(), json!({"status": "done"}), "Invalid status."),
        (cron(), json!({"pattern": ""}), type_),
        (
            cron(),
            json!({"pattern": "x"}),
            "The specified pattern is not valid: x",
        ),
        (
            cron(),
            json!({"next_execution_time": "2026-01-01T00:00:30"}),
            "Execution time must be at least 1 minute in the future.",
        ),
        (once(), json!({"pattern": "* * * * *"}), type_),
    ] {
        let before = job.clone();
        assert_eq!(change(&mut job, body.clone()), Err(sentence.to_owned()), "{body}");
        assert_eq!(job, before, "{body}: nothing is changed by halves");
    }
    let mut job = cron();
    let body = json!({"name": "n", "function_input": "x y", "pattern": "*/5 * * * *", "status": null, "next_execution_time": null});
    change(&mut job, body).unwrap();
    let seen = shown(&job, None);
    assert_eq!(
        (
            seen.name.as_deref(),
            seen.function_input.as_deref(),
            seen.pattern.as_deref(),
            seen.updated_at.as_deref()
        ),
        (
            Some("n"),
            Some("x y"),
            Some("*/5 * * * *"),
            Some("2026-01-01T00:00:00Z")
        )
    );
    assert_eq!(
        seen.first_execution_time.as_deref(),
        Some("2026-01-01T01:00:00Z"),
        "as it was made"
    );
    change(&mut job, json!({"next_execution_time": "2026-01-01T03:01:00"})).unwrap();
    assert_eq!(
        shown(&job, None).next_execution_time.as_deref(),
        Some("2026-01-01T03:05:00Z")
    );
    change(&mut job, json!({"status": "cancelled"})).unwrap();
    let finished = Err("Can not update a finished job.".to_owned());
    assert_eq!(change(&mut job, json!({"status": "running"})), finished);
    let mut late = once();
    change(&mut late, json!({"status": "paused"})).unwrap();
    late.spec.start_at = Some("2026-01-01T00:00:30Z".parse().unwrap());
    let sentence = "Execution time must be at least 1 minute in the future.";
    assert_eq!(
        change(&mut late, json!({"status": "running"})),
        Err(sentence.to_owned())
    );
    change(
        &mut late,
        json!({"status": "running", "next_execution_time": "2026-01-01T05:00:00"}),
    )
    .unwrap();
    assert_eq!(status(&late), Status::Running);
}

#[test]
fn a_schedule_of_kubectl_is_a_job_too() {
    let schedule: Schedule = serde_json::from_value(json!({
        "apiVersion": "errand.dev/v1alpha1", "kind": "Schedule",
        "metadata": {"name": "tick", "namespace": "n", "uid": ID, "annotations": {"errand.dev/qinling-job": "["}},
        "spec": {"schedule": "no cron", "template": {"spec": {"external": {"processor": "p"}}}},
    }))
    .unwrap();
    let job = shown(&schedule, None);
    assert_eq!(
        (job.id.as_str(), job.status, job.next_execution_time),
        (ID, "running", None)
    );
}

proptest! {
    #[test]
    fn any_text_is_a_time_or_refused(text in ".{0,60}") {
        let _ = times(json!({"first_execution_time": text.clone(), "pattern": text}));
    }
}
