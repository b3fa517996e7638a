//! What stands for a function, and how often it ran.

use std::sync::Arc;

use super::{job, map, webhooks};
use crate::{
    crd::{Function, Schedule},
    facade::{
        refusal::Refusal,
        state::Facade,
        views::{Facet, Key},
    },
};

/// Executions of a version of a function that are still kept.
pub fn count(facade: &Facade, function: &Function, version: i64) -> i64 {
    let tasks = facade.views.tasks.by_facet(&Facet::Function(Key::of(function)));
    let count = tasks.iter().filter(|task| map::version(task) == version).count();
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Jobs of a function that are not over.
pub fn jobs(facade: &Facade, function: &Function) -> Vec<Arc<Schedule>> {
    let mut jobs = facade
        .views
        .schedules
        .by_facet(&Facet::Function(Key::of(function)));
    jobs.retain(|schedule| job::status(schedule).is_open());
    jobs
}

/// Jobs of a namespace that name an alias and are not over.
pub fn jobs_of_alias(facade: &Facade, namespace: &str, alias: &str) -> Vec<Arc<Schedule>> {
    let all = Facet::Namespace(namespace.to_owned());
    let mut jobs = facade.views.schedules.by_facet(&all);
    jobs.retain(|schedule| job::status(schedule).is_open() && job::alias(schedule).as_deref() == Some(alias));
    jobs
}

/// What this API says where `what` (a function, a version, an alias) is still used.
pub fn still_used(what: &str, by: &str) -> Refusal {
    Refusal::Forbidden(format!("The {what} is still associated with {by}."))
}

/// Refuses where a job that is not over runs the function.
///
/// # Errors
/// One does.
pub fn refuse_with_jobs(facade: &Facade, function: &Function) -> Result<(), Refusal> {
    if jobs(facade, function).is_empty() {
        Ok(())
    } else {
        Err(still_used("function", "running job(s)"))
    }
}

/// Refuses where something stands for the function.
///
/// # Errors
/// It does.
pub fn refuse_used(facade: &Facade, function: &Function) -> Result<(), Refusal> {
    refuse_with_jobs(facade, function)?;
    let by = |what: &str| Err(still_used("function", what));
    if !webhooks::all(function).is_empty() {
        return by("webhook(s)");
    }
    if !function.spec.aliases.is_empty() {
        return by("function alias(es)");
    }
    Ok(())
}
