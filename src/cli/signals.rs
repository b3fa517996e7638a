//! Signals of the subcommands that serve in a cluster.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::outcome;

/// Signals cannot be received.
#[derive(Debug, thiserror::Error)]
#[error("could not listen for signals")]
pub struct Error(#[from] io::Error);

/// The first SIGTERM or Ctrl-C asks for a graceful end; a second one ends the process at once.
///
/// # Errors
/// [`Error`]
pub fn stop_on_signals(shutdown: CancellationToken) -> Result<(), Error> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if shutdown.is_cancelled() {
                tracing::warn!("a second signal: not waiting for the end");
                std::process::exit(i32::from(outcome::FAILED));
            }
            tracing::info!("stopping");
            shutdown.cancel();
        }
    });
    Ok(())
}
