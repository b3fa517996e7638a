//! What to do next with a Task. Pure: everything observed in, one step out.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::{
    dispatch::{self, Move, RequestState},
    outcome::{self, Outcome, Reason},
    status,
    view::{Ended, NodeHealth, PodView, RunState, Waiting},
};
use crate::{
    crd::{
        Http, Phase, ReportedEnd, Task, TaskResult, TaskStatus,
        change::{Moment, to_millis},
    },
    engine::{callback, config::Config, lag::stretched, pod, resolve},
};

/// Everything that a decision is made of.
#[derive(Debug)]
pub struct Observed<'a> {
    /// The Task, as new as this controller knows it.
    pub task: &'a Task,
    /// Now.
    pub now: Timestamp,
    /// The Task's pods that still exist.
    pub pods: &'a [PodView],
    /// The node of the present attempt's pod.
    pub node: NodeHealth,
    /// The request to an HTTP function.
    pub request: RequestState,
    /// The call about the end of the Task.
    pub callback: callback::Flight,
    /// How long the Task is kept once it has ended.
    pub ttl: Duration,
    /// How long the API server takes to answer.
    pub lag: Duration,
}

/// What to do.
#[derive(Debug, PartialEq)]
pub struct Plan {
    /// Pods to let go: finalizer off, deleted.
    pub let_go: Vec<String>,
    /// The one step.
    pub step: Step,
}

/// One step. After each the Task is looked at again.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// Nothing, until something changes or the time has passed.
    Rest(Option<Duration>),
    /// Make the pod of this attempt, if Function, queue and policy allow it.
    Start {
        /// Attempt, counted from 1.
        attempt: u32,
    },
    /// The pod that status names is not in the cache: ask the API server, and end the attempt if it is really gone.
    ConfirmLost {
        /// Name of the pod.
        pod: String,
    },
    /// Write this status.
    Write(Box<TaskStatus>),
    /// Wait for the HTTP function to answer at all.
    AwaitReady,
    /// Write this status, then send the one request.
    Send(Box<TaskStatus>),
    /// Send the request once more, which a controller that went away had under way.
    SendAgain,
    /// Tell the kubelet to stop the pod and keep it.
    Stop,
    /// The attempt is over: gather the evidence and write the end, or try again.
    Finish {
        /// How it ended; `None` where the container's end decides.
        outcome: Option<Outcome>,
        /// The container's end, where it is known.
        ended: Option<Ended>,
        /// The answer of an HTTP function.
        answer: Option<Box<TaskResult>>,
    },
    /// Tell whoever is to be called that the Task has ended.
    Call,
    /// Write this status, which says what came of a call.
    Told(Box<TaskStatus>),
    /// The Task's time is over: delete it.
    Expire,
}

impl Step {
    fn finish(outcome: Outcome) -> Self {
        Self::Finish {
            outcome: Some(outcome),
            ended: None,
            answer: None,
        }
    }

    /// Whatever else ended the attempt, the Task ends as was reported.
    fn overruled(self, end: &ReportedEnd) -> Self {
        match self {
            Self::Finish { ended, .. } => {
                let exit_code = ended.as_ref().and_then(|ended| ended.exit_code);
                Self::Finish {
                    outcome: Some(outcome::reported(end, exit_code)),
                    ended,
                    answer: None,
                }
            }
            step => step,
        }
    }
}

/// Decides.
pub fn decide(seen: &Observed, config: &Config) -> Plan {
    let status = seen.task.status.clone().unwrap_or_default();
    let all = || {
        seen.pods
            .iter()
            .filter(|pod| pod.held || pod.deletion_due.is_none())
    };
    if status.phase.is_some_and(Phase::is_terminal) {
        return Plan {
            let_go: all().map(|pod| pod.pod.name.clone()).collect(),
            step: over(&status, seen, config),
        };
    }
    if seen.task.metadata.deletion_timestamp.is_some() {
        return Plan {
            let_go: all().map(|pod| pod.pod.name.clone()).collect(),
            step: Step::Rest(None),
        };
    }
    let attempt = status.attempts.unwrap_or(1);
    let older = all().filter(|pod| pod.attempt < attempt);
    let let_go = older.map(|pod| pod.pod.name.clone()).collect();
    let step = if let Some(external) = &seen.task.spec.external {
        self::external(seen, &status, &external.processor)
    } else {
        match seen.pods.iter().find(|pod| pod.attempt == attempt) {
            Some(pod) => with_pod(seen, &status, pod, config),
            None => without_pod(seen, &status, attempt),
        }
    };
    let step = match &status.reported_end {
        Some(end) => step.overruled(end),
        None => step,
    };
    Plan { let_go, step }
}

