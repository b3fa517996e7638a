//! Who may do what: the operator's own accounts, and callers of the facade.

use std::collections::BTreeSet;

use k8s_openapi::api::authorization::v1::{SelfSubjectRulesReview, SelfSubjectRulesReviewSpec};
use kube::{Api, Client, api::PostParams};
use serde_json::{Value, json};

use crate::support::{
    Space,
    account::{EVERYTHING, client, token},
    http::Http,
    in_space, installation,
    space::shell,
};

/// What the chart grants the controller in every namespace with the values of these tests; in its own, a Lease beside it.
const CONTROLLER: &[&str] = &[
    "/nodes: list watch",
    "/pods: create delete get list patch watch",
    "/pods/log: get",
    "/pods/proxy: create delete get patch update",
    "/secrets/e2e-callback-key: get",
    "apps/controllerrevisions: get",
    "errand.dev/functions: get list watch",
    "errand.dev/schedules: get list watch",
    "errand.dev/schedules/status: patch",
    "errand.dev/tasks: create delete get list patch watch",
    "errand.dev/tasks/status: patch",
    "events.k8s.io/events: create patch",
    "networking.k8s.io/networkpolicies: create",
];
const CONTROLLER_AT_HOME: &[&str] = &[
    "coordination.k8s.io/leases: create",
    "coordination.k8s.io/leases/errand-controller: get update",
];
/// What the chart grants the facade in every namespace.
const FACADE: &[&str] = &[
    "/configmaps/errand-diego-domains: get patch",
    "/namespaces: list",
    "/nodes: list",
    "/pods: get",
    "/pods/log: get",
    "apps/controllerrevisions: create delete get list",
    "authentication.k8s.io/tokenreviews: create",
    "authorization.k8s.io/subjectaccessreviews: create",
    "errand.dev/functions: create delete get list update watch",
    "errand.dev/schedules: create delete get list update watch",
    "errand.dev/tasks: create delete get list patch watch",
    "errand.dev/tasks/status: patch",
];
/// Packages in every namespace, and the catalogue of runtimes in its own.
const FACADE_ELSEWHERE: &[&str] = &["/configmaps: create delete get"];
const FACADE_AT_HOME: &[&str] = &["/configmaps: create delete get list update"];

