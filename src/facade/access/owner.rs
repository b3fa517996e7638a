//! Whether a pod is one of a Task's.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource as _;

use super::caller::PodIdentity;
use crate::crd::{GROUP, LABEL_ATTEMPT, Task};

/// The Task's uid, if it is in the pod's namespace.
pub(super) fn same_namespace<'a>(pod: &PodIdentity, task: &'a Task) -> Option<&'a str> {
    let meta = task.meta();
    let same = meta.namespace.as_deref() == Some(&pod.namespace);
    meta.uid.as_deref().filter(|uid| same && !uid.is_empty())
}

/// Whether the Task itself says so. It names the pod of the latest attempt that was written down.
pub(super) fn is_named(pod: &PodIdentity, task: &Task) -> bool {
    let named = task.status.as_ref().and_then(|status| status.pod.as_ref());
    named.is_some_and(|named| named.name == pod.name && named.uid.as_deref() == Some(&pod.uid))
}

/// The Task's present attempt, counted from 1.
pub(super) fn attempt(task: &Task) -> u32 {
    task.status
        .as_ref()
        .and_then(|status| status.attempts)
        .unwrap_or(1)
}

/// Whether the pod, read by its name, is the one meant, of this attempt, and says so itself.
pub(super) fn is_owned(found: &ObjectMeta, pod: &PodIdentity, task_uid: &str, attempt: u32) -> bool {
    let mut owners = found.owner_references.iter().flatten();
    let labels = found.labels.as_ref();
    // A pod of an earlier attempt may linger; what it says is not about this one.
    let present = labels.and_then(|labels| labels.get(LABEL_ATTEMPT)) == Some(&attempt.to_string());
    present
        && found.uid.as_deref() == Some(&pod.uid)
        && owners.any(|owner| {
            let group = owner.api_version.split_once('/').map(|(group, _)| group);
            owner.uid == task_uid && owner.kind == "Task" && group == Some(GROUP)
        })
}

/// What a caller is told who has no pod's token.
pub(super) fn not_a_pod(user: &str) -> String {
    format!("user {user:?} is not a pod of the task: its token is not bound to a pod for the audience errand")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod() -> PodIdentity {
        PodIdentity {
            namespace: "jobs".into(),
            name: "p".into(),
            uid: "u".into(),
        }
    }

    fn task(namespace: &str, pod: Value) -> Task {
        let task = json!({"apiVersion": "errand.dev/v1alpha1", "kind": "Task",
            "metadata": {"name": "t", "namespace": namespace, "uid": "t1"}, "spec": {}, "status": {"phase": "Running", "pod": pod}});
        serde_json::from_value(task).unwrap()
    }

    #[test]
    fn a_task_names_its_pod_by_name_and_uid() {
        for (named, is) in [
            (json!({"name": "p", "uid": "u"}), true),
            (json!({"name": "p"}), false),
            (json!({"name": "p", "uid": "v"}), false),
            (json!({"name": "q", "uid": "u"}), false),
            (json!(null), false),
        ] {
            assert_eq!(is_named(&pod(), &task("jobs", named.clone())), is, "{named}");
        }
        assert_eq!(same_namespace(&pod(), &task("jobs", json!(null))), Some("t1"));
        assert_eq!(same_namespace(&pod(), &task("other", json!(null))), None);
    }

    #[test]
    fn a_pod_names_its_task_among_its_owners() {
        let owner = |api: &str, kind: &str, uid: &str| json!({"apiVersion": api, "kind": kind, "name": "t", "uid": uid});
        let own = owner("errand.dev/v1alpha1", "Task", "t1");
        for (uid, owners, is) in [
            ("u", json!([own]), true),
            ("u", json!([owner("v1", "ConfigMap", "c"), own]), true),
            ("v", json!([own]), false),
            ("u", json!([]), false),
            ("u", json!([owner("errand.dev/v1alpha1", "Task", "t2")]), false),
            (
                "u",
                json!([owner("errand.dev/v1alpha1", "Function", "t1")]),
                false,
            ),
            ("u", json!([owner("tekton.dev/v1", "Task", "t1")]), false),
        ] {
            let meta =
                json!({"uid": uid, "ownerReferences": owners.clone(), "labels": {"errand.dev/attempt": "2"}});
            let meta = serde_json::from_value(meta).unwrap();
            assert_eq!(is_owned(&meta, &pod(), "t1", 2), is, "{uid} {owners}");
            assert!(
                !is_owned(&meta, &pod(), "t1", 3),
                "a pod of an earlier attempt speaks for none"
            );
        }
    }
}
