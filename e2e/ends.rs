//! How Tasks end on real pods: well or badly, stopped from outside, with much output or with none.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use errand::crd::Phase;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::support::{
    Space, in_space,
    space::{lacks_evidence, shell},
    tools,
};

#[tokio::test]
async fn the_container_of_a_cancelled_task_hears_sigterm_and_its_log_is_kept() {
    in_space("cancel", |space: Space| async move {
        let script = "trap 'echo heard >&2; exit 0' TERM; echo ready; sleep 600 & wait";
        space.script("stopped", script, json!({})).await;
        space.running("stopped").await;
        space.says("stopped", "ready").await;
        space.cancel("stopped").await;
        let status = space.ended("stopped").await;
        assert_eq!(
            (status.phase, status.reason.as_deref()),
            (Some(Phase::Cancelled), Some("Cancelled"))
        );
        let lacking = lacks_evidence(&status);
        assert!(!lacking || space.forgets_ends().await, "{status:#?}");
        let result = status.result.unwrap();
        let body = (!lacking).then_some("ready\n");
        assert_eq!((result.status, result.body.as_deref()), (499, body));
        assert_eq!(status.logs.unwrap().tail, "ready\nheard\n");
        assert_eq!(status.error.unwrap().code, 1);
        space.no_pods().await;
    })
    .await;
}

#[tokio::test]
async fn a_container_that_ignores_sigterm_is_killed_after_its_grace() {
    in_space("stubborn", |space: Space| async move {
        let script = "trap 'echo never' TERM; echo ready; while :; do sleep 1; done";
        let grace = json!({"pod": {"terminationGracePeriodSeconds": 2}});
        space.script("stubborn", script, grace).await;
        space.running("stubborn").await;
        space.says("stubborn", "ready").await;
        space.cancel("stubborn").await;
        let status = space.ended("stubborn").await;
        assert_eq!(status.phase, Some(Phase::Cancelled));
        // The supervisor kills the command shortly before the grace is over, and so is left the time for its record.
        let whole = status.exit_code == Some(137) && !lacks_evidence(&status);
        assert!(whole || space.forgets_ends().await, "{status:#?}");
        let tail = status.logs.unwrap().tail;
        assert!(tail.starts_with("ready\n") && tail.contains("never\n"), "{tail}");
        space.no_pods().await;
    })
    .await;
}

#[tokio::test]
async fn the_run_time_limit_ends_a_task_and_keeps_what_it_said() {
    in_space("timeout", |space: Space| async move {
        space
            .script("slow", "echo before; sleep 600", json!({"timeout": "2s"}))
            .await;
        let status = space.failed("slow", "TimedOut").await;
        assert_eq!(status.message.as_deref(), Some("the run time limit of 2s passed"));
        let result = status.result.unwrap();
        assert_eq!((result.status, result.body.as_deref()), (408, Some("before\n")));
        assert_eq!(status.error.unwrap().code, 4);
        let ran = status
            .finished_at
            .unwrap()
            .duration_since(status.started_at.unwrap());
        assert!(ran.as_secs() >= 1, "{ran}");
        space.no_pods().await;
    })
    .await;
}

#[tokio::test]
async fn a_container_that_does_not_start_within_the_pending_limit_is_given_up() {
    in_space("pending", |space: Space| async move {
        // The kubelet waits for this volume without end.
        let spec = json!({
            "pendingTimeout": "4s",
            "pod": {"volumes": [{"name": "never", "configMap": {"name": "nobody-makes-it"}}]},
            "container": {"volumeMounts": [{"name": "never", "mountPath": "/never"}]},
        });
        space.script("waits", "true", spec).await;
        let status = space.failed("waits", "PendingTimedOut").await;
        assert_eq!(
            status.message.as_deref(),
            Some("the container did not start within 4s")
        );
        assert_eq!(
            (status.result.unwrap().status, status.error.unwrap().code),
            (408, 4)
        );
        assert_eq!(status.started_at, None);
        space.no_pods().await;
    })
    .await;
}

#[tokio::test]
async fn an_image_that_cannot_be_had_is_named() {
    in_space("image", |space: Space| async move {
        for (task, policy) in [("not-here", "Never"), ("nowhere", "IfNotPresent")] {
            let image = "registry.invalid/no/such:1";
            space
                .script(
                    task,
                    "true",
                    json!({"container": {"image": image, "imagePullPolicy": policy}}),
                )
                .await;
        }
        let status = space.failed("not-here", "ImagePullFailed").await;
        let message = status.message.unwrap();
        assert!(
            message.starts_with("the image cannot be pulled: ErrImageNeverPull: "),
            "{message}"
        );
        assert_eq!(status.error.unwrap().code, 5);
        let status = space.failed("nowhere", "ImagePullFailed").await;
        let message = status.message.unwrap();
        assert!(message.starts_with("the image cannot be pulled: "), "{message}");
        assert!(message.contains("registry.invalid/no/such:1"), "{message}");
        space.no_pods().await;
    })
    .await;
}

