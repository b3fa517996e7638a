//! Trees of actions, with real processes and users.

use std::io::Read as _;
use std::time::Duration;

use errand::handover::args::{ResultFrom, SuperviseArgs};
use errand::handover::plan::Plan;
use errand::handover::record::{Ended, Outcome};
use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use serde_json::{Value, json};

use super::{Bench, Left, PATIENCE, send, until};

/// A supervisor that runs a tree.
pub fn actions(tree: impl FnOnce(&str) -> Value) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let plan = dir.path().join("plan.json");
    let Value::Object(action) = tree(&dir.path().display().to_string()) else {
        panic!("a tree is an object")
    };
    let log_source = None;
    std::fs::write(&plan, Plan { action, log_source }.encode()).unwrap();
    let args = SuperviseArgs {
        termination_message: dir.path().join("termination-log"),
        timeout: Some(PATIENCE),
        ..SuperviseArgs::actions(plan)
    };
    Bench { dir, args }
}

fn shell(script: &str) -> Value {
    json!({"run": {"path": "sh", "args": ["-c", script]}})
}

pub fn quiet(script: &str) -> Value {
    json!({"run": {"path": "sh", "args": ["-c", script], "suppressLogOutput": true}})
}

pub fn serial(actions: Vec<Value>) -> Value {
    json!({"serial": {"actions": actions}})
}

/// Outcome, failure and both streams.
pub fn told(left: &Left) -> (Outcome, Option<&str>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let record = &left.record;
    (
        record.outcome.clone(),
        record.failure.as_deref(),
        text(&left.stdout),
        text(&left.stderr),
    )
}

pub fn ended(code: i32) -> Outcome {
    Outcome::Ended(Ended::Code(code))
}

#[test]
fn a_serial_of_runs_passes_their_streams_on_and_tells_their_ends() {
    let left = actions(|_| serial(vec![shell("echo one; echo oops >&2"), shell("printf two")])).run();
    let stdout = "one\nExit status 0\ntwo\nExit status 0\n";
    assert_eq!(told(&left), (ended(0), None, stdout.into(), "oops\n".into()));
    assert_eq!(left.status.code(), Some(0));
    assert_eq!(left.evidence().tail.map(|tail| tail.len()), Ok(stdout.len() + 5));
}

#[test]
fn a_failure_ends_the_tree_with_diegos_words_and_the_exit_code() {
    let failing = json!({"run": {"path": "sh", "args": ["-c", "exit 7"], "logSource": "APP"}});
    let left = actions(|_| serial(vec![failing, shell("echo never")])).run();
    let stdout = "[APP] Exit status 7\n";
    let failure = Some("APP: Exited with status 7");
    assert_eq!(told(&left), (ended(7), failure, stdout.into(), String::new()));
    assert_eq!(left.status.code(), Some(7));
    // By a signal, as shells count.
    let left = actions(|_| quiet("kill -9 $$")).run();
    let failure = Some("LOG: Exited with status 137");
    assert_eq!(told(&left), (ended(137), failure, String::new(), String::new()));
}

#[test]
fn two_failures_are_joined_and_have_no_exit_code_in_common() {
    let left =
        actions(|_| json!({"parallel": {"actions": [quiet("sleep 0.2; exit 1"), quiet("exit 2")]}})).run();
    let failure = Some("LOG: Exited with status 1; LOG: Exited with status 2");
    assert_eq!(told(&left), (ended(1), failure, String::new(), String::new()));
}

#[test]
fn lines_of_processes_that_run_at_once_stay_whole_and_are_marked() {
    let writer = |name: &str| {
        let script =
            format!("for i in 1 2 3 4 5 6 7 8 9 10; do printf '%s ' {name}; sleep 0.01; echo {name}; done");
        json!({"run": {"path": "sh", "args": ["-c", script], "logSource": name}})
    };
    let tree =
        json!({"parallel": {"actions": [writer("a"), writer("b"), shell("echo '::progress 40 half'")]}});
    let left = actions(|_| tree).run();
    let (outcome, _, stdout, _) = told(&left);
    assert_eq!(outcome, ended(0));
    for name in ["a", "b"] {
        let line = format!("[{name}] {name} {name}");
        assert_eq!(
            stdout.lines().filter(|other| *other == line).count(),
            10,
            "{stdout}"
        );
    }
    assert_eq!(stdout.lines().count(), 24, "{stdout}");
    assert_eq!(left.record.progress.unwrap().percent, Some(40));
}

#[test]
fn a_timeout_ends_the_whole_group_of_its_action() {
    let left = actions(
        |_| json!({"timeout": {"after": "100ms", "action": shell("echo begun; sleep 1000 & sleep 1000")}}),
    );
    let left = left.run();
    let stdout = "begun\nExit status 143\n";
    assert_eq!(
        told(&left),
        (
            ended(1),
            Some("exceeded 100ms timeout"),
            stdout.into(),
            String::new()
        )
    );
    assert!(!left.record.stdout.held_open, "the group was ended as a whole");
}

