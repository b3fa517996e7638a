//! Whose turn it is.

use errand::crd::Phase;
use serde_json::json;

use crate::support::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_over_the_limit_wait_without_pods_and_go_by_priority() {
    let world = World::start().await;
    let (order, go) = (world.folder().join("order"), world.folder().join("go"));
    let script = format!(
        "echo $ERRAND_TASK >> {}; while ! test -e {}; do sleep 0.02; done",
        order.display(),
        go.display()
    );
    world
        .function(
            "one",
            json!({"container": {"image": "busybox", "command": ["sh", "-c", script]}, "maxConcurrency": 1}),
        )
        .await;
    world.task("first", json!({"functionRef": {"name": "one"}})).await;
    world.running("first").await;
    for (name, priority) in [("low", 0), ("high", 10), ("middle", 5)] {
        world
            .task(
                name,
                json!({"functionRef": {"name": "one"}, "priority": priority}),
            )
            .await;
        world
            .until(name, "it is queued", |task| {
                let status = task.status.as_ref()?;
                (status.phase == Some(Phase::Queued) && status.reason.as_deref() == Some("ConcurrencyLimit"))
                    .then_some(())
            })
            .await;
    }
    assert_eq!(world.pods().await.len(), 1);
    std::fs::write(go, "").unwrap();
    for name in ["first", "high", "middle", "low"] {
        assert_eq!(
            world.ended(name).await.status.unwrap().phase,
            Some(Phase::Succeeded)
        );
    }
    assert_eq!(
        std::fs::read_to_string(order).unwrap(),
        "first\nhigh\nmiddle\nlow\n"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_function_starts_nothing_until_it_goes_on() {
    let world = World::start().await;
    world
        .function(
            "f",
            json!({"container": {"image": "busybox", "command": ["true"]}, "paused": true}),
        )
        .await;
    world.task("t", json!({"functionRef": {"name": "f"}})).await;
    world
        .until("t", "it is held", |task| {
            (task.status.as_ref()?.reason.as_deref() == Some("FunctionPaused")).then_some(())
        })
        .await;
    assert_eq!(world.pods().await.len(), 0);
    world
        .patch_function("f", json!({"spec": {"paused": false}}))
        .await;
    assert_eq!(
        world.ended("t").await.status.unwrap().phase,
        Some(Phase::Succeeded)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queued_task_can_be_cancelled_and_a_deleted_one_blocks_nobody() {
    let world = World::start().await;
    let go = world.folder().join("go");
    let script = format!("while ! test -e {}; do sleep 0.02; done", go.display());
    world
        .function(
            "one",
            json!({"container": {"image": "busybox", "command": ["sh", "-c", script]}, "maxConcurrency": 1}),
        )
        .await;
    for name in ["running", "cancelled", "deleted", "last"] {
        world.task(name, json!({"functionRef": {"name": "one"}})).await;
        if name == "running" {
            world.running(name).await;
        }
    }
    world.cancel("cancelled").await;
    assert_eq!(
        world.ended("cancelled").await.status.unwrap().phase,
        Some(Phase::Cancelled)
    );
    world.delete("deleted").await;
    std::fs::write(go, "").unwrap();
    assert_eq!(
        world.ended("last").await.status.unwrap().phase,
        Some(Phase::Succeeded)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_tasks_at_once_all_end_once() {
    let world = World::start().await;
    let runs = world.folder().join("runs");
    let script = format!("echo $ERRAND_TASK >> {}", runs.display());
    world
        .function(
            "f",
            json!({"container": {"image": "busybox", "command": ["sh", "-c", script]}}),
        )
        .await;
    let names: Vec<String> = (0..500).map(|n| format!("t{n:03}")).collect();
    for name in &names {
        world.task(name, json!({"functionRef": {"name": "f"}})).await;
    }
    for name in &names {
        assert_eq!(
            world.ended(name).await.status.unwrap().phase,
            Some(Phase::Succeeded),
            "{name}"
        );
    }
    let mut ran: Vec<String> = std::fs::read_to_string(runs)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    ran.sort_unstable();
    assert_eq!(ran, names, "each container started once");
    world.no_pods().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_task_starts_nothing_until_it_is_let_go_or_its_time_is_over() {
    let world = World::start().await;
    let spec = |pending: &str| {
        let container = json!({"image": "busybox", "command": ["true"]});
        json!({"function": {"container": container, "pendingTimeout": pending}, "suspend": true})
    };
    world.task("held", spec("10m")).await;
    world.task("late", spec("1s")).await;
    let late = world.ended("late").await.status.unwrap();
    assert_eq!(
        (late.phase, late.reason.as_deref()),
        (Some(Phase::Failed), Some("PendingTimedOut"))
    );
    world
        .until("held", "it is held", |task| {
            (task.status.as_ref()?.reason.as_deref() == Some("Suspended")).then_some(())
        })
        .await;
    assert_eq!(world.pods().await.len(), 0);
    world
        .patch_task("held", json!({"spec": {"suspend": false}}))
        .await;
    assert_eq!(
        world.ended("held").await.status.unwrap().phase,
        Some(Phase::Succeeded)
    );
}
