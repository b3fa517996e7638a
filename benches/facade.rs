//! `make bench`: what the facade costs, on a release build, with clients on the same two cores.
//!
//! Prints a table; nothing here fails for being slow.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/mod.rs"]
mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use errand::crd::Task;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _};

use support::{
    Plane,
    load::{Load, PRESENT, connect, fill, load},
    millis,
};

/// Connections that read at once, and how often each asks.
const READERS: usize = 16;
const READS: usize = 2_000;
/// Creates through a door, so many at once.
const CREATES: usize = 1_000;
const CREATORS: usize = 16;
/// Streams, and how many events they are sent: so many a second for so long.
const STREAMS: usize = 1_000;
const EVENTS_PER_SECOND: usize = 200;
const SECONDS: usize = 10;

fn main() {
    let runtime = support::runtime();
    let folder = tempfile::tempdir().unwrap();
    let mut plane = Plane::start(folder.path());
    println!("| what | measured | beside it |");
    println!("|---|---|---|");
    runtime.block_on(async {
        let tasks = fill(&folder.path().join("kubeconfig")).await;
        println!(
            "| memory of the plane with {PRESENT} Tasks (VmHWM) | {:.1} MiB | |",
            plane.memory()
        );
        let docs = load(&plane.facade, READERS, READS, |_| {
            ("GET /docs".to_owned(), String::new())
        })
        .await;
        let get = |turn: usize| (format!("GET /v1/task/{:024x}", turn % PRESENT), String::new());
        let read = load(&plane.facade, READERS, READS, get).await;
        let slower = format!(
            "{:.2} x a static page ({:.0}/s)",
            docs.rate / read.rate,
            docs.rate
        );
        read.print("reads of one Task, by token, from the cache", &slower);
        let post = |_| ("POST /v1/task/queue".to_owned(), String::new());
        let create = load(&plane.facade, CREATORS, CREATES / CREATORS, post).await;
        create.print("creates of Tasks that wait in a queue", "");
        follow(&plane.facade, &tasks).await;
    });
    println!(
        "| memory of the plane after all of it (VmHWM) | {:.1} MiB | |",
        plane.memory()
    );
    plane.stop();
}

/// Streams on as many Tasks; progress is written to one after another, and each stream says when it heard of it.
async fn follow(url: &str, tasks: &Api<Task>) {
    let heard = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let (sender, mut delays) = tokio::sync::mpsc::unbounded_channel();
    let streams = (0..STREAMS).map(|number| {
        let (heard, sender) = (heard.clone(), sender.clone());
        async move {
            let mut stream = connect(url).await;
            let head = format!(
                "GET /errand/v1/namespaces/default/tasks/{number:024x}/events HTTP/1.1\r\nhost: bench\r\nauthorization: bench\r\n\r\n"
            );
            stream.get_mut().write_all(head.as_bytes()).await.unwrap();
            let mut lines = stream.lines();
            // The first status: the stream stands.
            while !lines.next_line().await.unwrap().unwrap().starts_with("data: ") {}
            tokio::spawn(async move {
                while let Ok(Some(line)) = lines.next_line().await {
                    let Some(data) = line.strip_prefix("data: ") else { continue };
                    let data: Value = serde_json::from_str(data).unwrap();
                    let Some(sent) = data["current"].as_u64() else { continue };
                    let now = u64::try_from(began.elapsed().as_micros()).unwrap();
                    heard.fetch_add(1, Ordering::Relaxed);
                    let _ = sender.send(Duration::from_micros(now.saturating_sub(sent)));
                }
            });
        }
    });
    futures::future::join_all(streams).await;
    let stood = began.elapsed();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / u32::try_from(EVENTS_PER_SECOND).unwrap());
    let mut writes = tokio::task::JoinSet::new();
    let started = Instant::now();
    for turn in 0..EVENTS_PER_SECOND * SECONDS {
        ticks.tick().await;
        let (tasks, name) = (tasks.clone(), format!("{:024x}", turn % STREAMS));
        writes.spawn(async move {
            let sent = began.elapsed().as_micros();
            let patch = json!({"status": {"progress": {"current": u64::try_from(sent).unwrap()}}});
            tasks
                .patch_status(&name, &PatchParams::default(), &Patch::Merge(patch))
                .await
                .unwrap();
        });
    }
    while writes.join_next().await.is_some() {}
    let rate = (EVENTS_PER_SECOND * SECONDS) as f64 / started.elapsed().as_secs_f64();
    let mut times = Vec::new();
    while times.len() < EVENTS_PER_SECOND * SECONDS {
        match tokio::time::timeout(Duration::from_secs(5), delays.recv()).await {
            Ok(Some(delay)) => times.push(delay),
            _ => break,
        }
    }
    times.sort();
    println!("| {STREAMS} event streams opened | {:.0} ms | |", millis(stood));
    println!(
        "| events on them, {rate:.0} a second written | {} of {} delivered | |",
        times.len(),
        EVENTS_PER_SECOND * SECONDS
    );
    Load { rate, times }.print("the same, from write to stream", "");
}
