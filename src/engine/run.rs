//! Fills the caches, starts the loops, and ends them together.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{Api, Client, Resource, ResourceExt, core::DeserializeGuard};
use kube_runtime::{
    Controller, WatchStreamExt,
    controller::{self, Action},
    reflector::{self, ObjectRef, store::Writer},
    watcher::{self, Event, watcher},
};
use serde::de::DeserializeOwned;
use tokio::{
    sync::{Notify, OnceCell, mpsc},
    task::JoinSet,
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    backoff::Backoff,
    callback::Desk,
    config::{Config, Delivery},
    context::{Caches, Context},
    counts::keep_counting,
    events::Events,
    lag::Lag,
    leader::Leadership,
    leaving::Leaving,
    metrics::Metrics,
    poison,
    progress::ProgressDesk,
    queue::Queue,
    recent::{Recent, slim},
    released::Released,
    requests::Requests,
    schedule,
    task::{
        letgo,
        reconcile::{self, reconcile},
        view::{NodeHealth, health},
    },
};
use crate::{
    chain::chain,
    crd::{Function, LABEL_TASK_UID, Phase, Task},
    tls::{Outgoing, TlsError},
};

/// Image volumes are on by default from this minor version on (KEP-4639).
const IMAGE_VOLUME_SINCE: u32 = 35;
/// Nodes are a help and not a need: after so long the controller starts without them.
const NODES_WAIT: Duration = Duration::from_secs(5);
/// How long looks that are under way may take once the controller stops.
pub const LAST_LOOKS: Duration = Duration::from_secs(2);
/// Tasks whose failures in a row are remembered.
const BACKED_OFF: usize = 10_000;
/// Pods without a Task are looked for this often, beside the times when one may have appeared.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// And not more often than this.
const SWEEP_PAUSE: Duration = Duration::from_millis(200);

