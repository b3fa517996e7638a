//! `/v1/executions`.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::ResourceExt as _;
use uuid::Uuid;

use super::{
    failure::{Refused, fault},
    fields::{self, Fields},
    filters::Filters,
    find, inputs,
    map::{self, Extra},
    package::is_image,
    scope::{home, listed},
    target::{Target, resolve},
    wire::{Execution, Executions},
};
use crate::{
    crd::{Function, FunctionRef, Task, TaskSpec},
    facade::{
        access::{Resource, Verb},
        extract::{Asker, PathOf, Payload, QueryOf, text},
        refusal::Refusal,
        state::{Facade, is_over},
        views::Key,
    },
};

/// Longest wait of a call for the end of its execution: the longest time limit of a function and a minute for its
/// start. The execution goes on, and the answer says that it runs.
const SYNC_LIMIT: Duration = Duration::from_secs(360);
/// More whole Tasks than this are read in a list.
const FEW: usize = 32;
/// Whole Tasks that are read at once.
const AT_ONCE: usize = 8;

const WRITABLE: [&str; 7] = [
    "id",
    "function_id",
    "function_version",
    "function_alias",
    "description",
    "sync",
    "input",
];
const READ_ONLY: [&str; 5] = ["status", "result", "project_id", "created_at", "updated_at"];
const FILTERS: [&str; 4] = ["function_id", "status", "description", "project_id"];

/// Runs a function
///
/// With `sync` (the default) the answer comes once the execution is over. Fields: `function_id` or `function_alias`,
/// `function_version`, `description`, `sync`, and `input`, a text. A JSON object in it holds arguments by name.
#[utoipa::path(
    post, path = "/v1/executions", tag = "qinling", operation_id = "qinlingCreateExecution",
    request_body(content = serde_json::Value, description = "The execution"),
    responses((status = 201, description = "The execution, also where it failed", body = Execution), Refused),
    security(("token" = [])),
)]
pub async fn create(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    Payload(body): Payload,
) -> Result<(StatusCode, Json<Execution>), Refusal> {
    let order = Order::read(&body)?;
    let namespace = home(&facade, &caller, &[(Verb::Create, Resource::Tasks)]).await?;
    let (function, version) = resolve(&facade, &namespace, &order.target).await?;
    let task = order.task(&function, version, &caller.user);
    let made = submit(&facade, &task).await?;
    let shown = if order.sync {
        let key = Key::of(&made);
        facade.wait_for_end(&key, SYNC_LIMIT).await;
        let ended: Option<Task> = facade.objects.get(&key).await?;
        ended.ok_or_else(|| Refusal::NotFound(format!("Execution not found [id={}]", key.name)))?
    } else {
        made
    };
    Ok((StatusCode::CREATED, Json(show(&facade, &shown))))
}

/// Hands a Task in.
pub async fn submit(facade: &Facade, task: &Task) -> Result<Task, Refusal> {
    match facade.objects.create(task).await {
        // This API answers so where an id is taken.
        Err(Refusal::Conflict(_)) => {
            let taken = format!("Duplicate entry for executions: ['id'] {}", task.name_any());
            Err(Refusal::Invalid(taken))
        }
        made => made,
    }
}

/// What is to be run, as it was asked for.
struct Order {
    id: String,
    target: Target,
    description: Option<String>,
    sync: bool,
    input: Option<String>,
}

impl Order {
    fn read(body: &[u8]) -> Result<Self, Refusal> {
        let fields = Fields::read(body, &WRITABLE, &READ_ONLY)?;
        Ok(Self {
            target: Target::read(&fields)?,
            id: fields.id("id")?.unwrap_or_else(|| Uuid::new_v4().to_string()),
            description: fields.short_text("description", 4096)?,
            sync: fields.boolean("sync")?.unwrap_or(!fields.has("sync")),
            input: fields.text("input")?,
        })
    }

