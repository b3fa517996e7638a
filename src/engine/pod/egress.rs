//! The NetworkPolicy of a Task that says where its container may connect to. Pure.

use k8s_openapi::{
    api::networking::v1::{NetworkPolicy, NetworkPolicySpec},
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
};
use kube::{Resource as _, ResourceExt as _};

use super::{derived, label_value};
use crate::{
    crd::{LABEL_TASK, LABEL_TASK_UID, Task},
    engine::resolve::Run,
};

/// The policy for the pods of all attempts; `None` where the Task has no rules of its own. It goes with the Task.
pub fn policy(task: &Task, run: &Run) -> Option<NetworkPolicy> {
    let rules = run.egress.clone()?;
    let (name, uid) = (task.name_any(), task.uid().unwrap_or_default());
    let of_the_task = LabelSelector {
        match_labels: Some([(LABEL_TASK_UID.to_owned(), uid.clone())].into()),
        match_expressions: None,
    };
    Some(NetworkPolicy {
        metadata: ObjectMeta {
            name: Some(derived(&name, &uid, "egress")),
            namespace: task.namespace(),
            labels: Some(
                [
                    ("app.kubernetes.io/managed-by".to_owned(), "errand".to_owned()),
                    (LABEL_TASK.to_owned(), label_value(&name)),
                    (LABEL_TASK_UID.to_owned(), uid),
                ]
                .into(),
            ),
            owner_references: task.controller_owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(of_the_task),
            policy_types: Some(vec!["Egress".to_owned()]),
            // No rules close everything; a missing list would be the same to Kubernetes.
            egress: Some(rules),
            ingress: None,
        }),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::engine::resolve::resolve;

    fn made(pod: &Value) -> Value {
        let task: Task = serde_json::from_value(json!({
            "apiVersion": "errand.dev/v1alpha1", "kind": "Task",
            "metadata": {"name": "t", "namespace": "jobs", "uid": "u1"},
            "spec": {"function": {"container": {"image": "i", "command": ["true"]}, "pod": pod}},
        }))
        .unwrap();
        let run = resolve(&task.spec, task.spec.function.as_ref().unwrap(), None).unwrap();
        serde_json::to_value(policy(&task, &run)).unwrap()
    }

    #[test]
    fn rules_become_a_policy_for_the_pods_of_the_task_and_no_others() {
        let rule = json!({"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"port": 53, "endPort": 54, "protocol": "UDP"}]});
        assert_eq!(
            made(&json!({"egress": [rule]})),
            json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
                "metadata": {
                    "name": "t-bb8203-egress", "namespace": "jobs",
                    "labels": {"app.kubernetes.io/managed-by": "errand", "errand.dev/task": "t", "errand.dev/task-uid": "u1"},
                    "ownerReferences": [{"apiVersion": "errand.dev/v1alpha1", "kind": "Task", "name": "t", "uid": "u1",
                        "controller": true}],
                },
                "spec": {
                    "podSelector": {"matchLabels": {"errand.dev/task-uid": "u1"}}, "policyTypes": ["Egress"], "egress": [rule],
                },
            })
        );
    }

    #[test]
    fn no_rules_close_everything_and_none_at_all_make_no_policy() {
        assert_eq!(made(&json!({"egress": []}))["spec"]["egress"], json!([]));
        assert_eq!(made(&json!({})), Value::Null);
    }
}
