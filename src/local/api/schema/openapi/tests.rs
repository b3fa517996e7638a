use super::*;
use crate::local::api::schema::builtin_resources;

fn task() -> Resource {
    let crd = json!({
        "metadata": {"name": "tasks.errand.dev"},
        "spec": {
            "group": "errand.dev", "scope": "Namespaced", "names": {"plural": "tasks", "kind": "Task"},
            "versions": [{"name": "v1alpha1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "description": "One run.", "properties": {
                    "spec": {"type": "object", "description": "What to run.", "properties": {"n": {"type": "integer", "nullable": true}}},
                }}}}],
        },
    });
    Resource::from_crd(&crd).unwrap().remove(0)
}

fn all() -> Vec<Resource> {
    let mut all = builtin_resources();
    all.push(task());
    all
}

#[test]
fn the_index_names_each_group_version_once_with_a_hash_that_follows_the_schema() {
    let index = v3_index(&all());
    let paths = index["paths"].as_object().unwrap();
    assert!(paths.contains_key("api/v1") && paths.contains_key("apis/errand.dev/v1alpha1"));
    let address = |index: &Value| {
        index["paths"]["apis/errand.dev/v1alpha1"]["serverRelativeURL"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert!(address(&index).starts_with("/openapi/v3/apis/errand.dev/v1alpha1?hash="));
    let mut changed = all();
    changed.last_mut().unwrap().open_api = Some(std::sync::Arc::new(json!({"type": "object"})));
    assert_ne!(address(&v3_index(&changed)), address(&index));
    assert_eq!(address(&v3_index(&all())), address(&index));
}

#[test]
fn every_reference_in_every_document_resolves() {
    let all = all();
    for (group, version) in [
        ("", "v1"),
        ("apps", "v1"),
        ("apiextensions.k8s.io", "v1"),
        ("errand.dev", "v1alpha1"),
        ("rbac.authorization.k8s.io", "v1"),
        ("authorization.k8s.io", "v1"),
        ("events.k8s.io", "v1"),
    ] {
        let document = v3_group(group, version, &all).unwrap();
        let mut names = BTreeSet::new();
        references(&document, &mut names);
        for name in names {
            assert!(
                document["components"]["schemas"].get(&name).is_some(),
                "{group} {name}"
            );
        }
    }
    assert_eq!(v3_group("nope", "v1", &all), None);
}

#[test]
fn explain_finds_a_resource_by_its_path_and_kind() {
    let document = v3_group("errand.dev", "v1alpha1", &all()).unwrap();
    let kind = json!({"group": "errand.dev", "version": "v1alpha1", "kind": "Task"});
    let path = &document["paths"]["/apis/errand.dev/v1alpha1/namespaces/{namespace}/tasks/{name}"];
    assert_eq!(path["get"]["x-kubernetes-group-version-kind"], kind);
    assert!(
        path["patch"]["parameters"]
            .as_array()
            .unwrap()
            .iter()
            .any(|p| p["name"] == "fieldValidation")
    );
    let patches = path["patch"]["requestBody"]["content"].as_object().unwrap();
    assert!(patches.contains_key("application/merge-patch+json"));
    assert!(!patches.contains_key("application/strategic-merge-patch+json"));
    let schema = &document["components"]["schemas"]["dev.errand.v1alpha1.Task"];
    assert_eq!(schema["x-kubernetes-group-version-kind"], json!([kind]));
    assert_eq!(schema["properties"]["spec"]["description"], "What to run.");
    assert_eq!(
        schema["properties"]["metadata"]["allOf"][0]["$ref"],
        format!("{REFERENCE}{OBJECT_META}")
    );
}

#[test]
fn pods_are_described_with_merge_keys_and_defaults() {
    let document = v3_group("", "v1", &all()).unwrap();
    let spec = &document["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"];
    assert_eq!(spec["containers"]["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(spec["restartPolicy"]["default"], "Always");
    assert!(
        spec["containers"]["description"]
            .as_str()
            .unwrap()
            .starts_with("List of containers")
    );
}

#[test]
fn v2_refers_to_definitions_and_has_no_v3_words() {
    let document = v2(&all());
    let text = document.to_string();
    assert!(!text.contains("#/components/schemas/"));
    let task = &document["definitions"]["dev.errand.v1alpha1.Task"]["properties"];
    assert_eq!(task["metadata"]["$ref"], format!("#/definitions/{OBJECT_META}"));
    assert_eq!(task["spec"]["properties"]["n"], json!({"type": "integer"}));
    // a property that is called like a word of the schema language stays
    let props =
        &document["definitions"]["io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"];
    assert!(props["properties"].get("nullable").is_some() && props["properties"].get("anyOf").is_some());
}

fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "labels": {"a": "b"}, "creationTimestamp": null},
        "spec": {"containers": [{
            "name": "c", "image": "i",
            "resources": {"limits": {"cpu": 1, "memory": "1Gi"}},
            "ports": [{"containerPort": 80}],
            "readinessProbe": {"httpGet": {"port": 80}},
        }]},
    })
}

