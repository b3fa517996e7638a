//! The calls as requests. Media types are not looked at: UCloud's own clients send ones that are none.

use axum::{
    extract::State,
    http::{HeaderName, HeaderValue, Uri, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    calls::{self, Call, Sent, Topic},
    second::wire::{self as second, BrowseRequest},
    socket::speak,
    wire::{CreateRequest, FindById, ListRequest, Page, PostRequest, PostStatusRequest, Refused, Task, Unit},
};
use crate::facade::{
    extract::{Asker, Payload},
    refusal::Refusal,
    sockets::Handshake,
    state::Facade,
};

/// A body of JSON, with the media type as UCloud writes it.
pub fn json(body: &impl Serialize) -> impl IntoResponse {
    let media = HeaderValue::from_static("application/json; charset=UTF-8");
    let headers: [(HeaderName, HeaderValue); 1] = [(header::CONTENT_TYPE, media)];
    // Keys are strings: serialization cannot fail.
    (headers, serde_json::to_vec(body).unwrap_or_default())
}

async fn answer(facade: &Facade, asker: Asker, call: Call, sent: Sent) -> Result<Response, Refusal> {
    let answer = calls::answer(facade, asker.0, call, sent).await?;
    Ok(json(&answer).into_response())
}

/// What the query says of these names: numbers where they are some. Of a name that comes twice the first counts.
fn query(uri: &Uri, names: &[&str]) -> Sent {
    let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri);
    let mut found = Map::new();
    for (name, text) in pairs.map(|pairs| pairs.0).unwrap_or_default() {
        if names.contains(&name.as_str()) && !found.contains_key(&name) {
            let number = text.parse::<i64>().map(Value::from);
            found.insert(name, number.unwrap_or(Value::String(text)));
        }
    }
    Sent::Json(found.into())
}

/// The caller's tasks that are not over
///
/// With an upgrade to a WebSocket, every call: frames are `{"call": "task.listen", "streamId": "0", "payload": {},
/// "bearer": TOKEN}`, and calls have the names `task.list`, `task.view`, `task.listen`, `task.create`,
/// `task.postStatus`, `task.markAsComplete`, `tasks.browse`, `tasks.retrieve`, `tasks.listen`, `tasks.create`,
/// `tasks.postStatus`, `tasks.markAsComplete` and `tasks.pauseOrCancel`.
#[utoipa::path(
    get, path = "/api/tasks", tag = "ucloud", operation_id = "ucloudListTasks",
    params(ListRequest),
    responses((status = 200, description = "The tasks", body = Page), Refused),
    security(("token" = [])),
)]
pub async fn list(
    State(facade): State<Facade>,
    handshake: Handshake,
    asker: Result<Asker, Refusal>,
    uri: Uri,
) -> Result<Response, Refusal> {
    match handshake {
        // Each frame brings its own token.
        Handshake::Asked(upgrade) => Ok(open(facade, upgrade, Topic::Tasks)),
        Handshake::Plain => {
            let sent = query(&uri, &["itemsPerPage", "page"]);
            answer(&facade, asker?, Call::List, sent).await
        }
    }
}

fn open(facade: Facade, upgrade: crate::facade::sockets::Upgrade, topic: Topic) -> Response {
    let own = facade.clone();
    upgrade.serve(&facade, move |socket| speak(own, socket, topic))
}

/// A WebSocket on which nothing is said
///
/// Newer web clients do not work without one for notifications (`notifications.subscription`), of which there are none.
#[utoipa::path(
    get, path = "/api/notifications", tag = "ucloud", operation_id = "ucloudNotifications",
    responses((status = 101, description = "The socket is open"), Refused),
)]
pub async fn notifications(State(facade): State<Facade>, handshake: Handshake) -> Result<Response, Refusal> {
    match handshake {
        Handshake::Asked(upgrade) => Ok(open(facade, upgrade, Topic::Notifications)),
        Handshake::Plain => Err(Refusal::NotFound("there is only a WebSocket here".into())),
    }
}

/// One task
///
/// In the shape that belongs to its id: a UUID of the first API, or a number of the second.
#[utoipa::path(
    get, path = "/api/tasks/retrieve", tag = "ucloud", operation_id = "ucloudViewTask",
    params(("id" = String, Query, description = "The id")),
    responses((status = 200, description = "The task", body = AnyTask), Refused),
    security(("token" = [])),
)]
pub async fn view(State(facade): State<Facade>, asker: Asker, uri: Uri) -> Result<Response, Refusal> {
    answer(&facade, asker, Call::View, query(&uri, &["id"])).await
}

/// A task of either API.
#[derive(utoipa::ToSchema)]
#[schema(as = UCloudAnyTask)]
#[serde(untagged)]
#[allow(dead_code)] // Only its schema is used.
pub enum AnyTask {
    /// Of the first.
    First(Task),
    /// Of the second.
    Second(second::Task),
}

