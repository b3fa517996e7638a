//! Schedules: one Task for each moment, whatever is stopped in between.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use errand::{
    crd::{Phase, ScheduleStatus, Task},
    engine::schedule::made,
};
use http::Method;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::ends::inline;
use crate::support::{
    fault::{Fault, with_faults},
    world::World,
};

/// A second ago, in whole seconds.
fn a_second_ago() -> Timestamp {
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
    now - SignedDuration::from_secs(1)
}

/// A Schedule that is due once, at once.
fn once(task: Value) -> Value {
    json!({"startAt": a_second_ago().to_string(), "template": {"spec": task}})
}

fn external() -> Value {
    json!({"external": {"processor": "p"}})
}

/// What a Schedule says once its one Task is made.
fn done(status: &ScheduleStatus) -> Option<(Option<u32>, Option<u32>)> {
    let complete = status
        .conditions
        .iter()
        .any(|condition| condition.reason == "Complete");
    (complete && status.pending_time.is_none()).then_some((status.created, status.remaining))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_makes_its_task_of_the_template_and_takes_it_along() {
    let world = World::start().await;
    let at = a_second_ago();
    let spec = json!({
        "startAt": at.to_string(),
        "template": {"metadata": {"labels": {"team": "a"}}, "spec": inline("echo done")},
    });
    world.schedule("once", spec).await;
    assert_eq!(
        world.schedule_says("once", "it is complete", done).await,
        (Some(1), Some(0))
    );
    let made = world.made_by("once").await;
    let [task] = &made[..] else { panic!("{made:?}") };
    assert_eq!(task.labels()["team"], "a");
    assert_eq!(task.annotations()["errand.dev/scheduled-at"], at.to_string());
    assert_eq!(
        world.succeeded(&task.name_any()).await.body.as_deref(),
        Some("done\n")
    );
    world.delete_schedule("once").await;
    world.gone(&task.name_any()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_that_cannot_be_understood_says_so_and_the_others_go_on() {
    let world = World::start().await;
    let wrong = json!({"schedule": "every day", "template": {"spec": external()}});
    world.schedule("wrong", wrong).await;
    world.schedule("right", once(external())).await;
    world.schedule_says("right", "it is complete", done).await;
    let said = world
        .schedule_says("wrong", "it says why", |status| {
            Some(status.conditions.first()?.message.clone())
        })
        .await;
    assert!(
        said.starts_with("\"every day\" is no cron expression: "),
        "{said}"
    );
    assert_eq!(world.made_by("wrong").await.len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_is_refused_is_made_as_soon_as_it_is_taken() {
    let refuse = Arc::new(AtomicUsize::new(0));
    let seen = refuse.clone();
    let world = World::start_with(|setup| {
        setup.fault = Some(Arc::new(move |request| {
            let create = request.method() == Method::POST && request.uri().path().ends_with("/tasks");
            match create && seen.fetch_add(1, Ordering::SeqCst) < 2 {
                true => Fault::Status(403, "Forbidden"),
                false => Fault::None,
            }
        }));
    })
    .await;
    world.schedule("once", once(external())).await;
    world
        .schedule_says("once", "it tells of the refusal", |status| {
            let condition = status.conditions.first()?;
            (condition.reason == "CreateFailed" && condition.message.contains("on purpose")).then_some(())
        })
        .await;
    world.event("once", "CreateFailed").await;
    assert_eq!(
        world.schedule_says("once", "it is complete", done).await,
        (Some(1), Some(0))
    );
    assert_eq!(world.made_by("once").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_controllers_at_once_make_each_task_once() {
    let world = World::start_with(|setup| setup.start_engine = false).await;
    let engines = [
        world.engine_on(world.client.clone()),
        world.engine_on(world.client.clone()),
    ];
    let names: Vec<String> = (0..20).map(|number| format!("s{number}")).collect();
    for name in &names {
        world.schedule(name, once(external())).await;
    }
    for name in &names {
        assert_eq!(
            world.schedule_says(name, "it is complete", done).await,
            (Some(1), Some(0))
        );
        assert_eq!(world.made_by(name).await.len(), 1, "{name}");
    }
    for engine in engines {
        engine.stop().await;
    }
}

/// A Schedule with this policy, due at once, while a Task that it made a minute earlier has not ended: its name.
async fn busy(world: &World, policy: &str) -> String {
    let mut spec = once(inline("exec sleep 600"));
    spec["concurrencyPolicy"] = json!(policy);
    spec["suspend"] = json!(true);
    world.schedule("busy", spec).await;
    let schedule = world
        .change_schedule("busy", json!({"startingDeadline": "1h"}))
        .await;
    let earlier = made::task(&schedule, a_second_ago() - SignedDuration::from_mins(1));
    world.whole_task(&earlier).await;
    let name = earlier.name_any();
    world.running(&name).await;
    world.change_schedule("busy", json!({"suspend": null})).await;
    name
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_forbid_a_task_is_made_once_the_earlier_one_has_ended() {
    let world = World::start().await;
    let earlier = busy(&world, "Forbid").await;
    let waits = |status: &ScheduleStatus| {
        let due = status.next_schedule_time.filter(|next| *next < Timestamp::now());
        due.map(|_| status.created)
    };
    assert_eq!(world.schedule_says("busy", "it waits", waits).await, Some(0));
    assert_eq!(world.made_by("busy").await.len(), 1);
    world.cancel(&earlier).await;
    assert_eq!(
        world.schedule_says("busy", "it is complete", done).await,
        (Some(1), Some(0))
    );
    assert_eq!(world.made_by("busy").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_replace_the_earlier_task_is_cancelled() {
    let world = World::start().await;
    let earlier = busy(&world, "Replace").await;
    assert_eq!(
        world.schedule_says("busy", "it is complete", done).await,
        (Some(1), Some(0))
    );
    let ended = world.ended(&earlier).await.status.unwrap();
    assert_eq!(ended.phase, Some(Phase::Cancelled));
    assert_eq!(world.made_by("busy").await.len(), 2);
}

/// One Schedule whose Task goes as soon as it has ended, with an engine that stops for good in write number `stop_at` of
/// those that make the Task; another engine finishes it. Returns the number of those writes, and what the Task left.
async fn interrupted(stop_at: usize, after: bool) -> (usize, String) {
    let world = World::start_with(|setup| setup.start_engine = false).await;
    let runs = world.folder().join("runs");
    let writes = Arc::new(AtomicUsize::new(0));
    let dead = CancellationToken::new();
    let client = {
        let (writes, dead) = (writes.clone(), dead.clone());
        with_faults(
            world.client.clone(),
            Arc::new(move |request| {
                if dead.is_cancelled() {
                    return Fault::Hang;
                }
                let path = request.uri().path();
                let makes = request.method() == Method::POST && path.ends_with("/tasks");
                let counts = request.method() == Method::PATCH && path.contains("/schedules/");
                if !(makes || counts) || writes.fetch_add(1, Ordering::SeqCst) != stop_at {
                    return Fault::None;
                }
                dead.cancel();
                if after { Fault::DoneThenHang } else { Fault::Hang }
            }),
        )
    };
    let first = world.engine_on(client);
    let mut task = inline(&format!("echo run >> {}", runs.display()));
    task["function"]["ttlAfterFinished"] = json!("0s");
    world.schedule("once", once(task)).await;
    tokio::select! {
        () = dead.cancelled() => {}
        _ = world.schedule_says("once", "it is complete", done) => {}
    }
    first.abort().await;
    // What the first one left has time to end before the second one looks.
    let second = world.engine_on(world.client.clone());
    assert_eq!(
        world.schedule_says("once", "it is complete", done).await,
        (Some(1), Some(0))
    );
    world.none_made_by("once").await;
    world.no_pods().await;
    second.stop().await;
    (
        writes.load(Ordering::SeqCst),
        std::fs::read_to_string(runs).unwrap_or_default(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_point_neither_doubles_nor_loses_a_task() {
    let (writes, ran) = interrupted(usize::MAX, false).await;
    assert_eq!(
        (writes, ran.as_str()),
        (3, "run\n"),
        "counted, made, the note taken off"
    );
    for stop_at in 0..writes {
        for after in [false, true] {
            let (_, ran) = interrupted(stop_at, after).await;
            assert_eq!(ran, "run\n", "stopped in write {stop_at}, done: {after}");
        }
    }
}

/// A note of a moment long ago: its Task may have been made, may have run and may be gone, or not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_stays_while_its_moment_is_noted() {
    let world = World::start_with(|setup| {
        setup.fault = Some(Arc::new(|request| {
            // The engine can note and make, and never takes the note off.
            let body_less = request.method() == Method::PATCH && request.uri().path().contains("/schedules/");
            static NOTED: AtomicUsize = AtomicUsize::new(0);
            match body_less && NOTED.fetch_add(1, Ordering::SeqCst) > 0 {
                true => Fault::Status(503, "ServiceUnavailable"),
                false => Fault::None,
            }
        }));
    })
    .await;
    let mut task = inline("true");
    task["function"]["ttlAfterFinished"] = json!("0s");
    world.schedule("once", once(task)).await;
    let is_over = |task: &Task| task.status.as_ref()?.phase?.is_terminal().then_some(());
    let name = world.first_made_by("once").await;
    world.until(&name, "it ends", is_over).await;
    world.no_pods().await;
    assert_eq!(
        world.made_by("once").await.len(),
        1,
        "its time to go has come, and it stays"
    );
}
