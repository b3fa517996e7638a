//! The life of one pod on the node: one task per pod, from its first sight to its final status.
//!
//! The task holds the runs of the containers, asks [`super::sync`] what comes next, does it in jobs beside itself,
//! and writes the status whenever it changed, one write at a time: what happens during a write goes into the next.
//!
//! - [`starts`]: what it sets off. [`jobs`]: what comes back. [`report`]: what it tells the API server.

mod jobs;
mod report;
mod starts;

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod, PodStatus};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::ending;
use super::env::containers_in_order;
use super::options::Shared;
use super::prepare::{Folders, PrepareError};
use super::runtime::{PodKey, StartFailure, Started};
use super::status::{UNKNOWN_CODE, UNKNOWN_REASON, Verdict};
use super::sync::{self, RestartPolicy, Role, Run, State, Stop, Terminated, Wishes};
use crate::local::scheduler::resources::is_sidecar;
pub use report::complete_deletion;

/// `terminationGracePeriodSeconds` by default.
const DEFAULT_GRACE: i64 = 30;

/// What the watch last said of the pod.
#[derive(Clone, Debug)]
pub struct Update {
    pub pod: Arc<Pod>,
    /// The object is no longer there.
    pub gone: bool,
}

enum Job {
    Prepared(Result<Folders, PrepareError>),
    Refreshed(Result<Folders, PrepareError>),
    Started(usize, Result<Started, StartFailure>),
    Ended(usize, Box<Terminated>),
    Ready(usize, bool),
    Wrote(Box<PodStatus>, Result<Box<Pod>, WriteFailure>),
}

enum WriteFailure {
    /// The object is not there, or another one has its name.
    Gone,
    Other(String),
}

enum Volumes {
    Unready { failures: u32, until: Option<Timestamp> },
    Preparing { failures: u32 },
    Ready(Arc<Folders>),
}

/// Runs the pod until its final status is written (or the object is gone, or the node ends).
/// `lost` says that an earlier node had started it: then it only fails.
pub async fn run(
    shared: Arc<Shared>,
    key: PodKey,
    updates: watch::Receiver<Update>,
    lost: bool,
    shutdown: CancellationToken,
) {
    let mut worker = Worker::new(shared, key, updates, lost, shutdown);
    worker.live().await;
    worker.finish().await;
}

struct Worker {
    shared: Arc<Shared>,
    key: PodKey,
    updates: watch::Receiver<Update>,
    shutdown: CancellationToken,
    pod: Arc<Pod>,
    gone: bool,
    policy: RestartPolicy,
    containers: Vec<Container>,
    runs: Vec<Run>,
    volumes: Volumes,
    /// When the tokens in the volumes are due for a fresh one.
    refresh_at: Option<Timestamp>,
    jobs: JoinSet<Job>,
    stop: Option<Stop>,
    /// Cancelled once a stop begins: calls an image pull back.
    halt: CancellationToken,
    signalled: HashSet<(usize, bool)>,
    verdict: Option<Verdict>,
    over: bool,
    started: Timestamp,
    first_seen: Timestamp,
    pod_ip: Option<IpAddr>,
    written: Option<PodStatus>,
    writing: bool,
    write_failures: u32,
    write_after: Option<Timestamp>,
}

impl Worker {
    fn new(
        shared: Arc<Shared>,
        key: PodKey,
        mut updates: watch::Receiver<Update>,
        lost: bool,
        shutdown: CancellationToken,
    ) -> Self {
        let Update { pod, gone } = updates.borrow_and_update().clone();
        let spec = pod.spec.clone().unwrap_or_default();
        let in_order = containers_in_order(&spec);
        let waits = if spec.init_containers.iter().flatten().next().is_some() {
            "PodInitializing"
        } else {
            "ContainerCreating"
        };
        let role = |init: bool, container: &Container| match init {
            true if is_sidecar(container) => Role::Sidecar,
            true => Role::Init,
            false => Role::Main,
        };
        let runs = in_order
            .iter()
            .map(|(init, container)| Run::new(&container.name, role(*init, container), waits));
        let runs: Vec<Run> = runs.collect();
        let containers: Vec<Container> = in_order
            .into_iter()
            .map(|(_, container)| container.clone())
            .collect();
        shared
            .logs
            .add_pod(&key, containers.iter().map(|container| container.name.clone()));
        let now = Timestamp::now();
        let started = pod
            .status
            .as_ref()
            .and_then(|status| status.start_time.as_ref())
            .map_or(now, |time| time.0);
        let mut worker = Self {
            pod_ip: None,
            policy: RestartPolicy::of(spec.restart_policy.as_deref()),
            containers,
            runs,
            volumes: Volumes::Unready {
                failures: 0,
                until: None,
            },
            refresh_at: None,
            jobs: JoinSet::new(),
            stop: None,
            halt: CancellationToken::new(),
            signalled: HashSet::new(),
            verdict: None,
            over: false,
            started,
            first_seen: now,
            written: None,
            writing: false,
            write_failures: 0,
            write_after: None,
            shared,
            key,
            updates,
            shutdown,
            pod,
            gone,
        };
        if lost {
            worker.lose();
        } else {
            worker.pod_ip = worker.shared.runtime.add_pod(&worker.key);
        }
        worker
    }

