//! News of a user's Tasks, for one socket.

use std::{collections::BTreeSet, sync::Arc};

use kube::ResourceExt as _;

use super::{
    frames::message,
    map::updates,
    roles::{Need, Principal, may},
    second,
};
use crate::{
    crd::Task,
    facade::{
        access::{Caller, Resource, Verb},
        refusal::Refusal,
        state::Facade,
        views::Change,
    },
};

/// What news is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// What changed.
    Updates,
    /// Tasks as they are now.
    Tasks,
    /// None: there is nothing to tell.
    Silence,
}

/// Who listens, and to what.
pub struct Listening {
    facade: Facade,
    stream: String,
    form: Form,
    principal: Principal,
    /// Namespaces whose Tasks the listener may list, as was last asked.
    open: BTreeSet<String>,
}

impl Listening {
    /// Listens as this caller.
    ///
    /// # Errors
    /// The caller may not; the API server does not answer.
    pub async fn new(
        facade: Facade,
        stream: String,
        form: Form,
        caller: Arc<Caller>,
    ) -> Result<Self, Refusal> {
        let principal = Principal::of(&facade, caller, Need::Read).await?;
        Ok(Self {
            facade,
            stream,
            form,
            principal,
            open: BTreeSet::new(),
        })
    }

    /// What the news is called on the socket.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// What a change is to this listener, as frames.
    pub async fn frames(&mut self, change: &Change<Task>) -> Vec<String> {
        let (before, after) = (self.own(&change.before), self.own(&change.after));
        let Some(task) = after.or(before) else {
            return Vec::new();
        };
        if self.form == Form::Silence || !self.hears(task).await {
            return Vec::new();
        }
        match self.form {
            Form::Updates => {
                let updates = updates(before, after);
                updates
                    .iter()
                    .map(|update| message(&self.stream, update))
                    .collect()
            }
            Form::Tasks => {
                let shown = after.map(second::map::shown);
                let news = shown.filter(|shown| before.map(second::map::shown).as_ref() != Some(shown));
                news.iter().map(|task| message(&self.stream, task)).collect()
            }
            Form::Silence => Vec::new(),
        }
    }

    fn own<'a>(&self, task: &'a Option<Arc<Task>>) -> Option<&'a Task> {
        task.as_deref().filter(|task| self.principal.owns(task))
    }

    /// May the listener hear of Tasks in the namespace of this one?
    async fn hears(&mut self, task: &Task) -> bool {
        let namespace = task.namespace().unwrap_or_default();
        if self.open.contains(&namespace) {
            return true;
        }
        let open = self.may_list(&namespace).await;
        if let Err(error) = &open {
            tracing::warn!(%namespace, %error, "a listener misses news of a Task");
        }
        let open = open.unwrap_or(false);
        if open {
            self.open.insert(namespace);
        }
        open
    }

    async fn may_list(&self, namespace: &str) -> Result<bool, Refusal> {
        let caller = &self.principal.caller;
        may(&self.facade, caller, Verb::List, Resource::Tasks, namespace, None).await
    }

    /// Asks for the rights again. An API server that does not answer bars nobody.
    ///
    /// # Errors
    /// The caller may no longer listen.
    pub async fn recheck(&mut self) -> Result<(), Refusal> {
        let caller = self.principal.caller.clone();
        match Principal::of(&self.facade, caller, Need::Read).await {
            Ok(principal) => self.principal = principal,
            Err(Refusal::Unavailable(_)) => {}
            Err(refusal) => return Err(refusal),
        }
        for namespace in std::mem::take(&mut self.open) {
            if self.may_list(&namespace).await.unwrap_or(true) {
                self.open.insert(namespace);
            }
        }
        Ok(())
    }
}
