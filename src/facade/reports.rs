//! Reports of progress and end, from inside a Task's pod or from whoever does the work of an external Task.
//!
//! Progress is written at most once a second for each Task, the latest report first of all: a writer per Task that
//! reports, which ends when nothing more comes. An end is written at once, and so is news ([`News`]), of which nothing
//! may be left out. No write meets a Task that is over: each is made on the state that was looked at (uid and
//! resourceVersion), and a conflict looks again.

mod news;

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::{Value, json};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::news::News;
use super::{
    access::{AccessError, Caller, Resource, Verb},
    edits::pause,
    objects::Objects,
    refusal::Refusal,
    state::{Facade, gone, is_over, phase},
    views::{Key, View},
};
use crate::{
    chain::chain,
    crd::{
        Progress, ReportedEnd, Task, TaskResult, TaskStatus,
        change::{Ending, Moment, ended, merge_patch, to_millis, touched},
    },
};

/// Time between two writes of a Task's progress.
const EVERY: Duration = Duration::from_secs(1);
/// Looks at a Task that others change at the same time, before the report is given up. Of those who report at once,
/// one gets through each time.
const LOOKS: u16 = 64;
/// When to come back where too many Tasks report.
const RETRY: Duration = Duration::from_secs(2);

/// Takes reports. Clones share everything.
#[derive(Clone)]
pub struct Reports {
    inner: Arc<Inner>,
}

struct Inner {
    tasks: View<Task>,
    objects: Objects,
    limit: usize,
    /// By uid of the Task: what its writer is to write next.
    waiting: Mutex<HashMap<String, Option<Progress>>>,
    writers: TaskTracker,
    shutdown: CancellationToken,
}

impl Reports {
    /// Progress of at most `limit` Tasks is taken at once.
    pub fn new(tasks: View<Task>, objects: Objects, limit: usize, shutdown: CancellationToken) -> Self {
        Self {
            inner: Arc::new(Inner {
                tasks,
                objects,
                limit,
                waiting: Mutex::default(),
                writers: TaskTracker::new(),
                shutdown,
            }),
        }
    }

    /// Takes progress; what a report leaves out stays as it was.
    ///
    /// # Errors
    /// [`Refusal::Conflict`] for a Task that is over, [`Refusal::TooMany`].
    pub fn progress(&self, task: &Task, report: Progress) -> Result<(), Refusal> {
        open(task)?;
        let uid = task.uid().unwrap_or_default();
        let mut waiting = self.waiting();
        let room = waiting.len() < self.inner.limit;
        match waiting.entry(uid.clone()) {
            Entry::Occupied(mut entry) => {
                let older = entry.get_mut().take();
                entry.insert(Some(overlaid(older, report)));
            }
            Entry::Vacant(_) if !room => return Err(Refusal::TooMany { retry: RETRY }),
            Entry::Vacant(entry) => {
                entry.insert(Some(report));
                let (reports, key) = (self.clone(), Key::of(task));
                self.inner
                    .writers
                    .spawn(async move { reports.write_progress(&key, &uid).await });
            }
        }
        Ok(())
    }

    /// Writes news of a Task; returns once it is in view here.
    ///
    /// # Errors
    /// [`Refusal::Conflict`] for a Task that is over or whose end was reported before; the API server refuses or does
    /// not answer.
    pub async fn news(&self, task: &Task, news: &News) -> Result<(), Refusal> {
        let change = |task: &Task, status: &TaskStatus| {
            open(task)?;
            Ok::<_, Refusal>(news.added_to(status, Timestamp::now()))
        };
        let (key, uid) = (Key::of(task), task.uid().unwrap_or_default());
        let written = self.write(&key, &uid, self.inner.tasks.get(&key), change).await?;
        self.seen(written).await;
        Ok(())
    }

    /// Writes the end of a Task, or, where it has a pod to be stopped first, what end it is to have; returns once that is
    /// in view here.
    ///
    /// # Errors
    /// [`Refusal::Conflict`] for a Task that is over or whose end was reported before; the API server refuses or does
    /// not answer.
    pub async fn end(&self, task: &Task, end: &ReportedEnd) -> Result<(), Refusal> {
        self.end_by(task, |_| Ok(end.clone())).await
    }

