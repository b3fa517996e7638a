//! The task API of GreenCloud (<https://docs.greencloud.dev>), as far as it goes with Tasks and Functions.
//!
//! - [`tasks`]: `/v1/task`, the tasks of a caller.
//! - [`public`]: `/gc`, calls without a token. [`endpoints`]: what opens them; [`settings`]: where that is kept.
//! - [`functions`]: `/v1/function`; [`sheet`]: Functions in the words of this API.
//! - [`counts`]: numbers of Tasks.
//! - [`ids`], [`map`], [`replay`]: ids, Tasks and results in the words of this API. [`failure`]: its errors.
//! - [`find`]: what an id stands for, in the namespace of the caller.
//!
//! The API names no error bodies and few statuses; what is not documented follows what its browser clients rely on:
//! 404 means "ask again", anything else is final. State between runs (`GC-Storage`) is not kept.

mod counts;
mod endpoints;
mod failure;
mod find;
mod functions;
mod ids;
mod map;
mod public;
mod replay;
mod settings;
mod sheet;
mod tasks;
mod wire;

use axum::http::Method;
use utoipa_axum::routes;

use self::failure::refuse;
use crate::facade::door::{Door, any_origin, with_slash};

/// The doors.
pub fn doors() -> Vec<Door> {
    let mut own = Door::new("greencloud", refuse);
    for route in [
        routes!(tasks::list),
        routes!(tasks::get, tasks::create),
        routes!(tasks::result),
        routes!(endpoints::list),
        routes!(
            endpoints::get,
            endpoints::create,
            endpoints::change,
            endpoints::delete
        ),
        routes!(endpoints::metrics),
        routes!(functions::create),
        routes!(functions::list),
        routes!(functions::get, functions::change, functions::delete),
        routes!(functions::capabilities, functions::set_capabilities),
        routes!(functions::toggle_pause),
        routes!(functions::build, functions::get_build),
    ] {
        own.routes = with_slash(own.routes, route);
    }
    let mut public = Door::new("greencloud-public", refuse);
    public.cors = Some(any_origin([Method::GET, Method::POST, Method::OPTIONS]));
    for route in [routes!(public::call, public::open), routes!(public::result)] {
        public.routes = with_slash(public.routes, route);
    }
    vec![own, public]
}
