//! The task API of cloud.ru's managed OpenShift
//! (<https://sbercloud.ru/ru/docs/managed-openshift/ug/topics/api/api-ref_task.html>): the tasks of a service instance,
//! to read.
//!
//! - [`tasks`]: the two calls. [`find`]: what ids stand for; [`ids`]: which texts are ids. [`etag`]: answers with a tag.
//! - [`map`]: Tasks in the words of this API. [`any`]: google.protobuf.Any; [`protobuf`]: messages as bytes.
//! - [`failure`]: errors of calls. [`settings`]: what is not documented, and may be set.
//!
//! The API documents two calls, their fields and nothing else. It is plainly a protobuf service behind grpc-gateway
//! whose task is Yandex Cloud's `Operation` under other names, so what is not said follows these.

mod any;
mod etag;
mod failure;
mod find;
mod ids;
mod map;
mod protobuf;
mod settings;
mod tasks;
mod wire;

use axum::routing::any as any_method;
use utoipa_axum::{router::OpenApiRouter, routes};

use self::failure::refuse;
pub use self::settings::{AnyForm, SettingError, Settings, StatusWords};
use crate::facade::{door::Door, refusal::Refusal};

/// The door.
pub fn doors() -> Vec<Door> {
    let mut door = Door::new("cloudru", refuse);
    let lost = || async { Refusal::NotFound("there is nothing at this path".into()) };
    door.routes = OpenApiRouter::new()
        .routes(routes!(tasks::list))
        .routes(routes!(tasks::get))
        // Calls of the same service that have to do with no task.
        .route("/openshift/{*path}", any_method(lost));
    vec![door]
}
