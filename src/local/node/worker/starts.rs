//! What a worker sets off: volumes, starts, signals.

use jiff::{SignedDuration, Timestamp};

use super::{Job, Volumes, Worker, field_path};
use crate::local::events::{EventType, reference};
use crate::local::node::prepare::{self, Folders, PrepareError};
use crate::local::node::runtime::{ContainerConfig, ImageNeeded, Runtime, StartFailure, StopSignal};
use crate::local::node::sync::{Action, Role, State};

/// Seconds until a failed renewal of tokens is tried again.
const TOKEN_RETRY: i64 = 60;

impl Worker {
    pub(super) fn prepare(&mut self, now: Timestamp) {
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
    pub(super) fn plan_refresh(&mut self, failed: bool) {
        let wanted = self
            .pod
            .spec
            .as_ref()
            .map(crate::local::node::volumes::tokens)
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

    pub(super) fn on_refreshed(&mut self, outcome: Result<Folders, PrepareError>) {
        if let Err(error) = &outcome {
            tracing::warn!(error = error as &dyn std::error::Error, pod = %self.key.name, "tokens not refreshed");
        }
        self.plan_refresh(outcome.is_err());
    }

    pub(super) fn act(&mut self, action: Action) {
        match action {
            Action::Start(index) => self.start(index),
            Action::Terminate(index) => self.signal(index, StopSignal::Terminate),
            Action::Kill(index) => self.signal(index, StopSignal::Kill),
        }
    }

    pub(super) fn signal(&mut self, index: usize, signal: StopSignal) {
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

    pub(super) fn start(&mut self, index: usize) {
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
                let say = |reason, message| {
                    shared
                        .events
                        .emit(about.clone(), EventType::Normal, reason, message)
                };
                tokio::select! {
                    present = ensure_image(&shared.runtime, &config, say) => present?,
                    () = halt.cancelled() => {
                        return Err(StartFailure::Create("the pod is being stopped".to_owned()));
                    }
                }
                shared.runtime.start(config).await
            };
            Job::Started(index, begun.await)
        });
    }
}

/// Makes the image present and tells of it in a kubelet's words.
async fn ensure_image(
    runtime: &Runtime,
    config: &ContainerConfig,
    say: impl Fn(&'static str, String),
) -> Result<(), StartFailure> {
    let image = &config.image;
    match runtime.image_needed(config).await? {
        ImageNeeded::No => {}
        ImageNeeded::Present => say(
            "Pulled",
            format!("Container image {image:?} already present on machine"),
        ),
        ImageNeeded::Pull => {
            say("Pulling", format!("Pulling image {image:?}"));
            let began = Timestamp::now();
            runtime.pull(config).await?;
            let took = Timestamp::now().duration_since(began).as_secs_f64();
            say(
                "Pulled",
                format!("Successfully pulled image {image:?} in {took:.3}s"),
            );
        }
    }
    Ok(())
}
