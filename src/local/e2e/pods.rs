//! Pods of one container, end to end through the process runtime.

use jiff::{SignedDuration, Timestamp};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::plane::{Plane, end_of, phase_of, reason_of, waits};
use crate::local::logs::LogOptions;

type Facts = (String, i32, Option<i32>, String);

fn facts(pod: &k8s_openapi::api::core::v1::Pod) -> Facts {
    let end = end_of(pod);
    (
        phase_of(pod).to_owned(),
        end.exit_code,
        end.signal,
        end.reason.unwrap_or_default(),
    )
}

fn expect(phase: &str, code: i32, signal: Option<i32>, reason: &str) -> Facts {
    (phase.to_owned(), code, signal, reason.to_owned())
}

#[tokio::test]
async fn a_pod_that_echoes_succeeds_and_its_log_is_there() {
    let plane = Plane::new().await;
    plane.run("hello", "echo out; echo err >&2", json!({})).await;
    let pod = plane.wait_end("hello").await;
    assert_eq!(facts(&pod), expect("Succeeded", 0, None, "Completed"));
    let mut lines: Vec<String> = plane.text(&pod).await.lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["err", "out"]);
    let status = pod.status.as_ref().unwrap();
    assert!(status.pod_ip.as_deref().unwrap().starts_with("127."));
    assert_eq!(status.host_ip.as_deref(), Some("127.0.0.1"));
    let end = end_of(&pod);
    assert!(end.container_id.unwrap().starts_with("process://"));
    assert!(end.started_at <= end.finished_at);
    plane.stop().await;
}

#[tokio::test]
async fn exit_codes_signals_and_messages_are_told() {
    let plane = Plane::new().await;
    let error = json!({ "task": { "terminationMessagePolicy": "FallbackToLogsOnError" } });
    plane.run("code", "exit 3", json!({})).await;
    plane.run("signal", "kill -9 $$$$", json!({})).await;
    plane
        .run(
            "message",
            "printf 'the end' > /dev/termination-log; exit 1",
            json!({}),
        )
        .await;
    plane
        .run(
            "long",
            "head -c 10000 /dev/zero | tr '\\0' x > /dev/termination-log",
            json!({}),
        )
        .await;
    plane.run("fallback", "echo why; exit 1", error).await;
    let [code, signal, message, long, fallback] = futures::future::join_all(
        ["code", "signal", "message", "long", "fallback"].map(|name| plane.wait_end(name)),
    )
    .await
    .try_into()
    .unwrap();
    assert_eq!(facts(&code), expect("Failed", 3, None, "Error"));
    assert_eq!(facts(&signal), expect("Failed", 137, Some(9), "Error"));
    assert_eq!(end_of(&message).message.as_deref(), Some("the end"));
    assert_eq!(end_of(&long).message.map(|text| text.len()), Some(4096));
    assert_eq!(end_of(&fallback).message.as_deref(), Some("why\n"));
    plane.stop().await;
}

#[tokio::test]
async fn commands_that_cannot_run_end_with_a_start_error() {
    let plane = Plane::new().await;
    plane
        .run(
            "missing",
            "",
            json!({ "task": { "command": ["no-such-program"] } }),
        )
        .await;
    plane
        .run("path", "", json!({ "task": { "command": ["/no/such/program"] } }))
        .await;
    plane
        .run("none", "", json!({ "task": { "command": null, "args": ["x"] } }))
        .await;
    for (name, words) in [
        (
            "missing",
            "exec: \"no-such-program\": executable file not found in $PATH",
        ),
        (
            "path",
            "exec: \"/no/such/program\": stat /no/such/program: No such file or directory",
        ),
        ("none", "container \"task\" has no command"),
    ] {
        let pod = plane.wait_end(name).await;
        assert_eq!(facts(&pod), expect("Failed", 128, None, "StartError"));
        let message = end_of(&pod).message.unwrap();
        assert!(message.starts_with(words), "{message}");
    }
    plane.stop().await;
}

