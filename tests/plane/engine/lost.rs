//! Pods, nodes and Tasks that go away.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use errand::crd::{API_VERSION, CAPTURE_FINALIZER, LABEL_TASK_UID, Phase};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use serde_json::json;

use super::ends::inline;
use crate::support::{
    PATIENCE,
    fault::{Fault, with_faults},
    world::{NodeSpec, World},
};

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
    // Running is said of the container; its shell may be a moment behind.
    let ran = || std::fs::read_to_string(&runs).unwrap_or_default();
    crate::support::wait_for("the first run", ran, || (ran() == "run\n").then_some(()));
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
async fn an_evicted_pod_ends_its_task_with_the_evidence_and_is_not_tried_again_unasked() {
    let world = World::start().await;
    world.task("t", inline("echo so far; exec sleep 600")).await;
    world.running("t").await;
    world.log_of("t", "so far").await;
    world.evict_pods().await;
    let status = world.ended("t").await.status.unwrap();
    assert_eq!(
        (
            status.phase,
            status.reason.as_deref(),
            status.message.as_deref(),
            status.attempts
        ),
        (
            Some(Phase::Failed),
            Some("Evicted"),
            Some("Eviction API: evicting"),
            Some(1)
        )
    );
    let result = status.result.unwrap();
    assert_eq!((result.status, result.body.as_deref()), (500, Some("so far\n")));
    assert_eq!(status.logs.unwrap().tail, "so far\n");
    assert_eq!(status.error.map(|e| e.code), Some(8));
    world.event("t", "Evicted").await;
    world.no_pods().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_evicted_pod_is_tried_again_as_often_as_the_limit_says_and_only_for_its_class() {
    let world = World::start().await;
    for (name, retry, attempts) in [
        ("default-classes", json!({"limit": 1, "backoff": "10ms"}), 2),
        (
            "other-class",
            json!({"limit": 1, "on": ["Failure"], "backoff": "10ms"}),
            1,
        ),
    ] {
        let mut spec = inline("echo ready; exec sleep 600");
        spec["retry"] = retry;
        world.task(name, spec).await;
        for attempt in 1..=attempts {
            world
                .until(name, "the attempt runs", |task| {
                    let status = task.status.as_ref()?;
                    (status.attempts == Some(attempt) && status.phase == Some(Phase::Running)).then_some(())
                })
                .await;
            world.log_of(name, "ready").await;
            world.evict_pods().await;
        }
        let status = world.ended(name).await.status.unwrap();
        assert_eq!(
            (status.phase, status.reason.as_deref(), status.attempts),
            (Some(Phase::Failed), Some("Evicted"), Some(attempts)),
            "{name}"
        );
        world.no_pods().await;
    }
}

/// There is no node, so that nobody but the test says what became of the pods.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_its_kubelet_evicts_ends_its_attempt_in_the_kubelets_words() {
    let world = World::start_with(|setup| setup.nodes.clear()).await;
    let mut spec = inline("exec sleep 600");
    spec["retry"] = json!({"limit": 1, "backoff": "10ms"});
    world.task("t", spec).await;
    for attempt in [1, 2] {
        world.pod_of_attempt(attempt).await;
        let words = "The node was low on resource: memory. ";
        world
            .patch_pods_status(json!({"phase": "Failed", "reason": "Evicted", "message": words}))
            .await;
    }
    let status = world.ended("t").await.status.unwrap();
    assert_eq!(
        (
            status.phase,
            status.reason.as_deref(),
            status.message.as_deref(),
            status.attempts
        ),
        (
            Some(Phase::Failed),
            Some("Evicted"),
            Some("The node was low on resource: memory. "),
            Some(2)
        )
    );
    assert_eq!((status.exit_code, status.error.map(|e| e.code)), (None, Some(8)));
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

/// The caches fill apart from each other, and a pod can be on a node that is younger than the cache of nodes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_only_the_cache_does_not_know_is_not_lost() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let world = World::start_with(|setup| {
        setup.fault = Some(Arc::new(move |request| {
            let query = request.uri().query().unwrap_or_default();
            if request.uri().path() != "/api/v1/nodes" {
                Fault::None
            } else if query.contains("watch=") {
                Fault::Hang
            } else if query.contains("fieldSelector=") {
                count.fetch_add(1, Ordering::SeqCst);
                Fault::None
            } else {
                Fault::Answer(json!({
                    "apiVersion": "v1", "kind": "NodeList", "metadata": {"resourceVersion": "1"}, "items": [],
                }))
            }
        }));
    })
    .await;
    world.task("t", inline("echo ready; exec sleep 600")).await;
    world.running("t").await;
    world.cancel("t").await;
    let status = world.ended("t").await.status.unwrap();
    assert_eq!(status.phase, Some(Phase::Cancelled));
    assert!(asked.load(Ordering::SeqCst) > 0, "the API server was asked");
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

/// The list of Tasks fails at first, so that everything else is there before it and waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_starts_lets_go_of_pods_without_a_task_and_stops() {
    let failed = AtomicBool::new(false);
    let world = World::start_with(|setup| {
        setup.nodes.clear();
        setup.start_engine = false;
    })
    .await;
    leave_orphan(&world).await;
    let client = with_faults(
        world.client.clone(),
        Arc::new(move |request| {
            let tasks = request.uri().path().ends_with("/v1alpha1/tasks");
            if tasks && !failed.swap(true, Ordering::SeqCst) {
                return Fault::Status(500, "InternalError");
            }
            Fault::None
        }),
    );
    let engine = world.engine_on(client);
    world.no_pods().await;
    tokio::time::timeout(PATIENCE, engine.stop()).await.unwrap();
}

/// A pod under deletion, with the engine's finalizer on it, whose Task is gone.
async fn leave_orphan(world: &World) {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {
            "name": "orphan", "finalizers": [CAPTURE_FINALIZER], "labels": {LABEL_TASK_UID: "gone"},
            "ownerReferences": [{"apiVersion": API_VERSION, "kind": "Task", "name": "gone", "uid": "gone"}],
        },
        "spec": {"containers": [{"name": "task", "image": "i"}]},
    }))
    .unwrap();
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), "default");
    pods.create(&PostParams::default(), &pod).await.unwrap();
    pods.delete("orphan", &DeleteParams::default()).await.unwrap();
}
