//! Definitions as Tasks. Pure.
//!
//! A task gets a pod whose supervisor runs its actions; or, where cells come from outside, it has no pod and waits for a
//! cell that starts it. What Kubernetes cannot give is refused with a sentence where the task would not work without it,
//! and else noted in the Task ([`super::names::NOT_KEPT`]).

mod egress;
mod files;
mod needs;
mod rootfs;
mod tree;
mod volumes;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EnvVar, LocalObjectReference};
use kube::ResourceExt as _;
use serde_json::{Map, Value};

pub use self::needs::PLACEMENT;
use self::tree::Tree;
use super::{
    messages::{EnvironmentVariable, TaskDefinition},
    names,
    settings::Settings,
};
use crate::crd::{
    Action, Actions, ActionsError, Callback, CallbackPolicy, Container, Duration, External, FilesError,
    MAX_ACTIONS, PodOptions, Task, TaskSpec,
};

/// Who does the work of tasks that cells from outside run.
pub const PROCESSOR: &str = "diego";
/// A task that has not started by then fails (`expire_pending_task_duration` of the BOSH release).
const PENDING: Duration = Duration::from_secs(1800);
/// A finished task goes then (`expire_completed_task_duration`).
const KEPT: Duration = Duration::from_secs(120);
/// This API limits no run times: the longest that a Task can have.
const LIMIT: Duration = Duration::from_secs(30 * 24 * 3600);
/// Longest address of a callback.
const MAX_URL: usize = 2048;

/// Why a task cannot be run here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    /// A stack without image.
    #[error(
        "rootfs {rootfs:?}: no image is known for stack {stack:?}; the operator names one with --diego-stack {stack}=IMAGE"
    )]
    Stack {
        /// As asked for.
        rootfs: String,
        /// What comes after `preloaded:`.
        stack: String,
    },
    /// Neither an image nor a stack.
    #[error(
        "rootfs {0:?}: only docker://[HOST]/PATH[#TAG], preloaded:STACK and preloaded+layer:STACK?layer=URL can be run here"
    )]
    RootFs(String),
    /// A stack with a layer that cannot be had.
    #[error(
        "rootfs {0:?}: a layer is preloaded+layer:STACK?layer=URL&layer_path=PATH&layer_digest=SHA256, with an http or https URL, \
         a path without '..' and a digest of 64 hexadecimal digits or none"
    )]
    Layer(String),
    /// A driver that the operator has not mapped.
    #[error("volume driver {0:?} is not known here; the operator maps one with --diego-volume {0}=claim")]
    Driver(String),
    /// No claim has such a name.
    #[error("volume_id {0:?} is not the name of a PersistentVolumeClaim, which it must be here")]
    VolumeId(String),
    /// Not a place for a volume.
    #[error("container_dir {0:?} is not the absolute path of a folder other than /, without ':' and '..'")]
    ContainerDir(String),
    /// Neither of the two modes.
    #[error("volume mode {0:?} is neither r nor rw")]
    VolumeMode(String),
    /// Files that cannot be had.
    #[error("volume_mounted_files: {0}")]
    Files(#[from] FilesError),
    /// Registries that ask for a password.
    #[error(
        "image_username and image_password need keys that seal them, which the operator names with --diego-encryption-keys; \
         or let the namespace's default service account have an imagePullSecret"
    )]
    Credentials,
    /// No operating system has such variables.
    #[error(
        "environment variable {0:?}: a name has at least one character, no '=' and no zero byte, and a value no zero byte"
    )]
    Variable(String),
    /// Nobody could be called.
    #[error(
        "completion_callback_url {0:?} is not an http or https URL of at most 2048 printable characters without spaces"
    )]
    Callback(String),
    /// No label has such a name.
    #[error(
        "placement tag {0:?}: a tag is the name of a label here, 1 to 63 letters, digits, '-', '_' and '.'"
    )]
    Tag(String),
    /// A digest that cannot be checked.
    #[error("the digest of {0:?} is of a kind that is not supported: use SHA256 or SHA512")]
    Digest(String),
    /// Rules that would make a Task too large.
    #[error(
        "egress_rules: at most 256 rules with 2048 blocks of addresses are possible; a range takes several"
    )]
    Egress,
    /// The definition takes too much room in the object.
    #[error("the task definition has {0} bytes; at most {max} are possible", max = names::MAX_DEFINITION)]
    Large(usize),
    /// The actions cannot be kept in a Task.
    #[error("{0}")]
    Actions(#[from] ActionsError),
}

/// A task that was asked for, and found valid.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// Its guid.
    pub guid: &'a str,
    /// Its domain.
    pub domain: &'a str,
    /// The bytes of its definition.
    pub bytes: &'a [u8],
    /// What they say.
    pub definition: &'a TaskDefinition,
    /// What of them is not to stand in the Task.
    pub hidden: Option<Hidden>,
}

/// What is done with a definition that has a password.
#[derive(Clone, Debug)]
pub struct Hidden {
    /// Its bytes without it.
    pub rest: Vec<u8>,
    /// The password, sealed.
    pub sealed: String,
    /// Name of the Secret that it goes into, where a registry is to be told it.
    pub secret: String,
}