/// The moment that a status of this Task is written at.
pub fn moment(task: &Task, now: Timestamp) -> Moment {
    Moment {
        now,
        generation: task.metadata.generation,
        issued_at: task.creation_timestamp().map_or(now, |time| time.0),
    }
}

fn cancelled(task: &Task) -> bool {
    task.spec.cancel == Some(true)
}

/// True where the pod is to be stopped, its evidence kept: it is no longer wanted, or its end was reported.
fn to_stop(task: &Task) -> bool {
    let status = task.status.as_ref();
    cancelled(task) || status.is_some_and(|status| status.reported_end.is_some())
}

/// A Task that has ended is told of, and kept for its time after that.
fn over(status: &TaskStatus, seen: &Observed, config: &Config) -> Step {
    if seen.task.metadata.deletion_timestamp.is_some() {
        return Step::Rest(None);
    }
    if let Some(step) = callback::step::step(seen, status, config) {
        return step;
    }
    let end = status.finished_at.unwrap_or(seen.now);
    match left(end, seen.ttl, seen.now) {
        Some(left) => Step::Rest(Some(left)),
        None => Step::Expire,
    }
}

fn external(seen: &Observed, status: &TaskStatus, processor: &str) -> Step {
    if to_stop(seen.task) {
        return Step::finish(outcome::cancelled_outcome());
    }
    if status.phase != Some(Phase::Running) {
        let next = status::external(status, processor, moment(seen.task, seen.now));
        return Step::Write(Box::new(next));
    }
    let Some(limit) = seen.task.spec.timeout else {
        return Step::Rest(None);
    };
    match left(status.started_at.unwrap_or(seen.now), limit.get(), seen.now) {
        Some(left) => Step::Rest(Some(left)),
        None => Step::finish(Outcome::new(
            Reason::TimedOut,
            format!("{processor} did not report an end within {limit}"),
        )),
    }
}

fn without_pod(seen: &Observed, status: &TaskStatus, attempt: u32) -> Step {
    let expected = pod::name(
        &seen.task.name_any(),
        &seen.task.uid().unwrap_or_default(),
        attempt,
    );
    let known = status
        .pod
        .as_ref()
        .filter(|pod| pod.name == expected && pod.uid.is_some());
    if let Some(known) = known {
        return Step::ConfirmLost {
            pod: known.name.clone(),
        };
    }
    if to_stop(seen.task) {
        return Step::finish(outcome::cancelled_outcome());
    }
    if let Some(wait) = status
        .next_attempt_at
        .and_then(|at| left(at, Duration::ZERO, seen.now))
    {
        return Step::Rest(Some(wait));
    }
    Step::Start { attempt }
}

fn with_pod(seen: &Observed, status: &TaskStatus, pod: &PodView, config: &Config) -> Step {
    if let RunState::Ended(ended) = &pod.state {
        return ended_step(seen, status, pod, ended);
    }
    if let Some(lost) = node_lost(seen, pod, config) {
        return lost;
    }
    let step = match &pod.state {
        RunState::Waiting(waiting) => waiting_step(seen, status, pod, waiting, config),
        RunState::Running { started_at } => running_step(seen, status, pod, *started_at, config),
        RunState::Ended(ended) => ended_step(seen, status, pod, ended),
    };
    match (step, &seen.node) {
        (Step::Rest(wait), NodeHealth::NotReady(since)) => {
            let to_loss = left(*since, config.node_lost_after, seen.now).unwrap_or_default();
            Step::Rest(Some(wait.map_or(to_loss, |wait| wait.min(to_loss))))
        }
        (step, _) => step,
    }
}

