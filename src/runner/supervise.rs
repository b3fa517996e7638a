//! One run from start to evidence: the loop around poll(2).

use std::os::fd::AsFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus};
use std::time::Instant;

use jiff::Timestamp;
use nix::errno::Errno;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

use super::capture::{Capture, Captured, Which};
use super::pass::{Lane, readable, wait};
use super::signals::{Signals, is_stop};
use super::start::{NotStarted, start};
use super::timeline::{Cause, Due, Timeline};
use super::{ending, input, leave};
use crate::handover::args::{ResultFrom, SuperviseArgs};
use crate::handover::record::{Ended, Findings, Outcome, Stream};

/// Runs the command and leaves the evidence, unless it cannot be started.
pub(super) fn run(args: &SuperviseArgs) -> Result<Outcome, NotStarted> {
    let signals = Signals::install().map_err(NotStarted::Prepare)?;
    // As process 1 we get the orphans anyway; elsewhere this makes them ours. An old kernel does without.
    let _ = set_child_subreaper(true);
    if let Some(pair) = &args.decode_input {
        input::decode(pair)?;
    }
    let started_at = Timestamp::now();
    let child = start(&args.command)?;
    let mut run = Run::new(args, signals, child)?;
    run.watch();
    run.sweep();
    Ok(run.leave(args, started_at))
}

struct Run {
    signals: Signals,
    child: Child,
    /// The command's process, and its process group.
    pid: Pid,
    lanes: [Lane; 2],
    capture: Capture,
    timeline: Timeline,
    ended: Option<(ExitStatus, Timestamp)>,
}

impl Run {
    fn new(args: &SuperviseArgs, signals: Signals, mut child: Child) -> Result<Self, NotStarted> {
        let timeline = Timeline::new(Instant::now(), args.timeout, args.grace);
        // Process numbers are positive and fit an i32; they are an i32 to the kernel.
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
        let lanes = lanes(&mut child).inspect_err(|_| {
            let _ = killpg(pid, Signal::SIGKILL);
        });
        let from_stdout = (args.result == ResultFrom::Stdout).then_some(args.result_limit);
        Ok(Self {
            signals,
            child,
            pid,
            lanes: lanes.map_err(NotStarted::Prepare)?,
            capture: Capture::new(from_stdout, args.log_limit),
            timeline,
            ended: None,
        })
    }

    /// Until the command has ended and its streams are passed on.
    fn watch(&mut self) {
        loop {
            self.forward();
            self.reap();
            match self.timeline.due(Instant::now()) {
                Due::Nothing => {}
                Due::Terminate => self.signal(Signal::SIGTERM),
                Due::Kill => self.signal(Signal::SIGKILL),
            }
            for lane in &mut self.lanes {
                lane.turn(&mut self.capture);
            }
            if self.ended.is_some() {
                self.settle(Instant::now());
                if self.lanes.iter().all(Lane::is_done) {
                    return;
                }
            }
            let mut fds = vec![readable(self.signals.as_fd())];
            fds.extend(self.lanes.iter().filter_map(Lane::poll_fd));
            wait(&mut fds, self.next());
        }
    }

    /// Passes signals on, and remembers those that mean the end.
    fn forward(&mut self) {
        for signal in self.signals.take() {
            if is_stop(signal) {
                self.timeline.stop(Instant::now(), signal as i32);
            }
            self.signal(signal);
        }
    }

    /// To the command and all that it started, but for those that left its group. A stopped process would not
    /// notice that it should end.
    fn signal(&self, signal: Signal) {
        let missed = killpg(self.pid, signal).is_err() || signal == Signal::SIGKILL;
        // The command itself may have joined another group. Until it is reaped, its number is nobody else's.
        if missed && self.ended.is_none() {
            let _ = kill(self.pid, signal);
        }
        if is_stop(signal) {
            let _ = killpg(self.pid, Signal::SIGCONT);
        }
    }

    /// Takes the command's end, and those of the orphans that became ours.
    fn reap(&mut self) {
        loop {
            self.take_end();
            let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
            let pid = match waitid(Id::All, peek) {
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
                Err(Errno::EINTR) => continue,
                Ok(status) => status.pid(),
                // Ended by a signal that has no name here; a real-time signal, most likely.
                Err(_) => {
                    self.take_end();
                    None
                }
            };
            // The command itself is taken above, where its status has every signal's number.
            if pid != Some(self.pid) {
                let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
            }
        }
    }

