use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::*;
use crate::{
    crd::FunctionSpec,
    engine::resolve::{resolve, resolve_actions},
};

fn runner() -> Runner {
    Runner {
        image: "errand:1".into(),
        pull_policy: None,
        delivery: None,
    }
}

fn pod(function: Value, task: Value) -> Value {
    delivered(function, task, Delivery::ImageVolume)
}

fn delivered(function: Value, mut task: Value, delivery: Delivery) -> Value {
    let function: FunctionSpec = serde_json::from_value(function).unwrap();
    task["functionRef"] = json!({"name": "f"});
    let task: Task = serde_json::from_value(json!({
        "apiVersion": "errand.dev/v1alpha1", "kind": "Task",
        "metadata": {"name": "t", "namespace": "ns", "uid": "u"}, "spec": task,
    }))
    .unwrap();
    let run = resolve(&task.spec, &function, Some("f")).unwrap();
    serde_json::to_value(build(&task, &run, 1, &runner(), delivery).unwrap()).unwrap()
}

#[test]
fn a_plain_command_becomes_a_whole_pod() {
    let pod = pod(
        json!({"container": {"image": "busybox", "command": ["echo"], "args": ["$(A)"]}, "timeout": "90s"}),
        json!({"input": {"args": ["$(A)"]}}),
    );
    let facts = pod["metadata"]["annotations"][ANNOTATION_FACTS]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        pod,
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "t-0bfe93-1", "namespace": "ns",
                "labels": {
                    "app.kubernetes.io/managed-by": "errand", "errand.dev/task": "t", "errand.dev/task-uid": "u",
                    "errand.dev/attempt": "1", "errand.dev/function": "f",
                },
                "annotations": {"errand.dev/run": facts},
                "finalizers": ["errand.dev/capture"],
                "ownerReferences": [{
                    "apiVersion": "errand.dev/v1alpha1", "kind": "Task", "name": "t", "uid": "u", "controller": true,
                }],
            },
            "spec": {
                "restartPolicy": "Never", "enableServiceLinks": false, "automountServiceAccountToken": false,
                "terminationGracePeriodSeconds": 30,
                "volumes": [{"name": "errand-bin", "image": {"reference": "errand:1"}}],
                "containers": [{
                    "name": "task", "image": "busybox",
                    "command": [
                        "/errand/bin/errand", "runner", "--result=stdout", "--result-limit=262144", "--log-limit=65536",
                        "--grace=30s", "--termination-message=/dev/termination-log",
                        "--termination-message-limit=4096", "--timeout=90s", "--", "echo", "$(A)", "$$(A)",
                    ],
                    "env": [
                        {"name": "ERRAND_TASK", "value": "t"}, {"name": "ERRAND_NAMESPACE", "value": "ns"},
                        {"name": "ERRAND_FUNCTION", "value": "f"}, {"name": "ERRAND_ATTEMPT", "value": "1"},
                    ],
                    "volumeMounts": [{"name": "errand-bin", "mountPath": "/errand/bin", "readOnly": true}],
                    "securityContext": {
                        "allowPrivilegeEscalation": false, "seccompProfile": {"type": "RuntimeDefault"},
                    },
                }],
            },
        })
    );
}

#[test]
fn capabilities_become_requests_limits_privilege_and_affinity() {
    let pod = pod(
        json!({"container": {"image": "i"}, "capabilities": {
            "cpu": 2, "memory": "256Mi", "ephemeralStorage": "1Gi", "resources": {"nvidia.com/gpu": 1},
            "privileged": true, "networkLatencyMs": 20, "nodeSelector": {"disk": "ssd"},
            "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]},
                {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["b"]}]},
            ]}},
            "tolerations": [{"key": "gpu", "operator": "Exists"}],
        }}),
        json!({}),
    );
    let amounts = json!({"cpu": "2", "memory": "256Mi", "ephemeral-storage": "1Gi", "nvidia.com/gpu": "1"});
    let container = &pod["spec"]["containers"][0];
    assert_eq!(
        container["resources"],
        json!({"limits": amounts, "requests": amounts})
    );
    assert_eq!(container["securityContext"], json!({"privileged": true}));
    assert_eq!(pod["spec"]["nodeSelector"], json!({"disk": "ssd"}));
    assert_eq!(
        pod["spec"]["tolerations"],
        json!([{"key": "gpu", "operator": "Exists"}])
    );
    let latency = json!({"key": "errand.dev/network-latency-ms", "operator": "Lt", "values": ["20"]});
    let term = |zone: &str| json!({"matchExpressions": [{"key": "zone", "operator": "In", "values": [zone]}, latency]});
    assert_eq!(
        pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"],
        json!({"nodeSelectorTerms": [term("a"), term("b")]})
    );
}

