//! API server, scheduler, node controllers and nodes of a test's world.

use std::{collections::HashMap, fs, path::Path, sync::Mutex, time::Duration};

use errand::{
    crd,
    local::{
        api::{ApiOptions, ApiServer},
        events::EventLevel,
        logs::LogRouter,
        node::{self, NodeOptions, RuntimeChoice},
        node_lifecycle::{self, NodeLifecycleOptions},
        scheduler::{self, SchedulerOptions},
    },
};
use kube::{Api, Client, ResourceExt, api::PostParams};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{command::ERRAND, world::NodeSpec};

/// The image whose content is the binary under test.
pub const RUNNER_IMAGE: &str = "errand.test/errand:built";

/// Puts what [`RUNNER_IMAGE`] holds into a folder.
pub fn lay_out_image(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    if fs::hard_link(ERRAND, folder.join("errand")).is_err() {
        fs::copy(ERRAND, folder.join("errand")).unwrap();
    }
}

/// The ground that an engine stands on.
pub struct Ground {
    server: ApiServer,
    stop: CancellationToken,
    nodes: Mutex<HashMap<String, JoinHandle<()>>>,
}

impl Ground {
    /// Nodes run processes, or the containers of the engine at `docker_host`.
    pub async fn start(folder: &Path, nodes: &[NodeSpec], docker_host: Option<&str>) -> Self {
        let image = folder.join("image");
        lay_out_image(&image);
        let logs = LogRouter::default();
        let server = ApiServer::start(ApiOptions {
            logs: logs.clone(),
            ..ApiOptions::default()
        })
        .await
        .unwrap();
        let client = server.client();
        for (_, definition) in crd::definitions() {
            let api = Api::all(client.clone());
            let name = definition.name_any();
            api.create(&PostParams::default(), &definition)
                .await
                .unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        let stop = CancellationToken::new();
        let scheduler = SchedulerOptions {
            events: EventLevel::Warnings,
            ..SchedulerOptions::default()
        };
        tokio::spawn(scheduler::run(
            client.clone(),
            scheduler,
            stop.clone().cancelled_owned(),
        ));
        let lifecycle = NodeLifecycleOptions {
            events: EventLevel::Warnings,
            ..NodeLifecycleOptions::default()
        };
        tokio::spawn(node_lifecycle::run(
            client.clone(),
            lifecycle,
            stop.clone().cancelled_owned(),
        ));
        let ground = Self {
            server,
            stop,
            nodes: Mutex::default(),
        };
        for spec in nodes {
            let mut options = NodeOptions::new(&spec.name, folder.join(&spec.name));
            options.runtime = match docker_host {
                Some(_) => RuntimeChoice::Docker,
                None => RuntimeChoice::Process,
            };
            options.docker_host = docker_host.map(str::to_owned);
            options.labels = spec.labels.clone();
            options.images.insert(RUNNER_IMAGE.to_owned(), image.clone());
            options.logs = logs.clone();
            options.events = EventLevel::Warnings;
            options.max_pods = 1000;
            options.shutdown_grace = Duration::from_millis(100);
            let run = node::run(client.clone(), options, ground.stop.clone().cancelled_owned());
            let node = tokio::spawn(async move { run.await.unwrap() });
            ground.nodes.lock().unwrap().insert(spec.name.clone(), node);
        }
        ground
    }

    pub fn client(&self) -> Client {
        self.server.client()
    }

    /// The sudden death of a node: nothing more is written.
    pub async fn stop_node(&self, name: &str) {
        let node = self.nodes.lock().unwrap().remove(name).unwrap();
        node.abort();
        drop(node.await);
    }

    /// Stops all parts; the nodes stop their containers.
    pub async fn stop(&self) {
        self.stop.cancel();
        let nodes: Vec<JoinHandle<()>> = self.nodes.lock().unwrap().drain().map(|(_, node)| node).collect();
        for node in nodes {
            node.await.unwrap();
        }
    }
}
