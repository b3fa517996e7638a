use serde_json::{Value, json};

use super::*;
use crate::{
    crd::{PodRef, ResultSource, RetryOn},
    engine::resolve::{Facts, RetryPolicy},
};

const NOW: &str = "2026-01-01T00:10:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn task(spec: Value, status: Value) -> Task {
    let mut object = json!({
        "apiVersion": "errand.dev/v1alpha1", "kind": "Task",
        "metadata": {
            "name": "t", "namespace": "n", "uid": "u", "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {"functionRef": {"name": "f"}},
        "status": status,
    });
    object["spec"]
        .as_object_mut()
        .unwrap()
        .extend(spec.as_object().unwrap().clone());
    serde_json::from_value(object).unwrap()
}

fn facts() -> Facts {
    Facts {
        http: None,
        supervised: true,
        actions: false,
        result_from: ResultSource::Stdout,
        result_path: None,
        result_limit: 1000,
        content_type: None,
        log_limit: 1000,
        timeout_ms: 3_600_000,
        pending_timeout_ms: 1_200_000,
        grace_seconds: 30,
        retry: RetryPolicy {
            limit: 0,
            on: vec![RetryOn::Infrastructure],
            backoff_ms: 1000,
        },
    }
}

fn pod(state: RunState) -> PodView {
    PodView {
        pod: PodRef {
            name: pod::name("t", "u", 1),
            uid: Some("pu".into()),
            node: Some("node-1".into()),
            node_uid: None,
            ip: Some("10.0.0.1".into()),
        },
        attempt: 1,
        created_at: at("2026-01-01T00:09:59Z"),
        facts: Some(facts()),
        assigned_at: Some(at("2026-01-01T00:09:59Z")),
        acknowledged_at: Some(at("2026-01-01T00:09:59Z")),
        deletion_due: None,
        held: true,
        stop_at: None,
        reason: None,
        message: None,
        disruption: None,
        state,
    }
}

fn running_since(text: &str) -> PodView {
    pod(RunState::Running { started_at: at(text) })
}

fn decide_on(task: &Task, pods: &[PodView], change: impl FnOnce(&mut Observed)) -> Plan {
    let mut seen = Observed {
        task,
        now: at(NOW),
        pods,
        node: NodeHealth::Ready,
        request: RequestState::None,
        callback: callback::Flight::None,
        ttl: Duration::from_secs(60),
        lag: Duration::ZERO,
    };
    change(&mut seen);
    decide(&seen, &Config::default())
}

fn step(task: &Task, pods: &[PodView]) -> Step {
    decide_on(task, pods, |_| {}).step
}

fn finished_with(step: Step) -> Reason {
    match step {
        Step::Finish {
            outcome: Some(outcome),
            ..
        } => outcome.reason,
        other => panic!("no end decided: {other:?}"),
    }
}

#[test]
fn a_new_task_starts_its_first_attempt() {
    for status in [json!({}), json!({"phase": "Queued"})] {
        assert_eq!(step(&task(json!({}), status), &[]), Step::Start { attempt: 1 });
    }
}

#[test]
fn a_task_that_waits_to_be_tried_again_rests_until_its_time() {
    let status = |at: &str| json!({"phase": "Pending", "attempts": 2, "nextAttemptAt": at});
    assert_eq!(
        step(&task(json!({}), status("2026-01-01T00:10:07Z")), &[]),
        Step::Rest(Some(Duration::from_secs(7)))
    );
    assert_eq!(
        step(&task(json!({}), status("2026-01-01T00:10:00Z")), &[]),
        Step::Start { attempt: 2 }
    );
}

#[test]
fn a_cancelled_task_without_a_pod_ends_at_once() {
    let step = step(&task(json!({"cancel": true}), json!({"phase": "Queued"})), &[]);
    assert_eq!(finished_with(step), Reason::Cancelled);
}

