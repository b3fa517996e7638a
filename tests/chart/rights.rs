//! Who may do what.

use serde_json::{Value, json};

use crate::{VALUES, all, name, named, names, rendered, with};

/// Group, resource and verb of all rules, as lines.
fn rights(role: &Value) -> Vec<String> {
    let texts = |value: &Value| -> Vec<String> {
        let items = value.as_array().into_iter().flatten();
        items.map(|item| item.as_str().unwrap().to_owned()).collect()
    };
    let mut lines = Vec::new();
    for rule in role["rules"].as_array().unwrap() {
        let only = texts(&rule["resourceNames"]).join(",");
        for resource in texts(&rule["resources"]) {
            let mut group = texts(&rule["apiGroups"]).join(",");
            if !group.is_empty() {
                group.push('/');
            }
            let verbs = texts(&rule["verbs"]).join(" ");
            lines.push(format!("{group}{resource} {only}: {verbs}").replace(" : ", ": "));
        }
    }
    lines
}

const CONTROLLER: [&str; 9] = [
    "errand.dev/tasks: get list watch create patch delete",
    "errand.dev/tasks/status: patch",
    "errand.dev/functions: get list watch",
    "errand.dev/schedules: get list watch",
    "errand.dev/schedules/status: patch",
    "apps/controllerrevisions: get",
    "pods: get list watch create patch delete",
    "pods/log: get",
    "events.k8s.io/events: create patch",
];
const CONTROLLER_EVERYWHERE: [&str; 1] = ["nodes: list watch"];
const FACADE: [&str; 8] = [
    "errand.dev/tasks: get list watch create patch delete",
    "errand.dev/tasks/status: patch",
    "errand.dev/functions: get list watch create update delete",
    "errand.dev/schedules: get list watch create update delete",
    "configmaps: get create delete",
    "apps/controllerrevisions: get list create delete",
    "pods: get",
    "pods/log: get",
];
const FACADE_EVERYWHERE: [&str; 3] = [
    "authentication.k8s.io/tokenreviews: create",
    "authorization.k8s.io/subjectaccessreviews: create",
    "namespaces: list",
];

#[test]
fn controller_and_facade_get_what_they_use_in_all_namespaces() {
    let objects = with("defaults");
    let of = |component: &str| {
        let role = format!("errand-system-errand-{component}");
        rights(named(&objects, "ClusterRole", &role))
    };
    assert_eq!(
        of("controller"),
        [&CONTROLLER[..], &CONTROLLER_EVERYWHERE].concat()
    );
    assert_eq!(of("facade"), [&FACADE[..], &FACADE_EVERYWHERE].concat());
    assert_eq!(
        names(&objects, "Role"),
        ["errand-controller-lease", "errand-facade-catalogue"]
    );
    let catalogue = named(&objects, "Role", "errand-facade-catalogue");
    assert_eq!(rights(catalogue), ["configmaps: get list create update delete"]);
    let without = rendered(&["--set", "rbac.packages=false"]);
    assert_eq!(names(&without, "Role"), ["errand-controller-lease"]);
    let facade = rights(named(&without, "ClusterRole", "errand-system-errand-facade"));
    assert!(
        !facade
            .iter()
            .any(|right| right.contains("configmaps") || right.contains("revisions")),
        "{facade:?}"
    );
    let lease = named(&objects, "Role", "errand-controller-lease");
    let wanted = [
        "coordination.k8s.io/leases: create",
        "coordination.k8s.io/leases errand-controller: get update",
    ];
    assert_eq!(rights(lease), wanted);
}

#[test]
fn the_way_through_the_api_server_is_granted_where_it_is_asked_for() {
    let objects = rendered(&["--set", "rbac.podsProxy=true"]);
    let proxies = |component: &str| {
        let role = format!("errand-system-errand-{component}");
        let rights = rights(named(&objects, "ClusterRole", &role));
        rights.contains(&"pods/proxy: get create update patch delete".to_owned())
    };
    assert_eq!(["controller", "facade"].map(proxies), [true, false]);
}

#[test]
fn policies_are_the_controllers_to_make_where_it_is_asked_for() {
    let granted = |set: &[&str]| {
        let objects = rendered(set);
        let of = |component: &str| {
            let role = format!("errand-system-errand-{component}");
            let rights = rights(named(&objects, "ClusterRole", &role));
            rights.contains(&"networking.k8s.io/networkpolicies: create".to_owned())
        };
        ["controller", "facade"].map(of)
    };
    assert_eq!(granted(&["--set", "rbac.networkPolicies=true"]), [true, false]);
    assert_eq!(granted(&[]), [false, false]);
}

