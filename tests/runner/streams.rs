//! Streams: hostile, fast, closed, stuck.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use errand::handover::continuation::{MARK, MAX_LINE};
use errand::handover::progress::Progress;
use errand::handover::record::{Ended, EvidenceError, Outcome, Stream};
use nix::sys::signal::Signal;
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::{Bench, Left, send, sha256, stream, until};

/// Marked lines as a real run has written them, for a command to repeat.
fn marked_lines() -> Vec<u8> {
    let left = Bench::shell("head -c 9000 /dev/zero").run();
    left.stdout[9000..].to_vec()
}

fn hostile(old: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => proptest::collection::vec(any::<u8>(), 0..3000),
        2 => Just(b"\n".to_vec()),
        1 => Just(b"::progress 5 x\n".to_vec()),
        1 => Just(MARK.as_bytes().to_vec()),
        1 => "::errand-evidence [0-9a-f]{32} [rlj][0-9] [a-zA-Z0-9]{0,40} [0-9a-f]{16}\n".prop_map(String::into_bytes),
        1 => Just(old.clone()),
        1 => Just(old[..old.len() / 2].to_vec()),
    ];
    // No more than a pipe takes at once, so that stdout has arrived before stderr begins.
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| {
        let mut bytes = pieces.concat();
        bytes.truncate(30_000);
        bytes
    })
}

#[test]
fn two_hostile_streams_come_through_unharmed() {
    let old = marked_lines();
    assert!(old.starts_with(MARK.as_bytes()));
    let streams = (hostile(old.clone()), hostile(old), 0usize..40_000, 0usize..70_000);
    proptest!(ProptestConfig::with_cases(48), |((stdout, stderr, result_limit, log_limit) in streams)| {
        let bench = Bench::shell("cat $1/out; cat $1/err >&2").with(|args| {
            args.result_limit = result_limit;
            args.log_limit = log_limit;
        });
        std::fs::write(bench.path("out"), &stdout).unwrap();
        std::fs::write(bench.path("err"), &stderr).unwrap();

        let left = bench.run();

        prop_assert_eq!(&left.stderr, &stderr);
        prop_assert_eq!((&left.record.stdout, &left.record.stderr), (&stream(&stdout), &stream(&stderr)));
        if let Some(continuation) = &left.record.continuation {
            prop_assert_eq!(continuation.joint, stdout.last().is_some_and(|byte| *byte != b'\n'));
            let written = &left.stdout[stdout.len()..];
            let lines = written.split_inclusive(|byte| *byte == b'\n');
            prop_assert_eq!(lines.clone().count() as u64, continuation.line_count());
            prop_assert!(lines.into_iter().all(|line| line.len() <= MAX_LINE && line.starts_with(MARK.as_bytes())));
        }
        let evidence = left.evidence();
        prop_assert_eq!(evidence.log.unwrap(), stdout.clone());

        let is_progress = |line: &&[u8]| {
            Progress::parse(line.strip_suffix(b"\n").unwrap_or(line)).is_some()
        };
        let lines = stdout.split_inclusive(|byte| *byte == b'\n');
        let whole = lines.filter(|line| !is_progress(line)).collect::<Vec<_>>().concat();
        let result = left.record.result.unwrap();
        prop_assert_eq!(result.size_bytes, whole.len() as u64);
        prop_assert_eq!(result.sha256, Some(sha256(&whole)));
        let kept = evidence.result.unwrap().unwrap();
        prop_assert!(whole.starts_with(&kept) && (kept.len() + 3 >= result_limit.min(whole.len())));

        let both = [stdout, stderr].concat();
        let tail = evidence.tail.unwrap();
        prop_assert_eq!(left.record.log.size_bytes, both.len() as u64);
        prop_assert!(both.ends_with(&tail) && tail.len() * 2 + 8 >= log_limit.min(both.len()));
    });
}

#[test]
fn one_log_for_both_streams_is_cut_clean_too() {
    let bench = Bench::shell("head -c 5000 /dev/zero; printf 'no newline'; printf 'nor here' >&2");
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "exec \"$@\" 2>&1",
            "sh",
            env!("CARGO_BIN_EXE_errand"),
            "runner",
        ])
        .args(bench.args.to_args());
    let log = command.stdin(Stdio::null()).output().unwrap().stdout;
    let mut written = vec![0; 5000];
    written.extend_from_slice(b"no newlinenor here");
    let evidence = bench.record().evidence(Some(&log));
    assert_eq!(
        (evidence.log, evidence.tail),
        (Some(written.clone()), Ok(written))
    );
    assert!(evidence.result.unwrap().unwrap().ends_with(b"no newline"));
}

