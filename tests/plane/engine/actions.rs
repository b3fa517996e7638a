//! Tasks with composed actions, from the Task to its log and its reason.

use errand::crd::{Phase, TaskStatus};
use serde_json::{Value, json};

use crate::support::{
    Dev,
    docker::{DockerEngine, TOOLS},
    wait_for,
    world::World,
};

fn shell(script: &str) -> Value {
    json!({"run": {"path": "sh", "args": ["-c", script]}})
}

fn task(action: Value) -> Value {
    json!({"actions": {"container": {"image": TOOLS, "imagePullPolicy": "Never"}, "action": action}})
}

/// Phase, reason, sentence, exit code and log.
fn end(status: &TaskStatus) -> (Phase, &str, &str, Option<i32>, &str) {
    (
        status.phase.unwrap(),
        status.reason.as_deref().unwrap(),
        status.message.as_deref().unwrap(),
        status.exit_code,
        status.logs.as_ref().map_or("", |logs| logs.tail.as_str()),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nested_tree_runs_to_its_end_with_variables_of_container_task_and_action() {
    let world = World::start().await;
    let result = world.folder().join("result").display().to_string();
    let mut spec = task(json!({"serial": {"actions": [
        {"parallel": {"actions": [
            {"try": {"action": {"run": {"path": "sh", "args": ["-c", "exit 9"], "suppressLogOutput": true}}}},
            {"timeout": {"after": "1m", "action": {"run": {"path": "sh", "suppressLogOutput": true,
                "args": ["-c", format!("printf \"$A $B $C $ERRAND_ATTEMPT\" > {result}; cat $ERRAND_INPUT_DIR/body >> {result}")],
                "env": [{"name": "C", "value": "action"}]}}}},
        ]}},
        {"emitProgress": {"startMessage": "last", "successMessage": "done", "action": shell("echo '::progress 70 nearly'")}},
    ]}}));
    spec["actions"]["logSource"] = json!("TASK");
    spec["actions"]["resultFile"] = json!(result);
    spec["actions"]["container"]["env"] =
        json!(["A", "B", "C"].map(|name| json!({"name": name, "value": "container"})));
    spec["env"] = json!(["B", "C"].map(|name| json!({"name": name, "value": "task"})));
    spec["input"] = json!({"body": " input"});
    world.task("t", spec).await;
    let status = world.ended("t").await.status.unwrap();
    let log = "[TASK] last\n::progress 70 nearly\n[TASK] Exit status 0\n[TASK] done\n";
    assert_eq!(
        end(&status),
        (
            Phase::Succeeded,
            "Completed",
            "all actions succeeded",
            Some(0),
            log
        )
    );
    assert_eq!(
        status.result.unwrap().body.as_deref(),
        Some("container task action 1 input")
    );
    assert_eq!(status.progress.unwrap().percent, Some(100));
    world.no_pods().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_reach_the_task_in_diegos_words() {
    let world = World::start().await;
    world
        .task(
            "timed-out",
            task(json!({"timeout": {"after": "200ms", "action": shell("echo begun; exec sleep 600")}})),
        )
        .await;
    world
        .task(
            "failed",
            task(json!({"parallel": {"logSource": "APP", "actions": [shell("exit 3"), shell("true")]}})),
        )
        .await;
    let mut spec = task(shell("true"));
    spec["actions"]["resultFile"] = json!("/errand/no-such-file");
    world.task("resultless", spec).await;
    let status = world.ended("timed-out").await.status.unwrap();
    let log = "begun\nExit status 143\n";
    assert_eq!(
        end(&status),
        (
            Phase::Failed,
            "ActionFailed",
            "exceeded 200ms timeout",
            Some(1),
            log
        )
    );
    assert_eq!(
        status.error.map(|error| (error.code, error.message)),
        Some((2, "exceeded 200ms timeout".into()))
    );
    let status = world.ended("failed").await.status.unwrap();
    let (phase, reason, message, code, log) = end(&status);
    let expected = (
        Phase::Failed,
        "ActionFailed",
        "APP: Exited with status 3",
        Some(3),
    );
    assert_eq!((phase, reason, message, code), expected);
    let mut lines: Vec<&str> = log.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["[APP] Exit status 0", "[APP] Exit status 3"]);
    let status = world.ended("resultless").await.status.unwrap();
    assert_eq!(end(&status).2, "failed to fetch result");
    world.no_pods().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tree_that_is_cancelled_midway_or_runs_too_long_keeps_its_log() {
    let world = World::start().await;
    let tree = || {
        task(json!({"serial": {"actions": [
            shell("echo first"),
            {"codependent": {"actions": [
                shell("exec 2>/dev/null; trap 'echo heard; exit 4' TERM; echo ready; while :; do sleep 0.05; done"),
                {"run": {"path": "sleep", "args": ["600"], "suppressLogOutput": true}},
            ]}},
            shell("echo never"),
        ]}}))
    };
    world.task("cancelled", tree()).await;
    world.running("cancelled").await;
    world.log_of("cancelled", "ready").await;
    world.cancel("cancelled").await;
    let status = world.ended("cancelled").await.status.unwrap();
    let log = "first\nExit status 0\nready\nheard\nExit status 4\n";
    assert_eq!(
        end(&status),
        (
            Phase::Cancelled,
            "Cancelled",
            "the Task was cancelled",
            Some(1),
            log
        )
    );

    let mut late = tree();
    late["timeout"] = json!("1s");
    world.task("late", late).await;
    let status = world.ended("late").await.status.unwrap();
    let (phase, reason, message, _, tail) = end(&status);
    assert_eq!(
        (phase, reason, message),
        (Phase::Failed, "TimedOut", "the run time limit of 1s passed")
    );
    assert_eq!(tail, log);
    world.no_pods().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tree_that_cannot_be_read_fails_with_its_place_and_without_a_pod() {
    let world = World::start().await;
    let deep = (0..32).fold(shell("true"), |inner, _| json!({"try": {"action": inner}}));
    for (name, action, words) in [
        (
            "typo",
            json!({"serial": {"actions": [{"sequence": {}}]}}),
            "spec.actions.action.serial.actions[0]: an action is an object with one key",
        ),
        (
            "fields",
            json!({"run": {"path": 5}}),
            "spec.actions.action.run: invalid type: integer `5`, expected a string",
        ),
        ("deep", deep, ": actions are nested more than 32 deep"),
    ] {
        world.task(name, task(action)).await;
        let status = world.ended(name).await.status.unwrap();
        assert_eq!(
            (status.phase, status.reason.as_deref()),
            (Some(Phase::Failed), Some("InvalidActions")),
            "{name}"
        );
        let message = status.message.unwrap();
        assert!(message.contains(words), "{message}");
        assert_eq!(status.error.map(|error| error.code), Some(3));
        assert_eq!(status.pod, None);
    }
    let mut spec = task(shell("true"));
    spec["input"] = json!({"args": ["a"]});
    world.task("args", spec).await;
    let status = world.ended("args").await.status.unwrap();
    assert_eq!(status.reason.as_deref(), Some("InvalidSpec"));
    world.no_pods().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_tree_is_tried_again_where_the_policy_says_so() {
    let world = World::start().await;
    let count = world.folder().join("count").display().to_string();
    let mut spec = task(shell(&format!(
        "echo x >> {count}; test $(wc -l < {count}) -ge 2"
    )));
    spec["retry"] = json!({"limit": 3, "on": ["Failure"], "backoff": "1ms"});
    spec["actions"]["ttlAfterFinished"] = json!("1s");
    world.task("t", spec).await;
    let status = world.ended("t").await.status.unwrap();
    assert_eq!((status.phase, status.attempts), (Some(Phase::Succeeded), Some(2)));
    world.gone("t").await;
}

#[test]
fn actions_that_are_applied_with_kubectl_are_kept_explained_and_fixed() {
    let dev = Dev::start(&[]);
    let file = dev.folder().join("task.yaml");
    let manifest = |script: &str| {
        let text = format!(
            "apiVersion: errand.dev/v1alpha1\nkind: Task\nmetadata: {{name: t}}\nspec:\n  actions:\n    container: {{image: busybox}}\n    \
             action:\n      timeout:\n        after: 1m\n        action: {{run: {{path: sh, args: [-c, '{script}']}}}}\n"
        );
        std::fs::write(&file, text).unwrap();
        dev.kubectl(&["apply", "-f", file.to_str().unwrap()])
    };
    assert_eq!(
        manifest("echo hello; exit 2").ok().trim(),
        "task.errand.dev/t created"
    );
    let field = |path: &str| {
        dev.kubectl(&["get", "task", "t", "-o", &format!("jsonpath={{{path}}}")])
            .ok()
    };
    wait_for(
        "the end of t",
        || field(".status"),
        || (field(".status.phase") == "Failed").then_some(()),
    );
    assert_eq!(field(".status.message"), "LOG: Exited with status 2");
    assert_eq!(field(".status.logs.tail"), "hello\nExit status 2\n");
    assert_eq!(field(".spec.actions.action.timeout.action.run.path"), "sh");
    let changed = manifest("echo other");
    assert_eq!(changed.code, Some(1));
    assert!(
        changed.stderr.contains("the spec of a Task is immutable"),
        "{}",
        changed.stderr
    );
    let replace =
        r#"[{"op": "move", "from": "/spec/actions/action/timeout", "path": "/spec/actions/action/serial"}]"#;
    let replaced = dev.kubectl(&["patch", "task", "t", "--type=json", "-p", replace]);
    assert_eq!(replaced.code, Some(1), "{replaced:?}");
    let explained = dev.kubectl(&["explain", "task.spec.actions.action"]).ok();
    assert!(explained.contains("Stops an action after a time"), "{explained}");
}

#[test]
fn a_container_with_a_command_of_its_own_and_a_tree_of_endless_depth_are_refused() {
    let dev = Dev::start(&[]);
    let file = dev.folder().join("task.yaml");
    let apply = |spec: &str| {
        let text = format!(
            "{{\"apiVersion\": \"errand.dev/v1alpha1\", \"kind\": \"Task\", \"metadata\": {{\"name\": \"t\"}}, \"spec\": {spec}}}"
        );
        std::fs::write(&file, text).unwrap();
        let path = file.to_str().unwrap();
        let ran = dev.kubectl(&["create", "--validate=false", "-f", path]);
        assert_eq!(ran.code, Some(1), "{spec}");
        ran.stderr
    };
    let said = apply(
        r#"{"actions": {"container": {"image": "i", "command": ["true"]}, "action": {"run": {"path": "a"}}}}"#,
    );
    assert!(
        said.contains("actions say what runs: leave command and args out"),
        "{said}"
    );
    let said =
        apply(r#"{"external": {"processor": "p"}, "actions": {"container": {"image": "i"}, "action": {}}}"#);
    assert!(
        said.contains("exactly one of functionRef, function, external and actions must be set"),
        "{said}"
    );
    let deep = format!(
        "{}null{}",
        "{\"try\":{\"action\":".repeat(4_000),
        "}}".repeat(4_000)
    );
    let said = apply(&format!(
        r#"{{"actions": {{"container": {{"image": "i"}}, "action": {deep}}}}}"#
    ));
    assert!(said.contains("recursion") || said.contains("depth"), "{said}");
    // And goes on.
    dev.kubectl(&["get", "tasks"]).ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn actions_in_a_container_have_their_users_and_download_and_unpack() {
    let Some(docker) = DockerEngine::shared() else {
        return;
    };
    let world = World::start_with(move |setup| setup.docker = Some(docker)).await;
    // An archive, served from within: containers of this engine reach nothing else.
    let archive = world.folder().join("app.tgz");
    std::fs::write(&archive, super::containers::tgz(&[("app/hello", b"hello\n")])).unwrap();
    let read = json!({"run": {"path": "sh", "user": "7", "dir": "/job/app",
        "args": ["-c", "id -u; cat hello; ls -ln hello | head -c 10; echo; touch /denied 2>/dev/null || echo denied"]}});
    let server = json!({"run": {"path": "httpd", "args": ["-f", "-p", "8080", "-h", "/shared"], "suppressLogOutput": true}});
    let client = json!({"serial": {"actions": [
        {"download": {"from": "http://127.0.0.1:8080/app.tgz", "to": "/job", "user": "7:8", "artifact": "app"}},
        read,
    ]}});
    let mut spec = task(json!({"codependent": {"actions": [server, client]}}));
    spec["actions"]["container"]["volumeMounts"] = json!([{"name": "shared", "mountPath": "/shared"}]);
    spec["actions"]["pod"] = json!({"volumes": [{"name": "shared", "hostPath": {"path": world.folder()}}]});
    world.task("t", spec).await;
    let status = world.ended("t").await.status.unwrap();
    let (phase, reason, message, _, log) = end(&status);
    assert_eq!((phase, reason), (Phase::Failed, "ActionFailed"), "{log}");
    // The server was stopped when the client was done.
    assert_eq!(message, "Codependent step exited");
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines[0], "Downloading app...");
    assert!(lines[1].starts_with("Downloaded app ("), "{log}");
    assert_eq!(
        lines[2..],
        ["7", "hello", "-rw-r-----", "denied", "Exit status 0"],
        "{log}"
    );
    world.no_pods().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_action_that_takes_more_memory_than_the_limit_says_so_and_others_go_on() {
    let Some(docker) = DockerEngine::shared() else {
        return;
    };
    let world = World::start_with(move |setup| setup.docker = Some(docker)).await;
    let hungry =
        json!({"run": {"path": "dd", "args": ["if=/dev/zero", "of=/dev/null", "bs=512M", "count=1"]}});
    let mut spec =
        task(json!({"serial": {"actions": [{"try": {"action": hungry}}, shell("echo on"), hungry]}}));
    // So much that the supervisor itself is the smaller one.
    spec["capabilities"] = json!({"memory": "128Mi"});
    world.task("t", spec).await;
    let status = world.ended("t").await.status.unwrap();
    let (_, reason, message, code, log) = end(&status);
    let failure = "LOG: Exited with status 137 (out of memory)";
    assert_eq!(
        (reason, message, code),
        ("OOMKilled", failure, Some(137)),
        "{log}"
    );
    let killed = "Exit status 137 (out of memory)\n";
    assert_eq!(log, format!("{killed}on\nExit status 0\n{killed}"));
    world.no_pods().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_a_task_stand_in_its_container_for_every_user_and_nobody_changes_them() {
    let Some(docker) = DockerEngine::shared() else {
        return;
    };
    let world = World::start_with(move |setup| setup.docker = Some(docker)).await;
    let script =
        "cat /etc/bindings/db/user /etc/bindings/all; touch /etc/bindings/x 2>/dev/null || echo denied";
    let read = json!({"run": {"path": "sh", "args": ["-c", script], "user": "7"}});
    let mut spec = task(read);
    spec["actions"]["files"] =
        json!({"mountPath": "/etc/bindings", "contents": {"db/user": "ann\n", "all": "$(A) ü\n"}});
    world.task("t", spec).await;
    let status = world.ended("t").await.status.unwrap();
    let (phase, _, message, _, log) = end(&status);
    assert_eq!(phase, Phase::Succeeded, "{message}: {log}");
    assert_eq!(log, "ann\n$(A) ü\ndenied\nExit status 0\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_lead_out_of_their_folder_start_nothing() {
    let world = World::start().await;
    let mut spec = task(shell("true"));
    spec["actions"]["files"] = json!({"mountPath": "/etc/bindings", "contents": {"../passwd": ""}});
    world.task("t", spec).await;
    let status = world.ended("t").await.status.unwrap();
    assert_eq!(status.reason.as_deref(), Some("InvalidSpec"));
    let message = status.message.unwrap();
    let wanted = "spec.actions.files: the path \"../passwd\" of a file is not relative, ";
    assert!(message.starts_with(wanted), "{message}");
}
