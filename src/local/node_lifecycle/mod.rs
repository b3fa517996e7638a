//! What happens to nodes that fall silent and to their pods: the node lifecycle controller, the taint eviction
//! controller and the pod garbage collector of kube-controller-manager, as one small loop over a client.
//!
//! A node is judged by its Lease in `kube-node-lease`; how long it has been silent is counted on our own clock
//! from when we saw the Lease change, so that a restart of the plane gives every node its grace anew.

pub mod decide;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::local::events::{EventLevel, EventType, Events, reference};
use decide::{Health, health, leaves_at, ready_status, taints, with_condition};

/// Where node Leases live.
const LEASE_NAMESPACE: &str = "kube-node-lease";
/// One round takes no longer, or it is given up and begun again.
const ROUND_TIMEOUT: Duration = Duration::from_secs(30);

/// How patient the controller is.
#[derive(Clone, Copy, Debug)]
pub struct NodeLifecycleOptions {
    /// Silence after which a node counts as unreachable (`--node-monitor-grace-period`).
    pub grace: Duration,
    /// How often nodes are looked at (`--node-monitor-period`).
    pub every: Duration,
    /// How often pods of nodes that do not exist are looked for.
    pub gc_every: Duration,
    /// How long pods without a toleration of their own stay on a node that is not ready or not reachable.
    pub toleration: Duration,
    pub events: EventLevel,
}

impl Default for NodeLifecycleOptions {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(40),
            every: Duration::from_secs(5),
            gc_every: Duration::from_secs(20),
            toleration: Duration::from_secs(300),
            events: EventLevel::default(),
        }
    }
}

/// Watches over nodes until `shutdown` completes.
pub async fn run(client: Client, options: NodeLifecycleOptions, shutdown: impl Future<Output = ()> + Send) {
    let events = Events::start(client.clone(), "node-controller", None, options.events);
    let mut controller = Controller {
        client,
        options,
        events,
        seen: HashMap::new(),
        collected: None,
    };
    let work = async {
        loop {
            match tokio::time::timeout(ROUND_TIMEOUT, controller.round()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "nodes not looked after"),
                Err(_) => tracing::warn!("the API server is too slow to look after nodes"),
            }
            tokio::time::sleep(controller.options.every).await;
        }
    };
    tokio::select! {
        () = work => {}
        () = shutdown => {}
    }
}

struct Controller {
    client: Client,
    options: NodeLifecycleOptions,
    events: Events,
    /// Node uid -> the renewal last seen, and when it was seen first.
    seen: HashMap<String, (Option<Timestamp>, Timestamp)>,
    /// When pods of absent nodes were last looked for.
    collected: Option<Timestamp>,
}

