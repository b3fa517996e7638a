//! Tasks in the words of this API. Pure.

use kube::ResourceExt as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    spaced::spaced,
    wire::{Execution, time},
};
use crate::{
    crd::{Phase, Task, TaskStatus},
    facade::{results, state::phase, uuids},
};

/// Annotation of a Task with what its execution has beyond a Task.
const ANNOTATION: &str = "errand.dev/qinling-execution";
/// Media type of a result that is the answer of this API already: what the bootstrap of packages writes.
pub const RESULT: &str = "application/vnd.qinling.result+json";

/// What an execution has beyond a Task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Extra {
    /// The alias that was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// Whether the call waited for the end.
    #[serde(default = "yes")]
    pub sync: bool,
}

const fn yes() -> bool {
    true
}

impl Extra {
    /// Writes it on a Task.
    pub fn note(&self, task: &mut Task) {
        task.annotations_mut().extend([self.annotation()]);
    }

    /// As an annotation.
    pub fn annotation(&self) -> (String, String) {
        (ANNOTATION.to_owned(), json!(self).to_string())
    }

    fn of(task: &Task) -> Self {
        let text = task.annotations().get(ANNOTATION);
        // Whoever may change a Task may write anything here.
        let read = text.and_then(|text| serde_json::from_str(text).ok());
        read.unwrap_or(Self {
            alias: None,
            sync: true,
        })
    }
}

/// The id of an object; empty for one that no API server has seen.
pub fn id(object: &impl kube::ResourceExt) -> String {
    uuids::of(object.meta()).map_or_else(String::new, |id| id.to_string())
}

/// The version of its function that a Task runs.
pub fn version(task: &Task) -> i64 {
    let function = task.spec.function_ref.as_ref();
    function.and_then(|function| function.version).unwrap_or(0)
}

/// The word for the state of a Task.
pub fn status(task: &Task) -> &'static str {
    match phase(task) {
        Phase::Queued | Phase::Pending | Phase::Running => "running",
        Phase::Succeeded => "success",
        Phase::Failed if is_ours(task) => "error",
        Phase::Failed | Phase::Cancelled => "failed",
    }
}

/// True for an end that is not the function's doing.
fn is_ours(task: &Task) -> bool {
    !matches!(
        reason(task),
        "ExitCode" | "OOMKilled" | "TimedOut" | "NoAnswer" | "Reported"
    )
}

fn reason(task: &Task) -> &str {
    let status = task.status.as_ref();
    status
        .and_then(|status| status.reason.as_deref())
        .unwrap_or_default()
}

/// An execution of a whole Task; `function` is the id of its function, where that is known.
pub fn execution(task: &Task, function: Option<String>) -> Execution {
    let extra = Extra::of(task);
    let input = task.spec.input.as_ref();
    let times = task.status.as_ref();
    let changed = times.and_then(|status| status.modified_at.as_ref());
    Execution {
        id: id(task),
        function_id: function,
        function_version: version(task),
        function_alias: extra.alias,
        description: task.spec.description.clone(),
        status: status(task),
        sync: extra.sync,
        input: input.and_then(|input| input.body.clone()),
        result: result(task).map(|value| spaced(&value)),
        project_id: task.namespace().unwrap_or_default(),
        created_at: task.creation_timestamp().map(|made| time(made.0)),
        updated_at: changed.map(|changed| time(*changed)),
    }
}

/// What came out, once the Task is over.
fn result(task: &Task) -> Option<Value> {
    let status = task.status.as_ref()?;
    if !phase(task).is_terminal() {
        return None;
    }
    if let Some(written) = written(status) {
        return Some(written);
    }
    let duration = duration(status);
    let output = match reason(task) {
        "TimedOut" => json!("Function execution timeout."),
        "OOMKilled" => json!("Function execution failed because of too much resource consumption"),
        _ if is_ours(task) && phase(task) == Phase::Failed => {
            return Some(json!({"output": "Function execution failed."}));
        }
        _ if phase(task) == Phase::Succeeded => match output(status) {
            Some(output) => output,
            // An image that says nothing has a duration only.
            None => return Some(json!({"duration": duration})),
        },
        _ => json!(status.message.as_deref().unwrap_or("Function execution failed.")),
    };
    Some(json!({"output": output, "duration": duration}))
}

/// The answer that the bootstrap wrote, if it came to that.
fn written(status: &TaskStatus) -> Option<Value> {
    let result = status.result.as_ref()?;
    if result.content_type.as_deref() != Some(RESULT) || result.truncated {
        return None;
    }
    let value: Value = serde_json::from_slice(&results::body(result)).ok()?;
    value.is_object().then_some(value)
}

