use proptest::prelude::*;
use serde_json::json;

use super::*;

fn read(tree: Value) -> Result<Action, ActionsError> {
    match tree {
        Value::Object(tree) => Action::read(&tree),
        other => panic!("{other} is no object"),
    }
}

fn refusal(tree: Value) -> String {
    read(tree).unwrap_err().to_string()
}

fn shell(script: &str) -> Value {
    json!({"run": {"path": "sh", "args": ["-c", script]}})
}

fn object(name: &str, value: Value) -> Value {
    Value::Object(Map::from_iter([(name.to_owned(), value)]))
}

/// So many tries around a run. Not with `json!`, which copies what it is given.
fn nested(levels: usize) -> Value {
    (1..levels).fold(shell("true"), |inner, _| object("try", object("action", inner)))
}

#[test]
fn a_tree_with_every_action_and_field_comes_back_as_it_was_written() {
    let tree = json!({"serial": {"logSource": "S", "actions": [
        {"run": {"path": "/bin/sh", "args": ["-c", "true"], "dir": "/tmp", "env": [{"name": "A", "value": "b"}],
                 "user": "vcap", "nofile": 1024, "logSource": "APP", "suppressLogOutput": true}},
        {"timeout": {"after": "10s", "action": shell("true"), "logSource": "T"}},
        {"try": {"action": shell("false"), "logSource": "Y"}},
        {"parallel": {"actions": [shell("true")], "logSource": "P"}},
        {"codependent": {"actions": [shell("true"), shell("true")]}},
        {"emitProgress": {"action": shell("true"), "startMessage": "s", "successMessage": "o",
                          "failureMessagePrefix": "f", "logSource": "E"}},
        {"download": {"from": "http://h/a", "to": "/a", "artifact": "app", "user": "root", "cacheKey": "k",
                      "checksum": {"algorithm": "md5", "value": "900150983cd24fb0d6963f7d28e17f72"}, "logSource": "D"}},
        {"upload": {"from": "/a", "to": "http://h/a", "artifact": "app", "user": "root", "logSource": "U"}},
    ]}});
    let action = read(tree.clone()).unwrap();
    assert_eq!(Value::Object(action.to_map()), tree);
    assert_eq!(Action::read(&action.to_map()), Ok(action));
}

#[test]
fn what_is_no_action_is_refused_with_its_place() {
    let expected = "an action is an object with one key out of run, download, upload, serial, parallel, codependent, timeout, \
                    try and emitProgress; this is";
    assert_eq!(
        refusal(json!({})),
        format!("action: {expected} an object without a key")
    );
    assert_eq!(
        refusal(json!({"run": {"path": "a"}, "try": {}})),
        format!("action: {expected} an object with \"run\", \"try\"")
    );
    assert_eq!(
        refusal(json!({"serial": {"actions": [shell("true"), {"sequence": {}}]}})),
        format!("action.serial.actions[1]: {expected} an object with \"sequence\"")
    );
    assert_eq!(
        refusal(json!({"parallel": {"actions": [[]]}})),
        format!("action.parallel.actions[0]: {expected} a list")
    );
    assert_eq!(
        refusal(json!({"try": {}})),
        format!("action.try.action: {expected} nothing")
    );
}

#[test]
fn fields_are_refused_with_the_action_that_has_them() {
    let digits = json!({"algorithm": "sha256", "value": "00"});
    for (tree, sentence) in [
        (json!({"run": []}), "action.run: an object is needed, not a list"),
        (json!({"run": {}}), "action.run: missing field `path`"),
        (json!({"run": {"path": ""}}), "action.run: path must not be empty"),
        (
            json!({"run": {"path": "a\0"}}),
            "action.run: paths and arguments must not hold zero bytes",
        ),
        (
            json!({"run": {"path": "a", "env": [{"name": "A=B"}]}}),
            "action.run: env: \"A=B\" is no name of a variable, or its value holds a zero byte",
        ),
        (
            json!({"run": {"path": "a", "arguments": []}}),
            "action.run: unknown field `arguments`, expected one of `path`, `args`, `dir`, `env`, `user`, `nofile`, \
             `logSource`, `suppressLogOutput`",
        ),
        (
            json!({"serial": {"actions": []}}),
            "action.serial: actions must be a list of at least one action",
        ),
        (
            json!({"serial": {}}),
            "action.serial: actions must be a list of at least one action",
        ),
        (
            json!({"serial": {"actions": [shell("true")], "name": 1}}),
            "action.serial: unknown field `name`, expected `logSource`",
        ),
        (
            json!({"timeout": {"after": "0s", "action": shell("true")}}),
            "action.timeout: after must be more than nothing",
        ),
        (
            json!({"timeout": {"after": "soon", "action": shell("true")}}),
            "action.timeout: \"soon\" is not a duration such as 90s, 10m or 1h30m",
        ),
        (
            json!({"download": {"from": "http://h", "to": ""}}),
            "action.download: to must not be empty",
        ),
        (
            json!({"download": {"from": "http://h", "to": "/a", "checksum": digits}}),
            "action.download: checksum.value must be 64 hexadecimal digits",
        ),
        (
            json!({"upload": {"from": "", "to": "http://h"}}),
            "action.upload: from must not be empty",
        ),
    ] {
        assert_eq!(refusal(tree), sentence);
    }
}