#[test]
fn secrets_that_sign_callbacks_are_granted_by_name_and_to_the_controller_alone() {
    let objects = rendered(&["--set", "rbac.callbackSecrets={one,two}"]);
    let secrets = |component: &str| -> Vec<String> {
        let role = format!("errand-system-errand-{component}");
        let rights = rights(named(&objects, "ClusterRole", &role));
        rights
            .into_iter()
            .filter(|right| right.contains("secrets"))
            .collect()
    };
    assert_eq!(secrets("controller"), ["secrets one,two: get"]);
    assert_eq!(secrets("facade"), [""; 0]);
}

#[test]
fn what_diegos_door_needs_is_granted_where_it_is_served() {
    let objects = rendered(&["--set", "facade.diego.secretName=bbs"]);
    let facade = rights(named(&objects, "ClusterRole", "errand-system-errand-facade"));
    let more = [
        "configmaps: create",
        "configmaps errand-diego-domains: get patch",
        "nodes: list",
    ];
    let mut wanted: Vec<String> = [&FACADE[..], &FACADE_EVERYWHERE, &more]
        .concat()
        .iter()
        .map(|right| (*right).to_owned())
        .collect();
    let mut got = facade;
    got.sort();
    wanted.sort();
    assert_eq!(got, wanted);
}

#[test]
fn the_facade_makes_secrets_where_diegos_door_takes_passwords_and_reads_none() {
    let secrets = |set: &str| -> Vec<String> {
        let objects = rendered(&["--set", set]);
        let roles = ["controller", "facade"].map(|component| {
            rights(named(
                &objects,
                "ClusterRole",
                &format!("errand-system-errand-{component}"),
            ))
        });
        let rights = roles.into_iter().flatten();
        rights.filter(|right| right.contains("secrets")).collect()
    };
    let keys = "facade.diego.encryptionKeys.secretName=keys";
    assert_eq!(
        secrets(&format!("facade.diego.secretName=bbs,{keys}")),
        ["secrets: create"]
    );
    assert_eq!(secrets("facade.diego.secretName=bbs"), [""; 0]);
    assert_eq!(secrets(keys), [""; 0], "the door is not served");
}

#[test]
fn in_one_namespace_only_what_has_none_is_granted_in_the_cluster() {
    let objects = with("one-namespace");
    let (controller, facade) = ("errand-system-errand-controller", "errand-system-errand-facade");
    let role = |kind: &str, name: &str| rights(named(&objects, kind, name));
    assert_eq!(role("ClusterRole", controller), CONTROLLER_EVERYWHERE);
    assert_eq!(role("ClusterRole", facade), FACADE_EVERYWHERE);
    assert_eq!(role("Role", controller), CONTROLLER);
    assert_eq!(role("Role", facade), FACADE);
    for name in [controller, facade] {
        assert_eq!(named(&objects, "Role", name)["metadata"]["namespace"], "jobs");
        assert_eq!(
            named(&objects, "RoleBinding", name)["metadata"]["namespace"],
            "jobs"
        );
    }
    let lease = named(&objects, "Role", "errand-controller-lease");
    assert_eq!(lease["metadata"]["namespace"], "errand-system");
    let bound = &named(&objects, "RoleBinding", facade)["subjects"];
    let doors = json!([{"kind": "ServiceAccount", "name": "doors", "namespace": "errand-system"}]);
    assert_eq!(*bound, doors);
}

#[test]
fn every_binding_leads_to_a_role_of_the_chart() {
    for values in VALUES {
        let objects = with(values);
        for (binding, role) in [("ClusterRoleBinding", "ClusterRole"), ("RoleBinding", "Role")] {
            for binding in all(&objects, binding) {
                let reference = &binding["roleRef"];
                assert_eq!(reference["kind"], role, "{values}");
                let found = named(&objects, role, reference["name"].as_str().unwrap());
                assert_eq!(
                    found["metadata"]["namespace"], binding["metadata"]["namespace"],
                    "{values}"
                );
            }
        }
    }
}

