//! What happens to a Task, as server-sent events (WHATWG HTML, "Server-sent events").
//!
//! | event | data |
//! |---|---|
//! | `status` | phase, reason, message, attempt, pod; first of all, and whenever it changes |
//! | `progress` | percent, title, current, maximum, message |
//! | `log` | one line of text; its id is `ATTEMPT.LINE` |
//! | `again` | the live log broke off, and the log that was kept follows from its first line |
//! | `end` | as status, with what the result is like, or only a message where the Task was deleted; the stream is over |
//!
//! A client that comes back with `Last-Event-ID` gets no log line twice. One that reads slowly misses intermediate
//! states and no log line. A caller who may no longer see the Task hears no more: the right is asked for again from
//! time to time ([`crate::facade::Config::recheck`]).

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::HeaderMap,
    response::sse::{Event, KeepAlive, Sse},
};
use futures::{Stream, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde_json::{Value, json};
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::{Instant, Interval},
};

use super::{
    read::{known, may},
    wire::{Refused, StreamEvent},
};
use crate::{
    crd::{Phase, Progress, Task, TaskStatus},
    facade::{
        access::{Caller, Verb},
        extract::{Asker, PathOf},
        refusal::Refusal,
        state::{Facade, gone, is_over, phase},
        views::Key,
    },
    livelog::{Came, LiveLog, kept},
};

