//! Follows one Task to its end: its status by a watch, its log by the API's log stream. Holds one status and a
//! chunk of log at a time, whatever the Task prints.

use std::{pin::Pin, time::Duration};

use futures::{AsyncBufRead, AsyncBufReadExt as _, Stream, StreamExt as _, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{LogParams, Patch, PatchParams},
};
use kube_runtime::{WatchStreamExt as _, watcher};
use serde_json::json;

use super::{
    connect::{Refusal, Session, root_cause},
    lines::Lines,
};
use crate::crd::{Phase, Task, TaskStatus};

/// Name of the container that a Task's pod runs.
const CONTAINER: &str = "task";
/// How long the end of the log may take after the Task has ended.
const DRAIN: Duration = Duration::from_secs(3);

/// Who is told what happens.
pub trait Viewer {
    /// The status changed, or may have.
    fn status(&mut self, status: &TaskStatus);
    /// One line of the container's log, without its newline.
    fn log(&mut self, line: &[u8]);
    /// A sentence about the following itself.
    fn note(&mut self, text: &str);
}

/// Why a Task could not be followed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Watching is not allowed, or the Task's type is gone.
    #[error("could not watch task/{name}")]
    Watch {
        /// The Task.
        name: String,
        /// Why.
        #[source]
        source: Refusal,
    },
    /// The Task vanished before it ended.
    #[error("task/{name} was deleted before it ended")]
    Deleted {
        /// The Task.
        name: String,
    },
    /// The Task could not be cancelled.
    #[error("could not cancel task/{name}")]
    Cancel {
        /// The Task.
        name: String,
        /// Why.
        #[source]
        source: Refusal,
    },
}

/// How following ended.
#[derive(Debug)]
pub enum End {
    /// The Task is in a terminal phase.
    Finished(Box<Task>),
    /// A second Ctrl-C: the person does not wait for the end.
    Left,
}

/// Watches until the Task is terminal. With `interruptible` Ctrl-C cancels the Task, and a second one leaves it.
pub async fn to_the_end(
    session: &Session,
    name: &str,
    view: &mut dyn Viewer,
    with_log: bool,
    interruptible: bool,
) -> Result<End, Error> {
    let watch = watcher::watch_object(session.tasks(), name).default_backoff();
    let mut watch = std::pin::pin!(watch);
    let mut log = LogFollower::new(session);
    let mut asked = false;
    loop {
        tokio::select! {
            item = watch.next() => match item {
                Some(Ok(Some(task))) => {
                    let status = task.status.clone().unwrap_or_default();
                    if with_log {
                        log.observe(&status);
                    }
                    if status.phase.is_some_and(Phase::is_terminal) {
                        if with_log {
                            log.drain(view, &status).await;
                        }
                        return Ok(End::Finished(Box::new(task)));
                    }
                    view.status(&status);
                }
                Some(Ok(None)) | None => return Err(Error::Deleted { name: name.to_owned() }),
                Some(Err(error)) => tolerate(error, name, view)?,
            },
            line = log.next() => view.log(&line),
            _ = tokio::signal::ctrl_c(), if interruptible => {
                if asked {
                    return Ok(End::Left);
                }
                asked = true;
                cancel(session, name).await?;
                view.note(&format!("task/{name} will be cancelled; press Ctrl-C again to leave it to itself"));
            }
        }
    }
}

/// Sets `spec.cancel`.
pub async fn cancel(session: &Session, name: &str) -> Result<Task, Error> {
    let patch = Patch::Merge(json!({"spec": {"cancel": true}}));
    session
        .tasks()
        .patch(name, &PatchParams::default(), &patch)
        .await
        .map_err(|source| Error::Cancel {
            name: name.to_owned(),
            source: source.into(),
        })
}

/// The watcher restarts by itself with a growing delay; only what no delay heals ends the command.
fn tolerate(error: watcher::Error, name: &str, view: &mut dyn Viewer) -> Result<(), Error> {
    match error {
        watcher::Error::InitialListFailed(source) | watcher::Error::WatchStartFailed(source) if matches!(&source, kube::Error::Api(status) if matches!(status.code, 400 | 401 | 403 | 404 | 405)) => {
            Err(Error::Watch {
                name: name.to_owned(),
                source: source.into(),
            })
        }
        // An expired resource version (410) is routine.
        watcher::Error::WatchError(_) => Ok(()),
        other => {
            view.note(&format!(
                "the watch broke off ({}); trying again",
                root_cause(&other)
            ));
            Ok(())
        }
    }
}

