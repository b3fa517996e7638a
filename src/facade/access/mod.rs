//! Who calls, and what they may do: answered by Kubernetes itself, kept for a short time.
//!
//! ```ignore
//! let token = token_of(request.headers()).ok_or(AccessError::NoToken)?;
//! let caller = access.authenticate(token).await?;                    // static tokens, then TokenReview
//! let namespace = access.home(&caller).await?;                       // Tenancy
//! let action = Action { verb: Verb::Create, resource: Resource::Tasks, namespace: &namespace, name: None };
//! access.authorize(&caller, &action).await?;                         // SubjectAccessReview
//! access.owns(&caller, &task).await?;                                // reports of a pod on its own Task
//! ```
//!
//! - [`token`]: what headers and tokens say by themselves. [`caller`]: who a token stands for. [`action`]: what is asked.
//! - [`tenancy`]: which namespace stands for whom. [`static_tokens`]: a file of tokens for callers outside the cluster.
//! - `review`: the questions to the API server. `answers`: what it said, for a short time. `owner`: whose pod it is.

pub mod action;
mod answers;
pub mod caller;
mod config;
mod error;
mod owner;
mod review;
pub mod static_tokens;
pub mod tenancy;
pub mod token;

use std::sync::Arc;

use kube::Client;
use sha2::{Digest as _, Sha256};

pub use self::{
    action::{Action, Resource, Verb},
    caller::{Caller, PodIdentity},
    config::AccessConfig,
    error::{AccessError, Unanswered},
    tenancy::NamespaceRule,
    token::token_of,
};
use self::{
    answers::{Answers, Fresh, Key},
    review::{Found, Wanted},
    static_tokens::StaticTokens,
    tenancy::Home,
};
use crate::crd::{LABEL_ACCOUNT, Task};

/// The door's keeper. Clones share what they know.
#[derive(Clone)]
pub struct Access {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    config: AccessConfig,
    static_tokens: Option<StaticTokens>,
    /// By token. None: not a valid one.
    callers: Arc<Answers<Option<Arc<Caller>>>>,
    /// By caller and action.
    rights: Arc<Answers<bool>>,
    /// By pod and Task.
    owners: Arc<Answers<bool>>,
    /// By label or name.
    namespaces: Arc<Answers<Arc<[Found]>>>,
}

impl Access {
    /// Reads the file of static tokens, if there is one; [`AccessConfig::check`] tells beforehand whether that works.
    pub fn new(client: Client, config: AccessConfig) -> Self {
        let entries = config.entries;
        Self {
            inner: Arc::new(Inner {
                client,
                static_tokens: config.static_tokens.clone().map(StaticTokens::open),
                config,
                callers: Answers::new(entries),
                rights: Answers::new(entries),
                owners: Answers::new(entries),
                namespaces: Answers::new(entries),
            }),
        }
    }

    /// Who holds this token.
    ///
    /// # Errors
    /// [`AccessError::NoToken`] for an empty one, [`AccessError::InvalidToken`], [`AccessError::Unavailable`].
    pub async fn authenticate(&self, token: &str) -> Result<Arc<Caller>, AccessError> {
        token::check(token)?;
        let inner = &self.inner;
        let key: Key = Sha256::digest(token).into();
        if let Some(table) = &inner.static_tokens
            && let Some(caller) = table.caller_of(&key).await
        {
            return Ok(caller);
        }
        let answer = inner.callers.get(key, || {
            let (inner, token) = (inner.clone(), token.to_owned());
            async move {
                let claims = token::claims(&token);
                let audience = claims.audience();
                let call = review::token(&inner.client, inner.config.time_limit, token, audience);
                let caller = caller::reviewed(call.await?, audience).map(Arc::new);
                let ttl = match &caller {
                    Some(_) => claims.ttl(jiff::Timestamp::now(), inner.config.token_ttl),
                    None => inner.config.denied_ttl,
                };
                Ok(Fresh { value: caller, ttl })
            }
        });
        answer.await?.ok_or(AccessError::InvalidToken)
    }

    /// May the caller do this?
    ///
    /// # Errors
    /// [`AccessError::Forbidden`] with a sentence, [`AccessError::PodOnly`] for a pod's token, whatever the action,
    /// [`AccessError::Unavailable`].
    pub async fn authorize(&self, caller: &Caller, action: &Action<'_>) -> Result<(), AccessError> {
        if caller.pod.is_some() {
            return Err(AccessError::PodOnly);
        }
        let inner = &self.inner;
        let key = answers::key(&("action", caller.question(), action));
        let allowed = inner.rights.get(key, || {
            let (inner, spec) = (inner.clone(), action.spec(caller));
            async move {
                let allowed = review::access(&inner.client, inner.config.time_limit, spec).await?;
                Ok(inner.config.fresh(allowed))
            }
        });
        if allowed.await? {
            Ok(())
        } else {
            Err(AccessError::Forbidden(action.refusal(&caller.user)))
        }
    }

