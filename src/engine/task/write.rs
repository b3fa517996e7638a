//! Writing a Task's status: only what changed, and only onto the state that the decision was made on.

use std::sync::Arc;

use kube::{
    ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use super::reconcile::{Error, Subject};
use crate::{
    crd::{Task, TaskStatus, change::merge_patch},
    engine::{context::Context, recent::slim},
};

/// Writes `next` as the status; returns the whole Task as the API server answered it.
///
/// `None` where nothing was written: the status is the same already, the Task is gone, or it has changed since the
/// decision. In the last case its present state is fetched and it is looked at again at once.
///
/// # Errors
/// [`Error::Call`] where the API server did not do it.
pub async fn status(ctx: &Context, subject: &Subject, next: &TaskStatus) -> Result<Option<Task>, Error> {
    let old = to_value(subject.task.status.as_ref());
    let Some(change) = merge_patch(&old, &to_value(Some(next))) else {
        return Ok(None);
    };
    let patch = Patch::Merge(json!({
        // Makes the patch conditional (Kubernetes API concepts, "Patch and optimistic concurrency").
        "metadata": {"resourceVersion": subject.task.resource_version(), "uid": subject.uid},
        "status": change,
    }));
    let api = ctx.tasks(&subject.namespace);
    let params = PatchParams::apply(&ctx.config.instance);
    let call = api.patch_status(&subject.name, &params, &patch);
    match ctx.call("write the status of a Task", call).await {
        Ok(task) => {
            ctx.metrics.api_write("patch", "tasks/status");
            remember(ctx, &task);
            Ok(Some(task))
        }
        Err(error) if error.is_not_found() => {
            ctx.forget(&subject.uid);
            Ok(None)
        }
        Err(error) if error.is_conflict() => {
            refresh(ctx, subject).await?;
            ctx.wake(subject.reference());
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Fetches the present state of the Task; `None` where it is gone or another one has its name now.
///
/// # Errors
/// [`Error::Call`] where the API server did not answer.
pub async fn refresh(ctx: &Context, subject: &Subject) -> Result<Option<Task>, Error> {
    let api = ctx.tasks(&subject.namespace);
    let found = ctx.call("get a Task", api.get_opt(&subject.name)).await?;
    let task = found.filter(|task| task.uid().as_deref() == Some(&subject.uid));
    match &task {
        Some(task) => remember(ctx, task),
        None => ctx.forget(&subject.uid),
    }
    Ok(task)
}

fn remember(ctx: &Context, task: &Task) {
    let mut kept = task.clone();
    slim(&mut kept);
    ctx.recent.put(Arc::new(kept));
}

fn to_value(status: Option<&TaskStatus>) -> Value {
    // Maps have string keys and numbers are finite or become null: serialization cannot fail.
    status.map_or_else(
        || json!({}),
        |status| serde_json::to_value(status).unwrap_or_default(),
    )
}
