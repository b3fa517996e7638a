//! The node as a whole: its registration, and one task per pod bound to it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use kube_runtime::{WatchStreamExt, watcher};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::logs::NodeLogs;
use super::options::{NodeOptions, RuntimeChoice, Shared};
use super::runtime::docker::DockerRuntime;
use super::runtime::process::{ProcessRuntime, prepare_folder};
use super::runtime::{PodKey, Runtime, RuntimeError};
use super::worker::{self, Update};
use super::{prepare, register};
use crate::local::events::Events;
use crate::local::scheduler::resources::Resources;

/// After the containers' grace, final statuses may take so long before the node stops waiting for them.
const FAREWELL: Duration = Duration::from_millis(1500);
/// Pause between tries to register.
const REGISTER_PAUSE: Duration = Duration::from_millis(500);

/// Why a node cannot work.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error("could not set up the container runtime of node {node}")]
    Runtime {
        node: String,
        #[source]
        source: RuntimeError,
    },
}

/// A node whose container runtime is there and which does nothing yet.
pub struct Node {
    shared: Arc<Shared>,
}

impl Node {
    /// Finds the container runtime, and clears away what an earlier node left behind.
    ///
    /// # Errors
    /// If the runtime that was asked for is not there, or the node's folder cannot be made.
    pub async fn set_up(client: Client, options: NodeOptions) -> Result<Self, NodeError> {
        let node = options.name.clone();
        let shared = set_up(client, options)
            .await
            .map_err(|source| NodeError::Runtime { node, source })?;
        Ok(Self { shared })
    }

    /// Runs the node until `shutdown` completes; then stops its containers (SIGTERM, `shutdown_grace`, SIGKILL),
    /// writes their pods' last statuses, and leaves no process behind. Dropping the future instead is the sudden
    /// death of the node: nothing is written, and its containers run on until a next node's start.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        let shared = self.shared;
        let router = shared.options.logs.clone();
        router.register(&shared.options.name, Arc::new(shared.logs.clone()));
        let pods = Api::<Pod>::all(shared.client.clone());
        let config = watcher::Config::default().fields(&format!("spec.nodeName={}", shared.options.name));
        let mut kubelet = Kubelet {
            shared: shared.clone(),
            pods: HashMap::new(),
            workers: JoinSet::new(),
            relisted: HashSet::new(),
            stop: CancellationToken::new(),
        };
        tokio::select! {
            () = shutdown => {}
            () = async {
                register_until_done(&shared).await;
                tokio::join!(register::keep_alive(&shared), kubelet.serve(watcher(pods, config).default_backoff()));
            } => {}
        }
        kubelet.stop().await;
        router.unregister(&shared.options.name);
    }
}

/// [`Node::set_up`] and [`Node::run`] in one.
///
/// # Errors
/// As [`Node::set_up`].
pub async fn run(
    client: Client,
    options: NodeOptions,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), NodeError> {
    Node::set_up(client, options).await?.run(shutdown).await;
    Ok(())
}

async fn set_up(client: Client, options: NodeOptions) -> Result<Arc<Shared>, RuntimeError> {
    prepare_folder(&options.folder.join("pods"))?;
    let runtime = choose(&options).await?;
    let leftovers = runtime.clean_leftovers().await?;
    if leftovers > 0 {
        tracing::warn!(leftovers, "ended containers that an earlier node left behind");
    }
    tracing::info!(node = %options.name, runtime = runtime.name(), "node starts");
    let events = Events::start(client.clone(), "kubelet", Some(&options.name), options.events);
    let allocatable = Resources::of(&register::capacity(&options));
    let logs = NodeLogs::new(options.folder.join("pods"));
    Ok(Arc::new(Shared {
        client,
        runtime,
        events,
        logs,
        allocatable,
        options,
    }))
}

async fn choose(options: &NodeOptions) -> Result<Runtime, RuntimeError> {
    let process = || Ok(Runtime::Process(ProcessRuntime::new(options.process.clone())));
    match options.runtime {
        RuntimeChoice::Process => process(),
        RuntimeChoice::Docker => {
            DockerRuntime::connect(options.docker_host.as_deref(), &options.name, &options.folder)
                .await
                .map(|docker| Runtime::Docker(Box::new(docker)))
        }
        RuntimeChoice::Auto => {
            match DockerRuntime::connect(options.docker_host.as_deref(), &options.name, &options.folder).await
            {
                Ok(docker) => Ok(Runtime::Docker(Box::new(docker))),
                Err(error) => {
                    tracing::info!(error = &error as &dyn std::error::Error, "no container engine");
                    process()
                }
            }
        }
    }
}

async fn register_until_done(shared: &Shared) {
    loop {
        match tokio::time::timeout(prepare::CALL_TIMEOUT, register::register(shared)).await {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => tracing::warn!(%error, node = %shared.options.name, "node not registered"),
            Err(_) => tracing::warn!(node = %shared.options.name, "node not registered in time"),
        }
        tokio::time::sleep(REGISTER_PAUSE).await;
    }
}

struct Known {
    key: PodKey,
    updates: watch::Sender<Update>,
    working: bool,
}

