//! One look at a Task: observe, decide, do one thing. Level-triggered: what is done depends on what is there, not on
//! why the look was taken.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::jiff::Timestamp;
use kube::{Resource, ResourceExt};
use kube_runtime::{controller::Action, reflector::ObjectRef};

use super::{
    finish, letgo,
    plan::{self, Observed, Step},
    start,
    view::{PodView, RunState},
    write,
};
use crate::{
    crd::{Phase, Task},
    engine::{
        callback::desk,
        context::{CallError, Context},
        resolve::DEFAULT_TTL,
    },
};

/// Why a look at a Task did not come to its end; it is taken again after a while.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server did not do what was asked.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The Task has no namespace or uid, which the API server gives to every object.
    #[error("the Task has no {0}")]
    Nameless(&'static str),
}

impl Error {
    /// A static word for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Call(error) => error.label(),
            Self::Nameless(_) => "nameless",
        }
    }
}

/// The Task that a look is about, with its names.
pub struct Subject {
    /// The Task, as new as this controller knows it.
    pub task: Arc<Task>,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

impl Subject {
    /// Takes the names out of a Task.
    ///
    /// # Errors
    /// [`Error::Nameless`] for a Task that no API server has seen.
    pub fn new(task: Arc<Task>) -> Result<Self, Error> {
        Ok(Self {
            namespace: task.namespace().ok_or(Error::Nameless("namespace"))?,
            name: task.name_any(),
            uid: task.uid().ok_or(Error::Nameless("uid"))?,
            task,
        })
    }

    /// The same names with a newer state of the Task.
    pub fn with(&self, task: Arc<Task>) -> Self {
        Self {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            task,
        }
    }