/// Why the controller could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server does not tell its version.
    #[error("could not ask the API server for its version")]
    Version(#[source] Box<kube::Error>),
    /// Callbacks cannot be made.
    #[error("could not set up TLS for callbacks")]
    Tls(#[source] TlsError),
    /// The cache could not be filled.
    #[error("could not fill the cache of {what}: the watch ended")]
    Cache {
        /// What it holds.
        what: &'static str,
    },
}

/// Runs the controller until its leadership stops; `ready` is called once the caches are filled.
///
/// # Errors
/// [`Error`] where it could not start. After the start, errors are logged and tried again.
pub async fn run(
    client: Client,
    config: Config,
    metrics: Arc<Metrics>,
    ready: impl FnOnce(),
    leadership: Leadership,
) -> Result<(), Error> {
    let shutdown = leadership.stop().clone();
    let delivery = delivery(&client, &config).await?;
    let (wake, woken) = mpsc::unbounded_channel();
    let (wake_schedules, woken_schedules) = mpsc::unbounded_channel();
    let (task_reader, task_writer) = reflector::store();
    let (function_reader, function_writer) = reflector::store();
    let (pod_reader, pod_writer) = reflector::store();
    let (node_reader, node_writer) = reflector::store();
    let caches = Caches {
        tasks: task_reader.clone(),
        functions: function_reader,
        pods: pod_reader,
        nodes: node_reader,
    };
    let (events, publisher) = Events::start(
        client.clone(),
        Some(config.instance.clone()),
        metrics.events_dropped(),
        shutdown.clone(),
    );
    let ctx = Arc::new(Context {
        client: client.clone(),
        delivery,
        caches,
        queue: Queue::default(),
        recent: Recent::default(),
        released: Released::default(),
        leaving: Leaving::default(),
        lag: Lag::default(),
        callbacks: Desk::new(&config.callbacks, shutdown.clone()).map_err(Error::Tls)?,
        requests: Requests::new(client.clone(), wake.clone(), shutdown.clone()),
        progress: ProgressDesk::new(config.followed_tasks, client, wake.clone(), shutdown.clone()),
        events,
        metrics,
        wake,
        wake_schedules,
        orphans: Arc::new(Notify::new()),
        lined_up: OnceCell::new(),
        tasks_known: CancellationToken::new(),
        nodes_known: AtomicBool::new(false),
        leadership,
        config,
    });
    let mut loops = JoinSet::new();
    loops.spawn(watch_pods(ctx.clone(), pod_writer, shutdown.clone()));
    loops.spawn(watch_functions(ctx.clone(), function_writer, shutdown.clone()));
    loops.spawn(watch_nodes(ctx.clone(), node_writer, shutdown.clone()));
    let filled = tokio::select! {
        filled = fill(&ctx) => filled,
        () = shutdown.cancelled() => return Ok(()),
    };
    // The loops that fill the caches end with the shutdown too.
    if shutdown.is_cancelled() {
        return Ok(());
    }
    filled?;
    loops.spawn(sweep(ctx.clone(), shutdown.clone()));
    if let Some(tls) = ctx.config.callbacks.tls.clone() {
        loops.spawn(renew(tls, shutdown.clone()));
    }
    loops.spawn(keep_counting(ctx.clone(), shutdown.clone()));
    loops.spawn(schedule::control::control(
        ctx.clone(),
        woken_schedules,
        shutdown.clone(),
    ));
    ready();
    control(ctx, task_reader, task_writer, woken, shutdown.clone()).await;
    shutdown.cancel();
    while loops.join_next().await.is_some() {}
    drop(publisher.await);
    Ok(())
}

async fn delivery(client: &Client, config: &Config) -> Result<Delivery, Error> {
    if let Some(delivery) = config.runner.delivery {
        return Ok(delivery);
    }
    let version = client
        .apiserver_version()
        .await
        .map_err(|error| Error::Version(Box::new(error)))?;
    let minor: String = version.minor.chars().take_while(char::is_ascii_digit).collect();
    let new_enough = minor
        .parse::<u32>()
        .is_ok_and(|minor| minor >= IMAGE_VOLUME_SINCE);
    let delivery = if new_enough {
        Delivery::ImageVolume
    } else {
        Delivery::InitContainer
    };
    tracing::info!(server = %version.git_version, ?delivery, "chose how the supervisor gets into containers");
    Ok(delivery)
}

/// Looks after the certificates for callbacks.
async fn renew(tls: Outgoing, shutdown: CancellationToken) {
    tokio::select! {
        never = tls.follow() => match never {},
        () = shutdown.cancelled() => {}
    }
}

async fn fill(ctx: &Context) -> Result<(), Error> {
    let caches = &ctx.caches;
    caches
        .pods
        .wait_until_ready()
        .await
        .map_err(|_| Error::Cache { what: "pods" })?;
    caches
        .functions
        .wait_until_ready()
        .await
        .map_err(|_| Error::Cache { what: "functions" })?;
    let nodes = tokio::time::timeout(NODES_WAIT, caches.nodes.wait_until_ready()).await;
    if matches!(nodes, Ok(Ok(()))) {
        ctx.nodes_known.store(true, Ordering::Relaxed);
    } else {
        tracing::warn!("nodes cannot be read; Tasks on a lost node end only when their pod does");
    }
    Ok(())
}

/// Objects of the namespace that is served, or of all.
pub fn api<K>(ctx: &Context) -> Api<K>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
{
    match &ctx.config.namespace {
        Some(namespace) => Api::namespaced(ctx.client.clone(), namespace),
        None => Api::all(ctx.client.clone()),
    }
}

/// Looks at Tasks: as they change, and as others wake them.
async fn control(
    ctx: Arc<Context>,
    reader: reflector::Store<Task>,
    writer: Writer<Task>,
    woken: mpsc::UnboundedReceiver<ObjectRef<Task>>,
    shutdown: CancellationToken,
) {
    let backoff = Arc::new(Backoff::new(BACKED_OFF));
    let on_error = {
        let backoff = backoff.clone();
        move |task: Arc<Task>, error: &reconcile::Error, _: Arc<Context>| {
            let wait = backoff.failed(task.uid().unwrap_or_default());
            tracing::warn!(
                task = %task.name_any(), namespace = %task.namespace().unwrap_or_default(),
                error = %chain(error), ?wait, "a look at a Task failed"
            );
            Action::requeue(wait)
        }
    };
    let looks = TaskTracker::new();
    let look = {
        let (looks, shutdown) = (looks.clone(), shutdown.clone());
        move |task: Arc<Task>, ctx: Arc<Context>| {
            let (backoff, shutdown) = (backoff.clone(), shutdown.clone());
            looks.track_future(async move {
                if shutdown.is_cancelled() {
                    return Ok(Action::await_change());
                }
                let measure = ctx.metrics.reconcile("task");
                let uid = task.uid().unwrap_or_default();
                let outcome = reconcile(task, ctx).await;
                measure.outcome(outcome.as_ref().map_or_else(|error| error.label(), |_| "ok"));
                if outcome.is_ok() {
                    backoff.clear(&uid);
                }
                outcome
            })
        }
    };
    let config = controller::Config::default().concurrency(ctx.config.workers);
    let controller = Controller::for_stream(task_stream(&ctx, writer), reader)
        .with_config(config)
        .reconcile_on(UnboundedReceiverStream::new(woken))
        .run(look, on_error, ctx)
        .for_each(|outcome| {
            if let Err(error) = outcome {
                // Routine after deletes, and for wakes of Tasks that have gone.
                tracing::debug!(error = %chain(&error), "controller");
            }
            std::future::ready(())
        });
    // kube's own graceful shutdown does not end where it is asked for before the store was filled once.
    let stopped = async {
        shutdown.cancelled().await;
        looks.close();
        if tokio::time::timeout(LAST_LOOKS, looks.wait()).await.is_err() {
            tracing::warn!(
                left = looks.len(),
                "looks at Tasks did not end in time; the next controller goes on"
            );
        }
    };
    tokio::select! {
        () = controller => {}
        () = stopped => {}
    }
}

/// Tasks as they change. Those that cannot be read are marked Failed and left out; those that are gone are forgotten.
fn task_stream(
    ctx: &Arc<Context>,
    writer: Writer<Task>,
) -> impl Stream<Item = watcher::Result<Task>> + Send + 'static + use<> {
    let tasks: Api<DeserializeGuard<Task>> = api(ctx);
    let known = ctx.tasks_known.clone();
    let (ctx, waker) = (ctx.clone(), ctx.clone());
    watcher(tasks, watcher::Config::default())
        .default_backoff()
        .try_filter_map(move |event| std::future::ready(Ok(readable(&ctx, event))))
        .modify(slim)
        .reflect(writer)
        .inspect_ok(move |event| {
            if matches!(event, Event::InitDone) {
                known.cancel();
            }
            schedule::control::wake(&waker, event);
        })
        .applied_objects()
}

