//! Schedules over time: what each look decides, as the writes that it leads to would have it.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::plan::{Decision, LONGEST_SLEEP, Step, decide, made, outlook, refused};
use crate::crd::{Schedule, ScheduleStatus};

fn at(text: &str) -> Timestamp {
    format!("2026-01-01T{text}Z").parse().unwrap()
}

/// Made at midnight.
fn schedule(spec: Value) -> Schedule {
    let mut whole = json!({"template": {"spec": {"functionRef": {"name": "f"}}}});
    whole
        .as_object_mut()
        .unwrap()
        .extend(spec.as_object().unwrap().clone());
    serde_json::from_value(json!({
        "apiVersion": "errand.dev/v1alpha1", "kind": "Schedule", "spec": whole,
        "metadata": {"name": "s", "namespace": "n", "uid": "u", "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z"},
    }))
    .unwrap()
}

fn look(schedule: &Schedule, now: &str, busy: bool) -> Decision {
    decide(schedule, at(now), &outlook(schedule, at(now)), busy)
}

/// One look and all that it leads to: the moment that a Task is made for.
fn turn(schedule: &mut Schedule, now: Timestamp) -> Option<Timestamp> {
    let decision = decide(schedule, now, &outlook(schedule, now), false);
    schedule.status = Some(decision.status);
    match decision.step {
        Step::Start(moment) | Step::Resume(moment) => {
            schedule.status = schedule.status.as_ref().map(made);
            Some(moment)
        }
        Step::Rest(_) => None,
    }
}

/// The moments that Tasks are made for by looks at these times.
fn moments(spec: Value, times: &[&str]) -> Vec<String> {
    let mut schedule = schedule(spec);
    let found = times.iter().filter_map(|time| turn(&mut schedule, at(time)));
    found
        .map(|moment| moment.strftime("%H:%M:%S").to_string())
        .collect()
}

fn change(schedule: &mut Schedule, patch: Value) {
    let mut whole = serde_json::to_value(&*schedule).unwrap();
    json_patch::merge(&mut whole, &json!({"spec": patch}));
    *schedule = serde_json::from_value(whole).unwrap();
    schedule.metadata.generation = schedule.metadata.generation.map(|generation| generation + 1);
}

/// Reason of Ready, and the next moment.
fn standing(schedule: &Schedule) -> (String, Option<Timestamp>) {
    let status = schedule.status.as_ref().unwrap();
    (status.conditions[0].reason.clone(), status.next_schedule_time)
}

#[test]
fn a_new_schedule_waits_for_its_first_moment_after_it_was_made() {
    let decision = look(&schedule(json!({"schedule": "*/5 * * * *"})), "00:04:50", false);
    let condition = json!({"type": "Ready", "status": "True", "reason": "Waiting", "observedGeneration": 1,
        "message": "the next Task is waited for", "lastTransitionTime": "2026-01-01T00:04:50Z"});
    let status = json!({"nextScheduleTime": "2026-01-01T00:05:00Z", "created": 0, "conditions": [condition],
        "observedGeneration": 1});
    assert_eq!(serde_json::to_value(&decision.status).unwrap(), status);
    assert_eq!(decision.step, Step::Rest(Some(Duration::from_millis(10_001))));
    let daily = look(&schedule(json!({"schedule": "0 9 * * *"})), "00:00:00", false);
    assert_eq!(
        daily.step,
        Step::Rest(Some(LONGEST_SLEEP)),
        "the clock may be set meanwhile"
    );
}

#[test]
fn a_moment_is_counted_and_noted_before_its_task_is_made() {
    let mut five = schedule(json!({"schedule": "*/5 * * * *", "count": 2}));
    let first = look(&five, "00:05:00.2", false);
    assert_eq!(first.step, Step::Start(at("00:05:00")));
    let expected = ScheduleStatus {
        last_schedule_time: Some(at("00:05:00")),
        pending_time: Some(at("00:05:00")),
        next_schedule_time: Some(at("00:10:00")),
        created: Some(1),
        remaining: Some(1),
        ..first.status.clone()
    };
    assert_eq!(first.status, expected);
    five.status = Some(first.status.clone());
    // Whoever comes next finds the note, however late, and nothing else happens until it is off.
    for time in ["00:05:01", "00:59:00"] {
        let again = look(&five, time, false);
        assert_eq!(
            (again.step, &again.status),
            (Step::Resume(at("00:05:00")), &first.status)
        );
    }
    five.status = Some(made(&first.status));
    assert_eq!(look(&five, "00:05:01", false).status, made(&first.status));
}

