//! `errand result`: the result of a Task, byte for byte.

use std::io;

use super::{
    connect::{self, ConnectArgs, Unread},
    follow::{self, End},
    outcome,
    run::write_result,
    view::View,
};
use crate::crd::Phase;

/// Arguments of `errand result`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Task whose result is wanted
    #[arg(value_name = "TASK")]
    task: String,
    /// Wait for the end of the Task first
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Why there is no result to print.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No cluster.
    #[error(transparent)]
    Connect(#[from] connect::Error),
    /// The Task could not be read.
    #[error(transparent)]
    Get(#[from] Unread),
    /// The Task could not be waited for.
    #[error(transparent)]
    Follow(#[from] follow::Error),
    /// The Task has not ended.
    #[error("task/{name} has no result yet: it is {phase}; `errand result {name} --wait` waits for its end")]
    NotFinished {
        /// The Task.
        name: String,
        /// Its phase.
        phase: String,
    },
    /// The Task ended without one.
    #[error("task/{name} left no result: {sentence}")]
    Nothing {
        /// The Task.
        name: String,
        /// How it ended.
        sentence: String,
    },
    /// The result in the status is broken.
    #[error(transparent)]
    Result(#[from] outcome::Error),
    /// Standard output is closed.
    #[error("could not write the result")]
    Write(#[source] io::Error),
}

/// Prints the result; the exit code is 0 wherever there is one.
pub async fn run(args: Args) -> Result<u8, Error> {
    let session = args.connect.session().await?;
    let name = args.task;
    let mut task = session.task(&name).await?;
    let ended = |phase: Option<Phase>| phase.is_some_and(Phase::is_terminal);
    if args.wait && !ended(task.status.as_ref().and_then(|status| status.phase)) {
        let mut view = View::new(&name);
        let end = follow::to_the_end(&session, &name, &mut view, false, false).await;
        view.close();
        if let End::Finished(finished) = end? {
            task = *finished;
        }
    }
    let status = task.status.clone().unwrap_or_default();
    if !ended(status.phase) {
        let phase = status
            .phase
            .map_or_else(|| "not yet accepted".to_owned(), |phase| phase.to_string());
        return Err(Error::NotFinished { name, phase });
    }
    let Some(result) = &status.result else {
        return Err(Error::Nothing {
            name,
            sentence: outcome::sentence(&task),
        });
    };
    let bytes = outcome::bytes(result)?;
    write_result(&bytes).map_err(Error::Write)?;
    if let Some(note) = outcome::cut(result, bytes.len()) {
        eprintln!("task/{name}: {note}");
    }
    Ok(outcome::OK)
}