#[test]
fn an_action_that_ignores_the_stop_is_killed_after_the_grace_period() {
    let tree = |_: &str| json!({"timeout": {"after": "2s", "action": shell("trap '' TERM; echo deaf; while :; do sleep 0.05; done")}});
    let left = actions(tree)
        .with(|args| args.grace = Duration::from_millis(1500))
        .run();
    let stdout = "deaf\nExit status 137 (exceeded 1.5s graceful shutdown interval)\n";
    assert_eq!(
        told(&left),
        (
            ended(1),
            Some("exceeded 2s timeout"),
            stdout.into(),
            String::new()
        )
    );
}

#[test]
fn codependents_stop_with_the_first_that_ends() {
    let left =
        actions(|_| json!({"codependent": {"actions": [quiet("exec sleep 1000"), quiet("exit 0")]}})).run();
    assert_eq!(
        told(&left),
        (
            ended(1),
            Some("Codependent step exited"),
            String::new(),
            String::new()
        )
    );
}

#[test]
fn a_try_forgives_and_progress_is_told() {
    let left = actions(|_| {
        serial(vec![
            json!({"try": {"action": quiet("exit 1")}}),
            json!({"emitProgress": {"action": quiet("exit 4"), "startMessage": "staging", "failureMessagePrefix": "not staged",
                "logSource": "STG"}}),
        ])
    });
    let left = left.run();
    let failure = "LOG: Exited with status 4";
    let stderr = format!("[STG] not staged: {failure}\n");
    assert_eq!(
        told(&left),
        (ended(4), Some(failure), "[STG] staging\n".into(), stderr)
    );
}

#[test]
fn a_stop_from_outside_cancels_the_tree_and_keeps_its_evidence() {
    let tree = |_: &str| {
        serial(vec![
            json!({"parallel": {"actions": [shell("exec 2>/dev/null; trap 'echo heard; exit 3' TERM; echo ready; while :; do sleep 0.02; done")]}}),
            shell("echo never"),
        ])
    };
    let bench = actions(tree);
    let (child, mut stdout) = bench.ready();
    send(&child, Signal::SIGTERM);
    let left = bench.finish(child);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "heard\nExit status 3\n");
    let stopped = Outcome::Stopped {
        signal: 15,
        ended: Ended::Code(1),
    };
    assert_eq!(
        (left.record.outcome.clone(), left.record.failure.as_deref()),
        (stopped, Some(""))
    );
    assert_eq!(
        left.evidence().tail,
        Ok(b"ready\nheard\nExit status 3\n".to_vec())
    );
}

#[test]
fn the_run_limit_of_the_task_cancels_the_tree() {
    let left = actions(|_| quiet("exec sleep 1000"))
        .with(|args| args.timeout = Some(Duration::from_millis(200)))
        .run();
    let timed_out = Outcome::TimedOut(Ended::Code(1));
    assert_eq!(
        told(&left),
        (timed_out, Some("cancelled"), String::new(), String::new())
    );
    assert_eq!(left.status.code(), Some(124));
}

#[test]
fn a_program_that_cannot_be_started_is_named() {
    let left =
        actions(|_| json!({"run": {"path": "/errand/no-such-file", "user": "root", "nofile": 64}})).run();
    let sentence = "the command \"/errand/no-such-file\" was not found: the image has no such file";
    let stderr = format!("errand runner: {sentence}\n");
    assert_eq!(told(&left), (ended(127), Some(sentence), String::new(), stderr));

    let left = actions(|_| json!({"run": {"path": "true", "user": "nobody-of-that-name"}})).run();
    let sentence = "the user \"nobody-of-that-name\" is not in the image's /etc/passwd: name one that is, or give a number";
    assert_eq!(left.record.failure.as_deref(), Some(sentence));

    let left = actions(|_| json!({"run": {"path": "true", "dir": "/errand/none"}})).run();
    let sentence = "the command \"true\" cannot be run: the working directory cannot be used (No such file or directory)";
    assert_eq!(left.record.failure.as_deref(), Some(sentence));
}

#[test]
fn a_run_has_its_folder_variables_and_limit() {
    let script = "pwd; echo $A-$B; ulimit -n; cat; grep -E 'SigBlk|SigIgn' /proc/self/status";
    let run = json!({"run": {"path": "sh", "args": ["-c", script], "dir": "/", "nofile": 77, "suppressLogOutput": false,
        "env": [{"name": "A", "value": "action"}]}});
    let bench = actions(|_| run);
    let mut command = bench.process();
    command.env("A", "container").env("B", "container");
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..3], ["/", "action-container", "77"], "{text}");
    let blocked: Vec<&str> = lines[3].split_whitespace().collect();
    assert_eq!(blocked, ["SigBlk:", "0000000000000000"]);
}

