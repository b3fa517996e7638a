//! Starting an attempt: Function, queue, pod.

use std::{sync::Arc, time::Duration};

use k8s_openapi::{
    api::{core::v1::Pod, networking::v1::NetworkPolicy},
    jiff::{SignedDuration, Timestamp},
};
use kube::{ResourceExt, api::PostParams};
use kube_runtime::{controller::Action, reflector::ObjectRef};

use super::{
    egress, finish,
    outcome::{self, Outcome, Reason},
    plan,
    reconcile::{Error, Subject, owns},
    status,
    suspend::{self, Held},
    version, write,
};
use crate::{
    chain::chain,
    crd::{Function, FunctionSpec, Phase, Task, TaskStatus},
    engine::{
        context::{CallError, Context},
        pod,
        resolve::{self, Run, SpecError},
    },
};

/// Without leadership this process is about to end; it looks again in case it leads after all.
pub const LEASE_RETRY: Duration = Duration::from_secs(1);
/// How long a Task may be ahead of its service account.
const ACCOUNT_GRACE: SignedDuration = SignedDuration::from_secs(15);
/// A refusal for want of quota is asked again after so long.
const QUOTA_RETRY: Duration = Duration::from_secs(10);

/// Makes the pod of an attempt, if Function, queue and policy allow it.
///
/// # Errors
/// [`Error::Call`] where the API server did not do what was asked.
pub async fn start(ctx: &Arc<Context>, subject: &Subject, attempt: u32) -> Result<Action, Error> {
    if let Some(wait) = wait_to_be_let_go(ctx, subject).await? {
        return Ok(wait);
    }
    if let Some(wait) = wait_for_turn(ctx, subject).await? {
        return Ok(wait);
    }
    // The cache may be behind, and it holds no bodies. A start is the one thing that cannot be taken back, so it is
    // decided on what the API server says now.
    let Some(task) = write::refresh(ctx, subject).await? else {
        return Ok(Action::await_change());
    };
    if changed(&subject.task, &task) {
        ctx.wake(subject.reference());
        return Ok(Action::await_change());
    }
    let subject = &subject.with(Arc::new(task));
    match prepare(ctx, subject, attempt).await? {
        Prepared::Pod(pod, policy) => create(ctx, subject, &pod, policy.as_deref()).await,
        Prepared::Wait(wait) => Ok(Action::requeue(wait)),
        Prepared::Impossible(outcome) => end(ctx, subject, outcome).await,
    }
}

async fn end(ctx: &Arc<Context>, subject: &Subject, outcome: Outcome) -> Result<Action, Error> {
    finish::finish(ctx, subject, None, Some(outcome), None, None).await
}

/// True where a fresh Task says other than the cached one about what a start is decided on.
pub fn changed(cached: &Task, fresh: &Task) -> bool {
    let key = |task: &Task| {
        let status = task.status.clone().unwrap_or_default();
        (
            status.phase,
            status.attempts,
            status.pod,
            status.next_attempt_at,
            task.spec.cancel,
            task.spec.suspend,
            status.reported_end.is_some(),
        )
    };
    key(cached) != key(fresh) || fresh.metadata.deletion_timestamp.is_some()
}

/// The action to take where somebody holds the Task back.
async fn wait_to_be_let_go(ctx: &Arc<Context>, subject: &Subject) -> Result<Option<Action>, Error> {
    let limit = suspend::limit(ctx, &subject.task);
    let wait = match suspend::held(&subject.task, limit, ctx.config.pending_after, Timestamp::now()) {
        Held::No => return Ok(None),
        Held::Quiet(wait) => Some(wait),
        Held::Shown(wait) => {
            queue_up(ctx, subject, "Suspended", "the Task is suspended").await?;
            wait
        }
        Held::Over(outcome) => return end(ctx, subject, outcome).await.map(Some),
    };
    Ok(Some(wait.map_or_else(Action::await_change, Action::requeue)))
}

/// The action to take where the Task has to wait for its turn.
async fn wait_for_turn(ctx: &Arc<Context>, subject: &Subject) -> Result<Option<Action>, Error> {
    let Some(key) = Context::function_key(&subject.task) else {
        return Ok(None);
    };
    let reference = ObjectRef::new(&key.1).within(&key.0);
    let Some(function) = ctx.caches.functions.get(&reference) else {
        return Ok(None);
    };
    if function.spec.paused == Some(true) {
        ctx.queue.leave(&subject.uid);
        let message = format!("function {} is paused", key.1);
        return queue_up(ctx, subject, "FunctionPaused", &message).await.map(Some);
    }
    let Some(limit) = ctx.limit(&key) else {
        return Ok(None);
    };
    if ctx.queue.ask(&key, limit, &subject.task) {
        return Ok(None);
    }
    let message = format!("function {} runs at most {limit} Tasks at once", key.1);
    queue_up(ctx, subject, "ConcurrencyLimit", &message)
        .await
        .map(Some)
}