fn ended_step(seen: &Observed, status: &TaskStatus, pod: &PodView, ended: &Ended) -> Step {
    let http = pod.facts.as_ref().is_some_and(|facts| facts.http.is_some());
    let (outcome, answer) = match &seen.request {
        RequestState::Answered(answer) => (None, Some(answer.clone())),
        // The answer may be on its way still; the request ends by itself and then the Task is looked at again.
        RequestState::Sent => return Step::Rest(None),
        _ if http => {
            let how = outcome::of_end(pod, ended, None, cancelled(seen.task));
            let outcome = dispatch::ended_unanswered(&seen.request, marked(status), how);
            (Some(outcome), None)
        }
        _ => (None, None),
    };
    Step::Finish {
        outcome,
        ended: Some(ended.clone()),
        answer,
    }
}

/// True where a node is lost, and with it what ran there.
pub fn is_lost(node: &NodeHealth, now: Timestamp, after: Duration) -> bool {
    match node {
        NodeHealth::Ready => false,
        NodeHealth::NotReady(since) => left(*since, after, now).is_none(),
        NodeHealth::Gone => true,
    }
}

fn node_lost(seen: &Observed, pod: &PodView, config: &Config) -> Option<Step> {
    let node = pod.pod.node.as_deref()?;
    if !is_lost(&seen.node, seen.now, config.node_lost_after) {
        return None;
    }
    let words = match &seen.node {
        NodeHealth::Ready => return None,
        NodeHealth::NotReady(since) => format!("node {node} has not been ready since {}", to_millis(*since)),
        NodeHealth::Gone => format!("node {node} does not exist any more"),
    };
    Some(Step::finish(Outcome::new(Reason::NodeLost, words)))
}

fn waiting_step(
    seen: &Observed,
    status: &TaskStatus,
    pod: &PodView,
    waiting: &Waiting,
    config: &Config,
) -> Step {
    if to_stop(seen.task) {
        return Step::finish(outcome::cancelled_outcome());
    }
    if pod.deletion_due.is_some() {
        return Step::finish(outcome::deleted(pod));
    }
    let waited = since(pod.created_at, seen.now);
    if let Some(bad) = outcome::bad_start(waiting, waited, config.bad_start_grace) {
        return Step::finish(bad);
    }
    let limit = pod
        .facts
        .as_ref()
        .map_or(resolve::DEFAULT_PENDING_TIMEOUT, |facts| facts.pending_timeout());
    let Some(to_limit) = left(pod.created_at, limit, seen.now) else {
        return Step::finish(outcome::never_started(waiting, limit));
    };
    let (reason, message) = match waiting {
        Waiting::Unscheduled(Some(words)) => ("Unschedulable", words.clone()),
        Waiting::Image(reason, words) => ("ImagePullFailing", outcome::join(reason, words)),
        Waiting::Config(reason, words) => ("ContainerConfigFailing", outcome::join(reason, words)),
        Waiting::Unscheduled(None) => ("Unscheduled", "the pod waits for a node".to_owned()),
        Waiting::Starting => ("Starting", "the container is being made".to_owned()),
    };
    let news = matches!(
        waiting,
        Waiting::Unscheduled(Some(_)) | Waiting::Image(..) | Waiting::Config(..)
    );
    let grace = left(pod.created_at, config.bad_start_grace, seen.now);
    let pending_after = stretched(config.pending_after, seen.lag);
    if news || waited >= pending_after {
        let next = status::pending(status, pod, reason, &message, moment(seen.task, seen.now));
        if next != *status {
            return Step::Write(Box::new(next));
        }
        return Step::Rest(Some(grace.map_or(to_limit, |grace| grace.min(to_limit))));
    }
    let show = left(pod.created_at, pending_after, seen.now).unwrap_or_default();
    // The lag may be less by then.
    Step::Rest(Some(show.min(config.pending_after).min(to_limit)))
}

