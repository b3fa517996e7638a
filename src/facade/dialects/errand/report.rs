//! Reports on a Task: its progress and its end.

use axum::{extract::State, http::StatusCode};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use utoipa::ToSchema;

use super::wire::Refused;
use crate::{
    crd::{EndPhase, Progress, ReportedEnd, TaskResult},
    facade::{
        extract::{Asker, JsonPayload, PathOf},
        refusal::Refusal,
        reports::reportable,
        results,
        state::Facade,
        views::Key,
    },
};

/// Characters of a title.
const MAX_TITLE: usize = 256;
/// Characters of a message.
const MAX_MESSAGE: usize = 2048;
/// Characters of a media type.
const MAX_CONTENT_TYPE: usize = 256;

/// How far the work has come. What is left out stays as it was; at least one field is needed.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProgressReport {
    /// Percent done; left out, it is worked out from the steps.
    #[schema(minimum = 0, maximum = 100)]
    percent: Option<i64>,
    /// What is being done.
    #[schema(max_length = 256)]
    title: Option<String>,
    /// Steps done.
    #[schema(minimum = 0)]
    current: Option<i64>,
    /// Steps in all.
    #[schema(minimum = 1)]
    maximum: Option<i64>,
    /// A sentence about it.
    #[schema(max_length = 2048)]
    message: Option<String>,
}

/// How a Task ended.
#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EndReport {
    /// Succeeded, Failed or Cancelled.
    #[schema(value_type = String, example = "Succeeded")]
    phase: EndPhase,
    /// A sentence about it; it is cut after 2048 bytes.
    message: Option<String>,
    /// What came out. Left out, a Task with a pod keeps what the pod left.
    result: Option<ResultReport>,
}

/// What came out of a Task: at most one of `body` and `bodyBase64`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResultReport {
    /// As HTTP would put it. Default 200, 500 or 499, by the phase.
    #[schema(minimum = 100, maximum = 599)]
    status: Option<u16>,
    /// Media type of the body.
    #[schema(max_length = 256)]
    content_type: Option<String>,
    /// Body, as text.
    body: Option<String>,
    /// Body, as standard base64 with padding.
    body_base64: Option<String>,
}

/// Reports progress
///
/// Open to the Task's own pod, with its token of audience `errand`, and to who may patch the status of Tasks. Reports
/// in quick succession become one.
#[utoipa::path(
    post, path = "/errand/v1/namespaces/{namespace}/tasks/{name}/progress", tag = "errand", operation_id = "errandReportProgress",
    params(("namespace" = String, Path, description = "Namespace"), ("name" = String, Path, description = "Task")),
    request_body = ProgressReport,
    responses((status = 202, description = "The Task will show it within about a second"), Refused),
    security(("token" = [])),
)]
pub async fn progress(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf((namespace, name)): PathOf<(String, String)>,
    JsonPayload(report): JsonPayload<ProgressReport>,
) -> Result<StatusCode, Refusal> {
    let task = reportable(&facade, &caller, &Key::new(namespace, name)).await?;
    facade.reports.progress(&task, report.check()?)?;
    Ok(StatusCode::ACCEPTED)
}

/// Reports the end
///
/// Open to the same callers as reports of progress. A Task without a pod ends at once. The pod of another is stopped
/// first, and its log kept.
#[utoipa::path(
    post, path = "/errand/v1/namespaces/{namespace}/tasks/{name}/end", tag = "errand", operation_id = "errandReportEnd",
    params(("namespace" = String, Path, description = "Namespace"), ("name" = String, Path, description = "Task")),
    request_body = EndReport,
    responses((status = 202, description = "The Task ends so"), Refused),
    security(("token" = [])),
)]
pub async fn end(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf((namespace, name)): PathOf<(String, String)>,
    JsonPayload(report): JsonPayload<EndReport>,
) -> Result<StatusCode, Refusal> {
    let task = reportable(&facade, &caller, &Key::new(namespace, name)).await?;
    facade.reports.end(&task, &report.check()?).await?;
    Ok(StatusCode::ACCEPTED)
}

