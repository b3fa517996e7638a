//! What a callback says. Pure.

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use serde::Serialize;

use crate::crd::{Callback, CallbackPolicy, Phase, RpcStatus, Task, TaskResult, TaskStatus, change::cut};

/// Most bytes of a result's body, as text or as base64. Standard Webhooks advises small events; the Task has the rest.
pub const MAX_RESULT: usize = 64 * 1024;
/// A `failure_reason` of so many bytes is cut by Diego's BBS (`models/task.go`), to what makes it this long again.
const DIEGO_REASON: usize = 1024;
const DIEGO_CUT: &str = "(truncated)";

/// An event of Standard Webhooks.
#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    type_: &'static str,
    timestamp: Option<Timestamp>,
    data: Data<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    namespace: String,
    name: String,
    uid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    phase: Option<Phase>,
    reason: Option<&'a str>,
    message: Option<&'a str>,
    exit_code: Option<i32>,
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotation: Option<&'a str>,
    issued_at: Option<Timestamp>,
    assigned_at: Option<Timestamp>,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<TaskResult>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a RpcStatus>,
}

/// `TaskCallbackResponse` of Diego's BBS (`models/task.go`), fields in its order.
#[derive(Serialize)]
struct Diego<'a> {
    task_guid: &'a str,
    failed: bool,
    failure_reason: String,
    result: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotation: Option<&'a str>,
    /// Nanoseconds since 1970.
    created_at: i64,
}

/// Id of the one event of a Task: the same in every try. It holds no point, which parts it from what is signed after it.
pub fn id(task: &Task) -> String {
    format!("msg_{}", task.uid().unwrap_or_default())
}

/// The body of a Task's callback; the same in every try.
pub fn body(task: &Task, callback: &Callback) -> Vec<u8> {
    let none = TaskStatus::default();
    let status = task.status.as_ref().unwrap_or(&none);
    let written = match callback.policy() {
        CallbackPolicy::Standard => serde_json::to_vec(&standard(task, status, callback)),
        CallbackPolicy::Diego => serde_json::to_vec(&diego(task, status, callback)),
    };
    // Structs of strings and numbers: serialization cannot fail.
    written.unwrap_or_default()
}

fn standard<'a>(task: &'a Task, status: &'a TaskStatus, callback: &'a Callback) -> Event<'a> {
    let spec = &task.spec;
    Event {
        type_: "task.finished",
        timestamp: status.finished_at,
        data: Data {
            namespace: task.namespace().unwrap_or_default(),
            name: task.name_any(),
            uid: task.uid().unwrap_or_default(),
            subject: callback.subject.as_deref(),
            phase: status.phase,
            reason: status.reason.as_deref(),
            message: status.message.as_deref(),
            exit_code: status.exit_code,
            attempts: status.attempts.unwrap_or(0),
            title: status.title.as_deref().or(spec.title.as_deref()),
            owner: spec.owner.as_deref(),
            domain: spec.domain.as_deref(),
            annotation: spec.annotation.as_deref(),
            issued_at: status.issued_at,
            assigned_at: status.assigned_at,
            started_at: status.started_at,
            finished_at: status.finished_at,
            result: status.result.clone().map(bounded),
            error: status.error.as_ref(),
        },
    }
}

fn bounded(mut result: TaskResult) -> TaskResult {
    let shorten = |body: &mut Option<String>| {
        let whole = body.as_ref().map_or(0, String::len);
        if whole > MAX_RESULT
            && let Some(text) = body
        {
            // Four characters of base64 are three bytes, and the limit is a multiple of four.
            *text = cut(text, MAX_RESULT).to_owned();
            return true;
        }
        false
    };
    let shortened = shorten(&mut result.body) | shorten(&mut result.body_base64);
    result.truncated |= shortened;
    // Headers may be many, and those of a function's answer are the Task's to keep.
    result.headers.clear();
    result
}

