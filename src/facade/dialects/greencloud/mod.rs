//! The task API of GreenCloud (<https://docs.greencloud.dev>), as far as it goes with Tasks and Functions.
//!
//! - [`tasks`]: `/v1/task`, the tasks of a caller.
//! - [`ids`], [`map`], [`replay`]: ids, Tasks and results in the words of this API. [`failure`]: its errors.
//! - [`find`]: what an id stands for, in the namespace of the caller.
//!
//! The API names no error bodies and few statuses; what is not documented follows what its browser clients rely on:
//! 404 means "ask again", anything else is final. State between runs (`GC-Storage`) is not kept.

mod failure;
mod find;
mod ids;
mod map;
mod replay;
mod tasks;
mod wire;

use utoipa_axum::{router::OpenApiRouter, routes};

use self::failure::refuse;
use crate::facade::door::{Door, with_slash};

/// The doors.
pub fn doors() -> Vec<Door> {
    let mut own = Door::new("greencloud", refuse);
    own.routes = OpenApiRouter::new();
    for route in [
        routes!(tasks::list),
        routes!(tasks::get, tasks::create),
        routes!(tasks::result),
    ] {
        own.routes = with_slash(own.routes, route);
    }
    vec![own]
}
