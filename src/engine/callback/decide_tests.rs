use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const END: &str = "2026-01-01T00:00:00Z";

fn at(seconds: i64) -> Timestamp {
    END.parse::<Timestamp>().unwrap() + SignedDuration::from_secs(seconds)
}

fn callback(more: Value) -> Callback {
    let mut callback = json!({"url": "http://a"});
    callback
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    serde_json::from_value(callback).unwrap()
}

fn standard() -> Callback {
    callback(json!({}))
}

fn diego() -> Callback {
    callback(json!({"policy": "Diego"}))
}

/// A Task that ended at [`END`] with this reason, and how its callback stands.
fn status(reason: &str, callback: Value) -> TaskStatus {
    let status = json!({"phase": "Failed", "reason": reason, "finishedAt": END, "callback": callback});
    serde_json::from_value(status).unwrap()
}

fn next_at(callback: &Callback, status: &TaskStatus, seconds: i64) -> Next {
    next(callback, status, at(seconds), &Settings::default())
}

fn waits(seconds: u64) -> Next {
    Next::Wait(Duration::from_secs(seconds))
}

fn attempt(answer: Answer) -> Attempt {
    Attempt {
        tries: 1,
        answer,
        at: at(0),
    }
}

/// State and wait after one more try; `random` is in the middle, so that nothing is moved.
fn settled(callback: &Callback, attempts: u32, answer: Answer) -> (CallbackState, Option<u64>) {
    let old = CallbackStatus {
        attempts,
        ..CallbackStatus::default()
    };
    let new = after(callback, &old, &attempt(answer), &Settings::default(), 0.5);
    let wait = new
        .next_attempt_at
        .map(|next| u64::try_from(next.duration_since(at(0)).as_secs()).unwrap());
    (new.state, wait)
}

fn answered(code: u16) -> Answer {
    Answer::Status(code, None)
}

fn asked(code: u16, seconds: u64) -> Answer {
    Answer::Status(code, Some(Duration::from_secs(seconds)))
}

use CallbackState::{Delivered, Delivering, Failed};

#[test]
fn a_callback_is_tried_at_once_and_then_when_it_is_due() {
    let none = status("ExitCode", Value::Null);
    assert_eq!(next_at(&standard(), &none, 0), Next::Try);
    assert_eq!(next_at(&diego(), &none, 0), Next::Try);
    let waiting = status(
        "ExitCode",
        json!({"state": "Delivering", "attempts": 1, "nextAttemptAt": at(20)}),
    );
    assert_eq!(next_at(&standard(), &waiting, 15), waits(5));
    assert_eq!(next_at(&standard(), &waiting, 20), Next::Try);
    for state in ["Delivered", "Failed"] {
        let over = status("ExitCode", json!({"state": state, "attempts": 1}));
        assert_eq!(next_at(&standard(), &over, 100), Next::Over);
    }
}

#[test]
fn it_is_given_up_when_its_time_is_over_but_never_untried() {
    let tried = |message: &str| json!({"state": "Delivering", "attempts": 2, "nextAttemptAt": at(100), "message": message});
    let late = i64::try_from(PATIENCE.as_secs()).unwrap();
    let standing = status("ExitCode", tried("the answer was 500"));
    let expected = CallbackStatus {
        state: Failed,
        attempts: 2,
        message: Some("given up 172800 s after the end of the Task: the answer was 500".into()),
        ..CallbackStatus::default()
    };
    assert_eq!(next_at(&standard(), &standing, late - 1), Next::Try);
    assert_eq!(next_at(&standard(), &standing, late), Next::GiveUp(expected));
    let untried = status("ExitCode", Value::Null);
    assert_eq!(next_at(&standard(), &untried, late + 1), Next::Try);
    // Diego's rule of 120 seconds cuts the last wait.
    assert_eq!(next_at(&diego(), &standing, 99), waits(1));
    assert!(matches!(next_at(&diego(), &standing, 120), Next::GiveUp(_)));
    let in_time = status(
        "ExitCode",
        json!({"state": "Delivering", "attempts": 3, "nextAttemptAt": at(140)}),
    );
    assert_eq!(next_at(&diego(), &in_time, 115), waits(5));
    assert_eq!(next_at(&diego(), &untried, 121), Next::Try);
}

