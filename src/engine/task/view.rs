//! What a pod tells of its run, in the engine's words. Pure.

use k8s_openapi::{
    api::core::v1::{ContainerStatus, Node, Pod, PodStatus},
    jiff::{SignedDuration, Timestamp},
};
use kube::ResourceExt;

use crate::{
    crd::{CAPTURE_FINALIZER, LABEL_ATTEMPT, PodRef},
    engine::{
        pod::{ANNOTATION_FACTS, CONTAINER},
        resolve::Facts,
    },
};

/// A pod of a Task, read.
#[derive(Clone, Debug, PartialEq)]
pub struct PodView {
    /// Name, uid, node, address.
    pub pod: PodRef,
    /// Attempt, counted from 1.
    pub attempt: u32,
    /// When the pod was made.
    pub created_at: Timestamp,
    /// What the run was made of; `None` where somebody took the annotation away.
    pub facts: Option<Facts>,
    /// When the pod was bound to a node.
    pub assigned_at: Option<Timestamp>,
    /// When the kubelet took the pod on; activeDeadlineSeconds counts from here.
    pub acknowledged_at: Option<Timestamp>,
    /// When the deletion that somebody asked for takes force, its grace period over.
    pub deletion_due: Option<Timestamp>,
    /// True while the engine's finalizer holds the pod.
    pub held: bool,
    /// When the kubelet was told to stop the pod, where the engine has done so.
    pub stop_at: Option<Timestamp>,
    /// `status.reason`: Evicted, DeadlineExceeded, NodeLost, ...
    pub reason: Option<String>,
    /// `status.message`.
    pub message: Option<String>,
    /// Reason and message of the DisruptionTarget condition.
    pub disruption: Option<(String, String)>,
    /// How far the container has come.
    pub state: RunState,
}

/// How far the container of a pod has come.
#[derive(Clone, Debug, PartialEq)]
pub enum RunState {
    /// It has not started.
    Waiting(Waiting),
    /// It runs.
    Running {
        /// Since when.
        started_at: Timestamp,
    },
    /// It has ended, or the pod ended without it.
    Ended(Ended),
}

/// Why a container has not started.
#[derive(Clone, Debug, PartialEq)]
pub enum Waiting {
    /// No node yet; the scheduler's words where it has spoken.
    Unscheduled(Option<String>),
    /// The image cannot be pulled: the kubelet's reason and words.
    Image(String, String),
    /// The container cannot be made: the kubelet's reason and words.
    Config(String, String),
    /// Nothing is known to be wrong.
    Starting,
}

/// How a container ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ended {
    /// Exit code; `None` where the pod ended without the container's own end being known.
    pub exit_code: Option<i32>,
    /// The kubelet's reason: Completed, Error, OOMKilled, StartError, ContainerCannotRun, ...
    pub reason: Option<String>,
    /// The termination message.
    pub message: Option<String>,
    /// When it started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

impl PodView {
    /// Reads a pod. `node_uid` is that of the node it is bound to, where known.
    pub fn of(pod: &Pod, node_uid: Option<String>) -> Self {
        let spec = pod.spec.clone().unwrap_or_default();
        let status = pod.status.clone().unwrap_or_default();
        let condition = |type_: &str| status.conditions.iter().flatten().find(|c| c.type_ == type_);
        Self {
            pod: PodRef {
                name: pod.name_any(),
                uid: pod.uid(),
                node: spec.node_name.clone(),
                node_uid,
                ip: status.pod_ip.clone().filter(|ip| !ip.is_empty()),
            },
            attempt: pod
                .labels()
                .get(LABEL_ATTEMPT)
                .and_then(|text| text.parse().ok())
                .unwrap_or(1),
            created_at: pod
                .creation_timestamp()
                .map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            facts: pod
                .annotations()
                .get(ANNOTATION_FACTS)
                .and_then(|json| serde_json::from_str(json).ok()),
            assigned_at: condition("PodScheduled")
                .filter(|c| c.status == "True")
                .and_then(|c| c.last_transition_time.as_ref())
                .or(status.start_time.as_ref())
                .map(|time| time.0),
            acknowledged_at: status.start_time.as_ref().map(|time| time.0),
            deletion_due: pod.metadata.deletion_timestamp.as_ref().map(|time| time.0),
            held: pod.finalizers().iter().any(|name| name == CAPTURE_FINALIZER),
            stop_at: spec.active_deadline_seconds.and_then(|seconds| {
                let start = status.start_time.as_ref()?.0;
                start.checked_add(SignedDuration::from_secs(seconds)).ok()
            }),
            reason: status.reason.clone(),
            message: status.message.clone(),
            disruption: condition("DisruptionTarget")
                .filter(|c| c.status == "True")
                .map(|c| {
                    (
                        c.reason.clone().unwrap_or_default(),
                        c.message.clone().unwrap_or_default(),
                    )
                }),
            state: state(&status, spec.node_name.is_some()),
        }
    }
}

