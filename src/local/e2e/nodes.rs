//! Several nodes, lost nodes, restarted nodes, and pods that share a port.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::plane::{PATIENCE, Plane, end_of, phase_of, reason_of};
use crate::local::events::EventLevel;
use crate::local::node::runtime::process::leftovers;
use crate::local::node_lifecycle::{self, NodeLifecycleOptions};

pub async fn until_node(plane: &Plane, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let nodes: Api<Node> = Api::all(plane.client.clone());
    let look = async {
        loop {
            if let Some(node) = nodes.get_opt(name).await.unwrap() {
                let node = serde_json::to_value(node).unwrap();
                if wanted(&node) {
                    return node;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.unwrap()
}

pub fn ready(node: &Value) -> &str {
    node["status"]["conditions"]
        .as_array()
        .and_then(|all| all[0]["status"].as_str())
        .unwrap_or("")
}

#[tokio::test]
async fn pods_go_to_the_node_whose_labels_they_ask_for_and_wait_for_it() {
    let mut plane = Plane::bare().await;
    let latency = |bound: &str| {
        json!({ "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [
            { "matchExpressions": [{ "key": "example.com/latency", "operator": "Lt", "values": [bound] }] }] } } } })
    };
    plane.run("near", "true", latency("20")).await;
    let unschedulable = |words: &'static str| {
        move |pod: Option<&Pod>| {
            let conditions = pod
                .and_then(|pod| pod.status.as_ref())
                .and_then(|status| status.conditions.as_ref());
            conditions.into_iter().flatten().any(|condition| {
                condition.reason.as_deref() == Some("Unschedulable")
                    && condition.message.as_deref() == Some(words)
            })
        }
    };
    plane
        .wait_for(
            "near",
            "unschedulable",
            unschedulable("no nodes available to schedule pods"),
        )
        .await;
    for (name, latency) in [("far", "80"), ("close", "5")] {
        let mut options = plane.options(name);
        options
            .labels
            .insert("example.com/latency".to_owned(), latency.to_owned());
        options
            .capacity
            .insert("example.com/gpu".to_owned(), "1".to_owned());
        plane.add_node(options);
    }
    let near = plane.wait_end("near").await;
    assert_eq!(near.spec.unwrap().node_name.as_deref(), Some("close"));
    until_node(&plane, "far", |node| ready(node) == "True").await;
    plane
        .run(
            "greedy",
            "true",
            json!({ "task": { "resources": { "limits": { "example.com/gpu": "2" } } } }),
        )
        .await;
    let words = "0/2 nodes are available: 2 Insufficient example.com/gpu.";
    plane
        .wait_for("greedy", "unschedulable", unschedulable(words))
        .await;
    plane.stop().await;
}

#[tokio::test]
async fn pods_of_a_lost_node_are_deleted_and_go_with_it() {
    let mut plane = Plane::bare().await;
    let options = plane.options("doomed");
    let index = plane.add_node(options);
    let lifecycle = NodeLifecycleOptions {
        grace: Duration::from_millis(1500),
        every: Duration::from_millis(100),
        gc_every: Duration::from_millis(100),
        toleration: Duration::from_millis(500),
        events: EventLevel::All,
    };
    let controller = tokio::spawn(node_lifecycle::run(
        plane.client.clone(),
        lifecycle,
        std::future::pending::<()>(),
    ));
    plane.run("lost", "sleep 1000", json!({})).await;
    plane
        .run(
            "loyal",
            "sleep 1000",
            json!({ "tolerations": [{ "operator": "Exists" }] }),
        )
        .await;
    let lost = plane.wait_phase("lost", "Running").await;
    let loyal = plane.wait_phase("loyal", "Running").await;
    let uids = [lost, loyal].map(|pod| pod.metadata.uid.unwrap());
    plane.kill_node(index).await;
    let node = until_node(&plane, "doomed", |node| {
        ready(node) == "Unknown" && node["spec"]["taints"].is_array()
    })
    .await;
    assert_eq!(node["spec"]["taints"][1]["key"], "node.kubernetes.io/unreachable");
    assert_eq!(node["spec"]["taints"][1]["effect"], "NoExecute");
    let terminating = |pod: Option<&Pod>| pod.is_some_and(|pod| pod.metadata.deletion_timestamp.is_some());
    let seen = plane.wait_for("lost", "terminating", terminating).await.unwrap();
    assert_eq!(phase_of(&seen), "Running");
    let conditions = serde_json::to_value(seen.status.unwrap().conditions).unwrap();
    let reasons: Vec<&str> = conditions
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one["reason"].as_str())
        .collect();
    assert!(reasons.contains(&"DeletionByTaintManager"), "{conditions}");
    let loyal = plane.pods().get("loyal").await.unwrap();
    assert!(loyal.metadata.deletion_timestamp.is_none());
    let nodes: Api<Node> = Api::all(plane.client.clone());
    nodes.delete("doomed", &Default::default()).await.unwrap();
    plane.wait_gone("lost").await;
    plane.wait_gone("loyal").await;
    controller.abort();
    leftovers::kill_marked(|one| uids.iter().any(|uid| one.container.starts_with(uid)));
    plane.stop().await;
}

