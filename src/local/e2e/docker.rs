//! Pods through a Docker engine of the test's own, with an image built from nothing but a static busybox.
//!
//! Runs when `ERRAND_TEST_ENGINE` is set (as `make test` does), since it needs root and Debian's docker.io; then an
//! engine that cannot be had is a failure, never a silent skip.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bollard::Docker;
use bollard::query_parameters::ListContainersOptionsBuilder;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::events::{kubelet_told, told};
use super::plane::{PATIENCE, Plane, end_of, phase_of, reason_of, waits};
use crate::local::logs::LogOptions;
use crate::local::node::{NodeOptions, RuntimeChoice};

const GATE: &str = "ERRAND_TEST_ENGINE";
const IMAGE: &str = "local.test/tools:1";

struct Engine {
    folder: tempfile::TempDir,
    host: String,
}

impl Engine {
    fn script(action: &str, folder: &Path, args: &[&str]) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/docker-engine.sh");
        let done = Command::new("sh")
            .arg(script)
            .arg(action)
            .arg(folder)
            .args(args)
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }

    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let host = Self::script("start", folder.path(), &[]);
        Self::script("tools", folder.path(), &[IMAGE]);
        Self { host, folder }
    }

    fn client(&self) -> Docker {
        Docker::connect_with_host(&self.host).unwrap()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        Self::script("stop", self.folder.path(), &[]);
    }
}

fn options(plane: &Plane, engine: &Engine) -> NodeOptions {
    let mut options = plane.options("n1");
    options.runtime = RuntimeChoice::Docker;
    options.docker_host = Some(engine.host.clone());
    let tools = plane.folder.path().join("tools");
    std::fs::create_dir_all(&tools).unwrap();
    std::fs::write(tools.join("tool"), "tool").unwrap();
    options.images.insert("tools:1".to_owned(), tools);
    options
}

/// Over the container `task`: this image, no pull.
fn with(task: Value) -> Value {
    let mut whole = json!({ "task": { "image": IMAGE, "imagePullPolicy": "Never" } });
    json_patch::merge(&mut whole["task"], &task);
    whole
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_run_in_containers_of_an_engine() {
    if std::env::var_os(GATE).is_none() {
        eprintln!("not run: needs root and a Docker engine; set {GATE}=1, as `make test` does");
        return;
    }
    let engine = Engine::start();
    let mut plane = Plane::bare().await;
    let index = plane.add_node(options(&plane, &engine));
    ends_are_told(&plane).await;
    images_follow_their_policy(&plane).await;
    limits_and_rights_are_enforced(&plane).await;
    volumes_are_bound_in(&plane).await;
    containers_have_one_network_per_pod(&plane).await;
    a_deadline_stops_and_keeps(&plane).await;
    logs_can_be_followed(&plane).await;
    a_restarted_node_cleans_up(&mut plane, &engine, index).await;
    plane.run("last", "sleep 1000", with(json!({}))).await;
    plane.wait_phase("last", "Running").await;
    plane.stop().await;
    let docker = engine.client().negotiate_version().await.unwrap();
    let all = ListContainersOptionsBuilder::new().all(true).build();
    assert_eq!(docker.list_containers(Some(all)).await.unwrap().len(), 0);
}

async fn ends_are_told(plane: &Plane) {
    plane
        .run(
            "echo",
            "echo out; echo err >&2; printf said > /dev/termination-log; hostname",
            with(json!({})),
        )
        .await;
    plane.run("code", "exit 3", with(json!({}))).await;
    plane
        .run("missing", "", with(json!({ "command": ["no-such-program"] })))
        .await;
    let echo = plane.wait_end("echo").await;
    assert_eq!(phase_of(&echo), "Succeeded");
    let end = end_of(&echo);
    assert_eq!(
        (end.reason.as_deref(), end.message.as_deref()),
        (Some("Completed"), Some("said"))
    );
    assert!(end.container_id.unwrap().starts_with("docker://"));
    let mut lines: Vec<String> = plane.text(&echo).await.lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["echo", "err", "out"]);
    assert_eq!(end_of(&plane.wait_end("code").await).exit_code, 3);
    let missing = end_of(&plane.wait_end("missing").await);
    assert_eq!(
        (missing.exit_code, missing.reason.as_deref()),
        (128, Some("StartError"))
    );
    assert!(
        missing
            .message
            .unwrap()
            .contains("\"no-such-program\": executable file not found in $PATH")
    );
}

