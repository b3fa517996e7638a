//! What lies in a pod's volumes, and where a container's mounts point to.
//!
//! [`contents`] decides purely, [`materialize`] writes. Files are written once, before the containers start:
//! unlike a kubelet, this node does not refresh them when a ConfigMap or an annotation changes later.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::{
    Container, DownwardAPIVolumeFile, KeyToPath, Pod, PodSpec, ServiceAccountTokenProjection, Volume,
};

use super::env::{Names, Sources, expand};
use super::fields::{self, FieldError, NodeFacts};
use super::images::PullPolicy;

/// One file of a volume; `path` is relative and stays inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeFile {
    pub path: String,
    pub bytes: Vec<u8>,
    pub mode: u32,
}

/// What a volume holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A new empty folder that containers may write to.
    Empty,
    Files(Vec<VolumeFile>),
    /// A path of this machine; `kind` as in `hostPath.type`.
    Host {
        path: PathBuf,
        kind: String,
    },
    /// A folder that the node's table names for an image reference.
    Image(PathBuf),
}

/// Why a volume or a mount cannot be set up; the sentence of a FailedMount event.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    #[error("configmap {0:?} not found")]
    ConfigMapMissing(String),
    #[error("secret {0:?} not found")]
    SecretMissing(String),
    #[error("volume {volume:?} references non-existent key: {key}")]
    KeyMissing { volume: String, key: String },
    #[error("volume {volume:?} has the path {path:?}: it must be relative and must not contain '..'")]
    Path { volume: String, path: String },
    #[error(
        "volume {0:?} is of a kind that this node does not know; use emptyDir, configMap, secret, downwardAPI, projected, hostPath or image"
    )]
    Unsupported(String),
    #[error("hostPath type check failed: {path} is not {kind}")]
    HostPath { path: String, kind: String },
    #[error("no token for volume {0:?}")]
    Token(String),
    #[error("container {container:?} mounts the volume {volume:?}, which the pod does not have")]
    MountUnknown { container: String, volume: String },
    #[error("volume {volume:?}: {source}")]
    Field {
        volume: String,
        #[source]
        source: FieldError,
    },
    #[error("failed to pull image {reference:?} for volume {volume:?}: {why}")]
    Image {
        volume: String,
        reference: String,
        reason: &'static str,
        why: String,
    },
    #[error("write volume {volume:?}")]
    Write {
        volume: String,
        #[source]
        source: io::Error,
    },
}

/// A token that a projected volume wants: audience (the API server's own when none) and seconds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenWanted {
    pub audience: Option<String>,
    pub seconds: i64,
}

impl From<&ServiceAccountTokenProjection> for TokenWanted {
    fn from(projection: &ServiceAccountTokenProjection) -> Self {
        Self {
            audience: projection
                .audience
                .clone()
                .filter(|audience| !audience.is_empty()),
            seconds: projection.expiration_seconds.unwrap_or(3600),
        }
    }
}

/// Everything from outside that volumes are made of.
#[derive(Debug)]
pub struct Inputs<'a> {
    pub pod: &'a Pod,
    pub sources: &'a Sources,
    pub tokens: &'a HashMap<TokenWanted, String>,
    pub facts: &'a NodeFacts,
    /// Image reference -> local folder.
    pub images: &'a BTreeMap<String, PathBuf>,
}

/// The ConfigMaps and Secrets that the pod's volumes name.
pub fn references(spec: &PodSpec) -> Names {
    let mut names = Names::default();
    for volume in spec.volumes.iter().flatten() {
        names
            .config_maps
            .extend(volume.config_map.iter().map(|one| one.name.clone()));
        names
            .secrets
            .extend(volume.secret.iter().filter_map(|one| one.secret_name.clone()));
        for source in volume
            .projected
            .iter()
            .filter_map(|one| one.sources.as_ref())
            .flatten()
        {
            names
                .config_maps
                .extend(source.config_map.iter().map(|one| one.name.clone()));
            names
                .secrets
                .extend(source.secret.iter().map(|one| one.name.clone()));
        }
    }
    names
}

/// The tokens that the pod's volumes want.
pub fn tokens(spec: &PodSpec) -> Vec<TokenWanted> {
    let projected = spec
        .volumes
        .iter()
        .flatten()
        .filter_map(|volume| volume.projected.as_ref());
    let sources = projected.filter_map(|one| one.sources.as_ref()).flatten();
    sources
        .filter_map(|source| source.service_account_token.as_ref())
        .map(TokenWanted::from)
        .collect()
}

