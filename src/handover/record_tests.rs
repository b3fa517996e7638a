use super::*;
use crate::handover::args::{MIN_TERMINATION_MESSAGE_LIMIT, TERMINATION_MESSAGE_LIMIT};
use crate::handover::sha256_hex;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

const NONCE: &str = "0123456789abcdef0123456789abcdef";

fn stream(bytes: &[u8]) -> Stream {
    Stream {
        bytes: bytes.len() as u64,
        sha256: sha256_hex(bytes),
        ..Stream::default()
    }
}

fn kept(bytes: &[u8]) -> Kept {
    Kept {
        bytes: bytes.to_vec(),
        size_bytes: bytes.len() as u64,
        sha256: None,
        problem: None,
    }
}

fn findings(result: &[u8], log: &[u8]) -> Findings {
    Findings {
        outcome: Outcome::Ended(Ended::Code(0)),
        started_at: Some("2026-11-24T10:00:00.0625Z".parse().unwrap()),
        finished_at: "2026-11-24T10:00:01Z".parse().unwrap(),
        stdout: stream(result),
        stderr: stream(b""),
        result: Some(Kept {
            sha256: Some(sha256_hex(result)),
            ..kept(result)
        }),
        log: kept(log),
        progress: None,
        failure: None,
    }
}

fn log_of(record: &Record, findings: &Findings, stdout: &[u8]) -> Vec<u8> {
    let result = findings.result.as_ref().map_or(&[][..], |kept| &kept.bytes);
    let lines = record
        .continuation
        .iter()
        .flat_map(|continuation| continuation.lines(&findings.log.bytes, result));
    [stdout, lines.collect::<String>().as_bytes()].concat()
}

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..max),
        vec(0u8..32, 0..max),
        vec(prop_oneof![Just(b'"'), Just(b'a'), Just(b'\n')], 0..max),
    ]
}

prop_compose! {
    fn any_kept()(bytes in bytes(5000), more in prop_oneof![Just(0), any::<u32>()], sha in any::<bool>(),
                  problem in option::of(".{0,900}")) -> Kept {
        Kept { size_bytes: bytes.len() as u64 + u64::from(more), sha256: sha.then(|| sha256_hex(&bytes)), problem, bytes }
    }
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    let ended = || {
        prop_oneof![
            any::<i32>().prop_map(Ended::Code),
            any::<i32>().prop_map(Ended::Signal)
        ]
    };
    prop_oneof![
        ended().prop_map(Outcome::Ended),
        ended().prop_map(Outcome::TimedOut),
        (any::<i32>(), ended()).prop_map(|(signal, ended)| Outcome::Stopped { signal, ended }),
        (any::<u8>(), any::<String>(), 0..60usize).prop_map(|(exit_code, message, times)| {
            Outcome::NotStarted {
                exit_code,
                message: message.repeat(times),
            }
        }),
    ]
}

prop_compose! {
    fn any_findings()(
        outcome in any_outcome(),
        times in (option::of(0i64..4_000_000_000_000), 0i64..4_000_000_000_000),
        result in option::of(any_kept()),
        log in any_kept(),
        bytes in (any::<u64>(), any::<u64>(), any::<u64>(), any::<bool>()),
        title in option::of(".{0,256}"),
        failure in option::of(prop_oneof![".{0,40}", "\\PC{900,1500}", "[\n\"]{900,1500}"]),
    ) -> Findings {
        let time = |millis| Timestamp::from_millisecond(millis).unwrap();
        let stream = |count| Stream { bytes: count, sha256: sha256_hex(b""), held_open: bytes.3, dropped: bytes.2 };
        Findings {
            failure: failure.filter(|_| !matches!(outcome, Outcome::NotStarted { .. })),
            outcome, result, log: Kept { problem: None, sha256: None, ..log },
            started_at: times.0.map(time), finished_at: time(times.1),
            stdout: stream(bytes.0), stderr: stream(bytes.1),
            progress: title.map(|title| Progress { percent: Some(1), title: Some(title), ..Progress::default() }),
        }
    }
}

