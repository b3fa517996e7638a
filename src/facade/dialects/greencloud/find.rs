//! Tasks and Functions by their ids.

use std::sync::Arc;

use kube::ResourceExt as _;

use super::{
    failure::{Failure, hidden},
    ids::Id,
};
use crate::{
    crd::{Function, Task},
    facade::{
        access::{Caller, Resource, Verb},
        refusal::Refusal,
        state::Facade,
        views::{Faceted, Key, Table},
    },
};

/// The Task of the caller with this id, without its bodies and log.
pub async fn task(facade: &Facade, caller: &Caller, text: &str) -> Result<Arc<Task>, Failure> {
    let none = || Refusal::NotFound(format!("there is no task {text}"));
    let Some(id) = Id::parse(text) else {
        return Err(Refusal::Invalid(format!(
            "{text:?} is no task id: 24 hexadecimal digits in lower case"
        ))
        .into());
    };
    let namespace = facade.access.home(caller).await?;
    let seen = facade.views.tasks.read(|table| with_id(table, &namespace, &id));
    let name = seen.as_ref().map_or(id.to_string(), |task| task.name_any());
    let allowed = facade
        .authorize(caller, Verb::Get, Resource::Tasks, &namespace, Some(&name))
        .await;
    allowed.map_err(|refusal| hidden(refusal, none))?;
    let task = match seen {
        Some(task) => Some(task),
        // Made a moment ago, perhaps through another replica.
        None => facade.task(&Key::new(namespace, name)).await?,
    };
    let task = task.filter(|task| belongs(task, caller));
    task.ok_or_else(|| none().into())
}

/// True for a Task that the caller may know of: their own, or nobody's.
pub fn belongs(task: &Task, caller: &Caller) -> bool {
    task.spec.owner.as_ref().is_none_or(|owner| *owner == caller.user)
}

/// The object of a namespace with this id.
fn with_id<K: Faceted>(table: &Table<K>, namespace: &str, id: &Id) -> Option<Arc<K>> {
    table.get(&Key::new(namespace, id.as_str())).or_else(|| {
        let mut same = table.by_uid_prefix(&id.uid_prefix()).into_iter();
        same.find(|object| {
            object.namespace().as_deref() == Some(namespace) && Id::of(object.meta()).as_ref() == Some(id)
        })
    })
}

/// The Function with this id or name.
pub async fn function(facade: &Facade, namespace: &str, text: &str) -> Result<Arc<Function>, Refusal> {
    let key = Key::new(namespace, text);
    let seen = facade.views.functions.read(|table| {
        let named = table.get(&key);
        named.or_else(|| Id::parse(text).and_then(|id| with_id(table, namespace, &id)))
    });
    if let Some(function) = seen {
        return Ok(function);
    }
    // Made a moment ago, perhaps through another replica.
    let found = facade.objects.get(&key).await?.map(Arc::new);
    found.ok_or_else(|| Refusal::NotFound(format!("there is no function {text}")))
}

/// The Function that a Task runs, where it is still there.
pub fn function_of(facade: &Facade, task: &Task) -> Option<Arc<Function>> {
    let name = &task.spec.function_ref.as_ref()?.name;
    let key = Key::new(task.namespace()?, name.clone());
    facade.views.functions.get(&key)
}