struct Kubelet {
    shared: Arc<Shared>,
    /// By uid; kept until the object is gone.
    pods: HashMap<String, Known>,
    /// Each resolves to the uid of its pod.
    workers: JoinSet<String>,
    relisted: HashSet<String>,
    stop: CancellationToken,
}

impl Kubelet {
    async fn serve(&mut self, pods: impl Stream<Item = watcher::Result<watcher::Event<Pod>>>) {
        futures::pin_mut!(pods);
        loop {
            tokio::select! {
                Some(event) = pods.next() => self.on_event(event),
                Some(done) = self.workers.join_next(), if !self.workers.is_empty() => match done {
                    Ok(uid) => self.on_done(&uid),
                    Err(error) => tracing::error!(%error, "the task of a pod panicked"),
                },
            }
        }
    }

    fn on_event(&mut self, event: watcher::Result<watcher::Event<Pod>>) {
        match event {
            Ok(watcher::Event::Init) => self.relisted.clear(),
            Ok(watcher::Event::InitApply(pod)) => {
                self.relisted.insert(pod.metadata.uid.clone().unwrap_or_default());
                self.on_pod(pod);
            }
            Ok(watcher::Event::InitDone) => {
                let listed = std::mem::take(&mut self.relisted);
                let gone: Vec<String> = self
                    .pods
                    .keys()
                    .filter(|uid| !listed.contains(*uid))
                    .cloned()
                    .collect();
                gone.iter().for_each(|uid| self.on_gone(uid));
            }
            Ok(watcher::Event::Apply(pod)) => self.on_pod(pod),
            Ok(watcher::Event::Delete(pod)) => self.on_gone(pod.metadata.uid.as_deref().unwrap_or_default()),
            Err(error) => tracing::warn!(%error, node = %self.shared.options.name, "pod watch interrupted"),
        }
    }

    fn on_pod(&mut self, pod: Pod) {
        let meta = &pod.metadata;
        let key = PodKey {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
        };
        let pod = Arc::new(pod);
        if let Some(known) = self.pods.get(&key.uid) {
            let working = known.working;
            known.updates.send_replace(Update {
                pod: pod.clone(),
                gone: false,
            });
            if !working {
                self.let_go(&key, &pod);
            }
            return;
        }
        let over = is_over(&pod);
        let (updates, receiver) = watch::channel(Update {
            pod: pod.clone(),
            gone: false,
        });
        self.pods.insert(
            key.uid.clone(),
            Known {
                key: key.clone(),
                updates,
                working: !over,
            },
        );
        if over {
            self.let_go(&key, &pod);
            return;
        }
        let lost = has_started(&pod) || prepare::was_started(&self.shared, &key.uid);
        let (shared, stop) = (self.shared.clone(), self.stop.clone());
        self.workers.spawn(async move {
            let uid = key.uid.clone();
            worker::run(shared, key, receiver, lost, stop).await;
            uid
        });
    }

    /// A pod that has ended here already and is being deleted: nothing is left to wait for.
    fn let_go(&self, key: &PodKey, pod: &Pod) {
        let meta = &pod.metadata;
        if meta.deletion_timestamp.is_some() && meta.deletion_grace_period_seconds != Some(0) {
            let (shared, key) = (self.shared.clone(), key.clone());
            tokio::spawn(async move { worker::complete_deletion(&shared, &key).await });
        }
    }

    fn on_done(&mut self, uid: &str) {
        let Some(known) = self.pods.get_mut(uid) else {
            return;
        };
        known.working = false;
        let Update { pod, gone } = known.updates.borrow().clone();
        let key = known.key.clone();
        if gone {
            self.forget(uid);
        } else {
            self.let_go(&key, &pod);
        }
    }

    fn on_gone(&mut self, uid: &str) {
        let Some(known) = self.pods.get(uid) else { return };
        known.updates.send_modify(|update| update.gone = true);
        if !known.working {
            self.forget(uid);
        }
    }

    /// Clears away what is left of a pod whose object is gone and whose containers have ended.
    fn forget(&mut self, uid: &str) {
        let Some(known) = self.pods.remove(uid) else {
            return;
        };
        self.shared.logs.remove_pod(uid);
        let shared = self.shared.clone();
        tokio::spawn(async move {
            shared.runtime.remove_pod(&known.key).await;
            let folder = shared.pod_folder(&known.key.uid);
            match tokio::fs::remove_dir_all(&folder).await {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::warn!(%error, folder = %folder.display(), "folder of a pod not removed")
                }
            }
        });
    }

    async fn stop(&mut self) {
        self.stop.cancel();
        let farewell = self.shared.options.shutdown_grace + FAREWELL;
        let all = async { while self.workers.join_next().await.is_some() {} };
        let told = tokio::time::timeout(farewell, async {
            tokio::join!(register::say_goodbye(&self.shared), all);
        });
        if told.await.is_err() {
            tracing::warn!("some pods could not be ended in order");
        }
        self.shared.runtime.kill_all().await;
    }
}

fn is_over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Whether the status shows a container that was made by an earlier node.
fn has_started(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return false };
    let all = status
        .init_container_statuses
        .iter()
        .chain(&status.container_statuses)
        .flatten();
    all.into_iter().any(|status| status.container_id.is_some())
}
