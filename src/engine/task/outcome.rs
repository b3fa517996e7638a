//! How a run ended: one [`Outcome`] out of what the pod and the supervisor say. Pure.

use std::time::Duration;

use super::view::{Ended, PodView, Waiting};
use crate::{
    crd::{EndPhase, Phase, ReportedEnd, RetryOn},
    handover::record::{Ended as ProcessEnd, Outcome as Recorded, Record},
};

/// Codes of google.rpc.Code that ends map to.
pub mod rpc {
    #![allow(missing_docs)]
    pub const CANCELLED: i32 = 1;
    pub const UNKNOWN: i32 = 2;
    pub const INVALID_ARGUMENT: i32 = 3;
    pub const DEADLINE_EXCEEDED: i32 = 4;
    pub const NOT_FOUND: i32 = 5;
    pub const RESOURCE_EXHAUSTED: i32 = 8;
    pub const FAILED_PRECONDITION: i32 = 9;
    pub const ABORTED: i32 = 10;
    pub const INTERNAL: i32 = 13;
    pub const UNAVAILABLE: i32 = 14;
}

/// Why a Task ended, or an attempt of it. The words are part of the API: `status.reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The container exited with 0, or the HTTP function answered.
    Completed,
    /// The container exited with another code, or was ended by a signal.
    ExitCode,
    /// An action of the Task failed.
    ActionFailed,
    /// The container used more memory than its limit.
    OutOfMemory,
    /// The run time limit passed.
    TimedOut,
    /// The container did not start within the pending time limit.
    PendingTimedOut,
    /// No node fits within the pending time limit.
    Unschedulable,
    /// The image cannot be pulled.
    ImagePullFailed,
    /// The container cannot be made: a missing Secret or ConfigMap, a bad mount.
    ContainerConfigFailed,
    /// The command cannot be started.
    StartFailed,
    /// The node took the pod off to save itself.
    Evicted,
    /// The scheduler took the pod off for a more important one.
    Preempted,
    /// The node refused the pod.
    PodRejected,
    /// The node vanished or stopped answering.
    NodeLost,
    /// Somebody deleted the pod.
    PodLost,
    /// Someone cancelled the Task.
    Cancelled,
    /// There is no such Function.
    FunctionNotFound,
    /// Task and Function together cannot run as written.
    InvalidSpec,
    /// The actions cannot be read.
    InvalidActions,
    /// The API server refused the pod.
    PodRefused,
    /// The HTTP function did not answer properly.
    NoAnswer,
    /// The controller went away while the request was under way; whether it was worked on is not known.
    DispatchInterrupted,
    /// The end was reported, from inside the pod or by whoever does the work.
    Reported(EndPhase),
}

