//! The end of an attempt: evidence first, then the status, then the pod is let go.

use std::{sync::Arc, time::Duration};

use futures::io::AsyncReadExt;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::{Api, api::LogParams};
use kube_runtime::controller::Action;

use super::{
    evidence::{FetchedLog, Gathered, LogRequest, Testimony, gather},
    letgo,
    outcome::{self, Outcome, Reason},
    plan::{self, Next},
    reconcile::{Error, Subject, is_over},
    status,
    view::{Ended, PodView, RunState},
    write,
};
use crate::{
    chain::chain,
    crd::{CallbackState, Phase, ReportedEnd, Task, TaskResult, TaskStatus},
    engine::{context::Context, pod::CONTAINER, resolve::RetryPolicy},
};

/// Limit on reading a log: a node that does not answer must not hold up the end of its Tasks.
const LOG_TIMEOUT: Duration = Duration::from_secs(60);
/// The same where the node is not expected to answer.
const LOST_LOG_TIMEOUT: Duration = Duration::from_secs(5);

/// Ends the attempt, or the Task.
///
/// # Errors
/// [`Error::Call`] where the API server did not do what was asked; nothing is lost then, since the pod is let go only
/// after the evidence is stored.
pub async fn finish(
    ctx: &Arc<Context>,
    subject: &Subject,
    pod: Option<&PodView>,
    outcome: Option<Outcome>,
    ended: Option<Ended>,
    answer: Option<Box<TaskResult>>,
) -> Result<Action, Error> {
    let whole;
    let subject = if reported(&subject.task).is_some() {
        // The cache holds no bodies, and the result that was reported has one.
        match write::refresh(ctx, subject).await? {
            Some(task) if !is_over(&task) => {
                whole = subject.with(Arc::new(task));
                &whole
            }
            _ => return Ok(Action::await_change()),
        }
    } else {
        subject
    };
    let cancelled = subject.task.spec.cancel == Some(true);
    let (gathered, outcome) = match pod {
        Some(pod) => {
            collect(
                ctx,
                subject,
                pod,
                outcome,
                ended.as_ref(),
                answer.is_some(),
                cancelled,
            )
            .await
        }
        None => (Gathered::default(), outcome),
    };
    let gathered = match reported(&subject.task).and_then(|end| end.result.clone()) {
        Some(result) => Gathered {
            result: Some(result),
            ..gathered
        },
        None => gathered,
    };
    let old = subject.task.status.clone().unwrap_or_default();
    let now = Timestamp::now();
    let moment = plan::moment(&subject.task, now);
    let (reason, next) = match (answer, pod) {
        (Some(answer), Some(pod)) => (
            Reason::Completed,
            status::answered(&old, pod, *answer, gathered, moment),
        ),
        _ => {
            let outcome = outcome.unwrap_or_else(outcome::cancelled_outcome);
            let attempt = pod.map_or_else(|| old.attempts.unwrap_or(1), |pod| pod.attempt);
            let policy = policy(subject, pod);
            let next = match plan::settle(&subject.task, &outcome, attempt, &policy) {
                Next::Again(wait) => {
                    let at = now + SignedDuration::try_from(wait).unwrap_or(SignedDuration::ZERO);
                    status::retrying(&old, &outcome, &gathered, at, moment)
                }
                Next::End => status::finished(&old, pod, &outcome, gathered, moment),
            };
            (outcome.reason, next)
        }
    };
    if write::status(ctx, subject, &next).await?.is_none() {
        return Ok(Action::await_change());
    }
    announce(ctx, subject, &next, reason);
    ctx.leave_queue(&subject.uid);
    ctx.requests.forget(&subject.uid);
    ctx.progress.forget(&subject.uid);
    letgo::release_soon(ctx, subject, pod).await?;
    Ok(Action::await_change())
}

/// Writes what came of a callback.
///
/// # Errors
/// [`Error::Call`] where the API server did not do it; what came is kept until it does.
pub async fn told(ctx: &Arc<Context>, subject: &Subject, next: &TaskStatus) -> Result<Action, Error> {
    if write::status(ctx, subject, next).await?.is_none() {
        return Ok(Action::await_change());
    }
    ctx.callbacks.forget(&subject.uid);
    let callback = next.callback.clone().unwrap_or_default();
    let message = callback.message.unwrap_or_default();
    if callback.state.is_over() {
        ctx.metrics
            .callback_ended(callback.state == CallbackState::Delivered);
    }
    if callback.state == CallbackState::Failed {
        ctx.events
            .warn(subject.task.as_ref(), "CallbackFailed", "Callback", &message);
    }
    tracing::info!(
        task = %subject.name, namespace = %subject.namespace, state = %callback.state,
        tries = callback.attempts, %message, "told of the end of a Task"
    );
    Ok(Action::await_change())
}

fn reported(task: &Task) -> Option<&ReportedEnd> {
    task.status.as_ref()?.reported_end.as_ref()
}

/// The policy that the attempt ran under. Without a pod the Task's own is all there is.
fn policy(subject: &Subject, pod: Option<&PodView>) -> RetryPolicy {
    let facts = pod.and_then(|pod| pod.facts.as_ref());
    facts.map_or_else(
        || RetryPolicy::of(subject.task.spec.retry.as_ref()),
        |facts| facts.retry.clone(),
    )
}

