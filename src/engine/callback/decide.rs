//! When a callback is tried, and what an answer means. Pure.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::Settings;
use crate::{
    crd::{
        Callback, CallbackPolicy, CallbackState, CallbackStatus, TaskStatus,
        change::{cut, to_millis},
    },
    engine::{backoff::jittered, task::plan::left},
};

/// Tries in all, where the Task says nothing.
pub const LIMIT: u32 = 8;
/// Wait before the second try, where the Task says nothing.
pub const BACKOFF: Duration = Duration::from_secs(5);
/// Longest wait between two tries, whoever asks for it: 5 s, 20 s, 80 s, ... make eight tries within four hours.
pub const LONGEST: Duration = Duration::from_secs(2 * 3600);
/// Limit on one try, where the Task says nothing; that of Diego's BBS in its tests, too.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// Shortest and longest limit on one try.
pub const TIMEOUTS: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(60)];
/// So long after the end of its Task a callback that was tried is given up, whatever its policy says.
pub const PATIENCE: Duration = Duration::from_secs(48 * 3600);
/// Policy Diego: POSTs of one round (`taskworkpool/taskcallback.go`, MaxCallbackRetries).
pub const DIEGO_TRIES: u32 = 3;
/// Each wait is so much longer than the one before.
const FACTOR: u32 = 4;
/// Shortest wait that a receiver may ask for.
const SHORTEST_ASKED: Duration = Duration::from_secs(1);
/// Share by which waits are moved, so that many Tasks do not come back at once.
const JITTER: f64 = 0.1;
/// Longest message, in bytes.
const MAX_MESSAGE: usize = 512;

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An answer, with the wait that it asks for.
    Status(u16, Option<Duration>),
    /// No answer in time, in words.
    TimedOut(String),
    /// No answer, in words.
    Broken(String),
    /// It may not be called, in words. Another try would bring the same.
    Refused(String),
}

/// Tries that came to an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// How many.
    pub tries: u32,
    /// What came of the last.
    pub answer: Answer,
    /// When the last ended.
    pub at: Timestamp,
}

/// What to do about a callback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: it is over.
    Over,
    /// Try now.
    Try,
    /// Look again after this time.
    Wait(Duration),
    /// Give up: this is its last state.
    GiveUp(CallbackStatus),
}

/// What to do about the callback of a Task that has ended.
pub fn next(callback: &Callback, status: &TaskStatus, now: Timestamp, settings: &Settings) -> Next {
    let told = status.callback.clone().unwrap_or_default();
    if told.state.is_over() {
        return Next::Over;
    }
    let end = status.finished_at.unwrap_or(now);
    let due = told
        .next_attempt_at
        .unwrap_or_else(|| first(callback, status, end, settings));
    let wait = left(due, Duration::ZERO, now);
    // Whatever has happened since, there is one try at least.
    if told.attempts == 0 {
        return wait.map_or(Next::Try, Next::Wait);
    }
    let keep = match callback.policy() {
        CallbackPolicy::Standard => PATIENCE,
        CallbackPolicy::Diego => settings.diego_keep,
    };
    match (left(end, keep, now), wait) {
        (None, _) => Next::GiveUp(given_up(told, keep)),
        (Some(left), Some(wait)) => Next::Wait(wait.min(left)),
        (Some(_), None) => Next::Try,
    }
}

/// When the first try is due. Diego's BBS finds some ends only as it converges, and calls for them a pass later.
fn first(callback: &Callback, status: &TaskStatus, end: Timestamp, settings: &Settings) -> Timestamp {
    let found = matches!(status.reason.as_deref(), Some("PendingTimedOut" | "NodeLost"));
    match callback.policy() {
        CallbackPolicy::Diego if found => after_wait(end, settings.diego_pass),
        _ => end,
    }
}

fn given_up(told: CallbackStatus, keep: Duration) -> CallbackStatus {
    let last = told.message.as_deref().unwrap_or("it was not taken");
    let message = format!("given up {} s after the end of the Task: {last}", keep.as_secs());
    CallbackStatus {
        state: CallbackState::Failed,
        next_attempt_at: None,
        message: Some(cut(&message, MAX_MESSAGE).to_owned()),
        ..told
    }
}

/// What an answer means.
enum Verdict {
    Taken,
    Ended,
    Again(Option<Duration>),
}

