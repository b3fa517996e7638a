//! Controllers that die, or lead no longer, around a callback.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use errand::{
    crd::{CallbackState, Task},
    engine::leader::Leadership,
};
use http::Method;
use k8s_openapi::jiff::Timestamp;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{taken, telling, told};
use crate::support::{
    fault::{Fault, with_faults},
    receiver::{Call, Receiver},
    world::World,
};

/// Runs a Task with an engine that stops for good in its write number `stop_at`, then with another one. Returns the
/// writes made before that, and the calls.
async fn interrupted(stop_at: usize, after: bool) -> (usize, Vec<Call>) {
    let world = World::start_with(|setup| setup.start_engine = false).await;
    let receiver = Receiver::start(taken);
    let writes = Arc::new(AtomicUsize::new(0));
    let dead = CancellationToken::new();
    let client = {
        let (writes, dead) = (writes.clone(), dead.clone());
        let faults = move |request: &http::Request<_>| {
            if dead.is_cancelled() {
                return Fault::Hang;
            }
            let write = request.method() != Method::GET && !request.uri().path().contains("/events");
            if !write || writes.fetch_add(1, Ordering::SeqCst) != stop_at {
                return Fault::None;
            }
            dead.cancel();
            if after { Fault::DoneThenHang } else { Fault::Hang }
        };
        with_faults(world.client.clone(), Arc::new(faults))
    };
    let first = world.engine_on(client);
    world
        .task("t", telling("true", json!({"url": receiver.url()})))
        .await;
    let all = async {
        told(&world, "t").await;
        world.all_let_go("t").await;
    };
    tokio::select! {
        () = dead.cancelled() => {}
        () = all => {}
    }
    first.abort().await;
    let second = world.engine_on(world.client.clone());
    let callback = told(&world, "t").await;
    assert_eq!((callback.state, callback.attempts), (CallbackState::Delivered, 1));
    world.all_let_go("t").await;
    second.stop().await;
    (writes.load(Ordering::SeqCst), receiver.calls())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wherever_a_controller_dies_the_receiver_hears_at_least_once() {
    let (writes, calls) = interrupted(usize::MAX, false).await;
    assert_eq!(calls.len(), 1);
    let mut repeated = 0;
    // A run may have a write more or less than the first one, so that none of a round's points is the one in question.
    for stop_at in (0..writes).chain((0..writes + 2).cycle().take(3 * writes)) {
        if stop_at == 0 && repeated > 0 {
            break;
        }
        for after in [false, true] {
            let (_, calls) = interrupted(stop_at, after).await;
            let point = format!("stopped in write {stop_at} (done: {after})");
            assert!((1..=2).contains(&calls.len()), "{point}: {calls:?}");
            let id = calls[0].header("webhook-id");
            assert!(
                calls.iter().all(|call| call.header("webhook-id") == id),
                "{point}"
            );
            repeated += calls.len() - 1;
        }
    }
    // Only the write that tells of the call comes too late for it.
    assert!(repeated >= 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_whose_lease_has_run_out_calls_nobody() {
    let world = World::start_with(|setup| setup.start_engine = false).await;
    let receiver = Receiver::start(taken);
    let spec = json!({"external": {"processor": "p"}, "callback": {"url": receiver.url()}});
    world.task("t", spec).await;
    let tasks: Api<Task> = Api::namespaced(world.client.clone(), "default");
    let ended =
        json!({"status": {"phase": "Succeeded", "reason": "Reported", "finishedAt": Timestamp::now()}});
    tasks
        .patch_status("t", &PatchParams::default(), &Patch::Merge(ended))
        .await
        .unwrap();
    let paused = world.engine_under(Leadership::new(Instant::now()), world.client.clone());
    world
        .metrics_show(&[r#"errand_reconciles_total{kind="task",outcome="ok"} 2"#])
        .await;
    paused.stop().await;
    assert!(receiver.calls().is_empty());
    let next = world.engine_on(world.client.clone());
    assert_eq!(told(&world, "t").await.state, CallbackState::Delivered);
    next.stop().await;
}
