//! Reading Tasks, and stopping them.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use kube::{Resource as _, ResourceExt as _};
use serde::Deserialize;
use utoipa::IntoParams;

use super::wire::{Pending, Refused, Summaries, Summary, Wait};
use crate::{
    crd::Task,
    facade::{
        access::{Caller, Resource, Verb},
        docs::TaskObject,
        extract::{Asker, PathOf, QueryOf},
        refusal::Refusal,
        results,
        state::{Facade, gone, is_over, phase},
        views::{Facet, Key},
    },
};

/// Header of a result: the Task's phase.
const PHASE: HeaderName = HeaderName::from_static("errand-phase");
/// Header of a result: its status, as HTTP would put it.
const STATUS: HeaderName = HeaderName::from_static("errand-result-status");
/// Tasks in a list where the client names no number.
const DEFAULT_LIMIT: u16 = 500;

/// What a list is narrowed to.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Narrow {
    /// Only Tasks of this Function.
    function: Option<String>,
    /// So many at most, the newest first.
    #[param(minimum = 1, maximum = 10000, default = 500)]
    limit: Option<u16>,
}

/// Tasks of a namespace
#[utoipa::path(
    get, path = "/errand/v1/namespaces/{namespace}/tasks", tag = "errand", operation_id = "errandListTasks",
    params(("namespace" = String, Path, description = "Namespace"), Narrow),
    responses((status = 200, description = "The Tasks", body = Summaries), Refused),
    security(("token" = [])),
)]
pub async fn list(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf(namespace): PathOf<String>,
    QueryOf(narrow): QueryOf<Narrow>,
) -> Result<Json<Summaries>, Refusal> {
    facade
        .authorize(&caller, Verb::List, Resource::Tasks, &namespace, None)
        .await?;
    let limit = narrow.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=10_000).contains(&limit) {
        return Err(Refusal::Invalid("limit must be between 1 and 10000".into()));
    }
    let facet = match narrow.function {
        Some(function) => Facet::Function(Key::new(namespace, function)),
        None => Facet::Namespace(namespace),
    };
    let mut tasks = facade.views.tasks.by_facet(&facet);
    tasks.sort_by_key(|task| std::cmp::Reverse(task.creation_timestamp()));
    let items = tasks
        .iter()
        .take(usize::from(limit))
        .map(|task| Summary::from(task.as_ref()));
    Ok(Json(Summaries {
        items: items.collect(),
    }))
}

/// One Task
///
/// The whole object, as Kubernetes has it.
#[utoipa::path(
    get, path = "/errand/v1/namespaces/{namespace}/tasks/{name}", tag = "errand", operation_id = "errandGetTask",
    params(("namespace" = String, Path, description = "Namespace"), ("name" = String, Path, description = "Task"), Wait),
    responses((status = 200, description = "The Task", body = TaskObject), Refused),
    security(("token" = [])),
)]
pub async fn get(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf((namespace, name)): PathOf<(String, String)>,
    QueryOf(wait): QueryOf<Wait>,
) -> Result<Json<Task>, Refusal> {
    let limit = wait.limit()?;
    let key = Key::new(namespace, name);
    let mut task = whole(&facade, &caller, &key).await?;
    if let Some(limit) = limit.filter(|_| !is_over(&task)) {
        facade.wait_for_end(&key, limit).await;
        task = fetch(&facade, &key).await?;
    }
    Ok(Json(task))
}

/// What a Task returned
///
/// The bytes, with their media type. The headers `errand-phase` and `errand-result-status` say what became of the Task,
/// `errand-result-truncated: true` that bytes are missing at the end.
#[utoipa::path(
    get, path = "/errand/v1/namespaces/{namespace}/tasks/{name}/result", tag = "errand", operation_id = "errandGetResult",
    params(("namespace" = String, Path, description = "Namespace"), ("name" = String, Path, description = "Task"), Wait),
    responses(
        (status = 200, description = "The result of a Task that has ended", content_type = "*/*", body = Vec<u8>),
        (status = 202, description = "The Task has not ended", body = Pending),
        (status = 204, description = "The Task has ended without a result"),
        Refused,
    ),
    security(("token" = [])),
)]
pub async fn result(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf((namespace, name)): PathOf<(String, String)>,
    QueryOf(wait): QueryOf<Wait>,
) -> Result<Response, Refusal> {
    let limit = wait.limit()?;
    let key = Key::new(namespace, name);
    let mut task = known(&facade, &caller, &key).await?;
    if let Some(limit) = limit.filter(|_| !is_over(&task)) {
        facade.wait_for_end(&key, limit).await;
        task = facade.task(&key).await?.ok_or_else(|| gone(&key))?;
    }
    if !is_over(&task) {
        return Ok((StatusCode::ACCEPTED, Json(pending(&task))).into_response());
    }
    Ok(replay(&fetch(&facade, &key).await?))
}