#[tokio::test]
async fn a_lowered_deadline_stops_a_running_pod_and_keeps_it() {
    let plane = Plane::new().await;
    let script = "trap 'echo stopping; exit 7' TERM; echo ready; while :; do sleep 0.05; done";
    plane
        .run("slow", script, json!({ "activeDeadlineSeconds": 3600 }))
        .await;
    plane
        .run(
            "stubborn",
            "trap '' TERM; echo ready; while :; do sleep 0.05; done",
            json!({ "terminationGracePeriodSeconds": 1 }),
        )
        .await;
    for name in ["slow", "stubborn"] {
        let pod = plane.wait_phase(name, "Running").await;
        until_log(&plane, &pod, "ready\n").await;
        let patch = Patch::Merge(json!({ "spec": { "activeDeadlineSeconds": 1 } }));
        plane
            .pods()
            .patch(name, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }
    let slow = plane.wait_end("slow").await;
    assert_eq!(facts(&slow), expect("Failed", 7, None, "Error"));
    assert_eq!(reason_of(&slow), "DeadlineExceeded");
    assert_eq!(plane.text(&slow).await, "ready\nstopping\n");
    let stubborn = plane.wait_end("stubborn").await;
    assert_eq!(facts(&stubborn), expect("Failed", 137, Some(9), "Error"));
    assert_eq!(reason_of(&stubborn), "DeadlineExceeded");
    plane.stop().await;
}

async fn until_log(plane: &Plane, pod: &k8s_openapi::api::core::v1::Pod, text: &str) {
    let read = async {
        while plane.text(pod).await != text {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(super::plane::PATIENCE, read).await.unwrap();
}

#[tokio::test]
async fn a_deleted_pod_gets_its_grace_and_a_finalizer_keeps_its_end() {
    let plane = Plane::new().await;
    let script = "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done";
    for (name, finalizers) in [("free", json!([])), ("held", json!(["example.com/hold"]))] {
        plane
            .create(json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": { "name": name, "namespace": "default", "finalizers": finalizers },
                "spec": { "restartPolicy": "Never", "containers": [
                    { "name": "task", "image": "x:1", "command": ["sh", "-c", script] }] },
            }))
            .await;
        let pod = plane.wait_phase(name, "Running").await;
        until_log(&plane, &pod, "ready\n").await;
        plane.delete(name, 20).await;
    }
    plane.wait_gone("free").await;
    let held = plane.wait_end("held").await;
    assert_eq!(facts(&held), expect("Succeeded", 0, None, "Completed"));
    assert_eq!(plane.text(&held).await, "ready\nbye\n");
    let settled = |pod: Option<&k8s_openapi::api::core::v1::Pod>| {
        pod.is_some_and(|pod| pod.metadata.deletion_grace_period_seconds == Some(0))
    };
    plane.wait_for("held", "let go by the node", settled).await;
    let patch = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    plane
        .pods()
        .patch("held", &PatchParams::default(), &patch)
        .await
        .unwrap();
    plane.wait_gone("held").await;
    plane.stop().await;
}

#[tokio::test]
async fn a_container_sees_its_pod_through_files_and_variables() {
    let plane = Plane::new().await;
    let script = "cat /errand/input/body; echo; ls \"$ERRAND_INPUT_DIR\"; echo $POD $CPU \"$GREETING\"; \
                  cat /errand/bin/tool; echo kept > /scratch/x; cat /scratch/x; touch /errand/../nothing 2>/dev/null; env | sort | cut -d= -f1 | tr '\\n' ' '";
    let tools = plane.folder.path().join("tools");
    std::fs::create_dir_all(&tools).unwrap();
    std::fs::write(tools.join("tool"), "tool\n").unwrap();
    let mut options = plane.options("n2");
    options.images.insert("tools:1".to_owned(), tools);
    let mut plane = plane;
    plane.add_node(options);
    plane
        .create(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": "seer", "namespace": "default", "annotations": { "errand.dev/input-body": "hello" } },
            "spec": {
                "restartPolicy": "Never",
                "nodeSelector": { "kubernetes.io/hostname": "n2" },
                "containers": [{
                    "name": "task", "image": "x:1", "command": ["sh"], "args": ["-c", script],
                    "resources": { "limits": { "cpu": "250m" } },
                    "env": [
                        { "name": "ERRAND_INPUT_DIR", "value": "/errand/input" },
                        { "name": "POD", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
                        { "name": "CPU", "valueFrom": { "resourceFieldRef": { "resource": "limits.cpu", "divisor": "1m" } } },
                        { "name": "GREETING", "value": "hi $(POD) $(NONE)" },
                    ],
                    "volumeMounts": [
                        { "name": "input", "mountPath": "/errand/input" },
                        { "name": "bin", "mountPath": "/errand/bin" },
                        { "name": "scratch", "mountPath": "/scratch", "subPath": "deep" },
                    ],
                }],
                "volumes": [
                    { "name": "input", "downwardAPI": { "items": [
                        { "path": "body", "fieldRef": { "fieldPath": "metadata.annotations['errand.dev/input-body']" } }] } },
                    { "name": "bin", "image": { "reference": "tools:1", "pullPolicy": "IfNotPresent" } },
                    { "name": "scratch", "emptyDir": {} },
                ],
            },
        }))
        .await;
    let pod = plane.wait_end("seer").await;
    let expected = "hello\nbody\nseer 250 hi seer $(NONE)\ntool\nkept\n\
                    CPU ERRAND_INPUT_DIR GREETING LOCAL_NODE_CONTAINER PATH POD PWD ";
    assert_eq!(
        plane.text(&pod).await.replace("OLDPWD ", "").replace("_ ", ""),
        expected
    );
    plane.stop().await;
}

