//! A callback as a step of its Task's reconcile. Pure.

use super::{
    Flight,
    decide::{self, Next},
};
use crate::{
    crd::{CallbackStatus, TaskStatus, change::touched},
    engine::{
        backoff::random,
        config::Config,
        task::plan::{self, Observed, Step},
    },
};

/// What the callback of a Task that has ended asks for; `None` where the Task asks for none, or nothing is left to do.
pub fn step(seen: &Observed, status: &TaskStatus, config: &Config) -> Option<Step> {
    let callback = seen.task.spec.callback.as_ref()?;
    let settings = &config.callbacks;
    let old = status.callback.clone().unwrap_or_default();
    match &seen.callback {
        _ if old.state.is_over() => {}
        Flight::Underway => return Some(Step::Rest(None)),
        Flight::Ended(attempt) => {
            return Some(told(
                seen,
                status,
                decide::after(callback, &old, attempt, settings, random()),
            ));
        }
        Flight::None => {}
    }
    match decide::next(callback, status, seen.now, settings) {
        Next::Over => callback.deletes_after().then_some(Step::Expire),
        Next::Try => Some(Step::Call),
        Next::Wait(wait) => Some(Step::Rest(Some(wait))),
        Next::GiveUp(last) => Some(told(seen, status, last)),
    }
}

fn told(seen: &Observed, status: &TaskStatus, callback: CallbackStatus) -> Step {
    let next = TaskStatus {
        callback: Some(callback),
        ..status.clone()
    };
    let next = touched(status, next, plan::moment(seen.task, seen.now));
    Step::Told(Box::new(next))
}
