//! Has Schedules looked at: as they change, when their moment comes, and when a Task of theirs ends.

use std::sync::Arc;

use futures::{Stream, StreamExt as _, TryStreamExt as _};
use kube::{Resource as _, ResourceExt as _, core::DeserializeGuard};
use kube_runtime::{
    Controller, WatchStreamExt as _,
    controller::{self, Action},
    reflector::{self, ObjectRef, store::Writer},
    watcher::{self, Event, watcher},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    made,
    reconcile::{self, reconcile},
};
use crate::{
    chain::chain,
    crd::{Phase, Schedule, Task},
    engine::{
        backoff::Backoff,
        context::Context,
        run::{LAST_LOOKS, api},
    },
};

/// Schedules whose failures in a row are remembered.
const BACKED_OFF: usize = 10_000;

/// Looks at Schedules until shutdown; `woken` are those whose Tasks ended.
pub async fn control(
    ctx: Arc<Context>,
    woken: mpsc::UnboundedReceiver<ObjectRef<Schedule>>,
    shutdown: CancellationToken,
) {
    let (reader, writer) = reflector::store();
    let backoff = Arc::new(Backoff::new(BACKED_OFF));
    let on_error = {
        let backoff = backoff.clone();
        move |schedule: Arc<Schedule>, error: &reconcile::Error, _: Arc<Context>| {
            let wait = backoff.failed(schedule.uid().unwrap_or_default());
            tracing::warn!(
                schedule = %schedule.name_any(), namespace = %schedule.namespace().unwrap_or_default(),
                error = %chain(error), ?wait, "a look at a Schedule failed"
            );
            Action::requeue(wait)
        }
    };
    let looks = TaskTracker::new();
    let look = {
        let (looks, shutdown) = (looks.clone(), shutdown.clone());
        move |schedule: Arc<Schedule>, ctx: Arc<Context>| {
            let (backoff, shutdown) = (backoff.clone(), shutdown.clone());
            looks.track_future(async move {
                if shutdown.is_cancelled() {
                    return Ok(Action::await_change());
                }
                let measure = ctx.metrics.reconcile("schedule");
                let uid = schedule.uid().unwrap_or_default();
                let outcome = reconcile(schedule, ctx).await;
                measure.outcome(outcome.as_ref().map_or_else(|error| error.label(), |_| "ok"));
                if outcome.is_ok() {
                    backoff.clear(&uid);
                }
                outcome
            })
        }
    };
    let config = controller::Config::default().concurrency(ctx.config.workers);
    let controller = Controller::for_stream(stream(&ctx, writer), reader)
        .with_config(config)
        .reconcile_on(UnboundedReceiverStream::new(woken))
        .run(look, on_error, ctx)
        .for_each(|outcome| {
            if let Err(error) = outcome {
                // Routine after deletes.
                tracing::debug!(error = %chain(&error), "controller of Schedules");
            }
            std::future::ready(())
        });
    let stopped = async {
        shutdown.cancelled().await;
        looks.close();
        if tokio::time::timeout(LAST_LOOKS, looks.wait()).await.is_err() {
            tracing::warn!("looks at Schedules did not end in time; the next controller goes on");
        }
    };
    tokio::select! {
        () = controller => {}
        () = stopped => {}
    }
}

/// Schedules as they change. One that cannot be read is left out; the others go on.
fn stream(
    ctx: &Arc<Context>,
    writer: Writer<Schedule>,
) -> impl Stream<Item = watcher::Result<Schedule>> + Send + 'static + use<> {
    let schedules = api::<DeserializeGuard<Schedule>>(ctx);
    let read = |guard: DeserializeGuard<Schedule>| {
        let name = guard.name_any();
        let unread = |error| tracing::warn!(schedule = %name, %error, "a Schedule cannot be read");
        guard.0.map_err(|invalid| unread(invalid.error)).ok()
    };
    watcher(schedules, watcher::Config::default())
        .default_backoff()
        .try_filter_map(move |event| {
            std::future::ready(Ok(match event {
                Event::Apply(guard) => read(guard).map(Event::Apply),
                Event::InitApply(guard) => read(guard).map(Event::InitApply),
                Event::Delete(guard) => guard.0.ok().map(Event::Delete),
                Event::Init => Some(Event::Init),
                Event::InitDone => Some(Event::InitDone),
            }))
        })
        .modify(|schedule| schedule.metadata.managed_fields = None)
        .reflect(writer)
        .applied_objects()
}

/// Has the Schedule looked at whose Task has ended or is gone.
pub fn wake(ctx: &Context, event: &Event<Task>) {
    let ended = |task: &Task| {
        let phase = task.status.as_ref().and_then(|status| status.phase);
        phase.is_some_and(Phase::is_terminal)
    };
    let task = match event {
        Event::Apply(task) if ended(task) => task,
        Event::Delete(task) => task,
        _ => return,
    };
    if let Some(maker) = made::maker(task) {
        let namespace = task.meta().namespace.clone().unwrap_or_default();
        // The receiver lives as long as the controller.
        drop(ctx.wake_schedules.send(ObjectRef::new(maker).within(&namespace)));
    }
}