    fn task(&self, function: &Function, version: i64, owner: &str) -> Task {
        let words = is_image(function);
        let spec = TaskSpec {
            function_ref: Some(FunctionRef {
                name: function.name_any(),
                version: (version > 0).then_some(version),
            }),
            input: inputs::input(self.input.as_deref(), words),
            description: self.description.clone(),
            owner: Some(owner.to_owned()),
            ..TaskSpec::default()
        };
        let mut task = Task::new(&self.id, spec);
        task.metadata.namespace = function.namespace();
        let extra = Extra {
            alias: self.target.alias().map(str::to_owned),
            sync: self.sync,
        };
        extra.note(&mut task);
        task
    }
}

fn show(facade: &Facade, task: &Task) -> Execution {
    map::execution(task, find::function_id(facade, task))
}

/// Executions
///
/// The oldest first. Each of `function_id`, `status`, `description` and `project_id` may hold a value or
/// `OP:value`, OP being one of eq, neq, gt, gte, lt, lte, has, in and nin.
#[utoipa::path(
    get, path = "/v1/executions", tag = "qinling", operation_id = "qinlingListExecutions",
    params(
        ("function_id" = Option<String>, Query), ("status" = Option<String>, Query),
        ("description" = Option<String>, Query), ("project_id" = Option<String>, Query),
        ("all_projects" = Option<String>, Query, description = "true: of every namespace"),
    ),
    responses((status = 200, description = "The executions", body = Executions), Refused),
    security(("token" = [])),
)]
pub async fn list(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    QueryOf(query): QueryOf<BTreeMap<String, String>>,
) -> Result<Json<Executions>, Refusal> {
    let filters = Filters::read(query, &FILTERS)?;
    let mut admitted = listed(&facade, &caller, (&facade.views.tasks, Resource::Tasks), &filters).await?;
    admitted.retain(|task| admit(&facade, &filters, task));
    let mut whole = whole(&facade, admitted).await?;
    whole.sort_by_cached_key(|task| (task.creation_timestamp(), map::id(task)));
    let executions = whole.iter().map(|task| show(&facade, task)).collect();
    Ok(Json(Executions { executions }))
}

fn admit(facade: &Facade, filters: &Filters, task: &Task) -> bool {
    let function = find::function_id(facade, task);
    filters.admit(|field| match field {
        "function_id" => function.as_deref(),
        "status" => Some(map::status(task)),
        "description" => task.spec.description.as_deref(),
        "project_id" => task.metadata.namespace.as_deref(),
        _ => None,
    })
}

/// The Tasks with their inputs and results, which views leave out. Those that are gone meanwhile are left out.
async fn whole(facade: &Facade, seen: Vec<Arc<Task>>) -> Result<Vec<Task>, Refusal> {
    let keys: HashSet<Key> = seen.iter().map(|task| Key::of(task.as_ref())).collect();
    if keys.len() <= FEW {
        let read = |key: Key| {
            let objects = facade.objects.clone();
            async move { objects.get::<Task>(&key).await }
        };
        let reads = stream::iter(keys).map(read).buffer_unordered(AT_ONCE);
        let found: Vec<Option<Task>> = reads.try_collect().await?;
        return Ok(found.into_iter().flatten().collect());
    }
    let namespaces: HashSet<&str> = keys.iter().map(|key| key.namespace.as_str()).collect();
    let mut tasks = Vec::with_capacity(keys.len());
    for namespace in namespaces {
        let take = |task: Task| {
            if keys.contains(&Key::of(&task)) {
                tasks.push(task);
            }
        };
        facade.objects.list(namespace, "", take).await?;
    }
    Ok(tasks)
}

