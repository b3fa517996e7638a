//! Calls that move a task on. Of several that come at once each is decided on what the API server says then, and written
//! only where nothing has changed since: none is lost and none counts twice.

use axum::extract::State;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::{
    failure::{Failure, not_found},
    find,
    messages::{
        CompleteTaskRequest, FailTaskRequest, RejectTaskRequest, StartTaskRequest, StartTaskResponse,
        TaskGuidRequest,
    },
    names::MARKS,
    transit::{self, Start, Write},
    validate,
    view::nanoseconds,
    wire::{Answer, Done, Sent},
};
use crate::{
    crd::Task,
    facade::{
        access::{Caller, Resource, Verb},
        edits::pause,
        extract::Asker,
        refusal::Refusal,
        state::Facade,
        views::Key,
    },
};

/// How often a change is tried that others come before. Of those who try at once, one gets through each time.
const TRIES: u16 = 64;

/// What is needed to say what is to become of a task.
const CHANGE: (Verb, Resource) = (Verb::Patch, Resource::Tasks);
/// To have it gone.
const DELETE: (Verb, Resource) = (Verb::Delete, Resource::Tasks);
/// To tell how the work goes, as cells do.
const REPORT: (Verb, Resource) = (Verb::Patch, Resource::TaskStatus);

/// `tasks/cancel`
pub async fn cancel(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    Sent(request): Sent<TaskGuidRequest>,
) -> Result<Done, Failure> {
    validate::named(&request)?;
    let found = Found::task(&facade, &caller, CHANGE, &request.task_guid).await?;
    found
        .write(|task| Ok((Some(transit::cancel(task, now())?), Done)))
        .await
}

/// `tasks/resolving`
pub async fn resolving(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    Sent(request): Sent<TaskGuidRequest>,
) -> Result<Done, Failure> {
    validate::named(&request)?;
    let found = Found::task(&facade, &caller, CHANGE, &request.task_guid).await?;
    found
        .write(|task| Ok((Some(transit::resolving(task, now())?), Done)))
        .await
}

/// `tasks/delete`
pub async fn delete(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    Sent(request): Sent<TaskGuidRequest>,
) -> Result<Done, Failure> {
    validate::named(&request)?;
    let found = Found::task(&facade, &caller, DELETE, &request.task_guid).await?;
    found.delete(transit::delete).await?;
    Ok(Done)
}

/// `tasks/start`
pub async fn start(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    Sent(request): Sent<StartTaskRequest>,
) -> Result<Answer<StartTaskResponse>, Failure> {
    validate::start(&request)?;
    let found = Found::task(&facade, &caller, REPORT, &request.task_guid).await?;
    let decide = |task: &Task| match transit::start(task, &request.cell_id, now())? {
        Start::Granted(write) => Ok((Some(write), true)),
        Start::Running => Ok((None, false)),
    };
    let should_start = found.write(decide).await?;
    Ok(Answer(StartTaskResponse {
        error: None,
        should_start,
    }))
}

/// `tasks/complete`
pub async fn complete(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    Sent(request): Sent<CompleteTaskRequest>,
) -> Result<Done, Failure> {
    validate::complete(&request)?;
    let found = Found::task(&facade, &caller, REPORT, &request.task_guid).await?;
    let reports = &facade.reports;
    reports
        .end_by(&found.task, |task| {
            found.is(task, transit::complete(task, &request))
        })
        .await?;
    Ok(Done)
}

/// `tasks/fail`
pub async fn fail(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    Sent(request): Sent<FailTaskRequest>,
) -> Result<Done, Failure> {
    validate::fail(&request)?;
    let found = Found::task(&facade, &caller, REPORT, &request.task_guid).await?;
    found.fail(&request.failure_reason).await
}

