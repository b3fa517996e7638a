//! Node objects and their leases.

use std::time::Duration;

use k8s_openapi::{
    api::{coordination::v1::Lease, core::v1::Node},
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

/// As a kubelet does; controllers take a node for lost after 20 s and more.
const RENEW_EVERY: Duration = Duration::from_secs(5);
const LEASES: &str = "kube-node-lease";

pub fn name(number: usize) -> String {
    format!("hollow-{number}")
}

pub async fn register(client: &Client, count: usize) {
    let api: Api<Node> = Api::all(client.clone());
    for number in 0..count {
        let capacity =
            json!({"cpu": "1000", "memory": "4000Gi", "ephemeral-storage": "4000Gi", "pods": "10000"});
        let now = now();
        let condition = |type_: &str, status: &str| {
            json!({
                "type": type_, "status": status, "reason": "Hollow",
                "lastHeartbeatTime": now, "lastTransitionTime": now,
            })
        };
        let node = json!({
            "metadata": {"name": name(number), "labels": {"kubernetes.io/hostname": name(number), "type": "hollow"}},
            "status": {
                "capacity": capacity, "allocatable": capacity,
                "conditions": [
                    condition("Ready", "True"), condition("MemoryPressure", "False"),
                    condition("DiskPressure", "False"), condition("PIDPressure", "False"),
                ],
                "addresses": [{"type": "Hostname", "address": name(number)}],
            },
        });
        let node = serde_json::from_value(node).unwrap();
        api.create(&PostParams::default(), &node).await.unwrap();
    }
}

/// Renews the leases until it is dropped.
pub async fn renew(client: Client, count: usize) {
    let api: Api<Lease> = Api::namespaced(client, LEASES);
    let params = PatchParams::apply("hollow").force();
    let mut turns = tokio::time::interval(RENEW_EVERY);
    loop {
        turns.tick().await;
        for number in 0..count {
            let name = name(number);
            let lease = json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name},
                "spec": {
                    "holderIdentity": name, "leaseDurationSeconds": 40,
                    "renewTime": Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string(),
                },
            });
            if let Err(error) = api.patch(&name, &params, &Patch::Apply(lease)).await {
                eprintln!("hollow nodes: lease {name}: {error}");
            }
        }
    }
}

/// Waits until the controller manager has taken the first taint off all nodes.
pub async fn schedulable(client: &Client, count: usize) {
    let api: Api<Node> = Api::all(client.clone());
    loop {
        let nodes = api
            .list(&ListParams::default().labels("type=hollow"))
            .await
            .unwrap();
        let free = |node: &&Node| {
            node.spec
                .as_ref()
                .is_none_or(|spec| spec.taints.as_ref().is_none_or(Vec::is_empty))
        };
        if nodes.items.iter().filter(free).count() == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The time as Kubernetes writes it: whole seconds.
pub fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
