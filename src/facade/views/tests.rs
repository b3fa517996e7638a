use std::collections::BTreeSet;

use serde_json::json;

use super::*;

fn task(name: &str, version: u32, spec: serde_json::Value) -> Task {
    serde_json::from_value(json!({
        "apiVersion": "errand.dev/v1alpha1", "kind": "Task",
        "metadata": {"name": name, "namespace": "ns", "uid": format!("uid-{name}"), "resourceVersion": version.to_string()},
        "spec": spec,
    }))
    .unwrap()
}

fn names(tasks: &[Arc<Task>]) -> Vec<&str> {
    tasks
        .iter()
        .filter_map(|task| task.metadata.name.as_deref())
        .collect()
}

#[test]
fn an_object_is_found_by_name_uid_and_every_facet_until_it_is_gone() {
    let view = View::<Task>::default();
    view.put(task(
        "a",
        1,
        json!({"functionRef": {"name": "f"}, "owner": "ann", "domain": "d"}),
    ));
    view.put(task(
        "b",
        2,
        json!({"functionRef": {"name": "f"}, "owner": "bob"}),
    ));
    let facets = [
        (Facet::Namespace("ns".into()), vec!["a", "b"]),
        (Facet::Owner("ann".into()), vec!["a"]),
        (Facet::Domain("d".into()), vec!["a"]),
        (Facet::Function(Key::new("ns", "f")), vec!["a", "b"]),
        (Facet::Function(Key::new("other", "f")), vec![]),
    ];
    for (facet, want) in facets {
        assert_eq!(names(&view.by_facet(&facet)), want, "{facet:?}");
    }
    assert_eq!(
        view.read(|table| table.by_uid("uid-a"))
            .map(|task| Key::of(task.as_ref())),
        Some(Key::new("ns", "a"))
    );
    assert_eq!(names(&view.read(|table| table.by_uid_prefix("uid-"))), ["a", "b"]);
    assert_eq!(names(&view.read(|table| table.by_uid_prefix("uid-b"))), ["b"]);

    view.remove(&Key::new("ns", "a"), None);
    assert_eq!(names(&view.by_facet(&Facet::Namespace("ns".into()))), ["b"]);
    assert!(view.by_facet(&Facet::Owner("ann".into())).is_empty());
    assert!(view.read(|table| table.by_uid("uid-a")).is_none());
}

#[test]
fn a_changed_object_is_found_by_what_it_is_now() {
    let view = View::<Task>::default();
    view.put(task(
        "a",
        1,
        json!({"external": {"processor": "p"}, "owner": "ann"}),
    ));
    view.put(task(
        "a",
        2,
        json!({"external": {"processor": "p"}, "owner": "bob"}),
    ));
    assert!(view.by_facet(&Facet::Owner("ann".into())).is_empty());
    assert_eq!(names(&view.by_facet(&Facet::Owner("bob".into()))), ["a"]);
    assert_eq!(view.read(Table::len), 1);
}

#[tokio::test]
async fn a_new_list_takes_the_place_of_everything_and_tells_only_what_changed() {
    let view = View::<Task>::default();
    for (name, version) in [("gone", 1), ("same", 2), ("new-version", 3)] {
        view.put(task(name, version, json!({"external": {"processor": "p"}})));
    }
    let mut changes = view.changes();
    let spec = json!({"external": {"processor": "p"}});
    view.replace(vec![
        task("same", 2, spec.clone()),
        task("new-version", 4, spec.clone()),
        task("new", 5, spec),
    ]);
    view.wait_until_ready().await;
    let mut told = BTreeSet::new();
    while let Ok(change) = changes.try_recv() {
        let name = |task: &Option<Arc<Task>>| task.as_ref().and_then(|task| task.metadata.name.clone());
        told.insert((name(&change.before), name(&change.after)));
    }
    let some = |name: &str| Some(name.to_owned());
    let want = [
        (some("gone"), None),
        (None, some("new")),
        (some("new-version"), some("new-version")),
    ];
    assert_eq!(told, BTreeSet::from(want));
}

