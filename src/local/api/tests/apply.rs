//! Custom resources, server-side apply, collection.
use std::time::Duration;

use k8s_openapi::{
    api::core::v1::{ConfigMap, Namespace},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, ResourceExt,
    api::{
        ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams,
        PostParams,
    },
};
use serde_json::{Value, json};

use super::server;

fn definition() -> CustomResourceDefinition {
    serde_json::from_value(json!({
        "metadata": {"name": "widgets.example.org"},
        "spec": {"group": "example.org", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {
                        "size": {"type": "integer", "default": 3, "maximum": 10},
                        "name": {"type": "string"},
                        "parts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"],
                            "items": {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}, "n": {"type": "integer"}}}}},
                        "x-kubernetes-validations": [{"rule": "!has(oldSelf.name) || self.name == oldSelf.name", "message": "name is fixed"}]},
                    "status": {"type": "object", "properties": {"phase": {"type": "string"}}}
                }}}}]}
    }))
    .unwrap()
}

async fn widgets(client: &kube::Client) -> Api<DynamicObject> {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let params = PatchParams::apply("test").force();
    let mut definition = definition();
    definition.metadata.managed_fields = None;
    let value = serde_json::to_value(&definition).unwrap();
    let mut value = value;
    value["apiVersion"] = "apiextensions.k8s.io/v1".into();
    value["kind"] = "CustomResourceDefinition".into();
    let made = crds
        .patch("widgets.example.org", &params, &Patch::Apply(&value))
        .await
        .unwrap();
    let conditions = made.status.unwrap().conditions.unwrap();
    assert!(
        conditions
            .iter()
            .any(|c| c.type_ == "Established" && c.status == "True")
    );
    Api::default_namespaced_with(client.clone(), &resource())
}

fn resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("example.org", "v1", "Widget"))
}

fn widget(name: &str, spec: Value) -> DynamicObject {
    DynamicObject::new(name, &resource()).data(json!({"spec": spec, "status": {"phase": "Cheating"}}))
}

/// Waits until a condition holds.
async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test]
async fn custom_resources_are_defaulted_pruned_validated_and_counted() {
    let (_server, client) = server().await;
    let api = widgets(&client).await;
    let made = api
        .create(
            &PostParams::default(),
            &widget("a", json!({"name": "x", "odd": 1})),
        )
        .await
        .unwrap();
    assert_eq!(made.data, json!({"spec": {"name": "x", "size": 3}}));
    assert_eq!(made.metadata.generation, Some(1));
    let error = api
        .create(&PostParams::default(), &widget("b", json!({"size": 11})))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("Widget.example.org \"b\" is invalid: spec.size: Invalid value: 11: spec.size in body should be less than or equal to 10"), "{error}");
    let patch = |patch: Value| Patch::Merge(patch);
    let params = PatchParams::default();
    let error = api
        .patch("a", &params, &patch(json!({"spec": {"name": "y"}})))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("name is fixed"), "{error}");
    let resized = api
        .patch(
            "a",
            &params,
            &patch(json!({"spec": {"size": 4}, "status": {"phase": "no"}})),
        )
        .await
        .unwrap();
    assert_eq!(
        (resized.metadata.generation, &resized.data["status"]),
        (Some(2), &Value::Null)
    );
    let labelled = api
        .patch("a", &params, &patch(json!({"metadata": {"labels": {"a": "b"}}})))
        .await
        .unwrap();
    assert_eq!(labelled.metadata.generation, Some(2));
    let status =
        patch(json!({"status": {"phase": "Ok"}, "spec": {"size": 9}, "metadata": {"labels": {"a": "c"}}}));
    let status = api.patch_status("a", &params, &status).await.unwrap();
    assert_eq!(
        status.data,
        json!({"spec": {"name": "x", "size": 4}, "status": {"phase": "Ok"}})
    );
    assert_eq!(
        (status.metadata.generation, &status.labels()["a"][..]),
        (Some(2), "b")
    );
    let strategic = api
        .patch("a", &params, &Patch::Strategic(json!({"spec": {}})))
        .await
        .unwrap_err();
    assert!(matches!(strategic, kube::Error::Api(status) if status.code == 415));
}

#[tokio::test]
async fn managers_share_an_object_by_field_and_by_list_key() {
    let (_server, client) = server().await;
    let api = widgets(&client).await;
    let apply = |manager: &str, force: bool, spec: Value| {
        let api = api.clone();
        let mut params = PatchParams::apply(manager);
        params.force = force;
        let body = json!({"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": "a"}, "spec": spec});
        async move { api.patch("a", &params, &Patch::Apply(&body)).await }
    };
    apply("one", false, json!({"size": 5, "parts": [{"id": "a", "n": 1}]}))
        .await
        .unwrap();
    let both = apply("two", false, json!({"parts": [{"id": "b", "n": 2}]}))
        .await
        .unwrap();
    assert_eq!(
        both.data["spec"],
        json!({"size": 5, "parts": [{"id": "a", "n": 1}, {"id": "b", "n": 2}]})
    );
    let again = apply("two", false, json!({"parts": [{"id": "b", "n": 2}]}))
        .await
        .unwrap();
    assert_eq!(again.resource_version(), both.resource_version());
    let error = apply("two", false, json!({"size": 6})).await.unwrap_err();
    assert!(
        matches!(&error, kube::Error::Api(status) if status.code == 409 && status.message.contains(".spec.size")),
        "{error}"
    );
    let forced = apply("two", true, json!({"size": 6})).await.unwrap();
    assert_eq!(
        forced.data["spec"],
        json!({"size": 6, "parts": [{"id": "a", "n": 1}]})
    );
    let less = apply("one", false, json!({})).await.unwrap();
    assert_eq!(less.data["spec"], json!({"size": 6}));
}