#[test]
fn a_pod_that_status_names_and_the_cache_lacks_is_looked_for_and_never_made_again() {
    let name = pod::name("t", "u", 1);
    let status = json!({"phase": "Running", "attempts": 1, "pod": {"name": name, "uid": "pu"}});
    assert_eq!(
        step(&task(json!({}), status), &[]),
        Step::ConfirmLost { pod: name }
    );
}

#[test]
fn a_quick_start_costs_no_write_and_a_slow_one_is_shown_as_pending() {
    let fresh = pod(RunState::Waiting(Waiting::Starting));
    assert_eq!(
        step(&task(json!({}), json!({})), &[fresh]),
        Step::Rest(Some(Duration::from_secs(4)))
    );
    let slow = PodView {
        created_at: at("2026-01-01T00:09:50Z"),
        ..pod(RunState::Waiting(Waiting::Starting))
    };
    let Step::Write(status) = step(&task(json!({}), json!({})), &[slow]) else {
        panic!()
    };
    assert_eq!(
        (status.phase, status.reason.as_deref(), status.attempts),
        (Some(Phase::Pending), Some("Starting"), Some(1))
    );
}

#[test]
fn what_is_only_informative_waits_longer_while_the_api_server_is_slow() {
    let task = task(json!({}), json!({}));
    let under = |lag: u64, pod: &PodView| {
        decide_on(&task, std::slice::from_ref(pod), |seen| {
            seen.lag = Duration::from_millis(lag);
        })
        .step
    };
    let runs = running_since("2026-01-01T00:09:58Z");
    assert!(matches!(under(20, &runs), Step::Write(_)));
    // 3 s, of which 2 s have passed.
    assert_eq!(under(100, &runs), Step::Rest(Some(Duration::from_secs(1))));
    // 16.5 s, but the lag may be less in a moment.
    assert_eq!(under(1000, &runs), Step::Rest(Some(Duration::from_millis(1500))));
    let waits = PodView {
        created_at: at("2026-01-01T00:09:53Z"),
        ..pod(RunState::Waiting(Waiting::Starting))
    };
    assert!(matches!(under(20, &waits), Step::Write(_)));
    assert_eq!(under(100, &waits), Step::Rest(Some(Duration::from_secs(3))));
    assert_eq!(under(1000, &waits), Step::Rest(Some(Duration::from_secs(5))));
}

#[test]
fn bad_news_about_a_start_is_written_at_once_and_only_once() {
    let waiting = pod(RunState::Waiting(Waiting::Unscheduled(Some("0/1 nodes".into()))));
    let first = task(json!({}), json!({}));
    let Step::Write(status) = step(&first, std::slice::from_ref(&waiting)) else {
        panic!()
    };
    assert_eq!(
        (status.reason.as_deref(), status.message.as_deref()),
        (Some("Unschedulable"), Some("0/1 nodes"))
    );
    let second = Task {
        status: Some(*status),
        ..first
    };
    assert!(matches!(step(&second, &[waiting]), Step::Rest(Some(_))));
}

#[test]
fn starts_that_cannot_come_right_end_with_their_own_reason() {
    let old = "2026-01-01T00:09:00Z";
    let ancient = "2026-01-01T00:00:00Z";
    let text = |s: &str| s.to_owned();
    for (created, waiting, reason) in [
        (
            NOW,
            Waiting::Image(text("InvalidImageName"), text("")),
            Reason::ImagePullFailed,
        ),
        (
            NOW,
            Waiting::Image(text("ErrImageNeverPull"), text("")),
            Reason::ImagePullFailed,
        ),
        (
            old,
            Waiting::Image(text("ImagePullBackOff"), text("not found")),
            Reason::ImagePullFailed,
        ),
        (
            old,
            Waiting::Config(text("CreateContainerConfigError"), text("no secret")),
            Reason::ContainerConfigFailed,
        ),
    ] {
        let view = PodView {
            created_at: at(created),
            ..pod(RunState::Waiting(waiting))
        };
        assert_eq!(finished_with(step(&task(json!({}), json!({})), &[view])), reason);
    }
    for (waiting, reason) in [
        (Waiting::Unscheduled(Some(text("0/1"))), Reason::Unschedulable),
        (Waiting::Starting, Reason::PendingTimedOut),
    ] {
        let mut view = PodView {
            created_at: at(ancient),
            ..pod(RunState::Waiting(waiting))
        };
        view.facts.as_mut().unwrap().pending_timeout_ms = 600_000;
        assert_eq!(finished_with(step(&task(json!({}), json!({})), &[view])), reason);
    }
}

