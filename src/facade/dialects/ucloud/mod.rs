//! The task API of UCloud (<https://docs.cloud.sdu.dk/dev/docs/developer-guide/core/communication/tasks.html>): the one
//! that its services and web client spoke until 2024, and the calls of its successor that newer web clients make.
//!
//! - [`http`]: `/api/tasks` as requests. [`socket`]: the same calls, and `listen`, over a WebSocket at the same path;
//!   [`frames`]: what goes over it. [`calls`]: what each call does and who may make it.
//! - [`read`], [`report`]: Tasks of a user; Tasks whose work a service does and reports. [`listen`]: news for a user.
//! - [`roles`]: USER, SERVICE and ADMIN as Kubernetes' rights say. [`find`]: what an id stands for.
//! - [`ids`], [`map`], [`wire`]: ids, Tasks and their changes in the words of this API. [`failure`]: its errors.
//! - [`second`]: the successor, whose calls are named `tasks.*` and whose ids are numbers.
//!
//! Facts of the protocol are from the code of UCloud (<https://github.com/SDU-eScience/UCloud>), whose services at
//! revision 4663f6146f are the first API; where its documentation differs, clients rely on the code.

mod calls;
mod failure;
mod find;
mod frames;
mod http;
mod ids;
mod listen;
mod map;
mod read;
mod report;
mod roles;
mod second;
mod socket;
mod wire;

use utoipa_axum::{router::OpenApiRouter, routes};

use self::failure::refuse;
use crate::facade::door::Door;

/// The door.
pub fn doors() -> Vec<Door> {
    let mut door = Door::new("ucloud", refuse);
    door.routes = OpenApiRouter::new()
        .routes(routes!(http::create, http::post))
        .routes(routes!(http::view))
        .routes(routes!(http::post_status))
        .routes(routes!(http::mark_as_complete))
        .routes(routes!(http::browse))
        .routes(routes!(http::pause_or_cancel));
    // The path of the list is that of the sockets.
    door.streams = OpenApiRouter::new()
        .routes(routes!(http::list))
        .routes(routes!(http::notifications));
    vec![door]
}