#[tokio::test]
async fn a_definition_takes_its_objects_along() {
    let (_server, client) = server().await;
    let api = widgets(&client).await;
    api.create(&PostParams::default(), &widget("a", json!({})))
        .await
        .unwrap();
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    crds.delete("widgets.example.org", &DeleteParams::default())
        .await
        .unwrap();
    until("the definition is gone", || async {
        crds.get_opt("widgets.example.org").await.unwrap().is_none()
    })
    .await;
    let error = api.list(&ListParams::default()).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("could not find the requested resource"),
        "{error}"
    );
}

fn owned(name: &str, owner: &ConfigMap, blocks: bool) -> ConfigMap {
    serde_json::from_value(
        json!({"metadata": {"name": name, "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap",
        "name": owner.name_any(), "uid": owner.uid().unwrap(), "blockOwnerDeletion": blocks}]}}),
    )
    .unwrap()
}

#[tokio::test]
async fn dependents_follow_their_owner_as_the_policy_says() {
    let (_server, client) = server().await;
    let api: Api<ConfigMap> = Api::default_namespaced(client);
    let make = |name: &str| serde_json::from_value::<ConfigMap>(json!({"metadata": {"name": name}})).unwrap();
    let gone = |name: &'static str| {
        let api = api.clone();
        async move { api.get_opt(name).await.unwrap().is_none() }
    };
    let owner = api
        .create(&PostParams::default(), &make("background"))
        .await
        .unwrap();
    api.create(&PostParams::default(), &owned("b1", &owner, false))
        .await
        .unwrap();
    api.delete("background", &DeleteParams::background())
        .await
        .unwrap();
    until("b1 is collected", || gone("b1")).await;

    let owner = api
        .create(&PostParams::default(), &make("foreground"))
        .await
        .unwrap();
    let mut held = owned("f1", &owner, true);
    held.metadata.finalizers = Some(vec!["example.org/hold".into()]);
    api.create(&PostParams::default(), &held).await.unwrap();
    api.delete("foreground", &DeleteParams::foreground())
        .await
        .unwrap();
    until("f1 is being deleted", || async {
        api.get("f1").await.unwrap().metadata.deletion_timestamp.is_some()
    })
    .await;
    assert!(api.get_opt("foreground").await.unwrap().is_some());
    let release = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    api.patch("f1", &PatchParams::default(), &release).await.unwrap();
    until("the owner follows", || gone("foreground")).await;

    let owner = api.create(&PostParams::default(), &make("orphan")).await.unwrap();
    api.create(&PostParams::default(), &owned("o1", &owner, false))
        .await
        .unwrap();
    api.delete("orphan", &DeleteParams::orphan()).await.unwrap();
    until("the owner is gone", || gone("orphan")).await;
    assert_eq!(api.get("o1").await.unwrap().owner_references(), []);

    api.create(&PostParams::default(), &owned("late", &owner, false))
        .await
        .unwrap();
    until("an object of an absent owner is collected", || gone("late")).await;
}

#[tokio::test]
async fn a_namespace_waits_for_its_content() {
    let (_server, client) = server().await;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let space: Namespace = serde_json::from_value(json!({"metadata": {"name": "x"}})).unwrap();
    namespaces.create(&PostParams::default(), &space).await.unwrap();
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), "x");
    let map: ConfigMap =
        serde_json::from_value(json!({"metadata": {"name": "a", "finalizers": ["example.org/hold"]}}))
            .unwrap();
    api.create(&PostParams::default(), &map).await.unwrap();
    let ending = namespaces
        .delete("x", &DeleteParams::default())
        .await
        .unwrap()
        .left()
        .unwrap();
    assert_eq!(ending.status.unwrap().phase.unwrap(), "Terminating");
    let mut other = map.clone();
    other.metadata.name = Some("b".into());
    let error = api
        .create(&PostParams::default(), &other)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("unable to create new content in namespace x because it is being terminated"),
        "{error}"
    );
    until("the content is being deleted", || async {
        api.get("a").await.unwrap().metadata.deletion_timestamp.is_some()
    })
    .await;
    assert!(namespaces.get_opt("x").await.unwrap().is_some());
    let release = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    api.patch("a", &PatchParams::default(), &release).await.unwrap();
    until("the namespace is gone", || async {
        namespaces.get_opt("x").await.unwrap().is_none()
    })
    .await;
}