fn diego<'a>(task: &'a Task, status: &'a TaskStatus, callback: &'a Callback) -> Diego<'a> {
    // Diego's clients are told of a cancel at once, and must not hear later that the work was done in time after all.
    let cancelled = task.spec.cancel == Some(true) || status.phase == Some(Phase::Cancelled);
    let failed = cancelled || status.phase != Some(Phase::Succeeded);
    let reason = match (cancelled, failed) {
        (true, _) => "task was cancelled",
        (false, true) => failure_reason(status),
        (false, false) => "",
    };
    let result = status.result.as_ref().filter(|_| !cancelled);
    let created = task.creation_timestamp().map(|time| time.0);
    let created = created.or(status.issued_at).unwrap_or(Timestamp::UNIX_EPOCH);
    Diego {
        task_guid: callback
            .subject
            .as_deref()
            .or(task.metadata.name.as_deref())
            .unwrap_or_default(),
        failed,
        failure_reason: diego_cut(reason),
        result: result.map(text).unwrap_or_default(),
        annotation: task.spec.annotation.as_deref().filter(|text| !text.is_empty()),
        created_at: i64::try_from(created.as_nanosecond()).unwrap_or(i64::MAX),
    }
}

/// Why a Task failed, in Diego's words where it has some (`models/task.go`, `controllers/task_controller.go`,
/// `db/sqldb/task_convergence.go` of the BBS).
fn failure_reason(status: &TaskStatus) -> &str {
    match status.reason.as_deref() {
        Some("PendingTimedOut") => "not started within time limit",
        Some("NodeLost") => "cell disappeared before completion",
        _ => status.message.as_deref().unwrap_or_default(),
    }
}

fn diego_cut(reason: &str) -> String {
    if reason.len() < DIEGO_REASON {
        return reason.to_owned();
    }
    format!("{}{DIEGO_CUT}", cut(reason, DIEGO_REASON - DIEGO_CUT.len()))
}

