//! One action at work: a process of its own, in a group of its own.
//!
//! Every action is carried out by this very program ([`super::step`]), which then takes the user's place: so a
//! program runs, an archive is unpacked and a file is read with the rights that the user has, and all of them are
//! stopped alike.

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::poll::PollFd;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::failure::Failure;
use super::machine::Outcome;
use super::oom::OomKills;
use super::output::{Output, Source};
use super::step::{COMMAND, Report};
use super::tree::{Id, Work};
use crate::crd::DEFAULT_LOG_SOURCE;
use crate::runner::capture::Which;

/// How long pipes that other processes hold open are read after the process has ended.
const DRAIN: Duration = Duration::from_secs(1);
/// How long after SIGKILL a process may take to end (Diego's `ExitTimeout`).
const EXIT_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes of a report that are read.
const MAX_REPORT: u64 = 64 * 1024;

/// A process that carries an action out.
pub(super) struct Job {
    pub(super) id: Id,
    kind: JobKind,
    source: Option<String>,
    child: Child,
    pid: Pid,
    control: UnixStream,
    sources: Vec<Source>,
    oom_before: OomKills,
    ended: Option<(ExitStatus, Instant)>,
    interrupted: bool,
    killed: bool,
    kill_at: Option<Instant>,
    give_up_at: Option<Instant>,
    gave_up: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum JobKind {
    Run { quiet: bool },
    Transfer,
}

/// What became of an action, and what the log is told of it.
pub(super) struct End {
    pub(super) outcome: Outcome,
    pub(super) line: Option<String>,
}

impl Job {
    /// Starts `work`. `executable` is this very program.
    pub(super) fn start(executable: &Path, id: Id, work: &Work, source: Option<String>) -> io::Result<Self> {
        let kind = match work {
            Work::Run(run) => JobKind::Run {
                quiet: run.suppress_log_output,
            },
            Work::Download(_) | Work::Upload(_) => JobKind::Transfer,
        };
        let quiet = kind == JobKind::Run { quiet: true };
        let pipe = || if quiet { Stdio::null() } else { Stdio::piped() };
        let (mut control, theirs) = UnixStream::pair()?;
        let oom_before = OomKills::now();
        let mut child = Command::new(executable)
            .arg(COMMAND)
            .process_group(0)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(pipe())
            .stderr(pipe())
            .spawn()?;
        // Process numbers are positive and fit an i32; they are an i32 to the kernel.
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
        let mut sources = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            sources.push(Source::new(Which::Stdout, source.clone(), stdout.into())?);
        }
        if let Some(stderr) = child.stderr.take() {
            sources.push(Source::new(Which::Stderr, source.clone(), stderr.into())?);
        }
        // It reads to the end before it does anything. If it is gone already, its exit status says so.
        let instruction = serde_json::to_vec(work).unwrap_or_default();
        let _ = control.write_all(&instruction);
        let _ = control.shutdown(Shutdown::Write);
        control.set_nonblocking(true)?;
        Ok(Self {
            id,
            kind,
            source,
            child,
            pid,
            control,
            sources,
            oom_before,
            ended: None,
            interrupted: false,
            killed: false,
            kill_at: None,
            give_up_at: None,
            gave_up: false,
        })
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Its process has ended; its streams may still be open.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    pub(super) fn turn(&mut self, output: &mut Output) {
        for source in &mut self.sources {
            source.turn(output);
        }
    }

    /// Takes the end of its process.
    pub(super) fn take_end(&mut self, now: Instant) {
        if self.ended.is_some() {
            return;
        }
        let status = match self.child.try_wait() {
            Ok(None) => return,
            Ok(Some(status)) => status,
            // Taken among the orphans, in the instant between two looks, and of unknown status therefore: only a
            // real-time signal gets there.
            Err(_) => ExitStatus::from_raw(Signal::SIGKILL as i32),
        };
        self.ended = Some((status, now));
        if self.interrupted {
            // What it started was told to stop too, and is not waited for.
            let _ = killpg(self.pid, Signal::SIGKILL);
        }
        self.sources.iter_mut().for_each(Source::process_ended);
    }

    /// To the process and all that it started, but for those that left its group.
    pub(super) fn signal(&self, signal: Signal) {
        let missed = killpg(self.pid, signal).is_err() || signal == Signal::SIGKILL;
        // Until it is reaped, its number is nobody else's.
        if missed && self.ended.is_none() {
            let _ = kill(self.pid, signal);
        }
        if signal == Signal::SIGTERM {
            // A stopped process would not notice that it should end.
            let _ = killpg(self.pid, Signal::SIGCONT);
        }
    }