fn running_step(
    seen: &Observed,
    status: &TaskStatus,
    pod: &PodView,
    started_at: Timestamp,
    config: &Config,
) -> Step {
    let facts = pod.facts.as_ref();
    let grace = facts.map_or(Duration::from_secs(30), |facts| facts.grace()) + config.stop_margin;
    if let RequestState::Answered(answer) = &seen.request {
        return Step::Finish {
            outcome: None,
            ended: None,
            answer: Some(answer.clone()),
        };
    }
    if let Some(due) = pod.deletion_due {
        return match left(due, config.stop_margin, seen.now) {
            Some(left) => Step::Rest(Some(left)),
            None => Step::finish(outcome::deleted(pod)),
        };
    }
    let timeout = facts.map_or(resolve::DEFAULT_TIMEOUT, |facts| facts.timeout());
    if let Some(stop_at) = pod.stop_at {
        return match left(stop_at, grace, seen.now) {
            Some(left) => Step::Rest(Some(left)),
            None if cancelled(seen.task) => Step::finish(outcome::cancelled_outcome()),
            None => Step::finish(Outcome::new(
                Reason::TimedOut,
                "the run time limit passed and the container did not end",
            )),
        };
    }
    if to_stop(seen.task) {
        return Step::Stop;
    }
    if let Some(http) = facts.and_then(|facts| facts.http.as_ref()) {
        let deadline = left(started_at, timeout, seen.now);
        return http_step(seen, status, pod, http, started_at, deadline);
    }
    // The supervisor holds the limit itself and leaves its evidence; the engine steps in where it does not.
    let supervised = facts.is_some_and(|facts| facts.supervised);
    let limit = if supervised { timeout + grace } else { timeout };
    let Some(to_limit) = left(started_at, limit, seen.now) else {
        return Step::Stop;
    };
    if status.phase == Some(Phase::Running) {
        return Step::Rest(Some(to_limit));
    }
    match left(started_at, stretched(config.running_after, seen.lag), seen.now) {
        Some(to_show) => Step::Rest(Some(to_show.min(config.running_after).min(to_limit))),
        None => {
            let next = status::running(status, pod, started_at, moment(seen.task, seen.now));
            Step::Write(Box::new(next))
        }
    }
}

fn http_step(
    seen: &Observed,
    status: &TaskStatus,
    pod: &PodView,
    http: &Http,
    started_at: Timestamp,
    deadline: Option<Duration>,
) -> Step {
    let Some(to_limit) = deadline else {
        let port = http.port.unwrap_or(resolve::DEFAULT_PORT);
        return Step::finish(Outcome::new(
            Reason::TimedOut,
            format!("the function did not answer on port {port} within its run time limit"),
        ));
    };
    match dispatch::next(http, &seen.request, marked(status)) {
        Move::Rest => Step::Rest(Some(to_limit)),
        Move::AwaitReady => Step::AwaitReady,
        Move::Send => {
            let next = status::running(status, pod, started_at, moment(seen.task, seen.now));
            Step::Send(Box::new(next))
        }
        Move::SendAgain => Step::SendAgain,
        Move::End(outcome) => Step::finish(outcome),
    }
}

/// Whether the mark is written that the request of an HTTP function is about to be sent.
fn marked(status: &TaskStatus) -> bool {
    status.phase == Some(Phase::Running)
}

/// What follows an attempt.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// The Task has ended.
    End,
    /// Another attempt may start after this wait.
    Again(Duration),
}

/// Whether an attempt that ended with `outcome` is tried again.
pub fn settle(task: &Task, outcome: &Outcome, attempt: u32, policy: &resolve::RetryPolicy) -> Next {
    let class = outcome.reason.class().filter(|_| !cancelled(task));
    match class.and_then(|class| policy.wait_after(attempt, class)) {
        Some(wait) => Next::Again(wait),
        None => Next::End,
    }
}

/// Time from `from` until `now`, never negative.
pub fn since(from: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(from)).unwrap_or_default()
}

/// What is left until `from + span`; `None` once it has passed.
pub fn left(from: Timestamp, span: Duration, now: Timestamp) -> Option<Duration> {
    let span = SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX);
    let left = span
        .checked_sub(now.duration_since(from))
        .unwrap_or(SignedDuration::MAX);
    Duration::try_from(left).ok().filter(|left| !left.is_zero())
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
