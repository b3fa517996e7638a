//! The client commands against a plane.

use std::fs;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::support::{Dev, command::errand_with_input, errand, wait_for};

const FUNCTIONS: &str = r#"
apiVersion: errand.dev/v1alpha1
kind: Function
metadata: {name: cat}
spec:
  container: {image: busybox, command: [sh, -c, 'cat "$ERRAND_INPUT_DIR/body"']}
---
apiVersion: errand.dev/v1alpha1
kind: Function
metadata: {name: shell}
spec:
  container: {image: busybox, command: [sh, -c]}
  pod: {terminationGracePeriodSeconds: 1}
"#;

fn plane() -> Dev {
    let dev = Dev::start(&[]);
    dev.apply(FUNCTIONS);
    dev
}

#[test]
fn a_result_is_printed_byte_for_byte_whatever_it_is() {
    let dev = plane();
    let text = dev.errand(&["run", "cat", "--input", "grüß\n"]);
    assert_eq!(
        (text.code, text.text().as_str()),
        (Some(0), "grüß\n"),
        "{}",
        text.stderr
    );
    let bytes: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    let file = dev.folder().join("bytes");
    fs::write(&file, &bytes).unwrap();
    let from_file = dev.errand(&["run", "cat", "--input", &format!("@{}", file.display())]);
    assert_eq!(from_file.code, Some(0), "{}", from_file.stderr);
    assert!(from_file.stdout == bytes, "the bytes came back changed");
    let piped = errand_with_input(&dev.kubeconfig(), ["run", "cat", "--input", "@-"], &bytes);
    assert!(
        piped.stdout == bytes,
        "the bytes came back changed: {}",
        piped.stderr
    );
}

#[test]
fn what_happens_is_told_in_lines_on_standard_error() {
    let dev = plane();
    let script = "echo ::progress 40 half way; echo to the log >&2; sleep 3; echo result";
    let ran = dev.errand(&["run", "shell", "--arg", script]);
    assert_eq!(ran.text(), "result\n");
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert!(
        lines[0].starts_with("task/shell-") && lines[0].ends_with(" created"),
        "{lines:#?}"
    );
    for part in [
        " Running on ",
        "progress 40% half way",
        "to the log",
        " Succeeded",
    ] {
        assert_eq!(
            lines.iter().filter(|line| line.contains(part)).count(),
            1,
            "{part:?} in {lines:#?}"
        );
    }
    assert!(!ran.stderr.contains("::progress"), "{}", ran.stderr);
}