#[tokio::test]
async fn the_operators_accounts_may_do_what_the_chart_says_and_nothing_else() {
    in_space("own-rights", |space: Space| async move {
        let nobody = client(&space.account("nobody").await).await;
        for (account, everywhere, elsewhere, at_home) in [
            ("errand-controller", CONTROLLER, &[][..], CONTROLLER_AT_HOME),
            ("errand-facade", FACADE, FACADE_ELSEWHERE, FACADE_AT_HOME),
        ] {
            let own = client(&token(&space.client, installation::NAMESPACE, account).await).await;
            for (namespace, rules) in [
                (space.name.as_str(), vec![everywhere, elsewhere]),
                ("kube-system", vec![everywhere, elsewhere]),
                (installation::NAMESPACE, vec![everywhere, at_home]),
            ] {
                // What any account may do comes from Kubernetes' own roles.
                let common = rules_of(&nobody, namespace).await;
                let seen = grouped(rules_of(&own, namespace).await.difference(&common));
                let expected: BTreeSet<String> =
                    rules.concat().iter().map(|rule| (*rule).to_owned()).collect();
                assert_eq!(seen, expected, "{account} in {namespace}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn attempts_of_the_operators_accounts_at_more_are_refused() {
    in_space("own-attempts", |space: Space| async move {
        space.script("runs", "sleep 600", json!({})).await;
        space.running("runs").await;
        let pod = space.get("runs").await.status.unwrap().pod.unwrap();
        let (name, node, here) = (pod.name, pod.node.unwrap(), &space.name);
        let core = |rest: &str| format!("/api/v1/{rest}");
        let ours = |rest: &str| format!("/apis/errand.dev/v1alpha1/namespaces/{here}/{rest}");
        let function = json!({"apiVersion": "errand.dev/v1alpha1", "kind": "Function", "metadata": {"name": "f"}, "spec": shell("true", json!({}))});
        let schedule = json!({"apiVersion": "errand.dev/v1alpha1", "kind": "Schedule", "metadata": {"name": "s"},
            "spec": {"schedule": "0 0 * * *", "template": {"spec": {"function": shell("true", json!({}))}}}});
        let binding = json!({"metadata": {"name": "b"}, "subjects": [],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}});
        let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings".to_owned();
        let to_both = [
            ("GET", core("secrets"), Value::Null),
            ("GET", core(&format!("namespaces/{here}/secrets/other")), Value::Null),
            ("GET", core(&format!("namespaces/{}/secrets", installation::NAMESPACE)), Value::Null),
            ("GET", core("namespaces/kube-system/configmaps"), Value::Null),
            ("POST", core(&format!("namespaces/{here}/pods/{name}/exec?command=id&stdout=1")), Value::Null),
            ("POST", core(&format!("namespaces/{here}/pods/{name}/eviction")), json!({})),
            ("POST", core(&format!("namespaces/{here}/serviceaccounts/default/token")), json!({"spec": {"audiences": []}})),
            ("PATCH", core(&format!("nodes/{node}")), json!({"metadata": {"labels": {"e2e": "x"}}})),
            ("PATCH", core(&format!("nodes/{node}/status")), json!({"status": {}})),
            ("DELETE", core(&format!("namespaces/{here}")), Value::Null),
            ("POST", bindings, binding),
            ("DELETE", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/tasks.errand.dev".to_owned(), Value::Null),
        ];
        let to_controller = [
            ("GET", core("namespaces"), Value::Null),
            ("POST", ours("schedules"), schedule),
            ("POST", ours("functions"), function),
            ("PUT", ours("tasks/runs"), json!({})),
        ];
        let to_facade = [
            ("GET", core(&format!("nodes/{node}")), Value::Null),
            ("GET", core(&format!("namespaces/{here}/pods")), Value::Null),
            ("GET", core(&format!("namespaces/{here}/secrets/e2e-callback-key")), Value::Null),
            ("DELETE", core(&format!("namespaces/{here}/pods/{name}")), Value::Null),
            ("GET", core(&format!("namespaces/{here}/configmaps")), Value::Null),
            ("PUT", ours("tasks/runs"), json!({})),
        ];
        for (account, more) in [("errand-controller", &to_controller[..]), ("errand-facade", &to_facade)] {
            let own = client(&token(&space.client, installation::NAMESPACE, account).await).await;
            for (method, path, body) in to_both.iter().chain(more) {
                assert_eq!(attempt(&own, method, path, body).await, 403, "{account}: {method} {path}");
            }
            // The account as such is a good one.
            assert_eq!(attempt(&own, "GET", &ours("tasks/runs"), &Value::Null).await, 200, "{account}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_facade_asks_kubernetes_what_each_caller_may_do() {
    in_space("callers", |space: Space| async move {
        space.function("upper", shell("true", json!({}))).await;
        space.script("waits", "sleep 600", json!({})).await;
        let tasks = format!("/errand/v1/namespaces/{}/tasks", space.name);
        let one = format!("{tasks}/waits");
        let nobody = installation::facade();
        assert_eq!(nobody.get(&one).status, 401);
        assert_eq!(nobody.bearer("made.up.token").get(&one).status, 401);
        assert_eq!(nobody.post("/v1/task/upper", b"").status, 401);

        let reader = space.user("reader", &["get", "list", "watch"]).await;
        assert_eq!(reader.get(&one).status, 200);
        assert_eq!(reader.get("/v1/task/list").status, 200);
        assert_eq!(reader.post(&format!("{one}/cancel"), b"").status, 403);
        assert_eq!(reader.post("/v1/task/upper", b"").status, 403);
        assert_eq!(
            reader
                .post(&format!("{one}/end"), br#"{"phase": "Succeeded"}"#)
                .status,
            403
        );
        assert_eq!(space.get("waits").await.spec.cancel, None);

        let ann = space.user("ann", EVERYTHING).await;
        assert_eq!(ann.post("/v1/task/upper", b"").status, 201);
        for other in ["default", "kube-system", installation::NAMESPACE, "not-there"] {
            let there = format!("/errand/v1/namespaces/{other}/tasks");
            let refused = ann.get(&there);
            let message = format!(
                "user \"system:serviceaccount:{}:ann\" cannot list tasks in namespace \"{other}\"",
                space.name
            );
            assert_eq!(
                (refused.status, &refused.json()["error"]["message"]),
                (403, &json!(message))
            );
            assert_eq!(ann.get(&format!("{there}/waits")).status, 403);
        }
    })
    .await;
}

#[tokio::test]
async fn a_right_that_is_taken_away_ends_at_the_facade_and_so_does_a_token() {
    in_space("revoked", |space: Space| async move {
        let tasks = format!("/errand/v1/namespaces/{}/tasks", space.name);
        let ann = space.user("ann", EVERYTHING).await;
        let bob = space.user("bob", EVERYTHING).await;
        assert_eq!(always(&ann, &tasks), Some(200));
        assert_eq!(always(&bob, &tasks), Some(200));

        space.kubectl(&["delete", "rolebinding", "ann"]).ok();
        let refused = |http: &Http, status: u16| (always(http, &tasks) == Some(status)).then_some(());
        space
            .poll("ann's right ends", || async { refused(&ann, 403) })
            .await;
        space.kubectl(&["delete", "serviceaccount", "bob"]).ok();
        space
            .poll("bob's token ends", || async { refused(&bob, 401) })
            .await;
        space.allow("ann", EVERYTHING);
        space
            .poll("ann's right is back", || async { refused(&ann, 200) })
            .await;
    })
    .await;
}

/// The status that all facades answer with: replicas share nothing, and each connection may meet another.
fn always(http: &Http, path: &str) -> Option<u16> {
    let statuses: BTreeSet<u16> = (0..12).map(|_| http.get(path).status).collect();
    (statuses.len() == 1)
        .then(|| statuses.into_iter().next())
        .flatten()
}

/// Status of a request to the API server.
async fn attempt(client: &Client, method: &str, path: &str, body: &Value) -> u16 {
    let media = if method == "PATCH" {
        "application/merge-patch+json"
    } else {
        "application/json"
    };
    let body = if body.is_null() {
        Vec::new()
    } else {
        body.to_string().into_bytes()
    };
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", media);
    match client.request_text(request.body(body).unwrap()).await {
        Ok(_) => 200,
        Err(kube::Error::Api(status)) => status.code,
        Err(error) => panic!("{method} {path}: {error}"),
    }
}

/// What an account may do in a namespace: group, resource with name, verb.
type Rule = (String, String, String);

async fn rules_of(client: &Client, namespace: &str) -> BTreeSet<Rule> {
    let spec = SelfSubjectRulesReviewSpec {
        namespace: Some(namespace.to_owned()),
    };
    let review = SelfSubjectRulesReview {
        spec,
        ..Default::default()
    };
    let review = Api::all(client.clone())
        .create(&PostParams::default(), &review)
        .await
        .unwrap();
    let status = review.status.unwrap();
    assert!(!status.incomplete, "{status:?}");
    let mut rules = BTreeSet::new();
    for rule in status.resource_rules {
        let names: Vec<String> = match rule.resource_names {
            Some(names) if !names.is_empty() => names.iter().map(|name| format!("/{name}")).collect(),
            _ => vec![String::new()],
        };
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                for (name, verb) in names
                    .iter()
                    .flat_map(|name| rule.verbs.iter().map(move |verb| (name, verb)))
                {
                    rules.insert((group.clone(), format!("{resource}{name}"), verb.clone()));
                }
            }
        }
    }
    rules
}

/// `GROUP/RESOURCE: VERBS`
fn grouped<'a>(rules: impl Iterator<Item = &'a Rule>) -> BTreeSet<String> {
    let mut verbs = std::collections::BTreeMap::<_, Vec<&str>>::new();
    for (group, resource, verb) in rules {
        verbs.entry(format!("{group}/{resource}")).or_default().push(verb);
    }
    verbs
        .iter()
        .map(|(what, verbs)| format!("{what}: {}", verbs.join(" ")))
        .collect()
}