#[test]
fn a_flood_flows_with_real_sizes_and_bounded_memory() {
    const FLOOD: u64 = 200_000_000;
    let bench = Bench::shell(&format!(
        "head -c {FLOOD} /dev/zero; grep -E 'VmHWM|RssFile' /proc/$PPID/status >&2"
    ))
    .with(|args| (args.result_limit, args.log_limit) = (1_000_000, 100_000));
    let mut child = bench.start();
    let mut end = Vec::new();
    let mut hash = Sha256::new();
    let (mut total, mut buffer) = (0, vec![0; 1 << 20]);
    let mut stdout = child.stdout.take().unwrap();
    loop {
        let count = stdout.read(&mut buffer).unwrap();
        if count == 0 {
            break;
        }
        let of_command = usize::try_from(FLOOD.saturating_sub(total)).unwrap().min(count);
        hash.update(&buffer[..of_command]);
        end.extend_from_slice(&buffer[of_command..count]);
        total += count as u64;
    }
    let Left {
        status,
        stderr,
        record,
        ..
    } = bench.finish(child);
    let flood: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(status.code(), Some(0));
    assert_eq!(
        record.stdout,
        Stream {
            bytes: FLOOD,
            sha256: flood.clone(),
            ..Stream::default()
        }
    );
    let result = record.result.clone().unwrap();
    assert_eq!(
        (result.size_bytes, result.truncated, result.sha256),
        (FLOOD, true, Some(flood))
    );
    assert_eq!(
        (record.log.size_bytes, record.log.truncated),
        (FLOOD + stderr.len() as u64, true)
    );
    let evidence = record.evidence(Some(&end));
    assert_eq!(evidence.result.unwrap().unwrap(), vec![0; 1_000_000]);
    assert!(evidence.tail.unwrap().ends_with(&stderr));
    let words = String::from_utf8(stderr).unwrap();
    let kib = |what| {
        let mut words = words.split_whitespace().skip_while(|word| *word != what);
        words.nth(1).unwrap().parse::<u64>().unwrap()
    };
    // The pages of its own file can be dropped, and a dev build has many.
    let took = kib("VmHWM:") - kib("RssFile:");
    assert!(took < 16 * 1024, "the supervisor took {took} KiB");
}

#[test]
fn a_reader_that_went_away_costs_neither_the_run_nor_the_record() {
    let bench = Bench::shell("head -c 1000000 /dev/zero; echo survived >&2; exit 5");
    let mut child = bench.start();
    drop(child.stdout.take());
    let left = bench.finish(child);
    assert_eq!(
        (left.status.code(), &left.stderr[..]),
        (Some(5), &b"survived\n"[..])
    );
    assert_eq!(
        (left.record.stdout.bytes, left.record.stdout.dropped),
        (1_000_000, 1_000_000)
    );
    let lost = Some(Err(EvidenceError::Lost("standard output is closed".into())));
    assert_eq!((left.record.needs_log(), left.evidence().result), (false, lost));
}

#[test]
fn a_reader_that_reads_nothing_costs_no_record_when_the_run_is_stopped() {
    let bench = Bench::shell("trap '' TERM; touch $1/started; head -c 1000000 /dev/zero")
        .with(|args| args.grace = Duration::from_secs(2));
    let mut child = bench.start();
    until("the command starts", || {
        bench.path("started").exists().then_some(())
    });
    send(&child, Signal::SIGTERM);
    let status = child.wait().unwrap();
    let record = bench.record();
    assert_eq!(
        record.outcome,
        Outcome::Stopped {
            signal: 15,
            ended: Ended::Signal(9)
        }
    );
    assert_eq!(status.code(), Some(137));
    assert!(
        record.stdout.bytes < 1_000_000 && record.stdout.dropped > 0,
        "{:?}",
        record.stdout
    );
    let lost = EvidenceError::Lost("nobody reads standard output".into());
    assert_eq!(record.evidence(None).result, Some(Err(lost)));
}
