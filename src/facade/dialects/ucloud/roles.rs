//! Who may make which calls: the roles of this API, as Kubernetes' rights in the caller's own namespace say.
//!
//! | may list Tasks | may patch the status of Tasks | role |
//! |---|---|---|
//! | yes | no | USER |
//! | no | yes | SERVICE |
//! | yes | yes | ADMIN |
//!
//! The pod of a Task is a SERVICE for its own Task and nothing else. The role only opens a call: what it does to a Task
//! needs the right in the Task's own namespace besides.

use std::sync::Arc;

use crate::{
    crd::Task,
    facade::{
        access::{Caller, Resource, Verb},
        refusal::Refusal,
        state::Facade,
    },
};

/// The role of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Reads.
    User,
    /// Makes Tasks for users and reports on them.
    Service,
    /// Both.
    Admin,
}

/// What a call asks of a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// To read: USER or ADMIN.
    Read,
    /// To report: SERVICE or ADMIN.
    Report,
}

impl Role {
    fn of(reads: bool, reports: bool) -> Option<Self> {
        match (reads, reports) {
            (true, false) => Some(Self::User),
            (false, true) => Some(Self::Service),
            (true, true) => Some(Self::Admin),
            (false, false) => None,
        }
    }

    fn meets(self, need: Need) -> bool {
        match need {
            Need::Read => self != Self::Service,
            Need::Report => self != Self::User,
        }
    }
}

/// A caller with their role.
#[derive(Clone, Debug)]
pub struct Principal {
    /// Who.
    pub caller: Arc<Caller>,
    /// As what.
    pub role: Role,
    /// Their own namespace.
    pub home: String,
}

impl Principal {
    /// Finds the role of a caller who is to have one of these.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`], or the API server does not answer.
    pub async fn of(facade: &Facade, caller: Arc<Caller>, need: Need) -> Result<Self, Refusal> {
        let principal = match &caller.pod {
            Some(pod) => Self {
                home: pod.namespace.clone(),
                role: Role::Service,
                caller,
            },
            None => Self::with_rights(facade, caller).await?,
        };
        if principal.role.meets(need) {
            return Ok(principal);
        }
        Err(forbidden(
            &principal.caller,
            "another role is needed for this call",
        ))
    }

    async fn with_rights(facade: &Facade, caller: Arc<Caller>) -> Result<Self, Refusal> {
        let home = facade.access.home(&caller).await?;
        let reads = may(facade, &caller, Verb::List, Resource::Tasks, &home, None).await?;
        let reports = may(facade, &caller, Verb::Patch, Resource::TaskStatus, &home, None).await?;
        match Role::of(reads, reports) {
            Some(role) => Ok(Self { caller, role, home }),
            None => Err(forbidden(&caller, "no role follows from any right")),
        }
    }

    /// True for a Task of this principal's own, or nobody's in their own namespace.
    pub fn owns(&self, task: &Task) -> bool {
        match &task.spec.owner {
            Some(owner) => *owner == self.caller.user,
            None => task.metadata.namespace.as_ref() == Some(&self.home),
        }
    }

    /// True for a Task whose work this principal does.
    pub fn processes(&self, task: &Task) -> bool {
        let processor = task.spec.external.as_ref().map(|external| &external.processor);
        processor == Some(&self.caller.user)
    }
}

/// True where Kubernetes lets the caller do this.
///
/// # Errors
/// The API server does not answer.
pub async fn may(
    facade: &Facade,
    caller: &Caller,
    verb: Verb,
    resource: Resource,
    namespace: &str,
    name: Option<&str>,
) -> Result<bool, Refusal> {
    match facade.authorize(caller, verb, resource, namespace, name).await {
        Ok(()) => Ok(true),
        Err(Refusal::Forbidden(_)) => Ok(false),
        Err(other) => Err(other),
    }
}

fn forbidden(caller: &Caller, why: &str) -> Refusal {
    Refusal::Forbidden(format!("user {:?}: {why}", caller.user))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_follows_from_two_rights_and_opens_its_calls() {
        let opens = |role: Role| [Need::Read, Need::Report].map(|need| role.meets(need));
        for (rights, role, open) in [
            ((true, false), Role::User, [true, false]),
            ((false, true), Role::Service, [false, true]),
            ((true, true), Role::Admin, [true, true]),
        ] {
            assert_eq!(Role::of(rights.0, rights.1), Some(role));
            assert_eq!(opens(role), open, "{role:?}");
        }
        assert_eq!(Role::of(false, false), None);
    }
}
