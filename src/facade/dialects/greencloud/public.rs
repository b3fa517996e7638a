//! `/gc`: calls without a token, through an endpoint that somebody has opened, and their answers for five minutes.

use std::sync::Arc;

use axum::{
    Json,
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{Html, IntoResponse as _, Response},
};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::{Resource as _, ResourceExt as _};

use super::{
    failure::{Failure, hidden},
    find::belongs,
    ids::Id,
    replay::TOO_EARLY,
    settings::{self, Endpoint},
    tasks::{answer, input, submit, task},
    wire::{Created, Refused},
};
use crate::{
    crd::{Function, Task},
    facade::{
        access::{Resource, Verb, token_of},
        edits::edit,
        extract::{PathOf, Payload},
        refusal::Refusal,
        state::{Facade, is_over},
        views::{Facet, Key},
    },
};

/// Label of a Task: the endpoint that it came through.
pub const LABEL_ENDPOINT: &str = "greencloud.errand.dev/endpoint";
/// How long anyone may have an answer who knows the id of the task, counted from its end.
const OPEN: SignedDuration = SignedDuration::from_mins(5);

/// Calls an endpoint
///
/// Query and body are handed to the function as they are. No token is needed; the endpoint may admit scripts of some
/// sites only, and a number of calls a day.
#[utoipa::path(
    post, path = "/gc/{id}", tag = "greencloud", operation_id = "greencloudUseEndpoint",
    params(("id" = String, Path, description = "Endpoint")),
    request_body(content = Vec<u8>, content_type = "*/*", description = "Any bytes"),
    responses((status = 201, description = "The task was accepted", body = Created), Refused),
)]
pub async fn call(
    State(facade): State<Facade>,
    PathOf(endpoint): PathOf<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    Payload(body): Payload,
) -> Result<(StatusCode, Json<Created>), Failure> {
    let id = start(
        &facade,
        &endpoint,
        &Method::POST,
        query.as_deref(),
        &headers,
        &body,
    )
    .await?;
    Ok((StatusCode::CREATED, Json(Created { id })))
}

/// Calls an endpoint from the address bar
///
/// Answers with a page that links to the result. Each reload is a new task.
#[utoipa::path(
    get, path = "/gc/{id}", tag = "greencloud", operation_id = "greencloudOpenEndpoint",
    params(("id" = String, Path, description = "Endpoint")),
    responses((status = 200, description = "A page for people", content_type = "text/html", body = String), Refused),
)]
pub async fn open(
    State(facade): State<Facade>,
    PathOf(endpoint): PathOf<String>,
    method: Method,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    // Whoever only looks whether there is something does not want it to run (RFC 9110, section 9.2.1).
    if method != Method::GET {
        return Err(Refusal::Method.into());
    }
    let id = start(&facade, &endpoint, &method, query.as_deref(), &headers, b"").await?;
    let policy = HeaderValue::from_static("default-src 'none'");
    Ok(([(header::CONTENT_SECURITY_POLICY, policy)], Html(page(&id))).into_response())
}

fn page(id: &Id) -> String {
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>Task {id}</title>\
         <p>Your task is queued. Its result is kept here for 5 minutes after it has ended: \
         <a href=\"/gc/{id}/result\">/gc/{id}/result</a></p>\
         <p>Until then that page is not found. Each reload of this page is a new task.</p></html>\n"
    )
}

/// The answer to a call of an endpoint
///
/// The function's own status, type and body, for five minutes after the end of the task; then a token is needed. 404
/// until the task is over.
#[utoipa::path(
    get, path = "/gc/{id}/result", tag = "greencloud", operation_id = "greencloudGetPublicResult",
    params(("id" = String, Path, description = "Task")),
    responses((status = 200, description = "The answer", content_type = "*/*", body = Vec<u8>), Refused),
)]
pub async fn result(
    State(facade): State<Facade>,
    PathOf(id): PathOf<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let none = || Refusal::NotFound(TOO_EARLY.to_owned());
    let id = Id::parse(&id).ok_or_else(|| {
        Refusal::Invalid(format!(
            "{id:?} is no task id: 24 hexadecimal digits in lower case"
        ))
    })?;
    // A task that another replica made a moment ago is not in view yet. That is a 404, as for any task that is not
    // over, and strangers cannot make the facade ask the API server.
    let task = anywhere(&facade, &id).ok_or_else(none)?;
    if !is_public(&task, Timestamp::now()) {
        let token = token_of(&headers).ok_or_else(|| {
            Refusal::Unauthenticated("this result is not public, or no longer: a token is needed".into())
        })?;
        let caller = facade.access.authenticate(token).await?;
        let (namespace, name) = (task.namespace().unwrap_or_default(), task.name_any());
        let allowed = facade
            .authorize(&caller, Verb::Get, Resource::Tasks, &namespace, Some(&name))
            .await;
        allowed.map_err(|refusal| hidden(refusal, none))?;
        if !belongs(&task, &caller) {
            return Err(none().into());
        }
    }
    answer(&facade, &task).await
}