    /// May the caller report progress and end for this Task with a pod's token? Ask before anything else is done
    /// with such a token; other callers need [`Self::authorize`] on [`Resource::TaskStatus`].
    ///
    /// # Errors
    /// [`AccessError::PodOnly`] for the pod of another Task, [`AccessError::Forbidden`] for a caller that is no pod,
    /// [`AccessError::Unavailable`].
    pub async fn owns(&self, caller: &Caller, task: &Task) -> Result<(), AccessError> {
        let Some(pod) = &caller.pod else {
            return Err(AccessError::Forbidden(owner::not_a_pod(&caller.user)));
        };
        let Some(task_uid) = owner::same_namespace(pod, task) else {
            return Err(AccessError::PodOnly);
        };
        if owner::is_named(pod, task) {
            return Ok(());
        }
        let inner = &self.inner;
        let attempt = owner::attempt(task);
        let key = answers::key(&("owner", &pod.namespace, &pod.name, &pod.uid, task_uid, attempt));
        let owned = inner.owners.get(key, || {
            let (inner, pod, task_uid) = (inner.clone(), pod.clone(), task_uid.to_owned());
            async move {
                let found = review::pod(&inner.client, inner.config.time_limit, &pod).await?;
                let owned =
                    found.is_some_and(|found| owner::is_owned(&found.metadata, &pod, &task_uid, attempt));
                Ok(inner.config.fresh(owned))
            }
        });
        if owned.await? {
            Ok(())
        } else {
            Err(AccessError::PodOnly)
        }
    }

    /// The namespace that stands for this caller's account or project, by [`AccessConfig::namespaces`].
    ///
    /// # Errors
    /// [`AccessError::NoNamespace`] with a sentence, [`AccessError::PodOnly`], [`AccessError::Unavailable`].
    pub async fn home(&self, caller: &Caller) -> Result<String, AccessError> {
        self.home_by(&self.inner.config.namespaces, caller).await
    }

    /// The same by a door's own rule.
    ///
    /// # Errors
    /// As [`Self::home`].
    pub async fn home_by(&self, rule: &NamespaceRule, caller: &Caller) -> Result<String, AccessError> {
        if caller.pod.is_some() {
            return Err(AccessError::PodOnly);
        }
        match rule.home(&caller.user, &caller.groups)? {
            Home::Is(namespace) => Ok(namespace),
            Home::Labelled(values) => self.labelled(LABEL_ACCOUNT, &values).await,
        }
    }

    /// The namespace that `text` stands for at doors whose paths name one, such as by a service instance: the one with
    /// this label or, where none has it, the one of this name; `None` where there is neither.
    ///
    /// # Errors
    /// [`AccessError::NoNamespace`] with a sentence where several have the label, [`AccessError::Unavailable`].
    pub async fn namespace_for(&self, label: &str, text: &str) -> Result<Option<String>, AccessError> {
        let values = tenancy::label_values([text]);
        if values.is_empty() {
            return Ok(None);
        }
        let found = self
            .namespaces(Wanted::Labelled(label.to_owned(), values.clone()))
            .await?;
        if let Some(namespace) = tenancy::choose(label, &values, &found)? {
            return Ok(Some(namespace));
        }
        let found = self.namespaces(Wanted::Named(text.to_owned())).await?;
        Ok(found.first().map(|found| found.namespace.clone()))
    }

    /// The namespace whose label has the first of the values that any has.
    async fn labelled(&self, label: &str, values: &[String]) -> Result<String, AccessError> {
        let found = match values {
            [] => Arc::from([]),
            values => {
                self.namespaces(Wanted::Labelled(label.to_owned(), values.to_vec()))
                    .await?
            }
        };
        let chosen = tenancy::choose(label, values, &found)?;
        chosen.ok_or_else(|| tenancy::none(label, values))
    }

    async fn namespaces(&self, wanted: Wanted) -> Result<Arc<[Found]>, AccessError> {
        let inner = &self.inner;
        let key = answers::key(&("namespaces", &wanted));
        let found = inner.namespaces.get(key, || {
            let inner = inner.clone();
            async move {
                let found = review::namespaces(&inner.client, inner.config.time_limit, wanted).await?;
                let ttl = inner.config.ttl(!found.is_empty());
                Ok(Fresh {
                    value: found.into(),
                    ttl,
                })
            }
        });
        found.await
    }
}

#[cfg(test)]
mod tests;