/// One execution
#[utoipa::path(
    get, path = "/v1/executions/{id}", tag = "qinling", operation_id = "qinlingGetExecution",
    params(("id" = String, Path, description = "Execution")),
    responses((status = 200, description = "The execution", body = Execution), Refused),
    security(("token" = [])),
)]
pub async fn get(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf(id): PathOf<String>,
) -> Result<Json<Execution>, Refusal> {
    let id = fields::id("id", &id)?;
    let seen = find::task(&facade, &caller, Verb::Get, &id).await?;
    let whole: Option<Task> = facade.objects.get(&Key::of(seen.as_ref())).await?;
    let task = whole.ok_or_else(|| Refusal::NotFound(format!("Execution not found [id={id}]")))?;
    Ok(Json(show(&facade, &task)))
}

/// Deletes an execution
///
/// One that runs is stopped.
#[utoipa::path(
    delete, path = "/v1/executions/{id}", tag = "qinling", operation_id = "qinlingDeleteExecution",
    params(("id" = String, Path, description = "Execution")),
    responses((status = 204, description = "It is gone"), Refused),
    security(("token" = [])),
)]
pub async fn delete(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf(id): PathOf<String>,
) -> Result<StatusCode, Refusal> {
    let id = fields::id("id", &id)?;
    let task = find::task(&facade, &caller, Verb::Delete, &id).await?;
    let key = Key::of(task.as_ref());
    facade.objects.delete::<Task>(&key).await?;
    facade.views.tasks.gone(&task).await;
    Ok(StatusCode::NO_CONTENT)
}

/// What an execution wrote
///
/// The end of its log as text, once it is over; 204 before.
#[utoipa::path(
    get, path = "/v1/executions/{id}/log", tag = "qinling", operation_id = "qinlingGetLog",
    params(("id" = String, Path, description = "Execution")),
    responses(
        (status = 200, description = "The log", content_type = "text/plain", body = String),
        (status = 204, description = "There is no log yet"),
        (status = 406, description = "A log is text and nothing else", body = super::failure::Fault),
        Refused,
    ),
    security(("token" = [])),
)]
pub async fn log(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf(id): PathOf<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let none = || Refusal::NotFound(format!("Execution not found [id={id}]"));
    let uuid = fields::id("id", &id).map_err(|_| none())?;
    if !takes_text(text(&headers, header::ACCEPT)) {
        let sentence = "a log is text/plain".to_owned();
        return Ok(fault(StatusCode::NOT_ACCEPTABLE, sentence));
    }
    let seen = find::task(&facade, &caller, Verb::Get, &uuid).await?;
    if !is_over(&seen) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let whole: Option<Task> = facade.objects.get(&Key::of(seen.as_ref())).await?;
    let status = whole.ok_or_else(none)?.status.unwrap_or_default();
    Ok(match status.logs {
        Some(logs) => {
            let media = [(header::CONTENT_TYPE, "text/plain; charset=UTF-8")];
            (media, logs.tail).into_response()
        }
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

fn takes_text(accept: Option<&str>) -> bool {
    let Some(accept) = accept else { return true };
    let mut ranges = accept
        .split(',')
        .map(|range| range.split(';').next().unwrap_or_default().trim());
    ranges.any(|range| matches!(range, "" | "*/*" | "text/*" | "text/plain"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_goes_to_whoever_takes_text() {
        for (accept, takes) in [
            (None, true),
            (Some("*/*"), true),
            (Some("application/json, text/plain;q=0.5"), true),
            (Some("text/*"), true),
            (Some("application/json"), false),
        ] {
            assert_eq!(takes_text(accept), takes, "{accept:?}");
        }
    }

    #[test]
    fn a_call_waits_unless_it_says_otherwise() {
        let function = "\"function_id\": \"0f1e2d3c-4b5a-4978-8069-1a2b3c4d5e6f\"";
        for (more, sync) in [
            ("", true),
            (", \"sync\": true", true),
            (", \"sync\": \"false\"", false),
            (", \"sync\": null", false),
        ] {
            let order = Order::read(format!("{{{function}{more}}}").as_bytes()).unwrap();
            assert_eq!(order.sync, sync, "{more}");
        }
    }
}
