use super::*;
use proptest::prelude::*;

const NONCE: &str = "0123456789abcdef0123456789abcdef";

fn written(continuation: &Continuation, tail: &[u8], result: &[u8]) -> Vec<String> {
    continuation.lines(tail, result).collect()
}

/// A long result and a short tail: `r0` to `r3` and `l0`.
fn sample() -> (Continuation, Vec<u8>, Vec<u8>, Vec<String>) {
    let result: Vec<u8> = (0..CHUNK * 3 + 7).map(|i| (i % 251) as u8).collect();
    let tail = b"the end\n".to_vec();
    let continuation = Continuation::new(NONCE, false, Some(&tail), Some(&result));
    let lines = written(&continuation, &tail, &result);
    (continuation, tail, result, lines)
}

/// Bytes as a hostile command writes them: noise, newlines, marks, other nonces, lines of an earlier run.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let other = Continuation::new("00000000000000000000000000000000", true, None, Some(b"old"));
    let old: Vec<String> = other.lines(b"", b"old").collect();
    let piece = prop_oneof![
        4 => proptest::collection::vec(any::<u8>(), 0..200),
        2 => Just(b"\n".to_vec()),
        1 => Just(MARK.as_bytes().to_vec()),
        1 => "[0-9a-f]{32}".prop_map(|nonce| line(&nonce, 'r', 0, b"forged").into_bytes()),
        1 => Just(old.concat().into_bytes()),
        1 => Just(format!("{MARK}{}", &NONCE[..31]).into_bytes()),
        1 => Just(format!("{MARK} {NONCE}").into_bytes()),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn whatever_the_command_wrote_comes_back_unharmed(
        stdout in hostile(),
        result in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..9000)),
        tail in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..4000)),
    ) {
        let joint = stdout.last().is_some_and(|byte| *byte != b'\n');
        let continuation = Continuation::new(NONCE, joint, tail.as_deref(), result.as_deref());
        let lines = written(&continuation, tail.as_deref().unwrap_or_default(), result.as_deref().unwrap_or_default());
        prop_assert_eq!(lines.len() as u64, continuation.line_count());
        prop_assert!(lines.iter().all(|line| line.len() <= MAX_LINE && line.ends_with('\n')));
        let log = [stdout.clone(), lines.concat().into_bytes()].concat();
        prop_assert_eq!(continuation.cut(&log), Cut { log: stdout, tail: tail.map(Ok), result: result.map(Ok) });
    }

    #[test]
    fn lines_of_stderr_between_marked_lines_stay_in_the_log(noise in proptest::collection::vec("[a-z:]{0,20}\n", 0..7)) {
        let (continuation, tail, result, lines) = sample();
        let mut log = Vec::new();
        for (position, line) in lines.iter().enumerate() {
            log.extend_from_slice(noise.get(position).map_or(b"", |text| text.as_bytes()));
            log.extend_from_slice(line.as_bytes());
        }
        let rest = noise.get(lines.len()..).unwrap_or_default().concat();
        log.extend_from_slice(rest.as_bytes());
        let expected = Cut { log: noise.concat().into_bytes(), tail: Some(Ok(tail)), result: Some(Ok(result)) };
        prop_assert_eq!(continuation.cut(&log), expected);
    }

    #[test]
    fn a_log_cut_anywhere_never_yields_wrong_evidence(from in 0usize..14_000, until in 0usize..14_000) {
        let (continuation, tail, result, lines) = sample();
        let log = ["before\n".to_owned(), lines.concat()].concat().into_bytes();
        let until = until.min(log.len());
        let cut = continuation.cut(&log[from.min(until)..until]);
        prop_assert!(cut.tail.clone().is_some_and(|found| found.map_or(true, |bytes| bytes == tail)), "{:?}", cut.tail);
        prop_assert!(cut.result.clone().is_some_and(|found| found.map_or(true, |bytes| bytes == result)));
    }

    #[test]
    fn a_changed_byte_is_noticed_or_harmless(position in 0usize..12_000, byte in any::<u8>()) {
        let (continuation, _, result, lines) = sample();
        let mut log = lines.concat().into_bytes();
        let position = position % log.len();
        log[position] = byte;
        if let Some(Ok(found)) = continuation.cut(&log).result {
            prop_assert_eq!(found, result);
        }
    }

    #[test]
    fn arbitrary_records_and_logs_never_panic(
        nonce in any::<String>(), lines in any::<u32>(), bytes in any::<u64>(), joint in any::<bool>(), log in hostile(),
    ) {
        let part = Part { lines, bytes, sha256: String::new() };
        let _ = Continuation { nonce, joint, log: Some(part.clone()), result: Some(part) }.cut(&log);
    }
}

#[test]
fn a_marked_line_looks_like_this() {
    let continuation = Continuation::new(NONCE, true, None, Some(b"hello"));
    assert_eq!(
        written(&continuation, b"", b"hello"),
        [
            format!("::errand-evidence {NONCE} j0  {}\n", checksum(NONCE, 'j', 0, b"")),
            format!(
                "::errand-evidence {NONCE} r0 aGVsbG8= {}\n",
                checksum(NONCE, 'r', 0, b"aGVsbG8=")
            ),
        ]
    );
}

