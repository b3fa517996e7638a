//! What the metrics say of the Tasks that there are.

use serde_json::json;

use super::ends::inline;
use crate::support::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_metrics_count_what_waits_runs_and_is_followed() {
    let world = World::start().await;
    let go = world.folder().join("go");
    let script = format!("while ! test -e {}; do sleep 0.02; done", go.display());
    let one = json!({"container": {"image": "i", "command": ["sh", "-c", script]}, "maxConcurrency": 1});
    world.function("one", one).await;
    for name in ["first", "second", "third"] {
        world.task(name, json!({"functionRef": {"name": "one"}})).await;
    }
    let mut impossible = inline("true");
    impossible["function"]["capabilities"] = json!({"cpu": 100_000});
    world.task("impossible", impossible).await;
    world
        .metrics_show(&[
            "errand_tasks_queued 2",
            "errand_tasks_pending 1",
            "errand_tasks_running 1",
            "errand_logs_followed 1",
        ])
        .await;
    std::fs::write(go, "").unwrap();
    world.cancel("impossible").await;
    world
        .metrics_show(&[
            "errand_tasks_queued 0",
            "errand_tasks_pending 0",
            "errand_tasks_running 0",
            "errand_logs_followed 0",
        ])
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_stops_leaves_no_counts_behind() {
    let world = World::start_with(|setup| setup.start_engine = false).await;
    let engine = world.engine_on(world.client.clone());
    world.task("t", inline("sleep 600")).await;
    world.metrics_show(&["errand_tasks_running 1"]).await;
    engine.stop().await;
    world
        .metrics_show(&["errand_tasks_running 0", "errand_logs_followed 0"])
        .await;
}
