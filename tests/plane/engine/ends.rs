//! How Tasks end: well, badly, cancelled, timed out, tried again.

use errand::crd::Phase;
use serde_json::json;

use crate::support::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_runs_once_and_its_evidence_is_in_the_status() {
    let world = World::start().await;
    world
        .function(
            "hello",
            json!({"container": {"image": "busybox", "command": ["sh", "-c", "echo out; echo err >&2"]}}),
        )
        .await;
    world.task("t", json!({"functionRef": {"name": "hello"}})).await;
    let task = world.ended("t").await;
    let status = task.status.unwrap();
    assert_eq!(
        (
            status.phase,
            status.reason.as_deref(),
            status.exit_code,
            status.attempts
        ),
        (Some(Phase::Succeeded), Some("Completed"), Some(0), Some(1),)
    );
    let result = status.result.unwrap();
    assert_eq!(
        (
            result.status,
            result.body.as_deref(),
            result.size_bytes,
            result.truncated
        ),
        (200, Some("out\n"), Some(4), false)
    );
    assert_eq!(result.content_type.as_deref(), Some("text/plain; charset=utf-8"));
    let mut lines: Vec<&str> = status.logs.as_ref().unwrap().tail.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["err", "out"]);
    assert_eq!(status.error, None);
    let pod = status.pod.unwrap();
    assert!(
        pod.uid.is_some() && pod.node.is_some() && pod.node_uid.is_some(),
        "{pod:?}"
    );
    let (issued, assigned, started, finished) = (
        status.issued_at.unwrap(),
        status.assigned_at.unwrap(),
        status.started_at.unwrap(),
        status.finished_at.unwrap(),
    );
    assert!(
        issued <= finished && started <= finished,
        "{issued} {assigned} {started} {finished}"
    );
    assert_eq!(
        status
            .conditions
            .iter()
            .map(|c| (c.type_.as_str(), c.status.as_str()))
            .collect::<Vec<_>>(),
        [("Finished", "True")]
    );
    world.no_pods().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inline_function_needs_no_function_object() {
    let world = World::start().await;
    world
        .task(
            "t",
            json!({"function": {"container": {"image": "busybox", "command": ["echo", "inline"]}}}),
        )
        .await;
    assert_eq!(world.succeeded("t").await.body.as_deref(), Some("inline\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_command_keeps_its_exit_code_and_output() {
    let world = World::start().await;
    world
        .task("t", inline("echo partial; echo why >&2; exit 3"))
        .await;
    let status = world.ended("t").await.status.unwrap();
    assert_eq!(
        (status.phase, status.reason.as_deref(), status.exit_code),
        (Some(Phase::Failed), Some("ExitCode"), Some(3))
    );
    let result = status.result.unwrap();
    assert_eq!((result.status, result.body.as_deref()), (500, Some("partial\n")));
    assert!(status.logs.unwrap().tail.contains("why"));
    assert_eq!(
        status.error.map(|e| (e.code, e.message)),
        Some((2, "the command exited with code 3".into()))
    );
    world.event("t", "ExitCode").await;
    world.no_pods().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_function_ends_in_words() {
    let world = World::start().await;
    world.task("t", json!({"functionRef": {"name": "nobody"}})).await;
    let status = world.ended("t").await.status.unwrap();
    assert_eq!(
        (status.phase, status.reason.as_deref(), status.message.as_deref()),
        (
            Some(Phase::Failed),
            Some("FunctionNotFound"),
            Some("there is no function nobody in namespace default"),
        )
    );
    world.event("t", "FunctionNotFound").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_applied_just_before_its_function_still_runs() {
    let world = World::start().await;
    world.task("t", json!({"functionRef": {"name": "late"}})).await;
    world
        .function(
            "late",
            json!({"container": {"image": "busybox", "command": ["echo", "here"]}}),
        )
        .await;
    assert_eq!(world.succeeded("t").await.body.as_deref(), Some("here\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_does_not_exist_is_named() {
    let world = World::start().await;
    world
        .task(
            "t",
            json!({"function": {"container": {"image": "busybox", "command": ["/no/such/command"]}}}),
        )
        .await;
    let status = world.ended("t").await.status.unwrap();
    assert_eq!(
        (status.phase, status.reason.as_deref()),
        (Some(Phase::Failed), Some("StartFailed"))
    );
    assert!(
        status.message.as_deref().unwrap().contains("/no/such/command"),
        "{:?}",
        status.message
    );
    world.event("t", "StartFailed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_run_time_limit_ends_a_task_and_keeps_what_it_said() {
    let world = World::start().await;
    let mut spec = inline("echo before; exec sleep 600");
    spec["timeout"] = json!("700ms");
    world.task("t", spec).await;
    let status = world.ended("t").await.status.unwrap();
    assert_eq!(
        (status.phase, status.reason.as_deref(), status.message.as_deref()),
        (
            Some(Phase::Failed),
            Some("TimedOut"),
            Some("the run time limit of 700ms passed"),
        )
    );
    let result = status.result.unwrap();
    assert_eq!((result.status, result.body.as_deref()), (408, Some("before\n")));
    assert_eq!(status.error.map(|e| e.code), Some(4));
    world.no_pods().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancel_lets_the_container_hear_it_and_keeps_the_evidence() {
    let world = World::start().await;
    world
        .task(
            "t",
            inline("trap 'echo heard; exit 0' TERM; echo ready; while :; do sleep 0.05; done"),
        )
        .await;
    world.running("t").await;
    world.log_of("t", "ready").await;
    world.cancel("t").await;
    let status = world.ended("t").await.status.unwrap();
    assert_eq!(
        (status.phase, status.reason.as_deref()),
        (Some(Phase::Cancelled), Some("Cancelled"))
    );
    let result = status.result.unwrap();
    assert_eq!(
        (result.status, result.body.as_deref()),
        (499, Some("ready\nheard\n"))
    );
    assert_eq!(status.error.map(|e| e.code), Some(1));
    world.no_pods().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_are_tried_again_as_often_as_the_policy_says() {
    let world = World::start().await;
    let count = world.folder().join("count");
    let mut spec = inline(&format!(
        "echo x >> {0}; test $(wc -l < {0}) -ge 3 && echo third",
        count.display()
    ));
    spec["retry"] = json!({"limit": 5, "on": ["Failure"], "backoff": "10ms"});
    world.task("t", spec).await;
    let status = world.ended("t").await.status.unwrap();
    assert_eq!((status.phase, status.attempts), (Some(Phase::Succeeded), Some(3)));
    assert_eq!(status.result.unwrap().body.as_deref(), Some("third\n"));
    assert_eq!(std::fs::read_to_string(count).unwrap(), "x\nx\nx\n");
    world.no_pods().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_is_not_tried_again_by_default_nor_beyond_the_limit() {
    let world = World::start().await;
    let mut spec = inline("exit 1");
    spec["retry"] = json!({"limit": 3});
    world.task("default-classes", spec.clone()).await;
    spec["retry"] = json!({"limit": 2, "on": ["Failure"], "backoff": "1ms"});
    world.task("to-the-limit", spec).await;
    for (name, attempts) in [("default-classes", 1), ("to-the-limit", 3)] {
        let status = world.ended(name).await.status.unwrap();
        assert_eq!(
            (status.phase, status.attempts),
            (Some(Phase::Failed), Some(attempts)),
            "{name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finished_task_goes_when_its_time_is_over() {
    let world = World::start().await;
    let mut spec = inline("true");
    spec["function"]["ttlAfterFinished"] = json!("300ms");
    world.task("t", spec).await;
    world.gone("t").await;
    world.no_pods().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_external_task_has_no_pod_and_can_be_cancelled() {
    let world = World::start().await;
    world
        .task("t", json!({"external": {"processor": "elsewhere"}}))
        .await;
    world.running("t").await;
    world.no_pods().await;
    world.cancel("t").await;
    assert_eq!(
        world.ended("t").await.status.unwrap().phase,
        Some(Phase::Cancelled)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_lines_show_while_the_task_runs_and_stay_out_of_the_result() {
    let world = World::start().await;
    let go = world.folder().join("go");
    world
        .task(
            "t",
            inline(&format!(
                "echo '::progress 40 copying'; echo data; while ! test -e {}; do sleep 0.05; done",
                go.display()
            )),
        )
        .await;
    let task = world
        .until("t", "progress is 40", |task| {
            let progress = task.status.as_ref()?.progress.clone()?;
            (progress.percent == Some(40)).then_some(progress)
        })
        .await;
    assert_eq!(task.title.as_deref(), Some("copying"));
    std::fs::write(go, "").unwrap();
    let status = world.ended("t").await.status.unwrap();
    assert_eq!(status.result.unwrap().body.as_deref(), Some("data\n"));
    assert_eq!(status.progress.unwrap().percent, Some(100));
}

/// A Task with a shell script written into it.
pub fn inline(script: &str) -> serde_json::Value {
    json!({"function": {"container": {"image": "busybox", "command": ["sh", "-c", script]}}})
}
