//! Runs a tree of actions in place of a command.
//!
//! [`machine`] decides what comes next and knows neither processes nor clocks; [`watch`] is the loop that carries it
//! out, in one thread as [`super::supervise`] does; each action is a process of its own ([`job`]), which this very
//! program carries out as [`step`]. Texts and rules are those of Diego (`executor/depot/steps`).

mod failure;
#[cfg(test)]
mod fuzz;
mod job;
mod machine;
mod oom;
mod output;
pub mod step;
mod tree;
mod watch;

use std::io;
use std::path::Path;

use jiff::Timestamp;
use nix::sys::prctl::set_child_subreaper;

use self::failure::Failure;
use self::machine::Outcome as Came;
use self::tree::Tree;
use self::watch::Watch;
use super::capture::{Capture, Captured, Which};
use super::signals::Signals;
use super::start::NotStarted;
use super::supervise::reap_all;
use super::timeline::Cause;
use super::{ending, input, leave};
use crate::crd::{Action, ActionsError};
use crate::handover::args::{ResultFrom, SuperviseArgs};
use crate::handover::plan::Plan;
use crate::handover::record::{Ended, Findings, Kept, Outcome, Stream};

/// The exit code of a tree that failed in another way than by one process's exit code.
const FAILED: i32 = 1;
/// In place of a result that cannot be had (Diego, `rep`).
const NO_RESULT: &str = "failed to fetch result";

/// The plan cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlanError {
    #[error("the actions could not be read from {path}: {source}")]
    Read { path: String, source: io::Error },
    #[error("the file {path} holds no actions: {source}")]
    Parse { path: String, source: serde_json::Error },
    #[error("the actions cannot be run: {0}")]
    Tree(#[source] ActionsError),
}

/// Runs the tree and leaves the evidence, unless it cannot be started.
pub(super) fn run(args: &SuperviseArgs, plan: &Path) -> Result<Outcome, NotStarted> {
    let signals = Signals::install().map_err(NotStarted::Prepare)?;
    // As process 1 we get the orphans anyway; elsewhere this makes them ours. An old kernel does without.
    let _ = set_child_subreaper(true);
    if let Some(pair) = &args.decode_input {
        input::decode(pair)?;
    }
    let tree = read(plan)?;
    let started_at = Timestamp::now();
    let mut watch = Watch::start(args, signals, tree).map_err(NotStarted::Prepare)?;
    let came = watch.run();
    let finished_at = Timestamp::now();
    watch.kill_rest();
    ending::sweep(&mut watch.signals, &mut watch.timeline, reap_all);
    Ok(leave(args, watch, came, started_at, finished_at))
}

fn read(plan: &Path) -> Result<Tree, PlanError> {
    let path = || plan.display().to_string();
    let text = std::fs::read_to_string(plan).map_err(|source| PlanError::Read { path: path(), source })?;
    let plan = Plan::decode(&text).map_err(|source| PlanError::Parse { path: path(), source })?;
    let action = Action::read(&plan.action).map_err(PlanError::Tree)?;
    Ok(Tree::new(action, plan.log_source))
}

fn leave(
    args: &SuperviseArgs,
    mut watch: Watch<'_>,
    came: Came,
    started_at: Timestamp,
    finished_at: Timestamp,
) -> Outcome {
    let (result, failure) = with_result(args, came);
    let Captured {
        stdout,
        stderr,
        log,
        progress,
        ..
    } = std::mem::replace(&mut watch.output.capture, Capture::new(None, 0)).finish();
    let passed = |stream: Stream, which: Which, held_open: bool| Stream {
        held_open,
        dropped: watch.output.dropped(which),
        ..stream
    };
    let ended = Ended::Code(
        failure
            .as_ref()
            .map_or(0, |failure| failure.code.unwrap_or(FAILED)),
    );
    let findings = Findings {
        outcome: match watch.timeline.cause() {
            None => Outcome::Ended(ended),
            Some(Cause::Limit) => Outcome::TimedOut(ended),
            Some(Cause::Signal(signal)) => Outcome::Stopped { signal, ended },
        },
        started_at: Some(started_at),
        finished_at,
        stdout: passed(stdout, Which::Stdout, watch.held_open[0]),
        stderr: passed(stderr, Which::Stderr, watch.held_open[1]),
        result,
        log,
        progress,
        failure: failure.map(|failure| failure.text),
    };
    // Drawn only now, when nothing that an action wrote is under way any more.
    let nonce = uuid::Uuid::new_v4().simple().to_string();
    let mut record = findings.record(
        args.termination_message_limit,
        &nonce,
        watch.output.stdout().ends_mid_line(),
    );
    // First the record, then the lines it speaks of: if we are killed in between, it is known what is missing.
    leave::record(args, &record);
    let Watch {
        output,
        signals,
        timeline,
        ..
    } = &mut watch;
    if let Err(why) = ending::write_lines(output.stdout(), signals, timeline, &record, &findings) {
        record.continuation_lost(why);
        leave::record(args, &record);
    }
    findings.outcome
}

/// The result, and the failure of the whole: a tree that went well fails where its result cannot be had. What failed
/// anyway brings along what can be read.
fn with_result(args: &SuperviseArgs, came: Came) -> (Option<Kept>, Option<Failure>) {
    let wanted = matches!(args.result, ResultFrom::File(_));
    let whole = |kept: &Kept| kept.problem.is_none() && kept.size_bytes == kept.bytes.len() as u64;
    let found = leave::result(args);
    let failure = match (came, &found) {
        (Err(failure), _) => Some(failure),
        (Ok(()), Some(kept)) if wanted && !whole(kept) => Some(Failure::plain(NO_RESULT)),
        (Ok(()), _) => None,
    };
    let too_large = |kept: &Kept| Kept {
        problem: Some(format!(
            "the result file has {} bytes; at most {} are possible",
            kept.size_bytes, args.result_limit
        )),
        ..Kept::default()
    };
    let result = found.map(|kept| match wanted && kept.problem.is_none() && !whole(&kept) {
        true => too_large(&kept),
        false => kept,
    });
    // A tree that failed need not have written its result.
    let result =
        result.filter(|kept| failure.as_ref().is_none_or(|failure| failure.text == NO_RESULT) || whole(kept));
    (result, failure)
}
