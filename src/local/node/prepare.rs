//! Everything a container needs before it can be made: what is fetched, what is written, what is resolved.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, Secret, ServiceAccount};
use kube::Api;

use super::env::{self, Names, Sources};
use super::images::{self, PullPolicy};
use super::options::Shared;
use super::pull_secrets::{self, Credentials};
use super::runtime::{ContainerConfig, Limits, PodKey, Security, StartFailure};
use super::volumes::{self, Content, Inputs, Mount, TokenWanted, VolumeError};
use crate::quantity::milli_of;

/// No call to the API server takes longer.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// `terminationMessagePath` by default.
const TERMINATION_LOG: &str = "/dev/termination-log";
/// The mark in a pod's folder that its containers may have been started.
const STARTED: &str = "started";

/// Why a pod's volumes are not ready.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    #[error("MountVolume.SetUp failed for volume {volume:?} : {source}")]
    Volume {
        volume: String,
        #[source]
        source: VolumeError,
    },
    #[error("fetch what the pod refers to: {0}")]
    Fetch(#[from] FetchError),
    #[error("prepare the folder of the pod: {0}")]
    Folder(#[source] std::io::Error),
}

/// Why something could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("{what}: {source}")]
    Api {
        what: String,
        #[source]
        source: Box<kube::Error>,
    },
    #[error("{0}: the API server did not answer in time")]
    Timeout(String),
}

/// Volume name -> where it lies and what it is.
pub type Folders = HashMap<String, (PathBuf, Content)>;

async fn call<T>(what: &str, call: impl Future<Output = kube::Result<T>>) -> Result<T, FetchError> {
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(FetchError::Api {
            what: what.to_owned(),
            source: Box::new(source),
        }),
        Err(_) => Err(FetchError::Timeout(what.to_owned())),
    }
}

/// Fetches the named ConfigMaps and Secrets; those that do not exist are left out.
pub async fn fetch(shared: &Shared, namespace: &str, names: Names) -> Result<Sources, FetchError> {
    let mut sources = Sources::default();
    let maps: Api<ConfigMap> = Api::namespaced(shared.client.clone(), namespace);
    for name in names.config_maps {
        if let Some(map) = call(&format!("get ConfigMap {name}"), maps.get_opt(&name)).await? {
            sources.config_maps.insert(name, map);
        }
    }
    let secrets: Api<Secret> = Api::namespaced(shared.client.clone(), namespace);
    for name in names.secrets {
        if let Some(secret) = call(&format!("get Secret {name}"), secrets.get_opt(&name)).await? {
            sources.secrets.insert(name, secret);
        }
    }
    Ok(sources)
}

async fn fetch_tokens(
    shared: &Shared,
    key: &PodKey,
    pod: &Pod,
    wanted: Vec<TokenWanted>,
) -> Result<HashMap<TokenWanted, String>, FetchError> {
    let account = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.service_account_name.clone());
    let account = account
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "default".to_owned());
    let api: Api<ServiceAccount> = Api::namespaced(shared.client.clone(), &key.namespace);
    let mut tokens = HashMap::new();
    for one in wanted {
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: one.audience.iter().cloned().collect(),
                expiration_seconds: Some(one.seconds),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".to_owned()),
                    kind: Some("Pod".to_owned()),
                    name: Some(key.name.clone()),
                    uid: Some(key.uid.clone()),
                }),
            },
            ..TokenRequest::default()
        };
        let what = format!("request a token of ServiceAccount {account}");
        let made = call(
            &what,
            api.create_token_request(&account, &kube::api::PostParams::default(), &request),
        )
        .await?;
        tokens.insert(one, made.status.map(|status| status.token).unwrap_or_default());
    }
    Ok(tokens)
}

