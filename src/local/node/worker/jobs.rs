//! What finished jobs mean for the containers' runs.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{Job, Volumes, Worker, field_path};
use crate::local::events::{EventType, reference};
use crate::local::node::prepare::{self, Folders, PrepareError};
use crate::local::node::runtime::{Exit, LogHandle, StartFailure, Started};
use crate::local::node::status::UNKNOWN_CODE;
use crate::local::node::sync::{self, Role, State, Terminated};
use crate::local::node::volumes::VolumeError;
use crate::local::node::{ending, probe};

/// kubelet's pause before volumes are tried again; doubles up to [`LONGEST_MOUNT_PAUSE`].
const MOUNT_PAUSE: SignedDuration = SignedDuration::from_millis(500);
const LONGEST_MOUNT_PAUSE: SignedDuration = SignedDuration::from_secs(122);
/// A container that cannot be configured is looked at again after so long, as by kubelet's sync loop.
const CONFIG_PAUSE: SignedDuration = SignedDuration::from_secs(10);

impl Worker {
    pub(super) fn on_job(&mut self, job: Job) {
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

    pub(super) fn on_prepared(&mut self, outcome: Result<Folders, PrepareError>) {
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

    pub(super) fn all_wait(&mut self, reason: &str, message: Option<String>) {
        for run in &mut self.runs {
            self.shared.logs.waits(&self.key.uid, &run.name, reason);
            run.state = State::Waiting {
                reason: reason.to_owned(),
                message: message.clone(),
                until: None,
            };
        }
    }

    pub(super) fn on_started(&mut self, index: usize, started: Started) {
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

    pub(super) fn watch_readiness(&mut self, index: usize, was_ready: bool) {
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

    pub(super) fn on_ended(&mut self, index: usize, end: Terminated) {
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

    pub(super) fn mains_are_over_but(&self, index: usize) -> bool {
        let others = self
            .runs
            .iter()
            .enumerate()
            .filter(|(at, run)| *at != index && run.role == Role::Main);
        others
            .into_iter()
            .all(|(_, run)| matches!(run.state, State::Terminated(_)))
    }

    pub(super) fn on_start_failed(&mut self, index: usize, failure: StartFailure) {
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

    pub(super) fn say(&self, index: usize, type_: EventType, reason: &'static str, message: String) {
        let path = self
            .runs
            .get(index)
            .zip(self.containers.get(index))
            .map(|(run, container)| field_path(run, container));
        self.shared
            .events
            .emit(reference(&*self.pod, path), type_, reason, message);
    }
}
