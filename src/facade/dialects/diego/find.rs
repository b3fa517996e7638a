//! What a guid stands for, and whether the caller may do with it what they ask for.

use std::sync::Arc;

use super::{
    failure::{Failure, not_found},
    names::{self, object_name},
    password,
    view::Origin,
};
use crate::{
    crd::{Function, FunctionSpec, Task},
    facade::{
        access::{Caller, Resource, Verb},
        refusal::Refusal,
        state::Facade,
        views::Key,
    },
};

/// The caller's namespace, in which all their tasks are.
pub async fn home(facade: &Facade, caller: &Caller) -> Result<String, Failure> {
    let home = match &facade.config.dialects.diego.namespaces {
        Some(rule) => facade.access.home_by(rule, caller).await,
        None => facade.access.home(caller).await,
    };
    home.map_err(|error| Failure::from(crate::facade::refusal::Refusal::from(error)))
}

/// The Task with this guid, without its bodies and log, for a caller who may do this to it: one that was desired here or,
/// by its name, one that was made elsewhere.
///
/// # Errors
/// There is none, or the caller may not; the API server does not answer.
pub async fn task(
    facade: &Facade,
    caller: &Caller,
    (verb, resource): (Verb, Resource),
    guid: &str,
) -> Result<Arc<Task>, Failure> {
    let home = home(facade, caller).await?;
    let own = Key::new(&home, object_name(guid));
    let named = Key::new(&home, guid);
    // Rights come first, and are asked for the object that is meant.
    let key = match facade.views.tasks.get(&own).is_none() && facade.views.tasks.get(&named).is_some() {
        true => &named,
        false => &own,
    };
    facade
        .authorize(caller, verb, resource, &home, Some(&key.name))
        .await?;
    if let Some(task) = facade.task(key).await?
        && is(&task, guid)
    {
        return Ok(task);
    }
    Err(not_found())
}

/// True for the Task that this guid stands for.
pub fn is(task: &Task, guid: &str) -> bool {
    match names::guid(task) {
        Some(own) => own == guid,
        None => task.metadata.name.as_deref() == Some(guid),
    }
}

/// Whether the caller may read what is sealed in Tasks of a namespace: it is what a Secret there holds. Nobody is asked
/// where nothing is sealed.
///
/// # Errors
/// The API server does not answer.
pub async fn sees<'a>(
    facade: &Facade,
    caller: &Caller,
    home: &str,
    mut tasks: impl Iterator<Item = &'a Task>,
) -> Result<bool, Failure> {
    if !tasks.any(|task| names::sealed(task).is_some()) {
        return Ok(false);
    }
    let asked = facade.authorize(caller, Verb::Get, Resource::Secrets, home, None);
    match asked.await {
        Ok(()) => Ok(true),
        Err(Refusal::Forbidden(_)) => Ok(false),
        Err(other) => Err(other.into()),
    }
}

/// What the object of a Task does not tell of it. `sees`: also what is sealed.
pub fn origin(facade: &Facade, task: &Task, sees: bool) -> Origin {
    let keys = facade.config.dialects.diego.keys.as_ref();
    let definition = keys.filter(|_| sees).and_then(|keys| password::whole(task, keys));
    Origin {
        function: function(facade, task),
        definition,
    }
}

fn function(facade: &Facade, task: &Task) -> Option<FunctionSpec> {
    let (namespace, function) = (
        task.metadata.namespace.as_ref()?,
        task.spec.function_ref.as_ref()?,
    );
    let function = facade.views.functions.get(&Key::new(namespace, &function.name));
    function.map(|function: Arc<Function>| function.spec.clone())
}
