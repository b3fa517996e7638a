//! What a task does: a tree of actions (`actions.proto`, `environment_variables.proto`, `file.proto`).

use prost::Message;

/// One action: the first of these that is there.
#[derive(Clone, PartialEq, Message)]
pub struct Action {
    #[prost(message, optional, boxed, tag = "1")]
    pub download: Option<Box<DownloadAction>>,
    #[prost(message, optional, boxed, tag = "2")]
    pub upload: Option<Box<UploadAction>>,
    #[prost(message, optional, boxed, tag = "3")]
    pub run: Option<Box<RunAction>>,
    #[prost(message, optional, boxed, tag = "4")]
    pub timeout: Option<Box<TimeoutAction>>,
    #[prost(message, optional, boxed, tag = "5")]
    pub emit_progress: Option<Box<EmitProgressAction>>,
    #[prost(message, optional, boxed, tag = "6")]
    pub try_: Option<Box<TryAction>>,
    #[prost(message, optional, boxed, tag = "7")]
    pub parallel: Option<Box<ParallelAction>>,
    #[prost(message, optional, boxed, tag = "8")]
    pub serial: Option<Box<SerialAction>>,
    #[prost(message, optional, boxed, tag = "9")]
    pub codependent: Option<Box<CodependentAction>>,
}

/// Fetches an archive and unpacks it.
#[derive(Clone, PartialEq, Message)]
pub struct DownloadAction {
    #[prost(string, tag = "1")]
    pub artifact: String,
    #[prost(string, tag = "2")]
    pub from: String,
    #[prost(string, tag = "3")]
    pub to: String,
    #[prost(string, tag = "4")]
    pub cache_key: String,
    #[prost(string, tag = "5")]
    pub log_source: String,
    #[prost(string, tag = "6")]
    pub user: String,
    #[prost(string, tag = "7")]
    pub checksum_algorithm: String,
    #[prost(string, tag = "8")]
    pub checksum_value: String,
}

/// Sends a file.
#[derive(Clone, PartialEq, Message)]
pub struct UploadAction {
    #[prost(string, tag = "1")]
    pub artifact: String,
    #[prost(string, tag = "2")]
    pub from: String,
    #[prost(string, tag = "3")]
    pub to: String,
    #[prost(string, tag = "4")]
    pub log_source: String,
    #[prost(string, tag = "5")]
    pub user: String,
}

/// Runs a command.
#[derive(Clone, PartialEq, Message)]
pub struct RunAction {
    #[prost(string, tag = "1")]
    pub path: String,
    #[prost(string, repeated, tag = "2")]
    pub args: Vec<String>,
    #[prost(string, tag = "3")]
    pub dir: String,
    #[prost(message, repeated, tag = "4")]
    pub env: Vec<EnvironmentVariable>,
    #[prost(message, optional, tag = "5")]
    pub resource_limits: Option<ResourceLimits>,
    #[prost(string, tag = "6")]
    pub user: String,
    #[prost(string, tag = "7")]
    pub log_source: String,
    #[prost(bool, tag = "8")]
    pub suppress_log_output: bool,
    #[prost(message, repeated, tag = "9")]
    pub volume_mounted_files: Vec<File>,
}

/// Limits its child's time, in milliseconds.
#[derive(Clone, PartialEq, Message)]
pub struct TimeoutAction {
    #[prost(message, optional, boxed, tag = "1")]
    pub action: Option<Box<Action>>,
    #[prost(int64, tag = "2")]
    pub deprecated_timeout_ns: i64,
    #[prost(string, tag = "3")]
    pub log_source: String,
    #[prost(int64, tag = "4")]
    pub timeout_ms: i64,
}

/// Says when its child begins and how it ends.
#[derive(Clone, PartialEq, Message)]
pub struct EmitProgressAction {
    #[prost(message, optional, boxed, tag = "1")]
    pub action: Option<Box<Action>>,
    #[prost(string, tag = "2")]
    pub start_message: String,
    #[prost(string, tag = "3")]
    pub success_message: String,
    #[prost(string, tag = "4")]
    pub failure_message_prefix: String,
    #[prost(string, tag = "5")]
    pub log_source: String,
}

/// Its child may fail.
#[derive(Clone, PartialEq, Message)]
pub struct TryAction {
    #[prost(message, optional, boxed, tag = "1")]
    pub action: Option<Box<Action>>,
    #[prost(string, tag = "2")]
    pub log_source: String,
}

/// All at once, to the end of each.
#[derive(Clone, PartialEq, Message)]
pub struct ParallelAction {
    #[prost(message, repeated, tag = "1")]
    pub actions: Vec<Action>,
    #[prost(string, tag = "2")]
    pub log_source: String,
}

/// One after the other.
#[derive(Clone, PartialEq, Message)]
pub struct SerialAction {
    #[prost(message, repeated, tag = "1")]
    pub actions: Vec<Action>,
    #[prost(string, tag = "2")]
    pub log_source: String,
}

/// All at once, to the end of the first.
#[derive(Clone, PartialEq, Message)]
pub struct CodependentAction {
    #[prost(message, repeated, tag = "1")]
    pub actions: Vec<Action>,
    #[prost(string, tag = "2")]
    pub log_source: String,
}

/// Limits of a process; absent and 0 are two things.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct ResourceLimits {
    #[prost(uint64, optional, tag = "1")]
    pub nofile: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    pub nproc: Option<u64>,
}

/// A variable.
#[derive(Clone, PartialEq, Message)]
pub struct EnvironmentVariable {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

/// A file that a task is given.
#[derive(Clone, PartialEq, Message)]
pub struct File {
    #[prost(string, tag = "1")]
    pub path: String,
    #[prost(string, tag = "2")]
    pub content: String,
}
