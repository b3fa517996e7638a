//! Whatever a stranger sends as a Task or a Function: it is accepted or refused with a Status, and what was accepted
//! can be read.

use std::sync::atomic::{AtomicU32, Ordering};

use proptest::{
    collection::{btree_map, vec},
    prelude::*,
    sample::{Index, select},
    test_runner::{Config, TestRunner},
};
use tokio::runtime::Runtime;

use super::*;
use crate::crd::arbitrary;

/// A server, and names that no object has yet.
struct Ground {
    runtime: Runtime,
    _server: ApiServer,
    client: Client,
    next: AtomicU32,
}

impl Ground {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (server, client) = runtime.block_on(server());
        Self {
            runtime,
            _server: server,
            client,
            next: AtomicU32::new(0),
        }
    }

    fn fresh_name(&self) -> String {
        format!("x{}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    fn post(&self, kind: Kind, body: Vec<u8>) -> (u16, Value) {
        self.runtime.block_on(post(&self.client, kind, "", body))
    }

    fn merge(&self, kind: Kind, name: &str, patch: &Value) -> (u16, Value) {
        let path = format!("{}/{name}", kind.path());
        let body = patch.to_string().into_bytes();
        self.runtime.block_on(send(
            &self.client,
            "PATCH",
            &path,
            "application/merge-patch+json",
            body,
        ))
    }

    fn read(&self, kind: Kind, name: &str) -> kube::Result<Value> {
        let client = self.client.clone();
        self.runtime.block_on(async {
            Ok(match kind {
                Kind::Task => json!(Api::<Task>::default_namespaced(client).get(name).await?),
                Kind::Function => json!(Api::<Function>::default_namespaced(client).get(name).await?),
            })
        })
    }

    /// Accepted and readable by the typed client, or refused with a Status that says why.
    fn assert_answered(&self, kind: Kind, (status, answer): (u16, Value)) {
        if (200..300).contains(&status) {
            let name = answer["metadata"]["name"].as_str().unwrap();
            if let Err(error) = self.read(kind, name) {
                panic!("accepted, but not readable: {error}\n{answer}");
            }
            return;
        }
        assert!((400..500).contains(&status), "{status}: {answer}");
        assert_eq!(
            (&answer["kind"], &answer["code"]),
            (&json!("Status"), &json!(status))
        );
        assert_ne!(answer["message"].as_str().unwrap(), "");
    }
}

fn check<S: Strategy>(cases: u32, strategy: S, property: impl Fn(S::Value)) {
    let config = Config {
        source_file: Some(file!()),
        ..Config::with_cases(cases)
    };
    let outcome = TestRunner::new(config).run(&strategy, |value| {
        property(value);
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

/// A spec that the API accepts, as JSON.
fn valid() -> impl Strategy<Value = (Kind, Value)> {
    let reference = arbitrary::task_spec().prop_map(|spec| (Kind::Task, json!(spec)));
    let inline = (arbitrary::task_spec(), arbitrary::function_spec()).prop_map(|(mut spec, function)| {
        spec.function_ref = None;
        spec.function = Some(function);
        (Kind::Task, json!(spec))
    });
    let actions = (arbitrary::task_spec(), arbitrary::actions()).prop_map(|(mut spec, actions)| {
        spec.function_ref = None;
        spec.actions = Some(actions);
        (Kind::Task, json!(spec))
    });
    let function = arbitrary::function_spec().prop_map(|spec| (Kind::Function, json!(spec)));
    prop_oneof![reference, inline, actions, function]
}

#[test]
fn every_spec_that_fits_types_and_rules_is_accepted_and_comes_back_unchanged() {
    let ground = Ground::new();
    check(128, valid(), |(kind, spec)| {
        let name = ground.fresh_name();
        let (status, answer) = ground.post(kind, kind.object(&name, &spec).to_string().into_bytes());
        assert_eq!(status, 201, "{answer}");
        assert_eq!(ground.read(kind, &name).unwrap()["spec"], spec);
    });
}

/// Any JSON value, with words in it that the types know.
fn json_value() -> impl Strategy<Value = Value> {
    let word = || {
        prop_oneof![
            select(vec![
                "spec",
                "container",
                "image",
                "env",
                "name",
                "input",
                "headers",
                "http",
                "apiVersion",
                "kind",
                "metadata",
                "labels",
                "functionRef",
                "actions",
                "action",
                "run",
                "from",
                "File",
                "path",
                "errand.dev/v1alpha1",
                "Task",
                "Function",
                "1m",
                "721h",
                "128Mi",
                "http://a",
            ])
            .prop_map(str::to_owned),
            ".{0,8}",
        ]
    };
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-3..70_000_i32).prop_map(|number| json!(f64::from(number))),
        any::<f64>().prop_map(Value::from),
        word().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            btree_map(word(), inner, 0..6).prop_map(|map| json!(map)),
        ]
    })
}

/// One change at some place of a value.
#[derive(Clone, Debug)]
enum Change {
    Put(Value),
    TakeAway,
    Repeat,
}

fn changes() -> impl Strategy<Value = Vec<(Index, Change)>> {
    let change = prop_oneof![
        3 => json_value().prop_map(Change::Put),
        1 => Just(Change::TakeAway),
        1 => Just(Change::Repeat),
    ];
    vec((any::<Index>(), change), 1..4)
}

/// The places of a value, as JSON pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let key = key.replace('~', "~0").replace('/', "~1");
                places(value, &format!("{at}/{key}"), found);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                places(value, &format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
}

fn changed(mut value: Value, changes: &[(Index, Change)]) -> Value {
    for (index, change) in changes {
        let mut found = Vec::new();
        places(&value, "", &mut found);
        let Some(place) = value.pointer_mut(index.get(&found).as_str()) else {
            continue;
        };
        match change {
            Change::Put(other) => *place = other.clone(),
            Change::TakeAway => *place = Value::Null,
            Change::Repeat => *place = json!([place.clone(), place.clone()]),
        }
    }
    value
}

#[test]
fn a_valid_object_with_anything_in_any_place_is_accepted_or_refused() {
    let ground = Ground::new();
    check(256, (valid(), changes()), |((kind, spec), changes)| {
        let object = changed(kind.object(&ground.fresh_name(), &spec), &changes);
        ground.assert_answered(kind, ground.post(kind, object.to_string().into_bytes()));
    });
}

#[test]
fn anything_merged_into_a_valid_object_is_accepted_or_refused() {
    let ground = Ground::new();
    check(128, (valid(), changes()), |((kind, spec), changes)| {
        let name = ground.fresh_name();
        let object = kind.object(&name, &spec);
        ground.assert_answered(kind, ground.post(kind, object.to_string().into_bytes()));
        ground.assert_answered(kind, ground.merge(kind, &name, &changed(object, &changes)));
    });
}

#[test]
fn any_json_and_any_bytes_are_accepted_or_refused() {
    let ground = Ground::new();
    let kind = || select(vec![Kind::Task, Kind::Function]);
    let spec = (kind(), json_value())
        .prop_map(|(kind, spec)| (kind, kind.object("x", &spec).to_string().into_bytes()));
    let object = (kind(), json_value()).prop_map(|(kind, object)| (kind, object.to_string().into_bytes()));
    let bytes = (kind(), vec(any::<u8>(), 0..64));
    check(1024, prop_oneof![spec, object, bytes], |(kind, body)| {
        ground.assert_answered(kind, ground.post(kind, body));
    });
}
