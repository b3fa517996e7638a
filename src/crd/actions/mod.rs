//! Composed actions: what a Task does in its container, as a tree.
//!
//! The words and the meaning of the actions are those of Cloud Foundry's Diego (`bbs/models/actions.proto`,
//! `executor/depot/steps`), so that its door maps one to one. A CRD's schema cannot be recursive, so the tree is kept
//! as JSON in [`Actions::action`] and read by [`Action::read`], which bounds it.

mod files;
mod read;

use kube::KubeSchema;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub use self::{
    files::{Files, FilesError, MAX_FILE_BYTES, MAX_FILES},
    read::ActionsError,
};
use super::{Container, Duration, FunctionSpec, Logs, PodOptions, ResultSource, ResultSpec};

/// Most levels of actions in actions. Each level takes up to three levels of JSON, and what reads Tasks reads 128
/// (serde_json's limit on recursion).
pub const MAX_ACTION_DEPTH: usize = 32;
/// Most actions of a tree, inner ones included.
pub const MAX_ACTIONS: usize = 1024;
/// Most bytes of a tree as compact JSON. It travels to the container in an annotation of the pod, beside the input.
pub const MAX_TREE_BYTES: usize = 128 * 1024;
/// Most bytes of a result file, as Diego has it (`rep`, `MAX_RESULT_SIZE`).
pub const MAX_RESULT_FILE_BYTES: i64 = 51_200;
/// What stands for the log source where none is given, in the texts of failures.
pub const DEFAULT_LOG_SOURCE: &str = "LOG";

/// Actions that a Task runs in one container.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Actions {
    /// The container in which the actions run, in place of what its image would start. Command and args stay out.
    #[x_kube(validation = ("!has(self.command) && !has(self.args)", "actions say what runs: leave command and args out"))]
    pub container: Container,
    /// The action to run: an object with one key out of run, download, upload, serial, parallel, codependent, timeout,
    /// try and emitProgress. At most 32 levels, 1024 actions and 131072 bytes.
    #[schemars(schema_with = "tree")]
    pub action: Map<String, Value>,
    /// Name of the log's source where an action gives none. Lines of a named source begin with it in brackets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub log_source: Option<String>,
    /// Files that the container finds in a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Files>,
    /// File whose content is the result, read after the action. At most 51200 bytes; a missing or larger one fails the
    /// Task. Without it there is no result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub result_file: Option<String>,
    /// How much log is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs: Option<Logs>,
    /// Limit on the wait for a start, from the making of the pod. Default 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_timeout: Option<Duration>,
    /// How long the finished Task is kept. Default 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_after_finished: Option<Duration>,
    /// What is passed through to the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodOptions>,
}

// The actions have no type in the schema, so that a rule compares them as a whole: in an object that preserves unknown
// fields, API servers take a field for unchanged where it has given way to one of another name (apiserver,
// `cel/common/values.go`, `unstructuredMap.Equal`).
fn tree(_: &mut SchemaGenerator) -> Schema {
    let action = |(name, meaning): (&str, &str)| {
        let schema = json!({"description": meaning, "x-kubernetes-preserve-unknown-fields": true});
        (name.to_owned(), schema)
    };
    let properties: Map<String, Value> = KINDS.into_iter().map(action).collect();
    json_schema!({"type": "object", "properties": properties})
}

/// The keys that name actions, and what is said of them.
const KINDS: [(&str, &str); 9] = [
    (
        "run",
        "Runs a program: path, args, dir, env, user, nofile, logSource, suppressLogOutput.",
    ),
    (
        "download",
        "Fetches an archive and unpacks it: from, to, artifact, user, checksum {algorithm, value}, cacheKey, logSource.",
    ),
    (
        "upload",
        "Sends a file with POST: from, to, artifact, user, logSource.",
    ),
    (
        "serial",
        "One after the other, up to the first that fails: actions, logSource.",
    ),
    ("parallel", "All at once, and waits for all: actions, logSource."),
    (
        "codependent",
        "All at once; the first that ends, in whatever way, stops the others: actions, logSource.",
    ),
    (
        "timeout",
        "Stops an action after a time: after, action, logSource.",
    ),
    (
        "try",
        "Whatever the action comes to, it is no failure: action, logSource.",
    ),
    (
        "emitProgress",
        "Logs when an action begins and how it ends: action, startMessage, successMessage, failureMessagePrefix, logSource.",
    ),
];