#[test]
fn an_init_container_brings_the_supervisor_past_the_file_that_it_is_in_its_image() {
    let function = json!({"container": {"image": "i", "command": ["true"]}});
    let pod = delivered(function, json!({}), Delivery::InitContainer);
    let spec = &pod["spec"];
    assert_eq!(spec["volumes"], json!([{"name": "errand-bin", "emptyDir": {}}]));
    assert_eq!(
        spec["initContainers"],
        json!([{
            "name": "errand-bin", "image": "errand:1", "command": ["/errand", "install", "/install/errand"],
            "volumeMounts": [{"name": "errand-bin", "mountPath": "/install"}],
            "securityContext": {"allowPrivilegeEscalation": false, "seccompProfile": {"type": "RuntimeDefault"}},
        }])
    );
    assert_eq!(
        spec["containers"][0]["volumeMounts"],
        json!([{"name": "errand-bin", "mountPath": "/errand/bin", "readOnly": true}])
    );
}

#[test]
fn the_init_container_takes_no_more_than_the_task_but_for_the_disk_that_the_supervisor_needs() {
    let function = json!({"container": {"image": "i", "command": ["true"]}, "capabilities": {
        "cpu": "500m", "memory": "64Mi", "ephemeralStorage": "16Mi", "resources": {"nvidia.com/gpu": 1},
    }});
    let pod = delivered(function, json!({}), Delivery::InitContainer);
    let amounts = json!({"cpu": "500m", "memory": "64Mi", "ephemeral-storage": "150994944"});
    let init = &pod["spec"]["initContainers"][0];
    assert_eq!(init["resources"], json!({"limits": amounts, "requests": amounts}));
    let own = &pod["spec"]["containers"][0]["resources"]["limits"]["ephemeral-storage"];
    assert_eq!(own, "16Mi");
}

