//! Closing the network around a Task's pods before there are any.

use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::{Api, api::PostParams};

use super::{
    outcome::{Outcome, Reason},
    reconcile::{Error, Subject},
};
use crate::engine::context::Context;

/// Makes the policy, unless an earlier attempt did. `Some`: it cannot be had, and a pod without it would reach what it
/// may not.
///
/// # Errors
/// [`Error::Call`] where the API server did not answer, or is to be asked again.
pub async fn close(
    ctx: &Context,
    subject: &Subject,
    policy: &NetworkPolicy,
) -> Result<Option<Outcome>, Error> {
    let api: Api<NetworkPolicy> = Api::namespaced(ctx.client.clone(), &subject.namespace);
    let params = PostParams {
        field_manager: Some(ctx.config.instance.clone()),
        ..PostParams::default()
    };
    let error = match ctx
        .call("create a NetworkPolicy", api.create(&params, policy))
        .await
    {
        Ok(_) => {
            ctx.metrics.api_write("create", "networkpolicies");
            return Ok(None);
        }
        // Its name has the Task's uid in it.
        Err(error) if error.is_already_exists() => return Ok(None),
        Err(error) => error,
    };
    let Some(answer) = error.status() else {
        return Err(error.into());
    };
    let words = match answer.code {
        400 | 422 => format!("the API server refused the egress rules: {}", answer.message),
        403 => format!(
            "pod.egress needs a NetworkPolicy, which the controller may not make here (rbac.networkPolicies of the chart): {}",
            answer.message
        ),
        _ => return Err(error.into()),
    };
    Ok(Some(Outcome::new(Reason::PodRefused, words)))
}
