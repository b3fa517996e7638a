//! Errand's own door, `/errand/v1`: what no other API has, for every Task whatever door made it.
//!
//! - [`read`]: a Task, its result and its log; with `wait=30s` once it has ended.
//! - [`report`]: progress and end, from inside a Task's pod or from whoever does its work.
//! - [`events`]: what happens to a Task, as server-sent events.

mod events;
mod read;
mod report;
mod wire;

use axum::{
    Json,
    response::{IntoResponse as _, Response},
};
use serde_json::json;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::facade::{door::Door, refusal::Refusal};

/// The door.
pub fn doors() -> Vec<Door> {
    let mut door = Door::new("errand", refuse);
    door.routes = OpenApiRouter::new()
        .routes(routes!(read::list))
        .routes(routes!(read::log))
        .routes(routes!(read::cancel))
        .routes(routes!(report::progress))
        .routes(routes!(report::end));
    door.streams = OpenApiRouter::new()
        .routes(routes!(read::get))
        .routes(routes!(read::result))
        .routes(routes!(events::events));
    vec![door]
}

/// `{"error": {"code": 404, "message": "..."}}`; also the shape of answers at paths that belong to no door.
pub fn refuse(refusal: &Refusal) -> Response {
    let status = refusal.status();
    let body = json!({"error": {"code": status.as_u16(), "message": refusal.to_string()}});
    (status, Json(body)).into_response()
}