    /// What ran under an earlier node cannot be known any more, and must not run a second time.
    fn lose(&mut self) {
        let old = self.pod.status.clone().unwrap_or_default();
        let statuses = || {
            old.init_container_statuses
                .iter()
                .chain(&old.container_statuses)
                .flatten()
        };
        for run in &mut self.runs {
            let status = statuses().find(|status| status.name == run.name);
            run.container_id = status.and_then(|status| status.container_id.clone());
            run.state = State::Terminated(ending::lost(status, UNKNOWN_CODE, UNKNOWN_REASON));
        }
        self.pod_ip = old.pod_ip.and_then(|ip| ip.parse().ok());
        self.verdict = Some(Verdict {
            reason: "NodeRestart".to_owned(),
            message: "The node was restarted while the pod was running; its processes are gone".to_owned(),
        });
        self.over = true;
    }

    async fn live(&mut self) {
        while !self.over {
            let now = Timestamp::now();
            let wishes = self.wishes();
            self.stop = sync::stop(self.stop, &wishes, now);
            if self.stop.is_some() {
                self.halt.cancel();
            }
            self.prepare(now);
            let mut decision = sync::decide(self.policy, &self.runs, self.stop, &wishes, now);
            for action in std::mem::take(&mut decision.actions) {
                self.act(action);
            }
            if decision.finished {
                self.over = true;
                break;
            }
            self.write(now);
            let wake = [decision.wake, self.own_wake(now)].into_iter().flatten().min();
            self.wait(wake).await;
        }
    }

    fn wishes(&self) -> Wishes {
        let spec = self.pod.spec.as_ref();
        let seconds = SignedDuration::from_secs;
        let deadline = spec.and_then(|spec| spec.active_deadline_seconds);
        let deletion = self.pod.metadata.deletion_timestamp.as_ref().map(|_| {
            seconds(
                self.pod
                    .metadata
                    .deletion_grace_period_seconds
                    .unwrap_or(DEFAULT_GRACE),
            )
        });
        Wishes {
            deadline: deadline.and_then(|deadline| self.started.checked_add(seconds(deadline)).ok()),
            deletion_grace: if self.gone {
                Some(SignedDuration::ZERO)
            } else {
                deletion
            },
            shutdown_grace: self
                .shutdown
                .is_cancelled()
                .then(|| SignedDuration::try_from(self.shared.options.shutdown_grace).unwrap_or_default()),
            grace: seconds(
                spec.and_then(|spec| spec.termination_grace_period_seconds)
                    .unwrap_or(DEFAULT_GRACE),
            ),
        }
    }

    async fn wait(&mut self, wake: Option<Timestamp>) {
        let shutting = self.shutdown.is_cancelled();
        let shutdown = self.shutdown.clone();
        tokio::select! {
            changed = self.updates.changed(), if !self.gone => match changed {
                Ok(()) => self.observe(),
                Err(_) => self.gone = true,
            },
            Some(job) = self.jobs.join_next(), if !self.jobs.is_empty() => match job {
                Ok(job) => self.on_job(job),
                Err(error) => tracing::error!(%error, pod = %self.key.name, "a job of the pod panicked"),
            },
            () = shutdown.cancelled(), if !shutting => {}
            () = sleep_until(wake) => {}
        }
    }

    /// Takes in what the watch says; a status older than our own last write is not taken.
    fn observe(&mut self) {
        let Update { pod, gone } = self.updates.borrow_and_update().clone();
        self.gone |= gone;
        let version = |pod: &Pod| {
            pod.metadata
                .resource_version
                .as_ref()
                .and_then(|text| text.parse::<u64>().ok())
        };
        if version(&pod)
            .zip(version(&self.pod))
            .is_some_and(|(new, known)| new < known)
        {
            return;
        }
        self.pod = pod;
    }

    fn own_wake(&self, now: Timestamp) -> Option<Timestamp> {
        let quiet = self.quiet_until();
        let mount = match self.volumes {
            Volumes::Unready { until, .. } => until,
            _ => None,
        };
        [Some(quiet), mount, self.write_after, self.refresh_at]
            .into_iter()
            .flatten()
            .filter(|time| *time > now)
            .min()
    }

    fn quiet_until(&self) -> Timestamp {
        let quiet = SignedDuration::try_from(self.shared.options.quiet_start).unwrap_or_default();
        self.first_seen.checked_add(quiet).unwrap_or(self.first_seen)
    }
}

/// `spec.containers{task}`, as events point to a container.
fn field_path(run: &Run, container: &Container) -> String {
    let list = if run.role == Role::Main {
        "containers"
    } else {
        "initContainers"
    };
    format!("spec.{list}{{{}}}", container.name)
}

async fn sleep_until(time: Option<Timestamp>) {
    match time {
        Some(time) => {
            let left = time.duration_since(Timestamp::now());
            tokio::time::sleep(left.try_into().unwrap_or_default()).await;
        }
        None => std::future::pending().await,
    }
}
