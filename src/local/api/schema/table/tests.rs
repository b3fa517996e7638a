use super::*;
use crate::local::api::schema::builtin_resources;
use proptest::prelude::*;

fn now() -> Timestamp {
    "2024-05-01T12:00:00Z".parse().unwrap()
}

fn builtin(group: &str, kind: &str) -> Resource {
    builtin_resources()
        .into_iter()
        .find(|r| r.group == group && r.kind == kind)
        .unwrap()
}

fn custom(columns: Value) -> Resource {
    let crd = json!({
        "metadata": {"name": "tasks.errand.dev"},
        "spec": {
            "group": "errand.dev", "scope": "Namespaced", "names": {"plural": "tasks", "kind": "Task"},
            "versions": [{"name": "v1", "served": true, "storage": true, "additionalPrinterColumns": columns,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
        },
    });
    Resource::from_crd(&crd).unwrap().remove(0)
}

fn row(resource: &Resource, object: &Value) -> Vec<Value> {
    let table = render(resource, object, IncludeObject::None, now());
    let cells = table["rows"][0]["cells"].as_array().unwrap().clone();
    assert_eq!(
        cells.len(),
        table["columnDefinitions"].as_array().unwrap().len(),
        "cells match columns"
    );
    cells
}

/// The first cells as texts.
fn row_text(resource: &Resource, object: &Value, cells: usize) -> String {
    let row = row(resource, object);
    let texts: Vec<String> = row
        .iter()
        .take(cells)
        .map(|c| c.as_str().map_or_else(|| c.to_string(), str::to_owned))
        .collect();
    texts.join("|")
}

#[test]
fn custom_columns_follow_their_paths_and_types() {
    let resource = custom(json!([
        {"name": "Phase", "type": "string", "jsonPath": ".status.phase"},
        {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"},
        {"name": "Progress", "type": "integer", "jsonPath": ".status.progress"},
        {"name": "Ratio", "type": "number", "jsonPath": ".status.ratio"},
        {"name": "Paused", "type": "boolean", "jsonPath": ".spec.paused"},
        {"name": "Spec", "type": "string", "jsonPath": ".spec"},
        {"name": "Wrong", "type": "integer", "jsonPath": ".status.phase"},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        {"name": "Reason", "type": "string", "jsonPath": ".status.reason", "priority": 1},
    ]));
    let object = json!({
        "metadata": {"name": "a", "creationTimestamp": "2024-05-01T11:56:40Z"},
        "spec": {"paused": true},
        "status": {"phase": "Running", "progress": 40, "ratio": 0.5, "conditions": [{"type": "Ready", "status": "True"}]},
    });
    assert_eq!(
        row(&resource, &object),
        [
            json!("a"),
            json!("Running"),
            json!("True"),
            json!(40),
            json!(0.5),
            json!(true),
            json!("{\"paused\":true}"),
            json!(null),
            json!("3m20s"),
            json!(null)
        ]
    );
    let table = render(&resource, &object, IncludeObject::None, now());
    assert_eq!(table["columnDefinitions"][0]["format"], "name");
    assert_eq!(table["columnDefinitions"][9]["priority"], 1);
    assert_eq!(
        table["columnDefinitions"][1]["description"],
        "Custom resource definition column (in JSONPath format): .status.phase"
    );
}

#[test]
fn a_custom_resource_without_columns_has_name_and_age() {
    let object = json!({"metadata": {"name": "a", "creationTimestamp": "2024-05-01T11:59:55Z"}});
    assert_eq!(row(&custom(json!([])), &object), [json!("a"), json!("5s")]);
}

#[test]
fn rows_carry_what_was_asked_for() {
    let resource = custom(json!([]));
    let item = json!({"metadata": {"name": "a"}, "spec": {}});
    let list = json!({"metadata": {"resourceVersion": "7", "continue": "x"}, "items": [item, item]});
    let table = render(&resource, &list, IncludeObject::Metadata, now());
    assert_eq!(table["metadata"], list["metadata"]);
    assert_eq!(table["rows"].as_array().unwrap().len(), 2);
    assert_eq!(
        table["rows"][0]["object"],
        json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "a"}})
    );
    assert_eq!(
        render(&resource, &list, IncludeObject::Object, now())["rows"][0]["object"],
        item
    );
    assert_eq!(
        render(&resource, &list, IncludeObject::None, now())["rows"][0]["object"],
        Value::Null
    );
    assert_eq!(IncludeObject::parse(Some("Object")), Some(IncludeObject::Object));
    assert_eq!(IncludeObject::parse(Some("Other")), None);
}

