use serde_json::{Value, json};

use super::*;

const J: &str = "b06f51d2-88af-487c-bb4c-4cc156cf24fd";

fn external(status: Value) -> Task {
    task(
        json!({"external": {"processor": "svc"}, "owner": "User#1234", "title": "Copy"}),
        status,
    )
}

fn task(spec: Value, status: Value) -> Task {
    serde_json::from_value(json!({
        "apiVersion": crate::crd::API_VERSION, "kind": "Task", "spec": spec, "status": status,
        "metadata": {"name": J, "uid": "u", "namespace": "n", "creationTimestamp": "2026-01-01T00:00:00Z"},
    }))
    .unwrap()
}

/// The updates without what they have not.
fn told(before: Option<&Task>, after: Option<&Task>) -> Value {
    let mut updates = serde_json::to_value(updates(before, after)).unwrap();
    for update in updates.as_array_mut().unwrap() {
        let fields = update.as_object_mut().unwrap();
        assert_eq!(fields.remove("jobId"), Some(json!(J)));
        fields.retain(|_, value| ![json!(null), json!([]), json!(false)].contains(value));
    }
    updates
}

fn messages(texts: &[(i64, &str)]) -> Value {
    let message = |(sequence, text): &(i64, &str)| json!({"sequence": sequence, "time": "2026-01-01T00:00:00Z", "text": text});
    json!({"phase": "Running", "messages": texts.iter().map(message).collect::<Vec<_>>()})
}

#[test]
fn a_task_is_shown_as_it_was_made_and_as_it_was_reported_since() {
    let made = json!({"external": {"processor": "svc"}, "owner": "User#1234", "title": "Copy", "description": "Soon"});
    assert_eq!(
        serde_json::to_string(&shown(&task(made.clone(), json!({"phase": "Queued"})))).unwrap(),
        format!(
            r#"{{"jobId":"{J}","owner":"User#1234","processor":"svc","title":"Copy","status":"Soon","complete":false,"startedAt":1767225600000,"modifiedAt":1767225600000}}"#
        )
    );
    let reported = json!({"phase": "Succeeded", "title": "Move", "message": "the end was reported",
        "progress": {"message": "Done"}, "modifiedAt": "2026-01-01T00:00:01.234Z"});
    let shown = shown(&task(made, reported));
    assert_eq!(
        (
            shown.title.as_deref(),
            shown.status.as_deref(),
            shown.complete,
            shown.modified_at
        ),
        (Some("Move"), Some("Done"), true, 1_767_225_601_234)
    );
}

#[test]
fn a_task_in_a_pod_is_shown_by_what_it_runs_and_where_it_stands() {
    let seen = |status: Value| {
        let shown = shown(&task(json!({"functionRef": {"name": "thumbnail"}}), status));
        assert_eq!((shown.owner.as_str(), shown.processor.as_str()), ("", "errand"));
        (shown.title.unwrap(), shown.status.unwrap(), shown.complete)
    };
    let is = |status: &str, complete| ("thumbnail".to_owned(), status.to_owned(), complete);
    assert_eq!(seen(json!({})), is("Queued", false));
    assert_eq!(
        seen(json!({"phase": "Pending", "message": "no node fits"})),
        is("no node fits", false)
    );
    assert_eq!(
        seen(json!({"phase": "Failed", "message": "exit code 3", "progress": {"message": "half"}})),
        is("exit code 3", true)
    );
}

#[test]
fn a_new_task_is_told_by_title_and_status() {
    let new = external(json!({"phase": "Queued"}));
    assert_eq!(told(None, Some(&new)), json!([{"newTitle": "Copy"}]));
    let titled = json!({"external": {"processor": "svc"}, "description": "Soon"});
    assert_eq!(
        told(None, Some(&task(titled, json!({})))),
        json!([{"newTitle": J, "newStatus": "Soon"}])
    );
    // One that another replica made, seen late.
    let mut late = messages(&[(1, "a"), (2, "b")]);
    late["phase"] = json!("Succeeded");
    late["progress"] = json!({"percent": 100});
    assert_eq!(
        told(None, Some(&external(late))),
        json!([{"newTitle": "Copy"}, {"messageToAppend": "a"}, {"messageToAppend": "b"}, {"complete": true}])
    );
}

