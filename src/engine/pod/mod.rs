//! The pod of one attempt. Pure: a [`Run`] in, a Pod out.

mod actions;
pub mod egress;
mod files;
mod input;
mod needs;

use std::{collections::BTreeMap, path::PathBuf};

use k8s_openapi::{
    api::core::v1::{
        Container as CoreContainer, ContainerPort, EmptyDirVolumeSource, EnvVar, ImageVolumeSource, Pod,
        PodSpec, SeccompProfile, SecurityContext, Volume, VolumeMount,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Resource, ResourceExt};
use sha2::{Digest, Sha256};

use self::{
    input::InputMount,
    needs::{affinity, init_resources, resources},
};
use super::{
    config::{Delivery, Runner},
    resolve::{DEFAULT_PORT, Run},
};
use crate::{
    crd::{
        CAPTURE_FINALIZER, Capabilities, LABEL_ATTEMPT, LABEL_FUNCTION, LABEL_TASK, LABEL_TASK_UID,
        PodOptions, ResultSource, Task,
    },
    handover::args::{DecodeInput, ResultFrom, SuperviseArgs},
};

/// Name of the container that does the work.
pub const CONTAINER: &str = "task";
/// Pod annotation that holds the run's [`Facts`](super::resolve::Facts).
pub const ANNOTATION_FACTS: &str = "errand.dev/run";

const INPUT_DIR: &str = "/errand/input";
const ENCODED_DIR: &str = "/errand/input-encoded";
const BIN_DIR: &str = "/errand/bin";
const BIN: &str = "/errand/bin/errand";
/// Where the init container sees the volume. Not at [`BIN_DIR`]: in the image of the supervisor `/errand` is a file.
const INSTALL_DIR: &str = "/install";
const INSTALLED: &str = "/install/errand";
/// A body up to this many bytes of text also rides in `ERRAND_INPUT`.
const MAX_ENV_BODY: usize = 4096;
/// Longest pod name: a DNS subdomain.
const MAX_NAME: usize = 253;
/// Most bytes of all annotations of an object, keys and values (apimachinery `TotalAnnotationSizeLimitB`).
const MAX_ANNOTATIONS: usize = 256 * 1024;

/// Why no pod can be made of a run.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BuildError {
    /// The input of a command function travels in annotations of its pod.
    #[error(
        "query, headers, contentType and body of the input, and the actions with their files, need {input} bytes as annotations of the pod \
         (a body that is not UTF-8 a third more than it has) and pod.annotations {given}; together at most {limit} are \
         possible"
    )]
    Annotations {
        /// Bytes of the input, of the actions and their files, and of what the engine must know of the run.
        input: usize,
        /// Bytes of the Function's own annotations.
        given: usize,
        /// Bytes that are possible.
        limit: usize,
    },
}

/// The name of the pod of an attempt: derived, so that making it twice meets AlreadyExists and not a second run. The
/// Task's uid is in it, so that a Task that was deleted and made again under its name does not meet its old pod.
pub fn name(task: &str, uid: &str, attempt: u32) -> String {
    derived(task, uid, &attempt.to_string())
}

/// A name that only this Task's objects have.
fn derived(task: &str, uid: &str, what: &str) -> String {
    let digest = Sha256::digest(uid.as_bytes());
    let mark: String = digest.iter().take(3).map(|byte| format!("{byte:02x}")).collect();
    let suffix = format!("-{mark}-{what}");
    format!("{}{suffix}", cut(task, MAX_NAME - suffix.len()))
}

/// A label value made of a name: at most 63 characters that end in a letter or digit.
pub fn label_value(name: &str) -> String {
    cut(name, 63).to_owned()
}

/// The beginning of a name, of at most so many bytes, that ends in a letter or digit.
// Names are ASCII (DNS subdomains), but a hostile one must not split a character.
pub fn cut(text: &str, max: usize) -> &str {
    let mut end = max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].trim_end_matches(|c: char| !c.is_ascii_alphanumeric())
}