fn pod(status: Value) -> Value {
    json!({
        "metadata": {"name": "p", "creationTimestamp": "2024-05-01T11:59:00Z"},
        "spec": {"containers": [{"name": "task"}], "nodeName": "n1"},
        "status": status,
    })
}

#[test]
fn a_pods_status_is_the_most_telling_reason() {
    let state = |phase: &str, state: Value, ready: bool| {
        pod(json!({"phase": phase, "containerStatuses": [{"name": "task", "ready": ready, "state": state}]}))
    };
    for (object, text) in [
        (pod(json!({"phase": "Pending"})), "p|0/1|Pending|0|60s"),
        (
            pod(json!({"phase": "Failed", "reason": "DeadlineExceeded"})),
            "p|0/1|DeadlineExceeded|0|60s",
        ),
        (
            state("Running", json!({"running": {}}), true),
            "p|1/1|Running|0|60s",
        ),
        (
            state(
                "Pending",
                json!({"waiting": {"reason": "ImagePullBackOff"}}),
                false,
            ),
            "p|0/1|ImagePullBackOff|0|60s",
        ),
        (
            state(
                "Succeeded",
                json!({"terminated": {"exitCode": 0, "reason": "Completed"}}),
                false,
            ),
            "p|0/1|Completed|0|60s",
        ),
        (
            state(
                "Failed",
                json!({"terminated": {"exitCode": 1, "reason": "Error"}}),
                false,
            ),
            "p|0/1|Error|0|60s",
        ),
        (
            state("Failed", json!({"terminated": {"exitCode": 3}}), false),
            "p|0/1|ExitCode:3|0|60s",
        ),
        (
            state(
                "Failed",
                json!({"terminated": {"exitCode": 137, "signal": 9}}),
                false,
            ),
            "p|0/1|Signal:9|0|60s",
        ),
    ] {
        assert_eq!(row_text(&builtin("", "Pod"), &object, 5), text);
    }
}

#[test]
fn a_deleted_pod_is_terminating_until_it_ended() {
    let mut object = pod(json!({"phase": "Running"}));
    object["metadata"]["deletionTimestamp"] = json!("2024-05-01T12:00:00Z");
    assert_eq!(row_text(&builtin("", "Pod"), &object, 3), "p|0/1|Terminating");
    object["status"]["phase"] = json!("Failed");
    assert_eq!(row_text(&builtin("", "Pod"), &object, 3), "p|0/1|Failed");
}

#[test]
fn restarts_and_init_containers_are_told() {
    let mut object = pod(
        json!({"phase": "Running", "podIP": "10.0.0.1", "containerStatuses": [{
            "name": "task", "restartCount": 3, "ready": false, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"finishedAt": "2024-05-01T11:59:30Z"}},
        }]}),
    );
    assert_eq!(
        row_text(&builtin("", "Pod"), &object, 9),
        "p|0/1|CrashLoopBackOff|3 (30s ago)|60s|10.0.0.1|n1|<none>|<none>"
    );
    object["spec"]["initContainers"] = json!([{"name": "i"}, {"name": "j"}]);
    object["status"] = json!({"phase": "Pending", "initContainerStatuses": [
        {"name": "i", "state": {"terminated": {"exitCode": 0}}}, {"name": "j", "state": {"running": {}}}]});
    assert_eq!(row_text(&builtin("", "Pod"), &object, 3), "p|0/1|Init:1/2");
    object["status"]["initContainerStatuses"][1]["state"] =
        json!({"terminated": {"exitCode": 2, "reason": "Error"}});
    assert_eq!(row_text(&builtin("", "Pod"), &object, 3), "p|0/1|Init:Error");
}