#[tokio::test]
async fn a_command_that_does_not_exist_is_named_with_and_without_supervisor() {
    in_space("command-missing", |space: Space| async move {
        for (task, supervise) in [("supervised", true), ("bare", false)] {
            let function = json!({
                "container": {"image": tools(), "command": ["/no/such/command"]}, "supervise": supervise,
            });
            space.task(task, json!({"function": function})).await;
        }
        for task in ["supervised", "bare"] {
            let status = space.failed(task, "StartFailed").await;
            let message = status.message.unwrap();
            assert!(message.contains("/no/such/command"), "{task}: {message}");
            assert_eq!(status.error.unwrap().code, 9, "{task}");
        }
        space.no_pods().await;
    })
    .await;
}

#[tokio::test]
async fn two_hundred_megabytes_of_output_are_cut_and_their_size_is_told() {
    in_space("output", |space: Space| async move {
        let line = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde\n";
        let lines = 200 * 1024 * 1024 / line.len();
        // Two streams have no order, so what is looked for at the end is on the long one.
        let script = format!(
            "echo the start >&2; yes {} | head -n {lines}; echo the end",
            line.trim()
        );
        space.script("talks", &script, json!({})).await;
        let status = space.succeeded("talks").await;
        let bytes = (lines * line.len() + "the end\n".len()) as i64;

        let result = status.result.clone().unwrap();
        let kept = line.repeat(262_144 / line.len());
        assert_eq!((result.size_bytes, result.truncated), (Some(bytes), true));
        assert!(
            result.body.as_deref() == Some(&kept),
            "{} bytes",
            result.body.unwrap_or_default().len()
        );
        let mut hash = Sha256::new();
        let part = line.repeat(1024);
        (0..lines / 1024).for_each(|_| hash.update(&part));
        hash.update("the end\n");
        let digest: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(result.sha256, Some(digest));

        let logs = status.logs.clone().unwrap();
        assert_eq!((logs.size_bytes, logs.truncated), (Some(bytes + 10), true));
        // It begins with a whole line.
        let tail = format!("{}the end\n", line.repeat((65_536 - 8) / line.len()));
        assert!(logs.tail == tail, "{} bytes", logs.tail.len());
        assert!(!lacks_evidence(&status), "{:?}", status.conditions);
        space.no_pods().await;
    })
    .await;
}

#[tokio::test]
async fn any_bytes_go_in_and_come_back_as_they_were() {
    in_space("bytes", |space: Space| async move {
        // The first fits into the container's termination message, the other does not.
        for (task, size) in [("few", 700), ("many", 100_000)] {
            let bytes: Vec<u8> = (0..size).map(|at: u32| (at * 7 + at / 256) as u8).collect();
            let body = STANDARD.encode(&bytes);
            let function = shell("cat $ERRAND_INPUT_DIR/body", json!({}));
            space
                .task(task, json!({"function": function, "input": {"bodyBase64": body}}))
                .await;
            let result = space.succeeded(task).await.result.unwrap();
            assert!(result.body_base64.as_ref() == Some(&body), "{task}: {result:?}");
            let rest = (
                result.body,
                result.size_bytes,
                result.truncated,
                result.content_type,
            );
            let expected = (
                None,
                Some(i64::from(size)),
                false,
                Some("application/octet-stream".to_owned()),
            );
            assert_eq!(rest, expected, "{task}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_failure_is_tried_again_as_often_as_the_policy_says() {
    in_space("retry", |space: Space| async move {
        let policy = json!({"retry": {"limit": 1, "on": ["Failure"], "backoff": "100ms"}});
        space
            .script("fails", "echo attempt $ERRAND_ATTEMPT; exit 7", policy.clone())
            .await;
        space
            .script(
                "recovers",
                "echo attempt $ERRAND_ATTEMPT; test $ERRAND_ATTEMPT = 2",
                policy,
            )
            .await;
        space
            .script("once", "exit 7", json!({"retry": {"limit": 3}}))
            .await;
        let fails = space.failed("fails", "ExitCode").await;
        assert_eq!((fails.attempts, fails.exit_code), (Some(2), Some(7)));
        assert_eq!(fails.result.unwrap().body.as_deref(), Some("attempt 2\n"));
        let recovers = space.succeeded("recovers").await;
        assert_eq!((recovers.attempts, recovers.exit_code), (Some(2), Some(0)));
        assert_eq!(recovers.result.unwrap().body.as_deref(), Some("attempt 2\n"));
        // Only the platform's failures are tried again where nothing else is said.
        let once = space.failed("once", "ExitCode").await;
        assert_eq!((once.attempts, once.exit_code), (Some(1), Some(7)));
        space.no_pods().await;
    })
    .await;
}
