//! The next status of a Task. Pure: the old status and what happened in, the new status out.

use k8s_openapi::jiff::Timestamp;

use super::{
    evidence::{Gathered, with_status},
    outcome::{Outcome, Reason},
    view::PodView,
};
use crate::crd::{
    CONDITION_EVIDENCE, Phase, Progress, TaskResult, TaskStatus,
    change::{Ending, Moment, bounded, condition, ended, set_condition, to_millis, touched},
};

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
    let base = view.map_or_else(|| old.clone(), |view| placed(old, view));
    let finished_at = gathered
        .finished_at
        .map_or(moment.now, |time| time.min(moment.now));
    let base = TaskStatus {
        started_at: gathered.started_at.map(to_millis).or(base.started_at),
        exit_code: outcome.exit_code,
        result: Some(with_status(gathered.result, reason)),
        logs: gathered.logs,
        ..base
    };
    let ending = Ending {
        phase: reason.phase(),
        reason: reason.word(),
        message: &outcome.message,
        code: reason.code(),
        finished_at,
    };
    let mut next = ended(base, &ending, moment);
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

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
