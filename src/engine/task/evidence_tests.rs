use super::*;
use crate::engine::resolve::RetryPolicy;

fn facts(limit: i64) -> Facts {
    Facts {
        http: None,
        supervised: false,
        actions: false,
        result_from: ResultSource::Log,
        result_path: None,
        result_limit: limit,
        content_type: None,
        log_limit: limit,
        timeout_ms: 1,
        pending_timeout_ms: 1,
        grace_seconds: 1,
        retry: RetryPolicy {
            limit: 0,
            on: Vec::new(),
            backoff_ms: 0,
        },
    }
}

fn log(bytes: &[u8], size: u64) -> Option<Result<FetchedLog, String>> {
    Some(Ok(FetchedLog {
        bytes: bytes.to_vec(),
        size,
    }))
}

#[test]
fn without_supervisor_the_log_is_the_result_with_the_size_that_came() {
    let gathered = gather(&facts(4), &Testimony::Unsupervised, None, log(b"hello\n", 6));
    let result = gathered.result.unwrap();
    assert_eq!(
        (
            result.body.as_deref(),
            result.size_bytes,
            result.truncated,
            result.content_type.as_deref()
        ),
        (Some("llo\n"), Some(6), true, Some(TEXT))
    );
    let tail = gathered.logs.unwrap();
    assert_eq!(
        (tail.tail.as_str(), tail.size_bytes, tail.truncated),
        ("llo\n", Some(6), true)
    );
}

#[test]
fn a_log_that_cannot_be_read_is_said_to_be_so() {
    let gathered = gather(
        &facts(4),
        &Testimony::Unsupervised,
        None,
        Some(Err("node down".into())),
    );
    assert_eq!(
        gathered.problem.as_deref(),
        Some("the log cannot be read: node down")
    );
    let broken = Testimony::Broken(RecordError::Missing);
    let gathered = gather(&facts(4), &broken, None, log(b"abc", 3));
    assert_eq!(
        (gathered.logs.map(|log| log.tail), gathered.problem.as_deref()),
        (
            Some("abc".into()),
            Some("the supervisor left no record: it was killed, or it never ran")
        )
    );
}

#[test]
fn bytes_that_are_no_text_go_as_base64_and_characters_are_not_torn() {
    assert_eq!(body(b"\xff", false), (None, Some("/w==".into())));
    assert_eq!(body("aé".as_bytes(), false), (Some("aé".into()), None));
    assert_eq!(
        body(&"aé".as_bytes()[..2], true),
        (Some("a".into()), None),
        "cut in the middle of a character"
    );
    assert_eq!(
        body(&"aé".as_bytes()[..2], false).0,
        None,
        "not cut, so it is no text"
    );
    assert_eq!(
        body(&[0; 4096], false).0,
        None,
        "JSON would take six bytes for each"
    );
}

#[test]
fn a_hostile_log_tail_stays_within_its_bound_as_json() {
    for bytes in [
        vec![0_u8; 1000],
        vec![0xff; 1000],
        "é".repeat(500).into_bytes(),
        vec![b'\n'; 1000],
    ] {
        let tail = tail(&facts(100), &bytes, Some(1000)).tail;
        assert!(tail.len() <= 100, "{}", tail.len());
        assert!(serde_json::to_string(&tail).unwrap().len() <= 202);
    }
    let torn = tail(&facts(3), "aéé".as_bytes(), Some(5));
    assert_eq!((torn.tail.as_str(), torn.truncated), ("é", true));
}

#[test]
fn a_result_takes_the_status_of_its_reason_unless_the_function_gave_one() {
    let own = TaskResult {
        status: 404,
        ..TaskResult::default()
    };
    assert_eq!(with_status(Some(own), Reason::Completed).status, 404);
    assert_eq!(with_status(None, Reason::TimedOut).status, 408);
    assert_eq!(with_status(None, Reason::Cancelled).status, 499);
    assert_eq!(with_status(None, Reason::NodeLost).status, 500);
}
