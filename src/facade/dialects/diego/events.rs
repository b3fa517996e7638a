//! What becomes of tasks, as server-sent events (`events/` and `handlers/event_handlers.go` of the BBS).
//!
//! A frame is `id: N`, `event: NAME` and `data: BASE64`, N counted from 0 on each connection; nothing is said again to a
//! client that comes back. A client that falls behind by more than 1024 events is cut off, and so is one whose right is
//! gone; the stream then ends as the real server's does.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderValue, header},
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::stream;
use kube::ResourceExt as _;
use prost::Message as _;
use tokio::{
    sync::broadcast::{
        Receiver,
        error::{RecvError, TryRecvError},
    },
    time::{Instant, Interval, interval_at},
};

use super::{
    failure::Failure,
    find,
    messages::{self, State as TaskState, TaskChangedEvent, TaskEvent},
    names,
    tasks::{older, whole},
    view,
};
use crate::{
    crd::Task,
    facade::{
        access::{Caller, Resource, Verb},
        extract::Asker,
        refusal::Refusal,
        state::Facade,
        views::Change,
    },
};

/// A comment is sent after so long without an event, so that nothing on the way closes the connection. Clients skip it.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Events that a client may be behind, as at the real server.
const BACKLOG: usize = 1024;

/// `events/tasks.r1`
pub async fn events(State(facade): State<Facade>, Asker(caller): Asker) -> Result<Response, Failure> {
    open(facade, caller, Form::Whole).await
}

/// `events/tasks`
pub async fn events_without_layers(
    State(facade): State<Facade>,
    Asker(caller): Asker,
) -> Result<Response, Failure> {
    open(facade, caller, Form::WithoutLayers).await
}

/// How definitions are shown.
#[derive(Clone, Copy, Debug)]
enum Form {
    Whole,
    WithoutLayers,
}