#[test]
fn of_missed_moments_only_the_latest_is_made_up_for() {
    let minutes = json!({"schedule": "* * * * *"});
    assert_eq!(
        moments(
            minutes.clone(),
            &["00:00:30", "00:01:00", "00:01:00.5", "08:30:15", "08:30:20"]
        ),
        ["00:01:00", "08:30:00"]
    );
    let strict = json!({"schedule": "0 * * * *", "startingDeadline": "10s"});
    assert_eq!(
        moments(strict, &["01:00:05", "02:00:11", "02:30:00", "03:00:10"]),
        ["01:00:00", "03:00:00"]
    );
    assert_eq!(moments(minutes, &["00:00:00", "00:00:59.9"]), [""; 0]);
}

/// Counted minute by minute it would take hours.
#[test]
fn every_minute_for_two_thousand_years_is_no_work() {
    let mut old = schedule(json!({"schedule": "* * * * *", "startAt": "0001-01-01T00:00:00Z"}));
    old.metadata.creation_timestamp = serde_json::from_value(json!("0001-01-01T00:00:00Z")).unwrap();
    assert_eq!(turn(&mut old, at("12:00:30")), Some(at("12:00:00")));
}

#[test]
fn a_clock_that_is_set_back_makes_nothing_twice() {
    let looks = ["00:10:00", "00:01:00", "00:09:59", "00:10:00", "00:11:00"];
    assert_eq!(
        moments(json!({"schedule": "* * * * *"}), &looks),
        ["00:10:00", "00:11:00"]
    );
}

#[test]
fn nothing_is_made_before_start_at_and_without_schedule_once() {
    let later = json!({"schedule": "* * * * *", "startAt": "2026-01-01T00:02:30Z"});
    assert_eq!(
        moments(later, &["00:01:00", "00:02:30", "00:03:00"]),
        ["00:03:00"]
    );
    let exact = json!({"schedule": "* * * * *", "startAt": "2026-01-01T00:02:00Z"});
    assert_eq!(moments(exact, &["00:01:59", "00:02:00"]), ["00:02:00"]);
    let once = json!({"startAt": "2026-01-01T00:02:30Z"});
    assert_eq!(
        moments(once.clone(), &["00:02:29", "00:02:31", "00:02:32", "09:00:00"]),
        ["00:02:30"]
    );
    let mut past = schedule(json!({"startAt": "2025-12-31T00:00:00Z"}));
    assert_eq!(
        turn(&mut past, at("00:00:01")),
        Some("2025-12-31T00:00:00Z".parse().unwrap())
    );
    assert_eq!(
        (standing(&past), past.remaining()),
        (("Complete".into(), None), Some(0))
    );
    let mut missed = schedule(json!({"startAt": "2026-01-01T00:00:10Z", "startingDeadline": "5s"}));
    assert_eq!(turn(&mut missed, at("00:00:16")), None);
    assert_eq!(standing(&missed), ("Missed".into(), None));
}

#[test]
fn the_count_ends_it_and_a_higher_one_goes_on_from_then() {
    let mut two = schedule(json!({"schedule": "* * * * *", "count": 2}));
    let made: Vec<_> = ["00:01:00", "00:02:00", "00:03:00"]
        .iter()
        .filter_map(|now| turn(&mut two, at(now)))
        .collect();
    assert_eq!(made, [at("00:01:00"), at("00:02:00")]);
    assert_eq!(standing(&two), ("Complete".into(), None));
    change(&mut two, json!({"count": 3}));
    assert_eq!(turn(&mut two, at("00:10:30")), None);
    assert_eq!(standing(&two), ("Waiting".into(), Some(at("00:11:00"))));
    assert_eq!(turn(&mut two, at("00:11:00")), Some(at("00:11:00")));
}

#[test]
fn what_passes_while_it_is_suspended_or_before_it_is_changed_is_left_out() {
    let mut hourly = schedule(json!({"schedule": "0 * * * *"}));
    turn(&mut hourly, at("00:30:00"));
    change(&mut hourly, json!({"suspend": true}));
    assert_eq!(turn(&mut hourly, at("00:40:00")), None);
    assert_eq!(standing(&hourly), ("Suspended".into(), None));
    assert_eq!(turn(&mut hourly, at("02:40:00")), None);
    change(&mut hourly, json!({"suspend": null}));
    assert_eq!(turn(&mut hourly, at("02:45:00")), None);
    assert_eq!(standing(&hourly), ("Waiting".into(), Some(at("03:00:00"))));
    change(&mut hourly, json!({"schedule": "*/10 * * * *"}));
    assert_eq!(
        turn(&mut hourly, at("02:55:00")),
        None,
        "02:50 was none of its moments then"
    );
    assert_eq!(turn(&mut hourly, at("03:00:01")), Some(at("03:00:00")));
    // Due before the change was seen.
    change(&mut hourly, json!({"timeZone": "UTC"}));
    assert_eq!(turn(&mut hourly, at("03:10:05")), Some(at("03:10:00")));
    let mut once = schedule(json!({"startAt": "2026-01-01T00:10:00Z", "suspend": true}));
    turn(&mut once, at("00:00:00"));
    turn(&mut once, at("00:30:00"));
    change(&mut once, json!({"suspend": false}));
    assert_eq!(
        turn(&mut once, at("00:31:00")),
        Some(at("00:10:00")),
        "the only one is not left out"
    );
}