/// The body as text; Go's JSON, too, puts U+FFFD in the place of what is no UTF-8.
fn text(result: &TaskResult) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let encoded = || STANDARD.decode(result.body_base64.as_deref()?).ok();
    match &result.body {
        Some(text) => text.clone(),
        None => String::from_utf8_lossy(&encoded().unwrap_or_default()).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn task(spec: Value, status: Value) -> Task {
        let mut object = json!({
            "apiVersion": "errand.dev/v1alpha1", "kind": "Task",
            "metadata": {"name": "t", "namespace": "n", "uid": "u-1", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"functionRef": {"name": "f"}},
            "status": status,
        });
        let more = spec.as_object().unwrap().clone();
        object["spec"].as_object_mut().unwrap().extend(more);
        serde_json::from_value(object).unwrap()
    }

    fn said(task: &Task) -> Value {
        serde_json::from_slice(&body(task, task.spec.callback.as_ref().unwrap())).unwrap()
    }

    #[test]
    fn a_standard_event_says_what_became_of_the_task() {
        let task = task(
            json!({
                "callback": {"url": "http://a", "subject": "job 7"}, "title": "asked", "owner": "ada",
                "domain": "d", "annotation": "keep", "input": {"body": "secret input"},
            }),
            json!({
                "phase": "Failed", "reason": "ExitCode", "message": "exit code 3", "exitCode": 3, "attempts": 2,
                "title": "told", "issuedAt": "2026-01-01T00:00:00Z", "startedAt": "2026-01-01T00:00:01Z",
                "finishedAt": "2026-01-01T00:00:02.5Z",
                "result": {"status": 500, "body": "out", "sizeBytes": 3, "truncated": false, "headers": {"a": "b"}},
                "error": {"code": 2, "message": "exit code 3"},
                "logs": {"tail": "a log"},
            }),
        );
        let expected = json!({
            "type": "task.finished", "timestamp": "2026-01-01T00:00:02.5Z",
            "data": {
                "namespace": "n", "name": "t", "uid": "u-1", "subject": "job 7", "phase": "Failed", "reason": "ExitCode",
                "message": "exit code 3", "exitCode": 3, "attempts": 2, "title": "told", "owner": "ada", "domain": "d",
                "annotation": "keep", "issuedAt": "2026-01-01T00:00:00Z", "assignedAt": null,
                "startedAt": "2026-01-01T00:00:01Z", "finishedAt": "2026-01-01T00:00:02.5Z",
                "result": {"status": 500, "body": "out", "sizeBytes": 3, "truncated": false},
                "error": {"code": 2, "message": "exit code 3"},
            },
        });
        assert_eq!(said(&task), expected);
        assert_eq!(id(&task), "msg_u-1");
    }

    #[test]
    fn a_long_result_is_cut_and_says_so() {
        let result = |field: &str, body: String| {
            let status =
                json!({"phase": "Succeeded", "result": {"status": 200, field: body, "truncated": false}});
            let result =
                said(&task(json!({"callback": {"url": "http://a"}}), status))["data"]["result"].take();
            (result[field].as_str().unwrap().len(), result["truncated"] == true)
        };
        assert_eq!(result("body", "x".repeat(MAX_RESULT)), (MAX_RESULT, false));
        assert_eq!(result("body", "x".repeat(MAX_RESULT + 1)), (MAX_RESULT, true));
        // Cut between characters.
        assert_eq!(
            result("body", format!("x{}", "é".repeat(MAX_RESULT / 2))),
            (MAX_RESULT - 1, true)
        );
        assert_eq!(
            result("bodyBase64", "AAAA".repeat(MAX_RESULT)),
            (MAX_RESULT, true)
        );
    }

    #[test]
    fn diegos_body_has_its_fields_and_its_words() {
        let of = |spec: Value, status: Value| {
            let mut spec = spec;
            spec["callback"]["url"] = json!("http://a");
            spec["callback"]["policy"] = json!("Diego");
            let task = task(spec, status);
            let body = body(&task, task.spec.callback.as_ref().unwrap());
            String::from_utf8(body).unwrap()
        };
        let good = of(
            json!({"callback": {"subject": "a_GUID"}, "annotation": "note"}),
            json!({"phase": "Succeeded", "message": "fine", "result": {"status": 200, "body": "out"}}),
        );
        assert_eq!(
            good,
            r#"{"task_guid":"a_GUID","failed":false,"failure_reason":"","result":"out","annotation":"note","created_at":1767225600000000000}"#
        );
        let plain = |status: Value| of(json!({"callback": {}}), status);
        assert_eq!(
            plain(json!({"phase": "Cancelled", "reason": "Cancelled", "message": "cancelled"})),
            r#"{"task_guid":"t","failed":true,"failure_reason":"task was cancelled","result":"","created_at":1767225600000000000}"#
        );
        assert_eq!(
            of(
                json!({"callback": {}, "cancel": true}),
                json!({"phase": "Succeeded", "result": {"status": 200, "body": "out"}})
            ),
            r#"{"task_guid":"t","failed":true,"failure_reason":"task was cancelled","result":"","created_at":1767225600000000000}"#
        );
        let reason = |status: Value| -> String {
            let value: Value = serde_json::from_str(&plain(status)).unwrap();
            value["failure_reason"].as_str().unwrap().to_owned()
        };
        let failed =
            |reason: &str, message: &str| json!({"phase": "Failed", "reason": reason, "message": message});
        assert_eq!(
            reason(failed("NodeLost", "x")),
            "cell disappeared before completion"
        );
        assert_eq!(
            reason(failed("PendingTimedOut", "x")),
            "not started within time limit"
        );
        assert_eq!(reason(failed("ExitCode", &"x".repeat(1023))), "x".repeat(1023));
        let cut = format!("{}(truncated)", "x".repeat(1013));
        assert_eq!(reason(failed("ExitCode", &"x".repeat(1024))), cut);
        let bytes = plain(json!({"phase": "Succeeded", "result": {"status": 200, "bodyBase64": "Yf9i"}}));
        assert!(bytes.contains("\"result\":\"a\u{fffd}b\""), "{bytes}");
    }
}