#[test]
fn a_binary_body_reaches_the_supervisor_encoded() {
    let pod = pod(
        json!({"container": {"image": "i", "command": ["cat"]}}),
        json!({"input": {"bodyBase64": "/w==", "query": "a=b"}}),
    );
    assert_eq!(
        pod["metadata"]["annotations"]["errand.dev/input-body.base64"],
        json!("/w==")
    );
    let container = &pod["spec"]["containers"][0];
    let mounts: Vec<_> = container["volumeMounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["mountPath"].as_str().unwrap())
        .collect();
    assert_eq!(mounts, ["/errand/input-encoded", "/errand/input", "/errand/bin"]);
    let command: Vec<_> = container["command"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c.as_str().unwrap())
        .collect();
    assert!(
        command.contains(&"--decode-input=/errand/input-encoded:/errand/input"),
        "{command:?}"
    );
}

#[test]
fn a_small_text_body_is_a_file_and_a_variable() {
    let pod = pod(
        json!({"container": {"image": "i", "command": ["cat"]}}),
        json!({"input": {"body": "a $(B)"}}),
    );
    assert_eq!(
        pod["metadata"]["annotations"]["errand.dev/input-body"],
        json!("a $(B)")
    );
    let env = pod["spec"]["containers"][0]["env"].as_array().unwrap();
    assert!(
        env.contains(&json!({"name": "ERRAND_INPUT", "value": "a $$(B)"})),
        "{env:?}"
    );
    assert!(
        env.contains(&json!({"name": "ERRAND_INPUT_DIR", "value": "/errand/input"})),
        "{env:?}"
    );
}

#[test]
fn pod_names_stay_within_bounds_and_differ_by_task_uid_and_attempt() {
    let long = format!("{}-x", "a.".repeat(125));
    for name in [name(&long, "u", 1), name("t", "u", u32::MAX)] {
        assert!(
            name.len() <= 253 && !name.contains("--") && !name.contains(".-"),
            "{name}"
        );
    }
    assert_ne!(name("t", "u", 1), name("t", "v", 1));
    assert_ne!(name("t", "u", 1), name("t", "u", 2));
}

#[test]
fn dollars_of_arguments_input_and_result_path_are_handed_on_as_they_are() {
    let pod = pod(
        json!({
            "container": {"image": "i", "command": ["echo"]},
            "result": {"from": "File", "path": "/tmp/$(A)$$"},
        }),
        json!({"input": {"body": "$$(A)", "args": ["$$(A)", "$$", "$", "$é"]}}),
    );
    let container = &pod["spec"]["containers"][0];
    // Kubernetes makes `$` of `$$`, and a value of `$(A)`.
    let command = container["command"].as_array().unwrap();
    assert_eq!(command[2], json!("--result=file:/tmp/$$(A)$$$$"));
    assert_eq!(
        command[command.len() - 4..],
        [json!("$$$$(A)"), json!("$$$$"), json!("$$"), json!("$$é")]
    );
    let env = container["env"].as_array().unwrap();
    assert!(
        env.contains(&json!({"name": "ERRAND_INPUT", "value": "$$$$(A)"})),
        "{env:?}"
    );
}

#[test]
fn a_node_selector_term_that_matches_no_node_still_matches_none_with_a_latency() {
    let pod = pod(
        json!({"container": {"image": "i"}, "capabilities": {
            "networkLatencyMs": 20,
            "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {}, {"matchExpressions": []}, {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]},
            ]}},
        }}),
        json!({}),
    );
    let latency = json!({"key": "errand.dev/network-latency-ms", "operator": "Lt", "values": ["20"]});
    let fields = json!([{"key": "metadata.name", "operator": "In", "values": ["n"]}]);
    assert_eq!(
        pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"],
        json!({"nodeSelectorTerms": [
            {}, {"matchExpressions": []}, {"matchExpressions": [latency], "matchFields": fields},
        ]})
    );
}

#[test]
fn more_input_than_a_pod_can_carry_is_refused_with_the_sizes() {
    let build = |given: usize| {
        let function: FunctionSpec = serde_json::from_value(json!({
            "container": {"image": "i", "command": ["cat"]}, "pod": {"annotations": {"key": "x".repeat(given)}},
        }))
        .unwrap();
        let task: Task = serde_json::from_value(json!({
            "apiVersion": "errand.dev/v1alpha1", "kind": "Task", "metadata": {"name": "t", "uid": "u"},
            "spec": {"functionRef": {"name": "f"}, "input": {"bodyBase64": STANDARD.encode(vec![0xff; 131_072])}},
        }))
        .unwrap();
        let run = resolve(&task.spec, &function, Some("f")).unwrap();
        let pod = build(&task, &run, 1, &runner(), Delivery::ImageVolume)?;
        let annotations = pod.metadata.annotations.unwrap();
        Ok(annotations
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum::<usize>())
    };
    let room = 262_144 - (build(0).unwrap() - "key".len());
    assert_eq!(build(room - "key".len()), Ok(262_144));
    let input = 262_144 - room;
    assert_eq!(
        build(room - "key".len() + 1),
        Err(BuildError::Annotations {
            input,
            given: room + 1,
            limit: 262_144
        })
    );
    assert_eq!(
        BuildError::Annotations {
            input: 175_152,
            given: 86_993,
            limit: 262_144
        }
        .to_string(),
        "query, headers, contentType and body of the input, and the actions with their files, need 175152 bytes as annotations of the pod \
         (a body that is not UTF-8 a third more than it has) and pod.annotations 86993; together at most 262144 are \
         possible"
    );
}

