//! A small plane for tests: API server, scheduler, nodes.

use std::path::PathBuf;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, Pod};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use kube_runtime::{WatchStreamExt, watcher};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::local::api::{ApiOptions, ApiServer};
use crate::local::logs::{LogOptions, LogRouter};
use crate::local::node::{self, NodeOptions, RuntimeChoice};
use crate::local::scheduler::{self, SchedulerOptions};

/// Nothing in these tests takes longer; what does is a failure.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Plane {
    pub client: Client,
    pub logs: LogRouter,
    pub folder: TempDir,
    stop: CancellationToken,
    _api: ApiServer,
    nodes: Vec<Option<JoinHandle<()>>>,
    scheduler: JoinHandle<()>,
}

impl Plane {
    /// API server and scheduler, without any node.
    pub async fn bare() -> Self {
        // RUST_LOG shows what a failing test saw.
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        let _ = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_test_writer()
            .try_init();
        let logs = LogRouter::default();
        let api = ApiServer::start(ApiOptions {
            logs: logs.clone(),
            ..ApiOptions::default()
        })
        .await
        .unwrap();
        let client = api.client();
        let stop = CancellationToken::new();
        let scheduler = tokio::spawn(scheduler::run(
            client.clone(),
            SchedulerOptions::default(),
            stop.clone().cancelled_owned(),
        ));
        Self {
            client,
            logs,
            _api: api,
            folder: tempfile::tempdir().unwrap(),
            stop,
            nodes: Vec::new(),
            scheduler,
        }
    }

    /// With one node of child processes, `n1`.
    pub async fn new() -> Self {
        let mut plane = Self::bare().await;
        let options = plane.options("n1");
        plane.add_node(options);
        plane
    }

    pub fn options(&self, name: &str) -> NodeOptions {
        NodeOptions {
            runtime: RuntimeChoice::Process,
            logs: self.logs.clone(),
            back_off: Duration::from_millis(50),
            shutdown_grace: Duration::from_millis(500),
            lease_every: Duration::from_millis(200),
            ..NodeOptions::new(name, self.node_folder(name))
        }
    }

