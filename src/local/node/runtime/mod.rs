//! What runs containers: child processes of this machine, or a Docker-compatible engine.
//!
//! [`Runtime`] is the seam. A runtime knows containers; pods, policies and the API server stay above it.

pub mod docker;
pub mod process;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::images::PullPolicy;
use super::log_file::LogFile;
use super::pull_secrets::Credentials;
use super::volumes::Mount;
use crate::local::logs::{LogError, LogOptions, LogStream};

/// Which pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodKey {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

/// Limits that a runtime may enforce.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Thousandths of a core.
    pub cpu_limit: Option<i64>,
    /// Thousandths of a core, as a weight against others.
    pub cpu_request: Option<i64>,
    /// Bytes.
    pub memory: Option<i64>,
}

/// The parts of the security context that a runtime may apply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Security {
    pub privileged: bool,
    pub no_new_privileges: bool,
    pub user: Option<i64>,
    pub group: Option<i64>,
    pub extra_groups: Vec<i64>,
    pub run_as_non_root: bool,
    pub read_only_root: bool,
    pub add_capabilities: Vec<String>,
    pub drop_capabilities: Vec<String>,
    /// `Unconfined` was asked for; otherwise the engine's default profile stays.
    pub seccomp_unconfined: bool,
}

/// One container, ready to be made: nothing in it refers to anything else any more.
#[derive(Clone, Debug)]
pub struct ContainerConfig {
    pub pod: PodKey,
    pub name: String,
    /// 0 for the first run, then one more for each restart.
    pub attempt: u32,
    pub init: bool,
    pub image: String,
    pub pull_policy: PullPolicy,
    /// What the image's registry is told.
    pub registry: Option<Credentials>,
    pub command: Vec<String>,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    pub working_dir: Option<String>,
    pub mounts: Vec<Mount>,
    pub ports: Vec<u16>,
    pub limits: Limits,
    pub security: Security,
    pub hostname: String,
    pub host_network: bool,
    /// The folder of the pod on this machine.
    pub folder: PathBuf,
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// As a shell counts: 128 + N for signal N.
    pub code: i32,
    pub signal: Option<i32>,
    pub oom_killed: bool,
    /// A sentence of the engine about the end, when it has one.
    pub error: Option<String>,
    pub finished_at: Timestamp,
}

/// A container that runs.
#[derive(Debug)]
pub struct Started {
    /// `process://...` or `docker://...`.
    pub id: String,
    pub image_id: String,
    pub started_at: Timestamp,
    /// Where known only now (docker).
    pub pod_ip: Option<IpAddr>,
    pub logs: LogHandle,
    /// Resolves once, when the container has ended and its output has been taken in.
    pub exit: oneshot::Receiver<Exit>,
}

/// Why a container did not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartFailure {
    /// Image trouble: the waiting reason (`ErrImagePull`, ...) and a sentence. Tried again.
    Image { reason: &'static str, message: String },
    /// `CreateContainerConfigError`. Tried again.
    Config(String),
    /// `CreateContainerError`. Tried again.
    Create(String),
    /// The container was made and could not run: it counts as ended, `StartError`, exit code 128.
    Start(String),
}

/// What it takes to have an image here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageNeeded {
    /// It is here.
    Present,
    /// It has to be pulled.
    Pull,
    /// This runtime needs no image.
    No,
}

/// SIGTERM or SIGKILL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopSignal {
    Terminate,
    Kill,
}

/// Where a container's log is.
#[derive(Clone, Debug)]
pub enum LogHandle {
    File(Arc<LogFile>),
    Docker(docker::DockerLog),
}

impl LogHandle {
    /// The log as `options` want it.
    pub async fn read(&self, container: &str, options: LogOptions) -> Result<LogStream, LogError> {
        match self {
            Self::File(log) => Ok(log.read(&options, Timestamp::now())),
            Self::Docker(log) => log.read(container, options).await,
        }
    }

    /// The last lines, at most `limit` bytes of them (the message of `FallbackToLogsOnError`).
    pub async fn tail(&self, lines: u64, limit: usize) -> Vec<u8> {
        match self {
            Self::File(log) => log.tail(lines, limit).await,
            Self::Docker(log) => log.tail(lines, limit).await,
        }
    }
}

/// Why a runtime cannot do its work at all.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    #[error(
        "no container engine answers: tried {tried}. Start Docker or Podman, set DOCKER_HOST, or choose the process runtime"
    )]
    NoEngine { tried: String },
    #[error("prepare the folder {folder}")]
    Folder {
        folder: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("ask the container engine to {what}")]
    Engine {
        what: &'static str,
        #[source]
        source: Box<bollard::errors::Error>,
    },
}

/// One of the two ways to run containers.
#[derive(Clone, Debug)]
pub enum Runtime {
    Process(process::ProcessRuntime),
    Docker(Box<docker::DockerRuntime>),
}

impl Runtime {
    /// `process` or `docker`, as in container ids.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Process(_) => "process",
            Self::Docker(_) => "docker",
        }
    }

    /// Name and version for `nodeInfo.containerRuntimeVersion`.
    pub fn version(&self) -> String {
        match self {
            Self::Process(_) => format!("process://{}", env!("CARGO_PKG_VERSION")),
            Self::Docker(runtime) => format!("docker://{}", runtime.version()),
        }
    }

    /// Ends whatever an earlier node of the same kind left behind when it was killed.
    pub async fn clean_leftovers(&self) -> Result<usize, RuntimeError> {
        match self {
            Self::Process(runtime) => Ok(runtime.clean_leftovers().await),
            Self::Docker(runtime) => runtime.clean_leftovers().await,
        }
    }

    /// Prepares what containers of a pod share; its address where that is known beforehand.
    pub fn add_pod(&self, pod: &PodKey) -> Option<IpAddr> {
        match self {
            Self::Process(runtime) => Some(runtime.add_pod(pod).into()),
            Self::Docker(_) => None,
        }
    }

    /// What the pull policy makes of the image's presence.
    pub async fn image_needed(&self, config: &ContainerConfig) -> Result<ImageNeeded, StartFailure> {
        match self {
            Self::Process(_) => Ok(ImageNeeded::No),
            Self::Docker(runtime) => runtime.image_needed(config).await,
        }
    }

    /// Pulls the image.
    pub async fn pull(&self, config: &ContainerConfig) -> Result<(), StartFailure> {
        match self {
            Self::Process(_) => Ok(()),
            Self::Docker(runtime) => runtime.pull(config).await,
        }
    }

    /// Makes and starts a container.
    pub async fn start(&self, config: ContainerConfig) -> Result<Started, StartFailure> {
        match self {
            Self::Process(runtime) => runtime.start(config).await,
            Self::Docker(runtime) => runtime.start(config).await,
        }
    }

    /// Sends a signal to a container. Nothing happens if it has ended.
    pub async fn signal(&self, id: &str, signal: StopSignal) {
        match self {
            Self::Process(runtime) => runtime.signal(id, signal),
            Self::Docker(runtime) => runtime.signal(id, signal).await,
        }
    }

    /// Gives back everything of a pod whose containers have ended.
    pub async fn remove_pod(&self, pod: &PodKey) {
        match self {
            Self::Process(runtime) => runtime.remove_pod(pod),
            Self::Docker(runtime) => runtime.remove_pod(pod).await,
        }
    }

    /// Ends every container at once and waits until none is left.
    pub async fn kill_all(&self) {
        match self {
            Self::Process(runtime) => runtime.kill_all().await,
            Self::Docker(runtime) => runtime.kill_all().await,
        }
    }
}
