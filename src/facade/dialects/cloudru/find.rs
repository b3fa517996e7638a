//! What ids stand for, and whether the caller may know.

use std::sync::Arc;

use kube::ResourceExt as _;

use super::ids;
use crate::{
    crd::{LABEL_SERVICE_INSTANCE, Task},
    facade::{
        access::{AccessError, Action, Caller, Resource, Verb},
        refusal::Refusal,
        state::Facade,
        views::{Key, Table},
    },
};
/// A service instance whose tasks the caller may see.
pub struct Instance {
    /// Its id, as in the path.
    pub id: String,
    /// The namespace that stands for it.
    pub namespace: String,
}

/// The service instance, for a caller who may list its tasks.
pub async fn instance(facade: &Facade, caller: &Caller, id: String) -> Result<Instance, Refusal> {
    ids::instance(&id)?;
    let place = Place::of(facade, id).await?;
    place.open(facade, caller, Verb::List, None).await
}

/// A Task of a service instance, without its bodies and log.
pub async fn task(
    facade: &Facade,
    caller: &Caller,
    instance: String,
    id: &str,
) -> Result<(Instance, Arc<Task>), Refusal> {
    ids::instance(&instance)?;
    let id = ids::task(id)?;
    let place = Place::of(facade, instance).await?;
    let namespace = place.namespace().to_owned();
    let seen = facade.views.tasks.read(|table| with_id(table, &namespace, &id));
    let name = seen.as_ref().map_or(id, |task| task.name_any());
    let instance = place.open(facade, caller, Verb::Get, Some(&name)).await?;
    let task = match seen {
        Some(task) => Some(task),
        // Made a moment ago, perhaps through another replica.
        None => facade.task(&Key::new(namespace, name)).await?,
    };
    Ok((instance, task.ok_or_else(no_task)?))
}

/// There is no such task, or no more.
pub fn no_task() -> Refusal {
    Refusal::NotFound("task not found".into())
}

/// The Task with this uid or name. Nobody can choose a uid, so nobody can stand before another's Task.
fn with_id(table: &Table<Task>, namespace: &str, id: &str) -> Option<Arc<Task>> {
    let own = table
        .by_uid(id)
        .filter(|task| task.namespace().as_deref() == Some(namespace));
    own.or_else(|| table.get(&Key::new(namespace, id)))
}

/// Where a service instance is looked for.
struct Place {
    id: String,
    /// `None`: nowhere.
    namespace: Option<String>,
}

impl Place {
    async fn of(facade: &Facade, id: String) -> Result<Self, Refusal> {
        let found = facade.access.namespace_for(LABEL_SERVICE_INSTANCE, &id).await;
        let namespace = match found {
            Ok(found) => found,
            // A mistake of whoever labels namespaces; their names are no business of the caller.
            Err(error @ AccessError::NoNamespace(_)) => {
                tracing::warn!(%error, "a service instance is not served");
                None
            }
            Err(error) => return Err(error.into()),
        };
        let served = facade.config.namespace.as_ref();
        let namespace = namespace.filter(|found| served.is_none_or(|served| served == found));
        Ok(Self { id, namespace })
    }

    /// What is asked about: where there is none, whether the caller could see one of this name.
    fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or(&self.id)
    }

    /// Rights come first: whoever has none is not told which service instances there are.
    async fn open(
        self,
        facade: &Facade,
        caller: &Caller,
        verb: Verb,
        name: Option<&str>,
    ) -> Result<Instance, Refusal> {
        let action = Action {
            verb,
            resource: Resource::Tasks,
            namespace: self.namespace(),
            name,
        };
        match facade.access.authorize(caller, &action).await {
            Ok(()) => {}
            // Its own words name the namespace.
            Err(AccessError::Forbidden(_)) => {
                return Err(Refusal::Forbidden(format!(
                    "user {:?} may not read the tasks of service instance {}",
                    caller.user, self.id
                )));
            }
            Err(error) => return Err(error.into()),
        }
        let none = || Refusal::NotFound("service instance not found".into());
        Ok(Instance {
            namespace: self.namespace.ok_or_else(none)?,
            id: self.id,
        })
    }
}