impl ProgressReport {
    fn check(self) -> Result<Progress, Refusal> {
        if self == Self::default() {
            return Err(invalid(
                "the report says nothing: give one or more of percent, title, current, maximum and message",
            ));
        }
        let percent = self
            .percent
            .map(|percent| u8::try_from(percent).ok().filter(|percent| *percent <= 100));
        let percent = match percent {
            Some(None) => return Err(invalid("percent must be between 0 and 100")),
            percent => percent.flatten(),
        };
        if self.current.is_some_and(|current| current < 0) {
            return Err(invalid("current must not be negative"));
        }
        if self.maximum.is_some_and(|maximum| maximum < 1) {
            return Err(invalid("maximum must be 1 or more"));
        }
        if self
            .current
            .zip(self.maximum)
            .is_some_and(|(current, maximum)| current > maximum)
        {
            return Err(invalid("current must not be more than maximum"));
        }
        Ok(Progress {
            percent,
            title: line("title", self.title, MAX_TITLE)?,
            current: self.current,
            maximum: self.maximum,
            message: line("message", self.message, MAX_MESSAGE)?,
        })
    }
}

impl EndReport {
    fn check(self) -> Result<ReportedEnd, Refusal> {
        let phase = self.phase;
        // The bound of a Task's message holds here too, since both are kept in the Task.
        let message = self.message.as_deref().map(crate::crd::change::bounded);
        Ok(ReportedEnd {
            phase,
            message: message.filter(|message| !message.is_empty()),
            result: self.result.map(|result| result.check(phase)).transpose()?,
        })
    }
}

impl ResultReport {
    fn check(self, phase: EndPhase) -> Result<TaskResult, Refusal> {
        let status = self.status.unwrap_or_else(|| phase.http_status());
        if !(100..=599).contains(&status) {
            return Err(invalid("result.status must be between 100 and 599"));
        }
        let printable = |text: &String| {
            text.len() <= MAX_CONTENT_TYPE && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        };
        if !self.content_type.as_ref().is_none_or(printable) {
            return Err(invalid(
                "result.contentType must be a media type of at most 256 printable ASCII characters",
            ));
        }
        let bytes = match (self.body, self.body_base64) {
            (Some(_), Some(_)) => {
                return Err(invalid(
                    "at most one of result.body and result.bodyBase64 may be given",
                ));
            }
            (Some(text), None) => text.into_bytes(),
            (None, Some(base64)) => STANDARD.decode(base64).map_err(|error| {
                invalid(&format!("result.bodyBase64 is not base64 with padding: {error}"))
            })?,
            (None, None) => Vec::new(),
        };
        let (body, body_base64) = results::fields(&bytes);
        Ok(TaskResult {
            status,
            content_type: self.content_type,
            body,
            body_base64,
            size_bytes: i64::try_from(bytes.len()).ok(),
            ..TaskResult::default()
        })
    }
}

/// A text that is shown on one line of a terminal.
fn line(field: &str, text: Option<String>, limit: usize) -> Result<Option<String>, Refusal> {
    match text {
        Some(text) if text.chars().count() > limit => {
            Err(invalid(&format!("{field} may have at most {limit} characters")))
        }
        Some(text) if text.chars().any(char::is_control) => Err(invalid(&format!(
            "{field} must be one line without control characters"
        ))),
        text => Ok(text),
    }
}

