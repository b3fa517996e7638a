//! Shapes on the wire.

use axum::extract::{FromRequest, Request};
use serde::{Serialize, de::DeserializeOwned};
use utoipa::ToSchema;

use super::ids::Id;
use crate::facade::{
    docs,
    extract::{JsonPayload, Payload},
    refusal::Refusal,
    state::Facade,
};

/// A body of JSON that may be left out.
pub struct OrEmpty<T>(pub T);

impl<T: DeserializeOwned + Default> FromRequest<Facade> for OrEmpty<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, facade: &Facade) -> Result<Self, Refusal> {
        let Payload(body) = Payload::from_request(request, facade).await?;
        if body.is_empty() {
            return Ok(Self(T::default()));
        }
        let JsonPayload(value) = JsonPayload::parse(&body)?;
        Ok(Self(value))
    }
}

/// An error.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GreenCloudError)]
pub struct ErrorBody {
    /// What kind of error, in capitals.
    #[schema(example = "NOT_FOUND")]
    pub code: &'static str,
    /// A sentence.
    pub message: String,
}

/// What every call may be answered with instead.
pub type Refused = docs::Refused<ErrorBody>;

/// What was made.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GreenCloudCreated)]
pub struct Created {
    /// Its id.
    pub id: Id,
}

/// A task.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = GreenCloudTask)]
pub struct TaskDetail {
    /// The function that it runs.
    pub function_id: String,
    /// When it was accepted, in unix seconds.
    pub issued: String,
    /// When a node took it, in unix seconds; "0" before.
    pub assigned: String,
    /// When it ended, in unix seconds; "0" before.
    pub finished: String,
    /// Percent done.
    pub progress: u8,
    /// Uid of the node that runs it; empty before there is one.
    pub node: String,
    /// Limit on its run time in seconds.
    pub timeout: u64,
    /// What it needs.
    pub capabilities: Needs,
}

/// What a task needs; 0 and false are no requirement.
#[derive(Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = GreenCloudNeeds)]
pub struct Needs {
    /// Processors.
    pub cpu_count: i64,
    /// Memory in MiB.
    pub mem_size: i64,
    /// Longest network latency in milliseconds.
    pub network_latency: i32,
    /// All privileges of the machine.
    pub privileged: bool,
}

/// A task in a list.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = GreenCloudTaskSummary)]
pub struct TaskSummary {
    /// Its id.
    pub id: Id,
    /// When it was accepted, in unix seconds.
    pub issued: String,
    /// Percent done.
    pub progress: u8,
    /// The HTTP status that the function answered with; 0 before.
    pub status: u16,
}