#[test]
fn other_builtin_types_have_their_usual_columns() {
    let meta = json!({"name": "x", "creationTimestamp": "2024-05-01T11:00:00Z",
        "labels": {"node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/control-plane": ""}});
    for (group, kind, object, text) in [
        (
            "",
            "Namespace",
            json!({"status": {"phase": "Active"}}),
            "x|Active|60m",
        ),
        (
            "",
            "Node",
            json!({"spec": {"unschedulable": true}, "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
                "nodeInfo": {"kubeletVersion": "v1.33.0", "osImage": "Debian"}}}),
            "x|Ready,SchedulingDisabled|control-plane,worker|60m|v1.33.0|127.0.0.1|<none>|Debian|<unknown>|<unknown>",
        ),
        (
            "",
            "Secret",
            json!({"type": "Opaque", "data": {"a": "", "b": ""}}),
            "x|Opaque|2|60m",
        ),
        (
            "",
            "ConfigMap",
            json!({"data": {"a": ""}, "binaryData": {"b": ""}}),
            "x|2|60m",
        ),
        ("", "ServiceAccount", json!({}), "x|0|60m"),
        (
            "coordination.k8s.io",
            "Lease",
            json!({"spec": {"holderIdentity": "me"}}),
            "x|me|60m",
        ),
        (
            "apiextensions.k8s.io",
            "CustomResourceDefinition",
            json!({}),
            "x|2024-05-01T11:00:00Z",
        ),
        (
            "rbac.authorization.k8s.io",
            "ClusterRole",
            json!({}),
            "x|2024-05-01T11:00:00Z",
        ),
        (
            "rbac.authorization.k8s.io",
            "RoleBinding",
            json!({"roleRef": {"kind": "Role", "name": "r"}, "subjects": [
                {"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "namespace": "n", "name": "s"}]}),
            "x|Role/r|60m|u||n/s",
        ),
        (
            "networking.k8s.io",
            "NetworkPolicy",
            json!({"spec": {"podSelector": {"matchLabels": {"a": "b"}, "matchExpressions": [
                {"key": "c", "operator": "In", "values": ["d", "e"]}, {"key": "f", "operator": "DoesNotExist"}]}}}),
            "x|a=b,c in (d,e),!f|60m",
        ),
        (
            "networking.k8s.io",
            "NetworkPolicy",
            json!({"spec": {"podSelector": {}}}),
            "x|<none>|60m",
        ),
        (
            "apps",
            "ControllerRevision",
            json!({"revision": 3}),
            "x|<none>|3|60m",
        ),
        (
            "",
            "Event",
            json!({"type": "Warning", "reason": "Failed", "message": "no \n", "count": 2,
                "involvedObject": {"kind": "Pod", "name": "p"}, "source": {"component": "kubelet", "host": "n"},
                "firstTimestamp": "2024-05-01T11:58:00Z", "lastTimestamp": "2024-05-01T11:59:58Z"}),
            "2s|Warning|Failed|pod/p||kubelet, n|no|2m|2|x",
        ),
        (
            "events.k8s.io",
            "Event",
            json!({"type": "Normal", "reason": "Started", "note": "ok", "eventTime": "2024-05-01T11:59:57.123456Z",
                "regarding": {"kind": "Task", "name": "t"}, "reportingController": "errand"}),
            "2s|Normal|Started|task/t||errand|ok|2s|1|x",
        ),
    ] {
        let mut object = object;
        object["metadata"] = meta.clone();
        assert_eq!(row_text(&builtin(group, kind), &object, 10), text, "{kind}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z0-9:TZ-]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 6, |inner| {
        let key = prop_oneof![
            Just("metadata"),
            Just("spec"),
            Just("status"),
            Just("state"),
            Just("containerStatuses"),
            Just("initContainerStatuses"),
            Just("terminated"),
            Just("conditions"),
            Just("items"),
            Just("labels"),
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..4)
                .prop_map(|fields| fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn any_object_is_painted(object in any_json()) {
        for resource in builtin_resources() {
            let table = render(&resource, &object, IncludeObject::Metadata, now());
            let columns = table["columnDefinitions"].as_array().unwrap().len();
            for row in table["rows"].as_array().unwrap() {
                prop_assert_eq!(row["cells"].as_array().unwrap().len(), columns);
            }
        }
    }
}
