//! Waits for the end of a container.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bollard::Docker;
use bollard::query_parameters::{InspectContainerOptions, WaitContainerOptions};
use futures::StreamExt;
use jiff::Timestamp;
use tokio::sync::oneshot;

use super::{code_of, lock};
use crate::local::node::runtime::Exit;

/// Pause before an engine that does not answer is asked again for a container's end.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// What it takes to learn how a container ended.
pub struct Watch {
    pub docker: Docker,
    pub id: String,
    /// Containers that were sent SIGKILL from here.
    pub killed: Arc<Mutex<HashSet<String>>>,
    /// The kernel's count before the start, for containers with a memory limit.
    pub oom_kills: Option<u64>,
}

impl Watch {
    /// Waits for the end, whatever becomes of the connection meanwhile.
    pub async fn follow(self, done: oneshot::Sender<Exit>) {
        loop {
            // What it yields does not tell everything; the inspection afterwards does.
            let _ = self
                .docker
                .wait_container(&self.id, None::<WaitContainerOptions>)
                .next()
                .await;
            match self
                .docker
                .inspect_container(&self.id, None::<InspectContainerOptions>)
                .await
            {
                Ok(seen) => {
                    let state = seen.state.unwrap_or_default();
                    if state.running != Some(true) {
                        let _ = done.send(self.exit_of(state));
                        return;
                    }
                }
                Err(error) if code_of(&error) == Some(404) => {
                    let state = bollard::models::ContainerState {
                        exit_code: Some(137),
                        error: Some("The container was removed from the engine".to_owned()),
                        ..Default::default()
                    };
                    let _ = done.send(self.exit_of(state));
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, container = self.id, "the engine does not tell the end of a container");
                }
            }
            if done.is_closed() {
                return;
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    fn exit_of(&self, state: bollard::models::ContainerState) -> Exit {
        let code = state
            .exit_code
            .and_then(|code| i32::try_from(code).ok())
            .unwrap_or(137);
        let killed_by_us = lock(&self.killed).remove(&self.id);
        // An engine may miss why its container died (Docker 20.10 does when the first process is the victim).
        // Killed, by nobody here, with a memory limit, while the kernel killed for memory: that is why.
        let missed =
            code == 137 && !killed_by_us && self.oom_kills.is_some_and(|before| oom_kills() > Some(before));
        Exit {
            code,
            signal: None,
            oom_killed: state.oom_killed == Some(true) || missed,
            error: state.error.filter(|error| !error.is_empty()),
            finished_at: state
                .finished_at
                .and_then(|text| text.parse().ok())
                .unwrap_or_else(Timestamp::now),
        }
    }
}

/// How many processes the kernel has killed for want of memory since boot.
pub fn oom_kills() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/vmstat").ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill "))?
        .trim()
        .parse()
        .ok()
}
