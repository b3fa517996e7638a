//! Shapes on the wire. Fields without a value are there as null.

use k8s_openapi::jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// An execution.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = QinlingExecution)]
pub struct Execution {
    /// Its id, a UUID.
    pub id: String,
    /// The function that it runs.
    pub function_id: Option<String>,
    /// The version of the function; 0 for the function as it stood.
    pub function_version: i64,
    /// The alias that was named in the place of the two.
    pub function_alias: Option<String>,
    /// Text for people.
    pub description: Option<String>,
    /// running, success, failed or error.
    pub status: &'static str,
    /// Whether the call waited for the end.
    pub sync: bool,
    /// What the function was given.
    pub input: Option<String>,
    /// JSON as text: what came out and the seconds that it took.
    #[schema(example = "{\"output\": \"Hello, World\", \"duration\": 0.044}")]
    pub result: Option<String>,
    /// The namespace.
    pub project_id: String,
    /// When it was made.
    pub created_at: Option<String>,
    /// When it changed last.
    pub updated_at: Option<String>,
}

/// Executions, the oldest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QinlingExecutions)]
pub struct Executions {
    /// The executions.
    pub executions: Vec<Execution>,
}

/// A function.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = QinlingFunction)]
pub struct Function {
    /// Its id, a UUID.
    pub id: String,
    /// Name for people.
    pub name: Option<String>,
    /// Text for people.
    pub description: Option<String>,
    /// Processor time in thousandths.
    pub cpu: Option<i64>,
    /// Memory in bytes.
    pub memory_size: Option<i64>,
    /// Limit on the run time in seconds.
    pub timeout: i64,
    /// What runs the package.
    pub runtime_id: Option<String>,
    /// Where the code comes from; as JSON text in lists.
    pub code: Value,
    /// Module and method that are called.
    pub entry: Option<String>,
    /// Executions that are still kept.
    pub count: i64,
    /// The newest version; 0 where there is none.
    pub latest_version: i64,
    /// The namespace.
    pub project_id: String,
    /// When it was made.
    pub created_at: Option<String>,
    /// When it changed last.
    pub updated_at: Option<String>,
}

/// Functions, in the order of their ids.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QinlingFunctions)]
pub struct Functions {
    /// The functions.
    pub functions: Vec<Function>,
}

/// A runtime: an image that runs packages.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = QinlingRuntime)]
pub struct Runtime {
    /// Its id, a UUID.
    pub id: String,
    /// Name for people.
    pub name: Option<String>,
    /// The image.
    pub image: String,
    /// Text for people.
    pub description: Option<String>,
    /// Whether every project may use it.
    pub is_public: bool,
    /// Kept and given back.
    pub trusted: bool,
    /// Always available: images are pulled when a pod needs them.
    pub status: &'static str,
    /// The project that made it.
    pub project_id: String,
    /// When it was made.
    pub created_at: Option<String>,
    /// When it changed last.
    pub updated_at: Option<String>,
}

/// Runtimes, the oldest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QinlingRuntimes)]
pub struct Runtimes {
    /// The runtimes.
    pub runtimes: Vec<Runtime>,
}

/// Workers of a function.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QinlingWorkers)]
pub struct Workers {
    /// One for each pod.
    pub workers: Vec<Worker>,
}

/// A pod of a function.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = QinlingWorker)]
pub struct Worker {
    /// The function.
    pub function_id: String,
    /// Its version.
    pub function_version: i64,
    /// The pod.
    pub worker_name: String,
}

/// A time as this API writes it: in whole seconds.
pub fn time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_whole_seconds() {
        let at: Timestamp = "2026-11-21T16:40:28.999Z".parse().unwrap();
        assert_eq!(time(at), "2026-11-21T16:40:28Z");
    }
}