    pub fn node_folder(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts a node; returns its place for [`Plane::kill_node`].
    pub fn add_node(&mut self, options: NodeOptions) -> usize {
        let (client, stop) = (self.client.clone(), self.stop.clone());
        self.nodes.push(Some(tokio::spawn(async move {
            node::run(client, options, stop.cancelled_owned()).await.unwrap();
        })));
        self.nodes.len() - 1
    }

    /// The sudden death of a node.
    pub async fn kill_node(&mut self, index: usize) {
        let node = self.nodes[index].take().unwrap();
        node.abort();
        let _ = node.await;
    }

    /// The orderly end of everything.
    pub async fn stop(self) {
        self.stop.cancel();
        for node in self.nodes.into_iter().flatten() {
            let _ = node.await;
        }
        let _ = self.scheduler.await;
    }

    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "default")
    }

    /// Creates a pod; `spec` is merged over a container `task` that runs `script` in a shell.
    pub async fn run(&self, name: &str, script: &str, spec: Value) -> Pod {
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "namespace": "default" },
            "spec": {
                "restartPolicy": "Never",
                "containers": [{ "name": "task", "image": "scratch:1", "command": ["sh", "-c", script] }],
            },
        });
        merge(&mut pod, &json!({ "spec": spec }));
        self.create(pod).await
    }

    pub async fn create(&self, pod: Value) -> Pod {
        self.pods()
            .create(&PostParams::default(), &serde_json::from_value(pod).unwrap())
            .await
            .unwrap()
    }

    pub async fn delete(&self, name: &str, grace: u32) {
        let params = DeleteParams {
            grace_period_seconds: Some(grace),
            ..DeleteParams::default()
        };
        self.pods().delete(name, &params).await.unwrap();
    }

    /// Waits until the pod is as `wanted`; None stands for a pod that is gone.
    pub async fn wait_for(
        &self,
        name: &str,
        what: &str,
        wanted: impl Fn(Option<&Pod>) -> bool,
    ) -> Option<Pod> {
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let mut last = None;
        let seen = tokio::time::timeout(PATIENCE, async {
            let mut events = watcher(self.pods(), config).default_backoff().boxed();
            let mut listed = false;
            while let Some(event) = events.next().await {
                match event {
                    Ok(watcher::Event::Init) => last = None,
                    Ok(watcher::Event::InitApply(pod) | watcher::Event::Apply(pod)) => last = Some(pod),
                    Ok(watcher::Event::Delete(_)) => last = None,
                    Ok(watcher::Event::InitDone) => listed = true,
                    Err(error) => panic!("watch {name}: {error}"),
                }
                if listed && wanted(last.as_ref()) {
                    return;
                }
            }
        });
        if seen.await.is_err() {
            panic!(
                "{name} never was {what}: {}",
                serde_json::to_string_pretty(&last).unwrap()
            );
        }
        last
    }

    pub async fn wait_phase(&self, name: &str, phase: &str) -> Pod {
        self.wait_for(name, phase, |pod| pod.is_some_and(|pod| phase_of(pod) == phase))
            .await
            .unwrap()
    }

    /// Waits for the end of the pod.
    pub async fn wait_end(&self, name: &str) -> Pod {
        let over = |pod: Option<&Pod>| pod.is_some_and(|pod| matches!(phase_of(pod), "Succeeded" | "Failed"));
        self.wait_for(name, "over", over).await.unwrap()
    }

    pub async fn wait_gone(&self, name: &str) {
        self.wait_for(name, "gone", |pod| pod.is_none()).await;
    }

    /// The whole log of the container `task`.
    pub async fn log(&self, pod: &Pod, options: LogOptions) -> Result<Vec<u8>, String> {
        let node = pod.spec.as_ref().unwrap().node_name.clone().unwrap();
        let meta = &pod.metadata;
        let source = self.logs.get(&node).ok_or("no such node")?;
        let uid = meta.uid.as_deref().unwrap();
        let opened = source
            .logs("default", meta.name.as_deref().unwrap(), uid, "task", options)
            .await;
        let mut stream = opened.map_err(|error| error.to_string())?;
        let mut all = Vec::new();
        while let Some(bytes) = stream.next().await {
            all.extend_from_slice(&bytes.unwrap());
        }
        Ok(all)
    }

    pub async fn text(&self, pod: &Pod) -> String {
        String::from_utf8(self.log(pod, LogOptions::default()).await.unwrap()).unwrap()
    }
}

/// JSON merge that reaches into the first container as well, so that tests can name only what differs.
fn merge(into: &mut Value, patch: &Value) {
    let mut patch = patch.clone();
    let first = patch
        .get_mut("spec")
        .and_then(Value::as_object_mut)
        .and_then(|spec| spec.remove("task"));
    json_patch::merge(into, &patch);
    if let Some(first) = first {
        json_patch::merge(&mut into["spec"]["containers"][0], &first);
    }
}

pub fn phase_of(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or("")
}

pub fn reason_of(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.reason.as_deref())
        .unwrap_or("")
}

/// The end of the first container.
pub fn end_of(pod: &Pod) -> ContainerStateTerminated {
    let status = &pod.status.as_ref().unwrap().container_statuses.as_ref().unwrap()[0];
    status.state.clone().unwrap().terminated.unwrap()
}

/// Why the first container waits.
pub fn waits(pod: &Pod) -> (String, String) {
    let status = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref());
    let state = status
        .and_then(|statuses| statuses[0].state.clone())
        .unwrap_or_default();
    let waiting = state.waiting.unwrap_or_default();
    (
        waiting.reason.unwrap_or_default(),
        waiting.message.unwrap_or_default(),
    )
}
