//! What every reconcile shares: client, caches, queue, own writes.

use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use k8s_openapi::{
    api::{
        apps::v1::ControllerRevision,
        core::v1::{Node, Pod},
    },
    jiff::Timestamp,
};
use kube::{Api, Client, ResourceExt, api::ListParams};
use kube_runtime::reflector::{ObjectRef, Store};
use tokio::sync::{Notify, OnceCell, mpsc};
use tokio_util::sync::CancellationToken;

use super::{
    callback::Desk,
    config::{Config, Delivery},
    events::Events,
    lag::Lag,
    leader::Leadership,
    leaving::Leaving,
    metrics::Metrics,
    pod,
    progress::ProgressDesk,
    queue::{FunctionKey, Queue},
    recent::Recent,
    released::Released,
    requests::Requests,
    task::{
        plan,
        view::{NodeHealth, PodView, RunState, health},
    },
};
use crate::crd::{Function, Phase, Schedule, Task};

/// Why a call to the API server did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// It answered with an error, or not properly.
    #[error("could not {attempt}")]
    Api {
        /// What was attempted.
        attempt: &'static str,
        /// Why it failed.
        #[source]
        source: Box<kube::Error>,
    },
    /// It did not answer in time.
    #[error("could not {attempt}: no answer within {limit:?}")]
    Timeout {
        /// What was attempted.
        attempt: &'static str,
        /// How long was waited.
        limit: Duration,
    },
}

impl CallError {
    /// The API server's own answer, where there was one.
    pub fn status(&self) -> Option<&kube::core::Status> {
        match self {
            Self::Api { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => Some(status),
                _ => None,
            },
            Self::Timeout { .. } => None,
        }
    }

    /// The object does not exist.
    pub fn is_not_found(&self) -> bool {
        self.status().is_some_and(kube::core::Status::is_not_found)
    }

    /// The object has changed meanwhile, or a precondition does not hold.
    pub fn is_conflict(&self) -> bool {
        self.status().is_some_and(|status| status.is_conflict())
    }

    /// The object exists already.
    pub fn is_already_exists(&self) -> bool {
        self.status().is_some_and(kube::core::Status::is_already_exists)
    }

    /// What was sent, or got, cannot be read as the type it should be.
    pub fn is_undecodable(&self) -> bool {
        matches!(self, Self::Api { source, .. } if matches!(source.as_ref(), kube::Error::SerdeError(_)))
    }

    /// A static word for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Api { attempt, .. } | Self::Timeout { attempt, .. } => attempt,
        }
    }
}

/// Readers of the caches.
#[derive(Clone)]
pub struct Caches {
    /// Tasks, without what may be large.
    pub tasks: Store<Task>,
    /// Functions.
    pub functions: Store<Function>,
    /// Errand's own pods, without what may be large.
    pub pods: Store<Pod>,
    /// Nodes; stays empty where the controller may not read them.
    pub nodes: Store<Node>,
}

/// What every reconcile shares.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// Configuration.
    pub config: Config,
    /// How the supervisor gets into containers.
    pub delivery: Delivery,
    /// Readers of the caches.
    pub caches: Caches,
    /// Whose turn it is.
    pub queue: Queue,
    /// Own writes that the cache may not show yet.
    pub recent: Recent,
    /// Pods let go that the cache may still show.
    pub released: Released,
    /// Pods that wait to be let go.
    pub leaving: Leaving,
    /// How long the API server takes to answer.
    pub lag: Lag,
    /// Requests to HTTP functions.
    pub requests: Requests,
    /// Callbacks.
    pub callbacks: Desk,
    /// Progress read from logs.
    pub progress: ProgressDesk,
    /// Events.
    pub events: Events,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// Tasks to look at again.
    pub wake: mpsc::UnboundedSender<ObjectRef<Task>>,
    /// Schedules to look at again.
    pub wake_schedules: mpsc::UnboundedSender<ObjectRef<Schedule>>,
    /// Tells the janitor that a pod may have lost its Task.
    pub orphans: Arc<Notify>,
    /// Filled once the queue knows what the caches held at the start.
    pub lined_up: OnceCell<()>,
    /// Cancelled once the cache of Tasks is filled. kube's own wait for a store wakes only the last of those who wait
    /// (`DelayedInit` keeps one waker), and its controller waits for this store too.
    pub tasks_known: CancellationToken,
    /// True once the cache of nodes was filled: then a node that is not in it does not exist.
    pub nodes_known: AtomicBool,
    /// The right to start anything.
    pub leadership: Leadership,
}

