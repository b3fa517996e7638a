//! Tasks that cannot be read as Tasks. An older definition may have let them through; such an object is marked Failed,
//! and the others go on.

use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams},
    core::{ApiResource, error_boundary::InvalidObject},
};
use serde_json::{Value, json};

use super::task::outcome::rpc;
use crate::crd::change::to_millis;
use crate::crd::{GROUP, Task};

/// Marks a Task that cannot be read as Failed, once. A failure to do so is logged: the next list brings it back.
pub async fn mark_failed(client: Client, invalid: InvalidObject, manager: &str) {
    let (Some(name), Some(namespace)) = (invalid.metadata.name, invalid.metadata.namespace) else {
        return;
    };
    let resource = ApiResource::erase::<Task>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(client, &namespace, &resource);
    let marked = async {
        let Some(object) = api.get_opt(&name).await? else {
            return Ok(());
        };
        if object.data.pointer("/status/phase") == Some(&Value::from("Failed")) {
            return Ok(());
        }
        let message = format!("the Task cannot be read: {}", invalid.error);
        let now = to_millis(Timestamp::now());
        let patch = json!({"status": {
            "phase": "Failed", "reason": "InvalidObject", "message": message, "finishedAt": now, "modifiedAt": now,
            "error": {"code": rpc::INVALID_ARGUMENT, "message": message, "details": [{
                "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "InvalidObject", "domain": GROUP,
            }]},
        }});
        api.patch_status(&name, &PatchParams::apply(manager), &Patch::Merge(&patch))
            .await
            .map(drop)
    };
    let outcome: kube::Result<()> = marked.await;
    match outcome {
        Ok(()) => tracing::warn!(%name, %namespace, error = %invalid.error, "a Task cannot be read"),
        Err(error) => {
            tracing::error!(%name, %namespace, %error, "could not mark an unreadable Task as Failed")
        }
    }
}
