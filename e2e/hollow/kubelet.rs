//! What a kubelet does with the pods of its node, without a container anywhere.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, pin_mut};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use kube_runtime::{
    WatchStreamExt as _,
    watcher::{self, Event, watcher},
};
use serde_json::{Value, json};

use super::{Life, Lives, status};

/// How often a kubelet looks after pods that have ended (kubelet, housekeepingPeriod).
const HOUSEKEEPING: Duration = Duration::from_secs(2);

/// Watches all pods for all nodes at once, until it is dropped.
pub async fn work(client: Client, run_time: Duration, lives: Arc<Lives>) {
    let events = watcher(Api::<Pod>::all(client.clone()), watcher::Config::default()).default_backoff();
    pin_mut!(events);
    let mut taken = Taken::default();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(pod) | Event::InitApply(pod)) => {
                see(&client, run_time, &lives, &mut taken, pod);
            }
            Ok(Event::Delete(pod)) => taken.forget(&pod),
            Ok(Event::Init | Event::InitDone) => {}
            Err(error) => eprintln!("hollow nodes: watch of pods: {error}"),
        }
    }
}

/// Pods by uid that are run, and those that are deleted.
#[derive(Default)]
struct Taken {
    run: HashSet<String>,
    deleted: HashSet<String>,
}

impl Taken {
    fn forget(&mut self, pod: &Pod) {
        let uid = pod.uid().unwrap_or_default();
        self.run.remove(&uid);
        self.deleted.remove(&uid);
    }
}

fn see(client: &Client, run_time: Duration, lives: &Arc<Lives>, taken: &mut Taken, pod: Pod) {
    let key = (pod.namespace().unwrap_or_default(), pod.name_any());
    let made = Instant::now();
    lives.lock().entry(key).or_insert(Life { made, ended: None });
    let Some(spec) = pod.spec.as_ref().filter(|spec| spec.node_name.is_some()) else {
        return;
    };
    let uid = pod.uid().unwrap_or_default();
    let over = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .is_some_and(|phase| matches!(phase, "Succeeded" | "Failed"));
    if pod.metadata.deletion_timestamp.is_some() {
        if taken.deleted.insert(uid) {
            tokio::spawn(delete(client.clone(), pod, over));
        }
    } else if !over && taken.run.insert(uid) {
        let containers = status::Containers::of(spec);
        tokio::spawn(run(client.clone(), run_time, lives.clone(), pod, containers));
    }
}

async fn run(
    client: Client,
    run_time: Duration,
    lives: Arc<Lives>,
    pod: Pod,
    containers: status::Containers,
) {
    let started = super::nodes::now();
    report(&client, &pod, containers.running(&started)).await;
    tokio::time::sleep(run_time).await;
    if report(&client, &pod, containers.ended(&started, 0)).await {
        let key = (pod.namespace().unwrap_or_default(), pod.name_any());
        if let Some(life) = lives.lock().get_mut(&key) {
            life.ended = Some(Instant::now());
        }
    }
}

/// A pod that somebody deletes: its containers are stopped, the end is reported, and the object goes.
async fn delete(client: Client, pod: Pod, over: bool) {
    if !over {
        let containers = status::Containers::of(&pod.spec.clone().unwrap_or_default());
        report(&client, &pod, containers.ended(&super::nodes::now(), 143)).await;
    }
    // The API server removes a pod that has ended by itself, before a kubelet gets to it.
    if over {
        tokio::time::sleep(HOUSEKEEPING).await;
    }
    let api = api(&client, &pod);
    let left = api.get_metadata_opt(&pod.name_any()).await;
    if !matches!(left, Ok(Some(left)) if left.uid() == pod.uid()) {
        return;
    }
    let params = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions {
            uid: pod.uid(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    // Gone already is as good.
    let _ = api.delete(&pod.name_any(), &params).await;
}

/// A kubelet's way to write a status: a strategic merge patch with the uid. False where the pod is gone.
async fn report(client: &Client, pod: &Pod, status: Value) -> bool {
    let patch = Patch::Strategic(json!({"metadata": {"uid": pod.uid()}, "status": status}));
    let name = pod.name_any();
    loop {
        match api(client, pod)
            .patch_status(&name, &PatchParams::default(), &patch)
            .await
        {
            Ok(_) => return true,
            Err(kube::Error::Api(answer)) if answer.is_not_found() || answer.is_conflict() => return false,
            Err(error) => {
                eprintln!("hollow nodes: status of {name}: {error}");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

fn api(client: &Client, pod: &Pod) -> Api<Pod> {
    Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default())
}
