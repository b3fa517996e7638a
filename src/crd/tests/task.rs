//! What a Task may be, and what may become of it.

use std::collections::BTreeSet;

use super::*;

const FIXED: &str = "spec: the spec of a Task is immutable, except cancel, priority and suspend";
const NO_WAY_BACK: &str = "spec: cancel cannot be taken back";

#[test]
fn a_task_names_exactly_one_way_to_run() {
    let ways = [
        ("functionRef", json!({"name": "f"})),
        ("function", json!({"container": {"image": "i"}})),
        ("external", json!({"processor": "p"})),
        ("actions", json!({"container": {"image": "i"}, "action": {}})),
    ];
    for chosen in 0..16_usize {
        let taken = (0..4).filter(|way| chosen & (1 << way) != 0);
        let spec: serde_json::Map<_, _> = taken
            .map(|way| (ways[way].0.to_owned(), ways[way].1.clone()))
            .collect();
        let wanted: &[&str] = match spec.len() {
            1 => &[],
            _ => &["spec: exactly one of functionRef, function, external and actions must be set"],
        };
        let spec = Value::Object(spec);
        assert_eq!(sentences(task(&spec).validate_cel()), wanted, "{spec}");
    }
}

/// Every field that may not change, with two values that it may have.
fn fixed_fields() -> Vec<(&'static str, Value, Value)> {
    let function = |image: &str| json!({"container": {"image": image}});
    let actions = |path: &str| json!({"container": {"image": "i"}, "action": {"try": {"action": {"run": {"path": path}}}}});
    vec![
        (
            "functionRef",
            json!({"name": "a"}),
            json!({"name": "a", "version": 1}),
        ),
        ("function", function("a"), function("b")),
        ("external", json!({"processor": "a"}), json!({"processor": "b"})),
        ("actions", actions("a"), actions("b")),
        (
            "input",
            json!({"headers": {"a": "1"}}),
            json!({"headers": {"a": "2"}}),
        ),
        ("capabilities", json!({"cpu": "1"}), json!({"cpu": "2"})),
        ("timeout", json!("1m"), json!("2m")),
        (
            "env",
            json!([{"name": "A", "value": "1"}]),
            json!([{"name": "A", "value": "2"}]),
        ),
        (
            "retry",
            json!({"limit": 1, "on": ["Failure"]}),
            json!({"limit": 1, "on": ["Timeout"]}),
        ),
        ("title", json!("a"), json!("")),
        ("description", json!("a"), json!("b")),
        ("owner", json!("a"), json!("b")),
        ("domain", json!("a"), json!("b")),
        ("annotation", json!("a"), json!("b")),
        ("command", json!("a"), json!("b")),
        ("callback", json!({"url": "http://a"}), json!({"url": "http://b"})),
    ]
}

/// A spec with `field` as it is given, and another way to run where that is taken away.
fn with(field: &str, value: Option<&Value>) -> Value {
    let sources = ["functionRef", "function", "external", "actions"];
    let mut spec = match (field, value) {
        ("external", _) => json!({"functionRef": {"name": "f"}}),
        _ => json!({"external": {"processor": "p"}}),
    };
    if let Some(value) = value {
        if sources.contains(&field) {
            spec = json!({});
        }
        spec[field] = value.clone();
    }
    spec
}

#[test]
fn no_field_but_cancel_priority_and_suspend_may_come_change_or_go() {
    for (field, one, other) in fixed_fields() {
        let (absent, one, other) = (
            with(field, None),
            with(field, Some(&one)),
            with(field, Some(&other)),
        );
        for (what, old, new) in [
            ("come", &absent, &one),
            ("change", &one, &other),
            ("go", &one, &absent),
        ] {
            assert_eq!(update_problems(old, new), [FIXED], "{field} may not {what}");
        }
        for same in [&absent, &one, &other] {
            assert_eq!(update_problems(same, same), [""; 0], "{field} may stay");
            let mut cancelled = same.clone();
            cancelled["cancel"] = json!(true);
            cancelled["priority"] = json!(-1);
            assert_eq!(
                update_problems(same, &cancelled),
                [""; 0],
                "cancel and priority may come beside {field}"
            );
        }
    }
}