#[tokio::test]
async fn a_follower_sees_an_object_come_change_and_go_and_costs_nothing_once_it_left() {
    let view = View::<Task>::default();
    let key = Key::new("ns", "a");
    let mut follower = view.follow(&key);
    assert!(follower.borrow_and_update().is_none());
    let spec = json!({"external": {"processor": "p"}});
    for version in [1, 2] {
        view.put(task("a", version, spec.clone()));
        follower.changed().await.unwrap();
        let seen = follower
            .borrow_and_update()
            .as_ref()
            .and_then(|task| task.metadata.resource_version.clone());
        assert_eq!(seen, Some(version.to_string()));
    }
    view.put(task("b", 3, spec));
    assert!(!follower.has_changed().unwrap());
    view.remove(&key, None);
    follower.changed().await.unwrap();
    assert!(follower.borrow_and_update().is_none());
    assert_eq!(view.followed(), 1);
    drop(follower);
    assert_eq!(view.followed(), 0);
}

#[test]
fn a_name_is_found_in_every_namespace() {
    let view = View::<Task>::default();
    let external = || json!({"external": {"processor": "p"}, "owner": "ann", "domain": "d"});
    for namespace in ["z", "", "ns"] {
        let mut task = task("a", 1, external());
        task.metadata.namespace = Some(namespace.to_owned());
        task.metadata.uid = Some(format!("uid-{namespace}"));
        view.put(task);
    }
    view.put(task("b", 1, external()));
    let found = view.read(|table| table.named("a"));
    let namespaces: Vec<_> = found
        .iter()
        .filter_map(|task| task.metadata.namespace.as_deref())
        .collect();
    assert_eq!(namespaces, ["", "ns", "z"]);
    assert!(view.read(|table| table.named("c")).is_empty());
}

#[test]
fn names_are_found_by_how_they_begin_and_tasks_without_an_owner_by_their_namespace() {
    let view = View::<Task>::default();
    for name in ["a", "ab", "abc", "b"] {
        view.put(task(name, 1, json!({"external": {"processor": "p"}})));
    }
    view.put(task(
        "abx",
        1,
        json!({"external": {"processor": "p"}, "owner": "ann"}),
    ));
    assert_eq!(
        names(&view.read(|table| table.by_name_prefix("ab"))),
        ["ab", "abc", "abx"]
    );
    assert!(view.read(|table| table.by_name_prefix("c")).is_empty());
    assert_eq!(
        names(&view.by_facet(&Facet::Unowned("ns".into()))),
        ["a", "ab", "abc", "b"]
    );
    assert!(view.by_facet(&Facet::Unowned("other".into())).is_empty());
}

#[test]
fn a_function_is_found_by_its_annotations_as_they_are_now() {
    let view = View::<Function>::default();
    let function = |annotation: &str| -> Function {
        serde_json::from_value(json!({"apiVersion": "errand.dev/v1alpha1", "kind": "Function",
            "metadata": {"name": "f", "namespace": "ns", "annotations": {annotation: "x"}},
            "spec": {"container": {"image": "x"}}}))
        .unwrap()
    };
    view.put(function("old"));
    view.put(function("new"));
    let found = |annotation: &str| view.by_facet(&Facet::Annotation(annotation.to_owned())).len();
    assert_eq!((found("old"), found("new")), (0, 1));
}

#[tokio::test]
async fn an_object_that_goes_is_told_of_as_it_was_last() {
    let view = View::<Task>::default();
    view.put(task("a", 1, json!({"owner": "ann"})));
    let mut changes = view.changes();
    let key = Key::new("ns", "a");
    view.remove(&key, Some(task("a", 2, json!({"owner": "bob"}))));
    // What was never in view is no news.
    view.remove(&Key::new("ns", "b"), Some(task("b", 3, json!({}))));
    let gone = changes.try_recv().unwrap();
    assert_eq!(gone.before.unwrap().spec.owner.as_deref(), Some("bob"));
    assert!(gone.after.is_none() && changes.try_recv().is_err());
    assert!(view.by_facet(&Facet::Owner("ann".into())).is_empty());
}
