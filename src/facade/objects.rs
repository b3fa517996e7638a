//! Tasks, Functions and Schedules at the API server: what the views leave out, and every write. Refusals come back as sentences.

use std::time::Duration;

use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::ControllerRevision,
        core::v1::{ConfigMap, Secret},
    },
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{refusal::Refusal, views::Key};
use crate::{
    chain::chain,
    crd::{Function, MAX_BODY_BYTES, Schedule, Task},
};

/// Objects on a page of a list.
const PAGE: u32 = 200;

/// The API server, as the facade itself.
#[derive(Clone)]
pub struct Objects {
    client: Client,
    manager: String,
    timeout: Duration,
}

impl Objects {
    /// Writes as `manager`; each call takes at most `timeout`.
    pub fn new(client: Client, manager: String, timeout: Duration) -> Self {
        Self {
            client,
            manager,
            timeout,
        }
    }

    /// The client below, for calls that have no method here.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Creates an object in its namespace.
    ///
    /// # Errors
    /// [`Refusal`] by the API server, or it does not answer.
    pub async fn create<K: Object>(&self, object: &K) -> Result<K, Refusal> {
        let api = self.api::<K>(&object.namespace().unwrap_or_default());
        let params = PostParams {
            field_manager: Some(self.manager.clone()),
            ..PostParams::default()
        };
        self.call(api.create(&params, object)).await
    }

    /// The whole object; `None` where there is none.
    ///
    /// # Errors
    /// The API server refuses or does not answer.
    pub async fn get<K: Object>(&self, key: &Key) -> Result<Option<K>, Refusal> {
        // What no object can be called is not asked for.
        if !is_name(&key.name) || !is_name(&key.namespace) {
            return Ok(None);
        }
        self.call(self.api::<K>(&key.namespace).get_opt(&key.name)).await
    }