#[test]
fn the_roles_of_kubernetes_include_tasks_functions_and_schedules() {
    let objects = with("defaults");
    let view = named(&objects, "ClusterRole", "errand-system-errand-view");
    let edit = named(&objects, "ClusterRole", "errand-system-errand-edit");
    let joins = |role: &Value, into: &str| {
        let label = format!("rbac.authorization.k8s.io/aggregate-to-{into}");
        role["metadata"]["labels"][label] == "true"
    };
    for (role, joined) in [(view, [true, true, true]), (edit, [false, true, true])] {
        assert_eq!(["view", "edit", "admin"].map(|into| joins(role, into)), joined);
    }
    let see = [
        "errand.dev/tasks: get list watch",
        "errand.dev/functions: get list watch",
        "errand.dev/schedules: get list watch",
    ];
    assert_eq!(rights(view), see);
    let verbs = "create update patch delete deletecollection";
    let change =
        ["tasks", "functions", "schedules"].map(|resource| format!("errand.dev/{resource}: {verbs}"));
    assert_eq!(rights(edit), change);
    let without = rendered(&[
        "--set",
        "rbac.aggregate=false,rbac.create=false,crds.enabled=false",
    ]);
    assert_eq!(names(&without, "ClusterRole"), Vec::<String>::new());
}

/// Definitions that belong to a release would keep another one from being installed, or go with the release.
#[test]
fn definitions_belong_to_no_release_and_what_applies_them_goes_again() {
    let objects = with("defaults");
    assert_eq!(names(&objects, "CustomResourceDefinition"), Vec::<String>::new());
    let parts = objects
        .iter()
        .filter(|object| name(object).contains("errand-crds"))
        .collect::<Vec<_>>();
    let mut kinds: Vec<_> = parts
        .iter()
        .map(|object| object["kind"].as_str().unwrap())
        .collect();
    kinds.sort_unstable();
    assert_eq!(
        kinds,
        [
            "ClusterRole",
            "ClusterRoleBinding",
            "Job",
            "NetworkPolicy",
            "ServiceAccount"
        ]
    );
    for part in &parts {
        let annotations = &part["metadata"]["annotations"];
        assert_eq!(annotations["helm.sh/hook"], "pre-install,pre-upgrade");
        assert_eq!(
            annotations["helm.sh/hook-delete-policy"],
            "before-hook-creation,hook-succeeded"
        );
        let weight = if part["kind"] == "Job" { "0" } else { "-1" };
        assert_eq!(annotations["helm.sh/hook-weight"], weight);
    }
    let role = named(&objects, "ClusterRole", "errand-system-errand-crds");
    let wanted = [
        "apiextensions.k8s.io/customresourcedefinitions: create",
        "apiextensions.k8s.io/customresourcedefinitions tasks.errand.dev,functions.errand.dev,schedules.errand.dev: get patch",
    ];
    assert_eq!(rights(role), wanted);
    let minimal = with("minimal");
    assert!(minimal.iter().all(|object| !name(object).contains("errand-crds")));
}

#[test]
fn network_policies_open_what_is_used() {
    let objects = with("full");
    let policy = &named(&objects, "NetworkPolicy", "tasks-facade")["spec"];
    let api = json!({
        "ports": [{"protocol": "TCP", "port": 443}, {"protocol": "TCP", "port": 6443}],
        "to": [{"ipBlock": {"cidr": "10.0.0.1/32"}}],
    });
    let dns = json!({"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]});
    assert_eq!(policy["egress"], json!([dns, api]));
    let from =
        json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}}}]);
    let health = json!({"ports": [{"protocol": "TCP", "port": "health"}]});
    let ports = json!([{"protocol": "TCP", "port": "doors"}, {"protocol": "TCP", "port": "diego"}]);
    let doors = json!({"ports": ports, "from": from});
    assert_eq!(policy["ingress"], json!([health, doors]));
    let policy = &named(&objects, "NetworkPolicy", "tasks-controller")["spec"];
    let tasks = json!({"to": [{
        "namespaceSelector": {},
        "podSelector": {"matchExpressions": [{"key": "errand.dev/task", "operator": "Exists"}]},
    }]});
    let callbacks = json!({"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]});
    assert_eq!(policy["egress"], json!([dns, api, tasks, callbacks]));
    let defaults = with("defaults");
    let policy = &named(&defaults, "NetworkPolicy", "errand-controller")["spec"];
    assert_eq!(policy["egress"].as_array().map(Vec::len), Some(3));
    assert_eq!(policy["ingress"], json!([health]));
}