async fn images_follow_their_policy(plane: &Plane) {
    let image =
        |policy: &str| json!({ "task": { "image": "127.0.0.1:1/none:1", "imagePullPolicy": policy } });
    plane.run("never", "true", image("Never")).await;
    plane.run("pull", "true", image("IfNotPresent")).await;
    for (name, reason) in [
        ("never", "ErrImageNeverPull"),
        ("pull", "ErrImagePull"),
        ("pull", "ImagePullBackOff"),
    ] {
        let pod = plane
            .wait_for(name, reason, |pod| pod.is_some_and(|pod| waits(pod).0 == reason))
            .await
            .unwrap();
        assert_eq!(phase_of(&pod), "Pending");
        assert!(!waits(&pod).1.is_empty());
    }
    let image = "127.0.0.1:1/none:1";
    let failed = "Get \"http://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused";
    let pulling = [
        told("Normal", "Pulling", &format!("Pulling image {image:?}")),
        told(
            "Warning",
            "Failed",
            &format!("Failed to pull image {image:?}: {failed}"),
        ),
        told("Normal", "BackOff", &format!("Back-off pulling image {image:?}")),
        told("Warning", "Failed", "Error: ErrImagePull"),
    ];
    kubelet_told(plane, "pull", &pulling).await;
    let absent = format!("Error: Container image {image:?} is not present with pull policy of Never");
    kubelet_told(plane, "never", &[told("Warning", "Failed", &absent)]).await;
    let present = [
        told(
            "Normal",
            "Pulled",
            &format!("Container image {IMAGE:?} already present on machine"),
        ),
        told("Normal", "Created", "Created container: task"),
        told("Normal", "Started", "Started container task"),
    ];
    kubelet_told(plane, "echo", &present).await;
    for name in ["never", "pull"] {
        plane.delete(name, 1).await;
        plane.wait_gone(name).await;
    }
}

async fn limits_and_rights_are_enforced(plane: &Plane) {
    let limits = json!({ "resources": { "limits": { "memory": "32Mi", "cpu": "500m" } } });
    plane
        .run(
            "hungry",
            "dd if=/dev/zero of=/dev/null bs=256M count=1",
            with(limits.clone()),
        )
        .await;
    let quota = "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || cat /sys/fs/cgroup/cpu.max";
    plane.run("slow", quota, with(limits)).await;
    let rights = "grep -E 'CapEff|NoNewPrivs' /proc/self/status; id -u";
    plane
        .run(
            "low",
            rights,
            with(json!({ "securityContext": { "allowPrivilegeEscalation": false, "runAsUser": 7 } })),
        )
        .await;
    plane
        .run(
            "high",
            rights,
            with(json!({ "securityContext": { "privileged": true } })),
        )
        .await;
    plane
        .run(
            "root",
            "true",
            with(json!({ "securityContext": { "runAsNonRoot": true } })),
        )
        .await;
    let hungry = end_of(&plane.wait_end("hungry").await);
    assert_eq!(
        (hungry.exit_code, hungry.reason.as_deref()),
        (137, Some("OOMKilled"))
    );
    let slow = plane.wait_end("slow").await;
    assert_eq!(plane.text(&slow).await.split_whitespace().next(), Some("50000"));
    let low = plane.text(&plane.wait_end("low").await).await;
    assert!(low.contains("NoNewPrivs:\t1") && low.ends_with("\n7\n"), "{low}");
    let high = plane.wait_end("high").await;
    if has_every_capability() {
        let text = plane.text(&high).await;
        assert!(
            text.contains("NoNewPrivs:\t0") && text.contains("CapEff:\t000001ff"),
            "{text}"
        );
    } else {
        // Where root itself lacks a capability no engine can start a privileged container: but it was asked to.
        let end = end_of(&high);
        assert_eq!((end.exit_code, end.reason.as_deref()), (128, Some("StartError")));
        assert!(end.message.unwrap().contains("unable to apply caps"));
    }
    let refused = |pod: Option<&Pod>| pod.is_some_and(|pod| waits(pod).0 == "CreateContainerConfigError");
    let root = plane.wait_for("root", "refused", refused).await.unwrap();
    assert_eq!(
        waits(&root).1,
        "container has runAsNonRoot and image will run as root"
    );
}

fn has_every_capability() -> bool {
    let last: u32 = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap")
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let bounding = status
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:"))
        .unwrap();
    u64::from_str_radix(bounding.trim(), 16).unwrap() == (1 << (last + 1)) - 1
}

