//! `/v1/task`: tasks of the caller.

use axum::{
    Json,
    extract::{RawQuery, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::Response,
};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

use super::{
    failure::Failure,
    find::{self, belongs},
    ids::Id,
    map,
    replay::{TOO_EARLY, replay},
    wire::{Created, Refused, TaskDetail, TaskSummary},
};
use crate::{
    crd::{Function, FunctionRef, Input, Task, TaskSpec},
    facade::{
        access::{Resource, Verb},
        extract::{Asker, PathOf, Payload, text},
        refusal::Refusal,
        results,
        state::{Facade, is_over},
        views::{Facet, Key},
    },
};

/// Longest query of an input.
const MAX_QUERY: usize = 8192;

/// Calls a function
///
/// Query and body are handed to the function as they are. The name of the Function may stand for its id.
#[utoipa::path(
    post, path = "/v1/task/{id}", tag = "greencloud", operation_id = "greencloudCreateTask",
    params(("id" = String, Path, description = "Function")),
    request_body(content = Vec<u8>, content_type = "*/*", description = "Any bytes"),
    responses((status = 201, description = "The task was accepted", body = Created), Refused),
    security(("token" = [])),
)]
pub async fn create(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf(function): PathOf<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    Payload(body): Payload,
) -> Result<(StatusCode, Json<Created>), Failure> {
    let namespace = facade.access.home(&caller).await?;
    facade
        .authorize(&caller, Verb::Create, Resource::Tasks, &namespace, None)
        .await?;
    let function = find::function(&facade, &namespace, &function).await?;
    let input = input(&Method::POST, query.as_deref(), &headers, &body)?;
    let task = task(&function, input, &caller.user)?;
    let id = submit(&facade, &task).await?;
    Ok((StatusCode::CREATED, Json(Created { id })))
}

/// What the function is given: method, raw query, type and body; no other header goes on.
pub fn input(
    method: &Method,
    query: Option<&str>,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Input, Refusal> {
    let query = query.map(printable);
    if query.as_ref().is_some_and(|query| query.len() > MAX_QUERY) {
        return Err(Refusal::Invalid(format!(
            "the query may have at most {MAX_QUERY} bytes"
        )));
    }
    let (body, body_base64) = results::fields(body);
    Ok(Input {
        method: Some(method.to_string()),
        query,
        content_type: text(headers, header::CONTENT_TYPE).map(str::to_owned),
        body,
        body_base64,
        ..Input::default()
    })
}

/// The query as it came; bytes beyond ASCII, which no URI may hold, are percent-encoded (RFC 3986, section 2.1).
fn printable(query: &str) -> String {
    let mut text = String::with_capacity(query.len());
    for byte in query.bytes() {
        match byte {
            b'!'..=b'~' => text.push(char::from(byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

/// A Task that is named by its id.
pub fn task(function: &Function, input: Input, owner: &str) -> Result<Task, Failure> {
    if function.spec.paused == Some(true) {
        return Err(Failure::Paused(function.name_any()));
    }
    let spec = TaskSpec {
        function_ref: Some(FunctionRef {
            name: function.name_any(),
            version: None,
        }),
        input: Some(input),
        owner: Some(owner.to_owned()),
        ..TaskSpec::default()
    };
    let mut task = Task::new(Id::new(Timestamp::now()).as_str(), spec);
    task.metadata.namespace = function.namespace();
    Ok(task)
}

/// Hands a Task in.
pub async fn submit(facade: &Facade, task: &Task) -> Result<Id, Failure> {
    let task = facade.objects.create(task).await?;
    let id = Id::of(&task.metadata);
    id.ok_or_else(|| Refusal::Internal("a new task has no id".into()).into())
}

/// One task
#[utoipa::path(
    get, path = "/v1/task/{id}", tag = "greencloud", operation_id = "greencloudGetTask",
    params(("id" = String, Path, description = "Task")),
    responses((status = 200, description = "The task", body = TaskDetail), Refused),
    security(("token" = [])),
)]
pub async fn get(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf(id): PathOf<String>,
) -> Result<Json<TaskDetail>, Failure> {
    let task = find::task(&facade, &caller, &id).await?;
    let function = find::function_of(&facade, &task);
    Ok(Json(map::detail(&task, function.as_deref())))
}

/// All tasks of the caller
///
/// The newest first.
#[utoipa::path(
    get, path = "/v1/task/list", tag = "greencloud", operation_id = "greencloudListTasks",
    responses((status = 200, description = "The tasks", body = Vec<TaskSummary>), Refused),
    security(("token" = [])),
)]
pub async fn list(
    State(facade): State<Facade>,
    Asker(caller): Asker,
) -> Result<Json<Vec<TaskSummary>>, Failure> {
    let namespace = facade.access.home(&caller).await?;
    facade
        .authorize(&caller, Verb::List, Resource::Tasks, &namespace, None)
        .await?;
    let tasks = facade.views.tasks.by_facet(&Facet::Namespace(namespace));
    let own = tasks.iter().filter(|task| belongs(task, &caller));
    let mut summaries: Vec<_> = own.filter_map(|task| map::summary(task)).collect();
    summaries.sort_by(|a, b| b.id.cmp(&a.id));
    Ok(Json(summaries))
}

/// What a function answered
///
/// Its own status, type and body. 404 until the task is over: a function that answers 404 itself looks the same here,
/// and its task has progress 100 and status 404 in the list.
#[utoipa::path(
    get, path = "/v1/task/{id}/result", tag = "greencloud", operation_id = "greencloudGetResult",
    params(("id" = String, Path, description = "Task")),
    responses((status = 200, description = "The answer", content_type = "*/*", body = Vec<u8>), Refused),
    security(("token" = [])),
)]
pub async fn result(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf(id): PathOf<String>,
) -> Result<Response, Failure> {
    let task = find::task(&facade, &caller, &id).await?;
    answer(&facade, &task).await
}

/// The answer of a Task in view; 404 where it is not over.
pub async fn answer(facade: &Facade, task: &Task) -> Result<Response, Failure> {
    let unfinished = || Refusal::NotFound(TOO_EARLY.to_owned());
    if !is_over(task) {
        return Err(unfinished().into());
    }
    let whole: Option<Task> = facade.objects.get(&Key::of(task)).await?;
    let response = whole.as_ref().and_then(replay);
    response.ok_or_else(|| unfinished().into())
}
