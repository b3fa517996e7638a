//! The life of one pod on the node: one task per pod, from its first sight to its final status.
//!
//! The task holds the runs of the containers, asks [`super::sync`] what comes next, does it in jobs beside itself,
//! and writes the status whenever it changed, one write at a time: what happens during a write goes into the next.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod, PodStatus};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::env::containers_in_order;
use super::options::Shared;
use super::prepare::{self, CALL_TIMEOUT, Folders, PrepareError};
use super::runtime::{Exit, ImageOutcome, LogHandle, PodKey, StartFailure, Started, StopSignal};
use super::status::{UNKNOWN_CODE, UNKNOWN_REASON, Verdict, View, pod_status};
use super::sync::{self, Action, Cause, RestartPolicy, Role, Run, State, Stop, Terminated, Wishes};
use super::volumes::VolumeError;
use super::{ending, probe};
use crate::local::events::{EventType, reference};
use crate::local::scheduler::resources::is_sidecar;

/// kubelet's pause before volumes are tried again; doubles up to [`LONGEST_MOUNT_PAUSE`].
const MOUNT_PAUSE: SignedDuration = SignedDuration::from_millis(500);
const LONGEST_MOUNT_PAUSE: SignedDuration = SignedDuration::from_secs(122);
/// A container that cannot be configured is looked at again after so long, as by kubelet's sync loop.
const CONFIG_PAUSE: SignedDuration = SignedDuration::from_secs(10);
/// First and longest pause before a failed status write is tried again.
const WRITE_PAUSE: SignedDuration = SignedDuration::from_millis(200);
const LONGEST_WRITE_PAUSE: SignedDuration = SignedDuration::from_secs(5);
/// Seconds until a failed renewal of tokens is tried again.
const TOKEN_RETRY: i64 = 60;
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

    // ---- volumes and starts

    fn prepare(&mut self, now: Timestamp) {
        if self.stop.is_some() {
            return;
        }
        let refresh = match self.volumes {
            Volumes::Unready { failures, until } if until.is_none_or(|until| until <= now) => {
                self.volumes = Volumes::Preparing { failures };
                false
            }
            Volumes::Ready(_) if self.refresh_at.is_some_and(|at| at <= now) => {
                self.refresh_at = None;
                true
            }
            _ => return,
        };
        let (shared, key, pod, pod_ip) = (
            self.shared.clone(),
            self.key.clone(),
            self.pod.clone(),
            self.pod_ip,
        );
        self.jobs.spawn(async move {
            let outcome = prepare::volumes(&shared, &key, &pod, pod_ip).await;
            if refresh {
                Job::Refreshed(outcome)
            } else {
                Job::Prepared(outcome)
            }
        });
    }

    /// Tokens are replaced after four fifths of their life, as a kubelet does.
    fn plan_refresh(&mut self, failed: bool) {
        let wanted = self
            .pod
            .spec
            .as_ref()
            .map(super::volumes::tokens)
            .unwrap_or_default();
        let shortest = wanted.iter().map(|token| token.seconds).min();
        let pause = shortest.map(|seconds| {
            if failed {
                TOKEN_RETRY
            } else {
                seconds.saturating_mul(4) / 5
            }
        });
        self.refresh_at = pause.and_then(|pause| {
            Timestamp::now()
                .checked_add(SignedDuration::from_secs(pause))
                .ok()
        });
    }

    fn on_refreshed(&mut self, outcome: Result<Folders, PrepareError>) {
        if let Err(error) = &outcome {
            tracing::warn!(error = error as &dyn std::error::Error, pod = %self.key.name, "tokens not refreshed");
        }
        self.plan_refresh(outcome.is_err());
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Start(index) => self.start(index),
            Action::Terminate(index) => self.signal(index, StopSignal::Terminate),
            Action::Kill(index) => self.signal(index, StopSignal::Kill),
        }
    }

    fn signal(&mut self, index: usize, signal: StopSignal) {
        let Some(id) = self.runs.get(index).and_then(|run| run.container_id.clone()) else {
            return;
        };
        if !self.signalled.insert((index, signal == StopSignal::Kill)) {
            return;
        }
        if signal == StopSignal::Terminate {
            let name = self
                .runs
                .get(index)
                .map(|run| run.name.clone())
                .unwrap_or_default();
            self.say(
                index,
                EventType::Normal,
                "Killing",
                format!("Stopping container {name}"),
            );
        }
        let runtime = self.shared.runtime.clone();
        tokio::spawn(async move { runtime.signal(&id, signal).await });
    }

    fn start(&mut self, index: usize) {
        let Volumes::Ready(folders) = &self.volumes else {
            return;
        };
        let folders = folders.clone();
        let (Some(run), Some(container)) = (self.runs.get_mut(index), self.containers.get(index)) else {
            return;
        };
        let (reason, message) = match &run.state {
            State::Waiting { reason, message, .. } => (reason.clone(), message.clone()),
            _ => ("ContainerCreating".to_owned(), None),
        };
        run.state = State::Starting { reason, message };
        self.signalled.retain(|(one, _)| *one != index);
        let start = prepare::Start {
            key: self.key.clone(),
            pod: self.pod.clone(),
            container: container.clone(),
            init: run.role != Role::Main,
            attempt: run.restarts,
            folders,
            pod_ip: self.pod_ip,
        };
        let (shared, halt) = (self.shared.clone(), self.halt.clone());
        let about = reference(&*self.pod, Some(field_path(run, container)));
        self.jobs.spawn(async move {
            let begun = async {
                prepare::mark_started(&shared, &start.key.uid)
                    .map_err(|error| StartFailure::Create(format!("note the start on disk: {error}")))?;
                let config = prepare::config(&shared, start).await?;
                let image = config.image.clone();
                let began = Timestamp::now();
                let present = tokio::select! {
 present = shared.runtime.ensure_image(&config) => present?,
 () = halt.cancelled() => return Err(StartFailure::Create("the pod is being stopped".to_owned())),
 };
 match present {
                    ImageOutcome::NotNeeded => {}
                    ImageOutcome::Present(_) => {
                        let message = format!("Container image {image:?} already present on machine");
                        shared
                            .events
                            .emit(about.clone(), EventType::Normal, "Pulled", message);
                    }
                    ImageOutcome::Pulled(_) => {
                        let took = Timestamp::now().duration_since(began).as_secs_f64();
                        let message = format!("Successfully pulled image {image:?} in {took:.3}s");
                        shared
                            .events
                            .emit(about.clone(), EventType::Normal, "Pulled", message);
                    }
                }
                shared.runtime.start(config).await
            };
            Job::Started(index, begun.await)
        });
    }

    // ---- what jobs bring

    fn on_job(&mut self, job: Job) {
        match job {
            Job::Prepared(outcome) => self.on_prepared(outcome),
            Job::Refreshed(outcome) => self.on_refreshed(outcome),
            Job::Started(index, Ok(started)) => self.on_started(index, started),
            Job::Started(index, Err(failure)) => self.on_start_failed(index, failure),
            Job::Ended(index, end) => self.on_ended(index, *end),
            Job::Ready(index, ready) => {
                if let Some(run) = self.runs.get_mut(index).filter(|run| run.is_running()) {
                    run.ready = ready;
                    self.watch_readiness(index, ready);
                }
            }
            Job::Wrote(status, outcome) => self.on_wrote(*status, outcome),
        }
    }

    fn on_prepared(&mut self, outcome: Result<Folders, PrepareError>) {
        let failures = match self.volumes {
            Volumes::Preparing { failures } => failures,
            _ => 0,
        };
        match outcome {
            Ok(folders) => {
                self.volumes = Volumes::Ready(Arc::new(folders));
                self.plan_refresh(false);
            }
            Err(error) => {
                let pause = sync::back_off(failures + 1, MOUNT_PAUSE).min(LONGEST_MOUNT_PAUSE);
                let until = Timestamp::now().checked_add(pause).ok();
                self.volumes = Volumes::Unready {
                    failures: failures + 1,
                    until,
                };
                if let PrepareError::Volume {
                    source: VolumeError::Image { reason, why, .. },
                    ..
                } = &error
                {
                    let (reason, message) = (*reason, Some(why.clone()));
                    self.all_wait(reason, message);
                }
                let about = reference(&*self.pod, None);
                self.shared
                    .events
                    .emit(about, EventType::Warning, "FailedMount", error.to_string());
            }
        }
    }

    fn all_wait(&mut self, reason: &str, message: Option<String>) {
        for run in &mut self.runs {
            self.shared.logs.waits(&self.key.uid, &run.name, reason);
            run.state = State::Waiting {
                reason: reason.to_owned(),
                message: message.clone(),
                until: None,
            };
        }
    }

    fn on_started(&mut self, index: usize, started: Started) {
        let Started {
            id,
            image_id,
            started_at,
            pod_ip,
            logs,
            exit,
        } = started;
        if self.pod_ip.is_none() {
            self.pod_ip = pod_ip;
        }
        let (Some(run), Some(container)) = (self.runs.get_mut(index), self.containers.get(index)) else {
            return;
        };
        run.state = State::Running { since: started_at };
        run.ready = container.readiness_probe.is_none();
        run.failures = 0;
        run.container_id = Some(id.clone());
        run.image_id = image_id;
        let (name, attempt) = (run.name.clone(), run.restarts);
        self.shared.logs.add_run(&self.key.uid, &name, logs.clone());
        self.say(
            index,
            EventType::Normal,
            "Created",
            format!("Created container: {name}"),
        );
        self.say(
            index,
            EventType::Normal,
            "Started",
            format!("Started container {name}"),
        );
        self.watch_readiness(index, false);
        let Some(container) = self.containers.get(index) else {
            return;
        };
        let file = prepare::termination_file(&self.shared, &self.key.uid, &name, attempt);
        let on_error = container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError");
        self.jobs.spawn(async move {
            let exit = exit.await.unwrap_or_else(|_| Exit {
                code: UNKNOWN_CODE,
                signal: None,
                oom_killed: false,
                error: Some("The end of the container is not known".to_owned()),
                finished_at: Timestamp::now(),
            });
            let fallback: Option<LogHandle> = on_error.then_some(logs);
            Job::Ended(
                index,
                Box::new(ending::terminated(exit, &file, fallback, id, started_at).await),
            )
        });
    }

    fn watch_readiness(&mut self, index: usize, was_ready: bool) {
        let target = self.containers.get(index).and_then(|container| {
            probe::Target::of(container.readiness_probe.as_ref()?, container, self.pod_ip)
        });
        match target {
            Some(target) => {
                self.jobs
                    .spawn(async move { Job::Ready(index, target.until_changed(was_ready).await) });
            }
            // Without a probe, or with one of a kind that this node does not know.
            None => {
                if let Some(run) = self.runs.get_mut(index) {
                    run.ready = true;
                }
            }
        }
    }

    fn on_ended(&mut self, index: usize, end: Terminated) {
        let base = SignedDuration::try_from(self.shared.options.back_off).unwrap_or_default();
        let stopping = self.stop.is_some();
        let over = self.mains_are_over_but(index);
        let Some(run) = self.runs.get_mut(index) else {
            return;
        };
        run.ready = false;
        let again = !stopping
            && sync::restarts(self.policy, run.role, end.exit_code)
            && !(run.role == Role::Sidecar && over);
        if !again {
            run.state = State::Terminated(end);
            return;
        }
        let pause = sync::back_off(run.restarts, base);
        let reason = if pause.is_zero() {
            "ContainerCreating"
        } else {
            "CrashLoopBackOff"
        };
        let pod = format!("{}_{}({})", self.key.name, self.key.namespace, self.key.uid);
        let message = (!pause.is_zero()).then(|| {
            format!(
                "back-off {}s restarting failed container={} pod={pod}",
                pause.as_secs(),
                run.name
            )
        });
        let until = Timestamp::now().checked_add(pause).ok();
        run.state = State::Waiting {
            reason: reason.to_owned(),
            message,
            until,
        };
        run.last = Some(end);
        run.restarts += 1;
        let name = run.name.clone();
        if !pause.is_zero() {
            let message = format!("Back-off restarting failed container {name} in pod {pod}");
            self.say(index, EventType::Warning, "BackOff", message);
        }
    }

    fn mains_are_over_but(&self, index: usize) -> bool {
        let others = self
            .runs
            .iter()
            .enumerate()
            .filter(|(at, run)| *at != index && run.role == Role::Main);
        others
            .into_iter()
            .all(|(_, run)| matches!(run.state, State::Terminated(_)))
    }

    fn on_start_failed(&mut self, index: usize, failure: StartFailure) {
        let base = SignedDuration::try_from(self.shared.options.back_off).unwrap_or_default();
        let now = Timestamp::now();
        let stopping = self.stop.is_some();
        let Some(run) = self.runs.get_mut(index) else {
            return;
        };
        if stopping {
            // Called back, or overtaken by the stop: what it waited for before explains more.
            if let State::Starting { reason, message } = &run.state {
                run.state = State::Waiting {
                    reason: reason.clone(),
                    message: message.clone(),
                    until: None,
                };
            }
            return;
        }
        run.failures = run.failures.saturating_add(1);
        let image = self
            .containers
            .get(index)
            .and_then(|container| container.image.clone())
            .unwrap_or_default();
        let (reason, message, pause) = match failure {
            StartFailure::Start(message) => {
                let name = run.name.clone();
                self.say(index, EventType::Warning, "Failed", format!("Error: {message}"));
                self.shared.logs.waits(&self.key.uid, &name, "StartError");
                self.on_ended(index, ending::start_error(message, now));
                return;
            }
            StartFailure::Image { reason, message } => (reason, message, sync::back_off(run.failures, base)),
            StartFailure::Config(message) => ("CreateContainerConfigError", message, CONFIG_PAUSE.min(base)),
            StartFailure::Create(message) => (
                "CreateContainerError",
                message,
                sync::back_off(run.failures, base),
            ),
        };
        // A kubelet shows the error first and the back-off from the next round on.
        let backed_off = reason == "ErrImagePull" && run.failures > 1;
        let shown = if backed_off { "ImagePullBackOff" } else { reason };
        let text = if backed_off {
            format!("Back-off pulling image {image:?}: ErrImagePull: {message}")
        } else {
            message.clone()
        };
        run.state = State::Waiting {
            reason: shown.to_owned(),
            message: Some(text),
            until: now.checked_add(pause).ok(),
        };
        let name = run.name.clone();
        self.shared.logs.waits(&self.key.uid, &name, shown);
        if reason == "ErrImagePull" {
            self.say(
                index,
                EventType::Warning,
                "Failed",
                format!("Failed to pull image {image:?}: {message}"),
            );
            self.say(
                index,
                EventType::Normal,
                "BackOff",
                format!("Back-off pulling image {image:?}"),
            );
        }
        let said = if reason == "ErrImagePull" {
            reason.to_owned()
        } else {
            message
        };
        self.say(index, EventType::Warning, "Failed", format!("Error: {said}"));
    }

    fn say(&self, index: usize, type_: EventType, reason: &'static str, message: String) {
        let path = self
            .runs
            .get(index)
            .zip(self.containers.get(index))
            .map(|(run, container)| field_path(run, container));
        self.shared
            .events
            .emit(reference(&*self.pod, path), type_, reason, message);
    }

    // ---- status

    fn status(&self, now: Timestamp) -> PodStatus {
        let deadline = Verdict {
            reason: "DeadlineExceeded".to_owned(),
            message: "Pod was active on the node longer than the specified deadline".to_owned(),
        };
        let shutdown = Verdict {
            reason: "Terminated".to_owned(),
            message: "Pod was terminated in response to imminent node shutdown.".to_owned(),
        };
        let cause = match self.stop.map(|stop| stop.cause) {
            Some(Cause::Deadline) => Some(&deadline),
            Some(Cause::Shutdown) => Some(&shutdown),
            Some(Cause::Deletion) | None => None,
        };
        pod_status(&View {
            pod: &self.pod,
            runs: &self.runs,
            policy: self.policy,
            started: self.started,
            host_ip: self.shared.options.host_ip,
            pod_ip: self.pod_ip,
            over: self.over,
            verdict: self.verdict.as_ref().or(cause.filter(|_| self.over)),
            now,
        })
    }

    /// Begins a write if the status differs from what was last written.
    fn write(&mut self, now: Timestamp) {
        let resting = self.write_after.is_some_and(|after| after > now);
        if self.writing || self.gone || resting {
            return;
        }
        let starting = |run: &Run| match &run.state {
            State::Waiting { reason, .. } | State::Starting { reason, .. } => {
                run.restarts == 0 && matches!(reason.as_str(), "ContainerCreating" | "PodInitializing")
            }
            _ => false,
        };
        if now < self.quiet_until() && self.runs.iter().all(starting) && !self.over {
            return;
        }
        let status = self.status(now);
        if self
            .written
            .as_ref()
            .is_some_and(|written| timeless(written) == timeless(&status))
        {
            return;
        }
        self.writing = true;
        let (shared, key) = (self.shared.clone(), self.key.clone());
        self.jobs.spawn(async move {
            let outcome = write_status(&shared, &key, &status).await;
            Job::Wrote(Box::new(status), outcome)
        });
    }

    fn on_wrote(&mut self, status: PodStatus, outcome: Result<Box<Pod>, WriteFailure>) {
        self.writing = false;
        match outcome {
            Ok(pod) => {
                self.write_failures = 0;
                self.write_after = None;
                self.written = Some(status);
                self.pod = Arc::from(pod);
            }
            Err(WriteFailure::Gone) => self.gone = true,
            Err(WriteFailure::Other(error)) => {
                self.write_failures = self.write_failures.saturating_add(1);
                let pause = sync::back_off(self.write_failures, WRITE_PAUSE).min(LONGEST_WRITE_PAUSE);
                self.write_after = Timestamp::now().checked_add(pause).ok();
                tracing::warn!(%error, pod = %self.key.name, "pod status not written");
            }
        }
    }

    /// Writes the final status, whatever it takes, and completes a deletion.
    async fn finish(&mut self) {
        self.jobs_but_writes_end();
        loop {
            let now = Timestamp::now();
            let last = self.status(now);
            let told = self
                .written
                .as_ref()
                .is_some_and(|written| timeless(written) == timeless(&last));
            if self.gone || (told && !self.writing) {
                break;
            }
            self.write(now);
            self.wait(self.write_after).await;
            if self.shutdown.is_cancelled() && self.write_failures > 2 {
                break;
            }
        }
        if !self.gone && self.pod.metadata.deletion_timestamp.is_some() {
            complete_deletion(&self.shared, &self.key).await;
        }
    }

    /// Readiness probes have nothing to say any more.
    fn jobs_but_writes_end(&mut self) {
        if !self.writing {
            self.jobs.abort_all();
            self.jobs = JoinSet::new();
        }
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

/// The status without the times at which conditions changed, for comparison.
fn timeless(status: &PodStatus) -> PodStatus {
    let mut status = status.clone();
    for condition in status.conditions.iter_mut().flatten() {
        condition.last_transition_time = None;
        condition.last_probe_time = None;
    }
    status
}

/// The uid in the patch makes the API server refuse it when another pod has the name now.
async fn write_status(shared: &Shared, key: &PodKey, status: &PodStatus) -> Result<Box<Pod>, WriteFailure> {
    let api: Api<Pod> = Api::namespaced(shared.client.clone(), &key.namespace);
    let patch = Patch::Merge(serde_json::json!({ "metadata": { "uid": key.uid }, "status": status }));
    let params = PatchParams::default();
    match tokio::time::timeout(CALL_TIMEOUT, api.patch_status(&key.name, &params, &patch)).await {
        Ok(Ok(pod)) if pod.metadata.uid.as_deref() == Some(&key.uid) => Ok(Box::new(pod)),
        Ok(Ok(_)) => Err(WriteFailure::Gone),
        Ok(Err(kube::Error::Api(error))) if error.is_not_found() || error.is_conflict() => {
            Err(WriteFailure::Gone)
        }
        Ok(Err(error)) => Err(WriteFailure::Other(error.to_string())),
        Err(_) => Err(WriteFailure::Other(
            "the API server did not answer in time".to_owned(),
        )),
    }
}

/// `DELETE` with grace 0: the containers have ended. Finalizers may keep the object all the same.
pub async fn complete_deletion(shared: &Shared, key: &PodKey) {
    let api: Api<Pod> = Api::namespaced(shared.client.clone(), &key.namespace);
    let params = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions {
            uid: Some(key.uid.clone()),
            ..Preconditions::default()
        }),
        ..DeleteParams::default()
    };
    match tokio::time::timeout(CALL_TIMEOUT, api.delete(&key.name, &params)).await {
        Ok(Ok(_)) => {}
        Ok(Err(kube::Error::Api(error))) if error.is_not_found() || error.is_conflict() => {}
        Ok(Err(error)) => tracing::warn!(%error, pod = %key.name, "pod deletion not completed"),
        Err(_) => tracing::warn!(pod = %key.name, "pod deletion not completed in time"),
    }
}
