//! `make bench`: what the embedded plane costs, on a release build and through the real client.
//!
//! Prints a table; nothing here fails for being slow, since machines differ. Each time stands beside something that
//! was measured in the same run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/mod.rs"]
mod support;

use std::{
    collections::HashMap,
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use errand::crd::{Function, Phase, Task};
use futures::{StreamExt as _, TryStreamExt as _};
use kube::{
    Api,
    api::{ListParams, PostParams},
};
use kube_runtime::{WatchStreamExt as _, watcher};
use serde_json::json;
use tokio::sync::oneshot;

use support::{ERRAND, Plane, beside, client, median, millis, row};

/// Tasks one after another.
const SINGLE: usize = 200;
/// Tasks in the crowd, and how many of them are under way at once.
const CROWD: usize = 1000;
const IN_FLIGHT: usize = 50;
/// Starts of a process.
const STARTS: usize = 200;

fn main() {
    let runtime = support::runtime();
    let folder = tempfile::tempdir().unwrap();
    let plain = median(starts(|| Command::new("true")));
    let message = folder.path().join("message");
    let supervised = median(starts(|| {
        let mut command = Command::new(ERRAND);
        command
            .args(["runner", "--termination-message"])
            .arg(&message)
            .args(["--", "true"]);
        command
    }));

    let began = Instant::now();
    let mut plane = Plane::start(folder.path());
    let ready = began.elapsed();
    let idle = plane.memory();
    let (mut single, crowd, writes) = runtime.block_on(async {
        let tasks = Tasks::watch(&folder.path().join("kubeconfig")).await;
        tasks.warm_up().await;
        let mut single = Vec::new();
        for number in 0..SINGLE {
            single.push(tasks.run(format!("single-{number}")).await);
        }
        let before = tasks.revision().await;
        let began = Instant::now();
        let names = futures::stream::iter(0..CROWD).map(|number| tasks.run(format!("crowd-{number}")));
        names.buffer_unordered(IN_FLIGHT).collect::<Vec<_>>().await;
        let took = began.elapsed();
        (single, took, tasks.revision().await - before)
    });
    let loaded = plane.memory();
    single.sort();
    let task = median(single.clone());

    println!("| what | measured | beside it |");
    println!("|---|---|---|");
    row("start of a process: `true`", plain, "");
    row(
        "the same under the supervisor",
        supervised,
        &beside(supervised, plain, "plain"),
    );
    row("`errand dev` until its ready line", ready, "");
    row(
        "no-op Task, create to Succeeded, median",
        task,
        &beside(task, plain, "a plain start"),
    );
    row("the same, 99th percentile", single[SINGLE * 99 / 100], "");
    let each = crowd / u32::try_from(CROWD).unwrap();
    row(
        &format!("{CROWD} Tasks, {IN_FLIGHT} in flight"),
        crowd,
        &format!("{:.2} ms each", millis(each)),
    );
    println!(
        "| writes to the API per Task of these, by all parts | {:.1} | |",
        writes as f64 / CROWD as f64
    );
    println!("| memory of the plane, idle (VmHWM) | {:.1} MiB | |", idle);
    println!(
        "| memory of the plane after all Tasks (VmHWM) | {:.1} MiB | |",
        loaded
    );
    plane.stop();
}

fn starts(command: impl Fn() -> Command) -> Vec<Duration> {
    let once = || {
        let began = Instant::now();
        let status = command()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
        began.elapsed()
    };
    (0..STARTS).map(|_| once()).collect()
}

type Waiting = Arc<Mutex<HashMap<String, oneshot::Sender<Phase>>>>;

/// Tasks of a no-op function, all seen through one watch.
struct Tasks {
    api: Api<Task>,
    waiting: Waiting,
}

impl Tasks {
    async fn watch(kubeconfig: &Path) -> Self {
        let client = client(kubeconfig).await;
        let function = json!({
            "apiVersion": "errand.dev/v1alpha1", "kind": "Function", "metadata": {"name": "noop"},
            "spec": {"container": {"image": "busybox", "command": ["true"]}},
        });
        let functions: Api<Function> = Api::default_namespaced(client.clone());
        functions
            .create(&PostParams::default(), &serde_json::from_value(function).unwrap())
            .await
            .unwrap();
        let api: Api<Task> = Api::default_namespaced(client);
        let waiting = Waiting::default();
        let (seen, watched) = (waiting.clone(), api.clone());
        tokio::spawn(async move {
            let events = watcher(watched, watcher::Config::default())
                .default_backoff()
                .applied_objects();
            let ended = events.try_for_each(|task| {
                let phase = task
                    .status
                    .and_then(|status| status.phase)
                    .filter(|phase| phase.is_terminal());
                if let Some(phase) = phase {
                    let name = task.metadata.name.unwrap_or_default();
                    let waiter = seen.lock().unwrap().remove(&name);
                    waiter.map(|waiter| waiter.send(phase));
                }
                std::future::ready(Ok(()))
            });
            // Ends with the plane.
            let _ = ended.await;
        });
        Self { api, waiting }
    }

    /// The API's revision: it grows by one with each write, of whatever object by whomever.
    async fn revision(&self) -> u64 {
        let list = self.api.list(&ListParams::default().limit(1)).await.unwrap();
        list.metadata.resource_version.unwrap().parse().unwrap()
    }

    /// The first Tasks pay for connections and caches.
    async fn warm_up(&self) {
        for number in 0..5 {
            self.run(format!("warm-{number}")).await;
        }
    }

    /// From the create call to the watch event with the end.
    async fn run(&self, name: String) -> Duration {
        let task = json!({
            "apiVersion": "errand.dev/v1alpha1", "kind": "Task", "metadata": {"name": name},
            "spec": {"functionRef": {"name": "noop"}},
        });
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().unwrap().insert(name, sender);
        let began = Instant::now();
        self.api
            .create(&PostParams::default(), &serde_json::from_value(task).unwrap())
            .await
            .unwrap();
        assert_eq!(receiver.await.unwrap(), Phase::Succeeded);
        began.elapsed()
    }
}