proptest! {
    #[test]
    fn the_record_never_exceeds_its_limit_and_nothing_is_lost(
        findings in any_findings(), limit in MIN_TERMINATION_MESSAGE_LIMIT..8000, stdout in bytes(100),
    ) {
        let joint = stdout.last().is_some_and(|byte| *byte != b'\n');
        let mut record = findings.record(limit, NONCE, joint);
        let message = record.encode();
        prop_assert!(message.len() <= limit, "{} bytes: {message}", message.len());
        prop_assert_eq!(&Record::decode(&message).unwrap(), &record);
        let evidence = record.evidence(Some(&log_of(&record, &findings, &stdout)));
        prop_assert_eq!(evidence, Evidence {
            result: findings.result.as_ref().map(|kept| Ok(kept.bytes.clone())),
            tail: Ok(findings.log.bytes.clone()),
            log: Some(stdout),
        });
        let content = record.result.as_ref().map(|content| (content.size_bytes, content.truncated));
        let expected = findings.result.as_ref().map(|k| (k.size_bytes, k.size_bytes > k.bytes.len() as u64));
        prop_assert_eq!(content, expected);

        record.continuation_lost("nobody reads the standard output of this container, which is a long sentence \
                                  with \"quotes\" that goes on and on and on and on and on");
        prop_assert!(record.encode().len() <= limit);
        prop_assert!(!record.needs_log());
    }

    #[test]
    fn arbitrary_messages_are_refused_without_panic(message in any::<String>()) {
        prop_assert!(Record::decode(&message).is_err());
    }

    #[test]
    fn damaged_records_never_panic(position in 0usize..400, byte in 32u8..127) {
        let mut message = findings(b"result", b"log").record(TERMINATION_MESSAGE_LIMIT, NONCE, false).encode().into_bytes();
        let position = position % message.len();
        message[position] = byte;
        if let Ok(record) = Record::decode(&String::from_utf8_lossy(&message)) {
            let _ = (record.needs_log(), record.evidence(None), record.evidence(Some(b"log")));
        }
    }

    #[test]
    fn sentences_are_cut_to_their_json_size(text in any::<String>(), limit in 3usize..60) {
        let cut = bounded(&text, limit);
        prop_assert!(serde_json::to_string(&cut).unwrap().len() - 2 <= limit);
        prop_assert!(cut == text || text.starts_with(cut.trim_end_matches('…')));
    }
}

#[test]
fn a_small_task_fits_into_the_record() {
    let findings = findings(b"hello\n", b"hello\n");
    let record = findings.record(TERMINATION_MESSAGE_LIMIT, NONCE, false);
    let hello = sha256_hex(b"hello\n");
    let expected = [
        r#"{"version":1,"outcome":{"ended":{"code":0}},"startedAt":"2026-11-24T10:00:00.062Z","#,
        r#""finishedAt":"2026-11-24T10:00:01Z","stdout":{"bytes":6,"sha256":""#,
        &hello,
        r#""},"stderr":{"bytes":0,"sha256":""#,
        &sha256_hex(b""),
        r#""},"result":{"sizeBytes":6,"sha256":""#,
        &hello,
        r#"","body":{"text":"hello\n"}},"log":{"sizeBytes":6,"body":"sameAsResult"}}"#,
    ];
    assert_eq!(record.encode(), expected.concat());
    assert!(!record.needs_log());
    let evidence = Evidence {
        result: Some(Ok(b"hello\n".to_vec())),
        tail: Ok(b"hello\n".to_vec()),
        log: None,
    };
    assert_eq!(record.evidence(None), evidence);
}

