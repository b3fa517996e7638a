//! Tasks in the words of this API, and what is new about them. Pure.

use kube::ResourceExt as _;

use super::{
    ids::JobId,
    wire::{self, TaskUpdate},
};
use crate::{
    crd::{Message, Phase, Progress, Speed, Task},
    facade::state::{is_over, phase},
};

/// Who does the work of Tasks that run in a pod.
pub const POD: &str = "errand";

/// The id of a Task; empty for an object without a uid, which no API server has.
pub fn job_id(task: &Task) -> String {
    JobId::of(&task.metadata).map_or_else(String::new, |id| id.to_string())
}

/// Who does the work.
pub fn processor(task: &Task) -> String {
    let external = task.spec.external.as_ref();
    external.map_or_else(|| POD.to_owned(), |external| external.processor.clone())
}

/// When the Task was made, in unix milliseconds.
pub fn started_at(task: &Task) -> i64 {
    task.creation_timestamp()
        .map_or(0, |time| time.0.as_millisecond())
}

/// When the Task last changed, in unix milliseconds.
pub fn modified_at(task: &Task) -> i64 {
    let modified = task.status.as_ref().and_then(|status| status.modified_at);
    modified.map_or_else(|| started_at(task), |time| time.as_millisecond())
}

/// What the Task is called: as was reported, as was asked for, or by what it runs.
pub fn title(task: &Task) -> Option<String> {
    let reported = task.status.as_ref().and_then(|status| status.title.clone());
    let runs = || {
        task.spec
            .function_ref
            .as_ref()
            .map(|function| function.name.clone())
    };
    let title = reported.or_else(|| task.spec.title.clone()).or_else(runs);
    title.or_else(|| task.metadata.name.clone())
}

/// What is being done, or why it failed. A Task in a pod tells its phase where it tells nothing else.
pub fn text(task: &Task) -> Option<String> {
    let reported = progress(task).and_then(|progress| progress.message.clone());
    let why = task.status.as_ref().and_then(|status| status.message.clone());
    match phase(task) {
        Phase::Failed | Phase::Cancelled => why.or(reported),
        // The engine's own words about such a Task tell its user nothing.
        _ if task.spec.external.is_some() => reported.or_else(|| task.spec.description.clone()),
        phase => Some(reported.or(why).unwrap_or_else(|| phase.to_string())),
    }
}

/// A Task as it is.
pub fn shown(task: &Task) -> wire::Task {
    wire::Task {
        job_id: job_id(task),
        owner: task.spec.owner.clone().unwrap_or_default(),
        processor: processor(task),
        title: title(task),
        status: text(task),
        complete: is_over(task),
        started_at: started_at(task),
        modified_at: modified_at(task),
    }
}

fn progress(task: &Task) -> Option<&Progress> {
    task.status.as_ref().and_then(|status| status.progress.as_ref())
}

/// How far the Task has come: its steps, or the percentage as steps of a hundred.
fn steps(task: &Task) -> Option<wire::Progress> {
    let progress = progress(task)?;
    let (current, maximum) = match (progress.current, progress.maximum, progress.percent) {
        (Some(current), Some(maximum), _) => (current, maximum),
        (_, _, Some(percent)) => (i64::from(percent), 100),
        _ => return None,
    };
    let fit = |number: i64| i32::try_from(number).unwrap_or(if number < 0 { i32::MIN } else { i32::MAX });
    Some(wire::Progress {
        title: progress.title.clone().unwrap_or_default(),
        current: fit(current),
        maximum: fit(maximum),
    })
}

/// What a change of a Task is to those who listen, in order: each message by itself, then all else, then the end.
pub fn updates(before: Option<&Task>, after: Option<&Task>) -> Vec<TaskUpdate> {
    match (before, after) {
        (Some(before), Some(after)) if before.metadata.uid == after.metadata.uid => changed(before, after),
        (_, Some(after)) => made(after),
        (Some(before), None) if !is_over(before) => vec![end(before)],
        _ => Vec::new(),
    }
}

/// A Task that was not known before: mostly a new one, about which nothing else was said yet.
fn made(task: &Task) -> Vec<TaskUpdate> {
    let first = TaskUpdate {
        new_title: title(task),
        new_status: text(task),
        progress: steps(task).filter(|_| !is_over(task)),
        speeds: speeds(task).to_vec(),
        ..bare(task)
    };
    let said = messages(task).iter().map(|message| said(task, message));
    let end = is_over(task).then(|| end(task));
    std::iter::once(first).chain(said).chain(end).collect()
}

fn changed(before: &Task, after: &Task) -> Vec<TaskUpdate> {
    if is_over(before) {
        return Vec::new();
    }
    let new = new_messages(messages(before), messages(after)).iter();
    let mut updates: Vec<TaskUpdate> = new.map(|message| said(after, message)).collect();
    // What comes with a message goes with it.
    let mut last = updates.pop().unwrap_or_else(|| bare(after));
    last.new_title = differs(title(before), title(after));
    last.speeds = new_speeds(speeds(before), speeds(after)).to_vec();
    if is_over(after) {
        // How it failed is told while the row is still there. What else an end changes goes without saying.
        last.new_status = text(after).filter(|_| phase(after) != Phase::Succeeded);
    } else {
        last.new_status = differs(text(before), text(after));
        last.progress = differs(steps(before), steps(after));
    }
    if last != bare(after) {
        updates.push(last);
    }
    if is_over(after) {
        updates.push(end(after));
    }
    updates
}

fn bare(task: &Task) -> TaskUpdate {
    TaskUpdate {
        job_id: job_id(task),
        ..TaskUpdate::default()
    }
}

fn said(task: &Task, message: &Message) -> TaskUpdate {
    TaskUpdate {
        message_to_append: Some(message.text.clone()),
        ..bare(task)
    }
}

fn end(task: &Task) -> TaskUpdate {
    TaskUpdate {
        complete: true,
        ..bare(task)
    }
}

fn differs<T: PartialEq>(before: Option<T>, after: Option<T>) -> Option<T> {
    after.filter(|after| before.as_ref() != Some(after))
}

fn messages(task: &Task) -> &[Message] {
    task.status.as_ref().map_or(&[], |status| &status.messages)
}

fn speeds(task: &Task) -> &[Speed] {
    task.status.as_ref().map_or(&[], |status| &status.speeds)
}

/// The messages with higher numbers than any before.
fn new_messages<'a>(before: &[Message], after: &'a [Message]) -> &'a [Message] {
    let seen = before.last().map_or(0, |last| last.sequence);
    let from = after.partition_point(|message| message.sequence <= seen);
    &after[from..]
}

/// The speeds that were put behind those before, of which the oldest may have made room.
fn new_speeds<'a>(before: &[Speed], after: &'a [Speed]) -> &'a [Speed] {
    let kept = (0..=after.len())
        .rev()
        .find(|kept| before.ends_with(&after[..*kept]));
    &after[kept.unwrap_or(0)..]
}

#[cfg(test)]
mod tests;