    fn take_end(&mut self) {
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
        self.ended = Some((status, Timestamp::now()));
        self.timeline.end(Instant::now());
        self.lanes.iter_mut().for_each(Lane::command_ended);
    }

    /// Gives up what would keep an ended command's run open.
    fn settle(&mut self, now: Instant) {
        let drained = self.timeline.drain_until().is_none_or(|until| until <= now);
        for lane in &mut self.lanes {
            let stalled = self
                .timeline
                .stall_until(lane.sink.moved())
                .is_some_and(|until| until <= now);
            if lane.is_waiting() && stalled {
                lane.sink.give_up();
                lane.turn(&mut self.capture);
            }
            if drained {
                lane.leave_others();
            }
        }
    }

    /// When to look again, if nothing happens.
    fn next(&self) -> Option<Instant> {
        if self.ended.is_none() {
            return self.timeline.next();
        }
        let waits = self
            .lanes
            .iter()
            .filter(|lane| !lane.is_done())
            .filter_map(|lane| match lane.is_waiting() {
                true => self.timeline.stall_until(lane.sink.moved()),
                false => self.timeline.drain_until(),
            });
        waits.min()
    }

    /// Ends what outlived the command.
    fn sweep(&mut self) {
        let _ = killpg(self.pid, Signal::SIGKILL);
        let Self {
            signals, timeline, ..
        } = self;
        ending::sweep(signals, timeline, reap_all);
    }

    fn leave(mut self, args: &SuperviseArgs, started_at: Timestamp) -> Outcome {
        let (outcome, finished_at) = self.outcome();
        let capture = std::mem::replace(&mut self.capture, Capture::new(None, 0));
        let Captured {
            stdout,
            stderr,
            result,
            log,
            progress,
        } = capture.finish();
        let [out, err] = &self.lanes;
        let findings = Findings {
            outcome,
            started_at: Some(started_at),
            finished_at,
            stdout: passed(stdout, out),
            stderr: passed(stderr, err),
            result: result.or_else(|| leave::result(args)),
            log,
            progress,
            failure: None,
        };
        // Drawn only now, when nothing the command wrote is under way any more.
        let nonce = uuid::Uuid::new_v4().simple().to_string();
        let mut record = findings.record(args.termination_message_limit, &nonce, out.sink.ends_mid_line());
        // First the record, then the lines it speaks of: if we are killed in between, it is known what is missing.
        leave::record(args, &record);
        let [out, _] = &mut self.lanes;
        let written = ending::write_lines(
            &mut out.sink,
            &mut self.signals,
            &mut self.timeline,
            &record,
            &findings,
        );
        if let Err(why) = written {
            record.continuation_lost(why);
            leave::record(args, &record);
        }
        findings.outcome
    }

    fn outcome(&self) -> (Outcome, Timestamp) {
        // Without a status the loop would not have come to its end.
        let (status, finished_at) = self.ended.unwrap_or((ExitStatus::from_raw(0), Timestamp::now()));
        let ended = match (status.code(), status.signal()) {
            (Some(code), _) => Ended::Code(code),
            (None, signal) => Ended::Signal(signal.unwrap_or_default()),
        };
        let outcome = match self.timeline.cause() {
            None => Outcome::Ended(ended),
            Some(Cause::Limit) => Outcome::TimedOut(ended),
            Some(Cause::Signal(signal)) => Outcome::Stopped { signal, ended },
        };
        (outcome, finished_at)
    }
}

/// Takes the ends of whatever has ended. Not while anybody waits for a child by its number.
pub(super) fn reap_all() {
    // Ended by a signal that has no name here is an error, and the end is taken all the same.
    while !matches!(
        waitpid(None, Some(WaitPidFlag::WNOHANG)),
        Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD)
    ) {}
}

fn lanes(child: &mut Child) -> std::io::Result<[Lane; 2]> {
    let closed = || std::io::Error::other("a pipe is missing");
    let stdout = child.stdout.take().ok_or_else(closed)?;
    let stderr = child.stderr.take().ok_or_else(closed)?;
    Ok([
        Lane::new(Which::Stdout, stdout.into())?,
        Lane::new(Which::Stderr, stderr.into())?,
    ])
}

fn passed(stream: Stream, lane: &Lane) -> Stream {
    Stream {
        held_open: lane.held_open(),
        dropped: lane.sink.dropped(),
        ..stream
    }
}