fn pending(task: &Task) -> Pending {
    let progress = task.status.as_ref().and_then(|status| status.progress.as_ref());
    Pending {
        phase: phase(task),
        progress: progress.and_then(|progress| progress.percent),
    }
}

/// The result of a Task that is over.
fn replay(task: &Task) -> Response {
    let result = task.status.as_ref().and_then(|status| status.result.as_ref());
    let mut response = match result {
        Some(result) if !results::is_empty(result) => results::response(result),
        _ => StatusCode::NO_CONTENT.into_response(),
    };
    let headers = response.headers_mut();
    if result.is_some_and(|result| !results::is_empty(result)) {
        let bytes = HeaderValue::from_static("application/octet-stream");
        headers.entry(header::CONTENT_TYPE).or_insert(bytes);
    }
    if let Ok(phase) = HeaderValue::from_str(&phase(task).to_string()) {
        headers.insert(PHASE, phase);
    }
    if let Some(result) = result {
        headers.insert(STATUS, HeaderValue::from(result.status));
    }
    response
}

/// The end of a Task's log
///
/// What the Task keeps of it; nothing before the Task has ended. The live log is in the events.
#[utoipa::path(
    get, path = "/errand/v1/namespaces/{namespace}/tasks/{name}/log", tag = "errand", operation_id = "errandGetLog",
    params(("namespace" = String, Path, description = "Namespace"), ("name" = String, Path, description = "Task")),
    responses((status = 200, description = "The log", content_type = "text/plain", body = String), Refused),
    security(("token" = [])),
)]
pub async fn log(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf((namespace, name)): PathOf<(String, String)>,
) -> Result<String, Refusal> {
    let task = whole(&facade, &caller, &Key::new(namespace, name)).await?;
    let logs = task.status.and_then(|status| status.logs);
    Ok(logs.map(|logs| logs.tail).unwrap_or_default())
}

/// Stops a Task
///
/// Its log and result so far are kept. A Task that has ended stays as it is.
#[utoipa::path(
    post, path = "/errand/v1/namespaces/{namespace}/tasks/{name}/cancel", tag = "errand", operation_id = "errandCancelTask",
    params(("namespace" = String, Path, description = "Namespace"), ("name" = String, Path, description = "Task")),
    responses((status = 202, description = "The Task will be stopped", body = Pending), Refused),
    security(("token" = [])),
)]
pub async fn cancel(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf((namespace, name)): PathOf<(String, String)>,
) -> Result<(StatusCode, Json<Pending>), Refusal> {
    let key = Key::new(namespace, name);
    may(&facade, &caller, Verb::Patch, &key).await?;
    let task = fetch(&facade, &key).await?;
    let task = if is_over(&task) {
        task
    } else {
        facade.objects.cancel(&key).await?
    };
    Ok((StatusCode::ACCEPTED, Json(pending(&task))))
}

/// May the caller do this to the Task?
pub async fn may(facade: &Facade, caller: &Caller, verb: Verb, key: &Key) -> Result<(), Refusal> {
    let (namespace, name) = (&key.namespace, Some(key.name.as_str()));
    facade
        .authorize(caller, verb, Resource::Tasks, namespace, name)
        .await
}

/// The Task, without bodies and log, for a caller who may get it.
pub async fn known(facade: &Facade, caller: &Caller, key: &Key) -> Result<Arc<Task>, Refusal> {
    may(facade, caller, Verb::Get, key).await?;
    facade.task(key).await?.ok_or_else(|| gone(key))
}

/// The whole Task, for a caller who may get it.
async fn whole(facade: &Facade, caller: &Caller, key: &Key) -> Result<Task, Refusal> {
    may(facade, caller, Verb::Get, key).await?;
    fetch(facade, key).await
}

async fn fetch(facade: &Facade, key: &Key) -> Result<Task, Refusal> {
    let mut task: Task = facade.objects.get(key).await?.ok_or_else(|| gone(key))?;
    task.meta_mut().managed_fields = None;
    Ok(task)
}
