//! How long a start takes beside that of a bare pod. Measures and never fails for being slow.

use std::time::{Duration, Instant};

use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::{
    Resource,
    api::{PostParams, WatchEvent, WatchParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::support::{PATIENCE, Space, in_space, tools};
use errand::crd::{Phase, Task};

/// Starts of each kind.
const ROUNDS: usize = 7;

/// What is started.
#[derive(Clone, Copy)]
enum Start {
    Pod,
    PodWithInit,
    BareTask,
    Task,
}

const STARTS: [(Start, &str); 4] = [
    (Start::Pod, "pod with its service account's token"),
    (Start::PodWithInit, "pod with an init container and an emptyDir"),
    (Start::BareTask, "Task without supervisor"),
    (Start::Task, "Task under the supervisor"),
];

#[tokio::test]
#[ignore = "measures: make bench-starts"]
async fn starts_beside_bare_pods() {
    in_space("starts", |space: Space| async move {
        // Pods are refused until the namespace has its account.
        space
            .poll("there is a service account", || async {
                space.api::<ServiceAccount>().get_opt("default").await.unwrap()
            })
            .await;
        let mut times: [Vec<Duration>; 4] = Default::default();
        // The first round fills caches and counts for nothing.
        for round in 0..=ROUNDS {
            for (index, (start, _)) in STARTS.into_iter().enumerate() {
                let time = start.measure(&space, &format!("s{index}-{round}")).await;
                if round > 0 {
                    times[index].push(time);
                }
            }
        }
        times.iter_mut().for_each(|times| times.sort());
        let seconds = |time: Duration| time.as_secs_f64();
        let plain = seconds(times[0][ROUNDS / 2]);
        println!("| create to Succeeded, medians of {ROUNDS} | median | fastest, slowest | beside the pod |");
        println!("|---|---|---|---|");
        for ((_, what), times) in STARTS.iter().zip(&times) {
            let median = seconds(times[ROUNDS / 2]);
            println!(
                "| {what} | {median:.2} s | {:.2} s, {:.2} s | {:.2} x, {:+.2} s |",
                seconds(times[0]),
                seconds(times[ROUNDS - 1]),
                median / plain,
                median - plain,
            );
        }
    })
    .await;
}

impl Start {
    async fn measure(self, space: &Space, name: &str) -> Duration {
        let container = json!({"name": "c", "image": tools(), "command": ["true"]});
        let task = |supervise: bool| {
            let container = json!({"image": tools(), "command": ["true"]});
            json!({"function": {"container": container, "supervise": supervise}})
        };
        match self {
            Self::Pod => {
                pod(
                    space,
                    name,
                    json!({"restartPolicy": "Never", "containers": [container]}),
                )
                .await
            }
            Self::PodWithInit => {
                let mounts = json!([{"name": "v", "mountPath": "/v"}]);
                let mut init = container.clone();
                init["name"] = json!("i");
                let mut container = container;
                for container in [&mut init, &mut container] {
                    container["volumeMounts"] = mounts.clone();
                }
                let spec = json!({
                    "restartPolicy": "Never", "automountServiceAccountToken": false,
                    "initContainers": [init], "containers": [container],
                    "volumes": [{"name": "v", "emptyDir": {}}],
                });
                pod(space, name, spec).await
            }
            Self::BareTask => timed::<Task>(space, name, task(false), succeeded).await,
            Self::Task => timed::<Task>(space, name, task(true), succeeded).await,
        }
    }
}

fn succeeded(task: &Task) -> bool {
    task.status.as_ref().and_then(|status| status.phase) == Some(Phase::Succeeded)
}

async fn pod(space: &Space, name: &str, spec: Value) -> Duration {
    let ended =
        |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Succeeded");
    timed::<Pod>(space, name, spec, ended).await
}

/// From the call that makes the object until its watcher sees what it waits for.
async fn timed<K>(space: &Space, name: &str, spec: Value, ended: impl Fn(&K) -> bool) -> Duration
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    K: Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    let api = space.api::<K>();
    let object = json!({
        "apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": {"name": name}, "spec": spec,
    });
    let object: K = serde_json::from_value(object).unwrap();
    let begun = Instant::now();
    let made = api.create(&PostParams::default(), &object).await.unwrap();
    let version = made.meta().resource_version.clone().unwrap();
    let only = WatchParams::default().fields(&format!("metadata.name={name}"));
    let watch = async {
        let mut events = std::pin::pin!(api.watch(&only, &version).await.unwrap());
        while let Some(event) = events.try_next().await.unwrap() {
            if matches!(&event, WatchEvent::Modified(object) if ended(object)) {
                return begun.elapsed();
            }
        }
        panic!("the watch of {name} ended");
    };
    let waited = tokio::time::timeout(PATIENCE, watch).await;
    waited.unwrap_or_else(|_| panic!("{name} did not succeed"))
}