#[tokio::test]
async fn configuration_that_is_missing_is_waited_for() {
    let plane = Plane::new().await;
    let env = json!([{ "name": "X", "valueFrom": { "configMapKeyRef": { "name": "cm", "key": "k" } } }]);
    plane
        .run("env", "echo $X", json!({ "task": { "env": env } }))
        .await;
    let volume = json!([{ "name": "v", "configMap": { "name": "cm" } }]);
    let mount = json!([{ "name": "v", "mountPath": "/cm" }]);
    plane
        .run(
            "volume",
            "cat /cm/k",
            json!({ "volumes": volume, "task": { "volumeMounts": mount } }),
        )
        .await;
    let image = json!([{ "name": "v", "image": { "reference": "none:1", "pullPolicy": "Never" } }]);
    plane.run("image", "true", json!({ "volumes": image })).await;
    plane
        .run("name", "true", json!({ "task": { "image": "Not An Image" } }))
        .await;
    for (name, reason) in [
        ("env", "CreateContainerConfigError"),
        ("image", "ErrImageNeverPull"),
        ("name", "InvalidImageName"),
    ] {
        plane
            .wait_for(name, reason, |pod| pod.is_some_and(|pod| waits(pod).0 == reason))
            .await;
    }
    plane
        .wait_for("volume", "creating", |pod| {
            pod.is_some_and(|pod| waits(pod).0 == "ContainerCreating")
        })
        .await;
    let map: k8s_openapi::api::core::v1::ConfigMap = serde_json::from_value(
        json!({ "metadata": { "name": "cm", "namespace": "default" }, "data": { "k": "v" } }),
    )
    .unwrap();
    let maps = kube::Api::namespaced(plane.client.clone(), "default");
    maps.create(&Default::default(), &map).await.unwrap();
    for name in ["env", "volume"] {
        let pod = plane.wait_end(name).await;
        assert_eq!(plane.text(&pod).await.trim(), "v", "{name}");
    }
    plane.stop().await;
}

#[tokio::test]
async fn init_containers_go_first_and_restarts_follow_the_policy() {
    let plane = Plane::new().await;
    let init = json!([
        { "name": "one", "image": "x:1", "command": ["sh", "-c", "echo 1 > /v/x"], "volumeMounts": [{ "name": "v", "mountPath": "/v" }] },
        { "name": "two", "image": "x:1", "command": ["sh", "-c", "echo 2 >> /v/x"], "volumeMounts": [{ "name": "v", "mountPath": "/v" }] },
    ]);
    let volumes = json!([{ "name": "v", "emptyDir": {} }]);
    let mounts = json!([{ "name": "v", "mountPath": "/v" }]);
    plane
        .run(
            "order",
            "cat /v/x",
            json!({ "initContainers": init, "volumes": volumes, "task": { "volumeMounts": mounts } }),
        )
        .await;
    let bad = json!([{ "name": "bad", "image": "x:1", "command": ["false"] }]);
    plane
        .run("bad", "echo never", json!({ "initContainers": bad }))
        .await;
    let twice = "echo run; n=$(cat /v/n 2>/dev/null || echo 0); echo $((n+1)) > /v/n; test $n -ge 2";
    plane
        .run(
            "again",
            twice,
            json!({ "restartPolicy": "OnFailure", "volumes": volumes, "task": { "volumeMounts": mounts } }),
        )
        .await;
    let order = plane.wait_end("order").await;
    assert_eq!(plane.text(&order).await, "1\n2\n");
    let bad = plane.wait_end("bad").await;
    assert_eq!(facts(&bad), expect("Failed", 137, None, "ContainerStatusUnknown"));
    let again = plane.wait_end("again").await;
    assert_eq!(phase_of(&again), "Succeeded");
    let status = &again
        .status
        .as_ref()
        .unwrap()
        .container_statuses
        .as_ref()
        .unwrap()[0];
    assert_eq!(status.restart_count, 2);
    let previous = LogOptions {
        previous: true,
        ..LogOptions::default()
    };
    assert_eq!(plane.log(&again, previous).await.unwrap(), b"run\n");
    plane.stop().await;
}

