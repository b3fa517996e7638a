//! One action, carried out by a process of its own: `errand step`, which the supervisor starts.
//!
//! Its standard input is a socket: the action comes in as JSON, and where it fails a [`Report`] goes back. Its other
//! streams are the log. It takes on the user and the folder of the action; for `run` the program then takes its place
//! (execve), so that what the supervisor signals and waits for is the program itself.

mod archive;
mod download;
mod exec;
mod folder;
#[cfg(test)]
mod fuzz;
mod http;
mod unpack;
mod upload;
mod users;

use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::tree::Work;

/// The subcommand that runs a step.
pub const COMMAND: &str = "step";

/// The step failed, or the instruction was none.
const FAILED: u8 = 125;

/// What a step says at its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Report {
    /// An archive or a file was brought to its place.
    Done,
    /// It failed.
    Failed {
        /// The text.
        text: String,
        /// The actions around it add the text to their own.
        emitted: bool,
    },
}

impl Report {
    fn emitted(text: impl Into<String>) -> Self {
        Self::Failed {
            text: text.into(),
            emitted: true,
        }
    }

    fn plain(text: impl Into<String>) -> Self {
        Self::Failed {
            text: text.into(),
            emitted: false,
        }
    }

    pub(super) fn is_success(&self) -> bool {
        *self == Self::Done
    }

    pub(super) fn failure(self, code: Option<i32>) -> Failure {
        let failure = match self {
            Self::Done => Failure::plain("the action ended in an unexpected way"),
            Self::Failed { text, emitted: true } => Failure::emitted(text),
            Self::Failed { text, .. } => Failure::plain(text),
        };
        Failure { code, ..failure }
    }
}

/// Runs the step that standard input asks for. Returns only where no program took the place of this process.
pub fn run() -> ExitCode {
    // Closed when a program takes our place, as all that Rust opens.
    let Ok(fd) = std::io::stdin().as_fd().try_clone_to_owned() else {
        return ExitCode::from(FAILED);
    };
    let mut control = UnixStream::from(fd);
    let mut text = Vec::new();
    let work = match control.read_to_end(&mut text) {
        Ok(_) => serde_json::from_slice::<Work>(&text),
        Err(_) => return ExitCode::from(FAILED),
    };
    let (report, code) = match work {
        Ok(Work::Run(run)) => {
            let (text, code) = exec::exec(&run);
            crate::runner::say(&text);
            (Report::plain(text), code)
        }
        Ok(Work::Download(download)) => with_code(download::download(&download)),
        Ok(Work::Upload(upload)) => with_code(upload::upload(&upload)),
        Err(error) => (
            Report::plain(format!("the step was given no action: {error}")),
            FAILED,
        ),
    };
    let _ = control.write_all(&serde_json::to_vec(&report).unwrap_or_default());
    ExitCode::from(code)
}

fn with_code(report: Report) -> (Report, u8) {
    let code = if report.is_success() { 0 } else { FAILED };
    (report, code)
}

/// A line of the step's own on stdout. That nobody may read it changes nothing.
fn tell(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// The same on stderr.
fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
