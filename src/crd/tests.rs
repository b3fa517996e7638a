use serde_json::{Value, json};

use super::*;

fn task(spec: Value) -> Task {
    serde_json::from_value(
        json!({"apiVersion": API_VERSION, "kind": "Task", "metadata": {"name": "t"}, "spec": spec}),
    )
    .unwrap()
}

fn problems(spec: Value) -> Vec<String> {
    match task(spec).validate_cel() {
        Ok(()) => Vec::new(),
        Err(errors) => errors.iter().map(|e| e.to_string()).collect(),
    }
}

#[test]
fn a_task_names_exactly_one_way_to_run() {
    let one = "exactly one of functionRef, function and external must be set";
    for (spec, good) in [
        (json!({"functionRef": {"name": "f"}}), true),
        (json!({"function": {"container": {"image": "i"}}}), true),
        (json!({"external": {"processor": "p"}}), true),
        (json!({}), false),
        (
            json!({"functionRef": {"name": "f"}, "external": {"processor": "p"}}),
            false,
        ),
    ] {
        let found = problems(spec.clone());
        assert_eq!(
            found.iter().any(|text| text.contains(one)),
            !good,
            "{spec}: {found:?}"
        );
    }
}