#[tokio::test]
async fn much_output_flows_quickly_and_its_end_is_kept() {
    let plane = Plane::new().await;
    let began = Timestamp::now();
    plane
        .run(
            "loud",
            "head -c 200000000 /dev/zero | tr '\\0' 'x' | fold -w 100; echo; echo the end",
            json!({}),
        )
        .await;
    let pod = plane.wait_end("loud").await;
    assert_eq!(facts(&pod), expect("Succeeded", 0, None, "Completed"));
    let tail = LogOptions {
        tail_lines: Some(1),
        ..LogOptions::default()
    };
    assert_eq!(plane.log(&pod, tail).await.unwrap(), b"the end\n");
    let kept = plane.log(&pod, LogOptions::default()).await.unwrap().len();
    assert!((8_000_000..33_000_000).contains(&kept), "{kept}");
    assert!(Timestamp::now().duration_since(began) < SignedDuration::from_secs(25));
    plane.stop().await;
}

#[tokio::test]
async fn a_log_can_be_followed_until_the_container_ends() {
    let plane = Plane::new().await;
    plane
        .run(
            "talk",
            "echo one; while ! test -e go; do sleep 0.02; done; printf two",
            json!({}),
        )
        .await;
    let pod = plane.wait_phase("talk", "Running").await;
    let follow = LogOptions {
        follow: true,
        ..LogOptions::default()
    };
    let uid = pod.metadata.uid.clone().unwrap();
    let go = plane
        .node_folder("n1")
        .join("pods")
        .join(&uid)
        .join("work/task/go");
    let (log, ()) = tokio::join!(plane.log(&pod, follow), async {
        until_log(&plane, &pod, "one\n").await;
        std::fs::write(go, "").unwrap();
    });
    assert_eq!(log.unwrap(), b"one\ntwo");
    plane.stop().await;
}

#[tokio::test]
async fn nothing_that_a_container_started_is_left_behind() {
    let plane = Plane::new().await;
    let script = "sleep 1000 & (setsid sleep 1000 >/dev/null 2>&1 &) ; sleep 0.1; echo $(pgrep -f 'sleep 1000' | wc -l)";
    plane.run("parent", script, json!({})).await;
    plane
        .run("holder", "setsid sleep 1000 & echo done", json!({}))
        .await;
    plane
        .run(
            "forever",
            "(setsid sleep 1000 >/dev/null 2>&1 &) ; sleep 1000",
            json!({}),
        )
        .await;
    for name in ["parent", "holder"] {
        assert_eq!(phase_of(&plane.wait_end(name).await), "Succeeded");
    }
    let pod = plane.wait_phase("forever", "Running").await;
    let uid = pod.metadata.uid.clone().unwrap();
    let client = plane.client.clone();
    plane.stop().await;
    let left = crate::local::node::runtime::process::leftovers::marked();
    assert!(
        !left.iter().any(|one| one.container.starts_with(&uid)),
        "{left:?}"
    );
    let pods: kube::Api<k8s_openapi::api::core::v1::Pod> = kube::Api::namespaced(client, "default");
    let forever = pods.get("forever").await.unwrap();
    assert_eq!(
        (phase_of(&forever), reason_of(&forever)),
        ("Failed", "Terminated")
    );
}