async fn open(facade: Facade, caller: Arc<Caller>, form: Form) -> Result<Response, Failure> {
    let home = find::home(&facade, &caller).await?;
    facade
        .authorize(&caller, Verb::Watch, Resource::Tasks, &home, None)
        .await?;
    let every = facade.config.recheck;
    let listening = Listening {
        changes: facade.views.tasks.changes(),
        heartbeat: interval_at(Instant::now() + HEARTBEAT, HEARTBEAT),
        recheck: interval_at(Instant::now() + every, every),
        waiting: VecDeque::new(),
        said: 0,
        facade,
        caller,
        home,
        form,
    };
    let frames = stream::unfold(listening, |mut listening| async move {
        let frame = listening.next().await?;
        Some((Ok::<_, Infallible>(frame), listening))
    });
    let mut response = Response::new(Body::from_stream(frames));
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache, no-store, must-revalidate"),
        (header::CONNECTION, "keep-alive"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

/// One stream.
struct Listening {
    facade: Facade,
    caller: Arc<Caller>,
    home: String,
    form: Form,
    changes: Receiver<Change<Task>>,
    heartbeat: Interval,
    recheck: Interval,
    waiting: VecDeque<Change<Task>>,
    said: u64,
}

impl Listening {
    /// The next frame; `None` once the stream is over.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            self.gather()?;
            while let Some(change) = self.waiting.pop_front() {
                if let Some(frame) = self.frame(&change).await {
                    self.heartbeat.reset();
                    return Some(frame);
                }
            }
            let shutdown = self.facade.shutdown.clone();
            tokio::select! {
                change = self.changes.recv() => match change {
                    Ok(change) => self.keep(change),
                    Err(RecvError::Lagged(_) | RecvError::Closed) => return None,
                },
                _ = self.heartbeat.tick() => return Some(Bytes::from_static(b":\n\n")),
                _ = self.recheck.tick() => if self.is_barred().await { return None },
                () = shutdown.cancelled() => return None,
            }
        }
    }

    /// Takes up what has happened meanwhile; `None` where that is more than a client may be behind.
    fn gather(&mut self) -> Option<()> {
        loop {
            match self.changes.try_recv() {
                Ok(change) => self.keep(change),
                Err(TryRecvError::Empty) => return (self.waiting.len() <= BACKLOG).then_some(()),
                Err(TryRecvError::Lagged(_) | TryRecvError::Closed) => return None,
            }
        }
    }

    /// Only what happens in the caller's namespace, and is news to this API.
    fn keep(&mut self, change: Change<Task>) {
        let task = change.after.as_ref().or(change.before.as_ref());
        let ours = task.is_some_and(|task| task.metadata.namespace.as_deref() == Some(&self.home));
        if ours && is_news(&change, self.facade.config.dialects.diego.retries) {
            self.waiting.push_back(change);
        }
    }

    /// The caller may no longer hear of the tasks. An API server that does not answer bars nobody.
    async fn is_barred(&self) -> bool {
        let (caller, home) = (&self.caller, &self.home);
        let allowed = self
            .facade
            .authorize(caller, Verb::Watch, Resource::Tasks, home, None)
            .await;
        matches!(allowed, Err(Refusal::Forbidden(_)))
    }

    async fn frame(&mut self, change: &Change<Task>) -> Option<Bytes> {
        let before = self.shown(change.before.as_ref()).await;
        let after = self.shown(change.after.as_ref()).await;
        let (name, message) = match (before, after) {
            (Some(before), Some(after)) => return Some(self.changed(before, after)),
            (None, Some(task)) => ("task_created", TaskEvent { task: Some(task) }.encode_to_vec()),
            (Some(task), None) => ("task_removed", TaskEvent { task: Some(task) }.encode_to_vec()),
            (None, None) => return None,
        };
        Some(self.say(name, &message))
    }

    fn changed(&mut self, before: messages::Task, after: messages::Task) -> Bytes {
        let frames: Vec<Bytes> = steps(before, after)
            .into_iter()
            .map(|event| self.say("task_changed", &event.encode_to_vec()))
            .collect();
        Bytes::from(frames.concat())
    }

    fn say(&mut self, name: &str, message: &[u8]) -> Bytes {
        let frame = frame(self.said, name, message);
        self.said += 1;
        frame
    }

    /// A task as it is told of; with its result, as long as it is there to be asked for.
    async fn shown(&self, task: Option<&Arc<Task>>) -> Option<messages::Task> {
        let task = task?;
        let whole = whole(&self.facade, task.clone()).await;
        let task = whole.unwrap_or_else(|_| task.clone());
        // A caller whose right cannot be asked for now hears what anybody may.
        let asked = find::sees(
            &self.facade,
            &self.caller,
            &self.home,
            std::iter::once(task.as_ref()),
        )
        .await;
        let sees = asked.unwrap_or(false);
        let shown = view::task(&task, &find::origin(&self.facade, &task, sees));
        match self.form {
            Form::Whole => Some(shown),
            Form::WithoutLayers => older(shown).ok(),
        }
    }
}

/// True for what the real server tells of: a task comes, goes, or its state or what goes with it changes. A rejection that
/// fails the task is told of by the failure alone.
fn is_news(change: &Change<Task>, retries: u16) -> bool {
    let (Some(before), Some(after)) = (&change.before, &change.after) else {
        return true;
    };
    if before.uid() != after.uid() {
        return true;
    }
    let told = |task: &Task| {
        let standing = view::standing(task);
        let end = standing.end.map(|end| (end.failed, end.reason));
        let marks = names::marks(task);
        (
            standing.state,
            standing.cell,
            end,
            marks.rejections,
            marks.rejection_reason,
        )
    };
    let (before, after) = (told(before), told(after));
    let rejected = after.3 > before.3 && after.3 > i32::from(retries);
    let about_to_fail = rejected && after.0 == TaskState::Pending;
    before != after && !about_to_fail
}