#[test]
fn builtin_schemas_fill_in_pod_defaults() {
    let schema = builtin_schema("", "Pod").unwrap();
    let mut object = pod();
    assert_eq!(schema.prune(&mut object), Vec::<String>::new());
    schema.default(&mut object);
    assert_eq!(schema.validate(&object, None), Vec::new());
    assert_eq!(object["metadata"], json!({"name": "p", "labels": {"a": "b"}}));
    let spec = &object["spec"];
    assert_eq!(spec["restartPolicy"], "Always");
    assert_eq!(spec["securityContext"], json!({}));
    assert_eq!(
        spec["containers"][0]["terminationMessagePath"],
        "/dev/termination-log"
    );
    assert_eq!(spec["containers"][0]["ports"][0]["protocol"], "TCP");
    assert_eq!(spec["containers"][0]["readinessProbe"]["periodSeconds"], 10);
}

#[test]
fn builtin_schemas_find_unknown_fields_and_wrong_types() {
    let schema = builtin_schema("", "Pod").unwrap();
    let mut object = pod();
    object["spec"]["containers"][0]["imagee"] = json!("x");
    object["metadata"]["lables"] = json!({});
    assert_eq!(
        schema.prune(&mut object),
        ["metadata.lables", "spec.containers[0].imagee"]
    );
    schema.default(&mut object);
    object["spec"]["containers"][0]["image"] = json!(3);
    object["spec"]["containers"][0]["ports"][0]["containerPort"] = json!("80");
    let errors: Vec<String> = schema
        .validate(&object, None)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        errors,
        [
            "spec.containers[0].image: Invalid value: \"integer\": spec.containers[0].image in body must be of type string: \"integer\"",
            "spec.containers[0].ports[0].containerPort: Invalid value: \"string\": spec.containers[0].ports[0].containerPort in body must be of type integer: \"string\"",
        ]
    );
    let errors = schema.validate(&json!({"metadata": {}, "spec": {}}), None);
    assert_eq!(errors[0].to_string(), "spec.containers: Required value");
}

#[test]
fn every_builtin_resource_has_a_schema() {
    for resource in builtin_resources() {
        assert!(resource.schema.is_some(), "{}", resource.kind);
    }
}

#[test]
fn definitions_of_custom_resources_keep_their_free_parts() {
    let schema = builtin_schema("apiextensions.k8s.io", "CustomResourceDefinition").unwrap();
    let mut crd = json!({
        "metadata": {"name": "x"},
        "spec": {"group": "g", "scope": "Namespaced", "names": {"kind": "K", "plural": "ks"}, "versions": [{
            "name": "v1", "served": true, "storage": true,
            "schema": {"openAPIV3Schema": {"type": "object", "default": null, "properties": {"a": {"x-kubernetes-int-or-string": true}}}},
        }]},
    });
    let before = crd.clone();
    assert_eq!(schema.prune(&mut crd), Vec::<String>::new());
    schema.default(&mut crd);
    assert_eq!(crd, before);
    assert_eq!(schema.validate(&crd, None), Vec::new());
}
