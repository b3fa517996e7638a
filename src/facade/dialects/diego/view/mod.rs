//! Tasks in the words of this API. Pure.
//!
//! | this API | Task |
//! |---|---|
//! | Pending | no end, and not running |
//! | Running | phase Running; where cells come from outside, one has said that it starts the task |
//! | Completed | in a final phase; or asked to end so, while the evidence is still gathered |
//! | Resolving | Completed, and somebody said `resolving` or the callback is under way |

mod elsewhere;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use prost::Message as _;

pub use self::elsewhere::Origin;
use super::{
    map::PROCESSOR,
    messages::{self, State},
    names::{self, Marks, stored},
};
use crate::{
    crd::{CallbackState, EndPhase, Phase, Task},
    facade::{results, state::phase},
};

/// `failure_reason` of a task that was cancelled.
pub const CANCELLED: &str = "task was cancelled";
/// `failure_reason` of a task whose node was lost.
const LOST: &str = "cell disappeared before completion";
/// `failure_reason` of a task that nobody started in time.
const NOT_STARTED: &str = "not started within time limit";

/// Where a task stands. Times are Unix nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its state.
    pub state: State,
    /// The cell that it is said to be on; may be empty.
    pub cell: String,
    /// How it ended; `Some` exactly where it is Completed or Resolving.
    pub end: Option<End>,
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// It is a failure.
    pub failed: bool,
    /// Why it failed.
    pub reason: String,
    /// When.
    pub at: i64,
    /// What came out counts.
    result: bool,
}

/// True for a task that waits for cells from outside.
pub fn is_for_cells(task: &Task) -> bool {
    let external = task.spec.external.as_ref();
    external.is_some_and(|external| external.processor == PROCESSOR) && names::guid(task).is_some()
}

/// Where a Task stands.
pub fn standing(task: &Task) -> Standing {
    stand(task, &names::marks(task))
}

fn stand(task: &Task, marks: &Marks) -> Standing {
    let for_cells = is_for_cells(task);
    let node = || {
        let pod = task.status.as_ref().and_then(|status| status.pod.as_ref());
        pod.and_then(|pod| pod.node.clone()).unwrap_or_default()
    };
    let known_cell = || match for_cells {
        true => marks.cell.clone().unwrap_or_default(),
        false => node(),
    };
    let running = match for_cells {
        true => marks.running,
        false => phase(task) == Phase::Running,
    };
    match end(task, marks) {
        Some(end) => Standing {
            state: match marks.resolving_at.is_some() || is_calling(task) {
                true => State::Resolving,
                false => State::Completed,
            },
            cell: match end.reason == LOST {
                true => known_cell(),
                false => String::new(),
            },
            end: Some(end),
        },
        None if running => Standing {
            state: State::Running,
            cell: known_cell(),
            end: None,
        },
        None => Standing {
            state: State::Pending,
            // A cell that rejected the task is still named, as at the real server; a node is only once it runs.
            cell: if for_cells { known_cell() } else { String::new() },
            end: None,
        },
    }
}

/// The callback is about to be made, under way, or was taken and the Task is about to go. The controller calls as soon as
/// the Task has ended and says so only afterwards, so an end with a callback counts as one that is told.
fn is_calling(task: &Task) -> bool {
    let status = task.status.as_ref().and_then(|status| status.callback.as_ref());
    let state = status.map(|callback| callback.state).unwrap_or_default();
    match state {
        CallbackState::Pending => task.spec.callback.is_some() && phase(task).is_terminal(),
        CallbackState::Delivering | CallbackState::Delivered => true,
        CallbackState::Failed => false,
    }
}