fn verdict(policy: CallbackPolicy, answer: &Answer) -> Verdict {
    match (answer, policy) {
        (Answer::Refused(_), _) => Verdict::Ended,
        (Answer::TimedOut(_) | Answer::Broken(_), _) => Verdict::Again(None),
        (Answer::Status(503 | 504, _), CallbackPolicy::Diego) => Verdict::Again(None),
        (Answer::Status(..), CallbackPolicy::Diego) | (Answer::Status(200..=299, _), _) => Verdict::Taken,
        // Standard Webhooks: the receiver wants no more.
        (Answer::Status(410, _), CallbackPolicy::Standard) => Verdict::Ended,
        (Answer::Status(429 | 503, asked), CallbackPolicy::Standard) => Verdict::Again(*asked),
        (Answer::Status(..), CallbackPolicy::Standard) => Verdict::Again(None),
    }
}

/// Whether Diego's BBS would POST once more at once.
pub fn diego_repeats(answer: &Answer) -> bool {
    matches!(answer, Answer::Status(503 | 504, _) | Answer::TimedOut(_))
}

/// The state of a callback after a try. `random` is from 0 to 1.
pub fn after(
    callback: &Callback,
    old: &CallbackStatus,
    attempt: &Attempt,
    settings: &Settings,
    random: f64,
) -> CallbackStatus {
    let policy = callback.policy();
    let attempts = old.attempts.saturating_add(attempt.tries);
    let at = to_millis(attempt.at);
    let tried = CallbackStatus {
        attempts,
        last_attempt_at: Some(at),
        next_attempt_at: None,
        last_status: match attempt.answer {
            Answer::Status(status, _) => Some(status),
            _ => None,
        },
        message: Some(cut(&words(&attempt.answer), MAX_MESSAGE).to_owned()),
        ..old.clone()
    };
    let failed = |tried: CallbackStatus| CallbackStatus {
        state: CallbackState::Failed,
        ..tried
    };
    match verdict(policy, &attempt.answer) {
        Verdict::Taken => CallbackStatus {
            state: CallbackState::Delivered,
            delivered_at: Some(at),
            message: None,
            ..tried
        },
        Verdict::Ended => failed(tried),
        Verdict::Again(asked) => {
            let retry = callback.retry.clone().unwrap_or_default();
            let wait = match policy {
                CallbackPolicy::Diego => settings.diego_pass,
                CallbackPolicy::Standard if attempts >= retry.limit.unwrap_or(LIMIT) => return failed(tried),
                CallbackPolicy::Standard => match asked {
                    // Never sooner than was asked for.
                    Some(asked) => jittered(
                        asked.clamp(SHORTEST_ASKED, LONGEST),
                        JITTER / 2.0,
                        random.mul_add(0.5, 0.5),
                    ),
                    None => jittered(
                        wait(retry.backoff.map(|backoff| backoff.get()), attempts),
                        JITTER,
                        random,
                    ),
                },
            };
            CallbackStatus {
                state: CallbackState::Delivering,
                next_attempt_at: Some(to_millis(after_wait(at, wait))),
                ..tried
            }
        }
    }
}

/// Wait after so many tries.
fn wait(backoff: Option<Duration>, attempts: u32) -> Duration {
    let factor = FACTOR.saturating_pow(attempts.saturating_sub(1));
    backoff
        .unwrap_or(BACKOFF)
        .checked_mul(factor)
        .map_or(LONGEST, |wait| wait.min(LONGEST))
}

/// The limit on one try.
pub fn timeout(callback: &Callback) -> Duration {
    let [shortest, longest] = TIMEOUTS;
    let asked = callback.timeout.map_or(TIMEOUT, |timeout| timeout.get());
    asked.clamp(shortest, longest)
}

fn after_wait(from: Timestamp, wait: Duration) -> Timestamp {
    SignedDuration::try_from(wait)
        .ok()
        .and_then(|wait| from.checked_add(wait).ok())
        .unwrap_or(Timestamp::MAX)
}

fn words(answer: &Answer) -> String {
    match answer {
        Answer::Status(status, _) => {
            let known = http::StatusCode::from_u16(*status).ok();
            let reason = known
                .and_then(|status| status.canonical_reason())
                .unwrap_or_default();
            let redirect = match status {
                301..=303 | 307 | 308 => ", a redirect that is not followed",
                _ => "",
            };
            format!(
                "the answer was {}{redirect}",
                format!("{status} {reason}").trim_end()
            )
        }
        Answer::TimedOut(words) | Answer::Broken(words) | Answer::Refused(words) => words.clone(),
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
