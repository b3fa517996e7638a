//! Where a call looks, and whether its caller may.

use std::sync::Arc;

use super::{failure::not_allowed, filters::Filters};
use crate::facade::{
    access::{Caller, Resource, Verb},
    refusal::Refusal,
    state::Facade,
    views::{Facet, Faceted, View},
};

/// The caller's namespace, for a caller who may do all this there.
///
/// # Errors
/// The caller may not.
pub async fn home(facade: &Facade, caller: &Caller, rights: &[(Verb, Resource)]) -> Result<String, Refusal> {
    let namespace = facade.access.home(caller).await?;
    for (verb, resource) in rights {
        let allowed = facade.authorize(caller, *verb, *resource, &namespace, None);
        allowed.await.map_err(not_allowed)?;
    }
    Ok(namespace)
}

/// What a list is about: the objects of the caller's own namespace; those of all namespaces, or of another one, where they
/// are asked for and the caller may list there.
///
/// # Errors
/// The caller may not.
pub async fn listed<K: Faceted + Clone>(
    facade: &Facade,
    caller: &Caller,
    (view, resource): (&View<K>, Resource),
    filters: &Filters,
) -> Result<Vec<Arc<K>>, Refusal> {
    if filters.all_projects {
        let all = facade.authorize(caller, Verb::List, resource, "", None).await;
        return all.map(|()| view.read(|table| table.all())).map_err(not_allowed);
    }
    let of = |namespace: String| view.by_facet(&Facet::Namespace(namespace));
    let home = facade.access.home(caller).await?;
    let named = filters.exactly("project_id").filter(|project| *project != home);
    if let Some(project) = named {
        let there = facade
            .authorize(caller, Verb::List, resource, project, None)
            .await;
        if there.is_ok() {
            return Ok(of(project.to_owned()));
        }
    }
    let own = facade.authorize(caller, Verb::List, resource, &home, None).await;
    own.map(|()| of(home)).map_err(not_allowed)
}