/// The pod that runs attempt number `attempt` (from 1) of `task`.
///
/// # Errors
/// [`BuildError`] where the run is too large for a pod.
pub fn build(
    task: &Task,
    run: &Run,
    attempt: u32,
    runner: &Runner,
    delivery: Delivery,
) -> Result<Pod, BuildError> {
    let task_name = task.name_any();
    let uid = task.uid().unwrap_or_default();
    let mount = InputMount::of(run);
    let mut volumes = run.volumes.clone();
    volumes.extend(mount.volumes());
    let mut mounts = run.container.volume_mounts.clone();
    mounts.extend(mount.mounts());
    if run.plan.is_some() {
        volumes.push(actions::volume());
        mounts.push(actions::mount());
    }
    volumes.extend(run.files.as_ref().map(files::volume));
    mounts.extend(run.files.as_ref().map(files::mount));
    let mut init_containers = Vec::new();
    if run.facts.supervised {
        let (volume, init) = deliver(runner, delivery, &run.capabilities);
        volumes.push(volume);
        init_containers.extend(init);
        mounts.push(VolumeMount {
            name: "errand-bin".into(),
            mount_path: BIN_DIR.into(),
            read_only: Some(true),
            ..VolumeMount::default()
        });
    }
    Ok(Pod {
        metadata: metadata(task, run, attempt, &task_name, &uid, &mount)?,
        spec: Some(PodSpec {
            containers: vec![container(task, run, attempt, &task_name, &mount, mounts)],
            init_containers: (!init_containers.is_empty()).then_some(init_containers),
            volumes: (!volumes.is_empty()).then_some(volumes),
            restart_policy: Some("Never".into()),
            enable_service_links: Some(false),
            automount_service_account_token: run.pod.service_account_name.is_none().then_some(false),
            termination_grace_period_seconds: Some(run.facts.grace_seconds),
            affinity: affinity(&run.capabilities),
            node_selector: some_map(&run.capabilities.node_selector),
            tolerations: some_vec(&run.capabilities.tolerations),
            ..passed_through(&run.pod)
        }),
        status: None,
    })
}

fn passed_through(pod: &PodOptions) -> PodSpec {
    PodSpec {
        service_account_name: pod.service_account_name.clone(),
        image_pull_secrets: some_vec(&pod.image_pull_secrets),
        priority_class_name: pod.priority_class_name.clone(),
        scheduler_name: pod.scheduler_name.clone(),
        runtime_class_name: pod.runtime_class_name.clone(),
        ..PodSpec::default()
    }
}

fn metadata(
    task: &Task,
    run: &Run,
    attempt: u32,
    task_name: &str,
    uid: &str,
    mount: &InputMount,
) -> Result<ObjectMeta, BuildError> {
    let mut labels = run.pod.labels.clone();
    labels.insert("app.kubernetes.io/managed-by".into(), "errand".into());
    labels.insert(LABEL_TASK.into(), label_value(task_name));
    labels.insert(LABEL_TASK_UID.into(), uid.to_owned());
    labels.insert(LABEL_ATTEMPT.into(), attempt.to_string());
    if let Some(function) = &run.function {
        labels.insert(LABEL_FUNCTION.into(), label_value(function));
    }
    Ok(ObjectMeta {
        name: Some(name(task_name, uid, attempt)),
        namespace: task.namespace(),
        labels: Some(labels),
        annotations: Some(annotations(run, mount)?),
        owner_references: task.controller_owner_ref(&()).map(|owner| vec![owner]),
        finalizers: Some(vec![CAPTURE_FINALIZER.into()]),
        ..ObjectMeta::default()
    })
}

fn annotations(run: &Run, mount: &InputMount) -> Result<BTreeMap<String, String>, BuildError> {
    // Strings, numbers and booleans: serialization cannot fail.
    let facts = serde_json::to_string(&run.facts).unwrap_or_default();
    let mut annotations: BTreeMap<String, String> = mount.annotations().collect();
    annotations.insert(ANNOTATION_FACTS.into(), facts);
    annotations.extend(run.plan.as_ref().map(actions::annotation));
    annotations.extend(run.files.iter().flat_map(files::annotations));
    let size = |map: &BTreeMap<String, String>| map.iter().map(|(key, value)| key.len() + value.len()).sum();
    let (input, given): (usize, usize) = (size(&annotations), size(&run.pod.annotations));
    if input + given > MAX_ANNOTATIONS {
        return Err(BuildError::Annotations {
            input,
            given,
            limit: MAX_ANNOTATIONS,
        });
    }
    // None of them has a key of ours: the schema refuses those.
    annotations.extend(run.pod.annotations.clone());
    Ok(annotations)
}

/// Text as it must stand in a command, an argument or a variable so that Kubernetes hands it on unchanged: it turns
/// `$$` into `$` wherever it stands, and `$(NAME)` into the value of a variable.
fn literal(text: &str) -> String {
    text.replace('$', "$$")
}

fn container(
    task: &Task,
    run: &Run,
    attempt: u32,
    task_name: &str,
    mount: &InputMount,
    mounts: Vec<VolumeMount>,
) -> CoreContainer {
    let spec = &run.container;
    let literal = run.literal_args.iter().map(|arg| literal(arg));
    let args: Vec<String> = spec.args.iter().cloned().chain(literal).collect();
    let (command, args) = if run.facts.supervised {
        (supervise(run, mount, args), Vec::new())
    } else {
        (spec.command.clone(), args)
    };
    CoreContainer {
        name: CONTAINER.into(),
        image: Some(spec.image.clone()),
        image_pull_policy: spec.image_pull_policy.clone(),
        command: some_vec(&command),
        args: some_vec(&args),
        working_dir: spec.working_dir.clone(),
        env: Some(env(task, run, attempt, task_name, mount)),
        env_from: some_vec(&spec.env_from),
        volume_mounts: some_vec(&mounts),
        ports: run.facts.http.as_ref().map(|http| {
            vec![ContainerPort {
                container_port: http.port.unwrap_or(DEFAULT_PORT).into(),
                ..ContainerPort::default()
            }]
        }),
        resources: resources(&run.capabilities),
        security_context: Some(security(run.capabilities.privileged == Some(true))),
        ..CoreContainer::default()
    }
}

