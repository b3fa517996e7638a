//! Names that others rely on.

/// API group of Task, Function and Schedule.
pub const GROUP: &str = "errand.dev";
/// Version of the API group.
pub const VERSION: &str = "v1alpha1";
/// `apiVersion` of Task, Function and Schedule.
pub const API_VERSION: &str = "errand.dev/v1alpha1";
/// Finalizer on pods: held until the evidence of the run is stored in the Task.
pub const CAPTURE_FINALIZER: &str = "errand.dev/capture";
/// Pod label: name of the Task, cut to 63 characters.
pub const LABEL_TASK: &str = "errand.dev/task";
/// Pod label: uid of the Task.
pub const LABEL_TASK_UID: &str = "errand.dev/task-uid";
/// Pod label: name of the Function, cut to 63 characters.
pub const LABEL_FUNCTION: &str = "errand.dev/function";
/// Pod label: attempt, counted from 1.
pub const LABEL_ATTEMPT: &str = "errand.dev/attempt";
/// Node label: network latency in whole milliseconds, for `capabilities.networkLatencyMs`.
pub const LABEL_LATENCY: &str = "errand.dev/network-latency-ms";
/// Namespace label: the user or group whose account in the REST facade the namespace is.
pub const LABEL_ACCOUNT: &str = "errand.dev/account";
/// Namespace label: the service instance that the namespace is in the REST facade.
pub const LABEL_SERVICE_INSTANCE: &str = "errand.dev/service-instance-id";
/// Label of what belongs to a Function, with its uid.
pub const LABEL_FUNCTION_UID: &str = "errand.dev/function-uid";

/// Label of a Task: name of the Schedule that made it, cut to 63 characters.
pub const LABEL_SCHEDULE: &str = "errand.dev/schedule";
/// Annotation of a Task: the moment that a Schedule made it for.
pub const ANNOTATION_SCHEDULED: &str = "errand.dev/scheduled-at";

/// Name of the ControllerRevision that holds a version of a Function.
pub fn revision_name(function: &str, version: i64) -> String {
    format!("{function}-v{version}")
}
