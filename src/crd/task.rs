//! The Task: one execution of a Function.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::EnvVar;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::{Actions, Callback, Capabilities, Duration, FunctionSpec, Retry, TaskStatus};

/// One execution of a Function.
#[derive(Clone, Debug, Default, PartialEq, CustomResource, Deserialize, Serialize, KubeSchema)]
#[kube(
    group = "errand.dev",
    version = "v1alpha1",
    kind = "Task",
    plural = "tasks",
    shortname = "et",
    category = "errand",
    namespaced,
    status = "TaskStatus",
    derive = "PartialEq",
    cel,
    doc = "A Task is one execution of a Function: a container that runs once, with its progress, log and result in status.",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Progress", type_ = "integer", json_path = ".status.progress.percent"),
    printcolumn(name = "Function", type_ = "string", json_path = ".spec.functionRef.name"),
    printcolumn(name = "Node", type_ = "string", json_path = ".status.pod.node"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason", priority = 1),
    printcolumn(
        name = "Attempts",
        type_ = "integer",
        json_path = ".status.attempts",
        priority = 1
    ),
    printcolumn(
        name = "Result",
        type_ = "integer",
        json_path = ".status.result.status",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.functionRef) ? 1 : 0) + (has(self.__function__) ? 1 : 0) + (has(self.external) ? 1 : 0) + (has(self.actions) ? 1 : 0) == 1")
        .message("exactly one of functionRef, function, external and actions must be set"),
    validation = Rule::new(unchanged(&FIXED_FIELDS)).message("the spec of a Task is immutable, except cancel, priority and suspend"),
    validation = Rule::new("!has(oldSelf.cancel) || !oldSelf.cancel || (has(self.cancel) && self.cancel)")
        .message("cancel cannot be taken back"),
    validation = Rule::new("!has(self.suspend) || !self.suspend || (has(oldSelf.suspend) && oldSelf.suspend)")
        .message("a Task is suspended from the beginning or not at all"),
    validation = Rule::new("!has(self.external) || !has(self.suspend)")
        .message("suspend holds a pod back, and a Task with external has none"),
)]
pub struct TaskSpec {
    /// The Function to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function_ref: Option<FunctionRef>,
    /// A Function written into the Task itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<FunctionSpec>,
    /// Present: no pod; progress and end are reported from outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<External>,
    /// Actions that are run in one container, as a tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actions: Option<Actions>,
    /// What the container is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Input>,
    /// Overrides the Function's capabilities, field by field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// Overrides the Function's run time limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Environment variables added to the Function's, as in core/v1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024))]
    pub env: Vec<EnvVar>,
    /// Overrides the Function's retry policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// Title for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub title: Option<String>,
    /// Text for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub description: Option<String>,
    /// Who the Task belongs to, in the words of the door that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub owner: Option<String>,
    /// Group of Tasks, in the words of the door that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub domain: Option<String>,
    /// Text that is given back as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 10_240))]
    pub annotation: Option<String>,
    /// What the Task was asked to do, in the words of the door that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub command: Option<String>,
    /// Place among the queued Tasks of one Function: the higher goes first. Default 0. May be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1_000_000, max = 1_000_000))]
    pub priority: Option<i32>,
    /// True: the Task waits as Queued, without a pod, until this is set to false or taken away. It cannot be put on later. A
    /// Task that waits so for longer than a pendingTimeout that is given fails with PendingTimedOut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// True: stop the Task and keep its evidence. Cannot be taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<bool>,
    /// Where the end of the Task is told, by a POST.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback: Option<Callback>,
}

/// Every field of a Task's spec but `cancel`, `priority` and `suspend`.
const FIXED_FIELDS: [&str; 16] = [
    "functionRef",
    "function",
    "external",
    "actions",
    "input",
    "capabilities",
    "timeout",
    "env",
    "retry",
    "title",
    "description",
    "owner",
    "domain",
    "annotation",
    "command",
    "callback",
];

// A rule on the field itself would not run when the field comes or goes, so the parent compares presence and value.
// API servers evaluate the rules of the spec on writes of the status too, and `has` costs them the more the more fields
// the spec has: most writes leave the spec alone, and are known by the first comparison.
fn unchanged(fields: &[&str]) -> String {
    let same = |field: &&str| {
        // `function` is a reserved word of CEL; Kubernetes escapes such properties.
        let field = if *field == "function" {
            "__function__"
        } else {
            field
        };
        format!(
            "has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})"
        )
    };
    let all: Vec<String> = fields.iter().map(same).collect();
    format!("self == oldSelf || ({})", all.join(" && "))
}

/// A name that an object may have (apimachinery's `IsDNS1123Subdomain`). It becomes part of a request's path.
pub(super) const SUBDOMAIN: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";

/// Names a Function of the Task's namespace.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct FunctionRef {
    /// Name of the Function.
    #[schemars(length(min = 1, max = 253), regex(pattern = SUBDOMAIN))]
    pub name: String,
    /// Version of the Function. Default 0: the Function as it stands when the Task starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub version: Option<i64>,
}

/// What the container is given: as files in `$ERRAND_INPUT_DIR`, or as the request to an HTTP function.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("!(has(self.body) && has(self.bodyBase64))", "at most one of body and bodyBase64 may be set"),
)]
pub struct Input {
    /// Method of the request to an HTTP function. Default POST with a body, GET without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), regex(pattern = r"^[A-Z]+$"))]
    pub method: Option<String>,
    /// Raw query string, without the question mark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8192), regex(pattern = r"^[!-~]*$"))]
    pub query: Option<String>,
    /// Headers of the request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    #[x_kube(
        validation = ("self.all(name, name.matches('^[!#$%&\\'*+.^_`|~0-9A-Za-z-]{1,256}$'))", "header names must be HTTP tokens"),
        validation = ("self.all(name, self[name].size() <= 4096)", "header values may have at most 4096 characters"),
    )]
    pub headers: BTreeMap<String, String>,
    /// Media type of the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), regex(pattern = r"^[ -~]*$"))]
    pub content_type: Option<String>,
    /// Body, as text. At most 131072 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 131_072))]
    #[x_kube(validation = ("bytes(self).size() <= 131072", "may be at most 131072 bytes long"))]
    pub body: Option<String>,
    /// Body, as standard base64 with padding. At most 131072 bytes before encoding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 174_764),
        regex(pattern = r"^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$")
    )]
    pub body_base64: Option<String>,
    /// Arguments appended to the container's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024))]
    pub args: Vec<String>,
}

/// A Task whose work is done elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct External {
    /// Who does the work and reports it.
    #[schemars(length(min = 1, max = 512))]
    pub processor: String,
}
