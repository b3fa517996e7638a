//! Rules, bindings and refusals.
use serde_json::json;

use super::*;

fn policy() -> Policy {
    Policy::new(
        vec![
            json!({"metadata": {"namespace": "a", "name": "reader"}, "rules": [
                {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "pods/log"]},
                {"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["one"]},
            ]}),
        ],
        vec![
            json!({"metadata": {"name": "tasks", "labels": {"to": "all"}}, "rules": [
                {"verbs": ["*"], "apiGroups": ["errand.dev"], "resources": ["*"]}]}),
            json!({"metadata": {"name": "sum"}, "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"to": "all"}}]}}),
            json!({"metadata": {"name": "metrics"}, "rules": [{"verbs": ["get"], "nonResourceURLs": ["/metrics", "/x/*"]}]}),
            json!({"metadata": {"name": "scaler"}, "rules": [{"verbs": ["update"], "apiGroups": ["*"], "resources": ["*/scale"]}]}),
        ],
        vec![
            json!({"metadata": {"namespace": "a", "name": "b1"}, "roleRef": {"kind": "Role", "name": "reader"},
                "subjects": [{"kind": "User", "name": "ann"}, {"kind": "ServiceAccount", "name": "sa"}]}),
            json!({"metadata": {"namespace": "a", "name": "b2"}, "roleRef": {"kind": "ClusterRole", "name": "sum"},
                "subjects": [{"kind": "Group", "name": "dev"}]}),
        ],
        vec![
            json!({"metadata": {"name": "c1"}, "roleRef": {"kind": "ClusterRole", "name": "metrics"},
                "subjects": [{"kind": "User", "name": "ann"}]}),
            json!({"metadata": {"name": "c2"}, "roleRef": {"kind": "ClusterRole", "name": "scaler"},
                "subjects": [{"kind": "User", "name": "ann"}]}),
        ],
    )
}

fn want(verb: &str, group: &str, resource: &str, namespace: &str, name: &str) -> Attributes {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    Attributes {
        verb: verb.into(),
        group: group.into(),
        resource: resource.into(),
        subresource: subresource.into(),
        namespace: namespace.into(),
        name: name.into(),
        path: String::new(),
    }
}

#[test]
fn rules_grant_by_verb_group_resource_name_and_namespace() {
    let policy = policy();
    let ann = User::new("ann", [""; 0]);
    let may = |user: &User, wanted: Attributes| policy.allows(user, &wanted).is_some();
    assert!(may(&ann, want("get", "", "pods", "a", "p")));
    assert!(may(&ann, want("get", "", "pods/log", "a", "p")));
    assert!(!may(&ann, want("get", "", "pods/status", "a", "p")));
    assert!(!may(&ann, want("get", "", "pods", "b", "p")));
    assert!(!may(&ann, want("delete", "", "pods", "a", "p")));
    assert!(may(&ann, want("get", "", "secrets", "a", "one")));
    assert!(!may(&ann, want("get", "", "secrets", "a", "two")));
    assert!(!may(&ann, want("list", "", "secrets", "a", "")));
    assert!(may(&ann, want("update", "apps", "deployments/scale", "z", "d")));
    assert!(may(&ann, Attributes::path("get", "/metrics")));
    assert!(may(&ann, Attributes::path("get", "/x/y")));
    assert!(may(&ann, Attributes::path("get", "/apis/errand.dev")));
    assert!(!may(&ann, Attributes::path("get", "/debug")));
    let account = User::new("system:serviceaccount:a:sa", [""; 0]);
    assert!(may(&account, want("list", "", "pods", "a", "")));
    let dev = User::new("bob", ["dev"]);
    assert!(may(&dev, want("delete", "errand.dev", "tasks/status", "a", "t")));
    assert!(!may(&dev, want("delete", "errand.dev", "tasks", "b", "t")));
    assert!(may(&User::superuser(), want("x", "y", "z", "", "")));
    assert!(may(
        &dev,
        want(
            "create",
            "authorization.k8s.io",
            "selfsubjectaccessreviews",
            "",
            ""
        )
    ));
    assert!(!may(
        &dev,
        want("create", "authorization.k8s.io", "subjectaccessreviews", "", "")
    ));
}

#[test]
fn nobody_grants_more_than_they_have() {
    let policy = policy();
    let ann = User::new("ann", [""; 0]);
    let role = |verbs: Value| json!({"rules": [{"verbs": verbs, "apiGroups": [""], "resources": ["pods"]}]});
    assert_eq!(policy.escalation(&ann, &role(json!(["get"])), "Role", "a"), None);
    assert!(
        policy
            .escalation(&ann, &role(json!(["*"])), "Role", "a")
            .is_some()
    );
    assert!(
        policy
            .escalation(&ann, &role(json!(["get"])), "ClusterRole", "")
            .is_some()
    );
    let binding = json!({"metadata": {"namespace": "a"}, "roleRef": {"kind": "ClusterRole", "name": "sum"}});
    assert!(policy.escalation(&ann, &binding, "RoleBinding", "a").is_some());
    assert_eq!(
        policy.escalation(&User::new("bob", ["dev"]), &binding, "RoleBinding", "a"),
        None
    );
}

#[test]
fn refusals_say_who_cannot_do_what_where() {
    assert_eq!(
        want("get", "", "pods/log", "a", "p").refusal("ann"),
        "User \"ann\" cannot get resource \"pods/log\" in API group \"\" in the namespace \"a\""
    );
    assert_eq!(
        want("list", "errand.dev", "tasks", "", "").refusal("ann"),
        "User \"ann\" cannot list resource \"tasks\" in API group \"errand.dev\" at the cluster scope"
    );
}
