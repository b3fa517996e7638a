//! The policy of Cloud Foundry's Diego.

use std::{net::TcpListener, time::Duration};

use errand::crd::CallbackState;
use serde_json::json;

use super::{telling, told};
use crate::support::{
    receiver::{Receiver, Reply},
    world::World,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_diegos_policy_a_task_goes_once_it_was_told() {
    let world =
        World::start_with(|setup| setup.engine.callbacks.diego_pass = Duration::from_millis(300)).await;
    let busy = Receiver::start(|number, _| match number {
        0..=3 => Reply::Status(503),
        _ => Reply::Status(500),
    });
    let callback = json!({"url": busy.url(), "policy": "Diego", "subject": "a_GUID"});
    let mut spec = telling("echo out", callback);
    spec["annotation"] = json!("note");
    world.task("t", spec).await;
    world.gone("t").await;
    let calls = busy.calls();
    // Three at once; in the next pass one more, and then one that is answered.
    assert_eq!(calls.len(), 5);
    assert!(
        calls[3].at - calls[2].at >= Duration::from_millis(290),
        "{calls:?}"
    );
    for call in &calls {
        let body = call.json();
        assert!(
            body["created_at"].as_i64().unwrap() > 1_700_000_000_000_000_000,
            "{body}"
        );
        let mut expected = json!({
            "task_guid": "a_GUID", "failed": false, "failure_reason": "", "result": "out\n", "annotation": "note",
        });
        expected["created_at"] = body["created_at"].clone();
        assert_eq!(body, expected);
        assert_eq!(call.header("webhook-id"), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_diegos_policy_a_task_goes_in_the_end_though_nobody_hears() {
    let world = World::start_with(|setup| {
        setup.engine.callbacks.diego_pass = Duration::from_millis(200);
        setup.engine.callbacks.diego_keep = Duration::from_secs(1);
    })
    .await;
    let busy = Receiver::start(|_, _| Reply::Status(504));
    world
        .task(
            "t",
            telling("true", json!({"url": busy.url(), "policy": "Diego"})),
        )
        .await;
    world.event("t", "CallbackFailed").await;
    world.gone("t").await;
    assert!(busy.calls().len() >= 3);
    let kept = json!({"url": busy.url(), "policy": "Diego", "deleteAfter": false});
    world.task("kept", telling("true", kept)).await;
    let message = told(&world, "kept").await.message.unwrap();
    assert_eq!(
        message,
        "given up 1 s after the end of the Task: the answer was 504 Gateway Timeout"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_diegos_policy_any_answer_but_two_is_taken_and_asked_for_once() {
    let world = World::start().await;
    let answers = [200, 204, 301, 400, 404, 408, 410, 429, 500, 502, 599];
    let mut receivers = Vec::new();
    for status in answers {
        let receiver = Receiver::start(move |_, _| Reply::Status(status));
        let callback = json!({"url": receiver.url(), "policy": "Diego", "followRedirects": false});
        world
            .task(&format!("t-{status}"), telling("true", callback))
            .await;
        receivers.push((status, receiver));
    }
    for (status, receiver) in receivers {
        world.gone(&format!("t-{status}")).await;
        assert_eq!(receiver.calls().len(), 1, "{status}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_diegos_policy_a_busy_or_silent_receiver_is_called_three_times_and_the_task_kept() {
    let world = World::start().await;
    let busy = |status| Receiver::start(move |_, _| Reply::Status(status));
    let silent = Receiver::start(|_, _| Reply::Hang);
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (unavailable, late) = (busy(503), busy(504));
    for (name, url) in [
        ("unavailable", unavailable.url()),
        ("late", late.url()),
        ("silent", silent.url()),
        // Nobody is there: that is given up at once.
        ("gone", format!("http://{gone}/")),
    ] {
        let callback = json!({"url": url, "policy": "Diego", "timeout": "200ms"});
        world.task(name, telling("true", callback)).await;
    }
    for (name, attempts, status) in [
        ("unavailable", 3, Some(503)),
        ("late", 3, Some(504)),
        ("silent", 3, None),
        ("gone", 1, None),
    ] {
        let callback = world
            .until(name, "it was tried", |task| {
                let callback = task.status.as_ref()?.callback.clone()?;
                (callback.attempts > 0).then_some(callback)
            })
            .await;
        assert_eq!(
            (callback.state, callback.attempts, callback.last_status),
            (CallbackState::Delivering, attempts, status),
            "{name}"
        );
        let (last, next) = (
            callback.last_attempt_at.unwrap(),
            callback.next_attempt_at.unwrap(),
        );
        assert_eq!(next.duration_since(last).as_secs(), 30, "{name}");
    }
    for receiver in [unavailable, late, silent] {
        assert_eq!(receiver.calls().len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_diegos_policy_a_receiver_that_was_silent_at_first_is_told_at_once_again() {
    let world = World::start().await;
    let slow = Receiver::start(|number, _| match number {
        0 | 1 => Reply::Hang,
        _ => Reply::Status(200),
    });
    let callback = json!({"url": slow.url(), "policy": "Diego", "timeout": "200ms"});
    world.task("t", telling("true", callback)).await;
    world.gone("t").await;
    assert_eq!(slow.calls().len(), 3);
}