/// Fetches and writes the volumes of a pod. Can be called again: tokens are refreshed that way.
pub async fn volumes(
    shared: &Arc<Shared>,
    key: &PodKey,
    pod: &Arc<Pod>,
    pod_ip: Option<IpAddr>,
) -> Result<Folders, PrepareError> {
    let Some(spec) = &pod.spec else {
        return Ok(Folders::new());
    };
    let names = volumes::references(spec);
    let sources = if names.is_empty() {
        Sources::default()
    } else {
        fetch(shared, &key.namespace, names).await?
    };
    let tokens = fetch_tokens(shared, key, pod, volumes::tokens(spec)).await?;
    let (shared, pod, root) = (
        shared.clone(),
        pod.clone(),
        shared.pod_folder(&key.uid).join("volumes"),
    );
    let write = move || {
        let facts = shared.facts(pod_ip);
        let inputs = Inputs {
            pod: &pod,
            sources: &sources,
            tokens: &tokens,
            facts: &facts,
            images: &shared.options.images,
        };
        std::fs::create_dir_all(&root).map_err(PrepareError::Folder)?;
        let mut folders = Folders::new();
        for volume in pod.spec.iter().filter_map(|spec| spec.volumes.as_ref()).flatten() {
            let put = volumes::contents(volume, &inputs).and_then(|content| {
                volumes::materialize(&root, &volume.name, &content).map(|at| (at, content))
            });
            let put = put.map_err(|source| PrepareError::Volume {
                volume: volume.name.clone(),
                source,
            })?;
            folders.insert(volume.name.clone(), put);
        }
        Ok(folders)
    };
    tokio::task::spawn_blocking(write)
        .await
        .unwrap_or_else(|error| Err(PrepareError::Folder(std::io::Error::other(error))))
}

/// Notes on disk that containers of the pod are about to start; see [`was_started`].
pub fn mark_started(shared: &Shared, uid: &str) -> std::io::Result<()> {
    let folder = shared.pod_folder(uid);
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join(STARTED), b"")
}

/// Whether a node with this folder may have started the pod before, in this run or an earlier one.
pub fn was_started(shared: &Shared, uid: &str) -> bool {
    shared.pod_folder(uid).join(STARTED).exists()
}

/// The file that stands for a container run's termination log.
pub fn termination_file(shared: &Shared, uid: &str, container: &str, attempt: u32) -> PathBuf {
    shared
        .pod_folder(uid)
        .join("termination")
        .join(format!("{container}.{attempt}"))
}

/// What [`config`] is made of.
pub struct Start {
    pub key: PodKey,
    pub pod: Arc<Pod>,
    pub container: Container,
    pub init: bool,
    pub attempt: u32,
    pub folders: Arc<Folders>,
    pub pod_ip: Option<IpAddr>,
}

/// Resolves a container completely. Fetches only if its environment refers to something.
pub async fn config(shared: &Arc<Shared>, start: Start) -> Result<ContainerConfig, StartFailure> {
    let image = start.container.image.clone().unwrap_or_default();
    if !images::is_valid(&image) {
        let message = format!(
            "Failed to apply default image tag {image:?}: couldn't parse image name {image:?}: invalid reference format"
        );
        return Err(StartFailure::Image {
            reason: "InvalidImageName",
            message,
        });
    }
    let pull_secrets = pull_secrets_of(&start.pod);
    let mut names = env::references(&start.container);
    names.secrets.extend(pull_secrets.iter().cloned());
    let sources = if names.is_empty() {
        Sources::default()
    } else {
        let fetched = fetch(shared, &start.key.namespace, names).await;
        fetched.map_err(|error| StartFailure::Config(error.to_string()))?
    };
    // As with a kubelet, one that is not there is passed over.
    let secrets = pull_secrets.iter().filter_map(|name| sources.secrets.get(name));
    let registry = pull_secrets::credentials(&image, secrets);
    let facts = shared.facts(start.pod_ip);
    let own = env::environment(&start.pod, &start.container, &sources, &facts)
        .map_err(|error| StartFailure::Config(error.to_string()))?;
    let shared = shared.clone();
    // Folders and files are made here: away from the threads that drive everything else.
    let finish = move || finish_config(&shared, start, image, registry, own);
    tokio::task::spawn_blocking(finish)
        .await
        .unwrap_or_else(|error| Err(StartFailure::Create(error.to_string())))
}

fn pull_secrets_of(pod: &Pod) -> Vec<String> {
    let secrets = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.image_pull_secrets.as_ref());
    secrets
        .into_iter()
        .flatten()
        .map(|secret| secret.name.clone())
        .collect()
}