/// Makes a task for a user
///
/// Its work is done, reported and ended by the caller: there is no pod.
#[utoipa::path(
    put, path = "/api/tasks", tag = "ucloud", operation_id = "ucloudCreateTask",
    request_body = CreateRequest,
    responses((status = 200, description = "The task", body = Task), Refused),
    security(("token" = [])),
)]
pub async fn create(
    State(facade): State<Facade>,
    asker: Asker,
    Payload(body): Payload,
) -> Result<Response, Refusal> {
    answer(&facade, asker, Call::Create, Sent::Body(body)).await
}

/// Makes a task for a user, as the second API does
///
/// Older clients post news (`update`) and ends (`id`) here too.
#[utoipa::path(
    post, path = "/api/tasks", tag = "ucloud", operation_id = "ucloudPostTask",
    request_body = PostRequest,
    responses((status = 200, description = "The task, or nothing", body = MadeOrNothing), Refused),
    security(("token" = [])),
)]
pub async fn post(
    State(facade): State<Facade>,
    asker: Asker,
    Payload(body): Payload,
) -> Result<Response, Refusal> {
    answer(&facade, asker, Call::Post, Sent::Body(body)).await
}

/// A task that was made, or nothing.
#[derive(utoipa::ToSchema)]
#[schema(as = UCloudMadeOrNothing)]
#[serde(untagged)]
#[allow(dead_code)] // Only its schema is used.
pub enum MadeOrNothing {
    /// The task.
    Made(second::Task),
    /// Nothing.
    Nothing(Unit),
}

/// News of a task
///
/// Open to whoever made the task, and to the pod of a task that runs in one. A task that is over stays as it is.
#[utoipa::path(
    post, path = "/api/tasks/postStatus", tag = "ucloud", operation_id = "ucloudPostStatus",
    request_body = PostStatusRequest,
    responses((status = 200, description = "Everyone who listens is told", body = Unit), Refused),
    security(("token" = [])),
)]
pub async fn post_status(
    State(facade): State<Facade>,
    asker: Asker,
    Payload(body): Payload,
) -> Result<Response, Refusal> {
    answer(&facade, asker, Call::PostStatus, Sent::Body(body)).await
}

/// The end of a task
///
/// Open to the same callers as news. A task that is over stays as it is.
#[utoipa::path(
    post, path = "/api/tasks/markAsComplete", tag = "ucloud", operation_id = "ucloudMarkAsComplete",
    request_body = FindById,
    responses((status = 200, description = "The task is over", body = Unit), Refused),
    security(("token" = [])),
)]
pub async fn mark_as_complete(
    State(facade): State<Facade>,
    asker: Asker,
    Payload(body): Payload,
) -> Result<Response, Refusal> {
    answer(&facade, asker, Call::MarkAsComplete, Sent::Body(body)).await
}

/// The caller's tasks that are not over, as the second API has them
#[utoipa::path(
    get, path = "/api/tasks/browse", tag = "ucloud", operation_id = "ucloudBrowseTasks",
    params(BrowseRequest),
    responses((status = 200, description = "The tasks", body = second::Page), Refused),
    security(("token" = [])),
)]
pub async fn browse(State(facade): State<Facade>, asker: Asker, uri: Uri) -> Result<Response, Refusal> {
    answer(
        &facade,
        asker,
        Call::Browse,
        query(&uri, &["itemsPerPage", "next"]),
    )
    .await
}

/// Stops a task
///
/// One that runs in a pod is stopped with it, and its log kept. Others end at once, if they were made with `canCancel`.
#[utoipa::path(
    post, path = "/api/tasks/pauseOrCancel", tag = "ucloud", operation_id = "ucloudPauseOrCancel",
    request_body = second::PauseOrCancel,
    responses((status = 200, description = "The task will be stopped", body = Unit), Refused),
    security(("token" = [])),
)]
pub async fn pause_or_cancel(
    State(facade): State<Facade>,
    asker: Asker,
    Payload(body): Payload,
) -> Result<Response, Refusal> {
    answer(&facade, asker, Call::PauseOrCancel, Sent::Body(body)).await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_query_is_read_as_the_payload_of_a_frame_would_be() {
        let read = |text: &str| match query(&text.parse().unwrap(), &["id", "page"]) {
            Sent::Json(value) => value,
            Sent::Body(body) => panic!("{body:?}"),
        };
        for (uri, payload) in [
            ("/x", json!({})),
            ("/x?page=2&other=3", json!({"page": 2})),
            ("/x?page=-1&page=7", json!({"page": -1})),
            ("/x?page=", json!({"page": ""})),
            ("/x?page=1.5", json!({"page": "1.5"})),
            ("/x?id=a%20b&page", json!({"id": "a b", "page": ""})),
            ("/x?id=%ff", json!({"id": "\u{fffd}"})),
            (
                "/x?id=99999999999999999999",
                json!({"id": "99999999999999999999"}),
            ),
        ] {
            assert_eq!(read(uri), payload, "{uri}");
        }
    }
}