#[test]
fn diego_hears_of_what_convergence_finds_a_pass_later() {
    for reason in ["NodeLost", "PendingTimedOut"] {
        let none = status(reason, Value::Null);
        assert_eq!(next_at(&diego(), &none, 10), waits(20), "{reason}");
        assert_eq!(next_at(&diego(), &none, 30), Next::Try, "{reason}");
        assert_eq!(next_at(&standard(), &none, 0), Next::Try, "{reason}");
    }
}

#[test]
fn answers_mean_what_standard_webhooks_says() {
    let standard = standard();
    for (answer, expected) in [
        (answered(200), (Delivered, None)),
        (answered(204), (Delivered, None)),
        (answered(299), (Delivered, None)),
        (answered(302), (Delivering, Some(5))),
        (answered(400), (Delivering, Some(5))),
        (answered(404), (Delivering, Some(5))),
        (answered(410), (Failed, None)),
        (answered(429), (Delivering, Some(5))),
        (answered(500), (Delivering, Some(5))),
        (asked(503, 100), (Delivering, Some(102))),
        (asked(429, 1), (Delivering, Some(1))),
        (asked(503, 0), (Delivering, Some(1))),
        // Two hours at most, and a little of jitter.
        (asked(503, 1_000_000), (Delivering, Some(7380))),
        (asked(500, 100), (Delivering, Some(5))),
        (Answer::TimedOut("late".into()), (Delivering, Some(5))),
        (Answer::Broken("broken".into()), (Delivering, Some(5))),
        (Answer::Refused("no".into()), (Failed, None)),
    ] {
        assert_eq!(settled(&standard, 0, answer.clone()), expected, "{answer:?}");
    }
}

#[test]
fn waits_grow_fourfold_up_to_two_hours_and_end_at_the_limit() {
    let after_tries = |callback: &Callback, attempts| settled(callback, attempts, answered(500));
    let waits: Vec<_> = (0..8)
        .map(|attempts| after_tries(&standard(), attempts))
        .collect();
    let mut expected: Vec<_> = [5, 20, 80, 320, 1280, 5120, 7200]
        .map(|wait| (Delivering, Some(wait)))
        .into();
    expected.push((Failed, None));
    assert_eq!(waits, expected);
    let own = callback(json!({"retry": {"limit": 3, "backoff": "2s"}}));
    assert_eq!(
        [0, 1, 2].map(|attempts| after_tries(&own, attempts)),
        [(Delivering, Some(2)), (Delivering, Some(8)), (Failed, None)]
    );
    let once = callback(json!({"retry": {"limit": 1}}));
    assert_eq!(after_tries(&once, 0), (Failed, None));
    let slow = callback(json!({"retry": {"limit": 20, "backoff": "720h"}}));
    assert_eq!(after_tries(&slow, 18), (Delivering, Some(7200)));
}

#[test]
fn answers_mean_what_diego_says() {
    for (answer, expected) in [
        (answered(200), (Delivered, None)),
        (answered(302), (Delivered, None)),
        (answered(404), (Delivered, None)),
        (answered(410), (Delivered, None)),
        (answered(500), (Delivered, None)),
        (answered(503), (Delivering, Some(30))),
        (asked(503, 1), (Delivering, Some(30))),
        (answered(504), (Delivering, Some(30))),
        (Answer::TimedOut("late".into()), (Delivering, Some(30))),
        (Answer::Broken("broken".into()), (Delivering, Some(30))),
        (Answer::Refused("no".into()), (Failed, None)),
    ] {
        assert_eq!(settled(&diego(), 9, answer.clone()), expected, "{answer:?}");
        let repeats = matches!(answer, Answer::Status(503 | 504, _) | Answer::TimedOut(_));
        assert_eq!(diego_repeats(&answer), repeats, "{answer:?}");
    }
}

