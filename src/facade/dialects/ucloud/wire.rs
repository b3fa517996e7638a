//! Shapes on the wire. Every field is written, null or not; what is read may hold more fields, and null where a field
//! has a default.

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::second;
use crate::{crd, facade::docs};

/// An error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = UCloudError)]
pub struct ErrorBody {
    /// What is wrong.
    #[schema(example = "Not Found")]
    pub why: String,
    /// Always null.
    pub error_code: Option<String>,
}

/// What every call may be answered with instead.
pub type Refused = docs::Refused<ErrorBody>;

/// Nothing.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)] // For the schema: else a task would be one too.
#[schema(as = UCloudUnit)]
pub struct Unit {}

/// A task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = UCloudTask)]
pub struct Task {
    /// Its id, a UUID.
    pub job_id: String,
    /// Whom it belongs to; empty where it is nobody's.
    pub owner: String,
    /// Who does the work: a service, or `errand` for tasks that run in a pod.
    pub processor: String,
    /// What it is called.
    pub title: Option<String>,
    /// What is being done.
    pub status: Option<String>,
    /// It is over.
    pub complete: bool,
    /// When it was made, in unix milliseconds.
    pub started_at: i64,
    /// When it last changed, in unix milliseconds.
    pub modified_at: i64,
}

/// A page of tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = UCloudTaskPage)]
pub struct Page {
    /// Tasks on all pages.
    pub items_in_total: usize,
    /// Tasks on a page at most.
    pub items_per_page: usize,
    /// The page, counted from 0.
    pub page_number: usize,
    /// The tasks, the oldest first.
    pub items: Vec<Task>,
}

/// Which page is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct ListRequest {
    /// 10, 25, 50, 100 or 250; anything else means 50.
    pub items_per_page: Option<i32>,
    /// Page, counted from 0.
    pub page: Option<i32>,
}

/// A task to be made.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = UCloudCreateRequest)]
pub struct CreateRequest {
    /// What it is called.
    pub title: String,
    /// Whom it belongs to.
    pub owner: String,
    /// What is being done.
    #[serde(default)]
    pub initial_status: Option<String>,
}

/// What is new about a task. What is null stays as it was.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = UCloudTaskUpdate)]
pub struct TaskUpdate {
    /// The task.
    pub job_id: String,
    /// Another title.
    #[serde(default)]
    pub new_title: Option<String>,
    /// Speeds, the newest last.
    #[serde(default, deserialize_with = "or_default")]
    #[schema(value_type = Vec<Speed>)]
    pub speeds: Vec<crd::Speed>,
    /// How far it has come.
    #[serde(default)]
    pub progress: Option<Progress>,
    /// The task is over. In a report it changes nothing: `markAsComplete` ends a task.
    #[serde(default, deserialize_with = "or_default")]
    pub complete: bool,
    /// A message, to be put behind the earlier ones.
    #[serde(default)]
    pub message_to_append: Option<String>,
    /// What is being done now.
    #[serde(default)]
    pub new_status: Option<String>,
}

/// A speed.
#[derive(ToSchema)]
#[allow(dead_code)] // Only its schema is used; it is read and written as the Task keeps it.
#[schema(as = UCloudSpeed, rename_all = "camelCase")]
pub struct Speed {
    /// What is measured.
    title: String,
    /// The value.
    speed: f64,
    /// Its unit.
    unit: String,
    /// As a person reads it.
    as_text: String,
}

/// How far a task has come.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[schema(as = UCloudProgress)]
pub struct Progress {
    /// What is being done.
    pub title: String,
    /// Steps done.
    pub current: i32,
    /// Steps in all.
    pub maximum: i32,
}

/// News of a task, of either API.
#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(as = UCloudPostStatusRequest)]
pub enum PostStatusRequest {
    /// Of the first.
    First {
        /// The news.
        update: TaskUpdate,
    },
    /// Of the second.
    Second {
        /// The news.
        update: second::wire::TaskUpdate,
    },
}

/// What is posted to the path of all tasks.
#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(as = UCloudPostRequest)]
pub enum PostRequest {
    /// News of a task.
    News(PostStatusRequest),
    /// The end of a task.
    End(FindById),
    /// A task to be made.
    Create(second::wire::CreateRequest),
}

/// A task by its id.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[schema(as = UCloudFindById)]
pub struct FindById {
    /// The id.
    pub id: TaskId,
}

/// The id of a task in either API.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(as = UCloudTaskId)]
pub enum TaskId {
    /// A UUID, in the first.
    Job(String),
    /// A number, in the second.
    Number(i64),
}

/// Reads null as the default.
pub fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_update_is_written_whole_and_read_with_nulls_gaps_and_unknown_fields() {
        let bare = TaskUpdate {
            job_id: "J".into(),
            ..TaskUpdate::default()
        };
        assert_eq!(
            serde_json::to_string(&bare).unwrap(),
            r#"{"jobId":"J","newTitle":null,"speeds":[],"progress":null,"complete":false,"messageToAppend":null,"newStatus":null}"#
        );
        for read in [
            json!({"jobId": "J"}),
            json!({"jobId": "J", "newTitle": null, "speeds": null, "progress": null, "complete": null,
                "messageToAppend": null, "newStatus": null, "later": [1]}),
        ] {
            assert_eq!(serde_json::from_value::<TaskUpdate>(read).unwrap(), bare);
        }
    }

    #[test]
    fn an_update_that_is_not_one_is_refused() {
        for bad in [
            json!({}),
            json!({"jobId": null}),
            json!({"jobId": 7}),
            json!({"jobId": "J", "complete": "yes"}),
            json!({"jobId": "J", "speeds": [{"title": "t", "speed": 1.0, "unit": "u"}]}),
            json!({"jobId": "J", "speeds": {}}),
            json!({"jobId": "J", "progress": {"title": "t", "current": 1}}),
            json!({"jobId": "J", "progress": {"title": "t", "current": 1.5, "maximum": 2}}),
            json!({"jobId": "J", "progress": {"title": "t", "current": 2_147_483_648i64, "maximum": 2}}),
        ] {
            assert!(
                serde_json::from_value::<TaskUpdate>(bad.clone()).is_err(),
                "{bad}"
            );
        }
    }

    #[test]
    fn either_api_is_known_by_its_id() {
        let first: PostStatusRequest = serde_json::from_value(json!({"update": {"jobId": "J"}})).unwrap();
        assert!(matches!(first, PostStatusRequest::First { .. }), "{first:?}");
        let second = json!({"update": {"taskId": 7, "newStatus": {"state": "RUNNING"}}});
        let second: PostStatusRequest = serde_json::from_value(second).unwrap();
        assert!(matches!(second, PostStatusRequest::Second { .. }), "{second:?}");
        assert!(serde_json::from_value::<PostStatusRequest>(json!({"update": {}})).is_err());
    }
}