fn supervise(run: &Run, mount: &InputMount, args: Vec<String>) -> Vec<String> {
    let facts = &run.facts;
    let result = match (facts.result_from, &facts.result_path) {
        (ResultSource::Stdout, _) => ResultFrom::Stdout,
        (ResultSource::File, Some(path)) => ResultFrom::File(PathBuf::from(literal(path))),
        (ResultSource::TerminationMessage, _) => ResultFrom::TerminationMessage,
        (ResultSource::Log | ResultSource::File, _) => ResultFrom::None,
    };
    let decode_input = if mount.encoded() {
        DecodeInput::new(ENCODED_DIR, INPUT_DIR).ok()
    } else {
        None
    };
    let supervise = SuperviseArgs {
        result,
        result_limit: usize::try_from(facts.result_limit).unwrap_or(0),
        log_limit: usize::try_from(facts.log_limit).unwrap_or(0),
        timeout: Some(facts.timeout()),
        grace: facts.grace(),
        decode_input,
        ..match &run.plan {
            Some(_) => SuperviseArgs::actions(actions::PATH),
            None => SuperviseArgs::new(run.container.command.iter().cloned().chain(args).collect()),
        }
    };
    [BIN.to_owned(), "runner".to_owned()]
        .into_iter()
        .chain(supervise.to_args())
        .collect()
}

fn env(task: &Task, run: &Run, attempt: u32, task_name: &str, mount: &InputMount) -> Vec<EnvVar> {
    let var = |name: &str, value: String| EnvVar {
        name: name.into(),
        value: Some(value),
        value_from: None,
    };
    let mut env = vec![
        var("ERRAND_TASK", task_name.to_owned()),
        var("ERRAND_NAMESPACE", task.namespace().unwrap_or_default()),
        var("ERRAND_FUNCTION", run.function.clone().unwrap_or_default()),
        var("ERRAND_ATTEMPT", attempt.to_string()),
    ];
    if let Some(http) = &run.facts.http {
        env.push(var("PORT", http.port.unwrap_or(DEFAULT_PORT).to_string()));
    }
    if !mount.files.is_empty() {
        env.push(var("ERRAND_INPUT_DIR", INPUT_DIR.into()));
    }
    let small = run
        .input
        .body
        .as_deref()
        .filter(|body| body.len() <= MAX_ENV_BODY);
    if let Some(text) = small
        .and_then(|body| std::str::from_utf8(body).ok())
        .filter(|t| !t.contains('\0'))
    {
        env.push(var("ERRAND_INPUT", literal(text)));
    }
    env.extend(run.container.env.iter().cloned());
    env
}

fn deliver(
    runner: &Runner,
    delivery: Delivery,
    capabilities: &Capabilities,
) -> (Volume, Option<CoreContainer>) {
    let volume = Volume {
        name: "errand-bin".into(),
        ..Volume::default()
    };
    match delivery {
        Delivery::ImageVolume => (
            Volume {
                image: Some(ImageVolumeSource {
                    reference: Some(runner.image.clone()),
                    pull_policy: runner.pull_policy.clone(),
                }),
                ..volume
            },
            None,
        ),
        Delivery::InitContainer => (
            Volume {
                empty_dir: Some(EmptyDirVolumeSource::default()),
                ..volume
            },
            Some(CoreContainer {
                name: "errand-bin".into(),
                image: Some(runner.image.clone()),
                image_pull_policy: runner.pull_policy.clone(),
                command: Some(vec!["/errand".into(), "install".into(), INSTALLED.into()]),
                volume_mounts: Some(vec![VolumeMount {
                    name: "errand-bin".into(),
                    mount_path: INSTALL_DIR.into(),
                    ..VolumeMount::default()
                }]),
                resources: init_resources(capabilities),
                security_context: Some(security(false)),
                ..CoreContainer::default()
            }),
        ),
    }
}

fn security(privileged: bool) -> SecurityContext {
    if privileged {
        return SecurityContext {
            privileged: Some(true),
            ..SecurityContext::default()
        };
    }
    SecurityContext {
        allow_privilege_escalation: Some(false),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".into(),
            localhost_profile: None,
        }),
        ..SecurityContext::default()
    }
}

fn some_vec<T: Clone>(items: &[T]) -> Option<Vec<T>> {
    (!items.is_empty()).then(|| items.to_vec())
}

fn some_map(items: &BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    (!items.is_empty()).then(|| items.clone())
}

#[cfg(test)]
mod tests;
