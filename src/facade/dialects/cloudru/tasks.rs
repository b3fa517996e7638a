//! `/openshift/v1/{serviceInstanceId}/tasks`.

use axum::{
    extract::{RawQuery, State},
    http::HeaderMap,
    response::Response,
};
use kube::ResourceExt as _;

use super::{
    etag, find, map,
    wire::{One, Refused, Status, Tasks},
};
use crate::{
    crd::Task,
    facade::{
        extract::{Asker, PathOf},
        refusal::Refusal,
        state::{Facade, is_over},
        views::{Facet, Key},
    },
};

/// Tasks of a service instance
///
/// All of them, whatever made them, the newest first. A `response` has no body here. Answers have an `ETag`; with
/// `If-None-Match` what has not changed is not sent again.
#[utoipa::path(
    get, path = "/openshift/v1/{serviceInstanceId}/tasks", tag = "cloudru", operation_id = "cloudruListTasks",
    params(("serviceInstanceId" = String, Path, description = "Service instance (vDC)")),
    responses(
        (status = 200, description = "The tasks", body = Tasks),
        (status = 304, description = "They are what `If-None-Match` names"),
        (status = 501, description = "Another method than GET", body = Status),
        Refused,
    ),
    security(("token" = [])),
)]
pub async fn list(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf(instance): PathOf<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    readable(query.as_deref())?;
    let instance = find::instance(&facade, &caller, instance).await?;
    let settings = &facade.config.dialects.cloudru;
    let found = facade.views.tasks.by_facet(&Facet::Namespace(instance.namespace));
    let mut tasks: Vec<_> = found
        .iter()
        .map(|task| (task.creation_timestamp(), map::task(task, &instance.id, settings)))
        .collect();
    tasks.sort_by(|(at, a), (other, b)| other.cmp(at).then_with(|| a.id.cmp(&b.id)));
    let tasks = tasks.into_iter().map(|(_, task)| task).collect();
    etag::answer(&headers, &Tasks { tasks })
}

/// One task
///
/// By its id, or by the name of the Task.
#[utoipa::path(
    get, path = "/openshift/v1/{serviceInstanceId}/tasks/{taskId}", tag = "cloudru", operation_id = "cloudruGetTask",
    params(
        ("serviceInstanceId" = String, Path, description = "Service instance (vDC)"),
        ("taskId" = String, Path, description = "Task"),
    ),
    responses(
        (status = 200, description = "The task", body = One),
        (status = 304, description = "It is what `If-None-Match` names"),
        (status = 501, description = "Another method than GET", body = Status),
        Refused,
    ),
    security(("token" = [])),
)]
pub async fn get(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf((instance, id)): PathOf<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    readable(query.as_deref())?;
    let (instance, task) = find::task(&facade, &caller, instance, &id).await?;
    let settings = &facade.config.dialects.cloudru;
    let task = if is_over(&task) {
        // Its body is not in view.
        let whole: Option<Task> = facade.objects.get(&Key::of(task.as_ref())).await?;
        // Another of the same name has another id.
        let whole = whole.filter(|whole| whole.uid() == task.uid());
        map::task(&whole.ok_or_else(find::no_task)?, &instance.id, settings)
    } else {
        map::task(&task, &instance.id, settings)
    };
    etag::answer(&headers, &One { task })
}

/// Nothing is asked for in the query. As at a gateway, parameters that nobody knows are passed over, and what is no
/// query is refused.
fn readable(query: Option<&str>) -> Result<(), Refusal> {
    let mut parts = query.unwrap_or_default().split('%').skip(1);
    let is_escape = |part: &str| part.len() >= 2 && part.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    match parts.all(is_escape) {
        true => Ok(()),
        false => Err(Refusal::Invalid(
            "a % in the query is not followed by two hexadecimal digits".into(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_passed_over_if_it_is_one() {
        for (query, legal) in [
            (None, true),
            (Some(""), true),
            (Some("pageSize=10&x=%D1%8f"), true),
            (Some("x=%"), false),
            (Some("x=%2"), false),
            (Some("%zz"), false),
            (Some("%é"), false),
        ] {
            assert_eq!(readable(query).is_ok(), legal, "{query:?}");
        }
    }
}
