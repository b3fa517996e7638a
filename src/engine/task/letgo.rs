//! Stopping pods, letting them go, and removing what is over.

use std::{sync::Arc, time::Duration};

use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::ObjectMeta, jiff::Timestamp};
use kube::{
    Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use kube_runtime::{controller::Action, reflector::ObjectRef};
use serde_json::json;

use super::{
    plan,
    reconcile::{Error, Subject},
    view::PodView,
};
use crate::{
    chain::chain,
    crd::CAPTURE_FINALIZER,
    engine::{
        context::{CallError, Context},
        leaving::Place,
        schedule,
    },
};

/// How often a pod that keeps changing is tried to be let go in one look.
const FINALIZER_TRIES: usize = 4;

/// A pod that could not be let go is looked at again after so long.
const AGAIN: Duration = Duration::from_secs(1);

/// Lets a pod of a Task go as soon as it has its turn; the ends of other Tasks go first.
///
/// # Errors
/// [`Error::Call`] where it was not put off and the API server did not do it. What goes wrong later has the Task looked
/// at again.
pub async fn release_soon(ctx: &Arc<Context>, subject: &Subject, pod: Option<&PodView>) -> Result<(), Error> {
    let Some(pod) = pod else { return Ok(()) };
    let uid = pod.pod.uid.clone().unwrap_or_default();
    if ctx.released.has(&uid) {
        return Ok(());
    }
    match ctx.leaving.enter(&uid) {
        Place::Held => Ok(()),
        Place::Full => release(ctx, &subject.namespace, pod).await,
        Place::Taken => {
            let (ctx, pod, task) = (ctx.clone(), pod.clone(), subject.reference());
            let namespace = subject.namespace.clone();
            tokio::spawn(async move {
                let stop = ctx.leadership.stop().clone();
                let outcome = stop.run_until_cancelled(in_turn(&ctx, &namespace, &pod)).await;
                ctx.leaving.leave(&uid);
                if let Some(Err(error)) = outcome {
                    tracing::warn!(pod = %pod.pod.name, %namespace, error = %chain(&error), "a pod was not let go");
                    stop.run_until_cancelled(tokio::time::sleep(AGAIN)).await;
                    ctx.wake(task);
                }
            });
            Ok(())
        }
    }
}

async fn in_turn(ctx: &Context, namespace: &str, pod: &PodView) -> Result<(), Error> {
    let _turn = ctx.leaving.turn().await;
    let measure = ctx.metrics.reconcile("release");
    let outcome = release(ctx, namespace, pod).await;
    measure.outcome(outcome.as_ref().map_or_else(|error| error.label(), |()| "ok"));
    outcome
}

/// Takes the engine's finalizer off a pod and deletes it. A pod that is gone already is no error.
///
/// # Errors
/// [`Error::Call`] where the API server did not do it.
async fn release(ctx: &Context, namespace: &str, pod: &PodView) -> Result<(), Error> {
    let uid = pod.pod.uid.as_deref().unwrap_or_default();
    if ctx.released.has(uid) {
        return Ok(());
    }
    remove(ctx, namespace, pod).await?;
    ctx.released
        .put(uid, ObjectRef::new(&pod.pod.name).within(namespace));
    Ok(())
}

async fn remove(ctx: &Context, namespace: &str, pod: &PodView) -> Result<(), Error> {
    let api = ctx.pods(namespace);
    let name = &pod.pod.name;
    if pod.held && !take_finalizer(ctx, namespace, pod).await? {
        return Ok(());
    }
    if pod.deletion_due.is_some() {
        return Ok(());
    }
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: pod.pod.uid.clone(),
            resource_version: None,
        }),
        ..DeleteParams::background()
    };
    match ctx.call("delete a pod", api.delete(name, &params)).await {
        Ok(_) => ctx.metrics.api_write("delete", "pods"),
        Err(error) if error.is_not_found() || error.is_conflict() => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// False where the pod is gone already.
async fn take_finalizer(ctx: &Context, namespace: &str, pod: &PodView) -> Result<bool, Error> {
    let name = &pod.pod.name;
    let cached = ctx.caches.pods.get(&ObjectRef::new(name).within(namespace));
    let mut seen = cached
        .filter(|cached| cached.uid() == pod.pod.uid)
        .map(|cached| cached.meta().clone());
    let mut left = FINALIZER_TRIES;
    loop {
        left -= 1;
        let meta = match seen.take() {
            Some(meta) => meta,
            None => match live(ctx, namespace, pod).await? {
                Some(meta) => meta,
                None => return Ok(false),
            },
        };
        match patch_finalizers(ctx, namespace, &meta).await {
            // The pod has changed since it was seen: its kubelet reports once more, or somebody deletes it.
            Err(error) if error.is_conflict() && left > 0 => {}
            outcome => return Ok(outcome?),
        }
    }
}

async fn live(ctx: &Context, namespace: &str, pod: &PodView) -> Result<Option<ObjectMeta>, CallError> {
    let api = ctx.pods(namespace);
    let found = ctx.call("get a pod", api.get_metadata_opt(&pod.pod.name)).await?;
    let meta = found.map(|found| found.metadata);
    Ok(meta.filter(|meta| meta.uid == pod.pod.uid))
}

/// The version makes the patch fail if the finalizers have changed meanwhile.
async fn patch_finalizers(ctx: &Context, namespace: &str, seen: &ObjectMeta) -> Result<bool, CallError> {
    let rest: Vec<&String> = seen
        .finalizers
        .iter()
        .flatten()
        .filter(|finalizer| *finalizer != CAPTURE_FINALIZER)
        .collect();
    let patch = Patch::Merge(json!({"metadata": {
        "uid": seen.uid, "resourceVersion": seen.resource_version, "finalizers": rest,
    }}));
    let params = PatchParams::apply(&ctx.config.instance);
    let api = ctx.pods(namespace);
    let name = seen.name.as_deref().unwrap_or_default();
    let call = api.patch_metadata(name, &params, &patch);
    match ctx.call("take the finalizer off a pod", call).await {
        Ok(_) => {
            ctx.metrics.api_write("patch", "pods");
            Ok(true)
        }
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Has the kubelet stop a running pod and keep it: SIGTERM, grace, SIGKILL, and the object stays with its evidence.
///
/// # Errors
/// [`Error::Call`] where the API server did not do it.
pub async fn stop(ctx: &Arc<Context>, subject: &Subject, pod: Option<&PodView>) -> Result<Action, Error> {
    let Some(pod) = pod else {
        return Ok(Action::await_change());
    };
    // The kubelet counts activeDeadlineSeconds from its own acknowledgement of the pod (status.startTime).
    let ran = pod
        .acknowledged_at
        .map_or(Duration::ZERO, |at| plan::since(at, Timestamp::now()));
    let seconds = ran.as_secs().max(1);
    let patch = json!({"metadata": {"uid": pod.pod.uid}, "spec": {"activeDeadlineSeconds": seconds}});
    let patch = Patch::Merge(patch);
    let api = ctx.pods(&subject.namespace);
    let params = PatchParams::apply(&ctx.config.instance);
    let call = api.patch(&pod.pod.name, &params, &patch);
    match ctx.call("stop a pod", call).await {
        Ok(_) => ctx.metrics.api_write("patch", "pods"),
        Err(error) if error.is_not_found() || error.is_conflict() => {}
        Err(error) => return Err(error.into()),
    }
    Ok(Action::requeue(Duration::from_secs(1)))
}

/// Deletes a Task whose time is over.
///
/// # Errors
/// [`Error::Call`] where the API server did not do it.
pub async fn expire(ctx: &Arc<Context>, subject: &Subject) -> Result<Action, Error> {
    if schedule::reconcile::holds(ctx, &subject.task).await? {
        return Ok(Action::requeue(Duration::from_secs(1)));
    }
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(subject.uid.clone()),
            resource_version: None,
        }),
        ..DeleteParams::background()
    };
    match ctx
        .call(
            "delete a Task",
            ctx.tasks(&subject.namespace).delete(&subject.name, &params),
        )
        .await
    {
        Ok(_) => ctx.metrics.api_write("delete", "tasks"),
        Err(error) if error.is_not_found() || error.is_conflict() => {}
        Err(error) => return Err(error.into()),
    }
    Ok(Action::await_change())
}

