//! Tasks are desired and read.

use std::sync::Arc;

use axum::extract::State;
use kube::ResourceExt as _;
use prost::Message as _;

use super::{
    downgrade::without_layers,
    failure::{Failure, bad_request, error, exists, invalid},
    find,
    map::{self, Wanted},
    messages::{
        self, DesireTaskRequest, ErrorType, TaskDefinition, TaskGuidRequest, TaskResponse, TasksRequest,
        TasksResponse,
    },
    names, validate, view,
    wire::{Answer, Done, Sent},
};
use crate::{
    crd::Task,
    facade::{
        access::{Caller, Resource, Verb},
        extract::Asker,
        refusal::Refusal,
        state::Facade,
        views::{Facet, Key},
    },
};

/// `tasks/desire.r2`. The Task is stored when this answers: a client that hears nothing asks again, and is then told that
/// the task exists.
pub async fn desire(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    Sent(request): Sent<DesireTaskRequest>,
) -> Result<Done, Failure> {
    let bytes = request.task_definition.as_deref();
    let definition = bytes
        .map(TaskDefinition::decode)
        .transpose()
        .map_err(|_| bad_request())?;
    let (guid, domain) = (&request.task_guid, &request.domain);
    validate::desire(guid, domain, definition.as_ref())?;
    let home = find::home(&facade, &caller).await?;
    facade
        .authorize(&caller, Verb::Create, Resource::Tasks, &home, None)
        .await?;
    let wanted = Wanted {
        guid,
        domain,
        bytes: bytes.unwrap_or_default(),
        definition: &definition.unwrap_or_default(),
    };
    let made = map::task(&wanted, &facade.config.dialects.diego);
    let mut task = made.map_err(|unsupported| invalid(unsupported.to_string()))?;
    // A guid that is the name of a Task that was made elsewhere stands for that one.
    if facade.views.tasks.get(&Key::new(&home, guid)).is_some() {
        return Err(exists());
    }
    task.metadata.namespace = Some(home);
    match facade.objects.create(&task).await {
        Ok(task) => facade.views.tasks.seen(&task).await,
        Err(Refusal::Conflict(_)) => return Err(exists()),
        // The namespace, since the task is new.
        Err(Refusal::NotFound(what)) => return Err(invalid(what)),
        Err(other) => return Err(other.into()),
    }
    Ok(Done)
}

/// `tasks/list.r3`
pub async fn list(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    Sent(request): Sent<TasksRequest>,
) -> Result<Answer<TasksResponse>, Failure> {
    let tasks = listed(&facade, &caller, &request).await?;
    Ok(Answer(TasksResponse { error: None, tasks }))
}

/// `tasks/list.r2`
pub async fn list_without_layers(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    Sent(request): Sent<TasksRequest>,
) -> Result<Answer<TasksResponse>, Failure> {
    let tasks = listed(&facade, &caller, &request).await?;
    let tasks = tasks.into_iter().map(older).collect::<Result<_, _>>()?;
    Ok(Answer(TasksResponse { error: None, tasks }))
}

/// `tasks/get_by_task_guid.r3`
pub async fn get(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    Sent(request): Sent<TaskGuidRequest>,
) -> Result<Answer<TaskResponse>, Failure> {
    let task = Some(got(&facade, &caller, &request).await?);
    Ok(Answer(TaskResponse { error: None, task }))
}

/// `tasks/get_by_task_guid.r2`
pub async fn get_without_layers(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    Sent(request): Sent<TaskGuidRequest>,
) -> Result<Answer<TaskResponse>, Failure> {
    let task = Some(older(got(&facade, &caller, &request).await?)?);
    Ok(Answer(TaskResponse { error: None, task }))
}

/// The task for clients who know no image layers.
pub fn older(task: messages::Task) -> Result<messages::Task, Failure> {
    let definition = task.task_definition.as_deref().map(without_layers).transpose();
    let unread = |_| error(ErrorType::Deserialize, "could not deserialize record");
    Ok(messages::Task {
        task_definition: definition.map_err(unread)?,
        ..task
    })
}

async fn got(facade: &Facade, caller: &Caller, request: &TaskGuidRequest) -> Result<messages::Task, Failure> {
    validate::named(request)?;
    let may = (Verb::Get, Resource::Tasks);
    let task = find::task(facade, caller, may, &request.task_guid).await?;
    let whole = whole(facade, task).await?;
    Ok(view::task(&whole, &find::origin(facade, &whole)))
}

/// The Task with its result, where it has one that counts. One that is gone meanwhile stays as it was known.
pub async fn whole(facade: &Facade, task: Arc<Task>) -> Result<Arc<Task>, Failure> {
    if !view::lacks_result(&task) {
        return Ok(task);
    }
    let whole: Option<Task> = facade.objects.get(&Key::of(task.as_ref())).await?;
    let whole = whole.filter(|whole| whole.uid() == task.uid());
    Ok(whole.map_or(task, Arc::new))
}

async fn listed(
    facade: &Facade,
    caller: &Caller,
    request: &TasksRequest,
) -> Result<Vec<messages::Task>, Failure> {
    let home = find::home(facade, caller).await?;
    facade
        .authorize(caller, Verb::List, Resource::Tasks, &home, None)
        .await?;
    let (domain, cell) = (&request.domain, &request.cell_id);
    let wanted = |task: &Arc<Task>| {
        let of_domain = domain.is_empty() || task.spec.domain.as_deref() == Some(domain);
        of_domain && (cell.is_empty() || view::standing(task).cell == *cell)
    };
    let mut tasks = facade.views.tasks.by_facet(&Facet::Namespace(home.clone()));
    tasks.retain(wanted);
    let tasks = with_results(facade, &home, tasks).await?;
    let shown = |task: &Arc<Task>| view::task(task, &find::origin(facade, task));
    Ok(tasks.iter().map(shown).collect())
}

/// The Tasks with their results. Few have one: finished tasks of this API go soon. Where there are several, they come in
/// one list.
async fn with_results(
    facade: &Facade,
    home: &str,
    mut tasks: Vec<Arc<Task>>,
) -> Result<Vec<Arc<Task>>, Failure> {
    const SEVERAL: usize = 3;
    let lacking = |task: &Arc<Task>| names::guid(task).is_some() && view::lacks_result(task);
    if tasks.iter().filter(|task| lacking(task)).count() < SEVERAL {
        for task in tasks.iter_mut().filter(|task| lacking(task)) {
            *task = whole(facade, task.clone()).await?;
        }
        return Ok(tasks);
    }
    let mut wholes = std::collections::HashMap::new();
    let labels = format!("{}={}", names::LABEL, names::LABEL_VALUE);
    let take = |task: Task| {
        if let Some(uid) = task.uid() {
            wholes.insert(uid, Arc::new(task));
        }
    };
    facade.objects.list(home, &labels, take).await?;
    for task in tasks.iter_mut().filter(|task| lacking(task)) {
        if let Some(whole) = task.uid().and_then(|uid| wholes.remove(&uid)) {
            *task = whole;
        }
    }
    Ok(tasks)
}