fn span(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

impl Controller {
    async fn round(&mut self) -> kube::Result<()> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), LEASE_NAMESPACE);
        let nodes = nodes.list(&ListParams::default()).await?.items;
        let renewals: HashMap<String, Timestamp> = leases
            .list(&ListParams::default())
            .await?
            .items
            .into_iter()
            .filter_map(|lease| Some((lease.name_any(), lease.spec?.renew_time?.0)))
            .collect();
        let now = Timestamp::now();
        let uids: HashSet<String> = nodes
            .iter()
            .filter_map(|node| node.metadata.uid.clone())
            .collect();
        self.seen.retain(|uid, _| uids.contains(uid));
        for node in &nodes {
            let renewed = renewals.get(&node.name_any()).copied();
            let seen = self
                .seen
                .entry(node.metadata.uid.clone().unwrap_or_default())
                .or_insert((renewed, now));
            if seen.0 != renewed {
                *seen = (renewed, now);
            }
            let health = health(node, now.duration_since(seen.1), span(self.options.grace));
            self.look_after(node, health, now).await?;
        }
        if self
            .collected
            .is_none_or(|last| now.duration_since(last) >= span(self.options.gc_every))
        {
            self.collected = Some(now);
            self.collect(&nodes).await?;
        }
        Ok(())
    }

    async fn look_after(&self, node: &Node, health: Health, now: Timestamp) -> kube::Result<()> {
        let api: Api<Node> = Api::all(self.client.clone());
        let name = node.name_any();
        if health == Health::Unreachable && ready_status(node) != Some("Unknown") {
            let mut conditions = node
                .status
                .clone()
                .and_then(|status| status.conditions)
                .unwrap_or_default();
            for condition in &mut conditions {
                "Unknown".clone_into(&mut condition.status);
                condition.reason = Some("NodeStatusUnknown".to_owned());
                condition.message = Some("Kubelet stopped posting node status.".to_owned());
                condition.last_transition_time =
                    Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now));
            }
            let patch = Patch::Merge(json!({ "status": { "conditions": conditions } }));
            api.patch_status(&name, &PatchParams::default(), &patch).await?;
            let message = format!("Node {name} status is now: NodeNotReady");
            self.events
                .emit(reference(node, None), EventType::Normal, "NodeNotReady", message);
            tracing::warn!(node = %name, "node does not answer any more");
        }
        let fresh = taints(node, health, now);
        if let Some(taints) = &fresh {
            let patch = Patch::Merge(json!({ "spec": { "taints": taints } }));
            api.patch(&name, &PatchParams::default(), &patch).await?;
        }
        if health != Health::Ready {
            let has = node
                .spec
                .as_ref()
                .and_then(|spec| spec.taints.clone())
                .unwrap_or_default();
            self.look_after_pods(&name, &fresh.unwrap_or(has), now).await?;
        }
        Ok(())
    }

    async fn look_after_pods(
        &self,
        node: &str,
        taints: &[k8s_openapi::api::core::v1::Taint],
        now: Timestamp,
    ) -> kube::Result<()> {
        let all: Api<Pod> = Api::all(self.client.clone());
        let pods = all
            .list(&ListParams::default().fields(&format!("spec.nodeName={node}")))
            .await?
            .items;
        for pod in pods
            .iter()
            .filter(|pod| !is_over(pod) && pod.metadata.deletion_timestamp.is_none())
        {
            let leaves = leaves_at(pod, taints, span(self.options.toleration), now);
            if leaves.is_some_and(|leaves| leaves <= now) {
                let message = "Taint manager: deleting due to NoExecute taint";
                let conditions = with_condition(
                    pod,
                    "DisruptionTarget",
                    "True",
                    Some("DeletionByTaintManager"),
                    Some(message),
                    now,
                );
                self.change_status(
                    pod,
                    conditions.map(|conditions| json!({ "conditions": conditions })),
                )
                .await?;
                let text = format!(
                    "Marking for deletion Pod {}/{}",
                    pod.namespace().unwrap_or_default(),
                    pod.name_any()
                );
                self.events.emit(
                    reference(pod, None),
                    EventType::Normal,
                    "TaintManagerEviction",
                    text,
                );
                self.delete(pod, None).await?;
            } else if was_ready(pod) {
                let conditions = with_condition(pod, "Ready", "False", None, None, now);
                self.change_status(
                    pod,
                    conditions.map(|conditions| json!({ "conditions": conditions })),
                )
                .await?;
                let text = "Node is not ready".to_owned();
                self.events
                    .emit(reference(pod, None), EventType::Warning, "NodeNotReady", text);
            }
        }
        Ok(())
    }

    /// Pods of nodes that do not exist end Failed and go, also those that were waiting for their node to let go.
    async fn collect(&self, known: &[Node]) -> kube::Result<()> {
        let names: HashSet<String> = known.iter().map(ResourceExt::name_any).collect();
        let all: Api<Pod> = Api::all(self.client.clone());
        let nodes: Api<Node> = Api::all(self.client.clone());
        let now = Timestamp::now();
        let mut absent: HashMap<String, bool> = HashMap::new();
        for pod in all.list(&ListParams::default()).await?.items {
            let Some(name) = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()) else {
                continue;
            };
            if name.is_empty() || names.contains(&name) || (is_over(&pod) && is_let_go(&pod)) {
                continue;
            }
            let gone = match absent.get(&name) {
                Some(gone) => *gone,
                // The node may be younger than our list.
                None => nodes.get_metadata_opt(&name).await?.is_none(),
            };
            absent.insert(name, gone);
            if gone {
                if !is_over(&pod) {
                    let message = "PodGC: node no longer exists";
                    let conditions = with_condition(
                        &pod,
                        "DisruptionTarget",
                        "True",
                        Some("DeletionByPodGC"),
                        Some(message),
                        now,
                    );
                    let mut status = json!({ "phase": "Failed" });
                    if let (Some(conditions), Some(status)) = (conditions, status.as_object_mut()) {
                        status.insert("conditions".to_owned(), json!(conditions));
                    }
                    self.change_status(&pod, Some(status)).await?;
                }
                self.delete(&pod, Some(0)).await?;
            }
        }
        Ok(())
    }

    async fn change_status(&self, pod: &Pod, status: Option<Value>) -> kube::Result<()> {
        let Some(status) = status else { return Ok(()) };
        let patch = Patch::Merge(json!({ "metadata": { "uid": pod.metadata.uid }, "status": status }));
        let answer = self
            .api_of(pod)
            .patch_status(&pod.name_any(), &PatchParams::default(), &patch)
            .await;
        unless_gone(answer.map(|_| ()))
    }

    async fn delete(&self, pod: &Pod, grace: Option<u32>) -> kube::Result<()> {
        let params = DeleteParams {
            grace_period_seconds: grace,
            preconditions: Some(Preconditions {
                uid: pod.metadata.uid.clone(),
                ..Preconditions::default()
            }),
            ..DeleteParams::default()
        };
        unless_gone(
            self.api_of(pod)
                .delete(&pod.name_any(), &params)
                .await
                .map(|_| ()),
        )
    }

    fn api_of(&self, pod: &Pod) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default())
    }
}

fn unless_gone(answer: kube::Result<()>) -> kube::Result<()> {
    match answer {
        Err(kube::Error::Api(error)) if error.is_not_found() || error.is_conflict() => Ok(()),
        other => other,
    }
}

fn is_over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Deleted already, and only finalizers keep it.
fn is_let_go(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some() && pod.metadata.deletion_grace_period_seconds == Some(0)
}

fn was_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
