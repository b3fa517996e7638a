//! What the controller writes back into a Task.

use std::{collections::BTreeMap, fmt};

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::CallbackStatus;

/// Condition type: True once the Task has ended.
pub const CONDITION_FINISHED: &str = "Finished";
/// Condition type: False where the evidence of the last run is missing or broken.
pub const CONDITION_EVIDENCE: &str = "EvidenceComplete";

/// What has become of a Task.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskStatus {
    /// Queued, Pending, Running, Succeeded, Failed or Cancelled. The last three are final.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Why the Task is in its phase, in one CamelCase word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why the Task is in its phase, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Title as reported from inside; it takes the place of `spec.title`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// When the Task was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "timestamp")]
    pub issued_at: Option<Timestamp>,
    /// When a node took the Task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "timestamp")]
    pub assigned_at: Option<Timestamp>,
    /// When the container of the last attempt started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "timestamp")]
    pub started_at: Option<Timestamp>,
    /// When the Task ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "timestamp")]
    pub finished_at: Option<Timestamp>,
    /// When this status last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "timestamp")]
    pub modified_at: Option<Timestamp>,
    /// When the next attempt may start, while the Task waits to be tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "timestamp")]
    pub next_attempt_at: Option<Timestamp>,
    /// Attempts so far, the present one included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// The pod of the last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodRef>,
    /// Exit code of the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// How far the work has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// Speeds reported from inside, the newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub speeds: Vec<Speed>,
    /// Messages reported from inside, the newest last; older ones make room.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub messages: Vec<Message>,
    /// The end that was reported for a Task that has a pod. The pod is stopped for it, and then the Task ends so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported_end: Option<ReportedEnd>,
    /// What came out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<TaskResult>,
    /// The end of the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs: Option<LogTail>,
    /// Set exactly when the Task Failed or was Cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<RpcStatus>,
    /// How the callback goes, where `spec.callback` asks for one; absent = Pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback: Option<CallbackStatus>,
    /// Conditions: Finished, EvidenceComplete.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

// Times are jiff's own type and not apimachinery's `Time`, which writes whole seconds.
pub(super) fn timestamp(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time"})
}

/// Where a Task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
pub enum Phase {
    /// Waits for its turn; owns no pod.
    Queued,
    /// Has a pod that has not started, or waits to be tried again.
    Pending,
    /// The container runs.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended badly; `error` says how.
    Failed,
    /// Was stopped because someone asked for it.
    Cancelled,
}

impl Phase {
    /// True for the phases that a Task never leaves.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The pod of an attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodRef {
    /// Name of the pod.
    pub name: String,
    /// Uid of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Node that the pod was bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Uid of that node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_uid: Option<String>,
    /// Address of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
}

/// How far the work has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Percent done, 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub percent: Option<u8>,
    /// What is being done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Steps done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<i64>,
    /// Steps in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum: Option<i64>,
    /// A sentence about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A speed reported from inside.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Speed {
    /// What is measured.
    pub title: String,
    /// The value.
    pub speed: f64,
    /// Its unit.
    pub unit: String,
    /// As a person reads it.
    pub as_text: String,
}

/// A message reported from inside.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// Place in the order of all messages of the Task, counted from 1.
    pub sequence: i64,
    /// When it was reported.
    #[schemars(schema_with = "timestamp")]
    pub time: Timestamp,
    /// The message.
    pub text: String,
}

/// An end that was reported.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportedEnd {
    /// The phase that the Task ends in.
    pub phase: EndPhase,
    /// A sentence about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What came out; absent = what the pod left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<TaskResult>,
}

/// A final phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub enum EndPhase {
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed,
    /// Was stopped because someone asked for it.
    Cancelled,
}

impl EndPhase {
    /// As a phase.
    pub const fn phase(self) -> Phase {
        match self {
            Self::Succeeded => Phase::Succeeded,
            Self::Failed => Phase::Failed,
            Self::Cancelled => Phase::Cancelled,
        }
    }

    /// google.rpc.Code of an end that was reported without one: UNKNOWN or CANCELLED; `None` for success.
    pub const fn code(self) -> Option<i32> {
        match self {
            Self::Succeeded => None,
            Self::Failed => Some(2),
            Self::Cancelled => Some(1),
        }
    }

    /// As HTTP would put it, where nothing else is known; 499 as web servers log a client that went away.
    pub const fn http_status(self) -> u16 {
        match self {
            Self::Succeeded => 200,
            Self::Failed => 500,
            Self::Cancelled => 499,
        }
    }
}

impl ReportedEnd {
    /// `status.reason` of a Task that ended so.
    pub const REASON: &str = "Reported";

    /// The sentence that came with it, or one in its place.
    pub fn words(&self) -> &str {
        self.message.as_deref().unwrap_or(match self.phase {
            EndPhase::Succeeded => "the end was reported",
            EndPhase::Failed => "a failure was reported",
            EndPhase::Cancelled => "it was reported that the work was stopped",
        })
    }
}

/// What came out of a Task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskResult {
    /// As HTTP would put it: the function's own status, or 200, 408 (timed out), 499 (cancelled), 500 (failed).
    pub status: u16,
    /// Media type of the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Headers of an HTTP function's answer; a header that came several times has its values joined by `, `.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Body, where it is text (UTF-8).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Body, where it is not text, as standard base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_base64: Option<String>,
    /// Bytes of the whole body, kept or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<i64>,
    /// SHA-256 of the whole body in hexadecimal, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// True where the body kept here is not the whole one.
    #[serde(default)]
    pub truncated: bool,
}

/// The end of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogTail {
    /// The last bytes of both streams; bytes that are not UTF-8 appear as U+FFFD.
    #[serde(default)]
    pub tail: String,
    /// Bytes of the whole log, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<i64>,
    /// True where `tail` is not the whole log.
    #[serde(default)]
    pub truncated: bool,
}

/// An error in the shape of google.rpc.Status.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RpcStatus {
    /// google.rpc.Code: 1 CANCELLED, 4 DEADLINE_EXCEEDED, 13 INTERNAL, 14 UNAVAILABLE, ...
    pub code: i32,
    /// A sentence.
    pub message: String,
    /// Further parts, each an object with a `@type`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "details")]
    pub details: Vec<serde_json::Value>,
}

fn details(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    })
}
