use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};

use super::place::{NodeInfo, Placement, place};
use super::queue::Cluster;
use super::resources::{Resources, pod_requests};

fn mk_node(name: &str, extra: Value) -> Node {
    let mut node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name } },
        "status": {
            "allocatable": { "cpu": "4", "memory": "8Gi", "pods": "10" },
            "conditions": [{ "type": "Ready", "status": "True" }],
        },
    });
    json_patch::merge(&mut node, &extra);
    serde_json::from_value(node).unwrap()
}

fn mk_pod(name: &str, spec: Value) -> Pod {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": "default", "uid": format!("uid-{name}") },
        "spec": { "containers": [{ "name": "task", "image": "x" }] },
    });
    json_patch::merge(&mut pod, &json!({ "spec": spec }));
    serde_json::from_value(pod).unwrap()
}

fn requests(cpu: &str, memory: &str) -> Value {
    json!({ "containers": [{ "name": "task", "resources": { "requests": { "cpu": cpu, "memory": memory } } }] })
}

fn affinity(terms: Value) -> Value {
    json!({ "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": terms } } } })
}

fn nowhere(text: &str) -> Placement {
    Placement::Nowhere(text.to_owned())
}

fn at(node: &str) -> Placement {
    Placement::Node(node.to_owned())
}

#[test]
fn a_pod_goes_where_every_filter_lets_it() {
    let near = mk_node(
        "near",
        json!({ "metadata": { "labels": { "latency": "5", "zone": "a" } } }),
    );
    let far = mk_node(
        "far",
        json!({ "metadata": { "labels": { "latency": "80", "zone": "b" } } }),
    );
    let nodes = [NodeInfo::of(&near), NodeInfo::of(&far)];
    let mismatch = "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.";
    let lacking = "0/2 nodes are available: 2 Insufficient memory.";
    let expression = |key: &str, operator: &str, values: Value| {
        affinity(json!([{ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] }]))
    };
    for (spec, expected) in [
        (json!({}), at("far")),
        (json!({ "nodeSelector": { "zone": "a" } }), at("near")),
        (json!({ "nodeSelector": { "zone": "c" } }), nowhere(mismatch)),
        (expression("latency", "Lt", json!(["20"])), at("near")),
        (expression("latency", "Gt", json!(["20"])), at("far")),
        (expression("latency", "Lt", json!(["5"])), nowhere(mismatch)),
        (expression("zone", "In", json!(["a", "c"])), at("near")),
        (expression("zone", "NotIn", json!(["b"])), at("near")),
        (expression("zone", "Exists", json!([])), at("far")),
        (expression("zone", "DoesNotExist", json!([])), nowhere(mismatch)),
        (expression("zone", "Like", json!(["a"])), nowhere(mismatch)),
        (expression("zone", "Gt", json!(["1"])), nowhere(mismatch)),
        (affinity(json!([{}])), nowhere(mismatch)),
        (
            affinity(
                json!([{ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["near"] }] }]),
            ),
            at("near"),
        ),
        (
            affinity(json!([
                { "matchExpressions": [{ "key": "zone", "operator": "In", "values": ["c"] }] },
                { "matchExpressions": [{ "key": "zone", "operator": "In", "values": ["a"] }] },
            ])),
            at("near"),
        ),
        (requests("1", "9Gi"), nowhere(lacking)),
        (
            requests("5", "9Gi"),
            nowhere("0/2 nodes are available: 2 Insufficient cpu, 2 Insufficient memory."),
        ),
    ] {
        assert_eq!(place(&mk_pod("p", spec.clone()), &nodes), expected, "{spec}");
    }
}

#[test]
fn each_node_gives_its_own_reason() {
    let small = mk_node("small", json!({ "status": { "allocatable": { "cpu": "100m" } } }));
    let other = mk_node(
        "other",
        json!({ "metadata": { "labels": { "kubernetes.io/hostname": "x" } } }),
    );
    let tainted = mk_node(
        "tainted",
        json!({ "spec": { "taints": [{ "key": "gpu", "value": "yes", "effect": "NoSchedule" }] } }),
    );
    let down = mk_node(
        "down",
        json!({ "status": { "conditions": [{ "type": "Ready", "status": "Unknown" }] } }),
    );
    let closed = mk_node("closed", json!({ "spec": { "unschedulable": true } }));
    let nodes = [&small, &other, &tainted, &down, &closed].map(NodeInfo::of);
    let mut spec = requests("1", "1Gi");
    json_patch::merge(
        &mut spec,
        &json!({ "nodeSelector": { "kubernetes.io/hostname": "small" } }),
    );
    assert_eq!(
        place(&mk_pod("p", spec), &nodes),
        nowhere(
            "0/5 nodes are available: 1 Insufficient cpu, 1 node(s) didn't match Pod's node affinity/selector, \
             1 node(s) had untolerated taint {gpu: yes}, 1 node(s) had untolerated taint \
             {node.kubernetes.io/not-ready: }, 1 node(s) were unschedulable."
        )
    );
    assert_eq!(
        place(&mk_pod("p", json!({})), &[]),
        nowhere("no nodes available to schedule pods")
    );
}

