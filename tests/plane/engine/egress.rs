//! Tasks that say where they may connect to.

use std::sync::Arc;

use errand::crd::Phase;
use http::Method;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::{Api, ResourceExt as _, api::ListParams};
use serde_json::json;

use super::ends::inline;
use crate::support::{fault::Fault, world::World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_network_is_closed_around_a_task_before_it_starts_and_opened_by_its_deletion() {
    let world = World::start().await;
    let policies: Api<NetworkPolicy> = Api::namespaced(world.client.clone(), "default");
    let rule =
        json!({"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"protocol": "TCP", "port": 443}]});
    let mut spec = inline("true");
    spec["function"]["pod"] = json!({"egress": [rule]});
    world.task("t", spec).await;
    assert_eq!(
        world.ended("t").await.status.unwrap().phase,
        Some(Phase::Succeeded)
    );
    let made = policies.list(&ListParams::default()).await.unwrap().items;
    let [policy] = &made[..] else { panic!("{made:?}") };
    let made = policy.spec.clone().unwrap();
    assert_eq!(serde_json::to_value(&made.egress).unwrap(), json!([rule]));
    let uid = world.get("t").await.uid().unwrap();
    let selected = made.pod_selector.unwrap().match_labels.unwrap();
    assert_eq!(selected, [("errand.dev/task-uid".to_owned(), uid)].into());
    world.delete("t").await;
    world
        .poll("the policy goes with its Task", || async {
            let left = policies.list(&ListParams::default()).await.unwrap().items;
            left.is_empty().then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_whose_network_cannot_be_closed_does_not_start() {
    let world = World::start_with(|setup| {
        setup.fault = Some(Arc::new(|request| {
            let makes =
                request.method() == Method::POST && request.uri().path().ends_with("/networkpolicies");
            if makes {
                Fault::Status(403, "Forbidden")
            } else {
                Fault::None
            }
        }));
    })
    .await;
    let mut forbidden = inline("true");
    forbidden["function"]["pod"] = json!({"egress": []});
    let mut wrong = inline("true");
    wrong["function"]["pod"] = json!({"egress": [{"ports": 53}]});
    for (name, spec, reason, words) in [
        (
            "forbidden",
            forbidden,
            "PodRefused",
            "pod.egress needs a NetworkPolicy, which the controller may not make here (rbac.networkPolicies of the chart): on purpose",
        ),
        (
            "wrong",
            wrong,
            "InvalidSpec",
            "pod.egress[0] is no egress rule of networking.k8s.io/v1: invalid type: integer `53`, expected a sequence",
        ),
    ] {
        world.task(name, spec).await;
        let status = world.ended(name).await.status.unwrap();
        assert_eq!(
            (status.reason.as_deref(), status.message.as_deref()),
            (Some(reason), Some(words))
        );
        assert_eq!(status.started_at, None);
    }
    world.no_pods().await;
}