/// What `volume` holds.
pub fn contents(volume: &Volume, inputs: &Inputs<'_>) -> Result<Content, VolumeError> {
    let name = &volume.name;
    if volume.empty_dir.is_some() {
        return Ok(Content::Empty);
    }
    if let Some(host) = &volume.host_path {
        let kind = host.type_.clone().unwrap_or_default();
        return Ok(Content::Host {
            path: PathBuf::from(&host.path),
            kind,
        });
    }
    if let Some(image) = &volume.image {
        let reference = image.reference.clone().unwrap_or_default();
        let policy = PullPolicy::of(image.pull_policy.as_deref(), &reference);
        return match inputs.images.get(&reference) {
            Some(folder) => Ok(Content::Image(folder.clone())),
            None => {
                let (reason, why) = policy.absent(&reference);
                Err(VolumeError::Image {
                    volume: name.clone(),
                    reference,
                    reason,
                    why,
                })
            }
        };
    }
    if let Some(one) = &volume.config_map {
        let all = config_map(inputs, &one.name, one.optional)?;
        return select(name, all, one.items.as_ref(), one.default_mode, one.optional).map(Content::Files);
    }
    if let Some(one) = &volume.secret {
        let all = secret(
            inputs,
            one.secret_name.as_deref().unwrap_or_default(),
            one.optional,
        )?;
        return select(name, all, one.items.as_ref(), one.default_mode, one.optional).map(Content::Files);
    }
    if let Some(one) = &volume.downward_api {
        return downward(name, one.items.as_ref(), one.default_mode, inputs).map(Content::Files);
    }
    if volume.projected.is_some() {
        return projected(volume, inputs).map(Content::Files);
    }
    Err(VolumeError::Unsupported(name.clone()))
}

fn projected(volume: &Volume, inputs: &Inputs<'_>) -> Result<Vec<VolumeFile>, VolumeError> {
    let name = &volume.name;
    let Some(projected) = &volume.projected else {
        return Ok(Vec::new());
    };
    let mode = projected.default_mode;
    let mut files = Vec::new();
    for source in projected.sources.iter().flatten() {
        if let Some(one) = &source.config_map {
            let all = config_map(inputs, &one.name, one.optional)?;
            files.extend(select(name, all, one.items.as_ref(), mode, one.optional)?);
        }
        if let Some(one) = &source.secret {
            let all = secret(inputs, &one.name, one.optional)?;
            files.extend(select(name, all, one.items.as_ref(), mode, one.optional)?);
        }
        if let Some(one) = &source.downward_api {
            files.extend(downward(name, one.items.as_ref(), mode, inputs)?);
        }
        if let Some(one) = &source.service_account_token {
            let token = inputs.tokens.get(&TokenWanted::from(one));
            let token = token.ok_or_else(|| VolumeError::Token(name.clone()))?;
            files.push(file(name, &one.path, token.clone().into_bytes(), None, mode)?);
        }
    }
    Ok(files)
}

type Entries = BTreeMap<String, Vec<u8>>;

fn config_map(inputs: &Inputs<'_>, name: &str, optional: Option<bool>) -> Result<Entries, VolumeError> {
    match inputs.sources.config_maps.get(name) {
        Some(map) => {
            let texts = map
                .data
                .iter()
                .flatten()
                .map(|(key, value)| (key.clone(), value.clone().into_bytes()));
            let bytes = map
                .binary_data
                .iter()
                .flatten()
                .map(|(key, value)| (key.clone(), value.0.clone()));
            Ok(texts.chain(bytes).collect())
        }
        None if optional == Some(true) => Ok(Entries::new()),
        None => Err(VolumeError::ConfigMapMissing(name.to_owned())),
    }
}

fn secret(inputs: &Inputs<'_>, name: &str, optional: Option<bool>) -> Result<Entries, VolumeError> {
    match inputs.sources.secrets.get(name) {
        Some(secret) => Ok(secret
            .data
            .iter()
            .flatten()
            .map(|(key, value)| (key.clone(), value.0.clone()))
            .collect()),
        None if optional == Some(true) => Ok(Entries::new()),
        None => Err(VolumeError::SecretMissing(name.to_owned())),
    }
}

fn select(
    volume: &str,
    mut all: Entries,
    items: Option<&Vec<KeyToPath>>,
    default_mode: Option<i32>,
    optional: Option<bool>,
) -> Result<Vec<VolumeFile>, VolumeError> {
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        return all
            .into_iter()
            .map(|(key, bytes)| file(volume, &key, bytes, None, default_mode))
            .collect();
    };
    let mut files = Vec::new();
    for item in items {
        match all.remove(&item.key) {
            Some(bytes) => files.push(file(volume, &item.path, bytes, item.mode, default_mode)?),
            None if optional == Some(true) => {}
            None => {
                return Err(VolumeError::KeyMissing {
                    volume: volume.to_owned(),
                    key: item.key.clone(),
                });
            }
        }
    }
    Ok(files)
}

fn downward(
    volume: &str,
    items: Option<&Vec<DownwardAPIVolumeFile>>,
    default_mode: Option<i32>,
    inputs: &Inputs<'_>,
) -> Result<Vec<VolumeFile>, VolumeError> {
    let wrong = |source| VolumeError::Field {
        volume: volume.to_owned(),
        source,
    };
    let mut files = Vec::new();
    for item in items.into_iter().flatten() {
        let value = match (&item.field_ref, &item.resource_field_ref) {
            (Some(one), _) => fields::field(inputs.pod, &one.field_path, inputs.facts).map_err(wrong)?,
            (None, Some(one)) => fields::resource(inputs.pod, None, one, inputs.facts).map_err(wrong)?,
            (None, None) => String::new(),
        };
        files.push(file(
            volume,
            &item.path,
            value.into_bytes(),
            item.mode,
            default_mode,
        )?);
    }
    Ok(files)
}

