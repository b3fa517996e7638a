//! Shapes of `/errand/v1` on the wire.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    crd::{self, Phase, Task},
    facade::{docs, refusal::Refusal, state::phase},
};

/// Longest time that one request waits.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// An error.
#[derive(ToSchema)]
#[allow(dead_code)] // Only its schema is used; see `super::refuse`.
pub struct ErrorBody {
    /// What is wrong.
    #[schema(inline)]
    error: ErrorDetail,
}

/// What is wrong.
#[derive(ToSchema)]
#[allow(dead_code)] // As above.
pub struct ErrorDetail {
    /// The HTTP status.
    code: u16,
    /// A sentence.
    message: String,
}

/// What every call may be answered with instead.
pub type Refused = docs::Refused<ErrorBody>;

/// How long to wait for the end of a Task.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Wait {
    /// Waits so long at most for the Task to end, 60 s in any case; then the answer is what it is by then.
    #[serde(default)]
    #[param(value_type = Option<String>, pattern = r"^([0-9]{1,4}(ms|s|m))$", example = "30s")]
    pub wait: Option<String>,
}

impl Wait {
    /// The time, within bounds; `None` = do not wait.
    pub fn limit(&self) -> Result<Option<Duration>, Refusal> {
        let Some(text) = self.wait.as_deref() else {
            return Ok(None);
        };
        let parsed: crd::Duration = text
            .parse()
            .map_err(|error| Refusal::Invalid(format!("wait: {error}")))?;
        Ok(Some(parsed.get().min(MAX_WAIT)))
    }
}

/// A Task in a list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its uid.
    pub uid: String,
    /// The Function that it runs, where it names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// Where it stands.
    #[schema(value_type = String, example = "Running")]
    pub phase: Phase,
    /// Why, in one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Percent done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<u8>,
    /// When it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub created_at: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub finished_at: Option<Timestamp>,
}

impl From<&Task> for Summary {
    fn from(task: &Task) -> Self {
        let status = task.status.as_ref();
        Self {
            name: task.name_any(),
            namespace: task.namespace().unwrap_or_default(),
            uid: task.uid().unwrap_or_default(),
            function: task
                .spec
                .function_ref
                .as_ref()
                .map(|function| function.name.clone()),
            phase: phase(task),
            reason: status.and_then(|status| status.reason.clone()),
            progress: status.and_then(|status| status.progress.as_ref()?.percent),
            created_at: task.creation_timestamp().map(|time| time.0),
            finished_at: status.and_then(|status| status.finished_at),
        }
    }
}

/// Tasks, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct Summaries {
    /// The Tasks.
    pub items: Vec<Summary>,
}

/// One server-sent event.
#[derive(ToSchema)]
#[allow(dead_code)] // Only its schema is used; see `super::events`.
pub struct StreamEvent {
    /// `status`, `progress`, `log`, `again` or `end`.
    event: String,
    /// Of a log line: `ATTEMPT.LINE`.
    id: Option<String>,
    /// JSON, or the text of a log line.
    data: String,
}

/// A Task that has not ended: what its result would be asked of.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pending {
    /// Where it stands.
    #[schema(value_type = String, example = "Running")]
    pub phase: Phase,
    /// Percent done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_a_duration_and_never_longer_than_a_minute() {
        let limit = |text: &str| {
            Wait {
                wait: Some(text.into()),
            }
            .limit()
        };
        assert_eq!(limit("30s"), Ok(Some(Duration::from_secs(30))));
        assert_eq!(limit("2h"), Ok(Some(MAX_WAIT)));
        assert_eq!(Wait::default().limit(), Ok(None));
        for bad in ["", "30", "-1s", "soon", "9999999999999h"] {
            assert!(matches!(limit(bad), Err(Refusal::Invalid(_))), "{bad}");
        }
    }
}
