//! Task and Function put together: everything a run needs, with defaults filled in. Pure.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::api::{
    core::v1::{EnvVar, Volume},
    networking::v1::NetworkPolicyEgressRule,
};
use serde::{Deserialize, Serialize};

use super::http::check_proxied;
use crate::{
    chain::chain,
    crd::{
        Action, Actions, ActionsError, Capabilities, Container, Dispatch, Files, FilesError, FunctionSpec,
        Http, Input, MAX_BODY_BYTES, PodOptions, ResultSource, Retry, RetryOn, TaskSpec,
    },
    handover::plan::Plan,
};

/// Run time limit where neither Task nor Function gives one.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3600);
/// Limit on the wait for a start where the Function gives none.
pub const DEFAULT_PENDING_TIMEOUT: Duration = Duration::from_secs(600);
/// How long a finished Task is kept where the Function does not say.
pub const DEFAULT_TTL: Duration = Duration::from_secs(3600);
const DEFAULT_RESULT_LIMIT: i64 = 256 * 1024;
const DEFAULT_LOG_LIMIT: i64 = 64 * 1024;
const DEFAULT_GRACE_SECONDS: i64 = 30;
/// Port of an HTTP function that names none.
pub const DEFAULT_PORT: u16 = 8080;
const MAX_BACKOFF: Duration = Duration::from_secs(300);

/// Everything that the pod of one attempt is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Name of the Function; `None` for one written into the Task.
    pub function: Option<String>,
    /// The container, with the Task's variables and arguments added.
    pub container: Container,
    /// Arguments from the Task; Kubernetes must not expand `$(VAR)` in them.
    pub literal_args: Vec<String>,
    /// What the machine must have.
    pub capabilities: Capabilities,
    /// What is passed through to the pod.
    pub pod: PodOptions,
    /// Its volumes, read.
    pub volumes: Vec<Volume>,
    /// Its egress rules, read; `None` where it has none of its own.
    pub egress: Option<Vec<NetworkPolicyEgressRule>>,
    /// What the container is given.
    pub input: RunInput,
    /// Actions that the supervisor runs in place of a command.
    pub plan: Option<Plan>,
    /// Files that the container finds.
    pub files: Option<Files>,
    /// What the engine must know for as long as the pod lives.
    pub facts: Facts,
}

/// The input, decoded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunInput {
    /// Body.
    pub body: Option<Vec<u8>>,
    /// Raw query string.
    pub query: Option<String>,
    /// Headers.
    pub headers: BTreeMap<String, String>,
    /// Media type of the body.
    pub content_type: Option<String>,
    /// Method of the request to an HTTP function.
    pub method: Option<String>,
}

/// What the engine must know of a run for as long as its pod lives. It travels in a pod annotation, so that a Function
/// that is changed or deleted meanwhile changes nothing for what already runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// Present for an HTTP function, its defaults filled in.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub http: Option<Http>,
    /// True where the container runs under the supervisor.
    pub supervised: bool,
    /// True where it runs actions in place of a command.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub actions: bool,
    /// Where the result is found.
    pub result_from: ResultSource,
    /// File of the result, with `File`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub result_path: Option<String>,
    /// Bytes of the result that are kept.
    pub result_limit: i64,
    /// Media type of the result, where the Function gives one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub content_type: Option<String>,
    /// Bytes of the log that are kept.
    pub log_limit: i64,
    /// Run time limit in milliseconds.
    pub timeout_ms: u64,
    /// Limit on the wait for a start in milliseconds.
    pub pending_timeout_ms: u64,
    /// Seconds between SIGTERM and SIGKILL.
    pub grace_seconds: i64,
    /// Retry policy.
    pub retry: RetryPolicy,
}

/// A retry policy with its defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetryPolicy {
    /// Attempts after the first.
    pub limit: u32,
    /// Classes that are tried again.
    pub on: Vec<RetryOn>,
    /// Wait before the second attempt in milliseconds.
    pub backoff_ms: u64,
}

impl RetryPolicy {
    /// The policy that `retry` stands for.
    pub fn of(retry: Option<&Retry>) -> Self {
        let retry = retry.cloned().unwrap_or_default();
        Self {
            limit: retry.limit.unwrap_or(0),
            on: retry.on.unwrap_or_else(|| vec![RetryOn::Infrastructure]),
            backoff_ms: retry.backoff.map_or(1000, |b| millis(b.get())),
        }
    }

    /// The wait before the attempt after attempt number `attempt` (from 1), or `None` where it is not tried again.
    pub fn wait_after(&self, attempt: u32, class: RetryOn) -> Option<Duration> {
        if attempt > self.limit || !self.on.contains(&class) {
            return None;
        }
        let doubled = self.backoff_ms.saturating_mul(1 << (attempt - 1).min(20));
        Some(Duration::from_millis(doubled).min(MAX_BACKOFF.max(Duration::from_millis(self.backoff_ms))))
    }
}

