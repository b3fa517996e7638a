//! The keys of a signature, read from the Secret that a Task names.

use k8s_openapi::api::core::v1::Secret;
use kube::Api;

use super::sign::{KeyError, Keys};
use crate::{
    crd::SecretKeyRef,
    engine::context::{CallError, Context},
};

/// Why there is no key. Another try may find one.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Error {
    #[error(
        "the controller may not read Secret {name}: it needs the right to get it (rbac.callbackSecrets of the chart)"
    )]
    Forbidden { name: String },
    #[error("there is no Secret {name} for the signature")]
    Missing { name: String },
    #[error("Secret {name} has no key {key} for the signature")]
    NoKey { name: String, key: String },
    #[error("key {key} of Secret {name} cannot sign")]
    Key {
        name: String,
        key: String,
        #[source]
        source: KeyError,
    },
    #[error(transparent)]
    Call(CallError),
}

/// Reads the keys.
///
/// # Errors
/// [`Error`], with a sentence for the Task's status.
pub async fn keys(ctx: &Context, namespace: &str, reference: &SecretKeyRef) -> Result<Keys, Error> {
    let SecretKeyRef { name, key } = reference.clone();
    let api: Api<Secret> = Api::namespaced(ctx.client.clone(), namespace);
    let secret = match ctx.call("read the Secret of a callback", api.get(&name)).await {
        Ok(secret) => secret,
        Err(error) if error.is_not_found() => return Err(Error::Missing { name }),
        Err(error) if error.status().is_some_and(|status| status.code == 403) => {
            return Err(Error::Forbidden { name });
        }
        Err(error) => return Err(Error::Call(error)),
    };
    let value = secret.data.unwrap_or_default().remove(&key);
    let Some(value) = value else {
        return Err(Error::NoKey { name, key });
    };
    Keys::parse(&value.0).map_err(|source| Error::Key { name, key, source })
}
