//! The API of OpenStack Qinling, version 1, as its client `python-qinlingclient` speaks it
//! (<https://opendev.org/openstack/qinling>).
//!
//! - [`executions`]: Tasks. [`map`], [`inputs`]: Tasks and inputs in the words of this API.
//! - [`functions`]: Functions of an image or a package. [`form`]: how they are sent; [`sheet`]: how they are shown.
//! - [`package`]: the zip and how it is kept, `bootstrap.py`: how it is run. [`runtimes`]: what runs it.
//! - [`versions`]: packages that are kept. [`aliases`]: names for them. [`target`]: what is to be run.
//! - [`jobs`]: Schedules. [`job`]: Schedules in the words of this API.
//! - [`webhooks`]: calls without a token. [`uses`]: what stands for a function.
//! - [`fields`], [`filters`], [`scope`], [`find`], [`change`], [`spaced`], [`wire`], [`failure`]: bodies, queries,
//!   namespaces and rights, ids, writes, JSON, shapes and errors. [`root`]: versions of the API.

mod aliases;
mod change;
mod executions;
mod failure;
mod fields;
mod filters;
mod find;
mod form;
mod functions;
mod inputs;
mod job;
mod jobs;
mod map;
mod package;
mod root;
mod runtimes;
mod scope;
mod sheet;
mod spaced;
mod target;
mod uses;
mod versions;
mod webhooks;
mod wire;

use axum::routing;
use utoipa_axum::routes;

use self::failure::{refuse, refuse_short};
use crate::facade::door::{Door, with_slash};

/// The doors: errors of those that carry files or text have a shorter form.
pub fn doors() -> Vec<Door> {
    let mut own = Door::new("qinling", refuse);
    for route in [
        routes!(executions::list),
        routes!(executions::get, executions::delete),
        routes!(functions::list),
        routes!(functions::delete),
        routes!(functions::scale),
        routes!(functions::workers),
        routes!(versions::list, versions::create),
        routes!(versions::delete),
        routes!(versions::scale),
        routes!(aliases::list, aliases::create),
        routes!(aliases::get, aliases::change, aliases::delete),
        routes!(runtimes::list, runtimes::create),
        routes!(runtimes::get, runtimes::change, runtimes::delete),
        routes!(runtimes::pool),
        routes!(jobs::list, jobs::create),
        routes!(jobs::get, jobs::change, jobs::delete),
        routes!(webhooks::list, webhooks::create),
        routes!(webhooks::get, webhooks::change, webhooks::delete),
    ] {
        own.routes = with_slash(own.routes, route);
    }
    own.routes = own
        .routes
        .routes(routes!(root::versions))
        .routes(routes!(root::v1));
    own.routes = own.routes.route("/v1", routing::get(root::to_v1));
    // A call may wait for the end of its execution.
    own.streams = with_slash(own.streams, routes!(executions::create));
    let mut files = Door::new("qinling-files", refuse_short);
    for route in [
        routes!(executions::log),
        routes!(functions::create),
        routes!(functions::get, functions::change),
        routes!(versions::get_one),
        routes!(webhooks::invoke),
    ] {
        files.routes = with_slash(files.routes, route);
    }
    vec![own, files]
}