    /// Reference for the controller's queue.
    pub fn reference(&self) -> ObjectRef<Task> {
        ObjectRef::from_obj(self.task.as_ref())
    }
}

/// Looks at a Task once.
///
/// # Errors
/// [`Error`] where the API server did not do what was asked.
pub async fn reconcile(cached: Arc<Task>, ctx: Arc<Context>) -> Result<Action, Error> {
    ctx.line_up().await;
    let subject = Subject::new(ctx.recent.newest(cached))?;
    let pods = ctx.pods_of(&subject.task);
    let attempt = subject
        .task
        .status
        .as_ref()
        .and_then(|status| status.attempts)
        .unwrap_or(1);
    let current = pods.iter().find(|pod| pod.attempt == attempt);
    hold_turn(&ctx, &subject, current);
    let seen = Observed {
        task: &subject.task,
        now: Timestamp::now(),
        pods: &pods,
        node: ctx
            .node_health(current.filter(|_| !is_over(&subject.task)))
            .await?,
        request: ctx.requests.state(&subject.uid, attempt),
        callback: ctx.callbacks.state(&subject.uid),
        ttl: ttl(&ctx, &subject.task),
        lag: ctx.lag.at(Instant::now()),
    };
    let plan = plan::decide(&seen, &ctx.config);
    tracing::debug!(task = %subject.name, namespace = %subject.namespace, step = ?plan.step, "decided");
    for name in &plan.let_go {
        let pod = pods.iter().find(|pod| pod.pod.name == *name);
        letgo::release_soon(&ctx, &subject, pod).await?;
    }
    act(&ctx, &subject, &seen, current, plan.step).await
}

async fn act(
    ctx: &Arc<Context>,
    subject: &Subject,
    seen: &Observed<'_>,
    current: Option<&PodView>,
    step: Step,
) -> Result<Action, Error> {
    match step {
        Step::Rest(wait) => rest(ctx, subject, seen, current, wait).await,
        Step::Start { attempt } => start::start(ctx, subject, attempt).await,
        Step::ConfirmLost { pod } => start::confirm_lost(ctx, subject, &pod).await,
        Step::Write(status) => write::status(ctx, subject, &status)
            .await
            .map(|_| Action::await_change()),
        Step::AwaitReady => {
            ctx.requests.await_ready(subject, current);
            Ok(Action::requeue(Duration::from_secs(5)))
        }
        Step::Send(_) | Step::SendAgain | Step::Call if !ctx.leadership.is_held_now() => {
            Ok(Action::requeue(start::LEASE_RETRY))
        }
        Step::Send(status) => {
            // The answer to the write holds the whole Task; the cache holds no bodies.
            if let Some(task) = write::status(ctx, subject, &status).await? {
                ctx.requests.send(subject, &task, current);
            }
            Ok(Action::await_change())
        }
        Step::SendAgain => send_again(ctx, subject, current).await,
        Step::Stop => letgo::stop(ctx, subject, current).await,
        Step::Finish {
            outcome,
            ended,
            answer,
        } => finish::finish(ctx, subject, current, outcome, ended, answer).await,
        Step::Call => {
            desk::begin(ctx, subject);
            Ok(Action::await_change())
        }
        Step::Told(status) => finish::told(ctx, subject, &status).await,
        Step::Expire => letgo::expire(ctx, subject).await,
    }
}

/// Sends the request that a controller which went away had under way, if the Task still stands so.
async fn send_again(
    ctx: &Arc<Context>,
    subject: &Subject,
    current: Option<&PodView>,
) -> Result<Action, Error> {
    // The cache may be behind the last write of that controller, and it holds no bodies.
    let Some(task) = write::refresh(ctx, subject).await? else {
        return Ok(Action::await_change());
    };
    if start::changed(&subject.task, &task) {
        ctx.wake(subject.reference());
        return Ok(Action::await_change());
    }
    let note = "the controller went away while the request was under way; it is sent again, as http.idempotent allows";
    ctx.events
        .normal(subject.task.as_ref(), "RequestRepeated", "SendAgain", note);
    ctx.requests.send(subject, &task, current);
    Ok(Action::await_change())
}

/// Nothing to do, except to show progress and to see that it is read.
async fn rest(
    ctx: &Arc<Context>,
    subject: &Subject,
    seen: &Observed<'_>,
    current: Option<&PodView>,
    wait: Option<Duration>,
) -> Result<Action, Error> {
    let status = subject.task.status.clone().unwrap_or_default();
    let follow = current.and_then(|pod| match &pod.state {
        RunState::Running { started_at } if status.phase == Some(Phase::Running) => Some((pod, *started_at)),
        _ => None,
    });
    let Some((pod, started_at)) = follow else {
        return Ok(wait.map_or_else(Action::await_change, Action::requeue));
    };
    if let Some(progress) = ctx.progress.news(&subject.uid) {
        let moment = plan::moment(&subject.task, seen.now);
        let next = super::status::progressed(&status, progress.clone(), moment);
        let same = status.progress.as_ref() == Some(&progress);
        let written = same || write::status(ctx, subject, &next).await?.is_some();
        if written {
            // Else a line of long ago would take the place of what was reported over HTTP since.
            ctx.progress.written(&subject.uid, &progress);
        }
        if !same {
            return Ok(Action::await_change());
        }
    }
    let ran = plan::since(started_at, seen.now);
    let to_follow = ctx.config.follow_after.saturating_sub(ran);
    if to_follow.is_zero() {
        ctx.progress.follow(subject, pod);
        return Ok(wait.map_or_else(Action::await_change, Action::requeue));
    }
    Ok(Action::requeue(
        wait.map_or(to_follow, |wait| wait.min(to_follow)),
    ))
}

/// A Task with a pod holds a turn, whoever gave it.
fn hold_turn(ctx: &Context, subject: &Subject, current: Option<&PodView>) {
    if current.is_none() || is_over(&subject.task) {
        return;
    }
    if let Some(key) = Context::function_key(&subject.task).filter(|key| ctx.limit(key).is_some()) {
        ctx.queue.hold(&key, &subject.uid);
    }
}

/// True where a Task has ended.
pub fn is_over(task: &Task) -> bool {
    let phase = task.status.as_ref().and_then(|status| status.phase);
    phase.is_some_and(Phase::is_terminal)
}

fn ttl(ctx: &Context, task: &Task) -> Duration {
    let inline = task
        .spec
        .function
        .as_ref()
        .map(|function| function.ttl_after_finished);
    let named = || {
        let (namespace, name) = Context::function_key(task)?;
        let function = ctx
            .caches
            .functions
            .get(&ObjectRef::new(&name).within(&namespace))?;
        Some(function.spec.ttl_after_finished)
    };
    let actions = task
        .spec
        .actions
        .as_ref()
        .map(|actions| actions.ttl_after_finished);
    inline
        .or(actions)
        .or_else(named)
        .flatten()
        .map_or(DEFAULT_TTL, |ttl| ttl.get())
}

/// True where `task` is the owner named by a pod.
pub fn owns(task: &Task, pod: &k8s_openapi::api::core::v1::Pod) -> bool {
    let uid = task.meta().uid.as_deref();
    pod.owner_references()
        .iter()
        .any(|owner| Some(owner.uid.as_str()) == uid)
}
