//! The release is upgraded, removed and put elsewhere while Tasks run.

use errand::crd::{Phase, Task};
use kube::ResourceExt as _;
use serde_json::json;

use super::{
    load::Load,
    prober::Prober,
    release::{Other, Removed, roll},
    support::{healthy, in_healthy_cluster},
};
use crate::support::{Space, command::kubectl, installation::NAMESPACE, space::kubeconfig};

#[tokio::test]
async fn an_upgrade_under_load_loses_no_task_repeats_none_and_leaves_every_request_answered() {
    in_healthy_cluster("upgrade", |space: Space| async move {
        let load = Load::of(&space, 2, json!({})).await;
        load.make("before", 30).await;
        load.started(5).await;
        let prober = Prober::start(&space);
        let mark = space.name.clone();
        let rolling = tokio::task::spawn_blocking(move || roll(&mark));
        load.make("meanwhile", 30).await;
        rolling.await.unwrap();
        let before = prober.count();
        space
            .poll("requests are answered after the roll", || async {
                (prober.count() > before + 20).then_some(())
            })
            .await;
        let (asked, unanswered) = prober.stop().await;
        assert!(
            unanswered.is_empty(),
            "of {asked} requests {} were not answered: {unanswered:#?}",
            unanswered.len()
        );
        load.all_ran_once().await;
        healthy(&space).await;
    })
    .await;
}

#[tokio::test]
async fn tasks_outlive_their_release_and_are_served_on_by_another_one_and_by_the_first_again() {
    in_healthy_cluster("reinstall", |space: Space| async move {
        let load = Load::of(&space, 3, json!({})).await;
        load.make("running", 10).await;
        load.started(5).await;
        let removed = tokio::task::spawn_blocking(Removed::remove).await.unwrap();
        space
            .poll("nothing of the release is left", || async {
                nothing_left().then_some(())
            })
            .await;
        load.make("orphaned", 5).await;
        waits(&space, "orphaned-000").await;

        let other = tokio::task::spawn_blocking(|| Other::install("second", "errand-second"))
            .await
            .unwrap();
        space.succeeded("orphaned-000").await;
        tokio::task::spawn_blocking(|| drop(other)).await.unwrap();
        load.make("waiting", 5).await;
        waits(&space, "waiting-000").await;

        tokio::task::spawn_blocking(|| drop(removed)).await.unwrap();
        load.all_ran_once().await;
        healthy(&space).await;
    })
    .await;
}

/// Pods go a moment after what made them.
fn nothing_left() -> bool {
    let kinds = "deployments,services,pods";
    let found = kubectl(
        kubeconfig(),
        ["--namespace", NAMESPACE, "get", kinds, "-o", "name"],
    );
    found.ok().is_empty()
}

/// Nobody serves the Task: it is there, and nothing has become of it.
async fn waits(space: &Space, name: &str) {
    let task: Task = space.get(name).await;
    assert_eq!(task.name_any(), name);
    assert_eq!(json!(task.status.unwrap_or_default().phase), json!(Phase::Queued));
}
