//! The task API of Cloud Foundry's Diego: protobuf over POST, as its BBS serves it (<https://github.com/cloudfoundry/bbs>).
//!
//! - [`tasks`]: tasks are desired and read. [`lifecycle`]: calls that move a task on; [`transit`]: which of them may.
//! - [`events`]: what becomes of tasks, as server-sent events. [`domains`], [`cells`]: the rest of the API.
//! - [`messages`]: what goes over the wire; [`fields`]: messages as their fields, byte for byte; [`wire`]: messages in
//!   requests and answers. [`failure`]: its errors. [`validate`]: what it finds wrong.
//! - [`map`]: definitions as Tasks. [`view`]: Tasks in its words. [`downgrade`]: definitions for older clients.
//! - [`password`], [`pull`]: what nobody is to read in a Task, and the Secret that pulls its image; [`keys`]: what seals it.
//! - [`find`]: what a guid stands for. [`names`]: what stands where in an object. [`settings`]: what the operator says.
//!
//! Facts of the protocol are from the code of the BBS (revision b2385bea), its executor (9e97ac1b) and its rep (5bbcd6b);
//! where their documentation differs, clients rely on the code. Its callers show a certificate in place of a token
//! ([`crate::facade::peers`]), so the door has a listener of its own.

mod cells;
mod domains;
mod downgrade;
mod events;
mod failure;
mod fields;
mod find;
mod keys;
mod lifecycle;
mod map;
mod messages;
mod names;
mod password;
mod pull;
mod quantity;
mod settings;
mod tasks;
mod transit;
mod validate;
mod view;
mod wire;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;

use axum::{Router, routing::post};
use utoipa_axum::router::OpenApiRouter;

use self::{failure::refuse, messages::PingResponse, wire::Answer};
pub use self::{
    keys::{Keys, NoKeys},
    settings::{Driver, NoDriver, NoStack, Settings, Stack, VolumeKind},
};
use crate::facade::{door::Door, extract::Asker, state::Facade};

/// The door. No document describes it: its bodies are not text.
pub fn doors() -> Vec<Door> {
    let mut door = Door::new("diego", refuse);
    let routes: Router<Facade> = Router::new()
        .route("/v1/ping", post(ping))
        .route("/v1/tasks/desire.r2", post(tasks::desire))
        .route("/v1/tasks/list.r3", post(tasks::list))
        .route("/v1/tasks/list.r2", post(tasks::list_without_layers))
        .route("/v1/tasks/get_by_task_guid.r3", post(tasks::get))
        .route("/v1/tasks/get_by_task_guid.r2", post(tasks::get_without_layers))
        .route("/v1/tasks/cancel", post(lifecycle::cancel))
        .route("/v1/tasks/resolving", post(lifecycle::resolving))
        .route("/v1/tasks/delete", post(lifecycle::delete))
        .route("/v1/tasks/start", post(lifecycle::start))
        .route("/v1/tasks/reject", post(lifecycle::reject))
        .route("/v1/tasks/complete", post(lifecycle::complete))
        .route("/v1/tasks/fail", post(lifecycle::fail))
        .route("/v1/domains/list", post(domains::list))
        .route("/v1/domains/upsert", post(domains::upsert))
        .route("/v1/cells/list.r1", post(cells::list));
    door.routes = OpenApiRouter::from(routes);
    let streams: Router<Facade> = Router::new()
        .route("/v1/events/tasks.r1", post(events::events))
        .route("/v1/events/tasks", post(events::events_without_layers));
    door.streams = OpenApiRouter::from(streams);
    vec![door]
}

/// The facade serves once its views are filled, so there is nothing more to ask.
async fn ping(Asker(_): Asker) -> Answer<PingResponse> {
    Answer(PingResponse { available: true })
}
