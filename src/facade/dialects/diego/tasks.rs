//! Tasks are desired and read.

use std::sync::Arc;

use axum::extract::State;
use kube::ResourceExt as _;
use prost::Message as _;

use super::{
    downgrade::without_layers,
    failure::{Failure, bad_request, error, exists, invalid},
    fields::Malformed,
    find,
    map::{self, Hidden, Unsupported, Wanted},
    messages::{
        self, DesireTaskRequest, ErrorType, TaskDefinition, TaskGuidRequest, TaskResponse, TasksRequest,
        TasksResponse,
    },
    names, password, pull, validate, view,
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
        hidden: hidden(&facade, &caller, &home, guid, bytes.unwrap_or_default()).await?,
    };
    let made = map::task(&wanted, &facade.config.dialects.diego);
    let mut task = made.map_err(|unsupported| invalid(unsupported.to_string()))?;
    // A guid that is the name of a Task that was made elsewhere stands for that one.
    if facade.views.tasks.get(&Key::new(&home, guid)).is_some() {
        return Err(exists());
    }
    task.metadata.namespace = Some(home);
    let made = match facade.objects.create(&task).await {
        Ok(made) => made,
        Err(Refusal::Conflict(_)) => unfinished(&facade, &task, &wanted).await?,
        // The namespace, since the task is new.
        Err(Refusal::NotFound(what)) => return Err(invalid(what)),
        Err(other) => return Err(other.into()),
    };
    let made = match made.spec.suspend {
        Some(true) => pull::provide(&facade, &made, pull::image(&task), wanted.definition).await?,
        _ => made,
    };
    facade.views.tasks.seen(&made).await;
    Ok(Done)
}

/// What of a definition nobody is to read in the Task; `None` where there is no such thing. Who sends a password asks for a
/// Secret that holds it.
async fn hidden(
    facade: &Facade,
    caller: &Caller,
    home: &str,
    guid: &str,
    definition: &[u8],
) -> Result<Option<Hidden>, Failure> {
    let parted = password::part(definition).map_err(|Malformed| bad_request())?;
    let Some(parted) = parted else {
        return Ok(None);
    };
    let keys = facade.config.dialects.diego.keys.as_ref();
    let keys = keys.ok_or_else(|| invalid(Unsupported::Credentials.to_string()))?;
    facade
        .authorize(caller, Verb::Create, Resource::Secrets, home, None)
        .await?;
    let name = names::object_name(guid);
    let sealed = parted.seal(keys, home, &name);
    let sealed = sealed.map_err(|error| Refusal::Internal(error.to_string()))?;
    // Of its own for each Task, since that of an earlier one under its name may not be gone yet.
    let own = uuid::Uuid::new_v4().simple().to_string();
    let own: String = own.chars().take(8).collect();
    Ok(Some(Hidden {
        rest: parted.rest,
        sealed,
        secret: format!("{name}-{own}"),
    }))
}

/// The Task that an earlier request for the very same left without its Secret.
///
/// # Errors
/// There is another one.
async fn unfinished(facade: &Facade, task: &Task, wanted: &Wanted<'_>) -> Result<Task, Failure> {
    let keys = facade.config.dialects.diego.keys.as_ref();
    let found: Option<Task> = facade.objects.get(&Key::of(task)).await?;
    let same = |found: &Task| {
        found.spec.suspend == Some(true)
            && found.spec.domain.as_deref() == Some(wanted.domain)
            && keys.and_then(|keys| password::whole(found, keys)).as_deref() == Some(wanted.bytes)
    };
    found.filter(same).ok_or_else(exists)
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
    let home = whole.metadata.namespace.clone().unwrap_or_default();
    let sees = find::sees(facade, caller, &home, std::iter::once(whole.as_ref())).await?;
    Ok(view::task(&whole, &find::origin(facade, &whole, sees)))
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
    let sees = find::sees(facade, caller, &home, tasks.iter().map(Arc::as_ref)).await?;
    let shown = |task: &Arc<Task>| view::task(task, &find::origin(facade, task, sees));
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
