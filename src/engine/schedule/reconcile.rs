//! One look at a Schedule: decide, then do the one thing that is to be done.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams, PostParams},
};
use kube_runtime::{controller::Action, reflector::ObjectRef};
use serde_json::json;

use super::{
    made,
    plan::{self, Decision, Step},
};
use crate::{
    chain::chain,
    crd::{ConcurrencyPolicy, Phase, Schedule, ScheduleStatus, Task, change::merge_patch},
    engine::context::{CallError, Context},
};

/// A look that lost a race looks again after so long.
const AGAIN: std::time::Duration = std::time::Duration::from_millis(100);

/// Why a look did not do what it should. It is tried again, later each time.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server.
    #[error(transparent)]
    Call(#[from] CallError),
    /// Somebody else's Task has the name.
    #[error("the name of the Task {0} is taken by one that this Schedule did not make")]
    Taken(String),
    /// The right to start anything is about to be lost.
    #[error("another controller may lead by now")]
    NotLeading,
}

impl Error {
    /// A static word for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Call(error) => error.label(),
            Self::Taken(_) => "taken",
            Self::NotLeading => "not leading",
        }
    }
}

/// Looks at a Schedule once.
///
/// # Errors
/// [`Error`] where the API server did not do what was asked.
pub async fn reconcile(schedule: Arc<Schedule>, ctx: Arc<Context>) -> Result<Action, Error> {
    if schedule.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let now = Timestamp::now();
    let outlook = plan::outlook(&schedule, now);
    let policy = schedule.spec.concurrency_policy.unwrap_or_default();
    let running = match outlook.due {
        Some(_) if policy != ConcurrencyPolicy::Allow => running(&ctx, &schedule).await?,
        _ => Vec::new(),
    };
    let Decision { status, step } = plan::decide(&schedule, now, &outlook, !running.is_empty());
    tracing::debug!(schedule = %schedule.name_any(), ?step, "decided");
    match step {
        Step::Rest(wait) => {
            write(&ctx, &schedule, &status).await?;
            Ok(wait.map_or_else(Action::await_change, Action::requeue))
        }
        Step::Start(moment) => {
            lead(&ctx)?;
            for name in &running {
                cancel(&ctx, &schedule, name).await?;
            }
            match write(&ctx, &schedule, &status).await? {
                Some(counted) => create(&ctx, &counted, moment).await,
                None => Ok(Action::requeue(AGAIN)),
            }
        }
        Step::Resume(_) => resume(&ctx, &schedule).await,
    }
}

/// Creates the Task that is counted already, if that is still to be done: the cache may be behind, and the Task of a
/// moment that is done with may be gone.
async fn resume(ctx: &Context, schedule: &Schedule) -> Result<Action, Error> {
    let api = schedules(ctx, schedule);
    let found = ctx
        .call("get a Schedule", api.get_opt(&schedule.name_any()))
        .await?;
    let Some(live) = found.filter(|live| live.uid() == schedule.uid()) else {
        return Ok(Action::await_change());
    };
    match live.status.as_ref().and_then(|status| status.pending_time) {
        Some(moment) => create(ctx, &live, moment).await,
        None => Ok(Action::requeue(AGAIN)),
    }
}

/// Creates the Task of the pending moment and takes the note off.
async fn create(ctx: &Context, schedule: &Schedule, moment: Timestamp) -> Result<Action, Error> {
    lead(ctx)?;
    let status = schedule.status.clone().unwrap_or_default();
    let task = made::task(schedule, moment);
    let api = ctx.tasks(&schedule.namespace().unwrap_or_default());
    let params = PostParams {
        field_manager: Some(ctx.config.instance.clone()),
        ..PostParams::default()
    };
    match ctx.call("create a Task", api.create(&params, &task)).await {
        Ok(_) => ctx.metrics.api_write("create", "tasks"),
        Err(error) if error.is_already_exists() => same(ctx, schedule, &task.name_any()).await?,
        Err(error) => {
            if error.status().is_some() {
                let why = chain(&error);
                ctx.events.warn(schedule, plan::CREATE_FAILED, "Create", &why);
                write(
                    ctx,
                    schedule,
                    &plan::refused(schedule, &status, &why, Timestamp::now()),
                )
                .await?;
            }
            return Err(error.into());
        }
    }
    write(ctx, schedule, &plan::made(&status)).await?;
    // Its own write wakes it; where that lost a race, the note still stands.
    Ok(Action::requeue(plan::LONGEST_SLEEP))
}