async fn queue_up(
    ctx: &Arc<Context>,
    subject: &Subject,
    reason: &str,
    message: &str,
) -> Result<Action, Error> {
    let old = subject.task.status.clone().unwrap_or_default();
    let next = status::queued(
        &old,
        reason,
        message,
        plan::moment(&subject.task, Timestamp::now()),
    );
    write::status(ctx, subject, &next).await?;
    // Woken when a turn is free or the Function changes.
    Ok(Action::await_change())
}

enum Prepared {
    /// The pod, and the policy that must be there before it.
    Pod(Box<Pod>, Option<Box<NetworkPolicy>>),
    Wait(Duration),
    Impossible(Outcome),
}

async fn prepare(ctx: &Arc<Context>, subject: &Subject, attempt: u32) -> Result<Prepared, Error> {
    let spec = &subject.task.spec;
    if let Some(actions) = &spec.actions {
        return Ok(pod_of(
            ctx,
            subject,
            attempt,
            resolve::resolve_actions(spec, actions),
        ));
    }
    let (function, name) = match (&spec.function, &spec.function_ref) {
        (Some(inline), _) => (inline.clone(), None),
        (None, Some(reference)) => match function(ctx, subject, &reference.name, reference.version).await? {
            Found::Spec(function) => (*function, Some(reference.name.as_str())),
            Found::Wait(wait) => return Ok(Prepared::Wait(wait)),
            Found::Not(outcome) => return Ok(Prepared::Impossible(outcome)),
        },
        (None, None) => {
            let words = "none of functionRef, function and actions is set";
            return Ok(Prepared::Impossible(Outcome::new(Reason::InvalidSpec, words)));
        }
    };
    Ok(pod_of(
        ctx,
        subject,
        attempt,
        resolve::resolve(spec, &function, name),
    ))
}

/// The pod of a run, or why there is none.
fn pod_of(ctx: &Context, subject: &Subject, attempt: u32, run: Result<Run, SpecError>) -> Prepared {
    let impossible = |reason, words| Prepared::Impossible(Outcome::new(reason, words));
    let run = match run {
        Ok(run) => run,
        Err(error @ SpecError::Actions(_)) => return impossible(Reason::InvalidActions, error.to_string()),
        Err(error) => return impossible(Reason::InvalidSpec, chain(&error)),
    };
    match pod::build(&subject.task, &run, attempt, &ctx.config.runner, ctx.delivery) {
        Ok(pod) => {
            let policy = pod::egress::policy(&subject.task, &run).map(Box::new);
            Prepared::Pod(Box::new(pod), policy)
        }
        Err(error) => impossible(Reason::InvalidSpec, chain(&error)),
    }
}

enum Found {
    Spec(Box<FunctionSpec>),
    Wait(Duration),
    Not(Outcome),
}

async fn function(
    ctx: &Arc<Context>,
    subject: &Subject,
    name: &str,
    version: Option<i64>,
) -> Result<Found, Error> {
    if let Some(cached) = ctx
        .caches
        .functions
        .get(&ObjectRef::new(name).within(&subject.namespace))
    {
        return found(ctx, &cached, version).await;
    }
    let api = ctx.functions(&subject.namespace);
    match ctx.call("get a Function", api.get_opt(name)).await {
        Ok(Some(function)) => found(ctx, &function, version).await,
        Ok(None) => {
            let made = subject
                .task
                .creation_timestamp()
                .map_or(Timestamp::UNIX_EPOCH, |time| time.0);
            let left = ctx
                .config
                .function_grace
                .saturating_sub(plan::since(made, Timestamp::now()));
            if !left.is_zero() {
                return Ok(Found::Wait(left.min(Duration::from_millis(250))));
            }
            let words = format!("there is no function {name} in namespace {}", subject.namespace);
            Ok(Found::Not(Outcome::new(Reason::FunctionNotFound, words)))
        }
        Err(error) if error.is_undecodable() => Ok(Found::Not(Outcome::new(
            Reason::InvalidSpec,
            format!("function {name} cannot be read: {}", chain(&error)),
        ))),
        Err(error) => Err(error.into()),
    }
}

/// What a version of a Function says, or the Function as it stands.
async fn found(ctx: &Context, function: &Function, version: Option<i64>) -> Result<Found, Error> {
    let Some(version) = version.filter(|version| *version > 0) else {
        return Ok(Found::Spec(Box::new(function.spec.clone())));
    };
    let outcome = match version::spec(ctx, function, version).await? {
        Ok(spec) => return Ok(Found::Spec(Box::new(spec))),
        Err(version::Missing::None) => {
            let words = format!("function {} has no version {version}", function.name_any());
            Outcome::new(Reason::FunctionNotFound, words)
        }
        Err(version::Missing::Unreadable(words)) => Outcome::new(Reason::InvalidSpec, words),
    };
    Ok(Found::Not(outcome))
}