impl Context {
    /// Tasks of a namespace.
    pub fn tasks(&self, namespace: &str) -> Api<Task> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Functions of a namespace.
    pub fn functions(&self, namespace: &str) -> Api<Function> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Versions of the Functions of a namespace.
    pub fn revisions(&self, namespace: &str) -> Api<ControllerRevision> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Pods of a namespace.
    pub fn pods(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Calls the API server, but not for ever.
    pub async fn call<T>(
        &self,
        attempt: &'static str,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, CallError> {
        let (limit, began) = (self.config.api_timeout, Instant::now());
        let outcome = tokio::time::timeout(limit, call).await;
        self.lag.note(began.elapsed(), Instant::now());
        match outcome {
            Ok(outcome) => outcome.map_err(|source| CallError::Api {
                attempt,
                source: Box::new(source),
            }),
            Err(_) => Err(CallError::Timeout { attempt, limit }),
        }
    }

    /// The cached pods of a Task: those of all its attempts.
    pub fn pods_of(&self, task: &Task) -> Vec<PodView> {
        let (name, uid) = (task.name_any(), task.uid().unwrap_or_default());
        let namespace = task.namespace().unwrap_or_default();
        let attempts = task
            .status
            .as_ref()
            .and_then(|status| status.attempts)
            .unwrap_or(1);
        (1..=attempts)
            .filter_map(|attempt| {
                let key = ObjectRef::new(&pod::name(&name, &uid, attempt)).within(&namespace);
                self.caches.pods.get(&key)
            })
            .map(|pod| self.view(&pod))
            .collect()
    }

    /// A pod, read.
    pub fn view(&self, pod: &Pod) -> PodView {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        PodView::of(
            pod,
            node.and_then(|name| self.node(name)).and_then(|node| node.uid()),
        )
    }

    /// The health of the node that a pod runs on. Where nodes may not be read, every node counts as ready.
    ///
    /// # Errors
    /// [`CallError`] where the cache shows a lost node and the API server could not be asked.
    pub async fn node_health(&self, pod: Option<&PodView>) -> Result<NodeHealth, CallError> {
        let running = pod.filter(|pod| !matches!(pod.state, RunState::Ended(_)));
        let Some(name) = running.and_then(|pod| pod.pod.node.as_deref()) else {
            return Ok(NodeHealth::Ready);
        };
        if !self.nodes_known.load(Ordering::Relaxed) {
            return Ok(NodeHealth::Ready);
        }
        let cached = health(self.node(name).as_deref());
        if !plan::is_lost(&cached, Timestamp::now(), self.config.node_lost_after) {
            return Ok(cached);
        }
        // The caches fill apart from each other: the pod may run on a node that is newer than this one. A list, since
        // the watch needs that right anyway.
        let api: Api<Node> = Api::all(self.client.clone());
        let this = ListParams::default().fields(&format!("metadata.name={name}"));
        let live = self.call("look for a node", api.list(&this)).await?;
        Ok(health(live.items.first()))
    }

    fn node(&self, name: &str) -> Option<Arc<Node>> {
        self.caches.nodes.get(&ObjectRef::new(name))
    }

    /// Has a Task looked at again.
    pub fn wake(&self, task: ObjectRef<Task>) {
        // The receiver lives as long as the controller; after it nobody needs to wake.
        drop(self.wake.send(task));
    }

    /// Gives a Task's turn back and wakes the one that is next.
    pub fn leave_queue(&self, uid: &str) {
        if let Some(next) = self.queue.leave(uid) {
            self.wake(next);
        }
    }

    /// Drops all that is remembered of a Task that is gone.
    pub fn forget(&self, uid: &str) {
        self.leave_queue(uid);
        self.recent.forget(uid);
        self.requests.forget(uid);
        self.callbacks.forget(uid);
        self.progress.forget(uid);
    }

    /// The key of a Task's Function, where it names one.
    pub fn function_key(task: &Task) -> Option<FunctionKey> {
        let reference = task.spec.function_ref.as_ref()?;
        Some((task.namespace().unwrap_or_default(), reference.name.clone()))
    }

    /// The limit on Tasks of a Function that may have a pod at once.
    pub fn limit(&self, key: &FunctionKey) -> Option<usize> {
        let function = self
            .caches
            .functions
            .get(&ObjectRef::new(&key.1).within(&key.0))?;
        function
            .spec
            .max_concurrency
            .and_then(|limit| usize::try_from(limit).ok())
    }

    /// Tells the queue, once, what the caches hold: which Tasks have a pod, and which wait in which order.
    pub async fn line_up(&self) {
        self.lined_up
            .get_or_init(|| async {
                let mut limits: HashMap<FunctionKey, bool> = HashMap::new();
                for task in self.caches.tasks.state() {
                    let Some(key) = Self::function_key(&task) else {
                        continue;
                    };
                    if !*limits
                        .entry(key.clone())
                        .or_insert_with(|| self.limit(&key).is_some())
                    {
                        continue;
                    }
                    let status = task.status.as_ref();
                    if status
                        .and_then(|status| status.phase)
                        .is_some_and(Phase::is_terminal)
                    {
                        continue;
                    }
                    let attempt = status.and_then(|status| status.attempts).unwrap_or(1);
                    match self.pods_of(&task).iter().any(|pod| pod.attempt == attempt) {
                        true => self.queue.hold(&key, &task.uid().unwrap_or_default()),
                        false => self.queue.line_up(&key, &task),
                    }
                }
            })
            .await;
    }
}
