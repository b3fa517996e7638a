//! The next status of a Task. Pure: the old status and what happened in, the new status out.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use serde_json::{Map, Value, json};

use super::{
    evidence::{Gathered, with_status},
    outcome::{Outcome, Reason},
    view::PodView,
};
use crate::crd::{
    CONDITION_EVIDENCE, CONDITION_FINISHED, GROUP, Phase, Progress, RpcStatus, TaskResult, TaskStatus,
};

/// Longest `status.message`, in bytes.
const MAX_MESSAGE: usize = 2048;

/// The moment and the generation that a status speaks of.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Now.
    pub now: Timestamp,
    /// Generation of the Task.
    pub generation: Option<i64>,
    /// When the Task was made.
    pub issued_at: Timestamp,
}

/// To whole milliseconds, as the status shows times.
pub fn to_millis(time: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time)
}

/// Waits for its turn.
pub fn queued(old: &TaskStatus, reason: &str, message: &str, moment: Moment) -> TaskStatus {
    let next = TaskStatus {
        phase: Some(Phase::Queued),
        reason: Some(reason.to_owned()),
        message: Some(bounded(message)),
        ..old.clone()
    };
    touched(old, next, moment)
}

/// Has a pod that has not started.
pub fn pending(old: &TaskStatus, view: &PodView, reason: &str, message: &str, moment: Moment) -> TaskStatus {
    let next = TaskStatus {
        phase: Some(Phase::Pending),
        reason: Some(reason.to_owned()),
        message: Some(bounded(message)),
        ..placed(old, view)
    };
    touched(old, next, moment)
}

/// The container runs.
pub fn running(old: &TaskStatus, view: &PodView, started_at: Timestamp, moment: Moment) -> TaskStatus {
    let next = TaskStatus {
        phase: Some(Phase::Running),
        reason: Some("Started".to_owned()),
        message: None,
        started_at: Some(started_at),
        ..placed(old, view)
    };
    touched(old, next, moment)
}

/// An external Task, whose work is done elsewhere.
pub fn external(old: &TaskStatus, processor: &str, moment: Moment) -> TaskStatus {
    let next = TaskStatus {
        phase: Some(Phase::Running),
        reason: Some("External".to_owned()),
        message: Some(bounded(&format!("the work is done and reported by {processor}"))),
        started_at: Some(to_millis(moment.now)),
        ..old.clone()
    };
    touched(old, next, moment)
}

/// Progress from inside.
pub fn progressed(old: &TaskStatus, progress: Progress, moment: Moment) -> TaskStatus {
    let next = TaskStatus {
        progress: Some(progress),
        ..old.clone()
    };
    touched(old, next, moment)
}

/// The attempt ended and another one follows at `next_at`.
pub fn retrying(
    old: &TaskStatus,
    outcome: &Outcome,
    gathered: &Gathered,
    next_at: Timestamp,
    moment: Moment,
) -> TaskStatus {
    let attempt = old.attempts.unwrap_or(1);
    let message = format!(
        "attempt {attempt} ended with {}: {}; attempt {} may start at {}",
        outcome.reason.word(),
        outcome.message,
        attempt + 1,
        to_millis(next_at),
    );
    let next = TaskStatus {
        phase: Some(Phase::Pending),
        reason: Some("Retrying".to_owned()),
        message: Some(bounded(&message)),
        attempts: Some(attempt + 1),
        next_attempt_at: Some(to_millis(next_at)),
        exit_code: outcome.exit_code,
        logs: gathered.logs.clone().or_else(|| old.logs.clone()),
        pod: None,
        progress: None,
        ..old.clone()
    };
    touched(old, next, moment)
}

