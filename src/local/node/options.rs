//! How a node works, and what everything on it shares.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::Taint;
use kube::Client;

use super::fields::NodeFacts;
use super::logs::NodeLogs;
use super::runtime::Runtime;
use super::runtime::process::ProcessOptions;
use crate::local::events::{EventLevel, Events};
use crate::local::logs::LogRouter;
use crate::local::scheduler::resources::Resources;

/// Which runtime a node uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RuntimeChoice {
    /// Docker if a socket answers, else processes.
    #[default]
    Auto,
    Process,
    Docker,
}

/// How a node works. [`NodeOptions::new`] has the defaults.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// The name of the Node object.
    pub name: String,
    /// Where pods live on this machine; made if it is not there. Kept over restarts, it is what tells that a
    /// pod was started already.
    pub folder: PathBuf,
    pub runtime: RuntimeChoice,
    /// The socket of a container engine; found by itself when none.
    pub docker_host: Option<String>,
    /// Labels beside hostname, os and arch.
    pub labels: BTreeMap<String, String>,
    pub taints: Vec<Taint>,
    /// Capacity by resource name, on top of (or instead of) what the machine has: `nvidia.com/gpu` -> `1`.
    pub capacity: BTreeMap<String, String>,
    /// Most pods at once.
    pub max_pods: u32,
    /// The address that pods see as their host's.
    pub host_ip: IpAddr,
    /// Image reference -> local folder, for `image` volumes.
    pub images: BTreeMap<String, PathBuf>,
    /// Variables that every container gets, as a kubelet gives KUBERNETES_SERVICE_HOST; the pod's own go first.
    pub env: BTreeMap<String, String>,
    pub process: ProcessOptions,
    /// Renewal of the node's Lease.
    pub lease_every: Duration,
    /// The first pause of restart and pull back-offs; it doubles up to 5 minutes.
    pub back_off: Duration,
    /// For this long a starting pod's first status is held back: most are running by then, and a write is saved.
    pub quiet_start: Duration,
    /// What containers get between SIGTERM and SIGKILL when the node shuts down.
    pub shutdown_grace: Duration,
    pub events: EventLevel,
    /// Where the node offers its logs.
    pub logs: LogRouter,
}

impl NodeOptions {
    /// A node of this name whose pods live in `folder`.
    pub fn new(name: impl Into<String>, folder: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            folder: folder.into(),
            runtime: RuntimeChoice::default(),
            docker_host: None,
            labels: BTreeMap::new(),
            taints: Vec::new(),
            capacity: BTreeMap::new(),
            max_pods: 250,
            host_ip: Ipv4Addr::LOCALHOST.into(),
            images: BTreeMap::new(),
            env: BTreeMap::new(),
            process: ProcessOptions::default(),
            lease_every: Duration::from_secs(10),
            back_off: Duration::from_secs(10),
            quiet_start: Duration::from_millis(100),
            shutdown_grace: Duration::from_secs(2),
            events: EventLevel::default(),
            logs: LogRouter::default(),
        }
    }
}

/// What every pod on the node shares.
pub struct Shared {
    pub client: Client,
    pub options: NodeOptions,
    pub runtime: Runtime,
    pub events: Events,
    pub logs: NodeLogs,
    pub allocatable: Resources,
}

impl Shared {
    /// The folder of one pod.
    pub fn pod_folder(&self, uid: &str) -> PathBuf {
        self.options.folder.join("pods").join(uid)
    }

    /// What a pod may learn of this node.
    pub fn facts(&self, pod_ip: Option<IpAddr>) -> NodeFacts {
        NodeFacts {
            node_name: self.options.name.clone(),
            host_ip: self.options.host_ip,
            pod_ip,
            allocatable: self.allocatable.clone(),
        }
    }
}
