//! Containers through the Docker Engine API: Docker, or Podman's compatible socket.
//!
//! Limits are enforced, images pulled by policy, volumes bound in. The containers of a pod share the network of
//! the first that runs; a pod's address is that container's on its bridge, so it is known only from then on.
//! Images are pulled with the pod's imagePullSecrets, else with the engine's own credentials. Not known here: per-pod pid and
//! ipc namespaces.

mod config;
mod log;
mod watch;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bollard::Docker;
use bollard::auth::DockerCredentials;
use bollard::errors::Error;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, CreateImageOptionsBuilder, InspectContainerOptions,
    KillContainerOptionsBuilder, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder,
    StartContainerOptions,
};
use futures::StreamExt;
use jiff::Timestamp;
use tokio::sync::oneshot;

use super::process::leftovers::{self, Owner};
use super::{
    ContainerConfig, ImageNeeded, LogHandle, PodKey, RuntimeError, Security, StartFailure, Started,
    StopSignal,
};
use crate::local::node::images::{self, PullPolicy};
pub use log::DockerLog;
use watch::{Watch, oom_kills};

/// The label which says who made a container; see [`Owner`].
const OWNER: &str = "local-node.owner";
/// Which node of which plane: found again by the next node of the same name and folder.
const NODE: &str = "local-node.node";
/// The label with the pod's uid.
const POD: &str = "local-node.pod-uid";
/// A socket that does not answer a ping by then is none.
const PING: Duration = Duration::from_secs(3);
/// At the end of the node its containers are removed so often, with a pause, until none is left.
const REMOVALS: u32 = 20;
const REMOVAL_PAUSE: Duration = Duration::from_millis(50);

/// The runtime; clones are the same one.
#[derive(Clone, Debug)]
pub struct DockerRuntime {
    docker: Docker,
    version: String,
    podman: bool,
    owner: Owner,
    node: String,
    /// Pod uid -> the container whose network the others of the pod share.
    networks: Arc<Mutex<HashMap<String, Arc<Network>>>>,
    /// Containers that were sent SIGKILL from here.
    killed: Arc<Mutex<HashSet<String>>>,
}

/// Held while a pod's first container starts, since the others need its id.
type Network = tokio::sync::Mutex<Option<String>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where an engine may listen, most wanted first.
fn candidates(host: Option<&str>) -> Vec<String> {
    let given = host
        .map(str::to_owned)
        .or_else(|| std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty()));
    match given {
        Some(host) if host.starts_with('/') => vec![format!("unix://{host}")],
        Some(host) => vec![host],
        None => {
            let mut sockets = vec![
                "/var/run/docker.sock".to_owned(),
                "/run/podman/podman.sock".to_owned(),
            ];
            sockets.extend(
                std::env::var("XDG_RUNTIME_DIR")
                    .ok()
                    .map(|folder| format!("{folder}/podman/podman.sock")),
            );
            let there = sockets.into_iter().filter(|socket| Path::new(socket).exists());
            there.map(|socket| format!("unix://{socket}")).collect()
        }
    }
}

impl DockerRuntime {
    /// Connects to `host` (`unix:///...`, `tcp://...`), DOCKER_HOST or a usual socket, whichever answers first.
    ///
    /// # Errors
    /// If none answers.
    pub async fn connect(host: Option<&str>, node: &str, folder: &Path) -> Result<Self, RuntimeError> {
        let hosts = candidates(host);
        for host in &hosts {
            let Ok(docker) = Docker::connect_with_host(host) else {
                continue;
            };
            // The answer carries the API version to speak from now on: old engines refuse newer ones.
            let Ok(Ok(docker)) = tokio::time::timeout(PING, docker.negotiate_version()).await else {
                continue;
            };
            let Ok(Ok(version)) = tokio::time::timeout(PING, docker.version()).await else {
                continue;
            };
            let parts = version.components.unwrap_or_default();
            return Ok(Self {
                docker,
                version: version.version.unwrap_or_default(),
                podman: parts.iter().any(|part| part.name.starts_with("Podman")),
                owner: Owner::here(),
                node: format!("{node} {}", folder.display()),
                networks: Arc::default(),
                killed: Arc::default(),
            });
        }
        let tried = if hosts.is_empty() {
            "/var/run/docker.sock, /run/podman/podman.sock".to_owned()
        } else {
            hosts.join(", ")
        };
        Err(RuntimeError::NoEngine { tried })
    }

