//! The CustomResourceDefinitions in a cluster: made, or brought up to date, and waited for.
//!
//! Created and merge-patched rather than applied by the server: an older API server drops fields of a definition that it
//! does not know (selectable fields, CEL rules), but refuses them in an apply.

use std::{fmt, time::Duration};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, ResourceExt as _,
    api::{Patch, PatchParams, PostParams},
};
use kube_runtime::wait::{Condition as _, conditions::is_crd_established};
use tokio::time::{sleep, timeout};

use super::connect::Refusal;
use crate::crd;

/// Field manager of the definitions.
const MANAGER: &str = "errand-crds";
/// Limit on putting one definition into the cluster, and again on the wait until it is served.
const LIMIT: Duration = Duration::from_secs(60);
/// Pause between two looks at a definition that is not served yet.
const LOOK: Duration = Duration::from_millis(200);

/// Why the definitions are not in the cluster.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused one, or did not answer.
    #[error("could not put {name} into the cluster")]
    Put {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: Refusal,
    },
    /// No answer.
    #[error("could not put {name} into the cluster: no answer from the API server within {LIMIT:?}")]
    Silent {
        /// Its name.
        name: String,
    },
    /// One is there and still not served.
    #[error("{name} is in the cluster, but was not served within {LIMIT:?}: {conditions}")]
    Unserved {
        /// Its name.
        name: String,
        /// What the API server says about it.
        conditions: String,
    },
}

/// What became of a definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Created,
    /// It was another.
    Configured,
    /// It was as it should be.
    Unchanged,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
        })
    }
}

/// Puts the definitions of this version into the cluster and waits until the API server serves them. What others wrote
/// into their metadata stays.
///
/// # Errors
/// The API server refuses, does not answer, or does not serve them in time.
pub async fn install(client: &Client) -> Result<Vec<(String, Change)>, Error> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let mut changes = Vec::new();
    for (_, definition) in crd::definitions() {
        let name = definition.name_any();
        match timeout(LIMIT, put(&api, &name, &definition)).await {
            Ok(Ok(change)) => changes.push((name, change)),
            Ok(Err(source)) => {
                let source = source.into();
                return Err(Error::Put { name, source });
            }
            Err(_) => return Err(Error::Silent { name }),
        }
    }
    for (name, _) in &changes {
        served(&api, name).await?;
    }
    Ok(changes)
}

async fn put(
    api: &Api<CustomResourceDefinition>,
    name: &str,
    definition: &CustomResourceDefinition,
) -> kube::Result<Change> {
    let before = match api.get_opt(name).await? {
        Some(before) => before.resource_version(),
        None => {
            let params = PostParams {
                field_manager: Some(MANAGER.to_owned()),
                ..PostParams::default()
            };
            match api.create(&params, definition).await {
                Ok(_) => return Ok(Change::Created),
                // Somebody else made it meanwhile.
                Err(kube::Error::Api(status)) if status.is_already_exists() => None,
                Err(error) => return Err(error),
            }
        }
    };
    // The versions with their schemas are a list, which a merge replaces as a whole.
    let patched = api
        .patch(name, &PatchParams::apply(MANAGER), &Patch::Merge(definition))
        .await?;
    Ok(match patched.resource_version() == before {
        true => Change::Unchanged,
        false => Change::Configured,
    })
}

async fn served(api: &Api<CustomResourceDefinition>, name: &str) -> Result<(), Error> {
    let mut last = "it has no conditions".to_owned();
    let looking = async {
        loop {
            let found = api.get_opt(name).await.map_err(|source| Error::Put {
                name: name.to_owned(),
                source: source.into(),
            })?;
            if is_crd_established().matches_object(found.as_ref()) {
                return Ok(());
            }
            if let Some(conditions) = found.as_ref().and_then(said) {
                last = conditions;
            }
            sleep(LOOK).await;
        }
    };
    match timeout(LIMIT, looking).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Error::Unserved {
            name: name.to_owned(),
            conditions: last,
        }),
    }
}

/// The conditions that do not hold, as text.
fn said(definition: &CustomResourceDefinition) -> Option<String> {
    let conditions = definition.status.as_ref()?.conditions.as_ref()?;
    let failing = conditions.iter().filter(|condition| condition.status != "True");
    let texts: Vec<_> = failing
        .map(|condition| {
            let message = condition.message.as_deref().unwrap_or_default();
            format!("{} is {}: {message}", condition.type_, condition.status)
        })
        .collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}