#[test]
fn a_container_that_runs_for_a_while_is_written_once_and_then_rests_until_its_limit() {
    let view = running_since("2026-01-01T00:09:58Z");
    let Step::Write(status) = step(&task(json!({}), json!({})), std::slice::from_ref(&view)) else {
        panic!()
    };
    assert_eq!(
        (status.phase, status.started_at),
        (Some(Phase::Running), Some(at("2026-01-01T00:09:58Z")))
    );
    let written = task(json!({}), serde_json::to_value(&*status).unwrap());
    // One hour, the grace of 30 s and the margin of 15 s, less the two seconds that have passed.
    assert_eq!(
        step(&written, &[view]),
        Step::Rest(Some(Duration::from_secs(3600 + 45 - 2)))
    );
}

#[test]
fn a_container_that_has_just_started_costs_no_write() {
    let mut view = running_since("2026-01-01T00:09:59Z");
    let task = task(json!({}), json!({}));
    let rest = |view: &PodView| step(&task, std::slice::from_ref(view));
    assert_eq!(rest(&view), Step::Rest(Some(Duration::from_millis(500))));
    let facts = view.facts.as_mut().unwrap();
    (facts.supervised, facts.timeout_ms) = (false, 1_200);
    assert_eq!(
        rest(&view),
        Step::Rest(Some(Duration::from_millis(200))),
        "its time limit comes first"
    );
}

#[test]
fn the_engine_stops_what_the_supervisor_does_not() {
    let status = json!({"phase": "Running", "attempts": 1});
    let mut view = running_since("2026-01-01T00:00:00Z");
    view.facts.as_mut().unwrap().timeout_ms = 300_000;
    assert_eq!(
        step(&task(json!({}), status.clone()), &[view.clone()]),
        Step::Stop
    );
    view.facts.as_mut().unwrap().timeout_ms = 599_000;
    assert!(matches!(
        step(&task(json!({}), status.clone()), &[view.clone()]),
        Step::Rest(Some(_))
    ));
    view.facts.as_mut().unwrap().supervised = false;
    assert_eq!(step(&task(json!({}), status), &[view]), Step::Stop);
}

#[test]
fn cancel_stops_a_running_pod_once_and_waits_a_bounded_time_for_its_evidence() {
    let cancelled = task(
        json!({"cancel": true}),
        json!({"phase": "Running", "attempts": 1}),
    );
    let mut view = running_since("2026-01-01T00:09:00Z");
    assert_eq!(step(&cancelled, &[view.clone()]), Step::Stop);
    view.stop_at = Some(at("2026-01-01T00:09:50Z"));
    assert_eq!(
        step(&cancelled, &[view.clone()]),
        Step::Rest(Some(Duration::from_secs(35)))
    );
    view.stop_at = Some(at("2026-01-01T00:09:00Z"));
    assert_eq!(finished_with(step(&cancelled, &[view])), Reason::Cancelled);
}

#[test]
fn a_lost_node_ends_its_tasks_within_the_bound() {
    let task = task(json!({}), json!({"phase": "Running", "attempts": 1}));
    let view = [running_since("2026-01-01T00:09:00Z")];
    let with = |node: NodeHealth| decide_on(&task, &view, |seen| seen.node = node).step;
    assert_eq!(finished_with(with(NodeHealth::Gone)), Reason::NodeLost);
    assert_eq!(
        finished_with(with(NodeHealth::NotReady(at("2026-01-01T00:09:00Z")))),
        Reason::NodeLost
    );
    assert_eq!(
        with(NodeHealth::NotReady(at("2026-01-01T00:09:30Z"))),
        Step::Rest(Some(Duration::from_secs(30))),
        "looked at again when the bound passes"
    );
}