impl Reason {
    /// As it stands in `status.reason`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Completed => "Completed",
            Self::ExitCode => "ExitCode",
            Self::ActionFailed => "ActionFailed",
            Self::OutOfMemory => "OOMKilled",
            Self::TimedOut => "TimedOut",
            Self::PendingTimedOut => "PendingTimedOut",
            Self::Unschedulable => "Unschedulable",
            Self::ImagePullFailed => "ImagePullFailed",
            Self::ContainerConfigFailed => "ContainerConfigFailed",
            Self::StartFailed => "StartFailed",
            Self::Evicted => "Evicted",
            Self::Preempted => "Preempted",
            Self::PodRejected => "PodRejected",
            Self::NodeLost => "NodeLost",
            Self::PodLost => "PodLost",
            Self::Cancelled => "Cancelled",
            Self::FunctionNotFound => "FunctionNotFound",
            Self::InvalidSpec => "InvalidSpec",
            Self::InvalidActions => "InvalidActions",
            Self::PodRefused => "PodRefused",
            Self::NoAnswer => "NoAnswer",
            Self::DispatchInterrupted => "DispatchInterrupted",
            Self::Reported(_) => ReportedEnd::REASON,
        }
    }

    /// The phase that the Task ends in.
    pub const fn phase(self) -> Phase {
        match self {
            Self::Completed => Phase::Succeeded,
            Self::Cancelled => Phase::Cancelled,
            Self::Reported(end) => end.phase(),
            _ => Phase::Failed,
        }
    }

    /// The class that retry policies name; `None` for ends that are never tried again.
    pub const fn class(self) -> Option<RetryOn> {
        match self {
            Self::ImagePullFailed
            | Self::Evicted
            | Self::Preempted
            | Self::PodRejected
            | Self::NodeLost
            | Self::PodLost
            | Self::PendingTimedOut
            | Self::Unschedulable => Some(RetryOn::Infrastructure),
            // An interrupted dispatch is the platform's doing, but another attempt would send a second request. Only a
            // policy that repeats what has failed says that this may be.
            Self::ExitCode
            | Self::ActionFailed
            | Self::OutOfMemory
            | Self::StartFailed
            | Self::NoAnswer
            | Self::DispatchInterrupted => Some(RetryOn::Failure),
            Self::TimedOut => Some(RetryOn::Timeout),
            Self::Completed
            | Self::Cancelled
            | Self::FunctionNotFound
            | Self::InvalidSpec
            | Self::InvalidActions
            | Self::PodRefused
            | Self::ContainerConfigFailed
            | Self::Reported(_) => None,
        }
    }

    /// google.rpc.Code of `status.error`; `None` for success.
    pub const fn code(self) -> Option<i32> {
        Some(match self {
            Self::Completed => return None,
            Self::Reported(end) => return end.code(),
            Self::Cancelled => rpc::CANCELLED,
            // The outcome of an interrupted dispatch is not known. UNAVAILABLE would invite clients to repeat it.
            Self::ExitCode | Self::ActionFailed | Self::DispatchInterrupted => rpc::UNKNOWN,
            Self::InvalidSpec | Self::InvalidActions | Self::PodRefused => rpc::INVALID_ARGUMENT,
            Self::TimedOut | Self::PendingTimedOut => rpc::DEADLINE_EXCEEDED,
            Self::FunctionNotFound | Self::ImagePullFailed => rpc::NOT_FOUND,
            Self::OutOfMemory | Self::Unschedulable | Self::Evicted | Self::PodRejected => {
                rpc::RESOURCE_EXHAUSTED
            }
            Self::ContainerConfigFailed | Self::StartFailed => rpc::FAILED_PRECONDITION,
            Self::Preempted => rpc::ABORTED,
            Self::NoAnswer => rpc::INTERNAL,
            Self::NodeLost | Self::PodLost => rpc::UNAVAILABLE,
        })
    }

    /// `status.result.status` where the function itself gave none.
    pub const fn http_status(self) -> u16 {
        match self {
            Self::Completed => 200,
            Self::TimedOut | Self::PendingTimedOut => 408,
            Self::Cancelled => 499,
            Self::Reported(end) => end.http_status(),
            _ => 500,
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// In one word.
    pub reason: Reason,
    /// In a sentence.
    pub message: String,
    /// Exit code of the container, where it has one.
    pub exit_code: Option<i32>,
}

impl Outcome {
    /// An end without an exit code.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            exit_code: None,
        }
    }
}

/// The outcome of a container that has ended. `record` is what the supervisor left, if it did; `cancelled` tells that
/// the Task's `spec.cancel` is set.
pub fn of_end(view: &PodView, ended: &Ended, record: Option<&Record>, cancelled: bool) -> Outcome {
    let exit_code = ended.exit_code.or_else(|| record.and_then(exit_code));
    let failure = record.and_then(|record| record.failure.as_deref());
    let outcome = by_platform(view, ended)
        .map(|outcome| with_failure(outcome, failure))
        .or_else(|| record.map(|record| by_record(record, view, cancelled)))
        .unwrap_or_else(|| by_exit(view, ended, cancelled));
    Outcome { exit_code, ..outcome }
}

/// Ends that the node or the scheduler caused, whatever the container made of it.
fn by_platform(view: &PodView, ended: &Ended) -> Option<Outcome> {
    let words = |fallback: &str| {
        view.message
            .clone()
            .filter(|m| !m.is_empty())
            .unwrap_or_else(|| fallback.into())
    };
    if ended.reason.as_deref() == Some("InitContainerFailed") {
        return Some(Outcome::new(
            Reason::StartFailed,
            ended.message.clone().unwrap_or_default(),
        ));
    }
    // A container that came to a good end just before the node let go of it has done its work.
    if ended.exit_code == Some(0) && view.reason.is_none() {
        return None;
    }
    if ended.reason.as_deref() == Some("OOMKilled") {
        return Some(Outcome::new(
            Reason::OutOfMemory,
            "the container used more memory than its limit; raise capabilities.memory",
        ));
    }
    match view.reason.as_deref() {
        Some("Evicted") => return Some(Outcome::new(Reason::Evicted, words("the node evicted the pod"))),
        Some("Preempting" | "Preempted") => {
            return Some(Outcome::new(
                Reason::Preempted,
                words("the node preempted the pod"),
            ));
        }
        Some("NodeLost" | "NodeShutdown" | "Terminated" | "Shutdown") => {
            return Some(Outcome::new(Reason::NodeLost, words("the node went away")));
        }
        Some("DeadlineExceeded") | None => {}
        Some(other) if ended.exit_code.is_none() => {
            let text = words("the node gave no further reason");
            return Some(Outcome::new(
                Reason::PodRejected,
                format!("the node refused the pod ({other}): {text}"),
            ));
        }
        Some(_) => {}
    }
    disrupted(view)
}

