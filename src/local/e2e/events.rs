//! What scheduler and node tell of a pod, in the words of kube-scheduler and kubelet.

use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::ListParams;
use serde_json::json;

use super::plane::{PATIENCE, Plane, waits};

/// Component, type, reason, message.
pub type Told = (String, String, String, String);

pub fn told(component: &str, type_: &str, reason: &str, message: &str) -> Told {
    [component, type_, reason, message].map(str::to_owned).into()
}

/// The events about a pod, scheduler and kubelet each in their order, once `wanted` of them are there.
pub async fn events_of(plane: &Plane, pod: &str, wanted: usize) -> Vec<Event> {
    let api: Api<Event> = Api::namespaced(plane.client.clone(), "default");
    let about = ListParams::default().fields(&format!("involvedObject.name={pod}"));
    let mut events = Vec::new();
    let read = async {
        while events.len() < wanted {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            events = api.list(&about).await.unwrap().items;
        }
    };
    if tokio::time::timeout(PATIENCE, read).await.is_err() {
        panic!(
            "only these came: {:#?}",
            events.iter().map(words).collect::<Vec<_>>()
        );
    }
    // Each component writes its own one after another, under names that grow.
    events.sort_by_key(|event| (words(event).0 == "kubelet", event.metadata.name.clone()));
    events
}

pub fn words(event: &Event) -> Told {
    let component = event.source.as_ref().and_then(|source| source.component.clone());
    let parts = [
        component,
        event.type_.clone(),
        event.reason.clone(),
        event.message.clone(),
    ];
    parts.map(Option::unwrap_or_default).into()
}

async fn expect(plane: &Plane, pod: &str, expected: &[Told]) {
    let events = events_of(plane, pod, expected.len()).await;
    assert_eq!(events.iter().map(words).collect::<Vec<_>>(), expected, "{pod}");
}

#[tokio::test]
async fn the_way_of_a_pod_is_told_from_its_place_to_its_end() {
    let plane = Plane::new().await;
    plane
        .run(
            "p",
            "trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done",
            json!({}),
        )
        .await;
    let pod = plane.wait_phase("p", "Running").await;
    plane.delete("p", 30).await;
    plane.wait_gone("p").await;
    expect(
        &plane,
        "p",
        &[
            told(
                "default-scheduler",
                "Normal",
                "Scheduled",
                "Successfully assigned default/p to n1",
            ),
            told("kubelet", "Normal", "Created", "Created container: task"),
            told("kubelet", "Normal", "Started", "Started container task"),
            told("kubelet", "Normal", "Killing", "Stopping container task"),
        ],
    )
    .await;
    let events = events_of(&plane, "p", 4).await;
    let about = events[3].involved_object.clone();
    assert_eq!(
        (about.kind.as_deref(), about.uid, about.field_path.as_deref()),
        (Some("Pod"), pod.metadata.uid, Some("spec.containers{task}"))
    );
    assert_eq!(events[3].source.as_ref().unwrap().host.as_deref(), Some("n1"));
    plane.stop().await;
}

#[tokio::test]
async fn a_pod_that_fits_nowhere_hears_why() {
    let plane = Plane::bare().await;
    plane.run("p", "true", json!({})).await;
    expect(
        &plane,
        "p",
        &[told(
            "default-scheduler",
            "Warning",
            "FailedScheduling",
            "no nodes available to schedule pods",
        )],
    )
    .await;
    plane.stop().await;
}

#[tokio::test]
async fn what_keeps_a_container_from_starting_is_told() {
    let plane = Plane::new().await;
    let scheduled = |pod: &str| {
        let message = format!("Successfully assigned default/{pod} to n1");
        told("default-scheduler", "Normal", "Scheduled", &message)
    };
    plane
        .run(
            "command",
            "",
            json!({ "task": { "command": ["no-such-program"] } }),
        )
        .await;
    let error = "Error: exec: \"no-such-program\": executable file not found in $PATH";
    let failed = told("kubelet", "Warning", "Failed", error);
    expect(&plane, "command", &[scheduled("command"), failed]).await;

    let volume = json!([{ "name": "v", "configMap": { "name": "nowhere" } }]);
    plane.run("mount", "true", json!({ "volumes": volume })).await;
    let error = "MountVolume.SetUp failed for volume \"v\" : configmap \"nowhere\" not found";
    let failed = told("kubelet", "Warning", "FailedMount", error);
    expect(&plane, "mount", &[scheduled("mount"), failed]).await;

    let env = json!([{ "name": "A", "valueFrom": { "secretKeyRef": { "name": "nowhere", "key": "k" } } }]);
    plane.run("env", "true", json!({ "task": { "env": env } })).await;
    let failed = told(
        "kubelet",
        "Warning",
        "Failed",
        "Error: secret \"nowhere\" not found",
    );
    expect(&plane, "env", &[scheduled("env"), failed]).await;
    plane.stop().await;
}

#[tokio::test]
async fn an_event_that_repeats_is_counted() {
    let plane = Plane::new().await;
    plane
        .run("p", "exit 1", json!({ "restartPolicy": "OnFailure" }))
        .await;
    plane
        .wait_for("p", "backed off", |pod| {
            pod.is_some_and(|pod| waits(pod).0 == "CrashLoopBackOff")
        })
        .await;
    let counted = async {
        loop {
            let events = events_of(&plane, "p", 3).await;
            let started: Vec<_> = events
                .iter()
                .filter(|event| words(event).2 == "Started")
                .collect();
            if let [one] = started[..]
                && one.count >= Some(3)
            {
                assert!(one.first_timestamp <= one.last_timestamp, "{one:#?}");
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, counted).await.unwrap();
    plane.stop().await;
}
