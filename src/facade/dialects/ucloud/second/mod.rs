//! The successor of the API, as far as newer web clients and providers need it: ids are numbers, states tell failure
//! from success, and a user can stop a task. Its frames and paths are those of the first.
//!
//! Facts are from the code of UCloud at revision cf45494d05 (`backend/task-service`).

pub mod map;
pub mod wire;

use jiff::{SignedDuration, Timestamp};

use self::{
    map::{Extras, can_cancel, shown, task_id},
    wire::{BrowseRequest, CreateRequest, Page, PauseOrCancel, State, Task, TaskUpdate},
};
use super::{
    failure::malformed,
    find,
    ids::JobId,
    map::started_at,
    read::{is_current, page_size},
    report::{Made, filled, make, unless_over},
    roles::Principal,
    wire::{TaskId, Unit},
};
use crate::{
    crd::ReportedEnd,
    facade::{
        access::Verb,
        refusal::Refusal,
        reports::News,
        state::{Facade, is_over},
        views::Key,
    },
};

/// A Task that nobody reported on for so long is not listed.
const STALE: SignedDuration = SignedDuration::from_hours(24);

/// `tasks.browse`: the Tasks of the caller that are not over, the newest first.
///
/// # Errors
/// The API server does not answer.
pub async fn browse(facade: &Facade, principal: &Principal, request: BrowseRequest) -> Result<Page, Refusal> {
    let size = page_size(request.items_per_page);
    let next = filled(request.next);
    let from = next
        .map(|next| Place::parse(&next).ok_or_else(malformed))
        .transpose()?;
    let now = Timestamp::now();
    let mut tasks = find::own(facade, principal).await?;
    tasks.retain(|task| is_current(task, STALE, now));
    let tasks = tasks
        .iter()
        .map(|task| (Place(started_at(task), task_id(task)), task));
    let mut tasks: Vec<_> = tasks
        .filter(|(place, _)| from.as_ref().is_none_or(|from| place < from))
        .collect();
    tasks.sort_by(|(a, _), (b, _)| b.cmp(a));
    let more = tasks.len() > size;
    tasks.truncate(size);
    let last = tasks.last().filter(|_| more);
    Ok(Page {
        items_per_page: size,
        next: last.map(|(place, _)| format!("{}-{}", place.0, place.1)),
        items: tasks.iter().map(|(_, task)| shown(task)).collect(),
    })
}

/// Where a Task stands in the list: by age, then by id.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place(i64, i64);

impl Place {
    fn parse(next: &str) -> Option<Self> {
        let (made, id) = next.split_once('-')?;
        Some(Self(made.parse().ok()?, id.parse().ok()?))
    }
}

/// `tasks.create`
///
/// # Errors
/// As [`make`].
pub async fn create(facade: &Facade, principal: &Principal, request: CreateRequest) -> Result<Task, Refusal> {
    let extras = Extras {
        can_cancel: request.can_cancel,
        icon: request.icon,
        progress: request.progress,
    };
    let annotations = extras.annotations();
    let annotations = annotations
        .map_err(|error| Refusal::Internal(format!("an annotation cannot be written: {error}")))?;
    let made = Made {
        owner: request.user,
        title: request.title,
        status: request.body,
        annotations: Some(annotations),
    };
    let task = make(facade, principal, JobId::new_numbered(), made).await?;
    Ok(shown(&task))
}

/// `tasks.postStatus`: news, and the end with a final state.
///
/// # Errors
/// There is no such Task of the principal's; the API server refuses or does not answer.
pub async fn post_status(
    facade: &Facade,
    principal: &Principal,
    update: TaskUpdate,
) -> Result<Unit, Refusal> {
    let task = find::reportable(facade, principal, &TaskId::Number(update.task_id)).await?;
    let status = update.new_status;
    let end = status.state.and_then(map::end);
    let news = map::news(&status);
    // A service that says only that it goes on is heard too: its Task is not stale.
    if end.is_none() || news != News::default() {
        unless_over(facade.reports.news(&task, &news).await)?;
    }
    let Some(phase) = end else {
        return Ok(Unit {});
    };
    let words = filled(status.body).or(filled(status.progress));
    let end = ReportedEnd {
        phase,
        message: words.as_deref().map(crate::crd::change::bounded),
        result: None,
    };
    unless_over(facade.reports.end(&task, &end).await)
}

/// `tasks.pauseOrCancel`: stops a Task of the caller's. One that is over stays as it is.
///
/// # Errors
/// There is no such Task, or it cannot be stopped, or not by the caller; the API server does not answer.
pub async fn pause_or_cancel(
    facade: &Facade,
    principal: &Principal,
    request: PauseOrCancel,
) -> Result<Unit, Refusal> {
    let task = find::readable(facade, principal, &TaskId::Number(request.id)).await?;
    if is_over(&task) {
        return Ok(Unit {});
    }
    let invalid = |sentence: &str| Err(Refusal::Invalid(sentence.to_owned()));
    match request.requested_state {
        State::Cancelled if can_cancel(&task) => {}
        State::Cancelled => return invalid("this task cannot be cancelled"),
        State::Suspended => return invalid("this task cannot be paused"),
        _ => return invalid("a task can only be cancelled"),
    }
    if !find::allowed(facade, principal, Verb::Patch, &task).await? {
        return Err(Refusal::Forbidden("the caller may not stop this task".to_owned()));
    }
    facade.objects.cancel(&Key::of(task.as_ref())).await?;
    Ok(Unit {})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_the_list_is_two_numbers() {
        assert_eq!(Place::parse("17-4"), Some(Place(17, 4)));
        for bad in ["", "17", "17-", "-4", "a-b", "1-2-3", "99999999999999999999-1"] {
            assert_eq!(Place::parse(bad), None, "{bad}");
        }
    }
}
