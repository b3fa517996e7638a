//! Counts for the metrics what waits and what runs: all of it at once now and then, since a count that is kept by each
//! look at a Task drifts with everything that a look can miss.

use std::{cell::Cell, sync::Arc};

use kube_runtime::reflector::Store;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use crate::crd::{Phase, Task};

/// Counts until shutdown; then there is nothing to count.
pub async fn keep_counting(ctx: Arc<Context>, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = tokio::time::sleep(ctx.config.count_every) => {}
        }
        let [queued, pending, running] = unfinished(&ctx.caches.tasks);
        ctx.metrics.set_tasks(queued, pending, running);
        ctx.metrics.set_followed(ctx.progress.followed());
        ctx.metrics.set_callbacks(ctx.callbacks.underway());
    }
    ctx.metrics.set_tasks(0, 0, 0);
    ctx.metrics.set_followed(0);
    ctx.metrics.set_callbacks(0);
}

/// How many Tasks are Queued, Pending and Running.
fn unfinished(tasks: &Store<Task>) -> [usize; 3] {
    let (queued, pending, running) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let count = |task: &Task| {
        let phase = task.status.as_ref().and_then(|status| status.phase);
        let counter = match phase.unwrap_or(Phase::Queued) {
            Phase::Queued => &queued,
            Phase::Pending => &pending,
            Phase::Running => &running,
            Phase::Succeeded | Phase::Failed | Phase::Cancelled => return false,
        };
        counter.set(counter.get() + 1);
        false
    };
    // The store has no other way to look at each Task without a list of all of them.
    drop(tasks.state_filter(count));
    [queued.get(), pending.get(), running.get()]
}
