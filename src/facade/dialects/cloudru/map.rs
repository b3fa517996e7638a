//! Tasks in the words of this API. Pure.
//!
//! A client may go by `status` or, as with Yandex Cloud's operations, by `error` and `response`: both always say the
//! same. Neither is there until the task is over, then exactly one is.

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::{Map, Value, json};

use super::{
    any::Message,
    ids,
    settings::{AnyForm, Settings},
    wire::{self, Any, Status},
};
use crate::{
    crd::{Phase, Task, TaskResult},
    facade::state::phase,
};

/// google.rpc.Code of ends that came without one.
const CANCELLED: i32 = 1;
const UNKNOWN: i32 = 2;

/// A Task of this service instance.
pub fn task(task: &Task, instance: &str, settings: &Settings) -> wire::Task {
    let phase = phase(task);
    let (response, error) = outcome(task, phase, settings.any);
    let created = task
        .creation_timestamp()
        .map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    let modified = task.status.as_ref().and_then(|status| status.modified_at);
    wire::Task {
        id: ids::of(task),
        service_instance_id: instance.to_owned(),
        command: command(task),
        status: settings.statuses.of(phase).to_owned(),
        created_at: moment(created),
        created_by: task.spec.owner.clone().unwrap_or_default(),
        // Two clocks: that of the API server, and that of whoever wrote the status.
        modified_at: moment(modified.unwrap_or(created).max(created)),
        metadata: Message::Text(target(task)).into_any(settings.any),
        response,
        error,
    }
}

/// What the Task does, where nobody has said it in words of their own.
fn command(task: &Task) -> String {
    let spec = &task.spec;
    if let Some(command) = &spec.command {
        return command.clone();
    }
    match (&spec.function_ref, &spec.function, &spec.external) {
        (Some(function), ..) => format!("INVOKE {}", function.name),
        (None, Some(function), _) => format!("RUN {}", function.container.image),
        (None, None, external) => {
            if let Some(actions) = &spec.actions {
                return format!("RUN {}", actions.container.image);
            }
            let processor = external.as_ref().map(|external| external.processor.as_str());
            format!("AWAIT {}", processor.unwrap_or_default())
        }
    }
}

/// What the Task works on: the Function that it calls, or whoever does its work. A Task that brings its function along
/// is about nothing else than itself.
fn target(task: &Task) -> String {
    let function = task.spec.function_ref.as_ref().map(|function| &function.name);
    let processor = task.spec.external.as_ref().map(|external| &external.processor);
    function.or(processor).cloned().unwrap_or_else(|| task.name_any())
}

fn outcome(task: &Task, phase: Phase, form: AnyForm) -> (Option<Any>, Option<Status>) {
    match phase {
        Phase::Queued | Phase::Pending | Phase::Running => (None, None),
        Phase::Succeeded => (Some(response(task).into_any(form)), None),
        Phase::Failed => (None, Some(error(task, UNKNOWN, form))),
        Phase::Cancelled => (None, Some(error(task, CANCELLED, form))),
    }
}

fn response(task: &Task) -> Message {
    let result = task.status.as_ref().and_then(|status| status.result.as_ref());
    result.map_or(Message::Empty, |result| Message::Struct(fields(result)))
}

/// Text stays text, also where it is JSON: the numbers of a Struct are doubles, and would not come back as they were.
fn fields(result: &TaskResult) -> Map<String, Value> {
    let all = [
        ("httpStatus", Some(json!(result.status))),
        ("contentType", result.content_type.clone().map(Value::from)),
        ("body", result.body.clone().map(Value::from)),
        ("bodyBase64", result.body_base64.clone().map(Value::from)),
        ("sizeBytes", result.size_bytes.map(Value::from)),
        ("truncated", Some(json!(result.truncated))),
    ];
    let present = all
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    present.collect()
}

/// `fallback` is the code of an end whose writer left it out: 0 would be OK.
fn error(task: &Task, fallback: i32, form: AnyForm) -> Status {
    let status = task.status.as_ref();
    let kept = status.and_then(|status| status.error.as_ref());
    let told = status.and_then(|status| status.message.clone());
    Status {
        code: kept
            .map(|kept| kept.code)
            .filter(|code| *code > 0)
            .unwrap_or(fallback),
        message: kept.map(|kept| kept.message.clone()).or(told).unwrap_or_default(),
        details: kept
            .into_iter()
            .flat_map(|kept| &kept.details)
            .map(|detail| Message::of_detail(detail).into_any(form))
            .collect(),
    }
}

/// RFC 3339 with no fraction or three digits of it, as proto3 writes a Timestamp in JSON.
fn moment(time: Timestamp) -> String {
    let digits = if time.subsec_millisecond() == 0 { 0 } else { 3 };
    format!("{time:.digits$}")
}

#[cfg(test)]
#[path = "map_tests.rs"]
mod tests;
