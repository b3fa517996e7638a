//! Pods, nodes and Tasks that go away.

use errand::crd::Phase;
use serde_json::json;

use super::ends::inline;
use crate::support::world::{NodeSpec, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_someone_deletes_ends_its_task_with_the_evidence() {
    let world = World::start().await;
    world.task("t", inline("echo so far; exec sleep 600")).await;
    world.running("t").await;
    world.log_of("t", "so far").await;
    world.delete_pods().await;
    let status = world.ended("t").await.status.unwrap();
    assert_eq!(
        (status.phase, status.reason.as_deref()),
        (Some(Phase::Failed), Some("PodLost"))
    );
    assert_eq!(status.logs.unwrap().tail, "so far\n");
    assert_eq!(status.error.map(|e| e.code), Some(14));
    world.event("t", "PodLost").await;
    world.no_pods().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_pod_is_tried_again_where_the_policy_allows_it() {
    let world = World::start().await;
    let (runs, go) = (world.folder().join("runs"), world.folder().join("go"));
    let mut spec = inline(&format!(
        "echo run >> {}; while ! test -e {}; do sleep 0.02; done",
        runs.display(),
        go.display()
    ));
    spec["retry"] = json!({"limit": 1, "backoff": "10ms"});
    world.task("t", spec).await;
    world.running("t").await;
    world.delete_pods().await;
    world
        .until("t", "the second attempt runs", |task| {
            let status = task.status.as_ref()?;
            (status.attempts == Some(2) && status.phase == Some(Phase::Running)).then_some(())
        })
        .await;
    std::fs::write(go, "").unwrap();
    assert_eq!(
        world.ended("t").await.status.unwrap().phase,
        Some(Phase::Succeeded)
    );
    assert_eq!(std::fs::read_to_string(runs).unwrap(), "run\nrun\n");
    world.no_pods().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_vanishes_takes_its_tasks_along_within_the_bound() {
    let world = World::start_with(|setup| {
        setup.nodes = vec![NodeSpec::labelled("doomed", "1")];
        setup.engine.node_lost_after = std::time::Duration::from_millis(300);
    })
    .await;
    world.task("t", inline("exec sleep 600")).await;
    world.running("t").await;
    world.stop_node("doomed").await;
    let status = world.ended("t").await.status.unwrap();
    assert_eq!(
        (status.phase, status.reason.as_deref()),
        (Some(Phase::Failed), Some("NodeLost"))
    );
    assert!(status.message.as_deref().unwrap().contains("doomed"));
    world.event("t", "NodeLost").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_a_running_task_stops_its_container_and_leaves_no_pod() {
    let world = World::start().await;
    let beat = world.folder().join("heard");
    world
        .task(
            "t",
            inline(&format!(
                "trap 'echo x > {}; exit 0' TERM; echo ready; while :; do sleep 0.02; done",
                beat.display()
            )),
        )
        .await;
    world.running("t").await;
    world.log_of("t", "ready").await;
    world.delete("t").await;
    world.gone("t").await;
    world.no_pods().await;
    assert!(beat.exists(), "the container heard SIGTERM");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_with_running_tasks_can_be_deleted() {
    let world = World::start().await;
    world.namespace("other").await;
    world.task_in("other", "t", inline("exec sleep 600")).await;
    world
        .until_in("other", "t", "it runs", |task| {
            (task.status.as_ref()?.phase == Some(Phase::Running)).then_some(())
        })
        .await;
    world.delete_namespace("other").await;
}
