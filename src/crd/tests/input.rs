//! What a Task may hand to its container, and how long things may take.

use super::*;

fn input_problems(input: &Value) -> Vec<String> {
    task_problems(&json!({"functionRef": {"name": "f"}, "input": input}))
}

#[test]
fn a_body_is_given_as_text_or_as_base64() {
    let both = "spec.input: at most one of body and bodyBase64 may be set";
    for (input, wanted) in [
        (json!({}), &[][..]),
        (json!({"body": "x"}), &[]),
        (json!({"bodyBase64": "eA=="}), &[]),
        (json!({"body": "x", "bodyBase64": "eA=="}), &[both]),
        (json!({"body": "", "bodyBase64": ""}), &[both]),
    ] {
        assert_eq!(input_problems(&input), wanted, "{input}");
    }
}

#[test]
fn a_body_is_measured_in_bytes_and_not_in_characters() {
    let too_long = "spec.input.body: may be at most 131072 bytes long";
    for character in ["x", "é", "€", "😀"] {
        let mut body = character.repeat(MAX_BODY_BYTES / character.len());
        body.push_str(&"x".repeat(MAX_BODY_BYTES - body.len()));
        assert_eq!(input_problems(&json!({"body": body})), [""; 0], "{character}");
        body.push('x');
        assert_eq!(input_problems(&json!({"body": body})), [too_long], "{character}");
    }
}

#[test]
fn header_names_are_http_tokens() {
    let not_a_token = "spec.input.headers: header names must be HTTP tokens";
    // RFC 9110, section 5.6.2.
    let all = "!#$%&'*+-.^_`|~0129AZaz".to_owned();
    for good in [all, "x".to_owned(), "X-Request-Id".to_owned(), "x".repeat(256)] {
        assert_eq!(
            input_problems(&json!({"headers": {&good: "v"}})),
            [""; 0],
            "{good:?}"
        );
    }
    let bad = [
        "", " ", "a b", "a:", "a\n", "\na", "a\r\nb", "é", "a\u{0}", "(a)", "\"a\"", "a/b", "a{}",
    ];
    for bad in bad.map(str::to_owned).into_iter().chain(["x".repeat(257)]) {
        assert_eq!(
            input_problems(&json!({"headers": {&bad: "v"}})),
            [not_a_token],
            "{bad:?}"
        );
        let beside = json!({"headers": {"good": "v", &bad: "v"}});
        assert_eq!(
            input_problems(&beside),
            [not_a_token],
            "{bad:?} beside a good one"
        );
    }
}

#[test]
fn header_values_have_a_longest_length() {
    let too_long = "spec.input.headers: header values may have at most 4096 characters";
    let headers = |length: usize| json!({"headers": {"a": "", "b": "x".repeat(length)}});
    assert_eq!(input_problems(&headers(4096)), [""; 0]);
    assert_eq!(input_problems(&headers(4097)), [too_long]);
}

#[test]
fn no_duration_is_longer_than_thirty_days() {
    let (task, function) = (
        json!({"functionRef": {"name": "f"}}),
        json!({"container": {"image": "i"}}),
    );
    for (rules, spec, path) in [
        (&TASK_RULES, &task, "/timeout"),
        (&TASK_RULES, &task, "/retry/backoff"),
        (&FUNCTION_RULES, &function, "/timeout"),
        (&FUNCTION_RULES, &function, "/pendingTimeout"),
        (&FUNCTION_RULES, &function, "/ttlAfterFinished"),
        (&FUNCTION_RULES, &function, "/retry/backoff"),
    ] {
        // Our own type refuses to hold one that is too long.
        let judge = |value: &str| {
            let mut spec = spec.clone();
            let names = path.split('/').skip(1);
            *names.fold(&mut spec, |place, name| &mut place[name]) = json!(value);
            problems(rules, &json!({"spec": spec}), None)
        };
        for good in ["0s", "300ms", "1.5h", "720h", "719h59m59.999s", "43200m"] {
            assert_eq!(judge(good), [""; 0], "{path} {good}");
        }
        for bad in ["720h1ms", "721h", "2592001s", "2562047h"] {
            let wanted = format!("spec{}: must be at most 720h", path.replace('/', "."));
            assert_eq!(judge(bad), [wanted], "{path} {bad}");
        }
    }
}
