//! Shapes on the wire.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::facade::docs;

/// All tasks of a service instance.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CloudRuTasks)]
pub struct Tasks {
    /// The newest first.
    pub tasks: Vec<Task>,
}

/// One task, in a field of its own.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CloudRuTaskAnswer)]
pub struct One {
    /// The task.
    pub task: Task,
}

/// A task.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = CloudRuTask)]
pub struct Task {
    /// Id of the task: its name where that is a UUID, else its uid.
    pub id: String,
    /// The service instance (vDC), as in the path.
    pub service_instance_id: String,
    /// What the task does.
    #[schema(example = "INVOKE hello")]
    pub command: String,
    /// PENDING, RUNNING, SUCCEEDED, FAILED or CANCELLED, or what the operator has set instead.
    #[schema(example = "RUNNING")]
    pub status: String,
    /// RFC 3339, UTC.
    #[schema(example = "2026-01-31T12:00:00Z")]
    pub created_at: String,
    /// The user who made the task; empty where that is not known.
    pub created_by: String,
    /// When the task last changed; RFC 3339, UTC.
    #[schema(example = "2026-01-31T12:00:07.250Z")]
    pub modified_at: String,
    /// A google.protobuf.StringValue: what the task works on.
    pub metadata: Any,
    /// Only of a task that succeeded: a google.protobuf.Struct with `httpStatus`, `contentType`, `sizeBytes`, `truncated`
    /// and, where one task is asked for, `body` or `bodyBase64`; or a google.protobuf.Empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<Any>,
    /// Only of a task that failed or was cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Status>,
}

/// A google.rpc.Status.
#[derive(Debug, Default, PartialEq, Serialize, ToSchema)]
#[schema(as = CloudRuStatus)]
pub struct Status {
    /// A google.rpc.Code.
    pub code: i32,
    /// A sentence.
    pub message: String,
    /// More for programs.
    pub details: Vec<Any>,
}

/// A google.protobuf.Any. The operator chooses whether it is written with `typeUrl`, with `@type` or with both.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = CloudRuAny)]
pub struct Any {
    /// Names the type of the message.
    #[serde(rename = "typeUrl", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "type.googleapis.com/google.protobuf.StringValue")]
    pub type_url: Option<&'static str>,
    /// The same in the JSON form of proto3; the message's own fields stand beside it.
    #[serde(rename = "@type", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub proto3_type: Option<&'static str>,
    /// Beside `typeUrl` the serialized message as base64, else the JSON form that the message has of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "CgRjLTQy")]
    pub value: Option<Value>,
    /// Fields of the message, in the JSON form of proto3.
    #[serde(flatten)]
    #[schema(ignore)]
    pub fields: Map<String, Value>,
}

/// What every call may be answered with instead.
pub type Refused = docs::Refused<Status>;