/// Lets go of pods whose Task is gone. Nobody looks at a Task that does not exist, and the finalizer would keep its
/// pods for ever. Returns how many were let go.
///
/// # Errors
/// [`Error::Call`] where the API server did not do it.
pub async fn sweep_orphans(ctx: &Context) -> Result<usize, Error> {
    let held = ctx
        .caches
        .pods
        .state_filter(|pod: &Pod| pod.finalizers().iter().any(|f| f == CAPTURE_FINALIZER));
    let mut released = 0;
    for pod in held {
        let Some(namespace) = pod.namespace() else {
            continue;
        };
        let owner = pod.owner_references().iter().find(|owner| owner.kind == "Task");
        if let Some(owner) = owner {
            let reference = ObjectRef::new(&owner.name).within(&namespace);
            let cached = ctx.caches.tasks.get(&reference);
            if cached.is_some_and(|task| task.uid().as_deref() == Some(owner.uid.as_str())) {
                continue;
            }
            let live = ctx
                .call("get a Task", ctx.tasks(&namespace).get_metadata_opt(&owner.name))
                .await?;
            if live.is_some_and(|task| task.uid().as_deref() == Some(owner.uid.as_str())) {
                continue;
            }
        }
        release(ctx, &namespace, &ctx.view(&pod)).await?;
        released += 1;
    }
    Ok(released)
}
