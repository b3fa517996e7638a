//! Signals, limits, orphans.

use std::io::Read as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use errand::handover::record::{Ended, Outcome};
use nix::sys::signal::Signal;

use super::{Bench, send};

#[test]
fn signals_reach_the_command() {
    for signal in ["HUP", "QUIT", "USR1", "USR2", "WINCH", "INT", "TERM"] {
        let script =
            format!("trap 'echo got {signal}; exit 3' {signal}; echo ready; while :; do sleep 0.02; done");
        let bench = Bench::shell(&script);
        let (child, mut stdout) = bench.ready();
        let number: Signal = format!("SIG{signal}").parse().unwrap();
        send(&child, number);
        let left = bench.finish(child);
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).unwrap();
        assert_eq!((left.status.code(), rest), (Some(3), format!("got {signal}\n")));
        let ended = Ended::Code(3);
        let expected = match number {
            Signal::SIGTERM | Signal::SIGINT => Outcome::Stopped {
                signal: number as i32,
                ended,
            },
            _ => Outcome::Ended(ended),
        };
        assert_eq!(left.record.outcome, expected);
    }
}

#[test]
fn a_command_starts_with_a_clean_signal_state() {
    let left = Bench::shell("grep -E 'SigBlk|SigIgn' /proc/self/status").run();
    let text = String::from_utf8(left.stdout).unwrap();
    let mask = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        u64::from_str_radix(line.trim(), 16).unwrap()
    };
    assert_eq!(mask("SigBlk:"), 0);
    assert_eq!(mask("SigIgn:") & (1 << (Signal::SIGPIPE as u64 - 1)), 0);
}

#[test]
fn a_command_that_ignores_the_stop_is_killed_before_the_grace_period_ends() {
    let bench = Bench::shell("trap '' TERM; echo ready; while :; do sleep 1; done")
        .with(|args| args.grace = Duration::from_secs(1));
    let (child, _stdout) = bench.ready();
    send(&child, Signal::SIGTERM);
    let left = bench.finish(child);
    assert_eq!(
        left.record.outcome,
        Outcome::Stopped {
            signal: 15,
            ended: Ended::Signal(9)
        }
    );
    assert_eq!(left.status.code(), Some(137));
}

#[test]
fn the_run_limit_asks_first_and_then_ends_the_whole_group() {
    let obeying = Bench::shell("exec sleep 1000").with(|args| args.timeout = Some(Duration::from_millis(50)));
    let left = obeying.run();
    assert_eq!(
        (left.status.code(), left.record.outcome),
        (Some(124), Outcome::TimedOut(Ended::Signal(15)))
    );

    let deaf = "trap '' TERM; echo kept; sleep 1000";
    let bench = Bench::shell(deaf).with(|args| {
        args.timeout = Some(Duration::from_secs(3));
        args.grace = Duration::from_millis(50);
    });
    let left = bench.run();
    assert_eq!(left.result(), b"kept\n");
    assert_eq!(
        (left.status.code(), left.record.outcome),
        (Some(124), Outcome::TimedOut(Ended::Signal(9)))
    );
    assert!(!left.record.stdout.held_open, "the group was ended as a whole");
}

#[test]
fn a_command_ended_by_a_signal_is_told_as_shells_do() {
    let left = Bench::shell("kill -KILL $$").run();
    assert_eq!(
        (left.status.code(), left.record.outcome),
        (Some(137), Outcome::Ended(Ended::Signal(9)))
    );
    // A real-time signal has a number only.
    let left = Bench::shell("kill -40 $$").run();
    assert_eq!(
        (left.status.code(), left.record.outcome),
        (Some(168), Outcome::Ended(Ended::Signal(40)))
    );
}

#[test]
fn orphans_are_reaped_while_the_command_runs() {
    let script = "(sh -c 'echo $$ > $1/pid.new; mv $1/pid.new $1/pid; exit 4' sh $1 &); \
                  while [ ! -e $1/pid ] || [ -e /proc/$(cat $1/pid) ]; do sleep 0.02; done; echo reaped";
    assert_eq!(Bench::shell(script).run().result(), b"reaped\n");
    let script = "(sh -c 'echo $$ > $1/pid.new; mv $1/pid.new $1/pid; kill -40 $$' sh $1 &); \
                  while [ ! -e $1/pid ] || [ -e /proc/$(cat $1/pid) ]; do sleep 0.02; done; echo reaped";
    assert_eq!(Bench::shell(script).run().result(), b"reaped\n");
}

#[test]
fn what_outlives_the_command_neither_holds_the_run_nor_stays_behind() {
    let left = Bench::shell("setsid sleep 1000 & echo $!").run();
    assert_eq!(left.record.outcome, Outcome::Ended(Ended::Code(0)));
    assert!(left.record.stdout.held_open && left.record.stderr.held_open);
    let pid = String::from_utf8(left.result()).unwrap();
    assert!(
        !Path::new("/proc").join(pid.trim()).exists(),
        "process {pid} is still there"
    );
}

#[test]
fn an_endless_writer_that_outlives_the_command_does_not_hold_the_run() {
    let bench = Bench::shell("yes & echo from the command >&2");
    let mut child = bench
        .process()
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(
        (child.wait().unwrap().code(), stderr.as_str()),
        (Some(0), "from the command\n")
    );
    assert!(bench.record().stdout.held_open);
}