/// A comment is sent after so long without an event, so that nothing on the way closes the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What happens to a Task
///
/// Server-sent events: `status`, `progress`, `log` and, last of all, `end`.
#[utoipa::path(
    get, path = "/errand/v1/namespaces/{namespace}/tasks/{name}/events", tag = "errand", operation_id = "errandFollowTask",
    params(
        ("namespace" = String, Path, description = "Namespace"),
        ("name" = String, Path, description = "Task"),
        ("last-event-id" = Option<String>, Header, description = "Id of the last log line that was seen: it goes on after it"),
    ),
    responses((status = 200, description = "The events", content_type = "text/event-stream", body = StreamEvent), Refused),
    security(("token" = [])),
)]
pub async fn events(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf((namespace, name)): PathOf<(String, String)>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refusal> {
    let key = Key::new(namespace, name);
    let task = known(&facade, &caller, &key).await?;
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let following = Following::new(facade, caller, key, task, seen.and_then(Place::parse));
    let events = stream::unfold(following, |mut following| async move {
        let event = following.next().await?;
        Some((Ok(event), following))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// A line of a Task's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    attempt: u32,
    line: u64,
}

impl Place {
    fn parse(id: &str) -> Option<Self> {
        let (attempt, line) = id.split_once('.')?;
        Some(Self {
            attempt: attempt.parse().ok()?,
            line: line.parse().ok()?,
        })
    }
}

/// One stream.
struct Following {
    facade: Facade,
    caller: Arc<Caller>,
    recheck: Interval,
    key: Key,
    states: watch::Receiver<Option<Arc<Task>>>,
    /// The first state, where the view did not have it yet.
    first: Option<Arc<Task>>,
    status: Value,
    progress: Option<Progress>,
    log: LiveLog,
    /// Room for a live log; without it the log comes at the end.
    room: Option<OwnedSemaphorePermit>,
    at: Place,
    seen: Option<Place>,
    waiting: VecDeque<Event>,
    over: bool,
}

impl Following {
    fn new(facade: Facade, caller: Arc<Caller>, key: Key, first: Arc<Task>, seen: Option<Place>) -> Self {
        let pods: Api<Pod> = Api::namespaced(facade.objects.client(), &key.namespace);
        let mut states = facade.views.tasks.follow(&key);
        states.mark_changed();
        let every = facade.config.recheck;
        Self {
            caller,
            recheck: tokio::time::interval_at(Instant::now() + every, every),
            states,
            first: Some(first),
            status: Value::Null,
            progress: None,
            log: LiveLog::new(pods),
            room: None,
            at: Place { attempt: 0, line: 0 },
            seen,
            waiting: VecDeque::new(),
            over: false,
            facade,
            key,
        }
    }

    /// The next event; `None` once the stream is over.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            if self.over {
                return None;
            }
            if let Some(task) = self.first.take() {
                self.turn(&task).await;
                continue;
            }
            let shutdown = self.facade.shutdown.clone();
            tokio::select! {
                changed = self.states.changed() => {
                    let task = self.states.borrow_and_update().clone();
                    match task {
                        _ if changed.is_err() => self.over = true,
                        Some(task) => self.turn(&task).await,
                        // Not in view yet, or deleted.
                        None => self.lost().await,
                    }
                }
                line = self.log.next() => self.line(&line),
                _ = self.recheck.tick() => self.over = self.is_barred().await,
                () = shutdown.cancelled() => return None,
            }
        }
    }

    /// The caller may no longer get the Task. An API server that does not answer bars nobody.
    async fn is_barred(&mut self) -> bool {
        let allowed = may(&self.facade, &self.caller, Verb::Get, &self.key).await;
        matches!(allowed, Err(Refusal::Forbidden(_)))
    }

    /// The view has no such Task: it is gone, or too new.
    async fn lost(&mut self) {
        if matches!(self.facade.objects.get::<Task>(&self.key).await, Ok(None)) {
            self.push("end", &json!({"message": gone(&self.key).to_string()}));
            self.over = true;
        }
    }

    async fn turn(&mut self, task: &Task) {
        let status = task.status.clone().unwrap_or_default();
        self.follow_log(&status);
        let shown = shown(task, &status);
        if is_over(task) {
            self.finish(task, &status).await;
            return;
        }
        if self.status != shown {
            self.push("status", &shown);
            self.status = shown;
        }
        if let Some(progress) = status
            .progress
            .filter(|progress| self.progress.as_ref() != Some(progress))
        {
            self.push("progress", &progress);
            self.progress = Some(progress);
        }
    }

    fn follow_log(&mut self, status: &TaskStatus) {
        let attempt = status.attempts.unwrap_or(1);
        if attempt != self.at.attempt {
            self.at = Place { attempt, line: 0 };
        }
        // Only what has a log takes a place.
        let runs = status.phase == Some(Phase::Running) && status.pod.is_some();
        if self.room.is_none() && runs {
            self.room = self.facade.logs.clone().try_acquire_owned().ok();
        }
        if self.room.is_some() {
            self.log.observe(status);
        }
    }

    /// The rest of the log, then the end.
    async fn finish(&mut self, task: &Task, status: &TaskStatus) {
        let mut rest = Vec::new();
        let came = self.log.drain(status, |line| rest.push(line)).await;
        for line in rest {
            self.line(&line);
        }
        self.room = None;
        if came != Came::Whole {
            // What the view leaves out.
            let whole: Option<Task> = self.facade.objects.get(&self.key).await.ok().flatten();
            let status = whole.and_then(|task| task.status).unwrap_or_default();
            let tail = kept(&status);
            self.at.line = 0;
            if came == Came::InPart {
                self.push(
                    "again",
                    &json!("the live log broke off; this is the log that was kept"),
                );
            }
            if came == Came::InPart || status.logs.is_some_and(|logs| logs.truncated) {
                // Its first line is not the first of the log.
                self.seen = None;
            }
            for line in tail {
                self.line(&line);
            }
        }
        let mut shown = shown(task, status);
        if let Some(result) = &status.result {
            shown["result"] = json!({
                "status": result.status, "contentType": result.content_type,
                "sizeBytes": result.size_bytes, "truncated": result.truncated,
            });
        }
        self.push("end", &shown);
        self.over = true;
    }

    fn line(&mut self, line: &[u8]) {
        self.at.line += 1;
        if self.seen.is_some_and(|seen| self.at <= seen) {
            return;
        }
        // A carriage return would end the line of the event too early.
        let text = String::from_utf8_lossy(line).replace('\r', "\u{240d}");
        let id = format!("{}.{}", self.at.attempt, self.at.line);
        self.waiting
            .push_back(Event::default().event("log").id(id).data(text));
    }

    fn push(&mut self, name: &str, data: &impl serde::Serialize) {
        let text = serde_json::to_string(data).unwrap_or_default();
        self.waiting.push_back(Event::default().event(name).data(text));
    }
}

fn shown(task: &Task, status: &TaskStatus) -> Value {
    json!({
        "phase": phase(task), "reason": status.reason, "message": status.message,
        "attempt": status.attempts, "pod": status.pod.as_ref().map(|pod| &pod.name),
        "node": status.pod.as_ref().and_then(|pod| pod.node.as_ref()),
    })
}
