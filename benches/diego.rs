//! `make bench`: what tasks of Diego's clients cost, on a release build, with clients on the same two cores.
//!
//! Prints a table; nothing here fails for being slow. `ERRAND_BENCH_SECONDS=5` makes its longest part shorter, which takes a
//! minute and the time that the tasks of that minute need.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../tests/plane/support/protobuf.rs"]
#[allow(dead_code)]
mod protobuf;
#[path = "support/mod.rs"]
mod support;

use std::{
    collections::HashSet,
    path::Path,
    time::{Duration, Instant},
};

use errand::crd::{Phase, Task};
use futures::{StreamExt as _, TryStreamExt as _};
use kube::{Api, ResourceExt as _};
use kube_runtime::{WatchStreamExt as _, watcher};
use protobuf::{message, text};
use support::{
    Plane, client,
    load::{load, pace},
    millis,
};

/// Tasks that are listed; nobody runs them.
const LISTED: usize = 5_000;
/// Lists, so many at once.
const LISTS: usize = 20;
const LISTERS: usize = 2;
/// Tasks that run: so many desired a second, for so long, over so many connections.
const PER_SECOND: u32 = 200;
const SECONDS: u32 = 60;
const CONNECTIONS: usize = 32;
/// So long after the last desire all tasks are waited for.
const PATIENCE: Duration = Duration::from_secs(900);

fn main() {
    let runtime = support::runtime();
    println!("| what | measured | beside it |");
    println!("|---|---|---|");
    runtime.block_on(list());
    runtime.block_on(run());
}

/// A request to desire a task that does nothing. All lengths are below 128, so the bytes are text.
fn desire(number: usize) -> (String, String) {
    let run = [text(1, "true"), text(6, "root")].concat();
    let definition = [text(1, "docker:///busybox"), message(3, &message(3, &run))].concat();
    let guid = format!("bench-{number}");
    let body = [message(1, &definition), text(2, &guid), text(3, "bench")].concat();
    (
        "POST /v1/tasks/desire.r2".to_owned(),
        String::from_utf8(body).unwrap(),
    )
}

fn plane(folder: &Path, more: &[&str]) -> (Plane, String) {
    let args = ["--diego-addr", "127.0.0.1:0"].iter().chain(more);
    let plane = Plane::start_with(folder, &args.map(|arg| (*arg).to_owned()).collect::<Vec<_>>());
    let url = plane.diego.clone().unwrap();
    (plane, url)
}

/// Tasks that wait for cells, so that nothing but the door is measured.
async fn list() {
    let folder = tempfile::tempdir().unwrap();
    let (mut plane, url) = plane(folder.path(), &["--diego-cells"]);
    let made = load(&url, 16, LISTED / 16, desire).await;
    made.print("desires at the door of Diego, for cells from outside", "");
    let listed = load(&url, LISTERS, LISTS / LISTERS, |_| {
        ("POST /v1/tasks/list.r3".to_owned(), String::new())
    })
    .await;
    let count = LISTED / 16 * 16;
    listed.print(&format!("lists of {count} tasks through list.r3"), "");
    println!(
        "| memory of the plane after it (VmHWM) | {:.1} MiB | |",
        plane.memory()
    );
    plane.stop();
}

/// Tasks that a node runs, as processes, desired faster than two cores can run them.
async fn run() {
    let seconds = std::env::var("ERRAND_BENCH_SECONDS").map_or(SECONDS, |text| text.parse().unwrap());
    let count = usize::try_from(PER_SECOND * seconds).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (mut plane, url) = plane(folder.path(), &[]);
    let kubeconfig = folder.path().join("kubeconfig");
    let ends = tokio::spawn(ends(Api::default_namespaced(client(&kubeconfig).await), count));
    let every = Duration::from_secs(1) / PER_SECOND;
    let paced = pace(&url, CONNECTIONS, count, every, desire).await;
    let last = Instant::now();
    let at = |percent: usize| millis(paced.times[(count - 1) * percent / 100]);
    println!(
        "| desires of tasks that run, {PER_SECOND}/s for {seconds} s: {} of {count} accepted | {:.0}/s, median {:.2} ms, p99 {:.2} ms | refused: {:?} |",
        paced.accepted,
        paced.accepted as f64 / paced.took.as_secs_f64(),
        at(50),
        at(99),
        paced.refused
    );
    let Ok(ended) = tokio::time::timeout(PATIENCE, ends).await else {
        panic!("not all tasks ended within {PATIENCE:?}")
    };
    let (succeeded, at_last) = ended.unwrap();
    let whole = paced.took + at_last.saturating_duration_since(last);
    println!(
        "| their ends, {succeeded} of {count} succeeded | {:.1} s after the last desire | {:.0}/s from the first desire on |",
        at_last.saturating_duration_since(last).as_secs_f64(),
        count as f64 / whole.as_secs_f64()
    );
    println!(
        "| memory of the plane after it (VmHWM) | {:.1} MiB | |",
        plane.memory()
    );
    plane.stop();
}

/// Waits for so many ends; how many are successes, and when the last came. Tasks of Diego go two minutes after theirs.
async fn ends(tasks: Api<Task>, count: usize) -> (usize, Instant) {
    let mut all = watcher(tasks, watcher::Config::default())
        .default_backoff()
        .applied_objects()
        .boxed();
    let (mut seen, mut succeeded) = (HashSet::new(), 0);
    while let Some(task) = all.try_next().await.unwrap() {
        let phase = task.status.as_ref().and_then(|status| status.phase);
        let Some(phase) = phase.filter(|phase| phase.is_terminal()) else {
            continue;
        };
        if seen.insert(task.uid().unwrap()) {
            succeeded += usize::from(phase == Phase::Succeeded);
        }
        if seen.len() == count {
            break;
        }
    }
    (succeeded, Instant::now())
}