    /// The engine's version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Removes containers of nodes that are dead, and of an earlier node of this name and folder.
    pub async fn clean_leftovers(&self) -> Result<usize, RuntimeError> {
        let all = self
            .list(OWNER)
            .await
            .map_err(|source| engine("list containers", source))?;
        let mut removed = 0;
        for (id, labels) in all {
            let same = labels.get(NODE) == Some(&self.node);
            let marked = labels.get(OWNER).and_then(|mark| leftovers::parse(0, mark));
            if same || marked.is_some_and(|one| leftovers::is_leftover(&one)) {
                self.remove(&id)
                    .await
                    .map_err(|source| engine("remove a container", source))?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    async fn list(&self, label: &str) -> Result<Vec<(String, HashMap<String, String>)>, Error> {
        let filters = HashMap::from([("label", vec![label])]);
        let options = ListContainersOptionsBuilder::new()
            .all(true)
            .filters(&filters)
            .build();
        let all = self.docker.list_containers(Some(options)).await?;
        Ok(all
            .into_iter()
            .filter_map(|one| Some((one.id?, one.labels.unwrap_or_default())))
            .collect())
    }

    async fn remove(&self, id: &str) -> Result<(), Error> {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        match self.docker.remove_container(id, Some(options)).await {
            Err(error) if code_of(&error) == Some(404) || code_of(&error) == Some(409) => Ok(()),
            other => other,
        }
    }

    /// What the pull policy makes of the image's presence.
    pub async fn image_needed(&self, container: &ContainerConfig) -> Result<ImageNeeded, StartFailure> {
        let here = self.image_user(&full_name(&container.image)).await?;
        match (here, container.pull_policy) {
            (Some(user), PullPolicy::Never | PullPolicy::IfNotPresent) => {
                check_user(&container.security, &user)?;
                Ok(ImageNeeded::Present)
            }
            (None, PullPolicy::Never) => {
                let (reason, message) = PullPolicy::Never.absent(&container.image);
                Err(StartFailure::Image { reason, message })
            }
            (None, PullPolicy::IfNotPresent) | (_, PullPolicy::Always) => Ok(ImageNeeded::Pull),
        }
    }

    /// Pulls the image.
    pub async fn pull(&self, container: &ContainerConfig) -> Result<(), StartFailure> {
        let image = full_name(&container.image);
        let options = CreateImageOptionsBuilder::new().from_image(&image).build();
        let credentials = container.registry.clone().map(|known| DockerCredentials {
            username: Some(known.username),
            password: Some(known.password),
            serveraddress: Some(known.server),
            ..DockerCredentials::default()
        });
        let mut progress = self.docker.create_image(Some(options), None, credentials).boxed();
        while let Some(step) = progress.next().await {
            match step {
                Ok(info) => {
                    if let Some(detail) = info.error_detail {
                        return Err(image_failure(&detail.message.unwrap_or_default()));
                    }
                }
                Err(error) => return Err(image_failure(&sentence(&error))),
            }
        }
        let user = self.image_user(&image).await?;
        let user = user.ok_or_else(|| image_failure("the image is not there after its pull"))?;
        check_user(&container.security, &user)
    }

    /// The user of an image that is here.
    async fn image_user(&self, image: &str) -> Result<Option<String>, StartFailure> {
        match self.docker.inspect_image(image).await {
            Ok(found) => Ok(Some(
                found.config.and_then(|config| config.user).unwrap_or_default(),
            )),
            Err(error) if code_of(&error) == Some(404) => Ok(None),
            Err(error) => Err(image_failure(&sentence(&error))),
        }
    }

    /// Makes and starts a container.
    pub async fn start(&self, container: ContainerConfig) -> Result<Started, StartFailure> {
        let network = lock(&self.networks)
            .entry(container.pod.uid.clone())
            .or_default()
            .clone();
        let mut network = network.lock().await;
        let shared = network.clone();
        let labels = HashMap::from([
            (
                OWNER.to_owned(),
                self.owner
                    .mark(&format!("{}_{}", container.pod.uid, container.name)),
            ),
            (NODE.to_owned(), self.node.clone()),
            (POD.to_owned(), container.pod.uid.clone()),
            (
                "io.kubernetes.pod.namespace".to_owned(),
                container.pod.namespace.clone(),
            ),
            ("io.kubernetes.pod.name".to_owned(), container.pod.name.clone()),
            ("io.kubernetes.container.name".to_owned(), container.name.clone()),
        ]);
        let body = config::body(
            &container,
            full_name(&container.image),
            labels,
            shared.as_deref(),
            self.podman,
        );
        let name = config::container_name(&container);
        let options = CreateContainerOptionsBuilder::new().name(&name).build();
        let made = match self.docker.create_container(Some(options), body).await {
            Ok(made) => made.id,
            // Gone between the look for it and now.
            Err(error) if code_of(&error) == Some(404) => return Err(image_failure(&sentence(&error))),
            Err(error) => return Err(StartFailure::Create(sentence(&error))),
        };
        let kills_before = oom_kills();
        if let Err(error) = self
            .docker
            .start_container(&made, None::<StartContainerOptions>)
            .await
        {
            let _ = self.remove(&made).await;
            return Err(match code_of(&error) {
                Some(_) => StartFailure::Start(sentence(&error)),
                None => StartFailure::Create(sentence(&error)),
            });
        }
        let started_at = Timestamp::now();
        if !container.init && !container.host_network {
            network.get_or_insert_with(|| made.clone());
        }
        drop(network);
        let seen = self
            .docker
            .inspect_container(&made, None::<InspectContainerOptions>)
            .await
            .ok();
        let (done, exit) = oneshot::channel();
        let watch = Watch {
            docker: self.docker.clone(),
            id: made.clone(),
            killed: self.killed.clone(),
            oom_kills: container.limits.memory.and(kills_before),
        };
        tokio::spawn(watch.follow(done));
        Ok(Started {
            id: format!("docker://{made}"),
            image_id: seen
                .as_ref()
                .and_then(|seen| seen.image.clone())
                .unwrap_or_default(),
            started_at,
            // An init container's network ends with it.
            pod_ip: seen.filter(|_| !container.init).as_ref().and_then(address_of),
            logs: LogHandle::Docker(DockerLog::new(self.docker.clone(), made)),
            exit,
        })
    }

    /// Signals the first process of a container.
    pub async fn signal(&self, id: &str, signal: StopSignal) {
        let name = match signal {
            StopSignal::Terminate => "SIGTERM",
            StopSignal::Kill => "SIGKILL",
        };
        let options = KillContainerOptionsBuilder::new().signal(name).build();
        let id = id.trim_start_matches("docker://");
        if signal == StopSignal::Kill {
            lock(&self.killed).insert(id.to_owned());
        }
        match self.docker.kill_container(id, Some(options)).await {
            Ok(()) => {}
            // Ended, or gone.
            Err(error) if matches!(code_of(&error), Some(404 | 409 | 500)) => {
                tracing::debug!(%error, container = id, "signal not sent");
            }
            Err(error) => tracing::warn!(%error, container = id, "signal not sent"),
        }
    }

    /// Removes the containers of a pod, and with them their logs.
    pub async fn remove_pod(&self, pod: &PodKey) {
        lock(&self.networks).remove(&pod.uid);
        self.remove_labelled(&format!("{POD}={}", pod.uid)).await;
    }

    /// Removes every container of this node and waits until none is left: a removal may be under way already, and a
    /// start that was called back may still bring one.
    pub async fn kill_all(&self) {
        let label = format!("{NODE}={}", self.node);
        for _ in 0..REMOVALS {
            self.remove_labelled(&label).await;
            if matches!(self.list(&label).await, Ok(left) if left.is_empty()) {
                return;
            }
            tokio::time::sleep(REMOVAL_PAUSE).await;
        }
        tracing::warn!("some containers are still being removed");
    }

    async fn remove_labelled(&self, label: &str) {
        match self.list(label).await {
            Ok(all) => {
                let removals = all.iter().map(|(id, _)| self.remove(id));
                for error in futures::future::join_all(removals)
                    .await
                    .into_iter()
                    .filter_map(Result::err)
                {
                    tracing::warn!(%error, "container not removed");
                }
            }
            Err(error) => tracing::warn!(%error, "containers not removed"),
        }
    }
}

/// `runAsNonRoot`, seen from the container's user and that of its image.
fn check_user(security: &Security, image_user: &str) -> Result<(), StartFailure> {
    let as_root = match security.user {
        Some(user) => user == 0,
        None => matches!(image_user.split(':').next(), None | Some("" | "0" | "root")),
    };
    if security.run_as_non_root && as_root {
        let message = "container has runAsNonRoot and image will run as root".to_owned();
        return Err(StartFailure::Config(message));
    }
    Ok(())
}

/// The engine's own sentence.
fn sentence(error: &Error) -> String {
    match error {
        Error::DockerResponseServerError { message, .. } => message.clone(),
        Error::DockerStreamError { error } => error.clone(),
        other => other.to_string(),
    }
}

fn code_of(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

fn engine(what: &'static str, source: Error) -> RuntimeError {
    RuntimeError::Engine {
        what,
        source: Box::new(source),
    }
}

fn image_failure(message: &str) -> StartFailure {
    StartFailure::Image {
        reason: "ErrImagePull",
        message: message.to_owned(),
    }
}

/// Without tag or digest the engine would pull every tag there is.
fn full_name(image: &str) -> String {
    if image.contains('@') || images::tag(image).is_some() {
        image.to_owned()
    } else {
        format!("{image}:latest")
    }
}

fn address_of(seen: &bollard::models::ContainerInspectResponse) -> Option<IpAddr> {
    let networks = seen.network_settings.as_ref()?.networks.as_ref()?;
    networks
        .values()
        .find_map(|network| network.ip_address.as_ref()?.parse().ok())
}