#[test]
fn a_pod_that_someone_else_deletes_may_end_by_itself_for_a_bounded_time() {
    let task = task(json!({}), json!({"phase": "Running", "attempts": 1}));
    let mut view = running_since("2026-01-01T00:09:00Z");
    view.deletion_due = Some(at("2026-01-01T00:10:00Z"));
    assert_eq!(
        step(&task, &[view.clone()]),
        Step::Rest(Some(Duration::from_secs(15)))
    );
    view.deletion_due = Some(at("2026-01-01T00:09:40Z"));
    assert_eq!(finished_with(step(&task, &[view])), Reason::PodLost);
}

#[test]
fn a_terminal_task_lets_all_its_pods_go_and_expires() {
    let finished = |at: &str| {
        task(
            json!({}),
            json!({"phase": "Succeeded", "attempts": 1, "finishedAt": at}),
        )
    };
    let view = [pod(RunState::Ended(Ended::default()))];
    let plan = decide_on(&finished("2026-01-01T00:09:30Z"), &view, |_| {});
    assert_eq!(
        plan,
        Plan {
            let_go: vec![view[0].pod.name.clone()],
            step: Step::Rest(Some(Duration::from_secs(30))),
        }
    );
    assert_eq!(step(&finished("2026-01-01T00:09:00Z"), &[]), Step::Expire);
}

#[test]
fn pods_of_earlier_attempts_are_let_go() {
    let second = task(json!({}), json!({"phase": "Pending", "attempts": 2}));
    let plan = decide_on(&second, &[pod(RunState::Ended(Ended::default()))], |_| {});
    assert_eq!(plan.let_go, [pod::name("t", "u", 1)]);
    assert_eq!(plan.step, Step::Start { attempt: 2 });
}

#[test]
fn the_one_request_is_sent_after_the_running_write_and_never_again() {
    let mut view = running_since("2026-01-01T00:09:59Z");
    view.facts.as_mut().unwrap().http = Some(crate::crd::Http::default());
    let views = [view];
    let fresh = task(json!({}), json!({}));
    let with =
        |task: &Task, request: RequestState| decide_on(task, &views, |seen| seen.request = request).step;
    assert_eq!(with(&fresh, RequestState::None), Step::AwaitReady);
    assert!(matches!(
        with(&fresh, RequestState::AwaitingReady),
        Step::Rest(Some(_))
    ));
    let Step::Send(status) = with(&fresh, RequestState::Ready) else {
        panic!()
    };
    assert_eq!(status.phase, Some(Phase::Running));
    let sent = task(json!({}), json!({"phase": "Running", "attempts": 1}));
    assert!(matches!(with(&sent, RequestState::Sent), Step::Rest(Some(_))));
    assert_eq!(
        finished_with(with(&sent, RequestState::None)),
        Reason::DispatchInterrupted
    );
    let answer = Box::new(TaskResult::default());
    assert_eq!(
        with(&sent, RequestState::Answered(answer.clone())),
        Step::Finish {
            outcome: None,
            ended: None,
            answer: Some(answer)
        }
    );
    assert_eq!(
        finished_with(with(&sent, RequestState::Failed("broken".into()))),
        Reason::NoAnswer
    );
}

#[test]
fn an_external_task_runs_without_a_pod_until_it_is_reported_or_its_time_is_over() {
    let spec = json!({"functionRef": null, "external": {"processor": "p"}, "timeout": "60s"});
    let Step::Write(status) = step(&task(spec.clone(), json!({})), &[]) else {
        panic!()
    };
    assert_eq!(
        (status.phase, status.reason.as_deref()),
        (Some(Phase::Running), Some("External"))
    );
    let since = |at: &str| json!({"phase": "Running", "startedAt": at});
    assert_eq!(
        step(&task(spec.clone(), since("2026-01-01T00:09:30Z")), &[]),
        Step::Rest(Some(Duration::from_secs(30)))
    );
    assert_eq!(
        finished_with(step(&task(spec, since("2026-01-01T00:09:00Z")), &[])),
        Reason::TimedOut
    );
}

