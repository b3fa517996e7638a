//! The calls: what each is named, who may make it, and where it is answered. Requests and frames come here alike.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    failure::{EMPTY, malformed},
    listen::Form,
    read, report,
    roles::{Need, Principal},
    second,
    wire::PostRequest,
};
use crate::facade::{access::Caller, refusal::Refusal, state::Facade};

/// A call that is answered once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// The Tasks of the caller, by page.
    List,
    /// One Task, in the shape that belongs to its id.
    View,
    /// A Task for a user.
    Create,
    /// News of a Task.
    PostStatus,
    /// The end of a Task.
    MarkAsComplete,
    /// News or end of a Task, or a Task to be made, told apart by what is sent.
    Post,
    /// As [`Self::List`], in the second API.
    Browse,
    /// As [`Self::Create`], in the second API.
    CreateSecond,
    /// Stops a Task.
    PauseOrCancel,
}

/// What a frame calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called {
    /// A call with an answer.
    Once(Call),
    /// News from now on.
    Listen(Form),
}

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Tasks.
    Tasks,
    /// Notifications, of which there are none.
    Notifications,
}

impl Topic {
    /// The call of this name.
    pub fn call(self, name: &str) -> Option<Called> {
        let call = match (self, name) {
            (Self::Tasks, "task.list") => Call::List,
            (Self::Tasks, "task.view" | "tasks.retrieve") => Call::View,
            (Self::Tasks, "task.create") => Call::Create,
            (Self::Tasks, "task.postStatus" | "tasks.postStatus") => Call::PostStatus,
            (Self::Tasks, "task.markAsComplete" | "tasks.markAsComplete") => Call::MarkAsComplete,
            (Self::Tasks, "tasks.browse") => Call::Browse,
            (Self::Tasks, "tasks.create") => Call::CreateSecond,
            (Self::Tasks, "tasks.pauseOrCancel") => Call::PauseOrCancel,
            (Self::Tasks, "task.listen") => return Some(Called::Listen(Form::Updates)),
            (Self::Tasks, "tasks.listen") => return Some(Called::Listen(Form::Tasks)),
            (Self::Notifications, "notifications.subscription") => {
                return Some(Called::Listen(Form::Silence));
            }
            _ => return None,
        };
        Some(Called::Once(call))
    }
}

/// What is sent with a call.
#[derive(Debug)]
pub enum Sent {
    /// The body of a request.
    Body(Bytes),
    /// The payload of a frame, or what a query says.
    Json(Value),
}

impl Sent {
    fn read<T: DeserializeOwned>(self) -> Result<T, Refusal> {
        let read = match self {
            Self::Body(body) if body.is_empty() => return Err(Refusal::Invalid(EMPTY.to_owned())),
            Self::Body(body) => serde_json::from_slice(&body),
            Self::Json(value) => serde_json::from_value(value),
        };
        read.map_err(|_| malformed())
    }
}

impl Call {
    fn need(self) -> Need {
        match self {
            Self::List | Self::View | Self::Browse | Self::PauseOrCancel => Need::Read,
            Self::Create | Self::CreateSecond | Self::PostStatus | Self::MarkAsComplete | Self::Post => {
                Need::Report
            }
        }
    }
}

/// Answers a call. What was sent is looked at only once the caller may make it.
///
/// # Errors
/// What is to be told instead.
pub async fn answer(facade: &Facade, caller: Arc<Caller>, call: Call, sent: Sent) -> Result<Value, Refusal> {
    let principal = Principal::of(facade, caller, call.need()).await?;
    let principal = &principal;
    match call {
        Call::List => written(read::list(facade, principal, sent.read()?).await?),
        Call::View => read::view(facade, principal, sent.read()?).await,
        Call::Create => written(report::create(facade, principal, sent.read()?).await?),
        Call::PostStatus => written(report::post_status(facade, principal, sent.read()?).await?),
        Call::MarkAsComplete => written(report::mark_as_complete(facade, principal, sent.read()?).await?),
        Call::Post => match sent.read()? {
            PostRequest::News(news) => written(report::post_status(facade, principal, news).await?),
            PostRequest::End(task) => written(report::mark_as_complete(facade, principal, task).await?),
            PostRequest::Create(task) => written(second::create(facade, principal, task).await?),
        },
        Call::Browse => written(second::browse(facade, principal, sent.read()?).await?),
        Call::CreateSecond => written(second::create(facade, principal, sent.read()?).await?),
        Call::PauseOrCancel => written(second::pause_or_cancel(facade, principal, sent.read()?).await?),
    }
}

/// An answer as JSON.
///
/// # Errors
/// A defect of ours.
pub fn written(answer: impl Serialize) -> Result<Value, Refusal> {
    let written = serde_json::to_value(answer);
    written.map_err(|error| Refusal::Internal(format!("an answer cannot be written: {error}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::wire::{FindById, TaskId},
        *,
    };

    #[test]
    fn calls_of_one_topic_are_unknown_to_the_other() {
        assert_eq!(Topic::Tasks.call("task.list"), Some(Called::Once(Call::List)));
        assert_eq!(
            Topic::Notifications.call("notifications.subscription"),
            Some(Called::Listen(Form::Silence))
        );
        for name in ["", "core2", "task", "task.LIST", "notifications.subscription"] {
            assert_eq!(Topic::Tasks.call(name), None, "{name}");
        }
        assert_eq!(Topic::Notifications.call("task.list"), None);
    }

    #[test]
    fn what_cannot_be_read_is_malformed_and_an_empty_body_is_empty() {
        let read = |sent: Sent| sent.read::<FindById>().map_err(|refusal| refusal.to_string());
        let found = FindById {
            id: TaskId::Job("x".into()),
        };
        assert_eq!(
            read(Sent::Body(r#"{"id":"x","more":1}"#.into())),
            Ok(found.clone())
        );
        assert_eq!(read(Sent::Json(json!({"id": "x"}))), Ok(found));
        assert_eq!(read(Sent::Body(Bytes::new())), Err("Bad Request".into()));
        for bad in [
            "{",
            "[]",
            "{}",
            "null",
            r#"{"id":null}"#,
            r#"{"id":1.5}"#,
            "\u{0}",
        ] {
            assert_eq!(read(Sent::Body(bad.into())), Err("Bad request".into()), "{bad}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(read(Sent::Body(deep.into())), Err("Bad request".into()));
    }
}
