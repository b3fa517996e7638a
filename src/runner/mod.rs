//! The supervisor that runs inside a container (`errand runner`).
//!
//! It starts the command in a process group of its own, passes both of its streams through, and when the command
//! has ended leaves the evidence: a record in the termination message, and marked lines at the end of stdout for
//! what does not fit ([`crate::handover`]). One thread around poll(2): signals arrive through a signalfd, nothing
//! blocks for longer than the next deadline, and memory is bounded by the limits of result and log tail.
//!
//! Where it is given a tree of actions in place of a command ([`actions`]), each of them is a process of its own in the
//! same loop, and the exit code is that of the process that failed, or 1.
//!
//! Its exit code is that of the command. What else it can be, it shares with shells and timeout(1):
//!
//! | code | meaning |
//! |---|---|
//! | the command's | the command ended, also when it was told to stop |
//! | 128 + n | the command was ended by signal n |
//! | 124 | the run limit was reached, whatever the command made of it |
//! | 125 | the supervisor's own preparations failed |
//! | 126 | the command was found but cannot be run |
//! | 127 | the command was not found |

pub mod actions;
mod capture;
mod ending;
mod input;
mod leave;
mod lines;
mod pass;
mod signals;
mod start;
mod supervise;
mod tail;
mod timeline;

use std::process::ExitCode;

use jiff::Timestamp;

use crate::handover::args::SuperviseArgs;
use crate::handover::record::{Ended, Findings, Kept, Outcome, Stream};
use start::NotStarted;

/// The run limit was reached; as timeout(1).
pub const EXIT_TIMED_OUT: u8 = 124;
/// The supervisor's own preparations failed; as timeout(1) and env(1).
pub const EXIT_SUPERVISOR: u8 = 125;
/// The command was found but cannot be run; as shells.
pub const EXIT_NOT_RUNNABLE: u8 = 126;
/// The command was not found; as shells.
pub const EXIT_NOT_FOUND: u8 = 127;

/// Runs the command, leaves the evidence, and returns the exit code for the process.
///
/// Takes the process over: it handles signals, and ends whatever else the process has as children. Relies on
/// SIGPIPE being ignored, as Rust's runtime does it.
pub fn run(args: SuperviseArgs) -> ExitCode {
    let ended = match &args.actions {
        Some(plan) => actions::run(&args, plan),
        None => supervise::run(&args),
    };
    let outcome = ended.unwrap_or_else(|failure| not_started(&args, &failure));
    ExitCode::from(exit_code(&outcome))
}

fn exit_code(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::Ended(ended) | Outcome::Stopped { ended, .. } => match ended {
            Ended::Code(code) => u8::try_from(*code).unwrap_or(u8::MAX),
            Ended::Signal(signal) => u8::try_from(signal.saturating_add(128)).unwrap_or(u8::MAX),
        },
        Outcome::TimedOut(_) => EXIT_TIMED_OUT,
        Outcome::NotStarted { exit_code, .. } => *exit_code,
    }
}

fn not_started(args: &SuperviseArgs, failure: &NotStarted) -> Outcome {
    let findings = nothing_ran(failure);
    say(&failure.to_string());
    // An empty record needs no marked lines, so there is nothing to link it to.
    leave::record(args, &findings.record(args.termination_message_limit, "", false));
    findings.outcome
}

fn nothing_ran(failure: &NotStarted) -> Findings {
    let nothing = || Stream {
        sha256: crate::handover::sha256_hex(b""),
        ..Stream::default()
    };
    Findings {
        outcome: Outcome::NotStarted {
            exit_code: failure.exit_code(),
            message: failure.to_string(),
        },
        started_at: None,
        finished_at: Timestamp::now(),
        stdout: nothing(),
        stderr: nothing(),
        result: None,
        log: Kept::default(),
        progress: None,
        failure: None,
    }
}

/// The supervisor's own words, on stderr. That nobody may read them changes nothing.
fn say(sentence: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "errand runner: {sentence}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_that_shells_and_timeout_use() {
        let stopped = |ended| Outcome::Stopped { signal: 15, ended };
        let not_started = Outcome::NotStarted {
            exit_code: 127,
            message: String::new(),
        };
        assert_eq!(exit_code(&Outcome::Ended(Ended::Code(7))), 7);
        assert_eq!(exit_code(&Outcome::Ended(Ended::Signal(9))), 137);
        assert_eq!(exit_code(&Outcome::Ended(Ended::Signal(64))), 192);
        assert_eq!(exit_code(&stopped(Ended::Code(0))), 0);
        assert_eq!(exit_code(&stopped(Ended::Signal(15))), 143);
        assert_eq!(exit_code(&Outcome::TimedOut(Ended::Code(0))), 124);
        assert_eq!(exit_code(&not_started), 127);
    }
}