#[test]
fn a_full_line_stays_within_its_bound() {
    assert!(line(NONCE, 'r', u32::MAX, &[0; CHUNK]).len() <= MAX_LINE);
}

#[test]
fn the_joint_ends_an_unfinished_line_and_goes_with_it() {
    let continuation = Continuation::new(NONCE, true, None, Some(b"x"));
    let lines = written(&continuation, b"", b"x");
    // Lines of stderr may reach the log between the two.
    let log = format!("no newline{}stderr\n{}", lines[0], lines[1]);
    let expected = Cut {
        log: b"no newlinestderr\n".to_vec(),
        tail: None,
        result: Some(Ok(b"x".to_vec())),
    };
    assert_eq!(continuation.cut(log.as_bytes()), expected);
}

#[test]
fn marked_lines_are_found_behind_an_unfinished_line_of_stderr() {
    let (continuation, tail, result, lines) = sample();
    let log = format!("unfinished{}", lines.concat());
    let expected = Cut {
        log: b"unfinished".to_vec(),
        tail: Some(Ok(tail)),
        result: Some(Ok(result)),
    };
    assert_eq!(continuation.cut(log.as_bytes()), expected);
}

#[test]
fn missing_and_damaged_lines_are_named() {
    let (continuation, tail, _, mut lines) = sample();
    assert_eq!(lines.len(), 5);
    let changed = if &lines[2][80..81] == "Q" { "R" } else { "Q" };
    lines[2].replace_range(80..81, changed);
    let log = [&lines[0], &lines[2], &lines[4]].map(String::as_str).concat();
    let cut = continuation.cut(log.as_bytes());
    let broken = Broken::Lines {
        kind: Kind::Result,
        missing: Ranges(vec![(0, 0), (2, 2)]),
        damaged: Ranges(vec![(1, 1)]),
        of: 4,
    };
    assert_eq!(
        broken.to_string(),
        "the result is incomplete: of 4 lines in the log, 0, 2 are missing and 1 are damaged"
    );
    assert_eq!(
        cut,
        Cut {
            log: Vec::new(),
            tail: Some(Ok(tail)),
            result: Some(Err(broken))
        }
    );
}

#[test]
fn a_log_that_lost_its_beginning_says_which_lines_are_gone() {
    let (continuation, tail, _, lines) = sample();
    let cut = continuation.cut(lines[3..].concat().as_bytes());
    let gone = |kind, last, of| {
        Some(Err(Broken::Lines {
            kind,
            missing: Ranges(vec![(0, last)]),
            damaged: Ranges::default(),
            of,
        }))
    };
    assert_eq!(cut.result, gone(Kind::Result, 1, 4));
    assert_eq!(cut.tail, gone(Kind::Log, 0, 1));
    assert_eq!(continuation.cut(b"").result, gone(Kind::Result, 3, 4));
    assert_eq!(
        continuation.cut(lines[..1].concat().as_bytes()).tail,
        Some(Ok(tail))
    );
}

#[test]
fn repeated_lines_count_once_and_a_good_copy_beats_a_damaged_one() {
    let (continuation, tail, result, lines) = sample();
    let damaged = lines[1].replacen("r0 ", "r0 A", 1);
    let log = [damaged, lines.concat(), lines.concat()].concat();
    let expected = Cut {
        log: Vec::new(),
        tail: Some(Ok(tail)),
        result: Some(Ok(result)),
    };
    assert_eq!(continuation.cut(log.as_bytes()), expected);
}

#[test]
fn a_line_without_its_end_does_not_spoil_the_next_one() {
    let (continuation, ..) = sample();
    let lines = sample().3;
    let log = [&lines[1][..200], &lines[2]].concat();
    let Some(Err(Broken::Lines { missing, damaged, .. })) = continuation.cut(log.as_bytes()).result else {
        panic!("the result cannot be whole");
    };
    assert_eq!((missing, damaged), (Ranges(vec![(2, 3)]), Ranges(vec![(0, 0)])));
}

#[test]
fn whole_lines_that_do_not_match_the_record_are_told_apart() {
    let other = Continuation::new(NONCE, false, None, Some(b"one"));
    let log = other.lines(b"", b"two").collect::<String>();
    let Some(Err(broken)) = other.cut(log.as_bytes()).result else {
        panic!("the result cannot match")
    };
    assert!(
        broken
            .to_string()
            .starts_with("the result does not match the record: 3 bytes with digest 3fc4"),
        "{broken}"
    );
}

#[test]
fn an_announced_number_of_lines_costs_nothing() {
    let part = Part {
        lines: u32::MAX,
        bytes: u64::MAX,
        sha256: String::new(),
    };
    let continuation = Continuation {
        nonce: NONCE.into(),
        joint: false,
        log: None,
        result: Some(part),
    };
    let expected = Broken::Lines {
        kind: Kind::Result,
        missing: Ranges(vec![(0, u32::MAX - 1)]),
        damaged: Ranges::default(),
        of: u32::MAX,
    };
    assert_eq!(continuation.cut(b"anything").result, Some(Err(expected)));
}

#[test]
fn many_gaps_are_counted_not_listed() {
    let ranges = Ranges((0..8).map(|i| (i * 2, i * 2)).collect());
    assert_eq!(ranges.to_string(), "0, 2, 4, 6, 8 and 3 more ranges");
}
