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
        let late = json!({"timeout": {"after": "3s", "action": shell("echo begun; exec sleep 600")}});
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
            Some("exceeded 3s timeout"),
        );
        assert_eq!(end(&status), expected);
        assert_eq!(status.logs.unwrap().tail, "begun\nExit status 143\n");
        space.no_pods().await;
    })
    .await;
}

#[tokio::test]
async fn a_nested_tree_fails_with_the_reasons_of_all_that_failed_in_it() {
    in_space("actions-failed", |space: Space| async move {
        let stops = "exec 2>/dev/null; trap 'echo heard; exit 4' TERM; echo begun; while :; do sleep 0.1; done";
        let tree = json!({"serial": {"actions": [
            {"emitProgress": {"startMessage": "first", "successMessage": "done", "action": shell("echo within")}},
            {"parallel": {"logSource": "APP", "actions": [
                {"timeout": {"after": "3s", "action": shell(stops)}},
                {"try": {"action": shell("exit 5")}},
                shell("exit 3"),
            ]}},
            shell("echo never"),
        ]}});
        space.task("t", task(tree)).await;
        let status = space.ended("t").await;
        let message = "exceeded 3s timeout; APP: Exited with status 3";
        assert_eq!(
            end(&status),
            (Some(Phase::Failed), Some("ActionFailed"), Some(message))
        );
        let log = status.logs.unwrap().tail;
        let first = "first\nwithin\nExit status 0\ndone\n";
        let mut rest: Vec<&str> = log.strip_prefix(first).unwrap_or(&log).lines().collect();
        assert_eq!(rest.pop(), Some("[APP] Exit status 4"), "{log}");
        // These three ran at once.
        rest.sort_unstable();
        let lines = [
            "[APP] Exit status 3",
            "[APP] Exit status 5",
            "[APP] begun",
            "[APP] heard",
        ];
        assert_eq!(rest, lines, "{log}");
        space.no_pods().await;
    })
    .await;
}

#[tokio::test]
async fn a_nested_tree_that_is_cancelled_midway_stops_all_that_runs_and_keeps_its_log() {
    in_space("actions-cancel", |space: Space| async move {
        let waits = |name: &str| {
            let script = format!(
                "exec 2>/dev/null; trap 'echo {name} heard; exit 4' TERM; echo {name}; while :; do sleep 0.1; done"
            );
            json!({"run": {"path": "sh", "args": ["-c", script]}})
        };
        let tree = json!({"serial": {"actions": [
            shell("echo first"),
            {"parallel": {"actions": [
                {"timeout": {"after": "1m", "action": waits("one")}},
                {"try": {"action": waits("two")}},
            ]}},
            shell("echo never"),
        ]}});
        space.task("t", task(tree)).await;
        space.says("t", "one").await;
        space.says("t", "two").await;
        space.cancel("t").await;
        let status = space.ended("t").await;
        let expected = (
            Some(Phase::Cancelled),
            Some("Cancelled"),
            Some("the Task was cancelled"),
        );
        assert_eq!(end(&status), expected);
        let log = status.logs.unwrap().tail;
        let mut lines: Vec<&str> = log.lines().collect();
        lines.sort_unstable();
        let expected = [
            "Exit status 0",
            "Exit status 4",
            "Exit status 4",
            "first",
            "one",
            "one heard",
            "two",
            "two heard",
        ];
        assert_eq!(lines, expected, "{log}");
        space.no_pods().await;
    })
    .await;
}
