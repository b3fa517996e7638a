//! `errand cancel`: asks Tasks to stop.

use std::io::{self, Write as _};

use super::{
    connect::{self, ConnectArgs},
    follow, outcome,
};
use crate::crd::Phase;

/// Arguments of `errand cancel`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Tasks to stop; their log and result so far are kept
    #[arg(value_name = "TASK", required = true)]
    tasks: Vec<String>,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Why nothing could be cancelled.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No cluster.
    #[error(transparent)]
    Connect(#[from] connect::Error),
    /// Standard output is closed.
    #[error("could not write to standard output")]
    Write(#[source] io::Error),
}

/// Cancels each Task; one that cannot be cancelled does not keep the others from it.
pub async fn run(args: Args) -> Result<u8, Error> {
    let session = args.connect.session().await?;
    let mut code = outcome::OK;
    for name in &args.tasks {
        match follow::cancel(&session, name).await {
            Ok(task) => {
                let phase = task
                    .status
                    .and_then(|status| status.phase)
                    .filter(|phase| phase.is_terminal());
                let line = match phase {
                    Some(Phase::Cancelled) => format!("task/{name} was cancelled before"),
                    Some(phase) => format!("task/{name} had ended before: {phase}"),
                    None => format!("task/{name} will be cancelled"),
                };
                writeln!(io::stdout(), "{line}").map_err(Error::Write)?;
            }
            Err(error) => {
                eprintln!("errand: {}", crate::chain::chain(&error));
                code = outcome::FAILED;
            }
        }
    }
    Ok(code)
}
