//! Composed actions in real containers.

use errand::crd::{Phase, TaskStatus};
use serde_json::{Value, json};

use crate::support::{Space, in_space, tools};

fn shell(script: &str) -> Value {
    json!({"run": {"path": "sh", "args": ["-c", script]}})
}

fn task(action: Value) -> Value {
    json!({"actions": {"container": {"image": tools()}, "action": action}, "timeout": "2m"})
}

fn end(status: &TaskStatus) -> (Option<Phase>, Option<&str>, Option<&str>) {
    (status.phase, status.reason.as_deref(), status.message.as_deref())
}

#[tokio::test]
async fn a_nested_tree_ends_with_result_and_log_and_a_timeout_with_its_reason() {
    in_space("actions", |space: Space| async move {
        let mut nested = task(json!({"serial": {"actions": [
            {"parallel": {"actions": [shell("echo one"), {"try": {"action": shell("exit 3")}}]}},
            {"run": {"path": "sh", "args": ["-c", "id -u > /tmp/result"], "user": "7", "logSource": "LAST"}},
        ]}}));
        nested["actions"]["resultFile"] = json!("/tmp/result");
        space.task("nested", nested).await;
        let late = json!({"timeout": {"after": "500ms", "action": shell("echo begun; exec sleep 600")}});
        space.task("late", task(late)).await;
        let status = space.succeeded("nested").await;
        assert_eq!(status.result.unwrap().body.as_deref(), Some("7\n"));
        let log = status.logs.unwrap().tail;
        assert!(
            log.contains("one\n") && log.ends_with("[LAST] Exit status 0\n"),
            "{log}"
        );
        let status = space.ended("late").await;
        let expected = (
            Some(Phase::Failed),
            Some("ActionFailed"),
            Some("exceeded 500ms timeout"),
        );
        assert_eq!(end(&status), expected);
        assert!(status.logs.unwrap().tail.starts_with("begun\n"));
        space.no_pods().await;
    })
    .await;
}

#[tokio::test]
async fn a_tree_that_is_cancelled_midway_keeps_its_log() {
    in_space("actions-cancel", |space: Space| async move {
        let waits = shell(
            "exec 2>/dev/null; trap 'echo heard; exit 4' TERM; echo ready; while :; do sleep 0.1; done",
        );
        space
            .task(
                "t",
                task(json!({"serial": {"actions": [waits, shell("echo never")]}})),
            )
            .await;
        space.says("t", "ready").await;
        space.cancel("t").await;
        let status = space.ended("t").await;
        let expected = (
            Some(Phase::Cancelled),
            Some("Cancelled"),
            Some("the Task was cancelled"),
        );
        assert_eq!(end(&status), expected);
        assert_eq!(status.logs.unwrap().tail, "ready\nheard\nExit status 4\n");
        space.no_pods().await;
    })
    .await;
}