fn readable(ctx: &Arc<Context>, event: Event<DeserializeGuard<Task>>) -> Option<Event<Task>> {
    let read = |guard: DeserializeGuard<Task>| match guard.0 {
        Ok(task) => Some(task),
        Err(invalid) => {
            let ctx = ctx.clone();
            tokio::spawn(async move {
                poison::mark_failed(ctx.client.clone(), invalid, &ctx.config.instance).await;
            });
            None
        }
    };
    match event {
        Event::Apply(guard) => read(guard).map(Event::Apply),
        Event::InitApply(guard) => read(guard).map(Event::InitApply),
        Event::Delete(guard) => {
            if let Some(uid) = guard.meta().uid.as_deref() {
                ctx.forget(uid);
            }
            ctx.orphans.notify_one();
            guard.0.ok().map(Event::Delete)
        }
        Event::Init => Some(Event::Init),
        Event::InitDone => {
            ctx.orphans.notify_one();
            Some(Event::InitDone)
        }
    }
}

/// Drives a cache until shutdown, handing each change to `touched`.
async fn drive<K>(
    stream: impl Stream<Item = watcher::Result<Event<K>>> + Send,
    writer: Writer<K>,
    what: &'static str,
    shutdown: CancellationToken,
    mut touched: impl FnMut(K) + Send,
) where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + Sync + 'static,
{
    let events = stream.default_backoff().reflect(writer).touched_objects();
    let mut events = std::pin::pin!(events);
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = shutdown.cancelled() => return,
        };
        match event {
            Some(Ok(object)) => touched(object),
            Some(Err(error)) => tracing::warn!(what, error = %chain(&error), "watch failed; trying again"),
            None => return,
        }
    }
}