fn invalid(sentence: &str) -> Refusal {
    Refusal::Invalid(sentence.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn progress(body: Value) -> Result<Progress, String> {
        let report: ProgressReport = serde_json::from_value(body).map_err(|error| error.to_string())?;
        report.check().map_err(|refusal| refusal.to_string())
    }

    fn end(body: Value) -> Result<Value, String> {
        let report: EndReport = serde_json::from_value(body).map_err(|error| error.to_string())?;
        let end = report.check().map_err(|refusal| refusal.to_string())?;
        Ok(serde_json::to_value(end).unwrap())
    }

    #[test]
    fn progress_is_taken_as_it_is_said() {
        let whole = json!({"percent": 100, "title": "t", "current": 7, "maximum": 7, "message": "m"});
        let want = Progress {
            percent: Some(100),
            title: Some("t".into()),
            current: Some(7),
            maximum: Some(7),
            message: Some("m".into()),
        };
        assert_eq!(progress(whole), Ok(want));
        assert_eq!(progress(json!({"percent": 0})).unwrap().percent, Some(0));
    }

    #[test]
    fn progress_that_cannot_be_is_refused_with_what_to_change() {
        for (body, words) in [
            (json!({}), "the report says nothing"),
            (json!({"percent": null}), "the report says nothing"),
            (json!({"percent": 101}), "percent must be between 0 and 100"),
            (json!({"percent": -1}), "percent must be between 0 and 100"),
            (json!({"percent": 256}), "percent must be between 0 and 100"),
            (json!({"current": -1}), "current must not be negative"),
            (json!({"maximum": 0}), "maximum must be 1 or more"),
            (
                json!({"current": 8, "maximum": 7}),
                "current must not be more than maximum",
            ),
            (
                json!({"title": "ä".repeat(257)}),
                "title may have at most 256 characters",
            ),
            (
                json!({"message": "m".repeat(2049)}),
                "message may have at most 2048 characters",
            ),
            (
                json!({"title": "\u{1b}[2J"}),
                "title must be one line without control characters",
            ),
            (json!({"percentage": 1}), "unknown field `percentage`"),
            (json!({"percent": "1"}), "invalid type"),
        ] {
            let refused = progress(body.clone()).unwrap_err();
            assert!(refused.contains(words), "{body}: {refused}");
        }
    }

    #[test]
    fn an_end_keeps_its_result_byte_for_byte() {
        assert_eq!(
            end(json!({"phase": "Succeeded", "result": {"contentType": "text/plain", "body": "ä"}})),
            Ok(json!({"phase": "Succeeded", "result":
                {"status": 200, "contentType": "text/plain", "body": "ä", "sizeBytes": 2, "truncated": false}}))
        );
        assert_eq!(
            end(
                json!({"phase": "Failed", "message": "why", "result": {"status": 503, "bodyBase64": "/w=="}})
            ),
            Ok(json!({"phase": "Failed", "message": "why", "result":
                {"status": 503, "bodyBase64": "/w==", "sizeBytes": 1, "truncated": false}}))
        );
        assert_eq!(
            end(json!({"phase": "Cancelled"})),
            Ok(json!({"phase": "Cancelled"}))
        );
    }

    #[test]
    fn an_end_that_cannot_be_is_refused_with_what_to_change() {
        let result = |result: Value| json!({"phase": "Succeeded", "result": result});
        for (body, words) in [
            (json!({}), "missing field `phase`"),
            (json!({"phase": "Running"}), "unknown variant `Running`"),
            (json!({"phase": "Failed", "code": 3}), "unknown field `code`"),
            (
                result(json!({"status": 99})),
                "result.status must be between 100 and 599",
            ),
            (result(json!({"status": 70000})), "invalid value"),
            (
                result(json!({"body": "", "bodyBase64": ""})),
                "at most one of result.body",
            ),
            (
                result(json!({"bodyBase64": "/w"})),
                "result.bodyBase64 is not base64",
            ),
            (
                result(json!({"contentType": "a\r\nb"})),
                "result.contentType must be",
            ),
            (result(json!({"headers": {}})), "unknown field `headers`"),
        ] {
            let refused = end(body.clone()).unwrap_err();
            assert!(refused.contains(words), "{body}: {refused}");
        }
    }
}