type LineStream = Pin<Box<dyn Stream<Item = Result<Vec<u8>, ()>> + Send>>;

/// The live log of the Task's present pod.
struct LogFollower {
    pods: Api<Pod>,
    pod: Option<String>,
    stream: Option<LineStream>,
    /// The stream of the present pod came to its proper end, or is still under way.
    whole: bool,
    /// Lines of the present pod that were shown.
    shown: u64,
}

impl LogFollower {
    fn new(session: &Session) -> Self {
        let pods = Api::namespaced(session.client.clone(), &session.namespace);
        Self {
            pods,
            pod: None,
            stream: None,
            whole: false,
            shown: 0,
        }
    }

    /// Opens the log once the container of a new attempt runs.
    fn observe(&mut self, status: &TaskStatus) {
        let Some(pod) = status
            .pod
            .as_ref()
            .filter(|_| status.phase == Some(Phase::Running))
        else {
            return;
        };
        if self.pod.as_ref() != Some(&pod.name) {
            self.pod = Some(pod.name.clone());
            self.stream = Some(open(self.pods.clone(), pod.name.clone()));
            self.whole = true;
            self.shown = 0;
        }
    }

    /// The next line; nothing where the stream is over or was never opened.
    async fn step(&mut self) -> Option<Vec<u8>> {
        match self.stream.as_mut()?.next().await {
            Some(Ok(line)) => {
                self.shown += 1;
                return Some(line);
            }
            Some(Err(())) => self.whole = false,
            None => {}
        }
        self.stream = None;
        None
    }

    /// The next line; never resolves while there is none.
    async fn next(&mut self) -> Vec<u8> {
        match self.step().await {
            Some(line) => line,
            None => std::future::pending().await,
        }
    }

    /// After the end: the rest of the live log, or the log kept in the Task where the live one did not come.
    async fn drain(&mut self, view: &mut dyn Viewer, status: &TaskStatus) {
        let rest = async {
            while let Some(line) = self.step().await {
                view.log(&line);
            }
        };
        if tokio::time::timeout(DRAIN, rest).await.is_err() {
            self.whole = false;
        }
        let same_pod = self.pod.is_some() && self.pod == status.pod.as_ref().map(|pod| pod.name.clone());
        let came = same_pod && self.whole && (self.shown > 0 || kept(status).is_empty());
        if !came {
            if self.shown > 0 && same_pod {
                view.note("the live log broke off; this is the log kept in the Task:");
            }
            for line in kept(status) {
                view.log(&line);
            }
        }
    }
}

/// Lines of the log tail in the status, without those meant for the engine.
pub fn kept(status: &TaskStatus) -> Vec<Vec<u8>> {
    let tail = status
        .logs
        .as_ref()
        .map(|logs| logs.tail.as_str())
        .unwrap_or_default();
    let mut lines = Lines::default();
    let mut found = lines.push(tail.as_bytes());
    found.extend(lines.finish());
    found
}

/// Lines of a pod's log; `Err` where the log cannot be had or breaks off.
fn open(pods: Api<Pod>, pod: String) -> LineStream {
    let params = LogParams {
        container: Some(CONTAINER.to_owned()),
        follow: true,
        ..LogParams::default()
    };
    let reader = async move { pods.log_stream(&pod, &params).await };
    let lines = stream::once(reader).flat_map(|reader| match reader {
        Ok(reader) => read_lines(Box::pin(reader)),
        Err(_) => stream::once(async { Err(()) }).boxed(),
    });
    Box::pin(lines)
}

fn read_lines(reader: Pin<Box<dyn AsyncBufRead + Send>>) -> LineStream {
    let state = (Some(reader), Lines::default());
    let chunks = stream::unfold(state, |(reader, mut lines)| async move {
        let mut reader = reader?;
        match reader.fill_buf().await {
            Ok([]) => {
                let last = lines.finish().into_iter().map(Ok).collect::<Vec<_>>();
                Some((last, (None, lines)))
            }
            Ok(chunk) => {
                let (length, found) = (chunk.len(), lines.push(chunk));
                reader.consume_unpin(length);
                Some((found.into_iter().map(Ok).collect(), (Some(reader), lines)))
            }
            Err(_) => Some((vec![Err(())], (None, lines))),
        }
    });
    Box::pin(chunks.flat_map(stream::iter))
}
