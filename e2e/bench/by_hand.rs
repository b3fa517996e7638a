//! A Task's writes without a controller: the client makes the pod with the Task, and when the pod has ended writes the
//! end, takes the finalizer off and deletes the pod, at once or when all have ended. It decides nothing and keeps nothing, so it shows what the API
//! server, etcd and the scheduler cost by themselves.

use std::collections::HashSet;

use errand::crd::{CAPTURE_FINALIZER, Task};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions},
};
use kube_runtime::{WatchStreamExt as _, watcher};
use serde_json::json;
use tokio::{sync::watch, task::JoinHandle};

use super::units::pod_spec;

/// Ends that are written at once, as many as a controller has workers.
const WRITERS: usize = 64;

/// Makes the pod of a Task.
pub async fn make_pod(client: Client, task: &DynamicObject) -> kube::Result<()> {
    let pods: Api<Pod> = Api::namespaced(client, &task.namespace().unwrap_or_default());
    let pod = json!({
        "metadata": {
            "name": task.name_any(), "finalizers": [CAPTURE_FINALIZER],
            "ownerReferences": [{"apiVersion": "errand.dev/v1alpha1", "kind": "Task", "name": task.name_any(),
                "uid": task.uid(), "controller": true}],
        },
        "spec": pod_spec(),
    });
    let pod = serde_json::from_value(pod).unwrap();
    pods.create(&PostParams::default(), &pod).await.map(drop)
}

/// When pods are let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LetGo {
    AtOnce,
    /// After the last end, which the rate does not see.
    Last,
}

/// Ends Tasks with their pods, until dropped.
pub struct Hands {
    work: JoinHandle<()>,
    pods: Api<Pod>,
    ended: watch::Receiver<usize>,
    let_go: LetGo,
}

impl Hands {
    pub fn start(client: &Client, namespace: &str, let_go: LetGo) -> Self {
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let tasks: Api<Task> = Api::namespaced(client.clone(), namespace);
        let (counter, ended) = watch::channel(0);
        let work = tokio::spawn(end_all(pods.clone(), tasks, let_go, counter));
        Self {
            work,
            pods,
            ended,
            let_go,
        }
    }

    /// Waits until so many Tasks were ended, and sees to it that none of their pods is left with a finalizer.
    pub async fn finish(mut self, count: usize) {
        let all = self.ended.wait_for(|ended| *ended >= count).await;
        all.expect("a Task could not be ended");
        if self.let_go == LetGo::Last {
            let left = self.pods.list(&ListParams::default()).await.unwrap();
            let left = futures::stream::iter(left);
            left.for_each_concurrent(WRITERS, |pod| let_go(&self.pods, pod))
                .await;
        }
    }
}

impl Drop for Hands {
    fn drop(&mut self) {
        self.work.abort();
    }
}

async fn end_all(pods: Api<Pod>, tasks: Api<Task>, when: LetGo, counter: watch::Sender<usize>) {
    let seen = watcher(pods.clone(), watcher::Config::default())
        .default_backoff()
        .applied_objects();
    let mut met = HashSet::new();
    let ended = seen.filter_map(|pod| {
        let pod = pod.ok().filter(|pod| {
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            phase == Some("Succeeded") && met.insert(pod.name_any())
        });
        std::future::ready(pod)
    });
    ended
        .for_each_concurrent(WRITERS, |pod| async {
            end(&tasks, &pod).await;
            if when == LetGo::AtOnce {
                let_go(&pods, pod).await;
            }
            counter.send_modify(|count| *count += 1);
        })
        .await;
}

async fn end(tasks: &Api<Task>, pod: &Pod) {
    let status = Patch::Merge(json!({"status": {"phase": "Succeeded", "exitCode": 0}}));
    let params = PatchParams::default();
    tasks
        .patch_status(&pod.name_any(), &params, &status)
        .await
        .unwrap();
}

async fn let_go(pods: &Api<Pod>, pod: Pod) {
    let (name, params) = (pod.name_any(), PatchParams::default());
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    pods.patch(&name, &params, &free).await.unwrap();
    let this = DeleteParams::default().preconditions(Preconditions {
        uid: pod.uid(),
        resource_version: None,
    });
    // Hollow nodes may have been faster.
    let _ = pods.delete(&name, &this).await;
}