#[test]
fn only_the_classes_of_the_policy_are_tried_again_and_never_a_cancelled_task() {
    let policy = RetryPolicy {
        limit: 1,
        on: vec![RetryOn::Infrastructure, RetryOn::Failure],
        backoff_ms: 1000,
    };
    let settled = |reason, attempt, cancel: bool| {
        settle(
            &task(json!({"cancel": cancel}), json!({})),
            &Outcome::new(reason, ""),
            attempt,
            &policy,
        )
    };
    let again = Next::Again(Duration::from_secs(1));
    assert_eq!(settled(Reason::NodeLost, 1, false), again);
    assert_eq!(settled(Reason::ExitCode, 1, false), again);
    assert_eq!(settled(Reason::TimedOut, 1, false), Next::End);
    assert_eq!(settled(Reason::FunctionNotFound, 1, false), Next::End);
    assert_eq!(settled(Reason::NodeLost, 2, false), Next::End);
    assert_eq!(settled(Reason::NodeLost, 1, true), Next::End);
}

fn reported_task(spec: Value, phase: &str) -> Task {
    let end = json!({"phase": "Succeeded", "message": "all done"});
    task(spec, json!({"phase": phase, "reportedEnd": end}))
}

fn as_reported(exit_code: Option<i32>) -> Option<Outcome> {
    Some(Outcome {
        reason: Reason::Reported(crate::crd::EndPhase::Succeeded),
        message: "all done".into(),
        exit_code,
    })
}

fn reported_outcome(step: Step) -> Option<Outcome> {
    match step {
        Step::Finish { outcome, answer, .. } => {
            assert_eq!(answer, None);
            outcome
        }
        other => panic!("no end decided: {other:?}"),
    }
}

#[test]
fn a_running_pod_whose_end_is_reported_is_stopped_once_and_waited_for_within_bounds() {
    let task = reported_task(json!({}), "Running");
    let mut view = running_since("2026-01-01T00:09:59Z");
    assert_eq!(step(&task, &[view.clone()]), Step::Stop);
    view.stop_at = Some(at(NOW));
    assert!(matches!(step(&task, &[view.clone()]), Step::Rest(Some(_))));
    view.stop_at = Some(at("2026-01-01T00:00:00Z"));
    assert_eq!(reported_outcome(step(&task, &[view])), as_reported(None));
}

#[test]
fn a_reported_end_wins_over_whatever_else_ends_the_attempt() {
    let ended = Ended {
        exit_code: Some(3),
        ..Ended::default()
    };
    for spec in [json!({}), json!({"cancel": true})] {
        let task = reported_task(spec, "Running");
        let view = pod(RunState::Ended(ended.clone()));
        assert_eq!(reported_outcome(step(&task, &[view])), as_reported(Some(3)));
        let lost = decide_on(&task, &[running_since(NOW)], |seen| seen.node = NodeHealth::Gone);
        assert_eq!(reported_outcome(lost.step), as_reported(None));
        let answered = decide_on(&task, &[running_since(NOW)], |seen| {
            seen.request = RequestState::Answered(Box::default());
        });
        assert_eq!(reported_outcome(answered.step), as_reported(None));
    }
}

#[test]
fn a_task_whose_end_is_reported_starts_nothing_and_is_not_tried_again() {
    let task = reported_task(json!({}), "Queued");
    assert_eq!(reported_outcome(step(&task, &[])), as_reported(None));
    let waiting = pod(RunState::Waiting(Waiting::Starting));
    assert_eq!(reported_outcome(step(&task, &[waiting])), as_reported(None));
    let policy = RetryPolicy {
        limit: 5,
        on: vec![RetryOn::Infrastructure, RetryOn::Failure, RetryOn::Timeout],
        backoff_ms: 0,
    };
    let failed = Outcome::new(Reason::Reported(crate::crd::EndPhase::Failed), "no");
    assert_eq!(settle(&task, &failed, 1, &policy), Next::End);
}