fn file(
    volume: &str,
    path: &str,
    bytes: Vec<u8>,
    mode: Option<i32>,
    default_mode: Option<i32>,
) -> Result<VolumeFile, VolumeError> {
    if !stays_inside(path) {
        return Err(VolumeError::Path {
            volume: volume.to_owned(),
            path: path.to_owned(),
        });
    }
    let mode = mode
        .or(default_mode)
        .and_then(|mode| u32::try_from(mode).ok())
        .unwrap_or(0o644)
        & 0o777;
    Ok(VolumeFile {
        path: path.to_owned(),
        bytes,
        mode,
    })
}

/// Relative, not empty, and without a way up.
fn stays_inside(path: &str) -> bool {
    !path.is_empty()
        && !path.contains('\0')
        && Path::new(path)
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

/// Puts a volume's content under `root/NAME` where it is ours to put; returns where it lies. Blocking.
pub fn materialize(root: &Path, name: &str, content: &Content) -> Result<PathBuf, VolumeError> {
    let wrong = |source| VolumeError::Write {
        volume: name.to_owned(),
        source,
    };
    let folder = root.join(name);
    match content {
        Content::Empty => {
            std::fs::create_dir_all(&folder).map_err(wrong)?;
            std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).map_err(wrong)?;
            Ok(folder)
        }
        Content::Files(files) => {
            std::fs::create_dir_all(&folder).map_err(wrong)?;
            files
                .iter()
                .try_for_each(|file| write_file(&folder, file))
                .map_err(wrong)?;
            Ok(folder)
        }
        Content::Host { path, kind } => check_host(path, kind).map(|()| path.clone()),
        Content::Image(path) => Ok(path.clone()),
    }
}

fn write_file(folder: &Path, file: &VolumeFile) -> io::Result<()> {
    let path = folder.join(&file.path);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    // Written beside and renamed, so that a reader of a refreshed token never sees half of it.
    let fresh = path.with_file_name(format!(
        ".{}.new",
        path.file_name()
            .map(|name| name.to_string_lossy())
            .unwrap_or_default()
    ));
    let mut options = std::fs::OpenOptions::new();
    let mut handle = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(file.mode)
        .open(&fresh)?;
    io::Write::write_all(&mut handle, &file.bytes)?;
    handle.set_permissions(std::fs::Permissions::from_mode(file.mode))?;
    std::fs::rename(&fresh, &path)
}

fn check_host(path: &Path, kind: &str) -> Result<(), VolumeError> {
    let wrong = |kind: &str| VolumeError::HostPath {
        path: path.display().to_string(),
        kind: kind.to_owned(),
    };
    match kind {
        "DirectoryOrCreate" => std::fs::create_dir_all(path).map_err(|_| wrong("a directory")),
        "FileOrCreate" => {
            let made = std::fs::OpenOptions::new().create(true).append(true).open(path);
            made.map(|_| ()).map_err(|_| wrong("a file"))
        }
        "Directory" if !path.is_dir() => Err(wrong("a directory")),
        "File" if !path.is_file() => Err(wrong("a file")),
        _ => Ok(()),
    }
}

/// A folder or file of this machine that stands for a path inside a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    pub host: PathBuf,
    pub container: String,
    pub read_only: bool,
}

/// Where the mounts of `container` point; `folders` has each volume's place, `env` serves `subPathExpr`.
/// A subPath that does not exist is made, as a kubelet does. Blocking.
pub fn mounts(
    container: &Container,
    folders: &HashMap<String, (PathBuf, Content)>,
    env: &[(String, String)],
) -> Result<Vec<Mount>, VolumeError> {
    let lookup = |name: &str| {
        env.iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    };
    let mut out = Vec::new();
    for mount in container.volume_mounts.iter().flatten() {
        let unknown = || VolumeError::MountUnknown {
            container: container.name.clone(),
            volume: mount.name.clone(),
        };
        let (folder, content) = folders.get(&mount.name).ok_or_else(unknown)?;
        let sub = match (&mount.sub_path_expr, &mount.sub_path) {
            (Some(text), _) if !text.is_empty() => Some(expand(text, lookup)),
            (_, Some(text)) if !text.is_empty() => Some(text.clone()),
            _ => None,
        };
        let mut host = folder.clone();
        if let Some(sub) = sub {
            if !stays_inside(&sub) {
                return Err(VolumeError::Path {
                    volume: mount.name.clone(),
                    path: sub,
                });
            }
            host.push(&sub);
            if !host.exists() && matches!(content, Content::Empty | Content::Host { .. }) {
                std::fs::create_dir_all(&host).map_err(|source| VolumeError::Write {
                    volume: mount.name.clone(),
                    source,
                })?;
            }
        }
        let read_only = mount.read_only.unwrap_or(false) || matches!(content, Content::Image(_));
        out.push(Mount {
            host,
            container: mount.mount_path.clone(),
            read_only,
        });
    }
    Ok(out)
}

#[cfg(test)]
#[path = "volumes_tests.rs"]
mod tests;