#[test]
fn a_try_leaves_all_that_is_known_of_it() {
    let old = CallbackStatus {
        state: Delivering,
        attempts: 1,
        last_status: Some(500),
        message: Some("the answer was 500 Internal Server Error".into()),
        next_attempt_at: Some(at(-1)),
        last_attempt_at: Some(at(-6)),
        delivered_at: None,
    };
    let broken = attempt(Answer::Broken(
        "could not connect to 192.0.2.1:80: refused".into(),
    ));
    assert_eq!(
        after(&standard(), &old, &broken, &Settings::default(), 0.5),
        CallbackStatus {
            state: Delivering,
            attempts: 2,
            last_attempt_at: Some(at(0)),
            next_attempt_at: Some(at(20)),
            last_status: None,
            message: Some("could not connect to 192.0.2.1:80: refused".into()),
            delivered_at: None,
        }
    );
    assert_eq!(
        after(
            &standard(),
            &old,
            &attempt(answered(201)),
            &Settings::default(),
            0.5
        ),
        CallbackStatus {
            state: Delivered,
            attempts: 2,
            last_attempt_at: Some(at(0)),
            next_attempt_at: None,
            last_status: Some(201),
            message: None,
            delivered_at: Some(at(0)),
        }
    );
    let words = |answer| {
        after(&standard(), &old, &attempt(answer), &Settings::default(), 0.5)
            .message
            .unwrap()
    };
    assert_eq!(words(answered(410)), "the answer was 410 Gone");
    assert_eq!(
        words(answered(307)),
        "the answer was 307 Temporary Redirect, a redirect that is not followed"
    );
    assert_eq!(words(answered(799)), "the answer was 799");
    assert_eq!(words(Answer::Broken("é".repeat(1000))).len(), 512);
}

#[test]
fn the_limit_on_a_try_stays_within_bounds() {
    let of = |text: &str| timeout(&callback(json!({"timeout": text})));
    assert_eq!(timeout(&standard()), Duration::from_secs(10));
    assert_eq!(of("2s"), Duration::from_secs(2));
    assert_eq!(of("0s"), Duration::from_millis(100));
    assert_eq!(of("720h"), Duration::from_secs(60));
}

fn any_answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        (100..1000_u16, proptest::option::of(0..u64::from(u32::MAX)))
            .prop_map(|(code, asked)| Answer::Status(code, asked.map(Duration::from_secs))),
        Just(Answer::TimedOut("late".into())),
        Just(Answer::Broken("broken".into())),
        Just(Answer::Refused("no".into())),
    ]
}

proptest! {
    /// Whatever is answered, and however late: the state only moves on, and there is an end.
    #[test]
    fn every_callback_comes_to_an_end(
        answers in proptest::collection::vec((any_answer(), 0..10_000_i64, 0.0..1.0), 200),
        limit in 1..=20_u32, diego: bool,
    ) {
        let callback = match diego {
            true => callback(json!({"policy": "Diego"})),
            false => callback(json!({"retry": {"limit": limit}})),
        };
        let settings = Settings::default();
        let mut status = status("ExitCode", Value::Null);
        let mut now = at(0);
        for (answer, late, random) in answers {
            match next(&callback, &status, now, &settings) {
                Next::Over => break,
                Next::GiveUp(last) => {
                    prop_assert_eq!(last.state, Failed);
                    status.callback = Some(last);
                }
                Next::Wait(wait) => {
                    prop_assert!(!wait.is_zero() && wait <= LONGEST.mul_f64(1.2), "{:?}", wait);
                    now = after_wait(now, wait);
                }
                Next::Try => {
                    let old = status.callback.clone().unwrap_or_default();
                    let attempt = Attempt { tries: 1, answer, at: now };
                    let new = after(&callback, &old, &attempt, &settings, random);
                    prop_assert_eq!(new.attempts, old.attempts + 1);
                    prop_assert_eq!(new.next_attempt_at.is_some(), new.state == Delivering);
                    prop_assert!(diego || new.attempts <= limit);
                    status.callback = Some(new);
                    now = after_wait(now, Duration::from_secs(late.unsigned_abs()));
                }
            }
        }
        let over = status.callback.unwrap();
        prop_assert!(over.state.is_over(), "{:?}", over);
    }
}
