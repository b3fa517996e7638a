//! What a Schedule may be.

use super::*;

fn problems_of(spec: Value, old: Option<Value>) -> Vec<String> {
    let object = |spec: Value| {
        let object =
            json!({"apiVersion": API_VERSION, "kind": "Schedule", "metadata": {"name": "s"}, "spec": spec});
        let read: Schedule = serde_json::from_value(object).unwrap();
        json!(read)
    };
    problems(&SCHEDULE_RULES, &object(spec), old.map(object).as_ref())
}

fn spec(change: Value) -> Value {
    let mut spec = json!({"template": {"spec": {"functionRef": {"name": "f"}}}});
    json_patch::merge(&mut spec, &change);
    spec
}

#[test]
fn a_schedule_names_moments_or_one() {
    let refused = "spec: at least one of schedule and startAt must be set";
    assert_eq!(problems_of(spec(json!({})), None), [refused]);
    for good in [
        json!({"schedule": "* * * * *"}),
        json!({"startAt": "2026-01-01T00:00:00Z"}),
        json!({"schedule": "* * * * *", "startAt": "2026-01-01T00:00:00Z"}),
    ] {
        assert_eq!(problems_of(spec(good), None), [""; 0]);
    }
}

#[test]
fn the_rules_of_a_task_hold_in_the_template_but_it_may_change() {
    let none = spec(json!({"schedule": "* * * * *", "template": {"spec": {"functionRef": null}}}));
    let refused =
        "spec.template.spec: exactly one of functionRef, function, external and actions must be set";
    assert_eq!(problems_of(none, None), [refused]);
    let long = json!({"schedule": "* * * * *", "template": {"spec": {"timeout": "720h"}}});
    let old = spec(json!({"schedule": "* * * * *", "template": {"spec": {"timeout": "1h", "owner": "ann"}}}));
    assert_eq!(problems_of(spec(long), Some(old)), [""; 0]);
}
