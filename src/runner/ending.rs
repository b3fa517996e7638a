//! After the work: ends what outlived it, and writes the lines that a record speaks of.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::os::fd::AsFd as _;

use super::pass::{Sink, readable, wait};
use super::signals::{Signals, is_stop};
use super::timeline::Timeline;
use crate::handover::record::{Findings, Record};

/// How long to look for processes that outlived the work.
const SWEEP: Duration = Duration::from_millis(500);

/// Ends what is left of our children: the run ends with it. As process 1 we would take them along anyway; elsewhere
/// they would be left behind. And nobody should write between the lines that follow. `reap` takes the ends of children.
pub(super) fn sweep(signals: &mut Signals, timeline: &mut Timeline, mut reap: impl FnMut()) {
    let until = Instant::now() + SWEEP;
    loop {
        reap();
        // Orphans of ended orphans come to us in turn. Without /proc they are left alone.
        let children = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
        let pids: Vec<i32> = children
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect();
        if pids.is_empty() || Instant::now() >= until {
            return;
        }
        for pid in pids {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        wait(&mut [readable(signals.as_fd())], Some(until));
        heed(signals, timeline);
    }
}

/// Writes the marked lines, waiting for a slow reader within bounds.
pub(super) fn write_lines(
    sink: &mut Sink,
    signals: &mut Signals,
    timeline: &mut Timeline,
    record: &Record,
    findings: &Findings,
) -> Result<(), &'static str> {
    let Some(continuation) = &record.continuation else {
        return Ok(());
    };
    let result = findings.result.as_ref().map_or(&[][..], |kept| &kept.bytes);
    let waiting_since = Instant::now();
    for line in continuation.lines(&findings.log.bytes, result) {
        let mut rest = line.as_bytes();
        while !rest.is_empty() {
            let taken = sink.offer(rest);
            rest = rest.get(taken..).unwrap_or_default();
            if let Some(why) = sink.closed() {
                return Err(why);
            }
            if rest.is_empty() {
                break;
            }
            let until = timeline.stall_until(sink.moved().max(waiting_since));
            if until.is_some_and(|until| until <= Instant::now()) {
                sink.give_up();
                continue;
            }
            wait(&mut [sink.poll_fd(), readable(signals.as_fd())], until);
            heed(signals, timeline);
        }
    }
    Ok(())
}

/// Nothing runs that a signal could be passed on to; one that means the end hurries us.
fn heed(signals: &mut Signals, timeline: &mut Timeline) {
    for signal in signals.take() {
        if is_stop(signal) {
            timeline.stop(Instant::now(), signal as i32);
        }
    }
}