/// The result of a Task that knows nothing of this API: JSON as it is, everything else as text.
fn output(status: &TaskStatus) -> Option<Value> {
    let result = status
        .result
        .as_ref()
        .filter(|result| !results::is_empty(result))?;
    let body = results::body(result);
    let json = result
        .content_type
        .as_deref()
        .is_some_and(|media| media.starts_with("application/json"));
    let value = json.then(|| serde_json::from_slice(&body).ok()).flatten();
    Some(value.unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned().into()))
}

/// Seconds from start to end, rounded to three places.
fn duration(status: &TaskStatus) -> f64 {
    let (Some(from), Some(to)) = (status.started_at, status.finished_at) else {
        return 0.0;
    };
    let seconds = to.duration_since(from).as_secs_f64().max(0.0);
    (seconds * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(spec: Value, status: Value) -> Task {
        serde_json::from_value(json!({
            "apiVersion": "errand.dev/v1alpha1", "kind": "Task", "spec": spec, "status": status,
            "metadata": {"name": "t", "namespace": "n", "uid": "0f1e2d3c-4b5a-4978-8069-1a2b3c4d5e6f",
                "creationTimestamp": "2026-11-21T16:40:28Z"},
        }))
        .unwrap()
    }

    fn ended(status: Value) -> (&'static str, Option<String>) {
        let mut whole =
            json!({"startedAt": "2026-11-21T16:40:28Z", "finishedAt": "2026-11-21T16:40:29.0504Z"});
        whole
            .as_object_mut()
            .unwrap()
            .extend(status.as_object().unwrap().clone());
        let shown = execution(&task(json!({}), whole), None);
        (shown.status, shown.result)
    }

    #[test]
    fn a_new_execution_is_shown_with_every_field() {
        let spec = json!({
            "functionRef": {"name": "f", "version": 2}, "description": "d",
            "input": {"contentType": "application/json", "body": "{\"a\": 1}"},
        });
        let mut new = task(spec, json!({"phase": "Queued"}));
        let extra = Extra {
            alias: Some("live".into()),
            sync: false,
        };
        extra.note(&mut new);
        let shown = serde_json::to_string(&execution(&new, Some("fid".into()))).unwrap();
        let expected = concat!(
            r#"{"id":"0f1e2d3c-4b5a-4978-8069-1a2b3c4d5e6f","function_id":"fid","function_version":2,"#,
            r#""function_alias":"live","description":"d","status":"running","sync":false,"input":"{\"a\": 1}","#,
            r#""result":null,"project_id":"n","created_at":"2026-11-21T16:40:28Z","updated_at":null}"#
        );
        assert_eq!(shown, expected);
    }

    #[test]
    fn what_the_bootstrap_wrote_is_the_result() {
        let result = json!({"status": 200, "contentType": RESULT, "sizeBytes": 9, "truncated": false,
            "body": "{\"output\":[1],\"duration\":0.5}"});
        let succeeded = ended(json!({"phase": "Succeeded", "reason": "Completed", "result": result}));
        assert_eq!(
            succeeded,
            ("success", Some(r#"{"output": [1], "duration": 0.5}"#.into()))
        );
        let failed = ended(json!({"phase": "Failed", "reason": "ExitCode", "result": result}));
        assert_eq!(
            failed,
            ("failed", Some(r#"{"output": [1], "duration": 0.5}"#.into()))
        );
    }

    #[test]
    fn every_other_end_has_the_words_of_this_api() {
        let result = |body: &str| json!({"status": 200, "contentType": "text/plain; charset=utf-8", "sizeBytes": 1, "truncated": false, "body": body});
        for (status, word, text) in [
            (
                json!({"phase": "Succeeded", "result": result("hello\n")}),
                "success",
                r#"{"output": "hello\n", "duration": 1.05}"#,
            ),
            (
                json!({"phase": "Succeeded", "result": result("")}),
                "success",
                r#"{"duration": 1.05}"#,
            ),
            (
                json!({"phase": "Failed", "reason": "TimedOut"}),
                "failed",
                r#"{"output": "Function execution timeout.", "duration": 1.05}"#,
            ),
            (
                json!({"phase": "Failed", "reason": "OOMKilled"}),
                "failed",
                r#"{"output": "Function execution failed because of too much resource consumption", "duration": 1.05}"#,
            ),
            (
                json!({"phase": "Failed", "reason": "ExitCode", "message": "exit code 3"}),
                "failed",
                r#"{"output": "exit code 3", "duration": 1.05}"#,
            ),
            (
                json!({"phase": "Cancelled", "message": "cancelled"}),
                "failed",
                r#"{"output": "cancelled", "duration": 1.05}"#,
            ),
            (
                json!({"phase": "Failed", "reason": "NodeLost"}),
                "error",
                r#"{"output": "Function execution failed."}"#,
            ),
            (
                json!({"phase": "Failed", "reason": "ImagePullFailed"}),
                "error",
                r#"{"output": "Function execution failed."}"#,
            ),
        ] {
            assert_eq!(ended(status.clone()), (word, Some(text.to_owned())), "{status}");
        }
    }
}
