//! Output is bounded and honest.

use serde_json::json;

use super::ends::inline;
use crate::support::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_megabytes_of_output_are_cut_and_said_to_be_cut() {
    let world = World::start().await;
    world
        .task("t", inline("head -c 200000000 /dev/zero | tr '\\0' 'x'"))
        .await;
    let status = world.ended("t").await.status.unwrap();
    let result = status.result.unwrap();
    assert_eq!(
        (result.status, result.size_bytes, result.truncated),
        (200, Some(200_000_000), true)
    );
    assert_eq!(result.body.map(|body| body.len()), Some(262_144));
    let logs = status.logs.unwrap();
    assert_eq!(
        (logs.size_bytes, logs.truncated, logs.tail.len()),
        (Some(200_000_000), true, 65_536)
    );
    assert_eq!(
        status.conditions.len(),
        1,
        "the evidence is whole: {:?}",
        status.conditions
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_file_of_fifty_megabytes_is_cut_and_said_to_be_cut() {
    let world = World::start().await;
    let file = world.folder().join("big");
    let mut spec = inline(&format!("head -c 50000000 /dev/zero > {}", file.display()));
    spec["function"]["result"] = json!({"from": "File", "path": file, "limit": 1000});
    world.task("t", spec).await;
    let result = world.succeeded("t").await;
    assert_eq!((result.size_bytes, result.truncated), (Some(50_000_000), true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_result_that_may_be_kept_is_kept_whole() {
    let world = World::start().await;
    let mut spec = inline("head -c 524288 /dev/urandom");
    spec["function"]["result"] = json!({"limit": 524_288});
    spec["function"]["logs"] = json!({"limit": 262_144});
    world.task("t", spec).await;
    let result = world.succeeded("t").await;
    assert_eq!((result.size_bytes, result.truncated), (Some(524_288), false));
    assert_eq!(result.body_base64.map(|text| text.len()), Some(699_052));
}