/// The Task ended. `view` is the pod of the last attempt, where there was one.
pub fn finished(
    old: &TaskStatus,
    view: Option<&PodView>,
    outcome: &Outcome,
    gathered: Gathered,
    moment: Moment,
) -> TaskStatus {
    let reason = outcome.reason;
    let phase = reason.phase();
    let message = bounded(&outcome.message);
    let base = view.map_or_else(|| old.clone(), |view| placed(old, view));
    let finished_at = gathered
        .finished_at
        .map_or(moment.now, |time| time.min(moment.now));
    let progress = match (&old.progress, phase) {
        (progress, Phase::Succeeded) => Some(Progress {
            percent: Some(100),
            ..progress.clone().unwrap_or_default()
        }),
        (progress, _) => progress.clone(),
    };
    let mut next = TaskStatus {
        phase: Some(phase),
        reason: Some(reason.word().to_owned()),
        message: Some(message.clone()),
        started_at: gathered.started_at.map(to_millis).or(base.started_at),
        finished_at: Some(to_millis(finished_at)),
        next_attempt_at: None,
        exit_code: outcome.exit_code,
        progress,
        result: Some(with_status(gathered.result, reason)),
        logs: gathered.logs,
        error: reason.code().map(|code| error(code, reason, &message)),
        ..base
    };
    let finished = condition(CONDITION_FINISHED, true, reason.word(), &message, moment);
    set_condition(&mut next.conditions, finished);
    if let Some(problem) = &gathered.problem {
        let evidence = condition(
            CONDITION_EVIDENCE,
            false,
            "EvidenceBroken",
            &bounded(problem),
            moment,
        );
        set_condition(&mut next.conditions, evidence);
    }
    touched(old, next, moment)
}

/// The Task of an HTTP function that answered.
pub fn answered(
    old: &TaskStatus,
    view: &PodView,
    answer: TaskResult,
    gathered: Gathered,
    moment: Moment,
) -> TaskStatus {
    let outcome = Outcome::new(
        Reason::Completed,
        format!("the function answered with status {}", answer.status),
    );
    let gathered = Gathered {
        result: Some(answer),
        ..gathered
    };
    finished(old, Some(view), &outcome, gathered, moment)
}

fn placed(old: &TaskStatus, view: &PodView) -> TaskStatus {
    TaskStatus {
        attempts: Some(view.attempt),
        assigned_at: view.assigned_at.map(to_millis).or(old.assigned_at),
        next_attempt_at: None,
        pod: Some(view.pod.clone()),
        ..old.clone()
    }
}

fn touched(old: &TaskStatus, next: TaskStatus, moment: Moment) -> TaskStatus {
    let next = TaskStatus {
        issued_at: old.issued_at.or(Some(to_millis(moment.issued_at))),
        observed_generation: moment.generation,
        ..next
    };
    let unchanged = TaskStatus {
        observed_generation: next.observed_generation,
        issued_at: next.issued_at,
        ..old.clone()
    } == next;
    TaskStatus {
        modified_at: if unchanged {
            old.modified_at
        } else {
            Some(to_millis(moment.now))
        },
        ..next
    }
}

fn error(code: i32, reason: Reason, message: &str) -> RpcStatus {
    RpcStatus {
        code,
        message: message.to_owned(),
        details: vec![json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": reason.word(),
            "domain": GROUP,
        })],
    }
}

fn condition(type_: &str, value: bool, reason: &str, message: &str, moment: Moment) -> Condition {
    Condition {
        type_: type_.to_owned(),
        status: if value { "True" } else { "False" }.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: Time(moment.now),
        observed_generation: moment.generation,
    }
}

fn set_condition(conditions: &mut Vec<Condition>, new: Condition) {
    match conditions.iter_mut().find(|c| c.type_ == new.type_) {
        Some(old) if old.status == new.status => {
            let since = old.last_transition_time.clone();
            *old = Condition {
                last_transition_time: since,
                ..new
            };
        }
        Some(old) => *old = new,
        None => conditions.push(new),
    }
}

fn bounded(text: &str) -> String {
    let mut end = MAX_MESSAGE.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// The JSON merge patch (RFC 7386) that turns `old` into `new`; `None` where they are equal.
pub fn merge_patch(old: &Value, new: &Value) -> Option<Value> {
    if old == new {
        return None;
    }
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        return Some(new.clone());
    };
    let mut patch = Map::new();
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in new {
        let change = match old.get(key) {
            Some(before) => merge_patch(before, value),
            None => Some(value.clone()),
        };
        if let Some(change) = change {
            patch.insert(key.clone(), change);
        }
    }
    Some(Value::Object(patch))
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