    /// The same with an end that is decided on the Task as the API server has it then.
    ///
    /// # Errors
    /// What `decide` says, and as [`Self::end`].
    pub async fn end_by<E: From<Refusal>>(
        &self,
        task: &Task,
        decide: impl Fn(&Task) -> Result<ReportedEnd, E>,
    ) -> Result<(), E> {
        let uid = task.uid().unwrap_or_default();
        let last = self.waiting().get_mut(&uid).and_then(Option::take);
        let change = |task: &Task, status: &TaskStatus| {
            let end = decide(task)?;
            open(task)?;
            let status = TaskStatus {
                progress: match &last {
                    Some(report) => Some(overlaid(status.progress.clone(), report.clone())),
                    None => status.progress.clone(),
                },
                ..status.clone()
            };
            Ok::<_, E>(at_end(task, status, &end, Timestamp::now()))
        };
        // From the API server itself: an end is not decided on what may be old.
        let written = self.write(&Key::of(task), &uid, None, change).await?;
        self.seen(written).await;
        Ok(())
    }

    async fn seen(&self, written: Option<Task>) {
        if let Some(task) = written {
            self.inner.tasks.seen(&task).await;
        }
    }

    /// Waits until all that was taken is written. Call after the shutdown.
    pub async fn flush(&self) {
        self.inner.writers.close();
        self.inner.writers.wait().await;
    }