#[test]
fn the_exit_code_is_that_of_the_command() {
    let dev = plane();
    let ran = dev.errand(&["run", "shell", "--arg", "echo partly; echo no >&2; exit 7"]);
    assert_eq!(
        (ran.code, ran.text().as_str()),
        (Some(7), "partly\n"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains(" Failed (ExitCode)"), "{}", ran.stderr);
    assert!(ran.stderr.lines().any(|line| line == "no"), "{}", ran.stderr);
}

#[test]
fn a_task_that_runs_out_of_time_ends_with_124() {
    let dev = plane();
    let ran = dev.errand(&["run", "shell", "--arg", "sleep 100", "--timeout", "1s"]);
    assert_eq!(ran.code, Some(124), "{}", ran.stderr);
    assert!(ran.stderr.contains("TimedOut"), "{}", ran.stderr);
}

#[test]
fn ctrl_c_cancels_the_task_and_ends_with_130() {
    let dev = plane();
    let mut run = dev.errand_beside(&["run", "shell", "--arg", "echo here; sleep 100"]);
    run.stderr_with("here");
    kill(Pid::from_raw(run.child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    run.stderr_with("will be cancelled");
    assert_eq!(run.code(), Some(130));
    let phase = dev
        .kubectl(&["get", "tasks", "-o", "jsonpath={.items[0].status.phase}"])
        .ok();
    assert_eq!(phase, "Cancelled");
}

#[test]
fn a_detached_task_is_read_later() {
    let dev = plane();
    let gate = dev.folder().join("gate");
    let script = format!(
        "echo begun >&2; while ! test -e {}; do sleep 0.1; done; echo over",
        gate.display()
    );
    let said = dev.errand(&["run", "shell", "--detach", "--arg", &script]).ok();
    let name = said
        .trim()
        .strip_prefix("task/")
        .unwrap()
        .strip_suffix(" created")
        .unwrap()
        .to_owned();

    let mut follow = dev.errand_beside(&["logs", "-f", &name]);
    follow.stdout_with("begun");
    assert_eq!(dev.errand(&["logs", &name]).ok(), "begun\n");
    let early = dev.errand(&["result", &name]);
    assert_eq!(early.code, Some(1));
    assert!(
        early.stderr.contains("has no result yet: it is Running"),
        "{}",
        early.stderr
    );

    fs::write(&gate, "").unwrap();
    assert_eq!(dev.errand(&["result", &name, "--wait"]).ok(), "over\n");
    assert_eq!(follow.code(), Some(0));
    let log = dev.errand(&["logs", &name]).ok();
    assert_eq!(log, "begun\nover\n");
    let facts = dev.errand(&["get", &name]).ok();
    assert!(facts.contains("Phase:        Succeeded"), "{facts}");
    let table = dev.errand(&["get"]).ok();
    assert!(table.lines().nth(1).unwrap().contains("Succeeded"), "{table}");
    let json: serde_json::Value =
        serde_json::from_str(&dev.errand(&["get", &name, "-o", "json"]).ok()).unwrap();
    assert_eq!(json["kind"], "Task");
}

#[test]
fn cancel_stops_a_task_and_keeps_its_log() {
    let dev = plane();
    let said = dev
        .errand(&["run", "shell", "--detach", "--arg", "echo kept; sleep 100"])
        .ok();
    let name = said
        .trim()
        .strip_prefix("task/")
        .unwrap()
        .strip_suffix(" created")
        .unwrap()
        .to_owned();
    wait_for(
        "the start",
        || dev.log(),
        || {
            dev.kubectl(&["get", "task", &name, "-o", "jsonpath={.status.phase}"])
                .ok()
                .eq("Running")
                .then_some(())
        },
    );
    wait_for(
        "the log",
        || dev.log(),
        || dev.errand(&["logs", &name]).text().contains("kept").then_some(()),
    );
    assert_eq!(
        dev.errand(&["cancel", &name]).ok(),
        format!("task/{name} will be cancelled\n")
    );
    wait_for(
        "the end",
        || dev.log(),
        || {
            dev.kubectl(&["get", "task", &name, "-o", "jsonpath={.status.phase}"])
                .ok()
                .eq("Cancelled")
                .then_some(())
        },
    );
    assert_eq!(dev.errand(&["logs", &name]).ok(), "kept\n");
    assert_eq!(
        dev.errand(&["cancel", &name]).ok(),
        format!("task/{name} was cancelled before\n")
    );
    assert_eq!(dev.errand(&["cancel", "nobody"]).code, Some(1));
}

#[test]
fn a_cut_result_says_so_on_standard_error() {
    let dev = plane();
    let file = dev.folder().join("function.yaml");
    fs::write(&file, "apiVersion: errand.dev/v1alpha1\nkind: Function\nmetadata: {name: short}\nspec: {container: {image: i, command: [echo, 0123456789]}, result: {limit: 4}}\n").unwrap();
    let ran = dev.errand(&["run", "-f", file.to_str().unwrap()]);
    assert_eq!(
        (ran.code, ran.text().as_str()),
        (Some(0), "0123"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr
            .contains("the result is cut: 4 bytes were kept of 11 bytes"),
        "{}",
        ran.stderr
    );
}

#[test]
fn mistakes_get_a_sentence_and_exit_code_2() {
    let dev = plane();
    let unknown = dev.errand(&["run", "nobody"]);
    assert_eq!(unknown.code, Some(2));
    assert!(
        unknown
            .stderr
            .contains("there is no Function \"nobody\" in the namespace default"),
        "{}",
        unknown.stderr
    );
    let large = dev.folder().join("large");
    fs::write(&large, vec![b'x'; 131_073]).unwrap();
    let refused = dev.errand(&["run", "cat", "--input", &format!("@{}", large.display())]);
    assert_eq!(refused.code, Some(2));
    assert!(
        refused.stderr.contains("the input is over 131072 bytes"),
        "{}",
        refused.stderr
    );
    let nowhere = errand(&dev.folder().join("missing"), ["run", "cat"]);
    assert_eq!(nowhere.code, Some(2));
    assert!(nowhere.stderr.contains("KUBECONFIG"), "{}", nowhere.stderr);
    assert_eq!(dev.errand(&["result", "nobody"]).code, Some(1));
}

#[test]
fn a_plane_that_is_gone_is_named() {
    let mut dev = plane();
    dev.stop_by(Signal::SIGTERM);
    let ran = dev.errand(&["get"]);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.stderr.contains("no answer from the API server"),
        "{}",
        ran.stderr
    );
}
