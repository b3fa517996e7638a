//! API server and etcd go and come back while Tasks run.

use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::{Api, api::ListParams};
use serde_json::json;

use super::{
    load::Load,
    support::{Stopped, eventually, healthy, in_healthy_cluster},
};
use crate::support::Space;
use errand::crd::Task;

/// Longer than the Lease of the leader, which has to step down meanwhile.
const OUTAGE: Duration = Duration::from_secs(30);

async fn answers(space: &Space) {
    let nodes: Api<Node> = Api::all(space.client.clone());
    let tasks: Api<Task> = space.api();
    let params = ListParams::default();
    // It knows its own kinds at once, and those of definitions a moment later.
    eventually(space, "the API server answers", || async {
        nodes.list(&params).await?;
        tasks.list(&params).await.map(|_| true)
    })
    .await;
}

#[tokio::test]
async fn an_api_server_that_is_away_for_half_a_minute_costs_no_task_and_repeats_none() {
    in_healthy_cluster("api-server", |space: Space| async move {
        let load = Load::of(&space, 2, json!({})).await;
        load.make("before", 40).await;
        load.started(10).await;
        let stopped = Stopped::part("apiserver");
        tokio::time::sleep(OUTAGE).await;
        stopped.start();
        answers(&space).await;
        load.make("after", 10).await;
        load.all_ran_once().await;
        healthy(&space).await;
    })
    .await;
}

#[tokio::test]
async fn an_etcd_that_is_killed_and_comes_back_loses_and_repeats_no_task() {
    in_healthy_cluster("etcd", |space: Space| async move {
        let load = Load::of(&space, 2, json!({})).await;
        load.make("before", 30).await;
        for round in ["first", "second"] {
            load.started(8).await;
            let stopped = Stopped::part("etcd");
            stopped.start();
            answers(&space).await;
            load.make(round, 10).await;
        }
        load.all_ran_once().await;
        healthy(&space).await;
    })
    .await;
}