    /// Tells it to stop; after `grace` it is killed.
    pub(super) fn interrupt(&mut self, now: Instant, grace: Duration) {
        if self.ended.is_some() || self.interrupted {
            return;
        }
        self.interrupted = true;
        self.kill_at = now.checked_add(grace);
        self.signal(Signal::SIGTERM);
    }

    pub(super) fn kill(&mut self, now: Instant) {
        if self.ended.is_none() && !self.killed {
            self.interrupted = true;
            self.killed = true;
            self.kill_at = None;
            self.give_up_at = now.checked_add(EXIT_TIMEOUT);
            self.signal(Signal::SIGKILL);
        }
    }

    /// Does what is due. True where a stream was given up that others hold open, by stream.
    pub(super) fn settle(&mut self, now: Instant, output: &mut Output) -> [bool; 2] {
        if self.kill_at.is_some_and(|at| at <= now) {
            self.kill(now);
        }
        if self.ended.is_none() && self.give_up_at.is_some_and(|at| at <= now) {
            self.gave_up = true;
        }
        let mut held = [false; 2];
        if self.drain_until().is_some_and(|until| until <= now) {
            for source in &mut self.sources {
                if source.leave_others(output) {
                    held[usize::from(source.which == Which::Stderr)] = true;
                }
            }
        }
        held
    }

    fn drain_until(&self) -> Option<Instant> {
        let (_, ended) = self.ended?;
        let open = self.sources.iter().any(|source| !source.is_done());
        open.then(|| ended + DRAIN)
    }

    /// When to look again, if nothing happens.
    pub(super) fn next(&self) -> Option<Instant> {
        let give_up = self.give_up_at.filter(|_| self.ended.is_none());
        let kill = self.kill_at.filter(|_| self.ended.is_none());
        [kill, give_up, self.drain_until()].into_iter().flatten().min()
    }

    pub(super) fn is_over(&self) -> bool {
        self.gave_up || (self.ended.is_some() && self.sources.iter().all(Source::is_done))
    }

    pub(super) fn poll_fds<'a>(&'a self, output: &'a Output) -> impl Iterator<Item = PollFd<'a>> {
        self.sources.iter().filter_map(|source| source.poll_fd(output))
    }

    /// What became of it, once it is over.
    pub(super) fn end(mut self, grace: Duration) -> End {
        let Some((status, _)) = self.ended else {
            return End {
                outcome: Err(Failure::stuck()),
                line: None,
            };
        };
        let report = self.report();
        let (code, killed_by) = match (status.code(), status.signal()) {
            (Some(code), _) => (code, None),
            (None, signal) => (128 + signal.unwrap_or_default(), signal),
        };
        let stopped = match (self.killed, self.interrupted) {
            (true, _) => Some(Failure::killed()),
            (false, true) => Some(Failure::cancelled()),
            (false, false) => None,
        };
        let outcome = |own: Outcome| stopped.clone().map_or(own, Err);
        match self.kind {
            JobKind::Transfer => End {
                outcome: outcome(transferred(report, killed_by)),
                line: None,
            },
            JobKind::Run { quiet } => {
                let starved = code != 0 && !self.killed && self.oom_before.grew();
                let own = match (report, code) {
                    (Some(report), code) => Err(report.failure(Some(code))),
                    (None, 0) => Ok(()),
                    (None, code) => {
                        let source = self.source.as_deref().unwrap_or(DEFAULT_LOG_SOURCE);
                        Err(Failure::exited(source, code, starved))
                    }
                };
                let mut line = format!("Exit status {code}");
                if self.killed {
                    line.push_str(&format!(
                        " (exceeded {} graceful shutdown interval)",
                        super::failure::go_duration(grace)
                    ));
                }
                if starved {
                    line.push_str(" (out of memory)");
                }
                let started = !matches!(&own, Err(failure) if failure.show == super::failure::Show::Plain);
                End {
                    outcome: outcome(own),
                    line: (!quiet && started).then_some(line),
                }
            }
        }
    }

    /// What the step said of a failure. Nothing where the program took its place.
    fn report(&mut self) -> Option<Report> {
        let mut text = Vec::new();
        // Ends with an error where a child of the step still holds its end; what came is there all the same.
        let _ = (&mut self.control).take(MAX_REPORT).read_to_end(&mut text);
        serde_json::from_slice(&text).ok()
    }
}

fn transferred(report: Option<Report>, killed_by: Option<i32>) -> Outcome {
    match (report, killed_by) {
        (Some(report), _) if report.is_success() => Ok(()),
        (Some(report), _) => Err(report.failure(None)),
        (None, Some(signal)) => Err(Failure::plain(format!(
            "the transfer was ended by signal {signal}"
        ))),
        (None, None) => Err(Failure::plain("the transfer ended without a word")),
    }
}