#[test]
fn what_the_engine_does_with_a_task_of_a_service_is_no_news() {
    let before = external(json!({"phase": "Queued"}));
    let after = json!({"phase": "Running", "reason": "External", "message": "the work is done and reported by svc",
        "startedAt": "2026-01-01T00:00:01Z", "observedGeneration": 1});
    assert_eq!(told(Some(&before), Some(&external(after))), json!([]));
}

#[test]
fn each_message_is_told_by_itself_and_the_rest_with_the_last() {
    let before = external(messages(&[(1, "a")]));
    let mut after = messages(&[(1, "a"), (2, "b"), (3, "c")]);
    after["title"] = json!("Move");
    after["progress"] =
        json!({"percent": 50, "title": "files", "current": 1, "maximum": 2, "message": "half"});
    assert_eq!(
        told(Some(&before), Some(&external(after.clone()))),
        json!([{"messageToAppend": "b"}, {"messageToAppend": "c", "newTitle": "Move", "newStatus": "half",
            "progress": {"title": "files", "current": 1, "maximum": 2}}])
    );
    assert_eq!(
        told(Some(&external(after.clone())), Some(&external(after))),
        json!([])
    );
}

#[test]
fn messages_that_made_room_are_not_told_again() {
    let before = external(messages(&[(7, "g"), (8, "h")]));
    let after = external(messages(&[(9, "i"), (10, "j")]));
    assert_eq!(
        told(Some(&before), Some(&after)),
        json!([{"messageToAppend": "i"}, {"messageToAppend": "j"}])
    );
}

#[test]
fn a_percentage_is_told_as_steps_of_a_hundred() {
    let at = |progress: Value| external(json!({"phase": "Running", "progress": progress}));
    let told = |before: Value, after: Value| told(Some(&at(before)), Some(&at(after)));
    assert_eq!(
        told(json!({"percent": 4}), json!({"percent": 5, "title": "copying"})),
        json!([{"progress": {"title": "copying", "current": 5, "maximum": 100}}])
    );
    let beyond = i64::MAX;
    assert_eq!(
        told(json!({}), json!({"current": beyond, "maximum": beyond})),
        json!([{"progress": {"title": "", "current": i32::MAX, "maximum": i32::MAX}}])
    );
    assert_eq!(told(json!({}), json!({"title": "copying"})), json!([]));
}

#[test]
fn speeds_that_were_put_behind_are_told() {
    let speed = |value: f64| json!({"title": "t", "speed": value, "unit": "u", "asText": "x"});
    let of = |values: &[f64]| -> Vec<Speed> {
        values
            .iter()
            .map(|value| serde_json::from_value(speed(*value)).unwrap())
            .collect()
    };
    for (before, after, new) in [
        (&[][..], &[1.0][..], 1),
        (&[1.0], &[1.0, 1.0], 1),
        (&[1.0, 2.0], &[2.0, 3.0, 4.0], 2),
        (&[1.0, 2.0], &[3.0], 1),
        (&[1.0, 2.0], &[1.0, 2.0], 0),
        (&[1.0], &[], 0),
    ] {
        let (before, after) = (of(before), of(after));
        assert_eq!(new_speeds(&before, &after).len(), new, "{before:?} {after:?}");
    }
}

#[test]
fn an_end_is_told_last_and_of_a_failure_why() {
    let running = external(json!({"phase": "Running", "progress": {"percent": 7}}));
    let ended = |phase: &str| {
        external(json!({"phase": phase, "message": "no more paper", "progress": {"percent": 100}}))
    };
    let complete = json!({"complete": true});
    assert_eq!(told(Some(&running), Some(&ended("Succeeded"))), json!([complete]));
    for phase in ["Failed", "Cancelled"] {
        assert_eq!(
            told(Some(&running), Some(&ended(phase))),
            json!([{"newStatus": "no more paper"}, complete])
        );
    }
    assert_eq!(told(Some(&ended("Failed")), Some(&ended("Failed"))), json!([]));
    assert_eq!(told(Some(&ended("Failed")), None), json!([]));
    assert_eq!(told(Some(&running), None), json!([complete]));
}

#[test]
fn a_task_that_took_the_name_of_another_is_a_new_one() {
    let before = external(json!({"phase": "Succeeded"}));
    let mut after = external(json!({"phase": "Queued"}));
    after.metadata.uid = Some("v".into());
    assert_eq!(told(Some(&before), Some(&after)), json!([{"newTitle": "Copy"}]));
}
