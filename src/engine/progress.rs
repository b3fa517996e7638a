//! Progress read from the logs of running Tasks, until a reconcile writes it into their status.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use kube::Client;
use kube_runtime::reflector::ObjectRef;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    follow::{Follower, Source},
    pod::CONTAINER,
    task::{reconcile::Subject, view::PodView},
};
use crate::{
    crd::{Progress, Task},
    handover,
};

/// Reports that wait to be noted; each followed log sends at most one a second.
const REPORTS: usize = 1024;

/// The Tasks whose logs are followed, by uid, and what was read last.
type Desk = Arc<Mutex<HashMap<String, (ObjectRef<Task>, Option<Progress>)>>>;

/// The newest progress of each Task, by uid.
pub struct ProgressDesk {
    follower: Follower<String>,
    desk: Desk,
}

impl ProgressDesk {
    /// `limit` logs are followed at once. Each report is noted, and its Task woken by `wake`.
    pub fn new(
        limit: usize,
        client: Client,
        wake: mpsc::UnboundedSender<ObjectRef<Task>>,
        shutdown: CancellationToken,
    ) -> Self {
        let (send, mut reports) = mpsc::channel(REPORTS);
        let desk = Desk::default();
        let noted = desk.clone();
        // Ends with the follower, which holds the sending side.
        tokio::spawn(async move {
            while let Some((uid, progress)) = reports.recv().await {
                if let Some((task, news)) = lock(&noted).get_mut(&uid) {
                    *news = Some(shown(progress));
                    drop(wake.send(task.clone()));
                }
            }
        });
        Self {
            follower: Follower::new(client, limit, send, shutdown),
            desk,
        }
    }

    /// The newest progress of a Task that is not written yet.
    pub fn news(&self, uid: &str) -> Option<Progress> {
        lock(&self.desk).get(uid).and_then(|(_, news)| news.clone())
    }

    /// The progress stands in the Task's status: it is news no longer, unless newer came meanwhile.
    pub fn written(&self, uid: &str, progress: &Progress) {
        if let Some((_, news)) = lock(&self.desk).get_mut(uid)
            && news.as_ref() == Some(progress)
        {
            *news = None;
        }
    }

    /// Follows the log of a Task, if it is not followed yet; false where there is no room.
    pub fn follow(&self, subject: &Subject, pod: &PodView) -> bool {
        let source = Source {
            namespace: subject.namespace.clone(),
            pod: pod.pod.name.clone(),
            container: CONTAINER.to_owned(),
        };
        lock(&self.desk)
            .entry(subject.uid.clone())
            .or_insert_with(|| (subject.reference(), None));
        self.follower.follow(subject.uid.clone(), source)
    }

    /// How many logs are followed.
    pub fn followed(&self) -> usize {
        self.follower.len()
    }

    /// Forgets a Task.
    pub fn forget(&self, uid: &str) {
        self.follower.stop(&uid.to_owned());
        lock(&self.desk).remove(uid);
    }
}

/// What the supervisor's line says, as a Task shows it.
fn shown(line: handover::progress::Progress) -> Progress {
    let count = |number: Option<u64>| number.and_then(|number| i64::try_from(number).ok());
    Progress {
        percent: line.percent,
        title: line.title,
        current: count(line.current),
        maximum: count(line.maximum),
        message: None,
    }
}

fn lock<T>(desk: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}
