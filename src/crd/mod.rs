//! The resource types: [`Task`], [`Function`], [`Schedule`] and their parts. Types, schema and CEL rules; no I/O.
//!
//! Doc comments on fields become the descriptions that `kubectl explain` prints; notes for developers are plain
//! comments. Optional fields are skipped when absent, so that a value that was read and written again is unchanged.

mod actions;
mod bulk;
mod callback;
pub mod change;
mod container;
mod duration;
mod function;
mod names;
mod quantity;
mod schedule;
mod status;
mod task;

pub use actions::{
    Action, ActionGroup, Actions, ActionsError, Checksum, ChecksumAlgorithm, DEFAULT_LOG_SOURCE,
    DownloadAction, EmitProgressAction, Files, FilesError, MAX_ACTION_DEPTH, MAX_ACTIONS, MAX_FILE_BYTES,
    MAX_FILES, MAX_RESULT_FILE_BYTES, MAX_TREE_BYTES, RunAction, TimeoutAction, TryAction, UploadAction,
    Variable,
};
pub use bulk::{drop_bulk, drop_bulk_of_deleted};
pub use callback::{Callback, CallbackPolicy, CallbackRetry, CallbackState, CallbackStatus, SecretKeyRef};
pub use container::{
    Capabilities, Container, Dispatch, Http, Logs, PodOptions, ResultSource, ResultSpec, Retry, RetryOn,
};
pub use duration::{Duration, DurationError};
pub use function::{Alias, Function, FunctionSpec, FunctionStatus};
pub use names::{
    ANNOTATION_SCHEDULED, API_VERSION, CAPTURE_FINALIZER, GROUP, LABEL_ACCOUNT, LABEL_ATTEMPT,
    LABEL_FUNCTION, LABEL_FUNCTION_UID, LABEL_LATENCY, LABEL_SCHEDULE, LABEL_SERVICE_INSTANCE, LABEL_TASK,
    LABEL_TASK_UID, VERSION, revision_name,
};
pub use quantity::Quantity;
pub use schedule::{
    CONDITION_READY, ConcurrencyPolicy, Schedule, ScheduleSpec, ScheduleStatus, TaskTemplate,
    TemplateMetadata,
};
pub use status::{
    CONDITION_EVIDENCE, CONDITION_FINISHED, EndPhase, LogTail, Message, Phase, PodRef, Progress, ReportedEnd,
    RpcStatus, Speed, TaskResult, TaskStatus,
};
pub use task::{External, FunctionRef, Input, Task, TaskSpec};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{CustomResourceDefinition, JSON};
use kube::CustomResourceExt;

/// Most bytes of an input body, before base64. The body travels to command functions in a pod annotation, and all
/// annotations of a pod together may hold 256 KiB (apimachinery `TotalAnnotationSizeLimitB`).
pub const MAX_BODY_BYTES: usize = 128 * 1024;
/// Most bytes of a result body kept in a Task, before base64 (etcd refuses objects over about 1.5 MiB).
pub const MAX_RESULT_BYTES: i64 = 512 * 1024;
/// Most bytes of log kept in a Task.
pub const MAX_LOG_BYTES: i64 = 256 * 1024;

/// The CustomResourceDefinitions with their file names, as `errand crds` writes them.
pub fn definitions() -> [(&'static str, CustomResourceDefinition); 3] {
    [
        ("tasks.errand.dev.yaml", with_default_phase(Task::crd())),
        ("functions.errand.dev.yaml", Function::crd()),
        ("schedules.errand.dev.yaml", Schedule::crd()),
    ]
}

/// A Task is Queued from the moment it exists. The API server fills the default in whenever it reads a Task
/// (Kubernetes, "Defaulting" of custom resources), so nobody ever sees an empty phase and no write is needed for it.
fn with_default_phase(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut definition.spec.versions {
        let schema = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut());
        let properties = schema.and_then(|schema| schema.properties.as_mut());
        if let Some(status) = properties.and_then(|properties| properties.get_mut("status")) {
            status.default = Some(JSON(serde_json::json!({"phase": Phase::Queued})));
        }
    }
    definition
}

#[cfg(test)]
pub(crate) mod arbitrary;
#[cfg(test)]
mod tests;
