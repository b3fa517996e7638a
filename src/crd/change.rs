//! How a status changes, whoever writes it: times, conditions, and a Task's end as a whole. Pure.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use serde_json::{Map, Value, json};

use super::{CONDITION_FINISHED, GROUP, Phase, Progress, RpcStatus, TaskStatus};

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

/// `next` with the times that every status carries; `modifiedAt` moves only where something else did.
pub fn touched(old: &TaskStatus, next: TaskStatus, moment: Moment) -> TaskStatus {
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

/// The end of a Task.
#[derive(Clone, Copy, Debug)]
pub struct Ending<'a> {
    /// A final phase.
    pub phase: Phase,
    /// Why, in one word.
    pub reason: &'a str,
    /// Why, in a sentence.
    pub message: &'a str,
    /// google.rpc.Code; `None` for success.
    pub code: Option<i32>,
    /// When.
    pub finished_at: Timestamp,
}

/// `base` with everything that says that the Task has ended. Result, log and exit code are the caller's.
pub fn ended(base: TaskStatus, ending: &Ending, moment: Moment) -> TaskStatus {
    let message = bounded(ending.message);
    let progress = match (base.progress, ending.phase) {
        (progress, Phase::Succeeded) => Some(Progress {
            percent: Some(100),
            ..progress.unwrap_or_default()
        }),
        (progress, _) => progress,
    };
    let mut next = TaskStatus {
        phase: Some(ending.phase),
        reason: Some(ending.reason.to_owned()),
        finished_at: Some(to_millis(ending.finished_at)),
        next_attempt_at: None,
        progress,
        // What was reported is now what is so.
        reported_end: None,
        error: ending.code.map(|code| error(code, ending.reason, &message)),
        ..base
    };
    let finished = condition(CONDITION_FINISHED, true, ending.reason, &message, moment);
    set_condition(&mut next.conditions, finished);
    TaskStatus {
        message: Some(message),
        ..next
    }
}

fn error(code: i32, reason: &str, message: &str) -> RpcStatus {
    RpcStatus {
        code,
        message: message.to_owned(),
        details: vec![json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": reason,
            "domain": GROUP,
        })],
    }
}

/// A condition that came about now.
pub fn condition(type_: &str, value: bool, reason: &str, message: &str, moment: Moment) -> Condition {
    Condition {
        type_: type_.to_owned(),
        status: if value { "True" } else { "False" }.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: Time(moment.now),
        observed_generation: moment.generation,
    }
}

/// Puts a condition in the place of the one of its type; the time of its last transition stays where nothing turned.
pub fn set_condition(conditions: &mut Vec<Condition>, new: Condition) {
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

/// A text cut to what `status.message` holds.
pub fn bounded(text: &str) -> String {
    cut(text, MAX_MESSAGE).to_owned()
}

/// The beginning of a text, of at most so many bytes.
pub fn cut(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
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