#[test]
fn a_run_as_another_user_has_its_groups_and_home() {
    if !geteuid().is_root() {
        return;
    }
    let script = "id -u; id -g; id -G; echo $HOME $USER";
    let left = actions(|_| json!({"run": {"path": "sh", "args": ["-c", script], "user": "nobody"}})).run();
    let (outcome, failure, stdout, _) = told(&left);
    assert_eq!((outcome, failure), (ended(0), None));
    assert_eq!(
        stdout,
        "65534\n65534\n65534\n/nonexistent nobody\nExit status 0\n"
    );
}

#[test]
fn a_result_file_is_read_after_the_tree_and_has_a_limit() {
    let with_result = |script: &str| {
        let bench = actions(|folder| quiet(&script.replace('@', folder)));
        let path = bench.path("result");
        bench.with(|args| {
            args.result = ResultFrom::File(path);
            args.result_limit = 51_200;
        })
    };
    let left = with_result("printf content > @/result").run();
    assert_eq!(
        (left.result(), left.record.failure.as_deref()),
        (b"content".to_vec(), None)
    );
    let left = with_result("head -c 51200 /dev/zero > @/result").run();
    assert_eq!(
        (left.result().len(), left.record.failure.as_deref()),
        (51_200, None)
    );

    let left = with_result("head -c 51201 /dev/zero > @/result").run();
    assert_eq!(
        (left.result(), left.record.failure.as_deref()),
        (vec![], Some("failed to fetch result"))
    );
    let problem = left
        .record
        .result
        .as_ref()
        .and_then(|result| result.problem.clone());
    assert_eq!(
        problem.as_deref(),
        Some("the result file has 51201 bytes; at most 51200 are possible")
    );
    assert_eq!(left.record.outcome, ended(1));
    let left = with_result("true").run();
    assert_eq!(left.record.failure.as_deref(), Some("failed to fetch result"));

    // What failed anyway brings along what is there, and keeps its own reason.
    let left = with_result("printf half > @/result; exit 5").run();
    assert_eq!(
        (left.result(), left.record.failure.as_deref()),
        (b"half".to_vec(), Some("LOG: Exited with status 5"))
    );
    let left = with_result("exit 5").run();
    assert_eq!(
        (left.record.result, left.record.failure.as_deref()),
        (None, Some("LOG: Exited with status 5"))
    );
}

#[test]
fn what_is_no_plan_is_said_and_nothing_runs() {
    let bench = actions(|_| json!({"sequence": {}}));
    let left = bench.run();
    let Outcome::NotStarted { exit_code, message } = left.record.outcome else {
        panic!("it was started")
    };
    assert_eq!(exit_code, 125);
    assert!(
        message.starts_with("the actions cannot be run: action: an action is an object with one key"),
        "{message}"
    );
    let bench = actions(|_| json!({})).with(|args| args.actions = Some("/errand/none".into()));
    assert_eq!(bench.run().status.code(), Some(125));
}

#[test]
fn orphans_of_actions_are_reaped_and_nothing_is_left_behind() {
    let left = actions(|folder| {
        let script = format!(
            "setsid sh -c 'echo $$ > {folder}/pid; exec sleep 1000' & while ! test -s {folder}/pid; do sleep 0.02; done"
        );
        serial(vec![
            quiet(&script),
            quiet(&format!("test -e /proc/$(cat {folder}/pid)")),
        ])
    });
    let folder = left.path("pid");
    let outcome = left.run();
    assert_eq!(
        outcome.record.failure, None,
        "what an action leaves behind lives on in the tree"
    );
    let pid = std::fs::read_to_string(folder).unwrap();
    assert!(
        !std::path::Path::new("/proc").join(pid.trim()).exists(),
        "process {pid} is still there"
    );
}

#[test]
fn signals_of_other_kinds_reach_every_action() {
    let listener = |name: &str| {
        quiet(&format!(
            "trap 'exit 0' USR1; touch @/{name}; while :; do sleep 0.02; done"
        ))
    };
    let bench = actions(|folder| {
        let tree = json!({"parallel": {"actions": [listener("a"), listener("b")]}}).to_string();
        serde_json::from_str(&tree.replace('@', folder)).unwrap()
    });
    let child = bench.start();
    until("both listen", || {
        (bench.path("a").exists() && bench.path("b").exists()).then_some(())
    });
    send(&child, Signal::SIGUSR1);
    assert_eq!(bench.finish(child).record.outcome, ended(0));
}