/// What was said first holds: a task that was cancelled here stays so, whatever its pod came to meanwhile.
fn end(task: &Task, marks: &Marks) -> Option<End> {
    let cancelled = |at| End {
        failed: true,
        reason: CANCELLED.to_owned(),
        at,
        result: false,
    };
    if let Some(at) = marks.cancelled_at {
        return Some(cancelled(at));
    }
    let status = task.status.clone().unwrap_or_default();
    let modified = status.modified_at.map_or_else(|| created_at(task), nanoseconds);
    let finished = status.finished_at.map_or(modified, nanoseconds);
    let failed = |reason: &str, at| End {
        failed: true,
        reason: stored(reason),
        at,
        result: true,
    };
    let succeeded = |at| End {
        failed: false,
        reason: String::new(),
        at,
        result: true,
    };
    match phase(task) {
        Phase::Succeeded => return Some(succeeded(finished)),
        Phase::Failed => {
            let message = status.message.as_deref().unwrap_or_default();
            let reason = match status.reason.as_deref() {
                Some("NodeLost") => LOST,
                Some("PendingTimedOut") => NOT_STARTED,
                _ => message,
            };
            return Some(failed(reason, finished));
        }
        Phase::Cancelled => return Some(cancelled(finished)),
        Phase::Queued | Phase::Pending | Phase::Running => {}
    }
    if task.spec.cancel == Some(true) {
        return Some(cancelled(modified));
    }
    let reported = status.reported_end.as_ref()?;
    Some(match reported.phase {
        EndPhase::Succeeded => succeeded(modified),
        EndPhase::Failed => failed(reported.words(), modified),
        EndPhase::Cancelled => cancelled(modified),
    })
}

/// True where the task's result is not in the facade's view, which leaves it out.
pub fn lacks_result(task: &Task) -> bool {
    let counts = standing(task).end.is_some_and(|end| end.result);
    let status = task.status.as_ref();
    let result = status.and_then(|status| status.result.as_ref());
    let reported = status
        .and_then(|status| status.reported_end.as_ref())
        .and_then(|end| end.result.as_ref());
    let left_out = result
        .or(reported)
        .is_some_and(|result| results::is_empty(result) && result.size_bytes.unwrap_or(1) > 0);
    counts && left_out
}

/// A Task as this API shows it. `origin` tells of Tasks that were made elsewhere what their own object does not.
pub fn task(task: &Task, origin: &Origin) -> messages::Task {
    let marks = names::marks(task);
    let standing = stand(task, &marks);
    let own = origin.definition.clone().or_else(|| names::definition(task));
    let made_elsewhere = || elsewhere::definition(task, origin).encode_to_vec();
    let end = standing.end.as_ref();
    messages::Task {
        task_definition: Some(own.unwrap_or_else(made_elsewhere)),
        task_guid: names::guid(task).map_or_else(|| task.name_any(), str::to_owned),
        domain: task.spec.domain.clone().unwrap_or_default(),
        created_at: created_at(task),
        updated_at: updated_at(task, &marks, end),
        first_completed_at: end.map_or(0, |end| end.at),
        state: standing.state.into(),
        cell_id: standing.cell,
        result: end
            .filter(|end| end.result)
            .map(|_| result(task))
            .unwrap_or_default(),
        failed: end.is_some_and(|end| end.failed),
        failure_reason: end.map(|end| end.reason.clone()).unwrap_or_default(),
        rejection_count: marks.rejections,
        rejection_reason: marks.rejection_reason.unwrap_or_default(),
    }
}

/// What came out, as text: this API has no other.
fn result(task: &Task) -> String {
    let status = task.status.as_ref();
    let reported = || {
        status
            .and_then(|status| status.reported_end.as_ref())
            .and_then(|end| end.result.as_ref())
    };
    let result = status.and_then(|status| status.result.as_ref()).or_else(reported);
    result
        .map(|result| String::from_utf8_lossy(&results::body(result)).into_owned())
        .unwrap_or_default()
}

fn created_at(task: &Task) -> i64 {
    task.creation_timestamp().map_or(0, |time| nanoseconds(time.0))
}

fn updated_at(task: &Task, marks: &Marks, end: Option<&End>) -> i64 {
    let modified = task.status.as_ref().and_then(|status| status.modified_at);
    let times = [
        Some(created_at(task)),
        modified.map(nanoseconds),
        marks.updated_at,
        end.map(|end| end.at),
    ];
    times.into_iter().flatten().max().unwrap_or_default()
}

/// Unix nanoseconds, which fit until the year 2262.
pub fn nanoseconds(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