    /// The whole objects of a namespace that have these labels, handed over page by page.
    ///
    /// # Errors
    /// The API server refuses or does not answer.
    pub async fn list<K: Object>(
        &self,
        namespace: &str,
        labels: &str,
        mut take: impl FnMut(K),
    ) -> Result<(), Refusal> {
        let api = self.api::<K>(namespace);
        let mut params = ListParams::default().labels(labels).limit(PAGE);
        loop {
            let page = self.call(api.list(&params)).await?;
            page.items.into_iter().for_each(&mut take);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(()),
            }
        }
    }

    /// Asks for a Task to be stopped.
    ///
    /// # Errors
    /// The API server refuses or does not answer.
    pub async fn cancel(&self, key: &Key) -> Result<Task, Refusal> {
        self.merge(key, json!({"spec": {"cancel": true}})).await
    }

    /// Merge-patches an object.
    ///
    /// # Errors
    /// The API server refuses or does not answer.
    pub async fn merge<K: Object>(&self, key: &Key, patch: Value) -> Result<K, Refusal> {
        let api = self.api::<K>(&key.namespace);
        let params = PatchParams::apply(&self.manager);
        self.call(api.patch(&key.name, &params, &Patch::Merge(patch)))
            .await
    }

    /// Merge-patches the status of an object.
    ///
    /// # Errors
    /// The API server refuses or does not answer.
    pub async fn merge_status<K: Object>(&self, key: &Key, patch: Value) -> Result<K, Refusal> {
        let api = self.api::<K>(&key.namespace);
        let params = PatchParams::apply(&self.manager);
        self.call(api.patch_status(&key.name, &params, &Patch::Merge(patch)))
            .await
    }

    /// Puts an object in the place of the one that was read, unless that has changed meanwhile ([`Refusal::Conflict`]).
    ///
    /// # Errors
    /// The API server refuses or does not answer.
    pub async fn replace<K: Object>(&self, object: &K) -> Result<K, Refusal> {
        let api = self.api::<K>(&object.namespace().unwrap_or_default());
        let params = PostParams {
            field_manager: Some(self.manager.clone()),
            ..PostParams::default()
        };
        self.call(api.replace(&object.name_any(), &params, object)).await
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// The API server refuses or does not answer.
    pub async fn delete<K: Object>(&self, key: &Key) -> Result<(), Refusal> {
        let api = self.api::<K>(&key.namespace);
        let params = DeleteParams::default();
        self.call(api.delete(&key.name, &params)).await.map(drop)
    }

    /// Deletes the object that was read, unless it has changed meanwhile ([`Refusal::Conflict`]).
    ///
    /// # Errors
    /// The API server refuses or does not answer.
    pub async fn delete_as<K: Object>(&self, object: &K) -> Result<(), Refusal> {
        let api = self.api::<K>(&object.namespace().unwrap_or_default());
        let as_read = Preconditions {
            uid: object.uid(),
            resource_version: object.resource_version(),
        };
        let params = DeleteParams::default().preconditions(as_read);
        self.call(api.delete(&object.name_any(), &params)).await.map(drop)
    }

    /// Deletes this object, whatever has changed of it, and no other of its name ([`Refusal::Conflict`]).
    ///
    /// # Errors
    /// The API server refuses or does not answer.
    pub async fn delete_same<K: Object>(&self, object: &K) -> Result<(), Refusal> {
        let api = self.api::<K>(&object.namespace().unwrap_or_default());
        let same = Preconditions {
            uid: object.uid(),
            resource_version: None,
        };
        let params = DeleteParams::default().preconditions(same);
        self.call(api.delete(&object.name_any(), &params)).await.map(drop)
    }

    /// Deletes an object; what belongs to it stays.
    ///
    /// # Errors
    /// The API server refuses or does not answer.
    pub async fn delete_alone<K: Object>(&self, key: &Key) -> Result<(), Refusal> {
        let api = self.api::<K>(&key.namespace);
        let params = DeleteParams::orphan();
        self.call(api.delete(&key.name, &params)).await.map(drop)
    }

    fn api<K: Object>(&self, namespace: &str) -> Api<K> {
        Api::namespaced(self.client.clone(), namespace)
    }

    async fn call<T>(&self, call: impl Future<Output = kube::Result<T>>) -> Result<T, Refusal> {
        match tokio::time::timeout(self.timeout, call).await {
            Ok(outcome) => outcome.map_err(|error| refusal(&error)),
            Err(_) => {
                let text = format!(
                    "the API server did not answer within {} s",
                    self.timeout.as_secs()
                );
                tracing::warn!("{text}");
                Err(Refusal::Unavailable(text))
            }
        }
    }
}

/// What the facade reads and writes.
pub trait Object:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()>
    + Clone
    + std::fmt::Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
}

impl Object for Task {}
impl Object for Function {}
impl Object for Schedule {}
impl Object for ConfigMap {}
impl Object for Secret {}
impl Object for ControllerRevision {}

/// True for what may be the name of an object: a DNS subdomain (RFC 1123).
pub fn is_name(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    !text.is_empty()
        && text.len() <= 253
        && text
            .split('.')
            .all(|label| match label.as_bytes() {
                [] => false,
                [first, .., last] => inner(*first) && inner(*last),
                [only] => inner(*only),
            } && label.bytes().all(|byte| inner(byte) || byte == b'-'))
}

/// What the API server's error means to the caller of the facade.
fn refusal(error: &kube::Error) -> Refusal {
    let kube::Error::Api(status) = error else {
        tracing::warn!(error = %chain(error), "the API server cannot be asked");
        return Refusal::Unavailable("the API server cannot be asked".into());
    };
    let message = status.message.clone();
    match status.code {
        400 | 422 => Refusal::Invalid(message),
        404 => Refusal::NotFound(message),
        409 => Refusal::Conflict(message),
        413 => Refusal::TooLarge {
            limit: MAX_BODY_BYTES,
        },
        429 => Refusal::TooMany {
            retry: Duration::from_secs(1),
        },
        // The caller was asked for before: it is the facade that may not.
        401 | 403 => {
            tracing::error!(said = %message, "the facade lacks a right that it needs");
            Refusal::Unavailable("the facade lacks a right that it needs; see its log".into())
        }
        code => {
            tracing::warn!(code, said = %message, "the API server failed");
            Refusal::Unavailable("the API server failed".into())
        }
    }
}