fn state(status: &PodStatus, bound: bool) -> RunState {
    let container = status
        .container_statuses
        .iter()
        .flatten()
        .find(|c| c.name == CONTAINER);
    if let Some(ended) = container.and_then(ended) {
        // A container that never started was not the one that failed.
        let failed_before = init_failure(status).filter(|_| ended.started_at.is_none());
        return RunState::Ended(failed_before.unwrap_or(ended));
    }
    // A kubelet may report a failed phase some time before the container's own end (it stops the container only
    // then); the container's state decides as long as it says that it runs.
    if let Some(running) = container.and_then(|c| c.state.as_ref()?.running.as_ref()) {
        let started_at = running.started_at.as_ref().or(status.start_time.as_ref());
        return RunState::Running {
            started_at: started_at.map_or(Timestamp::UNIX_EPOCH, |time| time.0),
        };
    }
    if matches!(status.phase.as_deref(), Some("Failed" | "Succeeded")) {
        return RunState::Ended(init_failure(status).unwrap_or_default());
    }
    RunState::Waiting(waiting(status, bound))
}

fn ended(container: &ContainerStatus) -> Option<Ended> {
    let end = container.state.as_ref()?.terminated.as_ref()?;
    Some(Ended {
        exit_code: Some(end.exit_code),
        reason: end.reason.clone(),
        message: end.message.clone().filter(|text| !text.is_empty()),
        // The kubelet writes the epoch for a container that never started.
        started_at: end
            .started_at
            .as_ref()
            .map(|time| time.0)
            .filter(|time| time.as_second() > 0),
        finished_at: end
            .finished_at
            .as_ref()
            .map(|time| time.0)
            .filter(|time| time.as_second() > 0),
    })
}

/// The end of the init container that brings the supervisor, where that is what failed.
fn init_failure(status: &PodStatus) -> Option<Ended> {
    let failed = status
        .init_container_statuses
        .iter()
        .flatten()
        .filter_map(|c| ended(c).map(|end| (c, end)))
        .find(|(_, end)| end.exit_code != Some(0))?;
    let (container, end) = failed;
    Some(Ended {
        exit_code: None,
        reason: Some("InitContainerFailed".into()),
        message: Some(format!(
            "init container {} ended with code {}: {}",
            container.name,
            end.exit_code.unwrap_or_default(),
            end.message.or(end.reason).unwrap_or_default()
        )),
        started_at: None,
        finished_at: end.finished_at,
    })
}

fn waiting(status: &PodStatus, bound: bool) -> Waiting {
    if !bound {
        let scheduled = status
            .conditions
            .iter()
            .flatten()
            .find(|c| c.type_ == "PodScheduled");
        let refused =
            scheduled.filter(|c| c.status == "False" && c.reason.as_deref() == Some("Unschedulable"));
        return Waiting::Unscheduled(refused.map(|c| c.message.clone().unwrap_or_default()));
    }
    let containers = status
        .init_container_statuses
        .iter()
        .flatten()
        .chain(status.container_statuses.iter().flatten());
    let words = containers.filter_map(|c| {
        let waiting = c.state.as_ref()?.waiting.as_ref()?;
        Some((
            waiting.reason.clone()?,
            waiting.message.clone().unwrap_or_default(),
        ))
    });
    for (reason, message) in words {
        match reason.as_str() {
            "ErrImagePull"
            | "ImagePullBackOff"
            | "InvalidImageName"
            | "ErrImageNeverPull"
            | "ImageInspectError"
            | "RegistryUnavailable"
            | "SignatureValidationFailed" => {
                return Waiting::Image(reason, message);
            }
            "CreateContainerConfigError"
            | "CreateContainerError"
            | "RunContainerError"
            | "PreCreateHookError"
            | "PreStartHookError"
            | "PostStartHookError"
            | "CrashLoopBackOff" => {
                return Waiting::Config(reason, message);
            }
            _ => {}
        }
    }
    Waiting::Starting
}

/// Whether a node is there and well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeHealth {
    /// Ready, or not known to be anything else.
    Ready,
    /// Not Ready since the given time.
    NotReady(Timestamp),
    /// There is no such node.
    Gone,
}

/// Reads a node's health.
pub fn health(node: Option<&Node>) -> NodeHealth {
    let Some(node) = node else { return NodeHealth::Gone };
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    match conditions.into_iter().flatten().find(|c| c.type_ == "Ready") {
        Some(ready) if ready.status != "True" => NodeHealth::NotReady(
            ready
                .last_transition_time
                .as_ref()
                .map_or(Timestamp::UNIX_EPOCH, |time| time.0),
        ),
        _ => NodeHealth::Ready,
    }
}