/// A change as the real server tells it: a task is Completed before it is Resolving, however fast its callback comes.
fn steps(before: messages::Task, after: messages::Task) -> Vec<TaskChangedEvent> {
    let event = |before: &messages::Task, after: &messages::Task| TaskChangedEvent {
        before: Some(before.clone()),
        after: Some(after.clone()),
    };
    let at_once = after.state() == TaskState::Resolving
        && matches!(before.state(), TaskState::Pending | TaskState::Running);
    if !at_once {
        return vec![event(&before, &after)];
    }
    let completed = messages::Task {
        state: TaskState::Completed.into(),
        ..after.clone()
    };
    vec![event(&before, &completed), event(&completed, &after)]
}

fn frame(id: u64, name: &str, message: &[u8]) -> Bytes {
    let data = STANDARD.encode(message);
    Bytes::from(format!("id: {id}\nevent: {name}\ndata: {data}\n\n"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::facade::dialects::diego::messages::Task as Shown;

    #[test]
    fn a_frame_is_the_real_servers_byte_for_byte() {
        let task = Shown {
            task_definition: Some(b"\x0a\x03a:b".to_vec()),
            task_guid: "g".into(),
            domain: "d".into(),
            created_at: 1,
            updated_at: 1,
            state: TaskState::Pending.into(),
            ..Shown::default()
        };
        let message = TaskEvent { task: Some(task) }.encode_to_vec();
        assert_eq!(
            frame(0, "task_created", &message),
            "id: 0\nevent: task_created\ndata: ChMKBQoDYTpiEgFnGgFkIAEoATgB\n\n"
        );
    }

    #[test]
    fn a_task_that_is_resolving_at_once_was_completed_in_between() {
        use TaskState::{Completed, Pending, Resolving, Running};
        let told = |before: TaskState, after: TaskState| -> Vec<[TaskState; 2]> {
            let of = |state: TaskState| Shown {
                state: state.into(),
                result: "42".into(),
                ..Shown::default()
            };
            let state = |task: Option<Shown>| task.unwrap().state();
            let events = steps(of(before), of(after)).into_iter();
            events
                .map(|event| [state(event.before), state(event.after)])
                .collect()
        };
        for before in [Pending, Running] {
            assert_eq!(
                told(before, Resolving),
                [[before, Completed], [Completed, Resolving]]
            );
            assert_eq!(told(before, Completed), [[before, Completed]]);
        }
        assert_eq!(told(Completed, Resolving), [[Completed, Resolving]]);
        assert_eq!(told(Pending, Running), [[Pending, Running]]);
    }

    fn task(status: Value) -> Arc<Task> {
        let task = json!({"metadata": {"name": "t", "uid": "u"}, "spec": {}, "status": status});
        Arc::new(serde_json::from_value(task).unwrap())
    }

    #[test]
    fn only_what_this_api_can_tell_is_news() {
        let change = |before, after| Change {
            before: Some(task(before)),
            after: Some(task(after)),
        };
        let running = json!({"phase": "Running", "pod": {"name": "p", "node": "n"}});
        for (before, after, news) in [
            (json!({"phase": "Pending"}), running.clone(), true),
            (json!({"phase": "Queued"}), json!({"phase": "Pending"}), false),
            (
                running.clone(),
                json!({"phase": "Running", "progress": {"percent": 5}, "pod": {"name": "p", "node": "n"},
                    "modifiedAt": "2026-01-01T00:00:00Z"}),
                false,
            ),
            (running, json!({"phase": "Succeeded"}), true),
            (
                json!({"phase": "Succeeded"}),
                json!({"phase": "Succeeded", "callback": {"state": "Delivering"}}),
                true,
            ),
        ] {
            assert_eq!(
                is_news(&change(before.clone(), after.clone()), 0),
                news,
                "{before} {after}"
            );
        }
        let gone = Change {
            before: Some(task(json!({}))),
            after: None,
        };
        assert!(is_news(&gone, 0));
    }
}