#[test]
fn every_field_of_the_schema_is_either_fixed_or_may_change() {
    let schema = schema_of::<Task>();
    let properties = schema["properties"]["spec"]["properties"].as_object().unwrap();
    let known: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
    let fixed = fixed_fields();
    let shown = fixed
        .iter()
        .map(|(field, ..)| *field)
        .chain(["cancel", "priority", "suspend"]);
    assert_eq!(shown.collect::<BTreeSet<_>>(), known);
}

#[test]
fn a_cancel_stays_and_a_priority_changes_freely() {
    let spec = |change: Value| {
        let mut spec = json!({"functionRef": {"name": "f"}});
        spec.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        spec
    };
    let (none, no, yes) = (json!({}), json!({"cancel": false}), json!({"cancel": true}));
    let (low, high) = (json!({"priority": -5}), json!({"priority": 5}));
    for (old, new, wanted) in [
        (&none, &yes, &[][..]),
        (&no, &yes, &[]),
        (&none, &no, &[]),
        (&no, &none, &[]),
        (&yes, &yes, &[]),
        (&yes, &no, &[NO_WAY_BACK]),
        (&yes, &none, &[NO_WAY_BACK]),
        (&none, &low, &[]),
        (&low, &high, &[]),
        (&high, &none, &[]),
    ] {
        assert_eq!(
            update_problems(&spec(old.clone()), &spec(new.clone())),
            wanted,
            "{old} to {new}"
        );
    }
}

#[test]
fn a_task_is_suspended_from_the_beginning_and_let_go_once() {
    let spec = |suspend: Option<bool>| {
        let mut spec = json!({"functionRef": {"name": "f"}});
        if let Some(suspend) = suspend {
            spec["suspend"] = json!(suspend);
        }
        spec
    };
    let late = "spec: a Task is suspended from the beginning or not at all";
    for (old, new, wanted) in [
        (Some(true), Some(true), &[][..]),
        (Some(true), Some(false), &[]),
        (Some(true), None, &[]),
        (None, Some(false), &[]),
        (Some(false), None, &[]),
        (None, Some(true), &[late]),
        (Some(false), Some(true), &[late]),
    ] {
        assert_eq!(
            update_problems(&spec(old), &spec(new)),
            wanted,
            "{old:?} to {new:?}"
        );
    }
    assert_eq!(task_problems(&spec(Some(true))), [""; 0]);
    let external = json!({"external": {"processor": "p"}, "suspend": true});
    let refused = ["spec: suspend holds a pod back, and a Task with external has none"];
    assert_eq!(task_problems(&external), refused);
}

#[test]
fn the_container_of_actions_has_no_command_of_its_own() {
    let with = |field: &str| {
        let mut actions = json!({"container": {"image": "i"}, "action": {}});
        actions["container"][field] = json!(["x"]);
        sentences(task(&json!({"actions": actions})).validate_cel())
    };
    let refusal = ["spec.actions.container: actions say what runs: leave command and args out"];
    assert_eq!(
        (with("command"), with("args")),
        (
            refusal.map(str::to_owned).to_vec(),
            refusal.map(str::to_owned).to_vec()
        )
    );
}

#[test]
fn two_mistakes_are_two_sentences() {
    let old = json!({"functionRef": {"name": "f"}, "cancel": true});
    let new = json!({"functionRef": {"name": "g"}, "cancel": false});
    let judged = task(&new).validate_cel_update(&task(&old));
    assert_eq!(sentences(judged), [FIXED, NO_WAY_BACK]);
}

#[test]
fn a_callback_keeps_to_its_bounds() {
    let of = |more: Value| {
        let mut callback = json!({"url": "http://a"});
        let more = more.as_object().unwrap().clone();
        callback.as_object_mut().unwrap().extend(more);
        task_problems(&json!({"functionRef": {"name": "f"}, "callback": callback}))
    };
    let late = ["spec.callback.timeout: must be at least 100ms and at most 60s"];
    let diego = ["spec.callback: policy Diego has rules of its own for retries"];
    for (callback, wanted) in [
        (json!({"timeout": "100ms"}), &[][..]),
        (json!({"timeout": "1m"}), &[]),
        (json!({"timeout": "99ms"}), &late),
        (json!({"timeout": "61s"}), &late),
        (json!({"policy": "Diego"}), &[]),
        (json!({"policy": "Standard", "retry": {"limit": 1}}), &[]),
        (json!({"policy": "Diego", "retry": {"limit": 1}}), &diego),
    ] {
        assert_eq!(of(callback.clone()), wanted, "{callback}");
    }
}
