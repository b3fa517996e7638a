//! What is told of tasks as it happens.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::StreamExt as _;

use super::*;
use crate::facade::dialects::diego::messages::{TaskChangedEvent, TaskEvent};

/// An open stream.
struct Stream {
    body: axum::body::BodyDataStream,
    read: String,
    next: u64,
}

impl Stream {
    async fn open(bbs: &Bbs, path: &str) -> Self {
        let response = bbs.respond("POST", path, "").await;
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(
            (
                response.status().as_u16(),
                header("content-type"),
                header("cache-control")
            ),
            (
                200,
                "text/event-stream; charset=utf-8".into(),
                "no-cache, no-store, must-revalidate".into()
            )
        );
        Self {
            body: response.into_body().into_data_stream(),
            read: String::new(),
            next: 0,
        }
    }

    /// Name and data of the next event; `None` at the end.
    async fn event(&mut self) -> Option<(String, Vec<u8>)> {
        loop {
            if let Some((frame, rest)) = self.read.split_once("\n\n") {
                let (frame, rest) = (frame.to_owned(), rest.to_owned());
                self.read = rest;
                if frame == ":" {
                    continue;
                }
                let lines: Vec<&str> = frame.lines().collect();
                let [id, event, data] = lines[..] else {
                    panic!("{frame}")
                };
                assert_eq!(id, format!("id: {}", self.next));
                self.next += 1;
                let data = STANDARD.decode(data.strip_prefix("data: ").unwrap()).unwrap();
                return Some((event.strip_prefix("event: ").unwrap().to_owned(), data));
            }
            let limit = std::time::Duration::from_secs(30);
            let chunk = tokio::time::timeout(limit, self.body.next()).await.unwrap();
            self.read.push_str(std::str::from_utf8(&chunk?.unwrap()).unwrap());
        }
    }

    async fn changed(&mut self) -> (Task, Task) {
        let (name, data) = self.event().await.unwrap();
        assert_eq!(name, "task_changed");
        let event = TaskChangedEvent::decode(&*data).unwrap();
        (event.before.unwrap(), event.after.unwrap())
    }

    async fn one(&mut self, wanted: &str) -> Task {
        let (name, data) = self.event().await.unwrap();
        assert_eq!(name, wanted);
        TaskEvent::decode(&*data).unwrap().task.unwrap()
    }
}

#[tokio::test]
async fn the_whole_life_of_a_task_is_told() {
    let bbs = Bbs::open(with_cells(0)).await;
    let mut stream = Stream::open(&bbs, "/v1/events/tasks.r1").await;
    bbs.desire("g", "d").await.unwrap();
    let created = stream.one("task_created").await;
    assert_eq!(
        (created.task_guid.as_str(), created.state()),
        ("g", State::Pending)
    );
    assert_eq!(created.task_definition, Some(definition().encode_to_vec()));
    bbs.named("cancel", "g").await.unwrap();
    let (before, after) = stream.changed().await;
    assert_eq!(
        (before.state(), after.state()),
        (State::Pending, State::Completed)
    );
    bbs.named("resolving", "g").await.unwrap();
    let (before, after) = stream.changed().await;
    assert_eq!(
        (before.state(), after.state()),
        (State::Completed, State::Resolving)
    );
    bbs.named("delete", "g").await.unwrap();
    let removed = stream.one("task_removed").await;
    assert_eq!(
        (removed.state(), removed.failed, removed.failure_reason.as_str()),
        (State::Resolving, true, "task was cancelled")
    );
    assert_eq!(removed.task_definition, created.task_definition);
}

#[tokio::test]
async fn starts_ends_and_rejections_are_told_once_each() {
    let bbs = Bbs::open(with_cells(1)).await;
    let mut stream = Stream::open(&bbs, "/v1/events/tasks").await;
    bbs.desire("g", "d").await.unwrap();
    stream.one("task_created").await;
    bbs.start("g", "cell").await;
    // Nothing new, and so nothing is told.
    bbs.start("g", "cell").await;
    let (_, after) = stream.changed().await;
    assert_eq!((after.state(), after.cell_id.as_str()), (State::Running, "cell"));
    bbs.reject("g", "first").await.unwrap();
    let (before, after) = stream.changed().await;
    assert_eq!(
        (before.state(), after.state(), after.rejection_count),
        (State::Running, State::Pending, 1)
    );
    bbs.reject("g", "second").await.unwrap();
    let (_, after) = stream.changed().await;
    assert_eq!(
        (
            after.state(),
            after.rejection_count,
            after.failure_reason.as_str()
        ),
        (State::Completed, 2, "second")
    );
    bbs.desire("h", "d").await.unwrap();
    stream.one("task_created").await;
    bbs.start("h", "cell").await;
    stream.changed().await;
    bbs.complete("h", "cell", "42").await.unwrap();
    let (_, after) = stream.changed().await;
    assert_eq!((after.state(), after.result.as_str()), (State::Completed, "42"));
    bbs.named("resolving", "h").await.unwrap();
    stream.changed().await;
    bbs.named("delete", "h").await.unwrap();
    let removed = stream.one("task_removed").await;
    assert_eq!((removed.task_guid.as_str(), removed.result.as_str()), ("h", "42"));
}

