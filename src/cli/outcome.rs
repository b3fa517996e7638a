//! The end of a Task as an exit code and a sentence. Pure.

use crate::crd::{Phase, Task, TaskResult};
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// The Task succeeded, or was only submitted (`--detach`).
pub const OK: u8 = 0;
/// The Task failed and there is no exit code of a container to pass on; or a client command could not do its work.
pub const FAILED: u8 = 1;
/// The command line is wrong, or the API server refused or did not answer.
pub const USAGE: u8 = 2;
/// The Task ran out of time, as `timeout(1)` says it.
pub const TIMED_OUT: u8 = 124;
/// The Task was cancelled, as a shell says of a command ended by Ctrl-C.
pub const CANCELLED: u8 = 130;

/// Exit code of `errand run` for a Task that has ended.
///
/// A command function's own exit code is passed on where there is one from 1 to 255, unless the clock or a person
/// stopped it.
pub fn exit_code(task: &Task) -> u8 {
    let Some(status) = &task.status else { return FAILED };
    let own = status
        .exit_code
        .and_then(|code| u8::try_from(code).ok())
        .filter(|code| *code != 0);
    match (status.phase, status.reason.as_deref()) {
        (Some(Phase::Succeeded), _) => OK,
        (Some(Phase::Cancelled), _) => CANCELLED,
        (Some(Phase::Failed), Some("TimedOut" | "PendingTimedOut")) => TIMED_OUT,
        _ => own.unwrap_or(FAILED),
    }
}

/// `Failed (ExitCode): the command ended with exit code 3`
pub fn sentence(task: &Task) -> String {
    let status = task.status.clone().unwrap_or_default();
    let phase = status
        .phase
        .map_or_else(|| "Unknown".to_owned(), |phase| phase.to_string());
    let reason = status
        .reason
        .filter(|reason| *reason != phase)
        .map(|reason| format!(" ({reason})"));
    let message = status.message.map(|message| format!(": {message}"));
    format!(
        "{phase}{}{}",
        reason.unwrap_or_default(),
        message.unwrap_or_default()
    )
}

/// Why the bytes of a result cannot be given out.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// `bodyBase64` is not base64.
    #[error("the result in the Task's status is not valid base64")]
    Base64,
}

/// The bytes of a result, text or binary.
pub fn bytes(result: &TaskResult) -> Result<Vec<u8>, Error> {
    match (&result.body, &result.body_base64) {
        (Some(text), _) => Ok(text.clone().into_bytes()),
        (None, Some(text)) => STANDARD.decode(text).map_err(|_| Error::Base64),
        (None, None) => Ok(Vec::new()),
    }
}

/// Says that a result was cut, where it was.
pub fn cut(result: &TaskResult, kept: usize) -> Option<String> {
    if !result.truncated {
        return None;
    }
    let whole = result
        .size_bytes
        .map_or_else(|| "more".to_owned(), |size| format!("{size} bytes"));
    Some(format!(
        "the result is cut: {kept} bytes were kept of {whole}; raise result.limit in the Function to keep more"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn task(status: serde_json::Value) -> Task {
        serde_json::from_value(json!({"metadata": {"name": "t"}, "spec": {}, "status": status})).unwrap()
    }

    #[test]
    fn the_exit_code_tells_the_outcome() {
        for (status, code) in [
            (json!({"phase": "Succeeded", "exitCode": 0}), 0),
            (json!({"phase": "Failed", "reason": "ExitCode", "exitCode": 7}), 7),
            (
                json!({"phase": "Failed", "reason": "OOMKilled", "exitCode": 137}),
                137,
            ),
            (
                json!({"phase": "Failed", "reason": "TimedOut", "exitCode": 143}),
                124,
            ),
            (
                json!({"phase": "Cancelled", "reason": "Cancelled", "exitCode": 143}),
                130,
            ),
            (json!({"phase": "Failed", "reason": "FunctionNotFound"}), 1),
            (json!({"phase": "Failed", "reason": "ExitCode", "exitCode": 0}), 1),
            (
                json!({"phase": "Failed", "reason": "ExitCode", "exitCode": 3_221_225_477_i64 as i32}),
                1,
            ),
        ] {
            assert_eq!(exit_code(&task(status.clone())), code, "{status}");
        }
    }

    #[test]
    fn the_sentence_names_phase_reason_and_message() {
        let failed = json!({"phase": "Failed", "reason": "ExitCode", "message": "exit code 7"});
        assert_eq!(sentence(&task(failed)), "Failed (ExitCode): exit code 7");
        assert_eq!(
            sentence(&task(json!({"phase": "Succeeded", "reason": "Succeeded"}))),
            "Succeeded"
        );
    }

    #[test]
    fn a_result_comes_out_byte_for_byte() {
        let binary = TaskResult {
            body_base64: Some("AAH/".into()),
            ..TaskResult::default()
        };
        assert_eq!(bytes(&binary), Ok(vec![0, 1, 255]));
        let text = TaskResult {
            body: Some("hé\n".into()),
            ..TaskResult::default()
        };
        assert_eq!(bytes(&text), Ok("hé\n".into()));
        let broken = TaskResult {
            body_base64: Some("!".into()),
            ..TaskResult::default()
        };
        assert_eq!(bytes(&broken), Err(Error::Base64));
    }

    #[test]
    fn a_cut_result_says_so_with_both_sizes() {
        let result = TaskResult {
            truncated: true,
            size_bytes: Some(900),
            ..TaskResult::default()
        };
        assert_eq!(
            cut(&result, 10).as_deref(),
            Some(
                "the result is cut: 10 bytes were kept of 900 bytes; raise result.limit in the Function to keep more"
            )
        );
        assert_eq!(cut(&TaskResult::default(), 10), None);
    }
}