impl Facts {
    /// Run time limit.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// Limit on the wait for a start.
    pub fn pending_timeout(&self) -> Duration {
        Duration::from_millis(self.pending_timeout_ms)
    }

    /// Time between SIGTERM and SIGKILL.
    pub fn grace(&self) -> Duration {
        Duration::from_secs(self.grace_seconds.max(0).unsigned_abs())
    }
}

/// What is wrong with a Task or its Function that no schema can refuse.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SpecError {
    /// The body is not base64.
    #[error("input.bodyBase64 is not standard base64: {0}")]
    Base64(#[from] base64::DecodeError),
    /// The body is too long.
    #[error("the input body has {size} bytes; at most {limit} are allowed")]
    BodyTooLong {
        /// Bytes given.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Supervision was asked for where it is impossible.
    #[error("supervise: true needs a command function with container.command")]
    CannotSupervise,
    /// A result source that only the supervisor can serve.
    #[error("result.from: {0:?} needs container.command, so that the container runs under the supervisor")]
    SourceNeedsSupervisor(ResultSource),
    /// A request that the API server would not pass on as it is.
    #[error("http.dispatch: ApiProxy: {0}")]
    Proxied(String),
    /// A rule that networking.k8s.io/v1 does not know.
    #[error("pod.egress[{index}] is no egress rule of networking.k8s.io/v1: {why}")]
    Egress {
        /// Its place in the list.
        index: usize,
        /// What is wrong with it.
        why: String,
    },
    /// A tree of actions that cannot be read.
    #[error("spec.actions.{0}")]
    Actions(ActionsError),
    /// Files that cannot be had.
    #[error("spec.actions.files: {0}")]
    Files(FilesError),
    /// There is no command that could take arguments.
    #[error("input.args go to a command, and there is none: put them into the actions that run programs")]
    ActionsTakeNoArgs,
    /// A volume that core/v1 does not know.
    #[error("pod.volumes[{index}] is no volume of core/v1: {why}")]
    Volume {
        /// Its place in the list.
        index: usize,
        /// What is wrong with it.
        why: String,
    },
}

/// Puts a Task and its Function together.
///
/// # Errors
/// [`SpecError`] where the pair cannot run as written.
pub fn resolve(task: &TaskSpec, function: &FunctionSpec, name: Option<&str>) -> Result<Run, SpecError> {
    together(task, function, name, supervised(function)?)
}

/// Puts a Task and its actions together.
///
/// # Errors
/// [`SpecError`] where they cannot run as written.
pub fn resolve_actions(task: &TaskSpec, actions: &Actions) -> Result<Run, SpecError> {
    // The supervisor reads the tree again; what it would refuse shall not get that far.
    Action::read(&actions.action).map_err(SpecError::Actions)?;
    if task.input.as_ref().is_some_and(|input| !input.args.is_empty()) {
        return Err(SpecError::ActionsTakeNoArgs);
    }
    if let Some(files) = &actions.files {
        files.check().map_err(SpecError::Files)?;
    }
    let mut run = together(task, &actions.function(), None, true)?;
    run.files = actions.files.clone();
    if actions.result_file.is_none() {
        // A file without a path: no result. The log of actions is no result of theirs.
        run.facts.result_from = ResultSource::File;
    }
    run.facts.actions = true;
    run.plan = Some(Plan {
        action: actions.action.clone(),
        log_source: actions.log_source.clone(),
    });
    Ok(run)
}

fn together(
    task: &TaskSpec,
    function: &FunctionSpec,
    name: Option<&str>,
    supervised: bool,
) -> Result<Run, SpecError> {
    let input = task.input.clone().unwrap_or_default();
    let result = function.result.clone().unwrap_or_default();
    let default_source = if supervised {
        ResultSource::Stdout
    } else {
        ResultSource::Log
    };
    let result_from = result.from.unwrap_or(default_source);
    if !supervised
        && function.http.is_none()
        && matches!(result_from, ResultSource::Stdout | ResultSource::File)
    {
        return Err(SpecError::SourceNeedsSupervisor(result_from));
    }
    if let Some(http) = function
        .http
        .as_ref()
        .filter(|http| http.dispatch == Some(Dispatch::ApiProxy))
    {
        check_proxied(http, &input).map_err(|error| SpecError::Proxied(chain(&error)))?;
    }
    let pod = function.pod.clone().unwrap_or_default();
    let timeout = task
        .timeout
        .or(function.timeout)
        .map_or(DEFAULT_TIMEOUT, |d| d.get());
    let facts = Facts {
        http: function.http.as_ref().map(|http| Http {
            port: http.port.or(Some(DEFAULT_PORT)),
            path: http.path.clone().or_else(|| Some("/".to_owned())),
            ..http.clone()
        }),
        supervised,
        actions: false,
        result_from,
        result_path: result.path,
        result_limit: result.limit.unwrap_or(DEFAULT_RESULT_LIMIT),
        content_type: result.content_type,
        log_limit: function
            .logs
            .as_ref()
            .and_then(|l| l.limit)
            .unwrap_or(DEFAULT_LOG_LIMIT),
        timeout_ms: millis(timeout),
        pending_timeout_ms: millis(
            function
                .pending_timeout
                .map_or(DEFAULT_PENDING_TIMEOUT, |d| d.get()),
        ),
        grace_seconds: pod
            .termination_grace_period_seconds
            .unwrap_or(DEFAULT_GRACE_SECONDS),
        retry: RetryPolicy::of(task.retry.as_ref().or(function.retry.as_ref())),
    };
    Ok(Run {
        function: name.map(str::to_owned),
        container: Container {
            env: merge_env(&function.container.env, &task.env),
            ..function.container.clone()
        },
        literal_args: input.args.clone(),
        capabilities: merge_capabilities(function.capabilities.as_ref(), task.capabilities.as_ref()),
        volumes: volumes(&pod)?,
        egress: egress(&pod)?,
        pod,
        input: decode(input)?,
        plan: None,
        files: None,
        facts,
    })
}

fn volumes(pod: &PodOptions) -> Result<Vec<Volume>, SpecError> {
    let read = |(index, volume)| {
        Volume::deserialize(volume).map_err(|error: serde_json::Error| SpecError::Volume {
            index,
            why: error.to_string(),
        })
    };
    pod.volumes.iter().enumerate().map(read).collect()
}

fn egress(pod: &PodOptions) -> Result<Option<Vec<NetworkPolicyEgressRule>>, SpecError> {
    let read = |(index, rule)| {
        NetworkPolicyEgressRule::deserialize(rule).map_err(|error: serde_json::Error| SpecError::Egress {
            index,
            why: error.to_string(),
        })
    };
    let Some(rules) = &pod.egress else {
        return Ok(None);
    };
    rules
        .iter()
        .enumerate()
        .map(read)
        .collect::<Result<_, _>>()
        .map(Some)
}

fn supervised(function: &FunctionSpec) -> Result<bool, SpecError> {
    let possible = function.http.is_none() && !function.container.command.is_empty();
    match function.supervise {
        Some(true) if !possible => Err(SpecError::CannotSupervise),
        wish => Ok(possible && wish.unwrap_or(true)),
    }
}

fn decode(input: Input) -> Result<RunInput, SpecError> {
    let body = match (input.body, input.body_base64) {
        (Some(text), _) => Some(text.into_bytes()),
        (None, Some(encoded)) => Some(STANDARD.decode(encoded)?),
        (None, None) => None,
    };
    if let Some(size) = body.as_ref().map(Vec::len).filter(|size| *size > MAX_BODY_BYTES) {
        return Err(SpecError::BodyTooLong {
            size,
            limit: MAX_BODY_BYTES,
        });
    }
    Ok(RunInput {
        body,
        query: input.query,
        headers: input.headers,
        content_type: input.content_type,
        method: input.method,
    })
}

/// The Function's variables, with those of the Task in place of same-named ones.
fn merge_env(base: &[EnvVar], over: &[EnvVar]) -> Vec<EnvVar> {
    let kept = base.iter().filter(|var| over.iter().all(|o| o.name != var.name));
    kept.chain(over).cloned().collect()
}

fn merge_capabilities(base: Option<&Capabilities>, over: Option<&Capabilities>) -> Capabilities {
    let base = base.cloned().unwrap_or_default();
    let Some(over) = over.cloned() else { return base };
    let mut resources = base.resources;
    resources.extend(over.resources);
    let mut node_selector = base.node_selector;
    node_selector.extend(over.node_selector);
    Capabilities {
        cpu: over.cpu.or(base.cpu),
        memory: over.memory.or(base.memory),
        ephemeral_storage: over.ephemeral_storage.or(base.ephemeral_storage),
        resources,
        privileged: over.privileged.or(base.privileged),
        network_latency_ms: over.network_latency_ms.or(base.network_latency_ms),
        node_selector,
        node_affinity: over.node_affinity.or(base.node_affinity),
        tolerations: if over.tolerations.is_empty() {
            base.tolerations
        } else {
            over.tolerations
        },
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::Quantity;

    fn function(command: &[&str]) -> FunctionSpec {
        FunctionSpec {
            container: Container {
                image: "busybox".into(),
                command: command.iter().map(|s| (*s).to_owned()).collect(),
                ..Container::default()
            },
            ..FunctionSpec::default()
        }
    }

    #[test]
    fn a_known_command_runs_supervised_and_its_result_is_stdout() {
        let run = resolve(&TaskSpec::default(), &function(&["true"]), Some("f")).unwrap();
        assert_eq!(
            (run.facts.supervised, run.facts.result_from),
            (true, ResultSource::Stdout)
        );
        let run = resolve(&TaskSpec::default(), &function(&[]), Some("f")).unwrap();
        assert_eq!(
            (run.facts.supervised, run.facts.result_from),
            (false, ResultSource::Log)
        );
    }

    #[test]
    fn supervision_where_it_is_impossible_is_a_spec_error() {
        let spec = FunctionSpec {
            supervise: Some(true),
            ..function(&[])
        };
        assert_eq!(
            resolve(&TaskSpec::default(), &spec, None),
            Err(SpecError::CannotSupervise)
        );
        let spec = FunctionSpec {
            result: Some(crate::crd::ResultSpec {
                from: Some(ResultSource::Stdout),
                ..Default::default()
            }),
            ..function(&[])
        };
        assert_eq!(
            resolve(&TaskSpec::default(), &spec, None),
            Err(SpecError::SourceNeedsSupervisor(ResultSource::Stdout))
        );
    }

    #[test]
    fn a_volume_that_is_none_is_a_spec_error_with_its_place() {
        let spec = |volumes: serde_json::Value| FunctionSpec {
            pod: Some(serde_json::from_value(serde_json::json!({"volumes": volumes})).unwrap()),
            ..function(&["true"])
        };
        let refused = |volumes| {
            resolve(&TaskSpec::default(), &spec(volumes), None)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            refused(serde_json::json!([{"name": "a", "emptyDir": {}}, {"name": "b", "secret": 5}])),
            "pod.volumes[1] is no volume of core/v1: invalid type: integer `5`, expected SecretVolumeSource"
        );
        let good = spec(serde_json::json!([{"name": "a", "emptyDir": {}}]));
        let volumes = resolve(&TaskSpec::default(), &good, None).unwrap().volumes;
        assert_eq!(volumes.len(), 1);
        assert!(volumes[0].empty_dir.is_some());
    }

    #[test]
    fn an_egress_rule_that_is_none_is_a_spec_error_with_its_place() {
        let resolved = |egress: serde_json::Value| {
            let spec = FunctionSpec {
                pod: Some(serde_json::from_value(serde_json::json!({"egress": egress})).unwrap()),
                ..function(&["true"])
            };
            resolve(&TaskSpec::default(), &spec, None).map(|run| run.egress)
        };
        let refused = resolved(serde_json::json!([{}, {"ports": 53}])).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "pod.egress[1] is no egress rule of networking.k8s.io/v1: invalid type: integer `53`, expected a sequence"
        );
        assert_eq!(resolved(serde_json::json!([])), Ok(Some(Vec::new())));
        assert_eq!(resolved(serde_json::Value::Null), Ok(None));
    }

    #[test]
    fn a_body_over_the_limit_is_refused_with_the_limit() {
        let task = TaskSpec {
            input: Some(Input {
                body: Some("x".repeat(MAX_BODY_BYTES + 1)),
                ..Input::default()
            }),
            ..TaskSpec::default()
        };
        let error = resolve(&task, &function(&["true"]), None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the input body has 131073 bytes; at most 131072 are allowed"
        );
    }

    #[test]
    fn a_task_overrides_capabilities_field_by_field() {
        let mut spec = function(&["true"]);
        spec.capabilities = Some(Capabilities {
            cpu: Some("1".into()),
            memory: Some("1Gi".into()),
            ..Default::default()
        });
        let task = TaskSpec {
            capabilities: Some(Capabilities {
                cpu: Some("2".into()),
                ..Default::default()
            }),
            ..TaskSpec::default()
        };
        let run = resolve(&task, &spec, None).unwrap();
        assert_eq!(run.capabilities.cpu, Some(Quantity("2".into())));
        assert_eq!(run.capabilities.memory, Some(Quantity("1Gi".into())));
    }

    #[test]
    fn waits_between_attempts_double_up_to_five_minutes() {
        let policy = RetryPolicy {
            limit: 100,
            on: vec![RetryOn::Failure],
            backoff_ms: 1000,
        };
        let waits: Vec<_> = [1, 2, 3, 9, 10, 99]
            .map(|n| policy.wait_after(n, RetryOn::Failure))
            .into();
        let seconds = |s| Some(Duration::from_secs(s));
        assert_eq!(
            waits,
            [
                seconds(1),
                seconds(2),
                seconds(4),
                seconds(256),
                seconds(300),
                seconds(300)
            ]
        );
        assert_eq!(policy.wait_after(1, RetryOn::Timeout), None);
        assert_eq!(policy.wait_after(101, RetryOn::Failure), None);
    }
}
