//! The messages of this API (proto3, package `models`; <https://github.com/cloudfoundry/bbs/tree/main/models>), with the
//! names and numbers of its fields. Written by hand, so that building needs no protoc; `golden` holds them against bytes
//! that protoc made.
//!
//! A TaskDefinition is kept as bytes wherever it only passes through: what clients sent comes back as they sent it, also
//! fields that are not known here and messages that are empty.

mod action;
mod definition;
mod requests;

#[cfg(test)]
mod golden;

pub use action::{
    Action, DownloadAction, EnvironmentVariable, File, ParallelAction, RunAction, TimeoutAction,
};
#[cfg(test)]
pub use action::{
    CodependentAction, EmitProgressAction, ResourceLimits, SerialAction, TryAction, UploadAction,
};
pub use definition::{
    CachedDependency, ImageLayer, LayerType, MediaType, SecurityGroupRule, TaskDefinition, VolumeMount,
};
#[cfg(test)]
pub use definition::{IcmpInfo, LogRateLimit, PortRange, SharedDevice};
pub use requests::{
    CellCapacity, CellPresence, CellsResponse, CompleteTaskRequest, DesireTaskRequest, DomainsResponse,
    Error, ErrorType, FailTaskRequest, PingResponse, Provider, RejectTaskRequest, StartTaskRequest,
    StartTaskResponse, State, Task, TaskChangedEvent, TaskEvent, TaskGuidRequest, TaskResponse, TasksRequest,
    TasksResponse, UpsertDomainRequest,
};
