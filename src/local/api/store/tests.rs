//! The store as a whole, and on disk.
use std::{fs, path::Path};

use serde_json::json;

use super::{persist::PersistError, *};

const RESOURCE: &str = "example.org/things";

fn resource() -> Arc<str> {
    RESOURCE.into()
}

fn thing(name: &str, n: u64) -> Value {
    json!({"metadata": {"namespace": "a", "name": name, "uid": format!("u-{name}")}, "n": n})
}

fn put(store: &Store, name: &str, n: u64) -> Arc<Object> {
    store
        .write(|writer| writer.put(&resource(), &[], thing(name, n)))
        .unwrap()
}

fn delete(store: &Store, name: &str) {
    let address = Address::new(&resource(), "a", name);
    store
        .write(|writer| writer.delete(&address, thing(name, 0)))
        .unwrap();
}

fn open(folder: &Path) -> Store {
    Store::load(persist::open(folder).unwrap(), |_| Vec::new())
}

fn contents(store: &Store) -> Vec<(String, u64, u64)> {
    let (objects, _) = store.list(RESOURCE, None);
    let of = |object: &Arc<Object>| {
        (
            object.facts.name.to_string(),
            object.version,
            object.value()["n"].as_u64().unwrap(),
        )
    };
    objects.iter().map(of).collect()
}

#[test]
fn the_past_can_be_listed_while_the_history_reaches_back() {
    let store = Store::new();
    put(&store, "one", 1);
    let version = put(&store, "two", 1).version;
    put(&store, "two", 2);
    delete(&store, "one");
    put(&store, "three", 1);
    let then = store.list_at(RESOURCE, Some("a"), version).unwrap();
    let names: Vec<(&str, u64)> = then
        .iter()
        .map(|o| (&*o.facts.name, o.value()["n"].as_u64().unwrap()))
        .collect();
    assert_eq!(names, [("one", 1), ("two", 1)]);
    assert_eq!(contents(&store).len(), 2);
    assert!(store.list_at(RESOURCE, None, 0).is_ok());
}

#[test]
fn owners_and_uids_are_indexed_as_objects_come_and_go() {
    let store = Store::new();
    put(&store, "owner", 1);
    let mut owned = thing("owned", 1);
    owned["metadata"]["ownerReferences"] = json!([{"uid": "u-owner", "blockOwnerDeletion": true}]);
    store.write(|writer| writer.put(&resource(), &[], owned)).unwrap();
    assert_eq!(
        store.dependents("u-owner"),
        [Address::new(&resource(), "a", "owned")]
    );
    assert!(store.find_uid("u-owner").is_some());
    put(&store, "owned", 2);
    assert_eq!(store.dependents("u-owner"), []);
    delete(&store, "owner");
    assert_eq!(store.find_uid("u-owner"), None);
}

#[test]
fn an_object_above_the_limit_changes_nothing() {
    let store = Store::new();
    let mut big = thing("big", 1);
    big["data"] = "x".repeat(MAX_OBJECT).into();
    let before = store.version();
    let error = store
        .write(|writer| writer.put(&resource(), &[], big))
        .unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { size } if size > MAX_OBJECT));
    assert_eq!((store.version(), contents(&store).len()), (before, 0));
}

#[test]
fn what_was_written_is_there_again_with_its_versions() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    put(&store, "one", 1);
    put(&store, "two", 1);
    put(&store, "one", 2);
    delete(&store, "two");
    let (before, version) = (contents(&store), store.version());
    drop(store);
    let store = open(folder.path());
    assert_eq!((contents(&store), store.version()), (before, version));
    assert!(put(&store, "three", 1).version > version);
    let store = Arc::new(store);
    assert!(store.subscribe(&resource(), Some(version)).poll().is_ok());
    assert!(store.subscribe(&resource(), Some(version - 1)).poll().is_err());
}

#[test]
fn a_cut_off_record_is_dropped_at_any_byte() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    put(&store, "one", 1);
    let log = || {
        fs::read_dir(folder.path())
            .unwrap()
            .map(|e| e.unwrap().path())
            .find(|p| p.to_string_lossy().contains("log-"))
            .unwrap()
    };
    let whole = fs::metadata(log()).unwrap().len();
    put(&store, "two", 1);
    drop(store);
    let text = fs::read(log()).unwrap();
    for cut in whole as usize..text.len() {
        fs::write(log(), &text[..cut]).unwrap();
        let store = open(folder.path());
        assert_eq!(contents(&store), [("one".to_owned(), 2, 1)], "cut at {cut}");
        put(&store, "two", 2);
        drop(store);
        assert_eq!(contents(&open(folder.path())).len(), 2, "cut at {cut}");
    }
}

#[test]
fn damage_before_good_records_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    put(&store, "one", 1);
    put(&store, "two", 1);
    drop(store);
    let log = fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().path())
        .find(|p| p.to_string_lossy().contains("log-"))
        .unwrap();
    let mut text = fs::read(&log).unwrap();
    text[30] ^= 1;
    fs::write(&log, &text).unwrap();
    assert!(matches!(
        persist::open(folder.path()),
        Err(PersistError::Damaged { offset: 0, .. })
    ));
}

#[test]
fn a_snapshot_replaces_the_log_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for n in 0..50 {
        put(&store, &format!("t{}", n % 7), n);
    }
    store.compact().unwrap();
    put(&store, "after", 1);
    delete(&store, "t0");
    let (before, version) = (contents(&store), store.version());
    drop(store);
    let mut names: Vec<String> = fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "lock".to_owned(),
            format!("log-{:020}", 51),
            format!("snapshot-{:020}", 51)
        ]
    );
    let store = open(folder.path());
    assert_eq!((contents(&store), store.version()), (before, version));
}

#[test]
fn a_crash_between_rotation_and_snapshot_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    put(&store, "one", 1);
    let version = store.version();
    store.lock().log.as_mut().unwrap().rotate(version).unwrap();
    put(&store, "two", 1);
    fs::write(folder.path().join("snapshot.new"), "half").unwrap();
    drop(store);
    assert_eq!(contents(&open(folder.path())).len(), 2);
}

#[test]
fn two_servers_cannot_share_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    assert!(matches!(
        persist::open(folder.path()),
        Err(PersistError::Locked { .. })
    ));
    drop(store);
    assert!(persist::open(folder.path()).is_ok());
}

#[tokio::test]
async fn a_subscription_tells_each_change_once_and_says_when_it_fell_behind() {
    let store = Arc::new(Store::new());
    let mut subscription = store.subscribe(&resource(), None);
    put(&store, "one", 1);
    put(&store, "one", 2);
    let batch = subscription.next().await.unwrap();
    let kinds: Vec<ChangeKind> = batch.changes.iter().map(|change| change.kind).collect();
    assert_eq!(kinds, [ChangeKind::Added, ChangeKind::Modified]);
    assert!(subscription.poll().unwrap().changes.is_empty());
    assert!(store.subscribe(&resource(), Some(1000)).poll().is_err());
}
