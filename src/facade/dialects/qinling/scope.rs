//! Which namespaces a list is about.

use super::{failure::not_allowed, filters::Filters};
use crate::facade::{
    access::{Caller, Resource, Verb},
    refusal::Refusal,
    state::Facade,
};

/// Where a list looks.
#[derive(Debug, PartialEq, Eq)]
pub enum Scope {
    /// In every namespace.
    All,
    /// In this one.
    One(String),
}

/// The caller's own namespace; all of them, or another one, where they are asked for and the caller may list there.
///
/// # Errors
/// The caller may not.
pub async fn scope(
    facade: &Facade,
    caller: &Caller,
    resource: Resource,
    filters: &Filters,
) -> Result<Scope, Refusal> {
    if filters.all_projects {
        let all = facade.authorize(caller, Verb::List, resource, "", None).await;
        return all.map(|()| Scope::All).map_err(not_allowed);
    }
    let home = facade.access.home(caller).await?;
    let named = filters.exactly("project_id").filter(|project| *project != home);
    if let Some(project) = named {
        let there = facade
            .authorize(caller, Verb::List, resource, project, None)
            .await;
        if there.is_ok() {
            return Ok(Scope::One(project.to_owned()));
        }
    }
    let own = facade.authorize(caller, Verb::List, resource, &home, None).await;
    own.map(|()| Scope::One(home)).map_err(not_allowed)
}