/// The end of a pod that carries a DisruptionTarget condition (Kubernetes "Pod disruption conditions").
fn disrupted(view: &PodView) -> Option<Outcome> {
    let (reason, message) = view.disruption.as_ref()?;
    let reason = match reason.as_str() {
        "PreemptionByScheduler" => Reason::Preempted,
        "DeletionByTaintManager" | "DeletionByPodGC" => Reason::NodeLost,
        _ => Reason::Evicted,
    };
    Some(Outcome::new(reason, message.clone()))
}

/// What actions say of a lack of memory is more exact than what the node says.
fn with_failure(outcome: Outcome, failure: Option<&str>) -> Outcome {
    match failure {
        Some(failure) if outcome.reason == Reason::OutOfMemory => Outcome {
            message: failure.to_owned(),
            ..outcome
        },
        _ => outcome,
    }
}

fn by_record(record: &Record, view: &PodView, cancelled: bool) -> Outcome {
    match (&record.outcome, &record.failure) {
        (Recorded::Ended(_), Some(failure)) => Outcome::new(Reason::ActionFailed, failure.clone()),
        (Recorded::Ended(ProcessEnd::Code(0)), None) if runs_actions(view) => {
            Outcome::new(Reason::Completed, "all actions succeeded")
        }
        (outcome, failure) => {
            let outcome = by_process(outcome, view, cancelled);
            match failure.as_deref().filter(|failure| !STOPPED.contains(failure)) {
                // What stopped them is the reason; what they came to is told too.
                Some(failure) => Outcome {
                    message: format!("{}; the actions: {failure}", outcome.message),
                    ..outcome
                },
                None => outcome,
            }
        }
    }
}

/// What actions come to that were stopped, and nothing else.
const STOPPED: [&str; 3] = ["", "cancelled", "exceeded graceful shutdown interval"];

fn runs_actions(view: &PodView) -> bool {
    view.facts.as_ref().is_some_and(|facts| facts.actions)
}

fn by_process(outcome: &Recorded, view: &PodView, cancelled: bool) -> Outcome {
    match outcome {
        Recorded::Ended(ProcessEnd::Code(0)) => {
            Outcome::new(Reason::Completed, "the command exited with code 0")
        }
        Recorded::Ended(ProcessEnd::Code(code)) => {
            Outcome::new(Reason::ExitCode, format!("the command exited with code {code}"))
        }
        Recorded::Ended(ProcessEnd::Signal(signal)) => Outcome::new(
            Reason::ExitCode,
            format!("the command was ended by signal {signal}"),
        ),
        Recorded::TimedOut(_) => timed_out(view),
        Recorded::Stopped { signal, .. } => stopped(view, cancelled, *signal),
        Recorded::NotStarted { message, .. } => Outcome::new(Reason::StartFailed, message.clone()),
    }
}

fn exit_code(record: &Record) -> Option<i32> {
    match &record.outcome {
        Recorded::Ended(end) | Recorded::TimedOut(end) | Recorded::Stopped { ended: end, .. } => {
            Some(match end {
                ProcessEnd::Code(code) => *code,
                ProcessEnd::Signal(signal) => 128 + signal,
            })
        }
        Recorded::NotStarted { exit_code, .. } => Some((*exit_code).into()),
    }
}