/// `tasks/reject`. Who dies between the two writes of the last rejection leaves a task that is Pending, and whose next
/// rejection fails it: as at the real server.
pub async fn reject(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    Sent(request): Sent<RejectTaskRequest>,
) -> Result<Done, Failure> {
    validate::reject(&request)?;
    let found = Found::task(&facade, &caller, REPORT, &request.task_guid).await?;
    let (reason, retries) = (&request.rejection_reason, facade.config.dialects.diego.retries);
    let decide = |task: &Task| {
        let rejected = transit::reject(task, reason, retries, now())?;
        Ok((Some(rejected.write), rejected.exhausted))
    };
    match found.write(decide).await? {
        true => found.fail(reason).await,
        false => Ok(Done),
    }
}

fn now() -> i64 {
    nanoseconds(Timestamp::now())
}

/// A task that a call is about.
struct Found<'a> {
    facade: &'a Facade,
    guid: &'a str,
    task: std::sync::Arc<Task>,
    key: Key,
}

impl<'a> Found<'a> {
    async fn task(
        facade: &'a Facade,
        caller: &Caller,
        may: (Verb, Resource),
        guid: &'a str,
    ) -> Result<Self, Failure> {
        let task = find::task(facade, caller, may, guid).await?;
        Ok(Self {
            facade,
            guid,
            key: Key::of(task.as_ref()),
            task,
        })
    }

    /// What was decided, unless this is another object that only has the name of the one that was found.
    fn is<T>(&self, task: &Task, decided: Result<T, Failure>) -> Result<T, Failure> {
        match find::is(task, self.guid) {
            true => decided,
            false => Err(not_found()),
        }
    }

    /// The Task as the API server has it now.
    async fn fresh(&self) -> Result<Task, Failure> {
        let task: Option<Task> = self.facade.objects.get(&self.key).await?;
        task.filter(|task| find::is(task, self.guid))
            .ok_or_else(not_found)
    }

    /// Decides on a fresh Task what to write and writes it, again where something has changed meanwhile; returns what was
    /// decided once it is in view here.
    async fn write<T>(
        &self,
        decide: impl Fn(&Task) -> Result<(Option<Write>, T), Failure>,
    ) -> Result<T, Failure> {
        for turn in 0..TRIES {
            let task = self.fresh().await?;
            let (write, decided) = decide(&task)?;
            let Some(write) = write else {
                return Ok(decided);
            };
            match self
                .facade
                .objects
                .merge::<Task>(&self.key, patch(&task, &write))
                .await
            {
                Err(Refusal::Conflict(_)) => tokio::time::sleep(pause(turn)).await,
                written => {
                    self.facade.views.tasks.seen(&written?).await;
                    return Ok(decided);
                }
            }
        }
        Err(self.crowded())
    }

    /// Deletes the Task where it may be; returns once it is out of view here.
    async fn delete(&self, decide: impl Fn(&Task) -> Result<(), Failure>) -> Result<(), Failure> {
        for turn in 0..TRIES {
            let task = self.fresh().await?;
            decide(&task)?;
            match self.facade.objects.delete_as(&task).await {
                Err(Refusal::Conflict(_)) => tokio::time::sleep(pause(turn)).await,
                deleted => {
                    deleted?;
                    self.facade.views.tasks.gone(&task).await;
                    return Ok(());
                }
            }
        }
        Err(self.crowded())
    }

    async fn fail(&self, reason: &str) -> Result<Done, Failure> {
        let reports = &self.facade.reports;
        reports
            .end_by(&self.task, |task| self.is(task, transit::fail(task, reason)))
            .await?;
        Ok(Done)
    }

    fn crowded(&self) -> Failure {
        Refusal::Unavailable(format!("too many change task {} at once", self.guid)).into()
    }
}

/// Holds only for the Task as it was read.
fn patch(task: &Task, write: &Write) -> Value {
    let mut patch = json!({"metadata": {
        "uid": task.uid(), "resourceVersion": task.resource_version(),
        "annotations": {MARKS: write.marks.to_text()},
    }});
    if write.cancel {
        patch["spec"] = json!({"cancel": true});
    }
    patch
}