/// The Task, without a namespace.
///
/// # Errors
/// It cannot be run here.
pub fn task(wanted: &Wanted<'_>, settings: &Settings) -> Result<Task, Unsupported> {
    if wanted.bytes.len() > names::MAX_DEFINITION {
        return Err(Unsupported::Large(wanted.bytes.len()));
    }
    let definition = wanted.definition;
    let hidden = wanted.hidden.as_ref();
    if !definition.image_username.is_empty() && hidden.is_none() {
        return Err(Unsupported::Credentials);
    }
    let base = TaskSpec {
        domain: Some(wanted.domain.to_owned()),
        annotation: filled(&definition.annotation),
        timeout: Some(LIMIT),
        callback: callback(wanted)?,
        ..TaskSpec::default()
    };
    let (spec, not_kept) = match settings.cells {
        true => (external(base), Vec::new()),
        false => (
            in_a_pod(base, definition, hidden, settings)?,
            needs::not_kept(definition, settings),
        ),
    };
    let mut task = Task::new(&names::object_name(wanted.guid), spec);
    task.annotations_mut().extend(names::annotations(
        wanted.guid,
        hidden.map_or(wanted.bytes, |hidden| &hidden.rest),
        hidden.map(|hidden| hidden.sealed.as_str()),
        &not_kept,
    ));
    task.labels_mut()
        .insert(names::LABEL.to_owned(), names::LABEL_VALUE.to_owned());
    Ok(task)
}

fn external(base: TaskSpec) -> TaskSpec {
    let processor = PROCESSOR.to_owned();
    TaskSpec {
        external: Some(External { processor }),
        ..base
    }
}

fn in_a_pod(
    base: TaskSpec,
    definition: &TaskDefinition,
    hidden: Option<&Hidden>,
    settings: &Settings,
) -> Result<TaskSpec, Unsupported> {
    let root = rootfs::read(&definition.root_fs, &settings.stacks)?;
    let volumes = volumes::volumes(&definition.volume_mounts, &settings.volumes)?;
    // Before anything is made of them: a request has room for many more.
    if definition
        .action
        .as_ref()
        .is_some_and(|action| needs::count(action) > MAX_ACTIONS)
    {
        return Err(ActionsError::TooMany.into());
    }
    let tree = Tree::of(definition);
    let action: Action = tree.action(definition, root.layer.as_ref())?;
    let tree_map = action.to_map();
    // Within what a Task holds: depth, number, bytes.
    Action::read(&tree_map)?;
    let container = Container {
        image: root.image,
        env: variables(&definition.environment_variables)?,
        volume_mounts: volumes.mounts,
        ..Container::default()
    };
    // A stack's image is the operator's, and its registry has no business with a caller's password.
    let secret = hidden.filter(|_| !rootfs::is_preloaded(&definition.root_fs));
    let actions = Actions {
        container,
        action: tree_map,
        log_source: tree.source(&definition.log_source),
        files: files::files(&definition.volume_mounted_files)?,
        result_file: filled(&definition.result_file),
        pending_timeout: Some(PENDING),
        ttl_after_finished: Some(KEPT),
        pod: pod(definition, secret, volumes.volumes, settings)?,
        ..Actions::default()
    };
    Ok(TaskSpec {
        actions: Some(actions),
        capabilities: Some(needs::capabilities(definition)?),
        suspend: secret.map(|_| true),
        ..base
    })
}

/// A network that is closed but for the rules, where the operator wants that; the Secret that the image is pulled with; volumes.
fn pod(
    definition: &TaskDefinition,
    secret: Option<&Hidden>,
    volumes: Vec<Map<String, Value>>,
    settings: &Settings,
) -> Result<Option<PodOptions>, Unsupported> {
    let rules = settings.egress.then(|| egress::rules(&definition.egress_rules));
    let secret = secret.map(|hidden| LocalObjectReference {
        name: hidden.secret.clone(),
    });
    let pod = PodOptions {
        egress: rules.transpose()?,
        image_pull_secrets: secret.into_iter().collect(),
        volumes,
        ..PodOptions::default()
    };
    Ok((pod != PodOptions::default()).then_some(pod))
}

fn callback(wanted: &Wanted<'_>) -> Result<Option<Callback>, Unsupported> {
    let url = &wanted.definition.completion_callback_url;
    if url.is_empty() {
        return Ok(None);
    }
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"));
    let legal = rest.is_some_and(|rest| !rest.is_empty()) && url.bytes().all(|byte| byte.is_ascii_graphic());
    if !legal || url.len() > MAX_URL {
        return Err(Unsupported::Callback(url.clone()));
    }
    Ok(Some(Callback {
        url: url.clone(),
        policy: Some(CallbackPolicy::Diego),
        subject: Some(wanted.guid.to_owned()),
        ..Callback::default()
    }))
}

/// Variables of a container. Kubernetes puts other variables in the place of `$(NAME)` in a value, which this API does
/// not, and takes `$$` for one `$` (core/v1, EnvVar).
fn variables(variables: &[EnvironmentVariable]) -> Result<Vec<EnvVar>, Unsupported> {
    let variable = |variable: &EnvironmentVariable| {
        is_variable(variable)?;
        let value = &variable.value;
        let value = match value.contains("$(") || value.contains("$$") {
            true => value.replace('$', "$$"),
            false => value.clone(),
        };
        Ok(EnvVar {
            name: variable.name.clone(),
            value: Some(value),
            value_from: None,
        })
    };
    // Of two with one name the later counts, and the API server takes a name only once.
    let last: BTreeMap<&str, usize> = variables
        .iter()
        .enumerate()
        .map(|(place, variable)| (variable.name.as_str(), place))
        .collect();
    let kept = variables
        .iter()
        .enumerate()
        .filter(|(place, variable)| last.get(variable.name.as_str()) == Some(place));
    kept.map(|(_, kept)| variable(kept)).collect()
}

fn is_variable(variable: &EnvironmentVariable) -> Result<(), Unsupported> {
    let name = &variable.name;
    match name.is_empty() || name.contains(['=', '\0']) || variable.value.contains('\0') {
        true => Err(Unsupported::Variable(name.clone())),
        false => Ok(()),
    }
}

fn filled(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests;
