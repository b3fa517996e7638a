//! What a Task asks of its machine, and what it hears when it cannot have it.

use std::collections::BTreeMap;

use errand::crd::Phase;
use serde_json::json;

use super::ends::inline;
use crate::support::world::{NodeSpec, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn impossible_resources_end_in_the_schedulers_words() {
    let world = World::start().await;
    let mut spec = inline("true");
    spec["function"]["capabilities"] = json!({"cpu": 100_000});
    // It counts from the pod's creation, of which Kubernetes keeps whole seconds.
    spec["function"]["pendingTimeout"] = json!("3s");
    world.task("t", spec).await;
    world
        .until("t", "the reason shows while it waits", |task| {
            let status = task.status.as_ref()?;
            (status.phase == Some(Phase::Pending) && status.reason.as_deref() == Some("Unschedulable"))
                .then_some(())
        })
        .await;
    let status = world.ended("t").await.status.unwrap();
    assert_eq!(
        (status.phase, status.reason.as_deref()),
        (Some(Phase::Failed), Some("Unschedulable"))
    );
    assert!(
        status.message.as_deref().unwrap().contains("Insufficient cpu"),
        "{:?}",
        status.message
    );
    assert_eq!(status.error.map(|e| e.code), Some(8));
    world.event("t", "Unschedulable").await;
    world.no_pods().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn network_latency_chooses_the_node_whose_label_is_below_it() {
    let world = World::start_with(|setup| {
        setup.nodes = vec![NodeSpec::labelled("far", "80"), NodeSpec::labelled("near", "5")];
    })
    .await;
    for (name, limit, node) in [("strict", 20, Some("near")), ("impossible", 5, None)] {
        let mut spec = inline("true");
        spec["capabilities"] = json!({"networkLatencyMs": limit});
        if node.is_none() {
            spec["function"]["pendingTimeout"] = json!("1s");
        }
        world.task(name, spec).await;
        let status = world.ended(name).await.status.unwrap();
        match node {
            Some(node) => assert_eq!(status.pod.unwrap().node.as_deref(), Some(node)),
            None => assert_eq!(status.reason.as_deref(), Some("Unschedulable")),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_secret_ends_the_task_and_names_it() {
    let world = World::start().await;
    let mut spec = inline("true");
    spec["env"] = json!([{"name": "A", "valueFrom": {"secretKeyRef": {"name": "nowhere", "key": "k"}}}]);
    world.task("t", spec).await;
    let status = world.ended("t").await.status.unwrap();
    assert_eq!(
        (status.phase, status.reason.as_deref()),
        (Some(Phase::Failed), Some("ContainerConfigFailed"))
    );
    assert!(
        status.message.as_deref().unwrap().contains("nowhere"),
        "{:?}",
        status.message
    );
    world.no_pods().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_schema_cannot_see_is_refused_with_a_sentence() {
    let world = World::start().await;
    let mut volume = inline("true");
    volume["function"]["pod"] = json!({"volumes": [{"name": "v", "hostPath": "not an object"}]});
    let mut input = inline("true");
    let header = "x".repeat(4096);
    input["input"] =
        json!({"headers": (0..64).map(|n| (format!("h{n}"), header.clone())).collect::<BTreeMap<_, _>>()});
    let source = json!({"function": {"container": {"image": "i"}, "result": {"from": "Stdout"}}});
    for (name, spec, sentence) in [
        ("volume", volume, "pod.volumes[0] is no volume of core/v1: "),
        (
            "input",
            input,
            "query, headers, contentType and body of the input, and the actions with their files, need ",
        ),
        ("source", source, "result.from: Stdout needs container.command, "),
    ] {
        world.task(name, spec).await;
        let status = world.ended(name).await.status.unwrap();
        assert_eq!(
            (status.reason.as_deref(), status.error.map(|e| e.code)),
            (Some("InvalidSpec"), Some(3))
        );
        let message = status.message.unwrap();
        assert!(message.starts_with(sentence), "{message}");
    }
    world.no_pods().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_and_a_function_that_are_too_large_together_end_the_task() {
    let world = World::start().await;
    let half = "x".repeat(1 << 20);
    world
        .function(
            "f",
            json!({"container": {"image": "i", "command": ["echo", half]}}),
        )
        .await;
    world
        .task(
            "t",
            json!({"functionRef": {"name": "f"}, "input": {"args": [half]}}),
        )
        .await;
    let status = world.ended("t").await.status.unwrap();
    assert_eq!(
        (status.phase, status.reason.as_deref()),
        (Some(Phase::Failed), Some("PodRefused"))
    );
    assert!(
        status
            .message
            .as_deref()
            .unwrap()
            .contains("request is too large"),
        "{:?}",
        status.message
    );
    world.no_pods().await;
}
