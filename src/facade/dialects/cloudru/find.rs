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
        let only = facade.config.namespace.as_deref();
        Ok(Self {
            id,
            namespace: namespace.filter(|found| is_served(found, only)),
        })
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

/// True for a namespace whose Tasks are in view: any, or the only one that this facade serves.
fn is_served(namespace: &str, only: Option<&str>) -> bool {
    only.is_none_or(|only| only == namespace)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const UID: &str = "0f1e2d3c-4b5a-4978-8069-1a2b3c4d5e6f";

    fn table(tasks: &[(&str, &str, &str)]) -> Table<Task> {
        let mut table = Table::default();
        for (namespace, name, uid) in tasks {
            let meta = json!({"namespace": namespace, "name": name, "uid": uid});
            let task: Task = serde_json::from_value(json!({"metadata": meta, "spec": {}})).unwrap();
            table.put(Arc::new(task));
        }
        table
    }

    #[test]
    fn a_task_is_found_by_uid_before_name_and_in_its_own_namespace_only() {
        let table = table(&[
            ("a", "hello", UID),
            ("a", UID, "11111111-4b5a-4978-8069-1a2b3c4d5e6f"),
            ("b", "other", "22222222-4b5a-4978-8069-1a2b3c4d5e6f"),
        ]);
        let found = |namespace, id| with_id(&table, namespace, id).map(|task| task.name_any());
        assert_eq!(found("a", UID).as_deref(), Some("hello"));
        assert_eq!(found("a", "hello").as_deref(), Some("hello"));
        assert_eq!(found("b", UID), None);
        assert_eq!(found("a", "other"), None);
        assert_eq!(found("a", "22222222-4b5a-4978-8069-1a2b3c4d5e6f"), None);
    }

    #[test]
    fn a_facade_of_one_namespace_serves_no_other() {
        assert!(is_served("a", None) && is_served("a", Some("a")) && !is_served("a", Some("b")));
    }
}
