//! Tasks, Functions and Schedules by their ids. Those of the caller's own namespace come first; who may see those of another one
//! finds them too.

use std::sync::Arc;

use kube::ResourceExt as _;

use super::{
    failure::{hidden, not_allowed},
    map,
};
use crate::{
    crd::{Function, FunctionRef, Schedule, Task},
    facade::{
        access::{Caller, Resource, Verb},
        refusal::Refusal,
        state::Facade,
        uuids,
        views::{Faceted, Key, View},
    },
};

/// The Task with this id, which must be a UUID, without its bodies and log.
pub async fn task(facade: &Facade, caller: &Caller, verb: Verb, id: &str) -> Result<Arc<Task>, Refusal> {
    let none = || Refusal::NotFound(format!("Execution not found [id={id}]"));
    let namespace = facade.access.home(caller).await?;
    let (key, seen) = known(&facade.views.tasks, &namespace, id);
    let allowed = facade.authorize(caller, verb, Resource::Tasks, &key.namespace, Some(&key.name));
    allowed.await.map_err(|refusal| hidden(refusal, none))?;
    match seen {
        Some(task) => Ok(task),
        // Made a moment ago, perhaps through another replica.
        None => facade.task(&key).await?.ok_or_else(none),
    }
}

/// The Function with this id.
pub async fn function(
    facade: &Facade,
    caller: &Caller,
    verb: Verb,
    id: &str,
) -> Result<Arc<Function>, Refusal> {
    let namespace = facade.access.home(caller).await?;
    let none = || Refusal::NotFound(format!("Function not found [id={id}]"));
    let (key, seen) = known(&facade.views.functions, &namespace, id);
    let allowed = facade.authorize(caller, verb, Resource::Functions, &key.namespace, Some(&key.name));
    let read = matches!(verb, Verb::Get) || key.namespace != namespace;
    allowed.await.map_err(|refusal| {
        if read {
            hidden(refusal, none)
        } else {
            not_allowed(refusal)
        }
    })?;
    match seen {
        Some(function) => Ok(function),
        None => facade.objects.get(&key).await?.map(Arc::new).ok_or_else(none),
    }
}

/// The Schedule with this id, which must be a UUID.
pub async fn schedule(
    facade: &Facade,
    caller: &Caller,
    verb: Verb,
    id: &str,
) -> Result<Arc<Schedule>, Refusal> {
    let none = || Refusal::NotFound(format!("Job not found [id={id}]"));
    let namespace = facade.access.home(caller).await?;
    let (key, seen) = known(&facade.views.schedules, &namespace, id);
    let allowed = facade.authorize(caller, verb, Resource::Schedules, &key.namespace, Some(&key.name));
    allowed.await.map_err(|refusal| hidden(refusal, none))?;
    match seen {
        Some(schedule) => Ok(schedule),
        // Made a moment ago, perhaps through another replica.
        None => facade.objects.get(&key).await?.map(Arc::new).ok_or_else(none),
    }
}

/// The Function with this id in this namespace, whose right is asked for elsewhere.
pub async fn function_in(facade: &Facade, namespace: &str, id: &str) -> Result<Arc<Function>, Refusal> {
    let (_, seen) = known(&facade.views.functions, namespace, id);
    if let Some(function) = seen.filter(|function| function.namespace().as_deref() == Some(namespace)) {
        return Ok(function);
    }
    let found = facade.objects.get(&Key::new(namespace, id)).await?.map(Arc::new);
    found.ok_or_else(|| Refusal::NotFound(format!("Function not found [id={id}]")))
}

/// The id of the Function that a Task runs: by its name, or as the view knows it.
pub fn function_id(facade: &Facade, task: &Task) -> Option<String> {
    id_of(facade, task.namespace()?, task.spec.function_ref.as_ref()?)
}

/// The id of the Function that a reference names: its name, or as the view knows it.
pub fn id_of(facade: &Facade, namespace: String, function: &FunctionRef) -> Option<String> {
    let name = &function.name;
    if uuids::parse(name).is_some() {
        return Some(name.clone());
    }
    let key = Key::new(namespace, name.clone());
    facade
        .views
        .functions
        .get(&key)
        .map(|function| map::id(function.as_ref()))
}

/// The object with this id as the view knows it, and its key, or the one that it has if it is new and the caller's own.
fn known<K: Faceted + Clone>(view: &View<K>, namespace: &str, id: &str) -> (Key, Option<Arc<K>>) {
    let own = Key::new(namespace, id);
    let seen = view.read(|table| {
        table
            .get(&own)
            .or_else(|| table.by_uid(id))
            .or_else(|| table.named(id).into_iter().next())
    });
    (seen.as_deref().map_or(own, Key::of), seen)
}