#[test]
fn the_result_rides_inside_before_the_tail_does() {
    let both = findings(&[b'r'; 1500], &[b'l'; 1500]).record(TERMINATION_MESSAGE_LIMIT, NONCE, false);
    assert!(!both.needs_log());
    let one = findings(&[b'r'; 2500], &[b'l'; 2500]).record(TERMINATION_MESSAGE_LIMIT, NONCE, false);
    assert_eq!(one.result.unwrap().body, Body::Text("r".repeat(2500)));
    assert_eq!(one.log.body, Body::Continued(2500));
    let tail = findings(&[b'r'; 9000], &[b'l'; 2500]).record(TERMINATION_MESSAGE_LIMIT, NONCE, false);
    assert_eq!(
        (tail.result.unwrap().body, tail.log.body),
        (Body::Continued(9000), Body::Text("l".repeat(2500)))
    );
    let none = findings(&[b'r'; 9000], &[b'l'; 9000]).record(TERMINATION_MESSAGE_LIMIT, NONCE, false);
    assert_eq!(
        (none.result.unwrap().body, none.log.body),
        (Body::Continued(9000), Body::Continued(9000))
    );
}

#[test]
fn progress_gives_way_to_the_evidence() {
    let progress = Some(Progress {
        percent: Some(100),
        title: Some("t".repeat(256)),
        ..Progress::default()
    });
    let small = Findings {
        progress: progress.clone(),
        ..findings(b"r", b"l")
    };
    assert_eq!(
        small.record(TERMINATION_MESSAGE_LIMIT, NONCE, false).progress,
        progress
    );
    let full = Findings {
        progress,
        ..findings(&[b'r'; 3400], b"")
    };
    let record = full.record(TERMINATION_MESSAGE_LIMIT, NONCE, false);
    assert_eq!((record.needs_log(), record.progress), (false, None));
}

#[test]
fn binary_content_rides_as_base64() {
    let record = findings(&[0xff; 40], b"").record(TERMINATION_MESSAGE_LIMIT, NONCE, false);
    assert_eq!(
        record.result.unwrap().body,
        Body::Base64(BASE64.encode([0xff; 40]))
    );
    let record = findings(&[0x01; 40], b"").record(TERMINATION_MESSAGE_LIMIT, NONCE, false);
    assert_eq!(
        record.result.unwrap().body,
        Body::Base64(BASE64.encode([0x01; 40]))
    );
}

#[test]
fn evidence_that_is_not_there_says_why() {
    let findings = findings(&[b'r'; 9000], b"tail");
    let mut record = findings.record(TERMINATION_MESSAGE_LIMIT, NONCE, false);
    assert_eq!(
        record.evidence(None).result,
        Some(Err(EvidenceError::NoLog { bytes: 9000 }))
    );
    let Some(Err(EvidenceError::Broken(broken))) = record.evidence(Some(b"rotated\n")).result else {
        panic!("an empty log has no result");
    };
    assert_eq!(
        broken.to_string(),
        "the result is incomplete: of 3 lines in the log, 0-2 are missing"
    );
    record.continuation_lost("stdout is closed");
    let lost = Some(Err(EvidenceError::Lost("stdout is closed".into())));
    assert_eq!(
        record.evidence(None),
        Evidence {
            result: lost,
            tail: Ok(b"tail".to_vec()),
            log: None
        }
    );
}

#[test]
fn what_is_no_record_says_so() {
    assert!(matches!(Record::decode(" \n"), Err(RecordError::Missing)));
    assert!(matches!(
        Record::decode("panic: out of memory"),
        Err(RecordError::Parse(_))
    ));
    assert!(matches!(
        Record::decode("{\"version\":1}"),
        Err(RecordError::Parse(_))
    ));
    assert!(matches!(
        Record::decode("{\"version\":2,\"new\":true}"),
        Err(RecordError::Version(2))
    ));
}

#[test]
fn a_record_from_a_later_supervisor_may_say_more() {
    let message = findings(b"r", b"l")
        .record(TERMINATION_MESSAGE_LIMIT, NONCE, false)
        .encode();
    let more = message.replacen('{', "{\"later\":[1],", 1);
    assert_eq!(Record::decode(&more).unwrap(), Record::decode(&message).unwrap());
}