/// Evidence and outcome of a pod.
async fn collect(
    ctx: &Arc<Context>,
    subject: &Subject,
    pod: &PodView,
    outcome: Option<Outcome>,
    ended: Option<&Ended>,
    answered: bool,
    cancelled: bool,
) -> (Gathered, Option<Outcome>) {
    let started = has_run(pod, subject.task.status.as_ref());
    let Some(facts) = &pod.facts else {
        let outcome = outcome.or_else(|| ended.map(|ended| outcome::of_end(pod, ended, None, cancelled)));
        return (Gathered::default(), outcome);
    };
    let testimony = Testimony::of(facts, ended);
    let outcome = outcome.or_else(|| match ended {
        Some(ended) if !answered => Some(outcome::of_end(pod, ended, testimony.record(), cancelled)),
        _ => None,
    });
    if !started {
        return (Gathered::default(), outcome);
    }
    let log = match testimony.log_request(facts) {
        Some(request) => {
            let limit = if ended.is_some() || answered {
                LOG_TIMEOUT
            } else {
                LOST_LOG_TIMEOUT
            };
            Some(fetch_log(&ctx.pods(&subject.namespace), &pod.pod.name, request, limit).await)
        }
        None => None,
    };
    (gather(facts, &testimony, ended, log), outcome)
}

/// Whether the pod's container has run, and so left evidence. Kubelets before 1.22 take the container's state out of the
/// pod that they evict; then the Task knows.
fn has_run(pod: &PodView, status: Option<&TaskStatus>) -> bool {
    match &pod.state {
        RunState::Waiting(_) => false,
        RunState::Running { .. } => true,
        RunState::Ended(end) if end.exit_code.is_some() => true,
        RunState::Ended(_) => status.is_some_and(|status| {
            let uid = status.pod.as_ref().and_then(|pod| pod.uid.as_ref());
            status.phase == Some(Phase::Running) && uid == pod.pod.uid.as_ref()
        }),
    }
}

/// Reads the end of a container's log with bounded memory; an error comes back in words.
async fn fetch_log(
    api: &Api<k8s_openapi::api::core::v1::Pod>,
    pod: &str,
    request: LogRequest,
    limit: Duration,
) -> Result<FetchedLog, String> {
    let params = LogParams {
        container: Some(CONTAINER.into()),
        tail_lines: request.tail_lines,
        ..LogParams::default()
    };
    let read = async {
        let mut stream = Box::pin(
            api.log_stream(pod, &params)
                .await
                .map_err(|error| chain(&error))?,
        );
        let mut log = FetchedLog::default();
        let mut chunk = vec![0; 64 * 1024];
        loop {
            let count = stream.read(&mut chunk).await.map_err(|error| chain(&error))?;
            if count == 0 {
                let surplus = log.bytes.len().saturating_sub(request.keep);
                log.bytes.drain(..surplus);
                return Ok(log);
            }
            log.size += count as u64;
            log.bytes.extend_from_slice(&chunk[..count]);
            // Draining only at twice the size keeps the copying linear.
            if log.bytes.len() > request.keep.saturating_mul(2).saturating_add(chunk.len()) {
                let surplus = log.bytes.len() - request.keep;
                log.bytes.drain(..surplus);
            }
        }
    };
    tokio::time::timeout(limit, read)
        .await
        .unwrap_or_else(|_| Err(format!("not read within {limit:?}")))
}

/// Counts the end and makes an Event of a bad one.
fn announce(ctx: &Context, subject: &Subject, status: &TaskStatus, reason: Reason) {
    let reason = reason.word();
    let message = status.message.clone().unwrap_or_default();
    let phase = status.phase.unwrap_or(Phase::Failed);
    match phase {
        Phase::Succeeded => {}
        Phase::Cancelled => ctx
            .events
            .normal(subject.task.as_ref(), reason, "Finish", &message),
        _ => ctx.events.warn(subject.task.as_ref(), reason, "Finish", &message),
    }
    if phase.is_terminal() {
        ctx.metrics.task_ended(phase, reason);
    }
    tracing::info!(
        task = %subject.name, namespace = %subject.namespace, %phase, reason,
        attempt = status.attempts.unwrap_or(1), "attempt ended"
    );
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_pod_that_lost_its_containers_state_has_run_where_the_task_says_so() {
        let pod = |statuses: Value| {
            let pod = json!({
                "metadata": {"name": "t-1", "uid": "pod-uid"}, "spec": {"nodeName": "n", "containers": []},
                "status": {"phase": "Failed", "reason": "Evicted", "containerStatuses": statuses},
            });
            PodView::of(&serde_json::from_value(pod).unwrap(), None)
        };
        let status = |phase: &str, uid: &str| -> TaskStatus {
            serde_json::from_value(json!({"phase": phase, "pod": {"name": "t-1", "uid": uid}})).unwrap()
        };
        let evicted = pod(json!([]));
        assert!(has_run(&evicted, Some(&status("Running", "pod-uid"))));
        assert!(!has_run(&evicted, Some(&status("Pending", "pod-uid"))));
        assert!(!has_run(&evicted, Some(&status("Running", "older"))));
        assert!(!has_run(&evicted, None));
        let ended = pod(
            json!([{"name": "task", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": 137}}}]),
        );
        assert!(has_run(&ended, None));
    }
}
