//! Follows one Task to its end: its status by a watch, its log by the API's log stream. Holds one status and a
//! chunk of log at a time, whatever the Task prints.

use futures::StreamExt as _;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use kube_runtime::{WatchStreamExt as _, watcher};
use serde_json::json;

use super::connect::{Refusal, Session, root_cause};
use crate::{
    crd::{Phase, Task, TaskStatus},
    livelog::{Came, LiveLog, kept},
};

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
    let mut log = LiveLog::new(Api::namespaced(session.client.clone(), &session.namespace));
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
                            drain(&mut log, &status, view).await;
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

/// The rest of the log: of the live one, or the one kept in the Task where the live one did not come.
async fn drain(log: &mut LiveLog, status: &TaskStatus, view: &mut dyn Viewer) {
    match log.drain(status, |line| view.log(&line)).await {
        Came::Whole => return,
        Came::InPart => view.note("the live log broke off; this is the log kept in the Task:"),
        Came::Not => {}
    }
    for line in kept(status) {
        view.log(&line);
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