async fn create(
    ctx: &Arc<Context>,
    subject: &Subject,
    pod: &Pod,
    policy: Option<&NetworkPolicy>,
) -> Result<Action, Error> {
    let api = ctx.pods(&subject.namespace);
    let params = PostParams {
        field_manager: Some(ctx.config.instance.clone()),
        ..PostParams::default()
    };
    // A process that was paused may wake up right here, when another leads already.
    if !ctx.leadership.is_held_now() {
        tracing::warn!(task = %subject.name, namespace = %subject.namespace, "the lease has run out: no pod is made");
        return Ok(Action::requeue(LEASE_RETRY));
    }
    if let Some(policy) = policy
        && let Some(outcome) = egress::close(ctx, subject, policy).await?
    {
        return end(ctx, subject, outcome).await;
    }
    match ctx.call("create a pod", api.create(&params, pod)).await {
        Ok(_) => {
            ctx.metrics.api_write("create", "pods");
            ctx.metrics.pod_created();
            // The pod's own events bring the Task back; this is for the case that none come.
            Ok(Action::requeue(ctx.config.pending_after))
        }
        Err(error) if error.is_already_exists() => met_pod(ctx, subject, &pod.name_any()).await,
        Err(error) => refused(ctx, subject, error).await,
    }
}

/// A pod of that name exists: made by this controller before it was stopped, or not in the cache yet.
async fn met_pod(ctx: &Arc<Context>, subject: &Subject, name: &str) -> Result<Action, Error> {
    let api = ctx.pods(&subject.namespace);
    match ctx.call("get a pod", api.get_opt(name)).await? {
        Some(pod) if !owns(&subject.task, &pod) => {
            let words = format!("pod {name} exists and belongs to something else");
            end(ctx, subject, Outcome::new(Reason::PodRefused, words)).await
        }
        _ => Ok(Action::requeue(Duration::from_millis(500))),
    }
}

async fn refused(ctx: &Arc<Context>, subject: &Subject, error: CallError) -> Result<Action, Error> {
    let Some(answer) = error.status() else {
        return Err(error.into());
    };
    if answer.is_forbidden() && answer.message.contains("exceeded quota") {
        queue_up(ctx, subject, "QuotaExceeded", &answer.message).await?;
        return Ok(Action::requeue(QUOTA_RETRY));
    }
    let age = subject
        .task
        .creation_timestamp()
        .map(|made| Timestamp::now().duration_since(made.0));
    if is_too_early(answer.code, &answer.message, age.unwrap_or_default()) {
        return Err(error.into());
    }
    // 400 and 422: the pod itself is wrong. 403: policy says no, or the namespace is going away. 413: Task and Function,
    // each within the limit on objects, are above it together.
    if matches!(answer.code, 400 | 403 | 413 | 422) {
        let words = format!("the API server refused the pod: {}", answer.message);
        return end(ctx, subject, Outcome::new(Reason::PodRefused, words)).await;
    }
    Err(error.into())
}

/// A Task may come right behind its namespace or its service account, and API servers refuse pods of an account that they
/// do not know yet (Kubernetes, ServiceAccount admission controller).
fn is_too_early(code: u16, message: &str, age: SignedDuration) -> bool {
    code == 403 && message.contains("error looking up service account") && age < ACCOUNT_GRACE
}

/// The pod that status names is not in the cache: asks the API server, and ends the attempt if it is really gone.
///
/// # Errors
/// [`Error::Call`] where the API server did not answer.
pub async fn confirm_lost(ctx: &Arc<Context>, subject: &Subject, name: &str) -> Result<Action, Error> {
    let api = ctx.pods(&subject.namespace);
    let found: Option<Pod> = ctx.call("get a pod", api.get_opt(name)).await?;
    let known = |status: &TaskStatus| status.pod.as_ref().and_then(|pod| pod.uid.clone());
    let expected = subject.task.status.as_ref().and_then(known);
    if found.is_some_and(|pod| pod.uid() == expected) {
        return Ok(Action::requeue(Duration::from_millis(500)));
    }
    // What ended the attempt may have been written by now, by this controller's predecessor.
    let Some(task) = write::refresh(ctx, subject).await? else {
        return Ok(Action::await_change());
    };
    if task
        .status
        .as_ref()
        .and_then(|status| status.phase)
        .is_some_and(Phase::is_terminal)
    {
        return Ok(Action::await_change());
    }
    let reported = task
        .status
        .as_ref()
        .and_then(|status| status.reported_end.as_ref());
    let outcome = match reported {
        Some(end) => outcome::reported(end, None),
        None if subject.task.spec.cancel == Some(true) => outcome::cancelled_outcome(),
        None => Outcome::new(Reason::PodLost, format!("pod {name} vanished")),
    };
    end(ctx, &subject.with(Arc::new(task)), outcome).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_whose_account_is_not_there_yet_is_asked_for_again_for_a_while() {
        let words = "pods \"t-1\" is forbidden: error looking up service account ns/default: serviceaccount \"default\" not found";
        let early = SignedDuration::from_secs(14);
        assert!(is_too_early(403, words, early));
        assert!(!is_too_early(403, words, SignedDuration::from_secs(15)));
        assert!(!is_too_early(
            403,
            "pods \"t-1\" is forbidden: exceeded quota: q",
            early
        ));
        assert!(!is_too_early(404, words, early));
    }
}