#[test]
fn tolerations_open_tainted_nodes() {
    let taints = json!([{ "key": "gpu", "value": "yes", "effect": "NoSchedule" }]);
    let nodes = [NodeInfo::of(&mk_node(
        "tainted",
        json!({ "spec": { "taints": taints } }),
    ))];
    for (toleration, expected) in [
        (
            json!({ "key": "gpu", "operator": "Equal", "value": "yes", "effect": "NoSchedule" }),
            true,
        ),
        (json!({ "key": "gpu", "value": "yes" }), true),
        (json!({ "key": "gpu", "operator": "Exists" }), true),
        (json!({ "operator": "Exists" }), true),
        (json!({ "key": "gpu", "value": "no" }), false),
        (
            json!({ "key": "gpu", "operator": "Exists", "effect": "NoExecute" }),
            false,
        ),
        (json!({ "key": "cpu", "operator": "Exists" }), false),
        (json!({ "key": "", "operator": "Equal" }), false),
    ] {
        let pod = mk_pod("p", json!({ "tolerations": [toleration] }));
        assert_eq!(place(&pod, &nodes) == at("tainted"), expected, "{toleration}");
    }
}

#[test]
fn the_emptier_node_is_taken_and_full_ones_are_not() {
    let mut nodes = ["a", "b"].map(|name| NodeInfo::of(&mk_node(name, json!({}))));
    let big = mk_pod("big", requests("3", "1Gi"));
    assert_eq!(place(&big, &nodes), at("a"));
    nodes[0].add_pod("1", pod_requests(&big));
    assert_eq!(place(&big, &nodes), at("b"));
    nodes[1].add_pod("2", pod_requests(&big));
    assert_eq!(
        place(&big, &nodes),
        nowhere("0/2 nodes are available: 2 Insufficient cpu.")
    );
    nodes[0].remove_pod("1");
    assert_eq!(place(&big, &nodes), at("a"));
    for n in 0..10 {
        nodes[0].add_pod(&format!("small-{n}"), Resources::default());
    }
    let spread = nowhere("0/2 nodes are available: 1 Insufficient cpu, 1 Too many pods.");
    assert_eq!(place(&big, &nodes), spread);
}

#[test]
fn extended_resources_must_be_there() {
    let node = mk_node(
        "gpu",
        json!({ "status": { "allocatable": { "nvidia.com/gpu": "1" } } }),
    );
    let nodes = [NodeInfo::of(&mk_node("plain", json!({}))), NodeInfo::of(&node)];
    let wants = |count: &str| {
        let limits = json!({ "limits": { "nvidia.com/gpu": count } });
        mk_pod(
            "p",
            json!({ "containers": [{ "name": "task", "resources": limits }] }),
        )
    };
    assert_eq!(place(&wants("1"), &nodes), at("gpu"));
    assert_eq!(
        place(&wants("2"), &nodes),
        nowhere("0/2 nodes are available: 2 Insufficient nvidia.com/gpu.")
    );
}

#[test]
fn a_pod_requests_the_larger_of_init_and_main_containers() {
    let cpu = |text: &str| json!({ "requests": { "cpu": text } });
    let pod = mk_pod(
        "p",
        json!({
            "containers": [{ "name": "a", "resources": cpu("1") }, { "name": "b", "resources": { "limits": { "cpu": "500m" } } }],
            "initContainers": [
                { "name": "side", "restartPolicy": "Always", "resources": cpu("250m") },
                { "name": "init", "resources": cpu("2") },
            ],
            "overhead": { "cpu": "10m" },
        }),
    );
    assert_eq!(pod_requests(&pod).get("cpu"), 2260);
}

/// Uids and nodes in the order in which the queue decides.
fn decisions(cluster: &mut Cluster) -> Vec<(String, Placement, bool)> {
    std::iter::from_fn(|| cluster.decide_next())
        .map(|decision| (decision.uid, decision.placement, decision.news))
        .collect()
}

#[test]
fn priority_goes_before_age_and_age_before_name() {
    let mut cluster = Cluster::new("default-scheduler");
    cluster.apply_node(&mk_node("n", json!({})));
    for (name, priority, created) in [("c", 0, 10), ("b", 0, 20), ("a", 0, 20), ("urgent", 5, 30)] {
        let mut pod = mk_pod(name, json!({ "priority": priority }));
        let time = jiff::Timestamp::from_second(created).unwrap();
        pod.metadata.creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(time));
        cluster.apply_pod(pod);
    }
    let order: Vec<String> = decisions(&mut cluster)
        .into_iter()
        .map(|decision| decision.0)
        .collect();
    assert_eq!(order, ["uid-urgent", "uid-c", "uid-a", "uid-b"]);
}

