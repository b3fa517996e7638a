//! The Node object and its Lease: how the cluster knows that the node is there.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{Namespace, Node, NodeAddress, NodeCondition, NodeStatus, NodeSystemInfo};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference, Time};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};

use super::options::{NodeOptions, Shared};
use super::prepare::CALL_TIMEOUT;

/// Where node Leases live.
pub const LEASE_NAMESPACE: &str = "kube-node-lease";
/// The version of the kubelet whose behaviour this node follows.
pub const KUBELET_VERSION: &str = "v1.33.0";
/// Lease length that is written; a node is judged by its renewal time.
const LEASE_SECONDS: i32 = 40;

/// What the node has, by resource name: the machine's, then the options'.
pub fn capacity(options: &NodeOptions) -> BTreeMap<String, Quantity> {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let mut capacity: BTreeMap<String, Quantity> = BTreeMap::from([
        ("cpu".to_owned(), Quantity(cpus.to_string())),
        ("pods".to_owned(), Quantity(options.max_pods.to_string())),
    ]);
    if let Some(kibibytes) = memory() {
        capacity.insert("memory".to_owned(), Quantity(format!("{kibibytes}Ki")));
    }
    if let Ok(stat) = nix::sys::statvfs::statvfs(&options.folder) {
        let kibibytes = stat.blocks().saturating_mul(stat.fragment_size()) / 1024;
        capacity.insert("ephemeral-storage".to_owned(), Quantity(format!("{kibibytes}Ki")));
    }
    capacity.extend(
        options
            .capacity
            .iter()
            .map(|(name, amount)| (name.clone(), Quantity(amount.clone()))),
    );
    capacity
}

fn memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

fn first_line(path: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

fn os_image() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    line.map(|name| name.trim_matches('"').to_owned())
        .unwrap_or_else(|| "Linux".to_owned())
}

