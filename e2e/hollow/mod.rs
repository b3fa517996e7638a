//! Hollow nodes: Nodes of the API server without a machine behind them, as Kubernetes' own kubemark has them.
//!
//! They hold their leases, and walk each pod that is bound to one of them through Running and Succeeded with the
//! writes of a kubelet. What a kubelet writes besides is left out, for every pod alike: its first report of a pod as
//! Pending, and its Events about images and containers.

mod kubelet;
mod nodes;
mod status;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use kube::Client;
use tokio::task::JoinSet;

/// What the hollow nodes saw of a pod.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    /// When the watch showed the pod first.
    pub made: Instant,
    /// When the API server had the report of its end.
    pub ended: Option<Instant>,
}

/// The hollow nodes. They end when this is dropped.
pub struct Hollow {
    lives: Arc<Lives>,
    _loops: JoinSet<()>,
}

/// Pods by namespace and name.
#[derive(Default)]
struct Lives(Mutex<HashMap<(String, String), Life>>);

impl Lives {
    fn lock(&self) -> MutexGuard<'_, HashMap<(String, String), Life>> {
        self.0.lock().unwrap()
    }
}

impl Hollow {
    /// Registers `count` nodes and waits until pods can be bound to them. A container on them runs for `run_time`.
    pub async fn start(client: Client, count: usize, run_time: Duration) -> Self {
        let lives = Arc::new(Lives::default());
        let mut loops = JoinSet::new();
        nodes::register(&client, count).await;
        loops.spawn(nodes::renew(client.clone(), count));
        loops.spawn(kubelet::work(client.clone(), run_time, lives.clone()));
        nodes::schedulable(&client, count).await;
        Self { lives, _loops: loops }
    }

    /// The pods of a namespace by name.
    pub fn lives(&self, namespace: &str) -> HashMap<String, Life> {
        let lives = self.lives.lock();
        let of = lives.iter().filter(|((space, _), _)| space == namespace);
        of.map(|((_, name), life)| (name.clone(), *life)).collect()
    }
}