async fn volumes_are_bound_in(plane: &Plane) {
    let script = "cat /input/name; echo; cat /bin2/tool; touch /bin2/x 2>/dev/null || echo ' read-only'; echo kept > /scratch/x; cat /scratch/x";
    let mut spec = with(json!({ "volumeMounts": [
        { "name": "input", "mountPath": "/input" },
        { "name": "tools", "mountPath": "/bin2" },
        { "name": "scratch", "mountPath": "/scratch", "subPath": "a/b" },
    ] }));
    spec["volumes"] = json!([
        { "name": "input", "downwardAPI": { "items": [{ "path": "name", "fieldRef": { "fieldPath": "metadata.name" } }] } },
        { "name": "tools", "image": { "reference": "tools:1" } },
        { "name": "scratch", "emptyDir": {} },
    ]);
    plane.run("volumes", script, spec).await;
    let pod = plane.wait_end("volumes").await;
    assert_eq!(plane.text(&pod).await, "volumes\ntool read-only\nkept\n");
}

async fn containers_have_one_network_per_pod(plane: &Plane) {
    let serve = json!({ "name": "web", "image": IMAGE, "imagePullPolicy": "Never", "command": ["httpd", "-f", "-p", "8080", "-h", "/www"] });
    let ask = "until wget -q -O - http://127.0.0.1:8080/index.html; do sleep 0.1; done; sleep 1000";
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "web", "namespace": "default" },
        "spec": { "restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [
            { "name": "task", "image": IMAGE, "imagePullPolicy": "Never", "command": ["sh", "-c", ask] }, serve] },
    });
    plane.create(pod).await;
    let running = plane.wait_phase("web", "Running").await;
    let ip = running.status.as_ref().unwrap().pod_ip.clone().unwrap();
    until_log(plane, &running, "served").await;
    let mut stream = TcpStream::connect(format!("{ip}:8080")).await.unwrap();
    stream
        .write_all(b"GET /index.html HTTP/1.0\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("served\n"), "{answer}");
    plane.delete("web", 0).await;
}

async fn until_log(plane: &Plane, pod: &Pod, text: &str) {
    let read = async {
        while !plane.text(pod).await.contains(text) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, read).await.is_err() {
        panic!(
            "no {text:?} in the log: {}\n{}",
            plane.text(pod).await,
            serde_json::to_string_pretty(pod).unwrap()
        );
    }
}

async fn a_deadline_stops_and_keeps(plane: &Plane) {
    plane
        .run(
            "deadline",
            "trap 'echo stopping; exit 7' TERM; echo ready; while :; do sleep 0.1; done",
            with(json!({})),
        )
        .await;
    let pod = plane.wait_phase("deadline", "Running").await;
    until_log(plane, &pod, "ready\n").await;
    let patch = Patch::Merge(json!({ "spec": { "activeDeadlineSeconds": 1 } }));
    plane
        .pods()
        .patch("deadline", &PatchParams::default(), &patch)
        .await
        .unwrap();
    let pod = plane.wait_end("deadline").await;
    assert_eq!((reason_of(&pod), end_of(&pod).exit_code), ("DeadlineExceeded", 7));
    assert_eq!(plane.text(&pod).await, "ready\nstopping\n");
    let tail = LogOptions {
        tail_lines: Some(1),
        timestamps: true,
        ..LogOptions::default()
    };
    let line = String::from_utf8(plane.log(&pod, tail).await.unwrap()).unwrap();
    let (time, text) = line.split_once(' ').unwrap();
    assert!(
        time.parse::<jiff::Timestamp>().is_ok() && text == "stopping\n",
        "{line}"
    );
    let limit = LogOptions {
        limit_bytes: Some(3),
        ..LogOptions::default()
    };
    assert_eq!(plane.log(&pod, limit).await.unwrap(), b"rea");
}

async fn logs_can_be_followed(plane: &Plane) {
    plane
        .run("talk", "echo one; sleep 1; printf two", with(json!({})))
        .await;
    let pod = plane.wait_phase("talk", "Running").await;
    let follow = LogOptions {
        follow: true,
        ..LogOptions::default()
    };
    assert_eq!(plane.log(&pod, follow).await.unwrap(), b"one\ntwo");
}

async fn a_restarted_node_cleans_up(plane: &mut Plane, engine: &Engine, index: usize) {
    plane.run("left", "sleep 1000", with(json!({}))).await;
    plane.wait_phase("left", "Running").await;
    plane.kill_node(index).await;
    plane.add_node(options(plane, engine));
    let pod = plane.wait_end("left").await;
    assert_eq!(reason_of(&pod), "NodeRestart");
    let docker = engine.client().negotiate_version().await.unwrap();
    assert_eq!(docker.list_containers(None).await.unwrap().len(), 0);
}
