//! An API server that misbehaves, and objects that cannot be read.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use errand::crd::Phase;
use http::Method;
use serde_json::json;

use super::ends::inline;
use crate::support::{
    PATIENCE,
    fault::{Fault, with_faults},
    world::World,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poisoned_task_is_marked_and_the_healthy_ones_go_on() {
    let world = World::start().await;
    let mut poisoned = inline("true");
    poisoned["timeout"] = json!("soon");
    // An older definition let it through.
    let at = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/timeout";
    world
        .change_definition(json!([{"op": "replace", "path": at, "value": {"type": "string"}}]))
        .await;
    world.task_raw("poisoned", poisoned).await;
    world.task("healthy", inline("true")).await;
    assert_eq!(
        world.ended("healthy").await.status.unwrap().phase,
        Some(Phase::Succeeded)
    );
    let status = world
        .raw_until("poisoned", "it is marked", |object| {
            (object.pointer("/status/phase")? == "Failed").then(|| object["status"].clone())
        })
        .await;
    assert_eq!(status["reason"], json!("InvalidObject"));
    assert!(
        status["message"].as_str().unwrap().contains("cannot be read"),
        "{status}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conflicts_are_met_with_a_fresh_look() {
    let conflicts = Arc::new(AtomicUsize::new(0));
    let count = conflicts.clone();
    let world = World::start_with(|setup| {
        setup.fault = Some(Arc::new(move |request| {
            let status_write = request.method() == Method::PATCH && request.uri().path().ends_with("/status");
            if status_write && count.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
                return Fault::Status(409, "Conflict");
            }
            Fault::None
        }));
    })
    .await;
    for n in 0..5 {
        world.task(&format!("t{n}"), inline("echo fine")).await;
    }
    for n in 0..5 {
        assert_eq!(
            world.succeeded(&format!("t{n}")).await.body.as_deref(),
            Some("fine\n")
        );
    }
    assert!(conflicts.load(Ordering::SeqCst) >= 10);
    world.no_pods().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_changes_while_it_is_let_go_is_let_go_in_the_same_look() {
    let conflicts = Arc::new(AtomicUsize::new(0));
    let count = conflicts.clone();
    let world = World::start_with(|setup| {
        setup.fault = Some(Arc::new(move |request| {
            let pod = request.method() == Method::PATCH && request.uri().path().contains("/pods/");
            match pod && count.fetch_add(1, Ordering::SeqCst) < 3 {
                true => Fault::Status(409, "Conflict"),
                false => Fault::None,
            }
        }));
    })
    .await;
    world.task("t", inline("echo fine")).await;
    assert_eq!(world.succeeded("t").await.body.as_deref(), Some("fine\n"));
    world.no_pods().await;
    assert_eq!(
        conflicts.load(Ordering::SeqCst),
        4,
        "three conflicts, and the write"
    );
    assert_eq!(world.looks("take the finalizer off a pod"), 0);
    assert!(world.looks("ok") > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_of_the_api_server_delay_a_task_and_lose_nothing() {
    let errors = Arc::new(AtomicUsize::new(0));
    let count = errors.clone();
    let world = World::start_with(|setup| {
        setup.fault = Some(Arc::new(move |request| {
            let watch = request
                .uri()
                .query()
                .is_some_and(|query| query.contains("watch="));
            if !watch && count.fetch_add(1, Ordering::SeqCst) % 3 == 1 {
                return Fault::Status(500, "InternalError");
            }
            Fault::None
        }));
    })
    .await;
    world.task("t", inline("echo fine")).await;
    assert_eq!(world.succeeded("t").await.body.as_deref(), Some("fine\n"));
    world.no_pods().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_that_break_and_histories_that_expire_lose_nothing() {
    let watches = Arc::new(AtomicUsize::new(0));
    let count = watches.clone();
    let world = World::start_with(|setup| {
        setup.fault = Some(Arc::new(move |request| {
            let watch = request
                .uri()
                .query()
                .is_some_and(|query| query.contains("watch="));
            if !watch {
                return Fault::None;
            }
            match count.fetch_add(1, Ordering::SeqCst) % 3 {
                0 => Fault::Status(410, "Expired"),
                1 => Fault::CutAfter(std::time::Duration::from_millis(50)),
                _ => Fault::None,
            }
        }));
    })
    .await;
    for n in 0..10 {
        world.task(&format!("t{n}"), inline("echo fine")).await;
    }
    for n in 0..10 {
        assert_eq!(
            world.succeeded(&format!("t{n}")).await.body.as_deref(),
            Some("fine\n")
        );
    }
    world.no_pods().await;
    // The watches begin again after a pause, which all of this may have fitted into.
    let again = async {
        while watches.load(Ordering::SeqCst) <= 4 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_without_faults_is_left_as_it_is() {
    let world = World::start().await;
    let client = with_faults(world.client.clone(), Arc::new(|_| Fault::None));
    assert!(client.apiserver_version().await.is_ok());
}