/// The Task of this name must be the one that was to be created.
async fn same(ctx: &Context, schedule: &Schedule, name: &str) -> Result<(), Error> {
    let api = ctx.tasks(&schedule.namespace().unwrap_or_default());
    let found = ctx.call("get a Task", api.get_metadata_opt(name)).await?;
    let uid = schedule.uid();
    let ours = found.is_some_and(|task| {
        task.owner_references()
            .iter()
            .any(|owner| Some(&owner.uid) == uid.as_ref())
    });
    if ours {
        Ok(())
    } else {
        Err(Error::Taken(name.to_owned()))
    }
}

fn lead(ctx: &Context) -> Result<(), Error> {
    if ctx.leadership.is_held_now() {
        Ok(())
    } else {
        Err(Error::NotLeading)
    }
}

/// Names of the Tasks of this Schedule that have not ended.
async fn running(ctx: &Context, schedule: &Schedule) -> Result<Vec<String>, Error> {
    ctx.tasks_known.cancelled().await;
    let going = |task: &Task| {
        let phase = task.status.as_ref().and_then(|status| status.phase);
        !phase.is_some_and(Phase::is_terminal)
    };
    let cached = ctx
        .caches
        .tasks
        .state_filter(|task: &Task| going(task) && made::is_of(task, schedule));
    let mut names: Vec<String> = cached.iter().map(|task| task.name_any()).collect();
    // The cache may not show the last one yet; it shows all before it.
    let last = schedule
        .status
        .as_ref()
        .and_then(|status| status.last_schedule_time);
    let Some(last) = last.map(|moment| made::name(schedule, moment)) else {
        return Ok(names);
    };
    let namespace = schedule.namespace().unwrap_or_default();
    if ctx
        .caches
        .tasks
        .get(&ObjectRef::new(&last).within(&namespace))
        .is_none()
    {
        let found = ctx
            .call("get a Task", ctx.tasks(&namespace).get_opt(&last))
            .await?;
        names.extend(
            found
                .filter(|task| going(task) && made::is_of(task, schedule))
                .map(|_| last),
        );
    }
    Ok(names)
}

async fn cancel(ctx: &Context, schedule: &Schedule, name: &str) -> Result<(), Error> {
    let api = ctx.tasks(&schedule.namespace().unwrap_or_default());
    let patch = Patch::Merge(json!({"spec": {"cancel": true}}));
    let params = PatchParams::apply(&ctx.config.instance);
    match ctx.call("cancel a Task", api.patch(name, &params, &patch)).await {
        Ok(_) => ctx.metrics.api_write("patch", "tasks"),
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Writes the status, onto the state that the decision was made on only; returns the Schedule as it is then.
///
/// `None` where it has changed since, or is gone.
async fn write(ctx: &Context, schedule: &Schedule, next: &ScheduleStatus) -> Result<Option<Schedule>, Error> {
    // Maps have string keys: serialization cannot fail.
    let value = |status: Option<&ScheduleStatus>| serde_json::to_value(status.cloned().unwrap_or_default());
    let (old, new) = (value(schedule.status.as_ref()), value(Some(next)));
    let Some(change) = merge_patch(&old.unwrap_or_default(), &new.unwrap_or_default()) else {
        return Ok(Some(schedule.clone()));
    };
    let patch = Patch::Merge(json!({
        // Makes the patch conditional (Kubernetes API concepts, "Patch and optimistic concurrency").
        "metadata": {"resourceVersion": schedule.resource_version(), "uid": schedule.uid()},
        "status": change,
    }));
    let api = schedules(ctx, schedule);
    let (name, params) = (schedule.name_any(), PatchParams::apply(&ctx.config.instance));
    let call = api.patch_status(&name, &params, &patch);
    match ctx.call("write the status of a Schedule", call).await {
        Ok(written) => {
            ctx.metrics.api_write("patch", "schedules/status");
            Ok(Some(written))
        }
        Err(error) if error.is_conflict() || error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn schedules(ctx: &Context, schedule: &Schedule) -> Api<Schedule> {
    Api::namespaced(ctx.client.clone(), &schedule.namespace().unwrap_or_default())
}

/// True while the Schedule that made a Task still has it noted as to be made: then the Task must not go.
///
/// # Errors
/// [`CallError`] where the API server did not answer.
pub async fn holds(ctx: &Context, task: &Task) -> Result<bool, CallError> {
    let Some(maker) = made::maker(task) else {
        return Ok(false);
    };
    let api: Api<Schedule> = Api::namespaced(ctx.client.clone(), &task.namespace().unwrap_or_default());
    let found = ctx.call("get a Schedule", api.get_opt(maker)).await?;
    Ok(found.is_some_and(|schedule| {
        let pending = schedule.status.as_ref().and_then(|status| status.pending_time);
        pending.is_some_and(|moment| made::name(&schedule, moment) == task.name_any())
    }))
}
