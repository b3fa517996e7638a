//! What runs and what it needs: the parts of a Function.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    EnvFromSource, EnvVar, LocalObjectReference, NodeAffinity, Toleration, VolumeMount,
};
use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{Duration, Quantity};

/// The container that runs.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    /// Image to run, as in core/v1.
    #[schemars(length(min = 1, max = 1024))]
    pub image: String,
    /// Command that replaces the image's entrypoint. With it the container runs under Errand's supervisor.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub command: Vec<String>,
    /// Arguments of the command; a Task's `input.args` are appended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024))]
    pub args: Vec<String>,
    /// Environment variables, as in core/v1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024))]
    pub env: Vec<EnvVar>,
    /// ConfigMaps and Secrets whose keys become environment variables, as in core/v1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub env_from: Vec<EnvFromSource>,
    /// Folder in which the command starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// When the image is pulled: Always, IfNotPresent or Never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^(Always|IfNotPresent|Never)$"))]
    pub image_pull_policy: Option<String>,
    /// Where the volumes of `pod.volumes` are mounted, as in core/v1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub volume_mounts: Vec<VolumeMount>,
}

/// Makes a Function an HTTP function: the container answers one request per Task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("!has(self.dispatch) || self.dispatch != 'ApiProxy' || has(self.readinessPath)", "dispatch: ApiProxy needs readinessPath: the API server passes on requests, not bare connections"),
)]
pub struct Http {
    /// Port on which the container listens; it also gets it as `PORT`. Default 8080.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
    /// Path of the request. Default `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = r"^/[!-~]*$"))]
    pub path: Option<String>,
    /// Path that answers below 400 once the container is ready. Without it the first accepted connection counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = r"^/[!-~]*$"))]
    pub readiness_path: Option<String>,
    /// The way that the request takes. Default Direct.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dispatch: Option<Dispatch>,
    /// True: the request may be sent again where a controller died while it was under way. Default false: the Task
    /// fails then, with reason DispatchInterrupted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotent: Option<bool>,
}

/// The way from the controller to an HTTP function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Dispatch {
    /// Straight to the pod's address.
    #[default]
    Direct,
    /// Through the API server's pod proxy, for controllers outside of the pod network. It needs `readinessPath`.
    ApiProxy,
}

/// What a Task needs from the machine that runs it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    /// Processor time, as request and limit: `500m`, `2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Quantity>,
    /// Memory, as request and limit: `256Mi`. A container that exceeds it ends with reason OOMKilled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Quantity>,
    /// Local disk, as request and limit: `1Gi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ephemeral_storage: Option<Quantity>,
    /// Extended resources, as request and limit: `nvidia.com/gpu: 1`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub resources: BTreeMap<String, Quantity>,
    /// Run with all privileges of the machine. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub privileged: Option<bool>,
    /// Run only on nodes whose label `errand.dev/network-latency-ms` is a whole number below this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3_600_000))]
    pub network_latency_ms: Option<i32>,
    /// Labels that the node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub node_selector: BTreeMap<String, String>,
    /// Required and preferred node affinity, as in core/v1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_affinity: Option<NodeAffinity>,
    /// Taints that the Task tolerates, as in core/v1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub tolerations: Vec<Toleration>,
}

/// When a Task is tried again.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// How many times a Task may be tried again after its first attempt. Default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub limit: Option<u32>,
    /// Which ends are tried again. Default Infrastructure: evicted, node lost, pod lost, image pull, preempted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 3))]
    pub on: Option<Vec<RetryOn>>,
    /// Wait before the second attempt; it doubles with each further one, up to 5m. Default 1s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Duration>,
}

/// A class of ends that a retry policy names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum RetryOn {
    /// The platform failed: evicted, preempted, node lost, pod lost, image not pulled.
    Infrastructure,
    /// The container failed: exit code, out of memory.
    Failure,
    /// The run time limit passed.
    Timeout,
}

/// Where the result of a command function is found.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("(has(self.from) && self.from == 'File') == has(self.path)", "path goes with from: File"))]
pub struct ResultSpec {
    /// Stdout (default; Log where the container runs without supervisor), Log, TerminationMessage or File.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<ResultSource>,
    /// The file that holds the result, with `from: File`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub path: Option<String>,
    /// Bytes of the result that are kept; more is cut and said to be cut. Default 262144.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 524_288))]
    pub limit: Option<i64>,
    /// Media type that the result is given out as. Default `text/plain; charset=utf-8` or, for bytes, `application/octet-stream`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub content_type: Option<String>,
}

/// A place where a result is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum ResultSource {
    /// What the command wrote to its standard output, without progress lines.
    #[default]
    Stdout,
    /// The kept end of the log: both streams as they came.
    Log,
    /// What the container wrote to its termination message file.
    TerminationMessage,
    /// A file that the command wrote.
    File,
}

/// How much log a Task keeps.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Logs {
    /// Bytes of log that are kept: the end of both streams. Default 65536.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 262_144))]
    pub limit: Option<i64>,
}

/// What is passed through to the pod, so that other controllers can own identity and queueing.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodOptions {
    /// Service account of the pod. Without it the container gets no token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub service_account_name: Option<String>,
    /// Secrets used to pull the image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// Priority class of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,
    /// Scheduler that places the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler_name: Option<String>,
    /// Runtime class of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_class_name: Option<String>,
    /// Seconds between SIGTERM and SIGKILL when the Task is stopped. Default 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3600))]
    pub termination_grace_period_seconds: Option<i64>,
    /// Volumes, as in core/v1; `container.volumeMounts` names where they go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "volumes")]
    pub volumes: Vec<serde_json::Map<String, serde_json::Value>>,
    /// Where the container may connect to, as egress rules of a NetworkPolicy in networking.k8s.io/v1: addresses that no
    /// rule names are closed, DNS included. Present: a NetworkPolicy that belongs to the Task is made before its first pod.
    /// Absent: the namespace's own policies hold. Network plugins without policies let everything through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "egress")]
    pub egress: Option<Vec<serde_json::Map<String, serde_json::Value>>>,
    /// Labels added to the pod. Keys under `errand.dev/` are refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    #[x_kube(validation = ("self.all(key, !key.startsWith('errand.dev/'))", "keys under errand.dev/ are Errand's own"))]
    pub labels: BTreeMap<String, String>,
    /// Annotations added to the pod. Keys under `errand.dev/` are refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    #[x_kube(validation = ("self.all(key, !key.startsWith('errand.dev/'))", "keys under errand.dev/ are Errand's own"))]
    pub annotations: BTreeMap<String, String>,
}

// As with volumes: the engine reads them, and the API server that takes the NetworkPolicy has the last word.
fn egress(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 256,
        "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    })
}

// core/v1's Volume with all its sources would add some 1,500 lines to each CRD. So anything may stand in a volume, and
// one that is none must not make the whole object unreadable: the engine reads them when it makes the pod.
fn volumes(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 64,
        "items": {
            "type": "object",
            "required": ["name"],
            "properties": {"name": {"type": "string", "minLength": 1, "maxLength": 63}},
            "x-kubernetes-preserve-unknown-fields": true,
        },
    })
}