#[test]
fn with_forbid_the_latest_moment_waits_for_the_earlier_task() {
    let mut spec = schedule(json!({"schedule": "* * * * *", "concurrencyPolicy": "Forbid"}));
    turn(&mut spec, at("00:01:00"));
    let held = look(&spec, "00:02:00", true);
    assert_eq!(held.step, Step::Rest(Some(LONGEST_SLEEP)));
    assert_eq!(
        (held.status.next_schedule_time, held.status.created),
        (Some(at("00:02:00")), Some(1))
    );
    spec.status = Some(held.status);
    assert_eq!(look(&spec, "00:05:30", false).step, Step::Start(at("00:05:00")));
    for policy in ["Allow", "Replace"] {
        change(&mut spec, json!({"concurrencyPolicy": policy}));
        assert_eq!(
            look(&spec, "00:02:00", true).step,
            Step::Start(at("00:02:00")),
            "{policy}"
        );
    }
}

#[test]
fn what_is_wrong_is_said_and_nothing_is_tried_again() {
    for (spec, reason, sentence) in [
        (
            json!({"schedule": "61 * * * *"}),
            "InvalidSchedule",
            "\"61 * * * *\" is no cron expression: ",
        ),
        (
            json!({"schedule": "* * * * *", "timeZone": "Mars"}),
            "InvalidSchedule",
            "there is no time zone \"Mars\"",
        ),
        (
            json!({"schedule": "0 0 30 2 *"}),
            "NeverDue",
            "the schedule names no moment that comes",
        ),
    ] {
        let decision = look(&schedule(spec.clone()), "00:01:00", false);
        let condition = &decision.status.conditions[0];
        assert_eq!(
            (condition.status.as_str(), condition.reason.as_str()),
            ("False", reason)
        );
        assert!(condition.message.starts_with(sentence), "{condition:?}");
        assert_eq!(
            (decision.step, decision.status.next_schedule_time),
            (Step::Rest(None), None),
            "{spec}"
        );
        let mut again = schedule(spec);
        again.status = Some(decision.status.clone());
        assert_eq!(
            look(&again, "09:00:00", false).status,
            decision.status,
            "nothing is left to write"
        );
    }
}

#[test]
fn a_refusal_is_written_once_whatever_it_counts() {
    let five = schedule(json!({"schedule": "*/5 * * * *"}));
    let status = look(&five, "00:05:00", false).status;
    let first = refused(&five, &status, "exceeded quota, used: 5", at("00:05:01"));
    assert_eq!(
        (first.conditions[0].reason.as_str(), first.pending_time),
        ("CreateFailed", status.pending_time)
    );
    assert_eq!(
        refused(&five, &first, "exceeded quota, used: 6", at("00:05:02")),
        first
    );
}

proptest! {
    /// Looks at any times, the clock going where it likes: no moment twice, none before its time, never more than the
    /// count, and each look settles.
    #[test]
    fn no_moment_is_made_twice_and_the_count_holds(
        minute in "(\\*|\\*/[1-9]|[0-5]?[0-9])",
        start in proptest::option::of(0..3000_i64),
        count in proptest::option::of(1..6_u32),
        times in proptest::collection::vec((0..10_000_i64, any::<bool>()), 1..40),
    ) {
        let start = start.map(|seconds| (at("00:00:00") + k8s_openapi::jiff::SignedDuration::from_secs(seconds)).to_string());
        let mut it = schedule(json!({"schedule": format!("{minute} * * * *"), "startAt": start, "count": count}));
        let mut seen = std::collections::BTreeSet::new();
        for (seconds, toggle) in times {
            let now = at("00:00:00") + k8s_openapi::jiff::SignedDuration::from_secs(seconds);
            if toggle {
                let suspend = it.spec.suspend == Some(true);
                change(&mut it, json!({"suspend": !suspend}));
            }
            if let Some(moment) = turn(&mut it, now) {
                prop_assert!(moment <= now);
                prop_assert!(seen.insert(moment), "{moment} twice");
            }
            let settled = it.status.clone();
            prop_assert_eq!(turn(&mut it, now), None);
            let created = it.status.as_ref().and_then(|status| status.created);
            prop_assert_eq!(created, Some(u32::try_from(seen.len()).unwrap()));
            turn(&mut it, now);
            prop_assert!(it.status.is_some() && settled.is_some());
        }
        if let Some(count) = count {
            prop_assert!(seen.len() <= count as usize);
        }
    }
}
