//! Tasks by their ids, and the Tasks of a user.

use std::{collections::BTreeSet, sync::Arc};

use kube::ResourceExt as _;

use super::{
    failure::none,
    ids::Id,
    roles::{Principal, Role, may},
    wire::TaskId,
};
use crate::{
    crd::Task,
    facade::{
        access::{Resource, Verb},
        refusal::Refusal,
        reports,
        state::Facade,
        views::{Facet, Key},
    },
};

/// The Tasks that may be meant: in view, or made a moment ago, perhaps through another replica.
async fn meant(facade: &Facade, home: &str, sent: &TaskId) -> Result<Vec<Arc<Task>>, Refusal> {
    let Some(id) = Id::parse(sent) else {
        return Ok(Vec::new());
    };
    let prefix = id.prefix();
    let mut found = facade.views.tasks.read(|table| {
        // Uids first: nobody chooses them.
        let mut found = table.by_uid_prefix(&prefix);
        found.extend(table.by_name_prefix(&prefix));
        found
    });
    found.retain(|task| id.is_of(&task.metadata));
    if found.is_empty() {
        found.extend(facade.task(&Key::new(home, id.name())).await?);
    }
    Ok(found)
}

/// The Task with this id that the principal may see: their own, one whose work they do, or any for an ADMIN.
///
/// # Errors
/// [`Refusal::NotFound`], or the API server does not answer.
pub async fn readable(facade: &Facade, principal: &Principal, sent: &TaskId) -> Result<Arc<Task>, Refusal> {
    for task in meant(facade, &principal.home, sent).await? {
        let concerns = principal.role == Role::Admin || principal.owns(&task) || principal.processes(&task);
        if concerns && allowed(facade, principal, Verb::Get, &task).await? {
            return Ok(task);
        }
    }
    Err(none(sent))
}

/// May the principal do this to the Task?
///
/// # Errors
/// The API server does not answer.
pub async fn allowed(
    facade: &Facade,
    principal: &Principal,
    verb: Verb,
    task: &Task,
) -> Result<bool, Refusal> {
    let key = Key::of(task);
    let (resource, name) = (Resource::Tasks, Some(key.name.as_str()));
    may(facade, &principal.caller, verb, resource, &key.namespace, name).await
}

/// The Task with this id that the principal may report on: one whose work they do, or that of a pod that reports on
/// itself.
///
/// # Errors
/// [`Refusal::NotFound`], or the API server does not answer.
pub async fn reportable(facade: &Facade, principal: &Principal, sent: &TaskId) -> Result<Arc<Task>, Refusal> {
    let caller = &principal.caller;
    for task in meant(facade, &principal.home, sent).await? {
        if caller.pod.is_none() && !principal.processes(&task) {
            continue;
        }
        match reports::reportable(facade, caller, &Key::of(task.as_ref())).await {
            Err(Refusal::Forbidden(_) | Refusal::NotFound(_)) => {}
            outcome => return outcome,
        }
    }
    Err(none(sent))
}

/// The principal's own Tasks, and those of their namespace that are nobody's, as far as they may list them.
///
/// # Errors
/// The API server does not answer.
pub async fn own(facade: &Facade, principal: &Principal) -> Result<Vec<Arc<Task>>, Refusal> {
    let mut tasks = facade.views.tasks.read(|table| {
        let mut tasks = table.by_facet(&Facet::Owner(principal.caller.user.clone()));
        tasks.extend(table.by_facet(&Facet::Unowned(principal.home.clone())));
        tasks
    });
    let mut namespaces: BTreeSet<String> = tasks.iter().filter_map(|task| task.namespace()).collect();
    for namespace in std::mem::take(&mut namespaces) {
        let (caller, verb) = (&principal.caller, Verb::List);
        if may(facade, caller, verb, Resource::Tasks, &namespace, None).await? {
            namespaces.insert(namespace);
        }
    }
    tasks.retain(|task| {
        task.namespace()
            .is_some_and(|namespace| namespaces.contains(&namespace))
    });
    Ok(tasks)
}
