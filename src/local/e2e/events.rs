//! What scheduler and node tell of a pod, in the words of kube-scheduler and kubelet.

use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::ListParams;
use serde_json::json;

use super::nodes::{ready, until_node};
use super::plane::{PATIENCE, Plane, waits};

const SCHEDULER: &str = "default-scheduler";
const KUBELET: &str = "kubelet";

/// Type, reason, message.
pub type Told = (String, String, String);

pub fn told(type_: &str, reason: &str, message: &str) -> Told {
    [type_, reason, message].map(str::to_owned).into()
}

/// What a component told of a pod, in its order, once `wanted` events are there.
async fn events_of(plane: &Plane, pod: &str, component: &str, wanted: usize) -> Vec<Event> {
    let api: Api<Event> = Api::namespaced(plane.client.clone(), "default");
    let about = ListParams::default().fields(&format!("involvedObject.name={pod}"));
    let is_of = |event: &Event| {
        event
            .source
            .as_ref()
            .and_then(|source| source.component.as_deref())
            == Some(component)
    };
    let mut events: Vec<Event> = Vec::new();
    let read = async {
        while events.len() < wanted {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            events = api.list(&about).await.unwrap().items;
            events.retain(is_of);
        }
    };
    if tokio::time::timeout(PATIENCE, read).await.is_err() {
        panic!("only these came: {:#?}", words(&events));
    }
    // They are written one after another, under names that grow.
    events.sort_by_key(|event| event.metadata.name.clone());
    events
}

fn words(events: &[Event]) -> Vec<Told> {
    let parts = |event: &Event| [event.type_.clone(), event.reason.clone(), event.message.clone()];
    let told = |event: &Event| parts(event).map(Option::unwrap_or_default).into();
    events.iter().map(told).collect()
}

async fn scheduler_told(plane: &Plane, pod: &str, expected: &[Told]) {
    let events = events_of(plane, pod, SCHEDULER, expected.len()).await;
    assert_eq!(words(&events), expected, "{pod}");
}

pub async fn kubelet_told(plane: &Plane, pod: &str, expected: &[Told]) {
    let events = events_of(plane, pod, KUBELET, expected.len()).await;
    assert_eq!(words(&events), expected, "{pod}");
}

#[tokio::test]
async fn the_way_of_a_pod_is_told_from_its_place_to_its_end() {
    let plane = Plane::new().await;
    until_node(&plane, "n1", |node| ready(node) == "True").await;
    let script = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done";
    plane.run("p", script, json!({})).await;
    let pod = plane.wait_phase("p", "Running").await;
    plane.delete("p", 30).await;
    plane.wait_gone("p").await;
    let placed = told("Normal", "Scheduled", "Successfully assigned default/p to n1");
    scheduler_told(&plane, "p", &[placed]).await;
    let lived = [
        told("Normal", "Created", "Created container: task"),
        told("Normal", "Started", "Started container task"),
        told("Normal", "Killing", "Stopping container task"),
    ];
    kubelet_told(&plane, "p", &lived).await;
    let last = events_of(&plane, "p", KUBELET, 3).await.remove(2);
    let about = last.involved_object;
    assert_eq!(
        (about.kind.as_deref(), about.uid, about.field_path.as_deref()),
        (Some("Pod"), pod.metadata.uid, Some("spec.containers{task}"))
    );
    assert_eq!(last.source.unwrap().host.as_deref(), Some("n1"));
    plane.stop().await;
}

#[tokio::test]
async fn a_pod_that_fits_nowhere_hears_why() {
    let plane = Plane::bare().await;
    plane.run("p", "true", json!({})).await;
    let why = told(
        "Warning",
        "FailedScheduling",
        "no nodes available to schedule pods",
    );
    scheduler_told(&plane, "p", &[why]).await;
    plane.stop().await;
}

#[tokio::test]
async fn what_keeps_a_container_from_starting_is_told() {
    let plane = Plane::new().await;
    let command = json!({ "task": { "command": ["no-such-program"] } });
    plane.run("command", "", command).await;
    let error = "Error: exec: \"no-such-program\": executable file not found in $PATH";
    kubelet_told(&plane, "command", &[told("Warning", "Failed", error)]).await;

    let volume = json!([{ "name": "v", "configMap": { "name": "nowhere" } }]);
    plane.run("mount", "true", json!({ "volumes": volume })).await;
    let error = "MountVolume.SetUp failed for volume \"v\" : configmap \"nowhere\" not found";
    kubelet_told(&plane, "mount", &[told("Warning", "FailedMount", error)]).await;

    let env = json!([{ "name": "A", "valueFrom": { "secretKeyRef": { "name": "nowhere", "key": "k" } } }]);
    plane.run("env", "true", json!({ "task": { "env": env } })).await;
    let error = "Error: secret \"nowhere\" not found";
    kubelet_told(&plane, "env", &[told("Warning", "Failed", error)]).await;
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
            let mut events = events_of(&plane, "p", KUBELET, 3).await;
            events.retain(|event| event.reason.as_deref() == Some("Started"));
            match &events[..] {
                [one] if one.count >= Some(3) => return,
                [_] => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
                more => panic!("not counted: {more:#?}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, counted).await.unwrap();
    plane.stop().await;
}
