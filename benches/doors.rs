//! `make bench`: what the doors of other APIs cost, on a release build, with clients on the same two cores.
//!
//! Prints a table; nothing here fails for being slow.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/mod.rs"]
mod support;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use errand::crd::{Function, Task};
use futures::{SinkExt as _, StreamExt as _};
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio_tungstenite::{connect_async, tungstenite::Message};

use support::{
    Plane, client,
    load::{Load, PRESENT, fill, load},
    millis,
};

/// Creates through a door, so many at once.
const CREATES: usize = 800;
const CREATORS: usize = 16;
/// Lists through a door, so many at once.
const LISTS: usize = 20;
const LISTERS: usize = 2;
/// Calls that wait for the end of their execution, so many at once.
const CALLS: usize = 500;
const CALLERS: usize = 100;
/// Users who listen, and how many updates there are for them: so many a second for so long.
const LISTENERS: usize = 1_000;
const UPDATES_PER_SECOND: usize = 200;
const SECONDS: usize = 10;

fn main() {
    let runtime = support::runtime();
    let folder = tempfile::tempdir().unwrap();
    let users =
        (0..LISTENERS).flat_map(|user| ["--token".to_owned(), format!("user-{user}=user-{user}:listeners")]);
    let mut plane = Plane::start_with(folder.path(), &users.collect::<Vec<_>>());
    println!("| what, with {PRESENT} Tasks present | measured | beside it |");
    println!("|---|---|---|");
    runtime.block_on(async {
        let kubeconfig = folder.path().join("kubeconfig");
        let tasks = fill(&kubeconfig).await;
        let [queue, noop] = functions(&kubeconfig).await;
        for (door, list) in [
            (
                "Errand's own door",
                "GET /errand/v1/namespaces/default/tasks?limit=100",
            ),
            ("GreenCloud", "GET /v1/task/list"),
            ("Qinling", "GET /v1/executions?status=running"),
            ("UCloud", "GET /api/tasks?itemsPerPage=100&page=0"),
            ("cloud.ru", "GET /openshift/v1/default/tasks"),
        ] {
            let listed = load(&plane.facade, LISTERS, LISTS / LISTERS, |_| {
                (list.to_owned(), String::new())
            })
            .await;
            listed.print(&format!("lists at the door of {door}, `{list}`"), "");
        }
        let execution = json!({"function_id": queue, "sync": false}).to_string();
        let external = json!({"title": "bench", "owner": "admin"}).to_string();
        for (door, line, body) in [
            ("GreenCloud", "POST /v1/task/queue", ""),
            ("Qinling", "POST /v1/executions", execution.as_str()),
            ("UCloud", "PUT /api/tasks", external.as_str()),
        ] {
            let request = |_| (line.to_owned(), body.to_owned());
            let made = load(&plane.facade, CREATORS, CREATES / CREATORS, request).await;
            made.print(&format!("creates at the door of {door}"), "");
        }
        let call = json!({"function_id": noop}).to_string();
        let request = |_| ("POST /v1/executions".to_owned(), call.clone());
        let ran = load(&plane.facade, CALLERS, CALLS / CALLERS, &request).await;
        ran.print(
            &format!("executions of Qinling that wait for their end, {CALLERS} in flight"),
            "",
        );
        listen(&plane.facade, &kubeconfig, &tasks).await;
    });
    println!(
        "| memory of the plane after all of it (VmHWM) | {:.1} MiB | |",
        plane.memory()
    );
    plane.stop();
}

/// The ids of two Functions: one that nothing runs of for long, and one that does nothing.
async fn functions(kubeconfig: &Path) -> [String; 2] {
    let functions: Api<Function> = Api::default_namespaced(client(kubeconfig).await);
    let noop = json!({
        "apiVersion": "errand.dev/v1alpha1", "kind": "Function", "metadata": {"name": "noop"},
        "spec": {"container": {"image": "i", "command": ["true"]}},
    });
    let noop = serde_json::from_value(noop).unwrap();
    let noop: Function = functions.create(&PostParams::default(), &noop).await.unwrap();
    let queue = functions.get("queue").await.unwrap();
    [queue, noop].map(|function| function.uid().unwrap())
}