#[test]
fn trees_are_bounded_in_depth_number_and_size() {
    assert!(read(nested(MAX_ACTION_DEPTH)).is_ok());
    let sentence = refusal(nested(MAX_ACTION_DEPTH + 1));
    assert!(
        sentence.ends_with(": actions are nested more than 32 deep"),
        "{sentence}"
    );

    let many = |count: usize| json!({"serial": {"actions": vec![shell("true"); count]}});
    assert!(read(many(MAX_ACTIONS - 1)).is_ok());
    assert_eq!(refusal(many(MAX_ACTIONS)), "there are more than 1024 actions");

    let long = |bytes: usize| json!({"run": {"path": "a".repeat(bytes)}});
    let frame = long(0).to_string().len();
    assert!(read(long(MAX_TREE_BYTES - frame)).is_ok());
    assert_eq!(
        refusal(long(MAX_TREE_BYTES - frame + 1)),
        "the actions take 131073 bytes as JSON; at most 131072 are possible"
    );
}

#[test]
fn ten_thousand_levels_are_a_sentence_and_no_end_of_the_stack() {
    // As a value that somebody has built, and as a text that somebody has sent.
    let deep = nested(10_000);
    let found = Action::read(deep.as_object().unwrap());
    take_apart(deep);
    assert!(matches!(found, Err(ActionsError::TooDeep { .. })), "{found:?}");
    let text = format!(
        "{}{}",
        "{\"try\":{\"action\":".repeat(10_000),
        "}}".repeat(10_000)
    );
    let error = serde_json::from_str::<Map<String, Value>>(&text).unwrap_err();
    assert!(
        error.to_string().starts_with("recursion limit exceeded"),
        "{error}"
    );
}

/// Drops a value level by level: the standard way recurses.
fn take_apart(value: Value) {
    let mut ahead = vec![value];
    while let Some(value) = ahead.pop() {
        if let Value::Object(map) = value {
            ahead.extend(map.into_iter().map(|(_, value)| value));
        }
    }
}

#[test]
fn the_deepest_tree_fits_into_a_task_as_it_is_read() {
    let inner = (1..MAX_ACTION_DEPTH).fold(shell("true"), |inner, _| json!({"serial": {"actions": [inner]}}));
    let list = json!({"items": [{"spec": {"actions": {"action": inner}}}]});
    assert!(serde_json::from_str::<Value>(&list.to_string()).is_ok());
}

fn kind() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(KINDS.map(|(kind, _)| kind).to_vec())
}

/// Any JSON, with words in it that actions know.
fn any_json() -> impl Strategy<Value = Value> {
    let word = || {
        prop_oneof![
            kind().prop_map(str::to_owned),
            "[a-z]{0,8}",
            Just("action".to_owned()),
            Just("actions".to_owned()),
            Just("path".to_owned())
        ]
    };
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        word().prop_map(Value::from)
    ];
    leaf.prop_recursive(8, 64, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(word(), inner, 0..3).prop_map(|map| json!(map)),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_a_tree_or_a_sentence(tree in proptest::collection::btree_map("[a-zA-Z]{1,12}", any_json(), 0..2)) {
        let _ = read(json!(tree));
    }

    #[test]
    fn anything_within_an_action_is_a_tree_or_a_sentence(kind in kind(), content in any_json()) {
        if let Ok(action) = read(json!({kind: content})) {
            prop_assert_eq!(Action::read(&action.to_map()), Ok(action));
        }
    }
}
