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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::{
        crd::{CallbackState, Task},
        engine::{
            callback::decide::{Answer, Attempt},
            task::{dispatch::RequestState, plan::decide, view::NodeHealth},
        },
    };

    const END: &str = "2026-01-01T00:00:00Z";

    /// The step for a Task that ended ten seconds ago and is kept for a minute.
    fn step_of(callback: Value, standing: Value, flight: Flight, deleted: bool) -> Step {
        let mut metadata = json!({"name": "t", "namespace": "n", "uid": "u"});
        if deleted {
            metadata["deletionTimestamp"] = json!(END);
        }
        let task: Task = serde_json::from_value(json!({
            "apiVersion": "errand.dev/v1alpha1", "kind": "Task", "metadata": metadata,
            "spec": {"functionRef": {"name": "f"}, "callback": callback},
            "status": {"phase": "Succeeded", "finishedAt": END, "callback": standing},
        }))
        .unwrap();
        let seen = Observed {
            task: &task,
            now: "2026-01-01T00:00:10Z".parse().unwrap(),
            pods: &[],
            node: NodeHealth::Ready,
            request: RequestState::None,
            callback: flight,
            ttl: Duration::from_secs(60),
            lag: Duration::ZERO,
        };
        decide(&seen, &Config::default()).step
    }

    fn plain() -> Value {
        json!({"url": "http://a"})
    }

    fn kept() -> Step {
        Step::Rest(Some(Duration::from_secs(50)))
    }

    #[test]
    fn a_task_that_ended_calls_once_and_is_kept_for_its_time_after() {
        let step = |standing, flight| step_of(plain(), standing, flight, false);
        assert_eq!(step(Value::Null, Flight::None), Step::Call);
        assert_eq!(step(Value::Null, Flight::Underway), Step::Rest(None));
        let waiting = json!({"state": "Delivering", "attempts": 1, "nextAttemptAt": "2026-01-01T00:00:17Z"});
        assert_eq!(
            step(waiting, Flight::None),
            Step::Rest(Some(Duration::from_secs(7)))
        );
        for state in ["Delivered", "Failed"] {
            assert_eq!(step(json!({"state": state, "attempts": 1}), Flight::None), kept());
        }
        assert_eq!(step_of(Value::Null, Value::Null, Flight::None, false), kept());
    }

    #[test]
    fn what_came_of_a_call_is_written_once() {
        let attempt = Attempt {
            tries: 1,
            answer: Answer::Status(204, None),
            at: "2026-01-01T00:00:09Z".parse().unwrap(),
        };
        let step = |standing| step_of(plain(), standing, Flight::Ended(attempt.clone()), false);
        let Step::Told(status) = step(Value::Null) else {
            panic!("nothing is told")
        };
        let callback = status.callback.unwrap();
        assert_eq!((callback.state, callback.attempts), (CallbackState::Delivered, 1));
        assert_eq!(status.modified_at, Some("2026-01-01T00:00:10Z".parse().unwrap()));
        // The write was done, and its flight not forgotten yet.
        assert_eq!(step(json!(callback)), kept());
    }

    #[test]
    fn a_task_may_go_with_its_callback_and_never_before_it() {
        let over = || json!({"state": "Failed", "attempts": 1});
        let mut quick = plain();
        quick["deleteAfter"] = json!(true);
        let diego = json!({"url": "http://a", "policy": "Diego"});
        let step = |callback: &Value, standing| step_of(callback.clone(), standing, Flight::None, false);
        for callback in [&quick, &diego] {
            assert_eq!(step(callback, Value::Null), Step::Call);
            assert_eq!(step(callback, over()), Step::Expire);
        }
        let mut stays = diego;
        stays["deleteAfter"] = json!(false);
        assert_eq!(step(&stays, over()), kept());
    }

    #[test]
    fn a_task_that_was_deleted_tells_nobody() {
        assert_eq!(
            step_of(plain(), Value::Null, Flight::None, true),
            Step::Rest(None)
        );
    }
}
