//! The scheduler: gives pending pods a node, as kube-scheduler does, through a client only.
//!
//! [`place`](place::place) decides purely; [`queue`] remembers who waits; here are the watches and the
//! two writes: the binding, or the condition PodScheduled=False with an Event FailedScheduling. A pod that
//! fits nowhere is tried again when a node changes or another pod ends, never on a clock.

pub mod place;
pub mod queue;
pub mod resources;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{Binding, Node, ObjectReference, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use kube_runtime::{WatchStreamExt, watcher};
use tokio::task::JoinSet;

use crate::local::events::{EventLevel, EventType, Events, reference};
use place::Placement;
use queue::{Cluster, Decision};

/// No write takes longer than this.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// How the scheduler works.
#[derive(Clone, Debug)]
pub struct SchedulerOptions {
    /// The `spec.schedulerName` it serves.
    pub name: String,
    /// Writes (bindings, conditions) under way at once.
    pub concurrency: usize,
    /// How long a pod rests after a failed write.
    pub retry_after: Duration,
    /// Which Events are written.
    pub events: EventLevel,
}

impl Default for SchedulerOptions {
    fn default() -> Self {
        Self {
            name: "default-scheduler".to_owned(),
            concurrency: 16,
            retry_after: Duration::from_secs(1),
            events: EventLevel::default(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error("write to the API server")]
    Api(#[source] kube::Error),
    #[error("the API server did not answer within {WRITE_TIMEOUT:?}")]
    Timeout,
}

/// What a finished write or rest means for the queue.
enum Done {
    Nothing,
    BindFailed {
        uid: String,
        pod: Arc<Pod>,
    },
    /// The pod is gone, or someone else bound it: the watch tells what there is to know.
    BindRefused {
        uid: String,
        node: String,
    },
    Refused {
        uid: String,
        written: bool,
    },
    Rested {
        uid: String,
    },
}

/// Schedules until `shutdown` completes.
pub async fn run(client: Client, options: SchedulerOptions, shutdown: impl Future<Output = ()> + Send) {
    let events = Events::start(client.clone(), &options.name, None, options.events);
    let pods = watcher(Api::<Pod>::all(client.clone()), watcher::Config::default()).default_backoff();
    let nodes = watcher(Api::<Node>::all(client.clone()), watcher::Config::default()).default_backoff();
    let scheduler = Scheduler {
        client,
        cluster: Cluster::new(&options.name),
        options,
        events,
        work: JoinSet::new(),
        pods_known: false,
        nodes_known: false,
        relisted: HashSet::new(),
        relisted_nodes: HashSet::new(),
    };
    tokio::select! {
        () = scheduler.serve(pods, nodes) => {}
        () = shutdown => {}
    }
}

struct Scheduler {
    client: Client,
    options: SchedulerOptions,
    events: Events,
    cluster: Cluster,
    work: JoinSet<Done>,
    pods_known: bool,
    nodes_known: bool,
    relisted: HashSet<String>,
    relisted_nodes: HashSet<String>,
}

impl Scheduler {
    async fn serve(
        mut self,
        pods: impl Stream<Item = watcher::Result<watcher::Event<Pod>>>,
        nodes: impl Stream<Item = watcher::Result<watcher::Event<Node>>>,
    ) {
        futures::pin_mut!(pods, nodes);
        loop {
            tokio::select! {
                Some(event) = pods.next() => self.on_pod(event),
                Some(event) = nodes.next() => self.on_node(event),
                Some(done) = self.work.join_next(), if !self.work.is_empty() => self.on_done(done),
            }
            self.schedule();
        }
    }

    fn on_pod(&mut self, event: watcher::Result<watcher::Event<Pod>>) {
        match event {
            Ok(watcher::Event::Init) => self.relisted.clear(),
            Ok(watcher::Event::InitApply(pod)) => {
                self.relisted.insert(pod.metadata.uid.clone().unwrap_or_default());
                self.cluster.apply_pod(pod);
            }
            Ok(watcher::Event::InitDone) => {
                self.cluster.retain_pods(&std::mem::take(&mut self.relisted));
                self.pods_known = true;
            }
            Ok(watcher::Event::Apply(pod)) => self.cluster.apply_pod(pod),
            Ok(watcher::Event::Delete(pod)) => self
                .cluster
                .delete_pod(pod.metadata.uid.as_deref().unwrap_or_default()),
            Err(error) => tracing::warn!(%error, "pod watch interrupted"),
        }
    }

    fn on_node(&mut self, event: watcher::Result<watcher::Event<Node>>) {
        match event {
            Ok(watcher::Event::Init) => self.relisted_nodes.clear(),
            Ok(watcher::Event::InitApply(node)) => {
                self.relisted_nodes
                    .insert(node.metadata.name.clone().unwrap_or_default());
                self.cluster.apply_node(&node);
            }
            Ok(watcher::Event::InitDone) => {
                self.cluster
                    .retain_nodes(&std::mem::take(&mut self.relisted_nodes));
                self.nodes_known = true;
            }
            Ok(watcher::Event::Apply(node)) => self.cluster.apply_node(&node),
            Ok(watcher::Event::Delete(node)) => {
                self.cluster
                    .delete_node(node.metadata.name.as_deref().unwrap_or_default());
            }
            Err(error) => tracing::warn!(%error, "node watch interrupted"),
        }
    }

    fn on_done(&mut self, done: Result<Done, tokio::task::JoinError>) {
        match done {
            Ok(Done::Nothing) => {}
            Ok(Done::BindFailed { uid, pod }) => {
                self.cluster.unbind(&uid, pod);
                let rest = self.options.retry_after;
                self.work.spawn(async move {
                    tokio::time::sleep(rest).await;
                    Done::Rested { uid }
                });
            }
            Ok(Done::BindRefused { uid, node }) => self.cluster.forget_binding(&uid, &node),
            Ok(Done::Refused { uid, written }) => self.cluster.refused(&uid, written),
            Ok(Done::Rested { uid }) => self.cluster.retry(&uid),
            Err(error) => tracing::error!(%error, "scheduler write panicked"),
        }
    }

    /// Decides for as many pods as there is room for writes; the end of a write calls again.
    fn schedule(&mut self) {
        if !self.pods_known || !self.nodes_known {
            return;
        }
        while self.work.len() < self.options.concurrency {
            let Some(decision) = self.cluster.decide_next() else {
                return;
            };
            if decision.news {
                self.act(decision);
            }
        }
    }

    fn act(&mut self, decision: Decision) {
        let Decision {
            uid, pod, placement, ..
        } = decision;
        let client = self.client.clone();
        let events = self.events.clone();
        match placement {
            Placement::Node(node) => self.work.spawn(async move {
                match in_time(bind(&client, &pod, &node)).await {
                    Ok(()) => {
                        let name = name_of(&pod);
                        let message = format!("Successfully assigned {name} to {node}");
                        events.emit(reference(&*pod, None), EventType::Normal, "Scheduled", message);
                        Done::Nothing
                    }
                    Err(WriteError::Api(error)) if is_settled(&error) => Done::BindRefused { uid, node },
                    Err(error) => {
                        tracing::warn!(error = &error as &dyn std::error::Error, pod = %name_of(&pod), "pod not bound");
                        Done::BindFailed { uid, pod }
                    }
                }
            }),
            Placement::Nowhere(message) => self.work.spawn(async move {
                events.emit(reference(&*pod, None), EventType::Warning, "FailedScheduling", message.clone());
                let refused = in_time(refuse(&client, &pod, &message)).await;
                if let Err(error) = &refused {
                    tracing::debug!(error = error as &dyn std::error::Error, pod = %name_of(&pod), "condition not written");
                }
                Done::Refused { uid, written: refused.is_ok() }
            }),
        };
    }
}

fn is_settled(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_not_found() || status.is_conflict())
}

fn name_of(pod: &Pod) -> String {
    let meta = &pod.metadata;
    format!(
        "{}/{}",
        meta.namespace.as_deref().unwrap_or("default"),
        meta.name.as_deref().unwrap_or_default()
    )
}

async fn in_time<T>(write: impl Future<Output = Result<T, WriteError>>) -> Result<T, WriteError> {
    tokio::time::timeout(WRITE_TIMEOUT, write)
        .await
        .unwrap_or(Err(WriteError::Timeout))
}

fn api_of(client: &Client, pod: &Pod) -> Api<Pod> {
    Api::namespaced(
        client.clone(),
        pod.metadata.namespace.as_deref().unwrap_or("default"),
    )
}

/// `POST pods/NAME/binding`: the API server sets `spec.nodeName` and the condition PodScheduled.
async fn bind(client: &Client, pod: &Pod, node: &str) -> Result<(), WriteError> {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let binding = Binding {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: pod.metadata.namespace.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectMeta::default()
        },
        target: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Node".to_owned()),
            name: Some(node.to_owned()),
            ..ObjectReference::default()
        },
    };
    let answer: Result<serde_json::Value, kube::Error> = api_of(client, pod)
        .create_subresource("binding", &name, &PostParams::default(), &binding)
        .await;
    answer.map(|_| ()).map_err(WriteError::Api)
}

/// Writes PodScheduled=False; the other conditions stay as they are.
async fn refuse(client: &Client, pod: &Pod, message: &str) -> Result<(), WriteError> {
    let known = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.clone())
        .unwrap_or_default();
    let (ours, mut conditions): (Vec<_>, Vec<_>) = known
        .into_iter()
        .partition(|condition| condition.type_ == "PodScheduled");
    let since = ours.first().filter(|condition| condition.status == "False");
    conditions.push(PodCondition {
        type_: "PodScheduled".to_owned(),
        status: "False".to_owned(),
        reason: Some("Unschedulable".to_owned()),
        message: Some(message.to_owned()),
        last_transition_time: since
            .and_then(|condition| condition.last_transition_time.clone())
            .or(Some(Time(Timestamp::now()))),
        ..PodCondition::default()
    });
    let patch = serde_json::json!({
        "metadata": { "uid": pod.metadata.uid },
        "status": { "conditions": conditions },
    });
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let answer = api_of(client, pod)
        .patch_status(name, &PatchParams::default(), &Patch::Merge(patch))
        .await;
    answer.map(|_| ()).map_err(WriteError::Api)
}