#[test]
fn a_waiting_pod_is_tried_again_only_when_something_changed() {
    let mut cluster = Cluster::new("default-scheduler");
    cluster.apply_node(&mk_node("n", json!({})));
    let first = mk_pod("first", requests("3", "1Gi"));
    let second = mk_pod("second", requests("3", "1Gi"));
    cluster.apply_pod(first.clone());
    cluster.apply_pod(second.clone());
    let full = nowhere("0/1 nodes are available: 1 Insufficient cpu.");
    assert_eq!(
        decisions(&mut cluster),
        [
            ("uid-first".to_owned(), at("n"), true),
            ("uid-second".to_owned(), full.clone(), true)
        ]
    );
    cluster.refused("uid-second", true);
    // A status update of the waiting pod and a heartbeat of the node are no reasons.
    cluster.apply_pod(second);
    cluster.apply_node(&mk_node("n", json!({ "metadata": { "resourceVersion": "7" } })));
    assert_eq!(decisions(&mut cluster), []);
    // A new label is one, but the refusal is the same: no news.
    cluster.apply_node(&mk_node("n", json!({ "metadata": { "labels": { "a": "b" } } })));
    assert_eq!(decisions(&mut cluster), [("uid-second".to_owned(), full, false)]);
    let mut ended = first;
    ended.spec.as_mut().unwrap().node_name = Some("n".to_owned());
    ended.status = serde_json::from_value(json!({ "phase": "Succeeded" })).unwrap();
    cluster.apply_pod(ended);
    assert_eq!(
        decisions(&mut cluster),
        [("uid-second".to_owned(), at("n"), true)]
    );
}

#[test]
fn a_pod_whose_refusal_is_being_written_is_tried_again_after_that() {
    let mut cluster = Cluster::new("default-scheduler");
    cluster.apply_pod(mk_pod("p", requests("9", "1Gi")));
    let refusal = |text: &str| [("uid-p".to_owned(), nowhere(text), true)];
    assert_eq!(
        decisions(&mut cluster),
        refusal("no nodes available to schedule pods")
    );
    cluster.apply_node(&mk_node("n", json!({})));
    assert_eq!(decisions(&mut cluster), [], "the first refusal is on its way");
    cluster.refused("uid-p", true);
    let full = "0/1 nodes are available: 1 Insufficient cpu.";
    assert_eq!(decisions(&mut cluster), refusal(full));
    cluster.refused("uid-p", true);
    assert_eq!(decisions(&mut cluster), [], "nothing changed meanwhile");
    // What could not be written is written the next time.
    cluster.apply_node(&mk_node("n", json!({ "metadata": { "labels": { "a": "b" } } })));
    assert!(!decisions(&mut cluster)[0].2);
    cluster.apply_node(&mk_node("n", json!({ "spec": { "unschedulable": true } })));
    assert_eq!(decisions(&mut cluster).len(), 1);
    cluster.refused("uid-p", false);
    cluster.apply_node(&mk_node(
        "n",
        json!({ "spec": { "unschedulable": true }, "metadata": { "labels": { "a": "c" } } }),
    ));
    assert!(decisions(&mut cluster)[0].2);
}

#[test]
fn pods_of_others_gated_pods_and_deleted_pods_are_left_alone() {
    let mut cluster = Cluster::new("default-scheduler");
    cluster.apply_node(&mk_node("n", json!({})));
    cluster.apply_pod(mk_pod("other", json!({ "schedulerName": "volcano" })));
    cluster.apply_pod(mk_pod(
        "gated",
        json!({ "schedulingGates": [{ "name": "wait" }] }),
    ));
    cluster.apply_pod(mk_pod("gone", json!({})));
    cluster.delete_pod("uid-gone");
    assert_eq!(decisions(&mut cluster), []);
    cluster.apply_pod(mk_pod("gated", json!({})));
    assert_eq!(decisions(&mut cluster), [("uid-gated".to_owned(), at("n"), true)]);
}

#[test]
fn pods_bound_before_their_node_is_known_count_once_it_is() {
    let mut cluster = Cluster::new("default-scheduler");
    let mut spec = requests("3", "1Gi");
    json_patch::merge(&mut spec, &json!({ "nodeName": "n" }));
    cluster.apply_pod(mk_pod("early", spec));
    cluster.apply_pod(mk_pod("late", requests("3", "1Gi")));
    cluster.apply_node(&mk_node("n", json!({})));
    let full = nowhere("0/1 nodes are available: 1 Insufficient cpu.");
    assert_eq!(decisions(&mut cluster), [("uid-late".to_owned(), full, true)]);
}

#[test]
fn a_thousand_waiting_pods_are_decided_quickly_enough_to_count_on() {
    let mut cluster = Cluster::new("default-scheduler");
    cluster.apply_node(&mk_node(
        "n",
        json!({ "status": { "allocatable": { "pods": "50" } } }),
    ));
    for n in 0..1000 {
        cluster.apply_pod(mk_pod(&format!("p{n:04}"), json!({})));
    }
    let placed = decisions(&mut cluster)
        .iter()
        .filter(|decision| decision.1 == at("n"))
        .count();
    assert_eq!(placed, 50);
}