/// As Go names architectures, which is how labels have it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn labels(options: &NodeOptions) -> BTreeMap<String, String> {
    let mut labels: BTreeMap<String, String> = [
        ("kubernetes.io/hostname", options.name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", architecture()),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    labels.extend(options.labels.clone());
    labels
}

fn ready(now: Timestamp, since: Option<Time>, shutting_down: bool) -> NodeCondition {
    let (status, reason, message) = if shutting_down {
        ("False", "KubeletNotReady", "node is shutting down")
    } else {
        ("True", "KubeletReady", "kubelet is posting ready status")
    };
    NodeCondition {
        type_: "Ready".to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_heartbeat_time: Some(Time(now)),
        last_transition_time: since.or(Some(Time(now))),
    }
}

fn status(shared: &Shared, now: Timestamp, since: Option<Time>, shutting_down: bool) -> NodeStatus {
    let capacity = capacity(&shared.options);
    let address = |type_: &str, address: String| NodeAddress {
        type_: type_.to_owned(),
        address,
    };
    NodeStatus {
        addresses: Some(vec![
            address("InternalIP", shared.options.host_ip.to_string()),
            address("Hostname", shared.options.name.clone()),
        ]),
        allocatable: Some(capacity.clone()),
        capacity: Some(capacity),
        conditions: Some(vec![ready(now, since, shutting_down)]),
        node_info: Some(NodeSystemInfo {
            architecture: architecture().to_owned(),
            boot_id: first_line("/proc/sys/kernel/random/boot_id"),
            container_runtime_version: shared.runtime.version(),
            kernel_version: first_line("/proc/sys/kernel/osrelease"),
            kubelet_version: KUBELET_VERSION.to_owned(),
            kube_proxy_version: String::new(),
            machine_id: first_line("/etc/machine-id"),
            operating_system: "linux".to_owned(),
            os_image: os_image(),
            system_uuid: first_line("/etc/machine-id"),
            ..NodeSystemInfo::default()
        }),
        ..NodeStatus::default()
    }
}

/// Makes the Node, or brings an existing one up to date: labels, taints of the options, status.
pub async fn register(shared: &Shared) -> kube::Result<Node> {
    let api: Api<Node> = Api::all(shared.client.clone());
    let options = &shared.options;
    let now = Timestamp::now();
    let status = status(shared, now, None, false);
    let mut node = Node {
        metadata: ObjectMeta {
            name: Some(options.name.clone()),
            labels: Some(labels(options)),
            ..ObjectMeta::default()
        },
        ..Node::default()
    };
    if !options.taints.is_empty() {
        node.spec.get_or_insert_default().taints = Some(options.taints.clone());
    }
    match api.create(&PostParams::default(), &node).await {
        Ok(_) => {}
        Err(kube::Error::Api(error)) if error.is_already_exists() => {
            let patch = Patch::Merge(serde_json::json!({
                "metadata": { "labels": node.metadata.labels },
                // Taints that others put while the node was away go as well: it is here again.
                "spec": { "taints": options.taints },
            }));
            api.patch(&options.name, &PatchParams::default(), &patch).await?;
        }
        Err(error) => return Err(error),
    }
    let patch = Patch::Merge(serde_json::json!({ "status": status }));
    api.patch_status(&options.name, &PatchParams::default(), &patch)
        .await
}

/// Renews the Lease and repairs the Node, for as long as it is polled.
pub async fn keep_alive(shared: &Shared) {
    ensure_namespace(&shared.client).await;
    loop {
        if tokio::time::timeout(CALL_TIMEOUT, beat(shared)).await.is_err() {
            tracing::warn!(node = %shared.options.name, "the API server does not answer the node's heartbeat");
        }
        tokio::time::sleep(jittered(shared.options.lease_every)).await;
    }
}

/// A little earlier than asked for, differently each time, so that nodes do not beat in step.
fn jittered(period: Duration) -> Duration {
    period.mul_f64(0.96 + f64::from(uuid::Uuid::new_v4().into_bytes()[0]) / 6400.0)
}

async fn beat(shared: &Shared) {
    let name = &shared.options.name;
    let nodes: Api<Node> = Api::all(shared.client.clone());
    let node = match nodes.get_opt(name).await {
        Ok(Some(node)) if is_ready(&node) => Ok(node),
        Ok(Some(_)) => {
            let patch =
                Patch::Merge(serde_json::json!({ "status": status(shared, Timestamp::now(), None, false) }));
            nodes.patch_status(name, &PatchParams::default(), &patch).await
        }
        Ok(None) => register(shared).await,
        Err(error) => Err(error),
    };
    let renewed = match &node {
        Ok(node) => renew(shared, node).await,
        Err(_) => Ok(()),
    };
    for error in [node.err(), renewed.err()].into_iter().flatten() {
        tracing::warn!(%error, node = %name, "heartbeat of the node not written");
    }
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

async fn renew(shared: &Shared, node: &Node) -> kube::Result<()> {
    let name = &shared.options.name;
    let api: Api<Lease> = Api::namespaced(shared.client.clone(), LEASE_NAMESPACE);
    let spec = LeaseSpec {
        holder_identity: Some(name.clone()),
        lease_duration_seconds: Some(LEASE_SECONDS),
        renew_time: Some(MicroTime(Timestamp::now())),
        ..LeaseSpec::default()
    };
    let patch = Patch::Merge(serde_json::json!({ "spec": spec }));
    match api.patch(name, &PatchParams::default(), &patch).await {
        Err(kube::Error::Api(error)) if error.is_not_found() => {
            let owner = OwnerReference {
                api_version: "v1".to_owned(),
                kind: "Node".to_owned(),
                name: name.clone(),
                uid: node.metadata.uid.clone().unwrap_or_default(),
                ..OwnerReference::default()
            };
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(name.clone()),
                    namespace: Some(LEASE_NAMESPACE.to_owned()),
                    owner_references: Some(vec![owner]),
                    ..ObjectMeta::default()
                },
                spec: Some(spec),
            };
            api.create(&PostParams::default(), &lease).await.map(|_| ())
        }
        other => other.map(|_| ()),
    }
}

async fn ensure_namespace(client: &Client) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = Namespace {
        metadata: ObjectMeta {
            name: Some(LEASE_NAMESPACE.to_owned()),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    };
    match namespaces.create(&PostParams::default(), &namespace).await {
        Ok(_) => {}
        Err(kube::Error::Api(error)) if error.is_already_exists() => {}
        Err(error) => tracing::debug!(%error, "namespace of node leases not made"),
    }
}

/// Tells that the node goes away on purpose, so that nothing is sent to it any more. Best effort.
pub async fn say_goodbye(shared: &Shared) {
    let api: Api<Node> = Api::all(shared.client.clone());
    let conditions = vec![ready(Timestamp::now(), None, true)];
    let patch = Patch::Merge(serde_json::json!({ "status": { "conditions": conditions } }));
    let params = PatchParams::default();
    let _ = tokio::time::timeout(
        Duration::from_millis(500),
        api.patch_status(&shared.options.name, &params, &patch),
    )
    .await;
}
