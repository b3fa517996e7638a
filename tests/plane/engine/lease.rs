//! A controller that does not lead any longer.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use errand::{crd::Phase, engine::leader::Leadership};
use http::Method;
use tokio::{sync::Notify, time::Instant};

use super::ends::inline;
use crate::support::{
    fault::{Fault, with_faults},
    world::World,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_whose_lease_has_run_out_starts_nothing() {
    let world = World::start_with(|setup| setup.start_engine = false).await;
    let (looks, pods_made) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let client = {
        let (looks, pods_made) = (looks.clone(), pods_made.clone());
        let watched = move |request: &http::Request<_>| {
            match (request.method(), request.uri().path()) {
                // The fresh look that comes right before a pod is made.
                (&Method::GET, path) if path.ends_with("/tasks/t") => looks.notify_one(),
                (&Method::POST, path) if path.ends_with("/pods") => {
                    pods_made.fetch_add(1, Ordering::SeqCst);
                }
                _ => {}
            }
            Fault::None
        };
        with_faults(world.client.clone(), Arc::new(watched))
    };
    // Nobody has told it to stop: it was paused and wakes up now.
    let paused = world.engine_under(Leadership::new(Instant::now()), client);
    world.task("t", inline("true")).await;
    // At the second look the first has come to its end.
    looks.notified().await;
    looks.notified().await;
    paused.stop().await;
    assert_eq!(pods_made.load(Ordering::SeqCst), 0);
    world.no_pods().await;
    assert_eq!(world.get("t").await.status.unwrap().phase, Some(Phase::Queued));

    let next = world.engine_on(world.client.clone());
    world.succeeded("t").await;
    next.stop().await;
}
