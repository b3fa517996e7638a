//! How the end of a container is told: reason, exit code, message.

use std::io::Read;
use std::path::Path;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ContainerStatus;

use super::runtime::{Exit, LogHandle};
use super::sync::Terminated;

/// Bytes of a termination message that count (kubelet `MaxContainerTerminationMessageLength`).
pub const MESSAGE_LIMIT: usize = 4096;
/// What FallbackToLogsOnError takes from the end of the log.
const LOG_LINES: u64 = 80;
const LOG_BYTES: usize = 2048;
/// The exit code of a container that could not run, as the kubelet reports it from containerd.
pub const START_ERROR_CODE: i32 = 128;

/// The end of a container that ran. `fallback` is its log where the policy is FallbackToLogsOnError.
pub async fn terminated(
    exit: Exit,
    message_file: &Path,
    fallback: Option<LogHandle>,
    container_id: String,
    started_at: Timestamp,
) -> Terminated {
    let mut message = read_message(message_file);
    if message.is_none() && exit.code != 0 {
        message = match fallback {
            Some(log) => text(&log.tail(LOG_LINES, LOG_BYTES).await),
            None => exit.error.clone(),
        };
    }
    let reason = match exit.code {
        _ if exit.oom_killed => "OOMKilled",
        0 => "Completed",
        _ => "Error",
    };
    Terminated {
        exit_code: exit.code,
        signal: exit.signal,
        reason: reason.to_owned(),
        message,
        started_at: Some(started_at),
        finished_at: exit.finished_at,
        container_id: Some(container_id),
    }
}

/// The end of a container that could not run at all.
pub fn start_error(message: String, now: Timestamp) -> Terminated {
    Terminated {
        exit_code: START_ERROR_CODE,
        signal: None,
        reason: "StartError".to_owned(),
        message: Some(message),
        // What a kubelet shows for a start that never was.
        started_at: Some(Timestamp::UNIX_EPOCH),
        finished_at: now,
        container_id: None,
    }
}

/// The end of a container of an earlier node: what its status said of it, or that it is not known.
pub fn lost(status: Option<&ContainerStatus>, code: i32, reason: &str) -> Terminated {
    let state = status.and_then(|status| status.state.as_ref());
    if let Some(end) = state.and_then(|state| state.terminated.as_ref()) {
        return Terminated {
            exit_code: end.exit_code,
            signal: end.signal,
            reason: end.reason.clone().unwrap_or_default(),
            message: end.message.clone(),
            started_at: end.started_at.as_ref().map(|time| time.0),
            finished_at: end
                .finished_at
                .as_ref()
                .map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            container_id: end.container_id.clone(),
        };
    }
    let running = state.and_then(|state| state.running.as_ref());
    Terminated {
        exit_code: code,
        signal: None,
        reason: reason.to_owned(),
        message: Some("The container could not be found after the node was restarted".to_owned()),
        started_at: running
            .and_then(|running| running.started_at.as_ref())
            .map(|time| time.0),
        finished_at: Timestamp::now(),
        container_id: status.and_then(|status| status.container_id.clone()),
    }
}

/// The first [`MESSAGE_LIMIT`] bytes of the file; none when empty. A container may have put anything there,
/// so no more is read, and only from a regular file.
fn read_message(path: &Path) -> Option<String> {
    if !std::fs::symlink_metadata(path).ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .ok()?
        .take(MESSAGE_LIMIT as u64)
        .read_to_end(&mut bytes)
        .ok()?;
    text(&bytes)
}

fn text(bytes: &[u8]) -> Option<String> {
    (!bytes.is_empty()).then(|| String::from_utf8_lossy(bytes).into_owned())
}
