//! Parts of the cluster, stopped and started, and what has to be well before a test begins.

use std::{
    fmt::Debug,
    future::Future,
    path::{Path, PathBuf},
    process::Command,
};

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Node};
use kube::{Api, api::ListParams};

use super::release;
use crate::support::{
    Space,
    command::{Ran, run},
    in_space, installation,
};

/// Runs a test in a namespace of its own once nodes and release are well, also where the test before it failed.
pub async fn in_healthy_cluster<F: Future<Output = ()>>(test: &str, body: impl FnOnce(Space) -> F) {
    in_space(test, |space| async move {
        release::ensure_installed();
        healthy(&space).await;
        body(space).await;
    })
    .await;
}

/// The folder of the cluster, which both nodes see too.
pub fn cluster_dir() -> PathBuf {
    let dir = std::env::var_os("ERRAND_CLUSTER_DIR");
    PathBuf::from(
        dir.expect("ERRAND_CLUSTER_DIR: these tests stop parts of a cluster of their own; run `make e2e`"),
    )
}

/// `cluster.sh` with arguments.
pub fn cluster(args: &[&str]) -> Ran {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/cluster/cluster.sh");
    let mut command = Command::new(script);
    command.args(args).env("ERRAND_CLUSTER_DIR", cluster_dir());
    run(command, b"")
}

/// A part of the cluster that has been killed; it starts again at the latest when this goes.
pub struct Stopped {
    part: &'static str,
    down: bool,
}

impl Stopped {
    pub fn part(part: &'static str) -> Self {
        cluster(&["stop", part]).ok();
        Self { part, down: true }
    }

    pub fn start(mut self) {
        self.down = false;
        cluster(&["start", self.part]).ok();
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if self.down {
            let ran = cluster(&["start", self.part]);
            eprintln!("{} was started again: {ran:?}", self.part);
        }
    }
}

/// Asks until the answer is yes; a server that does not answer is asked again.
pub async fn eventually<F: Future<Output = Result<bool, E>>, E: Debug>(
    space: &Space,
    what: &str,
    ask: impl Fn() -> F,
) {
    space
        .poll(what, || async { matches!(ask().await, Ok(true)).then_some(()) })
        .await;
}

/// Waits until the API server answers, all nodes are Ready and the release has all its replicas.
pub async fn healthy(space: &Space) {
    eventually(space, "all nodes are Ready", || nodes_ready(space)).await;
    eventually(space, "the release has all its replicas", || release_ready(space)).await;
}

async fn nodes_ready(space: &Space) -> kube::Result<bool> {
    let nodes = Api::<Node>::all(space.client.clone())
        .list(&ListParams::default())
        .await?;
    let untouched = |node: &Node| {
        node.spec
            .as_ref()
            .is_none_or(|spec| spec.taints.as_deref().unwrap_or_default().is_empty())
    };
    Ok(nodes.items.len() == 2 && nodes.items.iter().all(|node| is_ready(node) && untouched(node)))
}

/// What the node's condition Ready says.
pub fn is_ready(node: &Node) -> bool {
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    conditions
        .iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

async fn release_ready(space: &Space) -> kube::Result<bool> {
    let deployments: Api<Deployment> = Api::namespaced(space.client.clone(), installation::NAMESPACE);
    let deployments = deployments.list(&ListParams::default()).await?;
    Ok(deployments.items.len() == 2 && deployments.items.iter().all(rolled_out))
}

/// The same as `kubectl rollout status` asks.
fn rolled_out(deployment: &Deployment) -> bool {
    let Some(status) = &deployment.status else {
        return false;
    };
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas);
    status.observed_generation == deployment.metadata.generation
        && [
            status.replicas,
            status.updated_replicas,
            status.available_replicas,
        ]
        .iter()
        .all(|count| *count == wanted)
}