/// Lets the group list Tasks.
async fn allow(kubeconfig: &Path) {
    use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
    let client = client(kubeconfig).await;
    let group = "rbac.authorization.k8s.io";
    let role: Role = serde_json::from_value(json!({
        "metadata": {"name": "listeners"},
        "rules": [{"apiGroups": ["errand.dev"], "resources": ["tasks"], "verbs": ["get", "list"]}],
    }))
    .unwrap();
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": {"name": "listeners"}, "roleRef": {"apiGroup": group, "kind": "Role", "name": "listeners"},
        "subjects": [{"apiGroup": group, "kind": "Group", "name": "listeners"}],
    }))
    .unwrap();
    let (roles, bindings): (Api<Role>, Api<RoleBinding>) = (
        Api::default_namespaced(client.clone()),
        Api::default_namespaced(client),
    );
    roles.create(&PostParams::default(), &role).await.unwrap();
    bindings.create(&PostParams::default(), &binding).await.unwrap();
}

/// A Task for each user, who listens; progress is written to one after another, and each socket says when it heard of it.
async fn listen(url: &str, kubeconfig: &Path, tasks: &Api<Task>) {
    allow(kubeconfig).await;
    for user in 0..LISTENERS {
        let task = json!({
            "apiVersion": "errand.dev/v1alpha1", "kind": "Task", "metadata": {"name": format!("of-{user}")},
            "spec": {"external": {"processor": "bench"}, "owner": format!("user-{user}")},
        });
        let task = serde_json::from_value(task).unwrap();
        tasks.create(&PostParams::default(), &task).await.unwrap();
    }
    let began = Instant::now();
    let (sender, mut delays) = tokio::sync::mpsc::unbounded_channel();
    let mut sockets = Vec::with_capacity(LISTENERS);
    for user in 0..LISTENERS {
        let (mut socket, _) = connect_async(format!("{}/api/tasks", url.replace("http:", "ws:")))
            .await
            .unwrap();
        let call =
            json!({"call": "task.listen", "streamId": "0", "payload": {}, "bearer": format!("user-{user}")});
        socket.send(Message::text(call.to_string())).await.unwrap();
        sockets.push(socket);
    }
    // Nothing is answered to a call that listens; what it costs to ask who calls is over when a list comes back.
    let opened = began.elapsed();
    load(url, 1, 1, |_| {
        ("GET /api/tasks?itemsPerPage=10&page=0".to_owned(), String::new())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    for mut socket in sockets {
        let sender = sender.clone();
        tokio::spawn(async move {
            while let Some(Ok(message)) = socket.next().await {
                let Ok(text) = message.to_text() else { continue };
                let frame: Value = serde_json::from_str(text).unwrap_or_default();
                let Some(sent) = frame["payload"]["progress"]["current"].as_u64() else {
                    continue;
                };
                let now = u64::try_from(began.elapsed().as_millis()).unwrap();
                let _ = sender.send(Duration::from_millis(now.saturating_sub(sent)));
            }
        });
    }
    let updates = UPDATES_PER_SECOND * SECONDS;
    let mut ticks =
        tokio::time::interval(Duration::from_secs(1) / u32::try_from(UPDATES_PER_SECOND).unwrap());
    let mut writes = tokio::task::JoinSet::new();
    let started = Instant::now();
    for turn in 0..updates {
        ticks.tick().await;
        let (tasks, name) = (tasks.clone(), format!("of-{}", turn % LISTENERS));
        writes.spawn(async move {
            let sent = u64::try_from(began.elapsed().as_millis()).unwrap();
            let patch = json!({"status": {"progress": {"current": sent, "maximum": 2_000_000_000}}});
            let patch = Patch::Merge(patch);
            tasks
                .patch_status(&name, &PatchParams::default(), &patch)
                .await
                .unwrap();
        });
    }
    while writes.join_next().await.is_some() {}
    let rate = updates as f64 / started.elapsed().as_secs_f64();
    let mut times = Vec::new();
    while times.len() < updates {
        match tokio::time::timeout(Duration::from_secs(5), delays.recv()).await {
            Ok(Some(delay)) => times.push(delay),
            _ => break,
        }
    }
    times.sort();
    println!(
        "| {LISTENERS} listeners of UCloud opened one after another | {:.0} ms | |",
        millis(opened)
    );
    println!(
        "| updates for them, {rate:.0} a second written | {} of {updates} delivered | |",
        times.len()
    );
    Load { rate, times }.print("the same, from write to listener", "");
}
