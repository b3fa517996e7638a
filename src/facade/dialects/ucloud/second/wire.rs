//! Shapes of the second API.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::super::wire::or_default;

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[schema(as = UCloudState)]
#[allow(missing_docs)]
pub enum State {
    InQueue,
    Suspended,
    Running,
    Cancelled,
    Failure,
    Success,
}

/// A task.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = UCloudBackgroundTask)]
pub struct Task {
    /// Its id.
    pub task_id: i64,
    /// When it was made, in unix milliseconds.
    pub created_at: i64,
    /// When it last changed, in unix milliseconds.
    pub modified_at: i64,
    /// Whom it belongs to; empty where it is nobody's.
    pub created_by: String,
    /// Who does the work: a service, or `errand` for tasks that run in a pod.
    pub provider: String,
    /// Where it stands.
    pub status: Status,
    /// What can be done with it.
    pub specification: Specification,
    /// Name of a picture.
    pub icon: Option<String>,
}

/// Where a task stands.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = UCloudStatus)]
pub struct Status {
    /// In one word.
    pub state: State,
    /// What it is called.
    pub title: Option<String>,
    /// What is being done.
    pub body: Option<String>,
    /// How far it has come, in words.
    pub progress: Option<String>,
    /// How far it has come, in percent; negative where that is not known.
    pub progress_percentage: f64,
}

/// What can be done with a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = UCloudSpecification)]
pub struct Specification {
    /// Always false.
    pub can_pause: bool,
    /// It can be stopped.
    pub can_cancel: bool,
}

/// A task to be made.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = UCloudCreateBackgroundTask)]
pub struct CreateRequest {
    /// Whom it belongs to.
    pub user: String,
    /// What it is called.
    #[serde(default)]
    pub title: Option<String>,
    /// What is being done.
    #[serde(default)]
    pub body: Option<String>,
    /// How far it has come, in words.
    #[serde(default)]
    pub progress: Option<String>,
    /// Its owner may stop it.
    #[serde(default, deserialize_with = "or_default")]
    pub can_cancel: bool,
    /// Name of a picture.
    #[serde(default)]
    pub icon: Option<String>,
}

/// News of a task.
#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = UCloudBackgroundTaskUpdate)]
pub struct TaskUpdate {
    /// The task.
    pub task_id: i64,
    /// Where it stands now. What is null stays as it was.
    pub new_status: NewStatus,
}

/// Where a task stands now. What is null stays as it was.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = UCloudNewStatus)]
pub struct NewStatus {
    /// A final state ends the task; no other changes anything.
    #[serde(default)]
    pub state: Option<State>,
    /// What it is called.
    #[serde(default)]
    pub title: Option<String>,
    /// What is being done.
    #[serde(default)]
    pub body: Option<String>,
    /// How far it has come, in words.
    #[serde(default)]
    pub progress: Option<String>,
    /// How far it has come, in percent; fractions are left out.
    #[serde(default)]
    pub progress_percentage: Option<f64>,
}

/// What is wanted of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = UCloudPauseOrCancel)]
pub struct PauseOrCancel {
    /// The task.
    pub id: i64,
    /// CANCELLED.
    pub requested_state: State,
}

/// Which part of the list is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct BrowseRequest {
    /// 10, 25, 50, 100 or 250; anything else means 50.
    pub items_per_page: Option<i32>,
    /// As the part before gave it.
    pub next: Option<String>,
}

/// A part of the list.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = UCloudBackgroundTaskPage)]
pub struct Page {
    /// Tasks in a part at most.
    pub items_per_page: usize,
    /// The tasks, the newest first.
    pub items: Vec<Task>,
    /// What to ask for next; null at the end.
    pub next: Option<String>,
}
