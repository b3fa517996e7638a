//! What stands for a function, and how often it ran.

use super::{map, webhooks};
use crate::{
    crd::Function,
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

/// Refuses where something stands for the function.
///
/// # Errors
/// It does.
pub fn refuse_used(function: &Function) -> Result<(), Refusal> {
    let by = |what: &str| {
        Err(Refusal::Forbidden(format!(
            "The function is still associated with {what}."
        )))
    };
    if !webhooks::all(function).is_empty() {
        return by("webhook(s)");
    }
    if !function.spec.aliases.is_empty() {
        return by("function alias(es)");
    }
    Ok(())
}
