//! The plain verbs.
use std::{pin::pin, sync::Arc};

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
};
use serde_json::json;

use super::server;

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name, "labels": {"a": name}}, "data": {"k": "v"}}))
        .unwrap()
}

fn pod(name: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "task", "image": "a:1"}]}
    }))
    .unwrap()
}

#[tokio::test]
async fn an_object_is_created_read_listed_changed_and_deleted() {
    let (_server, client) = server().await;
    let api: Api<ConfigMap> = Api::default_namespaced(client);
    let made = api
        .create(&PostParams::default(), &config_map("one"))
        .await
        .unwrap();
    assert!(made.uid().is_some() && made.creation_timestamp().is_some());
    assert!(
        api.create(&PostParams::default(), &config_map("one"))
            .await
            .unwrap_err()
            .to_string()
            .contains("already exists")
    );
    api.create(&PostParams::default(), &config_map("two"))
        .await
        .unwrap();
    assert_eq!(api.get("one").await.unwrap(), made);
    let names =
        |list: kube::core::ObjectList<ConfigMap>| list.iter().map(|o| o.name_any()).collect::<Vec<_>>();
    assert_eq!(
        names(api.list(&ListParams::default()).await.unwrap()),
        ["one", "two"]
    );
    assert_eq!(
        names(
            api.list(&ListParams::default().labels("a in (two)"))
                .await
                .unwrap()
        ),
        ["two"]
    );
    assert_eq!(
        names(
            api.list(&ListParams::default().fields("metadata.name=one"))
                .await
                .unwrap()
        ),
        ["one"]
    );

    let patch = Patch::Merge(json!({"data": {"k": "w"}}));
    let patched = api.patch("one", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(patched.data.clone().unwrap()["k"], "w");
    let again = api.patch("one", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(again.resource_version(), patched.resource_version());
    let stale = api
        .replace("one", &PostParams::default(), &made)
        .await
        .unwrap_err();
    assert!(matches!(stale, kube::Error::Api(s) if s.is_conflict()));
    assert!(
        api.delete("one", &DeleteParams::default())
            .await
            .unwrap()
            .is_right()
    );
    let missing = api.get("one").await.unwrap_err();
    assert!(
        missing.to_string().contains("configmaps \"one\" not found"),
        "{missing}"
    );
}

#[tokio::test]
async fn a_watch_sees_what_comes_changes_and_goes() {
    let (_server, client) = server().await;
    let api: Api<ConfigMap> = Api::default_namespaced(client);
    api.create(&PostParams::default(), &config_map("one"))
        .await
        .unwrap();
    let version = api
        .list(&ListParams::default())
        .await
        .unwrap()
        .metadata
        .resource_version
        .unwrap();
    let mut events = pin!(
        api.watch(&WatchParams::default().labels("a=one"), &version)
            .await
            .unwrap()
    );
    api.create(&PostParams::default(), &config_map("two"))
        .await
        .unwrap();
    let relabel = |value: &str| Patch::Merge(json!({"metadata": {"labels": {"a": value}}}));
    api.patch("two", &PatchParams::default(), &relabel("one"))
        .await
        .unwrap();
    api.patch(
        "one",
        &PatchParams::default(),
        &Patch::Merge(json!({"data": {"x": "y"}})),
    )
    .await
    .unwrap();
    api.patch("one", &PatchParams::default(), &relabel("other"))
        .await
        .unwrap();
    api.delete("two", &DeleteParams::default()).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 4 {
        seen.push(match events.try_next().await.unwrap().unwrap() {
            WatchEvent::Added(o) => format!("added {}", o.name_any()),
            WatchEvent::Modified(o) => format!("modified {}", o.name_any()),
            WatchEvent::Deleted(o) => format!("deleted {}", o.name_any()),
            other => format!("{other:?}"),
        });
    }
    assert_eq!(seen, ["added two", "modified one", "deleted one", "deleted two"]);
}

#[tokio::test]
async fn a_pod_on_a_node_waits_for_its_node_to_let_it_go() {
    let (_server, client) = server().await;
    let api: Api<Pod> = Api::default_namespaced(client);
    api.create(&PostParams::default(), &pod("a")).await.unwrap();
    let gone = api.delete("a", &DeleteParams::default()).await.unwrap();
    assert!(gone.is_left());
    assert!(api.get_opt("a").await.unwrap().is_none());

    api.create(&PostParams::default(), &pod("b")).await.unwrap();
    api.patch(
        "b",
        &PatchParams::default(),
        &Patch::Merge(json!({"spec": {"nodeName": "n"}})),
    )
    .await
    .unwrap();
    let status = Patch::Merge(json!({"status": {"phase": "Running"}, "spec": {"nodeName": "other"}}));
    let running = api
        .patch_status("b", &PatchParams::default(), &status)
        .await
        .unwrap();
    assert_eq!(running.spec.unwrap().node_name.unwrap(), "n");
    let ending = api
        .delete("b", &DeleteParams::default())
        .await
        .unwrap()
        .left()
        .unwrap();
    assert_eq!(ending.metadata.deletion_grace_period_seconds, Some(30));
    api.delete("b", &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
    assert!(api.get_opt("b").await.unwrap().is_none());
}

#[tokio::test]
async fn names_are_generated_and_namespaces_must_exist() {
    let (_server, client) = server().await;
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), "nowhere");
    let error = api
        .create(&PostParams::default(), &config_map("one"))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("namespaces \"nowhere\" not found"),
        "{error}"
    );
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let space: Namespace = serde_json::from_value(json!({"metadata": {"generateName": "x-"}})).unwrap();
    let space = namespaces.create(&PostParams::default(), &space).await.unwrap();
    assert_eq!(space.status.unwrap().phase.unwrap(), "Active");
    assert!(space.metadata.name.unwrap().starts_with("x-"));
    let bad: Namespace = serde_json::from_value(json!({"metadata": {"name": "X"}})).unwrap();
    let error = namespaces.create(&PostParams::default(), &bad).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("Namespace \"X\" is invalid: metadata.name: Invalid value: \"X\""),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_writers_of_one_object_all_get_through() {
    let (_server, client) = server().await;
    let api: Arc<Api<ConfigMap>> = Arc::new(Api::default_namespaced(client));
    api.create(&PostParams::default(), &config_map("one"))
        .await
        .unwrap();
    let writers = (0..500).map(|n| {
        let api = api.clone();
        tokio::spawn(async move {
            let patch = Patch::Merge(json!({"data": {format!("n{n}"): "x"}}));
            api.patch("one", &PatchParams::default(), &patch).await.unwrap();
        })
    });
    futures::future::try_join_all(writers).await.unwrap();
    assert_eq!(api.get("one").await.unwrap().data.unwrap().len(), 501);
}