fn finish_config(
    shared: &Shared,
    start: Start,
    image: String,
    registry: Option<Credentials>,
    own: Vec<(String, String)>,
) -> Result<ContainerConfig, StartFailure> {
    let Start {
        key,
        pod,
        container,
        init,
        attempt,
        folders,
        ..
    } = start;
    let command = env::expand_all(container.command.as_ref(), &own);
    let args = env::expand_all(container.args.as_ref(), &own);
    let mut all = volumes::mounts(&container, &folders, &own)
        .map_err(|error| StartFailure::Config(error.to_string()))?;
    all.push(termination_log(shared, &key, &container, attempt)?);
    let given = shared
        .options
        .env
        .iter()
        .filter(|(name, _)| own.iter().all(|(known, _)| known != *name));
    let mut env: Vec<(String, String)> = given.map(|(name, value)| (name.clone(), value.clone())).collect();
    env.extend(own);
    let spec = pod.spec.as_ref();
    let ports = container
        .ports
        .iter()
        .flatten()
        .filter(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP");
    Ok(ContainerConfig {
        attempt,
        init,
        pull_policy: PullPolicy::of(container.image_pull_policy.as_deref(), &image),
        image,
        registry,
        command,
        args,
        env,
        working_dir: container.working_dir.clone(),
        mounts: all,
        ports: ports
            .filter_map(|port| u16::try_from(port.container_port).ok())
            .collect(),
        limits: limits(&container),
        security: security(&pod, &container),
        hostname: hostname(&pod),
        host_network: spec.and_then(|spec| spec.host_network).unwrap_or(false),
        folder: shared.pod_folder(&key.uid),
        name: container.name,
        pod: key,
    })
}

fn termination_log(
    shared: &Shared,
    key: &PodKey,
    container: &Container,
    attempt: u32,
) -> Result<Mount, StartFailure> {
    let host = termination_file(shared, &key.uid, &container.name, attempt);
    let made = match host.parent() {
        Some(parent) => std::fs::create_dir_all(parent).and_then(|()| std::fs::File::create(&host)),
        None => std::fs::File::create(&host),
    };
    let open = |file: std::fs::File| {
        // The container's user need not be ours.
        use std::os::unix::fs::PermissionsExt;
        file.set_permissions(std::fs::Permissions::from_mode(0o666))
    };
    made.and_then(open)
        .map_err(|error| StartFailure::Create(format!("make the termination log: {error}")))?;
    let path = container
        .termination_message_path
        .as_deref()
        .filter(|path| !path.is_empty());
    Ok(Mount {
        host,
        container: path.unwrap_or(TERMINATION_LOG).to_owned(),
        read_only: false,
    })
}

fn limits(container: &Container) -> Limits {
    let requirements = container.resources.clone().unwrap_or_default();
    let limit = |name: &str| {
        requirements
            .limits
            .as_ref()
            .and_then(|map| map.get(name))
            .map(milli_of)
    };
    let request = |name: &str| {
        requirements
            .requests
            .as_ref()
            .and_then(|map| map.get(name))
            .map(milli_of)
    };
    Limits {
        cpu_limit: limit("cpu"),
        cpu_request: request("cpu").or(limit("cpu")),
        memory: limit("memory").map(|milli| milli / 1000),
    }
}

/// The container's own settings go before the pod's.
fn security(pod: &Pod, container: &Container) -> Security {
    let whole = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.security_context.clone())
        .unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    let capabilities = own.capabilities.unwrap_or_default();
    let profile = own.seccomp_profile.or(whole.seccomp_profile);
    Security {
        privileged: own.privileged.unwrap_or(false),
        no_new_privileges: own.allow_privilege_escalation == Some(false),
        user: own.run_as_user.or(whole.run_as_user),
        group: own.run_as_group.or(whole.run_as_group),
        extra_groups: whole
            .supplemental_groups
            .into_iter()
            .flatten()
            .chain(whole.fs_group)
            .collect(),
        run_as_non_root: own.run_as_non_root.or(whole.run_as_non_root).unwrap_or(false),
        read_only_root: own.read_only_root_filesystem.unwrap_or(false),
        add_capabilities: capabilities.add.unwrap_or_default(),
        drop_capabilities: capabilities.drop.unwrap_or_default(),
        seccomp_unconfined: profile.is_some_and(|profile| profile.type_ == "Unconfined"),
    }
}

fn hostname(pod: &Pod) -> String {
    let set = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.hostname.clone())
        .filter(|name| !name.is_empty());
    let name = set.or_else(|| pod.metadata.name.clone()).unwrap_or_default();
    // The kernel's limit; a kubelet cuts there too.
    name.chars()
        .take(63)
        .collect::<String>()
        .trim_end_matches(['-', '.'])
        .to_owned()
}
