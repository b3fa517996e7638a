//! A Task that is held back (`spec.suspend`): it has no pod and waits, within a bound where it gives one.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube_runtime::reflector::ObjectRef;

use super::{
    outcome::{Outcome, Reason},
    plan::{left, since},
};
use crate::{
    crd::{Duration as Span, Task},
    engine::context::Context,
};

/// What becomes of a Task that is about to start.
#[derive(Debug, PartialEq)]
pub enum Held {
    /// Nothing holds it.
    No,
    /// It waits, and is looked at again after so long at the latest.
    Quiet(Duration),
    /// It has waited for long enough to say so.
    Shown(Option<Duration>),
    /// It has waited for too long.
    Over(Outcome),
}

/// Decides. `limit` is the pendingTimeout that Task or Function gives; nothing is said in the first `quiet` time, since
/// whoever holds a Task back often lets it go at once.
pub fn held(task: &Task, limit: Option<Span>, quiet: Duration, now: Timestamp) -> Held {
    if task.spec.suspend != Some(true) {
        return Held::No;
    }
    let made = task.creation_timestamp().map_or(now, |time| time.0);
    let to_limit = limit.map(|limit| left(made, limit.get(), now));
    if let (Some(limit), Some(None)) = (limit, to_limit) {
        let words = format!("the Task was suspended for longer than its pendingTimeout of {limit}");
        return Held::Over(Outcome::new(Reason::PendingTimedOut, words));
    }
    let to_limit = to_limit.flatten();
    let quiet = quiet.saturating_sub(since(made, now));
    match quiet.is_zero() {
        true => Held::Shown(to_limit),
        false => Held::Quiet(to_limit.map_or(quiet, |to_limit| to_limit.min(quiet))),
    }
}

/// The pendingTimeout that the Task's own words or its Function give.
pub fn limit(ctx: &Context, task: &Task) -> Option<Span> {
    let spec = &task.spec;
    let inline = spec.function.as_ref().map(|function| function.pending_timeout);
    let actions = spec.actions.as_ref().map(|actions| actions.pending_timeout);
    let named = || {
        let (namespace, name) = Context::function_key(task)?;
        let function = ctx
            .caches
            .functions
            .get(&ObjectRef::new(&name).within(&namespace))?;
        Some(function.spec.pending_timeout)
    };
    inline.or(actions).or_else(named).flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const QUIET: Duration = Duration::from_secs(5);

    /// For a Task that was made at noon, so many seconds later.
    fn after(seconds: i64, suspend: Option<bool>, limit: Option<u64>) -> Held {
        let task: Task = serde_json::from_value(json!({
            "metadata": {"name": "t", "creationTimestamp": "2026-01-01T12:00:00Z"},
            "spec": {"functionRef": {"name": "f"}, "suspend": suspend},
        }))
        .unwrap();
        let noon: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let now = Timestamp::from_second(noon.as_second() + seconds).unwrap();
        held(&task, limit.map(Span::from_secs), QUIET, now)
    }

    #[test]
    fn a_task_waits_as_long_as_it_is_suspended_and_no_longer_than_its_limit() {
        let seconds = Duration::from_secs;
        for suspend in [None, Some(false)] {
            assert_eq!(after(60, suspend, Some(1)), Held::No);
        }
        let suspended = |at, limit| after(at, Some(true), limit);
        assert_eq!(suspended(0, None), Held::Quiet(QUIET));
        assert_eq!(suspended(4, None), Held::Quiet(seconds(1)));
        assert_eq!(suspended(1, Some(3)), Held::Quiet(seconds(2)));
        assert_eq!(suspended(5, None), Held::Shown(None));
        assert_eq!(suspended(1_000_000, None), Held::Shown(None));
        assert_eq!(suspended(5, Some(60)), Held::Shown(Some(seconds(55))));
        for late in [60, 61] {
            let words = "the Task was suspended for longer than its pendingTimeout of 1m";
            let over = Outcome::new(Reason::PendingTimedOut, words);
            assert_eq!(suspended(late, Some(60)), Held::Over(over));
        }
    }
}
