//! How a worker tells what it knows: the pod's status, and the end of a deletion.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::task::JoinSet;

use super::{Job, Worker, WriteFailure};
use crate::local::node::options::Shared;
use crate::local::node::prepare::CALL_TIMEOUT;
use crate::local::node::runtime::PodKey;
use crate::local::node::status::{Verdict, View, pod_status};
use crate::local::node::sync::{self, Cause, Run, State};

/// First and longest pause before a failed status write is tried again.
const WRITE_PAUSE: SignedDuration = SignedDuration::from_millis(200);
const LONGEST_WRITE_PAUSE: SignedDuration = SignedDuration::from_secs(5);

impl Worker {
    pub(super) fn status(&self, now: Timestamp) -> PodStatus {
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
    pub(super) fn write(&mut self, now: Timestamp) {
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

    pub(super) fn on_wrote(&mut self, status: PodStatus, outcome: Result<Box<Pod>, WriteFailure>) {
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
    pub(super) async fn finish(&mut self) {
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
    pub(super) fn jobs_but_writes_end(&mut self) {
        if !self.writing {
            self.jobs.abort_all();
            self.jobs = JoinSet::new();
        }
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

/// The uid makes the API server refuse the patch when another pod has the name now. The patch is a strategic one, as a
/// kubelet's: conditions are merged by type, so that one which somebody added meanwhile (an eviction does) stays.
fn status_patch(key: &PodKey, status: &PodStatus) -> Value {
    let mut patch = json!({ "metadata": { "uid": key.uid }, "status": status });
    for condition in patch["status"]["conditions"].as_array_mut().into_iter().flatten() {
        // What is left out of a merged condition would keep its earlier value.
        for field in ["reason", "message"] {
            if condition.get(field).is_none() {
                condition[field] = Value::Null;
            }
        }
    }
    patch
}

async fn write_status(shared: &Shared, key: &PodKey, status: &PodStatus) -> Result<Box<Pod>, WriteFailure> {
    let api: Api<Pod> = Api::namespaced(shared.client.clone(), &key.namespace);
    let patch = Patch::Strategic(status_patch(key, status));
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