impl Actions {
    /// The Function that runs these actions, but for the actions themselves: the pod of both is the same.
    pub fn function(&self) -> FunctionSpec {
        let result = self.result_file.as_ref().map(|path| ResultSpec {
            from: Some(ResultSource::File),
            path: Some(path.clone()),
            limit: Some(MAX_RESULT_FILE_BYTES),
            content_type: None,
        });
        FunctionSpec {
            container: self.container.clone(),
            result,
            logs: self.logs.clone(),
            pending_timeout: self.pending_timeout,
            ttl_after_finished: self.ttl_after_finished,
            pod: self.pod.clone(),
            ..FunctionSpec::default()
        }
    }
}

/// One action. As JSON: an object whose only key names it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// Runs a process.
    Run(RunAction),
    /// Fetches an archive and unpacks it.
    Download(DownloadAction),
    /// Sends a file.
    Upload(UploadAction),
    /// One after the other, up to the first that fails.
    Serial(ActionGroup),
    /// All at once, and waits for all.
    Parallel(ActionGroup),
    /// All at once; the first that ends, in whatever way, stops the others. Always a failure.
    Codependent(ActionGroup),
    /// Stops an action after a time.
    Timeout(TimeoutAction),
    /// Whatever the action comes to, it is no failure.
    Try(TryAction),
    /// Says when an action begins and how it ends.
    EmitProgress(EmitProgressAction),
}

/// Runs a process.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunAction {
    /// The program: a path, or a name that is looked for in `PATH`.
    pub path: String,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// The folder in which it starts. Default: the container's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<String>,
    /// Variables over those of container and Task.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<Variable>,
    /// Who runs it: `NAME` or `UID`, with `:GROUP` if wished. Default: the container's user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Most files that it may have open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nofile: Option<u64>,
    /// Name of the log's source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_source: Option<String>,
    /// True: neither its output nor its exit status is logged.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suppress_log_output: bool,
}

/// An environment variable of a run action.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    /// Name.
    pub name: String,
    /// Value.
    #[serde(default)]
    pub value: String,
}

/// Fetches an archive (tar, gzipped tar or zip, told by its content) and unpacks it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DownloadAction {
    /// Where it is: an http or https URL.
    pub from: String,
    /// The folder into which it is unpacked. It is made where it is missing.
    pub to: String,
    /// What it is, for people. Present: the log tells of the download.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<String>,
    /// Who unpacks it, as in `run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// What the archive must be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Checksum>,
    /// Kept and given back; nothing is cached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_key: Option<String>,
    /// Name of the log's source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_source: Option<String>,
}

/// Digest of an archive.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Checksum {
    /// How it is computed.
    pub algorithm: ChecksumAlgorithm,
    /// The digest in hexadecimal.
    pub value: String,
}

/// How a checksum is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChecksumAlgorithm {
    /// MD5, 32 digits.
    Md5,
    /// SHA-1, 40 digits.
    Sha1,
    /// SHA-256, 64 digits.
    Sha256,
    /// SHA-512, 128 digits.
    Sha512,
}

impl ChecksumAlgorithm {
    const fn digits(self) -> usize {
        match self {
            Self::Md5 => 32,
            Self::Sha1 => 40,
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// Sends one file with POST.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UploadAction {
    /// The file.
    pub from: String,
    /// Where it goes: an http or https URL.
    pub to: String,
    /// What it is, for people. Present: the log tells of the upload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<String>,
    /// Who reads it, as in `run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Name of the log's source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_source: Option<String>,
}

/// Several actions.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ActionGroup {
    /// The actions; at least one.
    pub actions: Vec<Action>,
    /// Name of the log's source; parallel and codependent hand it on to their actions, serial does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_source: Option<String>,
}

/// Stops an action after a time.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TimeoutAction {
    /// The time, such as `10s` or `100ms`.
    pub after: Duration,
    /// The action.
    pub action: Box<Action>,
    /// Name of the log's source, handed on to the action.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_source: Option<String>,
}

/// Swallows a failure.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TryAction {
    /// The action.
    pub action: Box<Action>,
    /// Name of the log's source, handed on to the action.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_source: Option<String>,
}

/// Says when an action begins and how it ends.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EmitProgressAction {
    /// The action.
    pub action: Box<Action>,
    /// Said before it, on stdout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_message: Option<String>,
    /// Said after it, on stdout, if it succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success_message: Option<String>,
    /// Said after it, on stderr, if it failed; where the failure has a text to show, a colon and that follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_message_prefix: Option<String>,
    /// Name of the log's source of these messages only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_source: Option<String>,
}

#[cfg(test)]
mod tests;
