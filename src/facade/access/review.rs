//! The questions to the API server. Each has a time limit; whatever is not an answer is [`AccessError::Unavailable`],
//! a refusal of the facade's own call too.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus},
    authorization::v1::{SubjectAccessReview, SubjectAccessReviewSpec},
    core::v1::{Namespace, Pod},
};
use kube::{
    Api, Client,
    api::{ListParams, PartialObjectMeta, PostParams},
    core::{Expression, Selector},
};

use serde::Serialize;

use super::{
    caller::PodIdentity,
    error::{AccessError, Unanswered},
    token::Audience,
};

async fn call<T>(
    limit: Duration,
    attempt: &'static str,
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, AccessError> {
    let unanswered = match tokio::time::timeout(limit, call).await {
        Ok(Ok(answer)) => return Ok(answer),
        Ok(Err(error)) => Unanswered::Call(error),
        Err(_) => Unanswered::TimedOut(limit),
    };
    Err(AccessError::Unavailable {
        attempt,
        source: Arc::new(unanswered),
    })
}

/// What a token is.
pub(super) async fn token(
    client: &Client,
    limit: Duration,
    token: String,
    audience: Audience,
) -> Result<TokenReviewStatus, AccessError> {
    let review = TokenReview {
        spec: TokenReviewSpec {
            token: Some(token),
            audiences: audience.name().map(|name| vec![name.to_owned()]),
        },
        ..TokenReview::default()
    };
    let api: Api<TokenReview> = Api::all(client.clone());
    let params = PostParams::default();
    let answer = call(limit, "check the token", api.create(&params, &review)).await?;
    Ok(answer.status.unwrap_or_default())
}

/// Whether somebody may do something.
pub(super) async fn access(
    client: &Client,
    limit: Duration,
    spec: SubjectAccessReviewSpec,
) -> Result<bool, AccessError> {
    let review = SubjectAccessReview {
        spec,
        ..SubjectAccessReview::default()
    };
    let api: Api<SubjectAccessReview> = Api::all(client.clone());
    let params = PostParams::default();
    let answer = call(limit, "check the caller's rights", api.create(&params, &review)).await?;
    let status = answer.status.unwrap_or_default();
    Ok(status.allowed && status.denied != Some(true))
}

/// The pod by that name, if there is one.
pub(super) async fn pod(
    client: &Client,
    limit: Duration,
    pod: &PodIdentity,
) -> Result<Option<PartialObjectMeta<Pod>>, AccessError> {
    let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace);
    call(limit, "read the caller's pod", api.get_metadata_opt(&pod.name)).await
}

/// Which namespaces are looked for.
#[derive(Clone, Debug, Serialize)]
pub(super) enum Wanted {
    /// Those whose label has one of these values.
    Labelled(String, Vec<String>),
    /// The one of this name.
    Named(String),
}

impl Wanted {
    /// By a selector in either case: the right to list namespaces is then enough.
    fn params(&self) -> ListParams {
        match self {
            Self::Labelled(label, values) => {
                let selector: Selector =
                    Expression::In(label.clone(), values.iter().cloned().collect()).into();
                ListParams::default().labels_from(&selector)
            }
            Self::Named(name) => ListParams::default().fields(&format!("metadata.name={name}")),
        }
    }
}

/// A namespace, and the value of the label, or the name, that it was found by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub value: String,
    pub namespace: String,
}

/// The namespaces that are looked for. Those that are going are left out: nothing can be made there.
pub(super) async fn namespaces(
    client: &Client,
    limit: Duration,
    wanted: Wanted,
) -> Result<Vec<Found>, AccessError> {
    let api: Api<Namespace> = Api::all(client.clone());
    let params = wanted.params();
    let found = call(limit, "look for the namespace", api.list_metadata(&params)).await?;
    let found = found.items.into_iter().map(|namespace| namespace.metadata);
    let living = found.filter(|meta| meta.deletion_timestamp.is_none());
    Ok(living
        .filter_map(|meta| {
            Some(Found {
                value: match &wanted {
                    Wanted::Labelled(label, _) => meta.labels?.remove(label)?,
                    Wanted::Named(name) => name.clone(),
                },
                namespace: meta.name?,
            })
        })
        .collect())
}
