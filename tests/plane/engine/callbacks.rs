//! The end of a Task is told to whom it names.

mod died;
mod diego;
mod signed;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use errand::crd::{CallbackState, CallbackStatus};
use http::Method;
use serde_json::{Value, json};

use super::ends::inline;
use crate::support::{
    fault::Fault,
    receiver::{Call, Receiver, Reply},
    world::World,
};

/// A script with a callback.
fn telling(script: &str, callback: Value) -> Value {
    let mut spec = inline(script);
    spec["callback"] = callback;
    spec
}

fn taken(_: usize, _: &Call) -> Reply {
    Reply::Status(204)
}

async fn told(world: &World, name: &str) -> CallbackStatus {
    world
        .until(name, "its callback is over", |task| {
            let callback = task.status.as_ref()?.callback.clone()?;
            callback.state.is_over().then_some(callback)
        })
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_end_is_told_once() {
    let world = World::start().await;
    let receiver = Receiver::start(taken);
    let callback = json!({"url": receiver.url()});
    world.task("good", telling("echo done", callback.clone())).await;
    world.task("bad", telling("exit 3", callback.clone())).await;
    world
        .task("stopped", telling("exec sleep 600", callback.clone()))
        .await;
    let mut late = telling("exec sleep 600", callback.clone());
    late["timeout"] = json!("300ms");
    world.task("late", late).await;
    world.running("stopped").await;
    world.cancel("stopped").await;
    // Nobody is told of this one.
    world.task("quiet", inline("true")).await;
    for name in ["good", "bad", "stopped", "late"] {
        let callback = told(&world, name).await;
        assert_eq!(
            (
                callback.state,
                callback.attempts,
                callback.last_status,
                callback.message
            ),
            (CallbackState::Delivered, 1, Some(204), None),
            "{name}"
        );
        assert!(
            callback.delivered_at.is_some() && callback.next_attempt_at.is_none(),
            "{name}"
        );
    }
    assert_eq!(world.ended("quiet").await.status.unwrap().callback, None);
    let mut ends: Vec<_> = receiver.calls().iter().map(Call::json).collect();
    ends.sort_by_key(|event| event["data"]["name"].to_string());
    let shown: Vec<_> = ends
        .iter()
        .map(|event| {
            let data = &event["data"];
            let of = |field: &str| data[field].as_str().unwrap().to_owned();
            (of("name"), of("phase"), of("reason"))
        })
        .collect();
    let expected = [
        ("bad", "Failed", "ExitCode"),
        ("good", "Succeeded", "Completed"),
        ("late", "Failed", "TimedOut"),
        ("stopped", "Cancelled", "Cancelled"),
    ];
    assert_eq!(
        shown,
        expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned()))
    );
    assert_eq!(ends[0]["data"]["exitCode"], 3);
    assert_eq!(ends[1]["data"]["result"]["body"], "done\n");
    assert_eq!(ends[1]["type"], "task.finished");
    world
        .metrics_show(&[
            r#"errand_callback_tries_total{outcome="2xx"} 4"#,
            r#"errand_callbacks_ended_total{state="Delivered"} 4"#,
            "errand_callbacks_underway 0",
        ])
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_callback_costs_one_write() {
    let writes = Arc::new(Mutex::new(Vec::new()));
    let seen = writes.clone();
    let world = World::start_with(|setup| {
        // A run that is not shown as Running, as in a cluster.
        setup.engine.running_after = Duration::from_secs(60);
        setup.fault = Some(Arc::new(move |request| {
            // Pods apart: to let one go may take a write more, since others let go of it too.
            if request.method() != Method::GET && request.uri().path().contains("/tasks/") {
                let write = format!("{} {}", request.method(), request.uri().path());
                seen.lock().unwrap().push(write);
            }
            Fault::None
        }));
    })
    .await;
    let receiver = Receiver::start(taken);
    // The first may come before the node, and its status then says that it waits for one.
    world.task("first", inline("true")).await;
    world.all_let_go("first").await;
    writes.lock().unwrap().clear();
    world.task("quiet", inline("true")).await;
    world.all_let_go("quiet").await;
    let status =
        |name: &str| format!("PATCH /apis/errand.dev/v1alpha1/namespaces/default/tasks/{name}/status");
    assert_eq!(std::mem::take(&mut *writes.lock().unwrap()), [status("quiet")]);
    world
        .task("t", telling("true", json!({"url": receiver.url()})))
        .await;
    told(&world, "t").await;
    world.all_let_go("t").await;
    assert_eq!(*writes.lock().unwrap(), [status("t"), status("t")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_comes_up_later_hears_of_it_and_the_task_waits_for_that() {
    let world = World::start().await;
    let addr = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let callback = json!({"url": format!("http://{addr}/"), "retry": {"limit": 20, "backoff": "100ms"}});
    let mut spec = telling("true", callback);
    spec["function"]["ttlAfterFinished"] = json!("0s");
    world.task("t", spec).await;
    let waiting = world
        .until("t", "it was tried", |task| {
            let callback = task.status.as_ref()?.callback.clone()?;
            (callback.attempts > 0).then_some(callback)
        })
        .await;
    assert_eq!(
        (waiting.state, waiting.last_status),
        (CallbackState::Delivering, None)
    );
    let words = waiting.message.unwrap();
    assert!(
        words.starts_with(&format!("could not connect to {addr}: ")),
        "{words}"
    );
    assert!(waiting.next_attempt_at > waiting.last_attempt_at);
    let receiver = Receiver::on(std::net::TcpListener::bind(addr).unwrap(), taken);
    receiver.heard(1).await;
    // Its time was over long ago; only the callback kept it.
    world.gone("t").await;
    assert_eq!(receiver.calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_decide_whether_it_is_tried_again() {
    let world = World::start().await;
    let gone = Receiver::start(|_, _| Reply::Status(410));
    world
        .task("gone", telling("true", json!({"url": gone.url()})))
        .await;
    let elsewhere = Receiver::start(taken);
    let to = elsewhere.url();
    let moved = Receiver::start(move |_, _| Reply::With(307, "location", to.clone()));
    let once = json!({"limit": 1});
    world
        .task(
            "moved",
            telling("true", json!({"url": moved.url(), "retry": once})),
        )
        .await;
    let broken = Receiver::start(|_, _| Reply::Status(500));
    let thrice = json!({"limit": 3, "backoff": "10ms"});
    world
        .task(
            "broken",
            telling("true", json!({"url": broken.url(), "retry": thrice})),
        )
        .await;
    for (name, attempts, status, words) in [
        ("gone", 1, 410, "the answer was 410 Gone"),
        (
            "moved",
            1,
            307,
            "the answer was 307 Temporary Redirect, a redirect that is not followed",
        ),
        ("broken", 3, 500, "the answer was 500 Internal Server Error"),
    ] {
        let callback = told(&world, name).await;
        assert_eq!(
            (
                callback.state,
                callback.attempts,
                callback.last_status,
                callback.message.as_deref()
            ),
            (CallbackState::Failed, attempts, Some(status), Some(words)),
            "{name}"
        );
        world.event(name, "CallbackFailed").await;
    }
    assert!(elsewhere.calls().is_empty());
    let ids: Vec<_> = broken
        .calls()
        .iter()
        .map(|call| call.header("webhook-id").map(str::to_owned))
        .collect();
    assert!(ids.len() == 3 && ids.iter().all(|id| *id == ids[0]), "{ids:?}");

    let follow = json!({"url": moved.url(), "followRedirects": true});
    world.task("follow", telling("true", follow)).await;
    assert_eq!(told(&world, "follow").await.state, CallbackState::Delivered);
    assert_eq!(elsewhere.calls()[0].json()["data"]["name"], "follow");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_asks_for_time_gets_it() {
    let world = World::start().await;
    let busy = Receiver::start(|number, _| match number {
        0 => Reply::With(503, "retry-after", "1".to_owned()),
        _ => Reply::Status(200),
    });
    let callback = json!({"url": busy.url(), "retry": {"backoff": "1ms"}});
    world.task("t", telling("true", callback)).await;
    let callback = told(&world, "t").await;
    assert_eq!((callback.state, callback.attempts), (CallbackState::Delivered, 2));
    let calls = busy.calls();
    let between = calls[1].at - calls[0].at;
    assert!(between >= Duration::from_millis(990), "{between:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_hangs_keeps_nobody_else_waiting() {
    let world = World::start_with(|setup| {
        setup.engine.workers = 1;
        setup.engine.callbacks.at_once = 2;
        setup.engine.callbacks.per_host = 1;
    })
    .await;
    let hanging = Receiver::start(|_, _| Reply::Hang);
    let receiver = Receiver::start(taken);
    let slow = json!({"url": hanging.url(), "timeout": "60s"});
    for name in ["first", "second", "third"] {
        world.task(name, telling("true", slow.clone())).await;
    }
    hanging.heard(1).await;
    world.ended("second").await;
    world.ended("third").await;
    world
        .task("t", telling("true", json!({"url": receiver.url()})))
        .await;
    assert_eq!(told(&world, "t").await.state, CallbackState::Delivered);
    assert_eq!(hanging.calls().len(), 1, "one at a time for one host");
    world.metrics_show(&["errand_callbacks_underway 3"]).await;

    let quick = json!({"url": hanging.url().replace("127.0.0.1", "localhost"), "timeout": "200ms", "retry": {"limit": 1}});
    world.task("late", telling("true", quick)).await;
    let callback = told(&world, "late").await;
    assert_eq!(
        (callback.state, callback.message.as_deref()),
        (
            CallbackState::Failed,
            Some("no answer within 200ms (waiting for an answer)")
        )
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_may_not_be_called_is_said_so_and_not_called() {
    let world = World::start_with(|setup| setup.engine.callbacks.networks.loopback = false).await;
    let receiver = Receiver::start(taken);
    let port = receiver.addr.port();
    for (name, url, words) in [
        (
            "loopback",
            receiver.url(),
            "127.0.0.1 is not called: it is loopback, which must be allowed (--callback-allow)",
        ),
        (
            "mapped",
            format!("http://[::ffff:127.0.0.1]:{port}/"),
            "::ffff:127.0.0.1 is not called: it is loopback, which must be allowed (--callback-allow)",
        ),
        (
            "metadata",
            "http://169.254.169.254/latest/meta-data/".to_owned(),
            "169.254.169.254 is not called: it is link-local",
        ),
        (
            "password",
            format!("http://user:password@127.0.0.1:{port}/"),
            "the address of the callback names a user or a password, which would be there for all to read",
        ),
    ] {
        world.task(name, telling("true", json!({"url": url}))).await;
        let callback = told(&world, name).await;
        assert_eq!(
            (callback.state, callback.attempts, callback.message.as_deref()),
            (CallbackState::Failed, 1, Some(words))
        );
    }
    assert!(receiver.calls().is_empty());
}