async fn watch_pods(ctx: Arc<Context>, writer: Writer<Pod>, shutdown: CancellationToken) {
    let config = watcher::Config::default().labels(LABEL_TASK_UID);
    let stream = watcher(api::<Pod>(&ctx), config).modify(slim_pod);
    drive(stream, writer, "pods", shutdown, |pod: Pod| {
        if let Some(owner) = pod.owner_references().iter().find(|owner| owner.kind == "Task") {
            let namespace = pod.namespace().unwrap_or_default();
            ctx.wake(ObjectRef::new(&owner.name).within(&namespace));
        }
        if pod.metadata.deletion_timestamp.is_some() {
            ctx.orphans.notify_one();
        }
    })
    .await;
}

/// Drops from a cached pod what decisions do not need and what may be large.
fn slim_pod(pod: &mut Pod) {
    pod.metadata.managed_fields = None;
    if let Some(annotations) = &mut pod.metadata.annotations {
        annotations.retain(|key, _| key == super::pod::ANNOTATION_FACTS);
    }
    if let Some(spec) = &mut pod.spec {
        spec.containers.clear();
        spec.init_containers = None;
        spec.volumes = None;
        spec.affinity = None;
        spec.tolerations = None;
    }
}

async fn watch_functions(ctx: Arc<Context>, writer: Writer<Function>, shutdown: CancellationToken) {
    let functions: Api<DeserializeGuard<Function>> = api(&ctx);
    let stream = watcher(functions, watcher::Config::default())
        .try_filter_map(|event| {
            let event = match event {
                Event::Apply(guard) => guard.0.ok().map(Event::Apply),
                Event::InitApply(guard) => guard.0.ok().map(Event::InitApply),
                Event::Delete(guard) => guard.0.ok().map(Event::Delete),
                Event::Init => Some(Event::Init),
                Event::InitDone => Some(Event::InitDone),
            };
            std::future::ready(Ok(event))
        })
        .modify(|function| function.metadata.managed_fields = None);
    drive(stream, writer, "functions", shutdown, |function: Function| {
        let (namespace, name) = (function.namespace(), function.name_any());
        let concerned = ctx.caches.tasks.state_filter(|task: &Task| {
            let refers = task
                .spec
                .function_ref
                .as_ref()
                .is_some_and(|reference| reference.name == name);
            let phase = task.status.as_ref().and_then(|status| status.phase);
            refers && task.namespace() == namespace && !phase.is_some_and(Phase::is_terminal)
        });
        for task in concerned {
            ctx.wake(ObjectRef::from_obj(task.as_ref()));
        }
    })
    .await;
}

async fn watch_nodes(ctx: Arc<Context>, writer: Writer<Node>, shutdown: CancellationToken) {
    let mut known: HashMap<String, NodeHealth> = HashMap::new();
    let nodes: Api<Node> = Api::all(ctx.client.clone());
    let stream = watcher(nodes, watcher::Config::default()).modify(slim_node);
    drive(stream, writer, "nodes", shutdown, |node: Node| {
        let name = node.name_any();
        let present = ctx.caches.nodes.get(&ObjectRef::new(&name));
        let state = health(present.as_deref());
        // Nodes report themselves every few seconds; only news matters.
        if known.insert(name.clone(), state.clone()) == Some(state) {
            return;
        }
        let on_node = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(&name);
        for pod in ctx.caches.pods.state_filter(on_node) {
            let Some(owner) = pod.owner_references().iter().find(|owner| owner.kind == "Task") else {
                continue;
            };
            ctx.wake(ObjectRef::new(&owner.name).within(&pod.namespace().unwrap_or_default()));
        }
    })
    .await;
}

fn slim_node(node: &mut Node) {
    node.metadata.managed_fields = None;
    node.metadata.annotations = None;
    if let Some(status) = &mut node.status {
        status.images = None;
        status.volumes_attached = None;
        status.volumes_in_use = None;
    }
}

/// Lets go of pods whose Task is gone.
async fn sweep(ctx: Arc<Context>, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = ctx.orphans.notified() => {}
            () = tokio::time::sleep(SWEEP_EVERY) => {}
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = ctx.tasks_known.cancelled() => {}
        }
        ctx.released.forget_gone(&ctx.caches.pods);
        match letgo::sweep_orphans(&ctx).await {
            Ok(0) => {}
            Ok(released) => tracing::info!(released, "let go of pods without a Task"),
            Err(error) => {
                tracing::warn!(error = %chain(&error), "could not let go of pods without a Task");
                ctx.orphans.notify_one();
            }
        }
        tokio::time::sleep(SWEEP_PAUSE).await;
    }
}
