//! The Secret with which a task's image is pulled.
//!
//! The Task comes first, since the Secret is to go with it and needs its uid; it is suspended until the Secret is there.
//! Who dies in between leaves a Task that starts nothing: asking for it again finishes it, and else it ends when its time
//! to start is over, as any other. The Secret never stands without its Task.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Resource as _, ResourceExt as _};
use serde_json::json;

use super::{failure::Failure, messages::TaskDefinition};
use crate::{
    crd::{LABEL_TASK, LABEL_TASK_UID, Task},
    facade::{refusal::Refusal, state::Facade, views::Key},
};

/// Type of the Secret, and the key in it (core/v1).
const KIND: &str = "kubernetes.io/dockerconfigjson";
const KEY: &str = ".dockerconfigjson";
/// What kubelets call Docker Hub in such a Secret (Kubernetes, `pkg/credentialprovider/keyring.go`).
const HUB: &str = "https://index.docker.io/v1/";

/// Makes the Secret that the Task names and lets the Task go. Doing it twice does no harm. The password is for the registry
/// of the image that was asked for, whatever stands in the Task by now.
///
/// # Errors
/// The API server refuses or does not answer. A Task whose Secret cannot be made is deleted.
pub async fn provide(
    facade: &Facade,
    task: &Task,
    image: &str,
    definition: &TaskDefinition,
) -> Result<Task, Failure> {
    let secret = secret(task, content(image, definition));
    match facade.objects.create(&secret).await {
        // Made by whoever was here before: its name is this Task's own.
        Ok(_) | Err(Refusal::Conflict(_)) => {}
        Err(refusal) => {
            if let Err(error) = facade.objects.delete_same(task).await {
                let task = task.name_any();
                tracing::warn!(%task, %error, "a task whose Secret could not be made stays until its time is over");
            }
            return Err(refusal.into());
        }
    }
    let go = json!({"metadata": {"uid": task.uid()}, "spec": {"suspend": false}});
    Ok(facade.objects.merge(&Key::of(task), go).await?)
}

fn secret(task: &Task, content: String) -> Secret {
    let (name, uid) = (task.name_any(), task.uid().unwrap_or_default());
    let labels = [
        ("app.kubernetes.io/managed-by".to_owned(), "errand".to_owned()),
        (LABEL_TASK.to_owned(), name),
        (LABEL_TASK_UID.to_owned(), uid),
    ];
    Secret {
        metadata: ObjectMeta {
            name: named(task).map(str::to_owned),
            namespace: task.namespace(),
            labels: Some(labels.into()),
            owner_references: task.controller_owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        type_: Some(KIND.to_owned()),
        data: Some([(KEY.to_owned(), ByteString(content.into_bytes()))].into()),
        immutable: Some(true),
        string_data: None,
    }
}

/// The Secret that a Task pulls its image with.
pub fn named(task: &Task) -> Option<&str> {
    let pod = task.spec.actions.as_ref()?.pod.as_ref()?;
    pod.image_pull_secrets.first().map(|secret| secret.name.as_str())
}

/// The image that a Task runs.
pub fn image(task: &Task) -> &str {
    let actions = task.spec.actions.as_ref();
    actions.map_or("", |actions| actions.container.image.as_str())
}

fn content(image: &str, definition: &TaskDefinition) -> String {
    let (user, password) = (&definition.image_username, &definition.image_password);
    let registry = match image.split_once('/').map_or("", |(registry, _)| registry) {
        "docker.io" => HUB,
        registry => registry,
    };
    let auth = STANDARD.encode(format!("{user}:{password}"));
    json!({"auths": {registry: {"username": user, "password": password, "auth": auth}}}).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn made(image: &str) -> Value {
        let task: Task = serde_json::from_value(json!({
            "apiVersion": "errand.dev/v1alpha1", "kind": "Task",
            "metadata": {"name": "t", "namespace": "jobs", "uid": "u1"},
            "spec": {"actions": {"container": {"image": "other"}, "action": {}, "pod": {"imagePullSecrets": [{"name": "t-1"}]}}},
        }))
        .unwrap();
        let definition = TaskDefinition {
            image_username: "ann".into(),
            image_password: "hush \"1\"".into(),
            ..TaskDefinition::default()
        };
        serde_json::to_value(secret(&task, content(image, &definition))).unwrap()
    }

    #[test]
    fn the_secret_belongs_to_its_task_and_holds_what_a_kubelet_reads() {
        let mut secret = made("registry.example.com:5000/a/b:1");
        let data = secret["data"].take();
        assert_eq!(
            secret,
            json!({
                "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson", "immutable": true, "data": null,
                "metadata": {
                    "name": "t-1", "namespace": "jobs",
                    "labels": {"app.kubernetes.io/managed-by": "errand", "errand.dev/task": "t", "errand.dev/task-uid": "u1"},
                    "ownerReferences": [{"apiVersion": "errand.dev/v1alpha1", "kind": "Task", "name": "t", "uid": "u1",
                        "controller": true}],
                },
            })
        );
        let content = STANDARD
            .decode(data[".dockerconfigjson"].as_str().unwrap())
            .unwrap();
        let auth = STANDARD.encode("ann:hush \"1\"");
        let wanted = json!({"username": "ann", "password": "hush \"1\"", "auth": auth});
        assert_eq!(
            serde_json::from_slice::<Value>(&content).unwrap(),
            json!({"auths": {"registry.example.com:5000": wanted}})
        );
    }

    #[test]
    fn docker_hub_has_a_name_of_its_own_there() {
        let hub = made("docker.io/library/busybox:1")["data"][".dockerconfigjson"].clone();
        let content = STANDARD.decode(hub.as_str().unwrap()).unwrap();
        let content: Value = serde_json::from_slice(&content).unwrap();
        assert!(
            content["auths"]["https://index.docker.io/v1/"].is_object(),
            "{content}"
        );
    }
}