    async fn write_progress(&self, key: &Key, uid: &str) {
        while let Some(report) = self.next(uid) {
            let change = |task: &Task, status: &TaskStatus| {
                open(task)?;
                Ok::<_, Refusal>(progressed(status, &report, Timestamp::now()))
            };
            match self.write(key, uid, self.inner.tasks.get(key), change).await {
                // The Task ended meanwhile, or is gone: nobody misses its progress.
                Ok(_) | Err(Refusal::Conflict(_) | Refusal::NotFound(_)) => {}
                Err(error) => {
                    tracing::warn!(task = %key.name, namespace = %key.namespace, error = %chain(&error), "progress is not written");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = self.inner.shutdown.cancelled() => {}
            }
        }
    }

    /// What is to be written next. Nothing: the writer's place is free again.
    fn next(&self, uid: &str) -> Option<Progress> {
        let mut waiting = self.waiting();
        let next = waiting.get_mut(uid).and_then(Option::take);
        if next.is_none() {
            waiting.remove(uid);
        }
        next
    }

    /// Makes `change` to the status, on the `known` state of the Task or on a fresh one. The Task as it was written;
    /// `None` where nothing had to be.
    async fn write<E: From<Refusal>>(
        &self,
        key: &Key,
        uid: &str,
        mut known: Option<Arc<Task>>,
        change: impl Fn(&Task, &TaskStatus) -> Result<TaskStatus, E>,
    ) -> Result<Option<Task>, E> {
        for look in 0..LOOKS {
            // Soon after the first conflict most others are done; who collided again must not do so for ever.
            if look > 1 {
                tokio::time::sleep(pause(look)).await;
            }
            let task = match known.take() {
                Some(task) => task,
                None => Arc::new(self.inner.objects.get(key).await?.ok_or_else(|| gone(key))?),
            };
            if task.uid().as_deref() != Some(uid) {
                return Err(gone(key).into());
            }
            let old = task.status.clone().unwrap_or_default();
            let next = change(&task, &old)?;
            let Some(status) = merge_patch(&value(&old), &value(&next)) else {
                return Ok(None);
            };
            let version = task.resource_version();
            let patch = json!({"metadata": {"uid": uid, "resourceVersion": version}, "status": status});
            match self.inner.objects.merge_status::<Task>(key, patch).await {
                Err(Refusal::Conflict(_)) => {}
                outcome => return outcome.map(Some).map_err(E::from),
            }
        }
        let crowd = format!("Task {} is changed by others again and again", key.name);
        Err(Refusal::Unavailable(crowd).into())
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<String, Option<Progress>>> {
        self.inner.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The Task, without bodies and log, for a caller who may report on it: one of its own pods, or somebody who may patch
/// the status of Tasks.
///
/// # Errors
/// [`Refusal::Forbidden`], [`Refusal::NotFound`], or the API server does not answer.
pub async fn reportable(facade: &Facade, caller: &Caller, key: &Key) -> Result<Arc<Task>, Refusal> {
    let Some(pod) = &caller.pod else {
        let (verb, resource) = (Verb::Patch, Resource::TaskStatus);
        facade
            .authorize(caller, verb, resource, &key.namespace, Some(&key.name))
            .await?;
        return facade.task(key).await?.ok_or_else(|| gone(key));
    };
    // A pod does not learn which other Tasks there are.
    let task = match pod.namespace == key.namespace {
        true => facade.task(key).await?,
        false => None,
    };
    let task = task.ok_or(AccessError::PodOnly)?;
    facade.access.owns(caller, &task).await?;
    Ok(task)
}

/// Refuses reports on a Task whose end is known.
fn open(task: &Task) -> Result<(), Refusal> {
    let name = task.name_any();
    if is_over(task) {
        let phase = phase(task);
        return Err(Refusal::Conflict(format!(
            "Task {name} is over ({phase}): nothing more can be reported on it"
        )));
    }
    if task
        .status
        .as_ref()
        .is_some_and(|status| status.reported_end.is_some())
    {
        return Err(Refusal::Conflict(format!(
            "the end of Task {name} has been reported already: nothing more can be reported on it"
        )));
    }
    Ok(())
}

/// A report laid over an older one; steps go together, and so does the percentage that they make.
fn overlaid(older: Option<Progress>, report: Progress) -> Progress {
    let older = older.unwrap_or_default();
    let steps = match (report.current, report.maximum) {
        (None, None) => (older.current, older.maximum),
        (current, maximum) => (current.or(older.current), maximum.or(older.maximum)),
    };
    let counted = || match steps {
        (Some(current), Some(maximum)) if report.current.is_some() || report.maximum.is_some() => {
            percent_of(current, maximum)
        }
        _ => older.percent,
    };
    Progress {
        percent: report.percent.or_else(counted),
        title: report.title.or(older.title),
        current: steps.0,
        maximum: steps.1,
        message: report.message.or(older.message),
    }
}

/// Rounded down; all of it where there is less to do than was done.
fn percent_of(current: i64, maximum: i64) -> Option<u8> {
    let percent = i128::from(current.max(0)) * 100 / i128::from(maximum.max(1));
    u8::try_from(percent.min(100)).ok()
}

fn progressed(old: &TaskStatus, report: &Progress, now: Timestamp) -> TaskStatus {
    let progress = Some(overlaid(old.progress.clone(), report.clone()));
    let modified_at = match progress == old.progress {
        true => old.modified_at,
        false => Some(to_millis(now)),
    };
    TaskStatus {
        progress,
        modified_at,
        ..old.clone()
    }
}

/// The status of a Task whose end is reported.
fn at_end(task: &Task, old: TaskStatus, end: &ReportedEnd, now: Timestamp) -> TaskStatus {
    if task.spec.external.is_none() {
        return TaskStatus {
            reported_end: Some(end.clone()),
            modified_at: Some(to_millis(now)),
            ..old
        };
    }
    let moment = Moment {
        now,
        generation: task.metadata.generation,
        issued_at: task.creation_timestamp().map_or(now, |time| time.0),
    };
    let result = end.result.clone().unwrap_or_else(|| TaskResult {
        status: end.phase.http_status(),
        size_bytes: Some(0),
        ..TaskResult::default()
    });
    let base = TaskStatus {
        result: Some(result),
        ..old.clone()
    };
    let ending = Ending {
        phase: end.phase.phase(),
        reason: ReportedEnd::REASON,
        message: end.words(),
        code: end.phase.code(),
        finished_at: now,
    };
    touched(&old, ended(base, &ending, moment), moment)
}

fn value(status: &TaskStatus) -> Value {
    // Maps have string keys and numbers are finite or become null: serialization cannot fail.
    serde_json::to_value(status).unwrap_or_default()
}

#[cfg(test)]
mod tests;