#[tokio::test]
async fn a_node_that_comes_back_is_ready_again() {
    let mut plane = Plane::bare().await;
    let lifecycle = NodeLifecycleOptions {
        grace: Duration::from_millis(800),
        every: Duration::from_millis(100),
        ..NodeLifecycleOptions::default()
    };
    let controller = tokio::spawn(node_lifecycle::run(
        plane.client.clone(),
        lifecycle,
        std::future::pending::<()>(),
    ));
    let index = plane.add_node(plane.options("n"));
    until_node(&plane, "n", |node| ready(node) == "True").await;
    plane.kill_node(index).await;
    until_node(&plane, "n", |node| ready(node) == "Unknown").await;
    plane.add_node(plane.options("n"));
    until_node(&plane, "n", |node| {
        ready(node) == "True" && node["spec"]["taints"].as_array().is_none_or(Vec::is_empty)
    })
    .await;
    plane.run("after", "true", json!({})).await;
    assert_eq!(phase_of(&plane.wait_end("after").await), "Succeeded");
    controller.abort();
    plane.stop().await;
}

#[tokio::test]
async fn a_pod_that_ran_before_its_node_restarted_fails_and_is_not_started_again() {
    let mut plane = Plane::bare().await;
    let index = plane.add_node(plane.options("n"));
    let starts = plane.folder.path().join("starts");
    let script = format!("echo start >> {}; sleep 1000", starts.display());
    plane.run("once", &script, json!({})).await;
    let pod = plane.wait_phase("once", "Running").await;
    let read = async {
        while std::fs::read_to_string(&starts).unwrap_or_default() != "start\n" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap();
    plane.kill_node(index).await;
    let uid = pod.metadata.uid.clone().unwrap();
    leftovers::kill_marked(|one| one.container.starts_with(&uid));
    plane.add_node(plane.options("n"));
    let pod = plane.wait_end("once").await;
    assert_eq!((phase_of(&pod), reason_of(&pod)), ("Failed", "NodeRestart"));
    let end = end_of(&pod);
    assert_eq!(
        (end.exit_code, end.reason.as_deref()),
        (137, Some("ContainerStatusUnknown"))
    );
    assert!(end.started_at.is_some());
    assert_eq!(std::fs::read_to_string(&starts).unwrap(), "start\n");
    plane.stop().await;
}

#[tokio::test]
async fn http_pods_with_the_same_port_run_at_once() {
    let plane = Plane::new().await;
    let script = "import http.server, os\n\
        class H(http.server.BaseHTTPRequestHandler):\n\
        \x20   def do_GET(self):\n\
        \x20       body = os.environ['NAME'].encode()\n\
        \x20       self.send_response(200); self.send_header('Content-Length', str(len(body))); self.end_headers(); self.wfile.write(body)\n\
        http.server.HTTPServer(('', int(os.environ['PORT'])), H).serve_forever()\n";
    for name in ["web-1", "web-2", "web-3"] {
        let env = json!([{ "name": "PORT", "value": "8080" }, { "name": "NAME", "value": name }]);
        plane
            .run(
                name,
                "",
                json!({ "task": {
                    "command": ["python3", "-c", script], "env": env,
                    "ports": [{ "containerPort": 8080 }],
                    "readinessProbe": { "httpGet": { "path": "/", "port": 8080 } },
                } }),
            )
            .await;
    }
    let ready = |pod: Option<&Pod>| {
        let status = pod
            .and_then(|pod| pod.status.as_ref())
            .and_then(|status| status.container_statuses.as_ref());
        status.is_some_and(|statuses| statuses[0].ready)
    };
    for name in ["web-1", "web-2", "web-3"] {
        let pod = plane.wait_for(name, "ready", ready).await.unwrap();
        let ip = pod.status.unwrap().pod_ip.unwrap();
        let mut stream = TcpStream::connect(format!("{ip}:8080")).await.unwrap();
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with(&format!("\r\n\r\n{name}")), "{answer}");
    }
    plane.stop().await;
}
