//! What goes over the wire around a task (`task_requests.proto`, `domain.proto`, `cells.proto`, `ping.proto`,
//! `events.proto`, `error.proto`).

use std::collections::BTreeMap;

use prost::Message;

/// Makes a task. Read by [`super::super::fields`], since its definition is kept as bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DesireTaskRequest {
    /// The bytes of the TaskDefinition.
    pub task_definition: Option<Vec<u8>>,
    pub task_guid: String,
    pub domain: String,
}

/// A cell asks whether it may run a task.
#[derive(Clone, PartialEq, Message)]
pub struct StartTaskRequest {
    #[prost(string, tag = "1")]
    pub task_guid: String,
    #[prost(string, tag = "2")]
    pub cell_id: String,
}

/// Whether it may.
#[derive(Clone, PartialEq, Message)]
pub struct StartTaskResponse {
    #[prost(message, optional, tag = "1")]
    pub error: Option<Error>,
    #[prost(bool, tag = "2")]
    pub should_start: bool,
}

/// A task failed.
#[derive(Clone, PartialEq, Message)]
pub struct FailTaskRequest {
    #[prost(string, tag = "1")]
    pub task_guid: String,
    #[prost(string, tag = "2")]
    pub failure_reason: String,
}

/// A cell could not run a task.
#[derive(Clone, PartialEq, Message)]
pub struct RejectTaskRequest {
    #[prost(string, tag = "1")]
    pub task_guid: String,
    #[prost(string, tag = "2")]
    pub rejection_reason: String,
}

/// A cell tells how a task ended.
#[derive(Clone, PartialEq, Message)]
pub struct CompleteTaskRequest {
    #[prost(string, tag = "1")]
    pub task_guid: String,
    #[prost(string, tag = "2")]
    pub cell_id: String,
    #[prost(bool, tag = "3")]
    pub failed: bool,
    #[prost(string, tag = "4")]
    pub failure_reason: String,
    #[prost(string, tag = "5")]
    pub result: String,
}

/// Names a task. TaskByGuidRequest is the same on the wire.
#[derive(Clone, PartialEq, Message)]
pub struct TaskGuidRequest {
    #[prost(string, tag = "1")]
    pub task_guid: String,
}

/// Which tasks are wanted; what is empty narrows nothing.
#[derive(Clone, PartialEq, Message)]
pub struct TasksRequest {
    #[prost(string, tag = "1")]
    pub domain: String,
    #[prost(string, tag = "2")]
    pub cell_id: String,
}

/// Tasks.
#[derive(Clone, PartialEq, Message)]
pub struct TasksResponse {
    #[prost(message, optional, tag = "1")]
    pub error: Option<Error>,
    #[prost(message, repeated, tag = "2")]
    pub tasks: Vec<Task>,
}

/// A task.
#[derive(Clone, PartialEq, Message)]
pub struct TaskResponse {
    #[prost(message, optional, tag = "1")]
    pub error: Option<Error>,
    #[prost(message, optional, tag = "2")]
    pub task: Option<Task>,
}

/// A task as it stands. Times are Unix nanoseconds.
#[derive(Clone, PartialEq, Message)]
pub struct Task {
    /// The bytes of the TaskDefinition: on the wire a message and bytes are the same.
    #[prost(bytes = "vec", optional, tag = "1")]
    pub task_definition: Option<Vec<u8>>,
    #[prost(string, tag = "2")]
    pub task_guid: String,
    #[prost(string, tag = "3")]
    pub domain: String,
    #[prost(int64, tag = "4")]
    pub created_at: i64,
    #[prost(int64, tag = "5")]
    pub updated_at: i64,
    #[prost(int64, tag = "6")]
    pub first_completed_at: i64,
    #[prost(enumeration = "State", tag = "7")]
    pub state: i32,
    #[prost(string, tag = "8")]
    pub cell_id: String,
    #[prost(string, tag = "9")]
    pub result: String,
    #[prost(bool, tag = "10")]
    pub failed: bool,
    #[prost(string, tag = "11")]
    pub failure_reason: String,
    #[prost(int32, tag = "12")]
    pub rejection_count: i32,
    #[prost(string, tag = "13")]
    pub rejection_reason: String,
}

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum State {
    Invalid = 0,
    Pending = 1,
    Running = 2,
    Completed = 3,
    Resolving = 4,
}

/// A task came or went.
#[derive(Clone, PartialEq, Message)]
pub struct TaskEvent {
    #[prost(message, optional, tag = "1")]
    pub task: Option<Task>,
}

/// A task changed.
#[derive(Clone, PartialEq, Message)]
pub struct TaskChangedEvent {
    #[prost(message, optional, tag = "1")]
    pub before: Option<Task>,
    #[prost(message, optional, tag = "2")]
    pub after: Option<Task>,
}

/// The server is there.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct PingResponse {
    #[prost(bool, tag = "1")]
    pub available: bool,
}

/// Keeps a domain fresh for so many seconds; 0 is for ever.
#[derive(Clone, PartialEq, Message)]
pub struct UpsertDomainRequest {
    #[prost(string, tag = "1")]
    pub domain: String,
    #[prost(uint32, tag = "2")]
    pub ttl: u32,
}

/// The fresh domains.
#[derive(Clone, PartialEq, Message)]
pub struct DomainsResponse {
    #[prost(message, optional, tag = "1")]
    pub error: Option<Error>,
    #[prost(string, repeated, tag = "2")]
    pub domains: Vec<String>,
}

/// The cells.
#[derive(Clone, PartialEq, Message)]
pub struct CellsResponse {
    #[prost(message, optional, tag = "1")]
    pub error: Option<Error>,
    #[prost(message, repeated, tag = "2")]
    pub cells: Vec<CellPresence>,
}

/// A machine that runs tasks.
#[derive(Clone, PartialEq, Message)]
pub struct CellPresence {
    #[prost(string, tag = "1")]
    pub cell_id: String,
    #[prost(string, tag = "2")]
    pub rep_address: String,
    #[prost(string, tag = "3")]
    pub zone: String,
    #[prost(message, optional, tag = "4")]
    pub capacity: Option<CellCapacity>,
    #[prost(message, repeated, tag = "5")]
    pub rootfs_providers: Vec<Provider>,
    #[prost(string, repeated, tag = "6")]
    pub placement_tags: Vec<String>,
    #[prost(string, repeated, tag = "7")]
    pub optional_placement_tags: Vec<String>,
    #[prost(string, tag = "8")]
    pub rep_url: String,
    #[prost(btree_map = "string, string", tag = "9")]
    pub annotations: BTreeMap<String, String>,
}

/// What a machine has to give.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct CellCapacity {
    #[prost(int32, tag = "1")]
    pub memory_mb: i32,
    #[prost(int32, tag = "2")]
    pub disk_mb: i32,
    #[prost(int32, tag = "3")]
    pub containers: i32,
}

/// A kind of root file systems.
#[derive(Clone, PartialEq, Message)]
pub struct Provider {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, repeated, tag = "2")]
    pub properties: Vec<String>,
}

/// What went wrong.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Error {
    #[prost(enumeration = "ErrorType", tag = "1")]
    pub kind: i32,
    #[prost(string, tag = "2")]
    pub message: String,
}

/// Kinds of errors that are sent from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum ErrorType {
    UnknownError = 0,
    InvalidRequest = 4,
    InvalidStateTransition = 9,
    ResourceConflict = 11,
    ResourceExists = 12,
    ResourceNotFound = 13,
    RunningOnDifferentCell = 24,
    Deserialize = 27,
}
