//! Nodes, pods and namespaces that go away under running Tasks.

use errand::crd::{Phase, Task, TaskStatus};
use k8s_openapi::api::core::v1::{Namespace, Node};
use kube::{Api, ResourceExt as _, api::DeleteParams};
use serde_json::{Value, json};

use super::{
    load::Ledger,
    support::{Stopped, eventually, healthy, in_healthy_cluster, is_ready},
};
use crate::support::Space;

/// A script that says something and then goes on for longer than any test.
const ENDLESS: &str = "echo so far; exec sleep 600";

fn pinned(node: &str) -> Value {
    json!({"capabilities": {"nodeSelector": {"kubernetes.io/hostname": node}}})
}

fn preferring(node: &str) -> Value {
    let named =
        json!({"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]});
    json!({
        "capabilities": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": named}]}},
        "retry": {"limit": 1, "backoff": "1s"},
    })
}

fn node_of(status: &TaskStatus) -> Option<&str> {
    status.pod.as_ref()?.node.as_deref()
}

fn end(status: &TaskStatus) -> (Option<Phase>, Option<&str>, Option<u32>) {
    (status.phase, status.reason.as_deref(), status.attempts)
}

#[tokio::test]
async fn tasks_on_a_lost_node_end_or_run_again_elsewhere_and_stay_so_when_it_comes_back() {
    in_healthy_cluster("node", |space: Space| async move {
        let ledger = Ledger::open(&space);
        let again = format!("test $ERRAND_ATTEMPT = 1 || {{ echo done; exit; }}\n{ENDLESS}");
        space
            .task(
                "once",
                json!({"function": ledger.shell(ENDLESS, pinned("node-2"))}),
            )
            .await;
        space
            .task(
                "again",
                json!({"function": ledger.shell(&again, preferring("node-2"))}),
            )
            .await;
        space
            .task(
                "elsewhere",
                json!({"function": ledger.shell(ENDLESS, pinned("node-1"))}),
            )
            .await;
        for name in ["once", "again", "elsewhere"] {
            space.says(name, "so far").await;
        }
        assert_eq!(node_of(&space.get("again").await.status.unwrap()), Some("node-2"));

        let stopped = Stopped::part("kubelet-2");
        let once = space.failed("once", "NodeLost").await;
        assert_eq!(once.attempts, Some(1));
        let again = space.succeeded("again").await;
        assert_eq!(
            (end(&again), node_of(&again)),
            (
                (Some(Phase::Succeeded), Some("Completed"), Some(2)),
                Some("node-1")
            )
        );
        assert_eq!(again.result.as_ref().unwrap().body.as_deref(), Some("done\n"));
        let elsewhere = space.get("elsewhere").await.status.unwrap();
        assert_eq!(
            (elsewhere.phase, elsewhere.attempts),
            (Some(Phase::Running), Some(1))
        );

        stopped.start();
        let nodes: Api<Node> = Api::all(space.client.clone());
        eventually(&space, "node-2 is Ready", || async {
            nodes.get("node-2").await.map(|node| is_ready(&node))
        })
        .await;
        space.cancel("elsewhere").await;
        assert_eq!(space.ended("elsewhere").await.phase, Some(Phase::Cancelled));
        space.no_pods().await;
        for (name, then) in [("once", once), ("again", again)] {
            assert_eq!(
                space.get(name).await.status,
                Some(then),
                "{name} is as it was while the node was lost"
            );
        }
        assert_eq!(ledger.starts(), ["again 1", "again 2", "elsewhere 1", "once 1"]);
        healthy(&space).await;
    })
    .await;
}

#[tokio::test]
async fn a_pod_deleted_by_hand_ends_its_task_with_the_evidence_even_if_by_force() {
    in_healthy_cluster("deleted", |space: Space| async move {
        for (name, how) in [
            ("asked", &["--wait=false"][..]),
            ("forced", &["--wait=false", "--force", "--grace-period=0"]),
        ] {
            space.script(name, ENDLESS, json!({})).await;
            space.says(name, "so far").await;
            let pod = space.get(name).await.status.unwrap().pod.unwrap().name;
            space.kubectl(&[&["delete", "pod", &pod], how].concat()).ok();
            let status = space.failed(name, "PodLost").await;
            assert_eq!(status.attempts, Some(1));
            assert_eq!(
                status.logs.map(|logs| logs.tail).as_deref(),
                Some("so far\n"),
                "{name}"
            );
        }
        space.no_pods().await;
    })
    .await;
}

#[tokio::test]
async fn a_namespace_with_running_tasks_goes_and_holds_nobody_up() {
    in_healthy_cluster("namespace", |space: Space| async move {
        let ledger = Ledger::open(&space);
        space.function("endless", ledger.shell(ENDLESS, json!({}))).await;
        for number in 0..10 {
            space
                .task(
                    &format!("t-{number}"),
                    json!({"functionRef": {"name": "endless"}}),
                )
                .await;
        }
        for number in 0..5 {
            space.running(&format!("t-{number}")).await;
        }
        let namespaces: Api<Namespace> = Api::all(space.client.clone());
        namespaces
            .delete(&space.name, &DeleteParams::default())
            .await
            .unwrap();
        let name = space.name.as_str();
        eventually(&space, "the namespace is gone", || async {
            namespaces.get_opt(name).await.map(|found| found.is_none())
        })
        .await;
        let left: Vec<_> = space
            .api::<Task>()
            .list(&Default::default())
            .await
            .unwrap()
            .iter()
            .map(Task::name_any)
            .collect();
        assert_eq!((left, space.pods().await.len()), (Vec::<String>::new(), 0));
        healthy(&space).await;
    })
    .await;
    in_healthy_cluster("afterwards", |space: Space| async move {
        space.script("t", "echo still here", json!({})).await;
        assert_eq!(
            space.succeeded("t").await.result.unwrap().body.as_deref(),
            Some("still here\n")
        );
    })
    .await;
}
