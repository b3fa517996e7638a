//! The Function: what to run and what it needs.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::{Capabilities, Container, Duration, Http, Logs, PodOptions, ResultSpec, Retry};

/// What to run and what it needs. A Task is one execution of a Function.
#[derive(Clone, Debug, Default, PartialEq, CustomResource, Deserialize, Serialize, KubeSchema)]
#[kube(
    group = "errand.dev",
    version = "v1alpha1",
    kind = "Function",
    plural = "functions",
    shortname = "fn",
    category = "errand",
    namespaced,
    status = "FunctionStatus",
    derive = "PartialEq",
    cel,
    doc = "A Function says what to run and what it needs; each Task is one execution of it.",
    printcolumn(name = "Image", type_ = "string", json_path = ".spec.container.image"),
    printcolumn(name = "Paused", type_ = "boolean", json_path = ".spec.paused"),
    printcolumn(name = "Max", type_ = "integer", json_path = ".spec.maxConcurrency"),
    printcolumn(name = "Timeout", type_ = "string", json_path = ".spec.timeout", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("!has(self.http) || !has(self.result) || !has(self.result.from)", "an HTTP function's result is its answer: leave result.from out"),
    validation = ("!has(self.supervise) || !self.supervise || (!has(self.http) && has(self.container.command) && self.container.command.size() > 0)", "supervise: true needs container.command and a command function"),
)]
pub struct FunctionSpec {
    /// Text for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub description: Option<String>,
    /// Name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub display_name: Option<String>,
    /// The container that runs.
    pub container: Container,
    /// Present: an HTTP function, which answers one request per Task. Absent: a command function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
    /// What a Task needs from the machine that runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// Limit on the run time, from the start of the container. Default 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Limit on the wait for a start, from the making of the pod. Default 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_timeout: Option<Duration>,
    /// When a Task is tried again. Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// Where the result is found and how much of it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<ResultSpec>,
    /// Run under Errand's supervisor. Default true where `container.command` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supervise: Option<bool>,
    /// How much log a Task keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs: Option<Logs>,
    /// How long a finished Task is kept. Default 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_after_finished: Option<Duration>,
    /// Tasks of this Function that may have a pod at once; the rest wait as Queued. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_concurrency: Option<u32>,
    /// True: Tasks wait as Queued until it is false again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
    /// Names for versions of this Function.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub aliases: Vec<Alias>,
    /// What is passed through to the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodOptions>,
}

/// A name for a version of a Function.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Alias {
    /// The name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The version; 0 is the Function as it stands.
    #[schemars(range(min = 0))]
    pub version: i64,
    /// Text for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub description: Option<String>,
}

/// What the controller observes of a Function.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct FunctionStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Conditions of the Function.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
}