fn by_exit(view: &PodView, ended: &Ended, cancelled: bool) -> Outcome {
    let stopped_by_us = view.reason.as_deref() == Some("DeadlineExceeded") || view.stop_at.is_some();
    match (ended.exit_code, ended.reason.as_deref()) {
        (Some(0), _) if !stopped_by_us => Outcome::new(Reason::Completed, "the container exited with code 0"),
        (_, Some("StartError" | "ContainerCannotRun")) => Outcome::new(
            Reason::StartFailed,
            ended
                .message
                .clone()
                .unwrap_or_else(|| "the container could not be started".into()),
        ),
        (_, Some("ContainerStatusUnknown")) if !stopped_by_us => Outcome::new(
            Reason::PodLost,
            ended
                .message
                .clone()
                .unwrap_or_else(|| "the end of the container is not known".into()),
        ),
        _ if stopped_by_us && cancelled => cancelled_outcome(),
        _ if stopped_by_us => timed_out(view),
        (None, _) => Outcome::new(
            Reason::PodLost,
            "the pod ended and its container's end is not known",
        ),
        (Some(_), _) if view.deletion_due.is_some() => deleted(view),
        (Some(code), _) if code > 128 => Outcome::new(
            Reason::ExitCode,
            format!("the container exited with code {code} (signal {})", code - 128),
        ),
        (Some(code), _) => Outcome::new(Reason::ExitCode, format!("the container exited with code {code}")),
    }
}

/// The command was stopped from outside: by the engine, or by whoever deleted the pod.
fn stopped(view: &PodView, cancelled: bool, signal: i32) -> Outcome {
    let by_us = view.reason.as_deref() == Some("DeadlineExceeded") || view.stop_at.is_some();
    if cancelled && (by_us || view.deletion_due.is_none()) {
        return cancelled_outcome();
    }
    if by_us {
        return timed_out(view);
    }
    if view.deletion_due.is_some() {
        return deleted(view);
    }
    Outcome::new(
        Reason::Evicted,
        format!("the container was stopped by signal {signal} from outside"),
    )
}

fn timed_out(view: &PodView) -> Outcome {
    let limit = view
        .facts
        .as_ref()
        .map(|facts| facts.timeout())
        .unwrap_or_default();
    Outcome::new(
        Reason::TimedOut,
        format!("the run time limit of {} passed", text(limit)),
    )
}

/// The end of a pod that somebody else deleted.
pub fn deleted(view: &PodView) -> Outcome {
    disrupted(view).unwrap_or_else(|| {
        Outcome::new(
            Reason::PodLost,
            format!("pod {} was deleted by someone else", view.pod.name),
        )
    })
}

/// The end of a Task that someone cancelled.
pub fn cancelled_outcome() -> Outcome {
    Outcome::new(Reason::Cancelled, "the Task was cancelled")
}

/// The end that was reported; what is known of the container stays.
pub fn reported(end: &ReportedEnd, exit_code: Option<i32>) -> Outcome {
    Outcome {
        exit_code,
        ..Outcome::new(Reason::Reported(end.phase), end.words())
    }
}

/// The end of a pod that did not start within its pending time limit.
pub fn never_started(waiting: &Waiting, limit: Duration) -> Outcome {
    let limit = text(limit);
    match waiting {
        Waiting::Unscheduled(Some(words)) => Outcome::new(
            Reason::Unschedulable,
            format!("no node took the pod within {limit}: {words}"),
        ),
        Waiting::Image(reason, words) => Outcome::new(Reason::ImagePullFailed, image_words(reason, words)),
        Waiting::Config(reason, words) => Outcome::new(Reason::ContainerConfigFailed, join(reason, words)),
        Waiting::Unscheduled(None) | Waiting::Starting => Outcome::new(
            Reason::PendingTimedOut,
            format!("the container did not start within {limit}"),
        ),
    }
}

/// A start that went wrong and will not come right by waiting; `None` where waiting may still help.
pub fn bad_start(waiting: &Waiting, waited: Duration, grace: Duration) -> Option<Outcome> {
    match waiting {
        Waiting::Image(reason, words) if reason == "InvalidImageName" || reason == "ErrImageNeverPull" => {
            Some(Outcome::new(Reason::ImagePullFailed, image_words(reason, words)))
        }
        Waiting::Image(reason, words) if waited >= grace => {
            Some(Outcome::new(Reason::ImagePullFailed, image_words(reason, words)))
        }
        Waiting::Config(reason, words) if waited >= grace => {
            Some(Outcome::new(Reason::ContainerConfigFailed, join(reason, words)))
        }
        _ => None,
    }
}

fn image_words(reason: &str, words: &str) -> String {
    format!("the image cannot be pulled: {}", join(reason, words))
}

/// Reason and words of the kubelet as one text.
pub fn join(reason: &str, words: &str) -> String {
    if words.is_empty() {
        reason.to_owned()
    } else {
        format!("{reason}: {words}")
    }
}

fn text(duration: Duration) -> String {
    crate::crd::Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)).to_string()
}

#[cfg(test)]
#[path = "outcome_tests.rs"]
mod tests;