#[tokio::test]
async fn a_task_with_a_callback_is_told_to_be_completed_and_then_resolving() {
    let bbs = Bbs::open(with_cells(0)).await;
    let mut stream = Stream::open(&bbs, "/v1/events/tasks.r1").await;
    let with_callback = TaskDefinition {
        completion_callback_url: "http://127.0.0.1:9/done".into(),
        ..definition()
    };
    let body = desire("g", "d", &with_callback.encode_to_vec());
    outcome(&bbs.bytes("/v1/tasks/desire.r2", body).await).unwrap();
    stream.one("task_created").await;
    bbs.start("g", "cell").await;
    stream.changed().await;
    bbs.complete("g", "cell", "42").await.unwrap();
    let (before, after) = stream.changed().await;
    assert_eq!(
        (before.state(), after.state(), after.result.as_str()),
        (State::Running, State::Completed, "42")
    );
    let (before, after) = stream.changed().await;
    assert_eq!(
        (before.state(), after.state(), after.result.as_str()),
        (State::Completed, State::Resolving, "42")
    );
    assert_eq!(bbs.got("g").await.state(), State::Resolving);
}

#[tokio::test]
async fn a_stream_ends_with_the_server() {
    let bbs = Bbs::open(with_cells(0)).await;
    let mut stream = Stream::open(&bbs, "/v1/events/tasks.r1").await;
    bbs.desire("g", "d").await.unwrap();
    stream.one("task_created").await;
    bbs.facade.shutdown.cancel();
    assert_eq!(stream.event().await, None);
}

/// Writes the status of a Task, as the engine does.
async fn engine_says(bbs: &Bbs, guid: &str, status: serde_json::Value) {
    let tasks: kube::Api<crate::crd::Task> = kube::Api::namespaced(bbs.server.client(), "default");
    let name = crate::facade::dialects::diego::names::object_name(guid);
    let patch = kube::api::Patch::Merge(serde_json::json!({"status": status}));
    tasks
        .patch_status(&name, &kube::api::PatchParams::default(), &patch)
        .await
        .unwrap();
}

#[tokio::test]
async fn what_the_engine_finds_out_is_told_in_the_words_of_convergence() {
    let bbs = Bbs::open(Settings::default()).await;
    let mut stream = Stream::open(&bbs, "/v1/events/tasks.r1").await;
    let ended = |reason: &str| {
        serde_json::json!({"phase": "Failed", "reason": reason, "message": "in its own words",
            "finishedAt": "2026-01-01T00:00:00Z", "error": {"code": 14, "message": "in its own words"}})
    };
    for guid in ["late", "lost"] {
        bbs.desire(guid, "d").await.unwrap();
        stream.one("task_created").await;
    }
    engine_says(&bbs, "late", ended("PendingTimedOut")).await;
    let (before, after) = stream.changed().await;
    assert_eq!(
        (
            before.state(),
            after.state(),
            after.failed,
            after.failure_reason.as_str()
        ),
        (
            State::Pending,
            State::Completed,
            true,
            "not started within time limit"
        )
    );
    let pod = serde_json::json!({"name": "p", "node": "n1"});
    engine_says(&bbs, "lost", serde_json::json!({"phase": "Running", "pod": pod})).await;
    let (_, running) = stream.changed().await;
    assert_eq!(
        (running.state(), running.cell_id.as_str()),
        (State::Running, "n1")
    );
    engine_says(&bbs, "lost", ended("NodeLost")).await;
    let (_, after) = stream.changed().await;
    assert_eq!(
        (
            after.state(),
            after.failure_reason.as_str(),
            after.cell_id.as_str()
        ),
        (
            State::Completed,
            "cell disappeared before completion",
            // The cell is still named, as at the real server.
            "n1"
        )
    );
    // A callback that is tried makes it Resolving; what is over and gone is told of by its last state.
    engine_says(
        &bbs,
        "lost",
        serde_json::json!({"callback": {"state": "Delivering", "attempts": 3}}),
    )
    .await;
    let (before, after) = stream.changed().await;
    assert_eq!(
        (before.state(), after.state()),
        (State::Completed, State::Resolving)
    );
    let tasks: kube::Api<crate::crd::Task> = kube::Api::namespaced(bbs.server.client(), "default");
    for (guid, state) in [("late", State::Completed), ("lost", State::Resolving)] {
        let name = crate::facade::dialects::diego::names::object_name(guid);
        tasks
            .delete(&name, &kube::api::DeleteParams::default())
            .await
            .unwrap();
        let removed = stream.one("task_removed").await;
        assert_eq!(
            (removed.task_guid.as_str(), removed.state(), removed.failed),
            (guid, state, true)
        );
        assert!(removed.task_definition.is_some());
    }
}