#[test]
fn actions_travel_in_an_annotation_and_the_supervisor_reads_them_from_a_file() {
    let task: Task = serde_json::from_value(json!({
        "apiVersion": "errand.dev/v1alpha1", "kind": "Task",
        "metadata": {"name": "t", "namespace": "ns", "uid": "u"},
        "spec": {
            "actions": {
                "container": {"image": "busybox", "env": [{"name": "A", "value": "$(B)"}]},
                "action": {"run": {"path": "echo", "args": ["$(A)"]}}, "logSource": "APP", "resultFile": "/r$(A)",
            },
            "timeout": "90s",
        },
    }))
    .unwrap();
    let run = resolve_actions(&task.spec, task.spec.actions.as_ref().unwrap()).unwrap();
    let pod = serde_json::to_value(build(&task, &run, 1, &runner(), Delivery::ImageVolume).unwrap()).unwrap();
    let plan = r#"{"action":{"run":{"path":"echo","args":["$(A)"]}},"logSource":"APP"}"#;
    assert_eq!(pod["metadata"]["annotations"]["errand.dev/actions"], plan);
    let container = &pod["spec"]["containers"][0];
    let command = json!([
        "/errand/bin/errand",
        "runner",
        "--result=file:/r$$(A)",
        "--result-limit=51200",
        "--log-limit=65536",
        "--grace=30s",
        "--termination-message=/dev/termination-log",
        "--termination-message-limit=4096",
        "--timeout=90s",
        "--actions=/errand/actions/plan.json",
    ]);
    assert_eq!(
        (&container["command"], &container["args"]),
        (&command, &Value::Null)
    );
    let mounts = json!([
        {"name": "errand-actions", "mountPath": "/errand/actions", "readOnly": true},
        {"name": "errand-bin", "mountPath": "/errand/bin", "readOnly": true},
    ]);
    assert_eq!(container["volumeMounts"], mounts);
    let item =
        json!({"path": "plan.json", "fieldRef": {"fieldPath": "metadata.annotations['errand.dev/actions']"}});
    assert_eq!(
        pod["spec"]["volumes"][0],
        json!({"name": "errand-actions", "downwardAPI": {"items": [item]}})
    );
}

#[test]
fn files_of_actions_travel_in_annotations_and_stand_in_one_folder() {
    let task: Task = serde_json::from_value(json!({
        "apiVersion": "errand.dev/v1alpha1", "kind": "Task",
        "metadata": {"name": "t", "namespace": "ns", "uid": "u"},
        "spec": {"actions": {
            "container": {"image": "busybox"}, "action": {"run": {"path": "true"}},
            "files": {"mountPath": "/etc/bindings", "contents": {"db/user": "ann\n", "all": "$(A)"}},
        }},
    }))
    .unwrap();
    let run = resolve_actions(&task.spec, task.spec.actions.as_ref().unwrap()).unwrap();
    let pod = serde_json::to_value(build(&task, &run, 1, &runner(), Delivery::ImageVolume).unwrap()).unwrap();
    let annotations = &pod["metadata"]["annotations"];
    assert_eq!(
        (
            &annotations["errand.dev/file-0"],
            &annotations["errand.dev/file-1"]
        ),
        (&json!("$(A)"), &json!("ann\n"))
    );
    let item = |path: &str, index: u8| {
        let field = format!("metadata.annotations['errand.dev/file-{index}']");
        json!({"path": path, "fieldRef": {"fieldPath": field}})
    };
    assert_eq!(
        pod["spec"]["volumes"][1],
        json!({"name": "errand-files", "downwardAPI": {"items": [item("all", 0), item("db/user", 1)]}})
    );
    assert_eq!(
        pod["spec"]["containers"][0]["volumeMounts"][1],
        json!({"name": "errand-files", "mountPath": "/etc/bindings", "readOnly": true})
    );
}