/// True where no token is needed: the Task came through an endpoint and is not over, or not for long.
fn is_public(task: &Task, now: Timestamp) -> bool {
    let ended = task.status.as_ref().and_then(|status| status.finished_at);
    let fresh = ended.is_some_and(|ended| now.duration_since(ended) < OPEN);
    task.labels().contains_key(LABEL_ENDPOINT) && (fresh || !is_over(task))
}

/// The Task with this id in whatever namespace; the oldest, should somebody have named another like it.
fn anywhere(facade: &Facade, id: &Id) -> Option<Arc<Task>> {
    facade.views.tasks.read(|table| {
        let named = table.named(id.as_str());
        let first = named
            .into_iter()
            .min_by_key(|task| task.creation_timestamp().map(|time| time.0));
        first.or_else(|| {
            let mut same = table.by_uid_prefix(&id.uid_prefix()).into_iter();
            same.find(|task| Id::of(task.meta()).as_ref() == Some(id))
        })
    })
}

/// Makes a Task that belongs to whoever made the endpoint.
async fn start(
    facade: &Facade,
    id: &str,
    method: &Method,
    query: Option<&str>,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Id, Failure> {
    let (function, endpoint) = endpoint(facade, id)?;
    if !endpoint.admits(headers) {
        return Err(
            Refusal::Forbidden("this endpoint takes calls from the pages of some sites only".into()).into(),
        );
    }
    let input = input(method, query, headers, body)?;
    let mut task = task(&function, input, &endpoint.created_by)?;
    task.labels_mut().insert(LABEL_ENDPOINT.to_owned(), id.to_owned());
    if endpoint.is_limited() {
        spend(facade, &function, id).await?;
    }
    submit(facade, &task).await
}

/// The one endpoint with this id and its Function, in whatever namespace. Whoever may change a Function can write the
/// id of a stranger's endpoint on it: then neither is called, so that nobody gets what was meant for another.
fn endpoint(facade: &Facade, id: &str) -> Result<(Arc<Function>, Endpoint), Refusal> {
    let mut found = endpoints(facade, id).into_iter();
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(Refusal::NotFound(format!("there is no endpoint {id}"))),
        (Some(_), Some(_)) => Err(Refusal::Conflict(format!(
            "more than one function says that {id} is its endpoint; take the annotation off all but one"
        ))),
    }
}

/// Every endpoint with this id.
pub fn endpoints(facade: &Facade, id: &str) -> Vec<(Arc<Function>, Endpoint)> {
    let functions = facade
        .views
        .functions
        .by_facet(&Facet::Annotation(settings::key(id)));
    let read = |function: Arc<Function>| settings::read(&function, id).map(|endpoint| (function, endpoint));
    functions.into_iter().filter_map(read).collect()
}

/// Takes one of the calls of the day. A call whose task is refused afterwards is spent all the same.
async fn spend(facade: &Facade, function: &Function, id: &str) -> Result<(), Failure> {
    let now = Timestamp::now();
    let spent = edit::<Failure, Function>(facade, Key::of(function), |function| {
        let gone = || Refusal::NotFound(format!("there is no endpoint {id}"));
        let mut endpoint = settings::read(function, id).ok_or_else(gone)?;
        if !endpoint.spend(now) {
            return Err(Failure::Spent(endpoint.daily_limit));
        }
        settings::write(function, id, &endpoint)?;
        Ok(())
    });
    spent.await.map(drop)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn task(labels: Value, status: Value) -> Task {
        serde_json::from_value(
            json!({"apiVersion": "errand.dev/v1alpha1", "kind": "Task", "spec": {},
            "metadata": {"name": "t", "labels": labels}, "status": status}),
        )
        .unwrap()
    }

    #[test]
    fn an_answer_is_public_from_the_call_until_five_minutes_after_its_end() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        let through = json!({LABEL_ENDPOINT: "6405942c9956fae80d7e0e91"});
        let ended = |at: &str| json!({"phase": "Failed", "finishedAt": at});
        for (labels, status, public) in [
            (through.clone(), json!({"phase": "Queued"}), true),
            (through.clone(), ended("2026-01-31T11:55:00.001Z"), true),
            (through.clone(), ended("2026-01-31T11:55:00Z"), false),
            (through.clone(), ended("2026-01-30T12:00:00Z"), false),
            (through, json!({"phase": "Failed"}), false),
            (json!({}), json!({"phase": "Queued"}), false),
            (json!({"other": "x"}), ended("2026-01-31T12:00:00Z"), false),
        ] {
            assert_eq!(
                is_public(&task(labels.clone(), status.clone()), now),
                public,
                "{labels} {status}"
            );
        }
    }
}
