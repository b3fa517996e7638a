//! Everything in `examples/` runs on the embedded plane, and the README's commands with it.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::Command,
};

use crate::support::{Dev, wait_for};

fn examples() -> &'static str {
    concat!(env!("CARGO_MANIFEST_DIR"), "/examples")
}

/// The Task once it has ended.
fn ended(dev: &Dev, name: &str) -> serde_json::Value {
    let look = || -> serde_json::Value {
        serde_json::from_str(&dev.kubectl(&["get", "task", name, "-o", "json"]).ok()).unwrap()
    };
    wait_for(
        &format!("the end of {name}"),
        || look().to_string(),
        || {
            let task = look();
            let phase = task["status"]["phase"].as_str().unwrap_or_default();
            matches!(phase, "Succeeded" | "Failed" | "Cancelled").then_some(task)
        },
    )
}

#[test]
fn all_examples_end_as_they_say() {
    let dev = Dev::start(&[]);
    let applied = dev.kubectl(&["apply", "-f", examples()]).ok();
    let files = std::fs::read_dir(examples()).unwrap().flatten();
    let files = files
        .filter(|file| file.path().extension().is_some_and(|end| end == "yaml"))
        .count();
    assert_eq!(applied.lines().count(), files, "{applied}");

    let next = || {
        let path = "jsonpath={.status.nextScheduleTime}";
        dev.kubectl(&["get", "schedule", "tick", "-o", path]).ok()
    };
    wait_for("the next moment of tick", next, || {
        next().contains("T0").then_some(())
    });
    let hello = ended(&dev, "hello-ada");
    assert_eq!(hello["status"]["result"]["body"], "hello, Ada\n");
    let page = ended(&dev, "page-hello");
    assert_eq!(
        page["status"]["result"]["body"], "/shout?lang=en: HELLO\n",
        "{page}"
    );
    assert_eq!(
        page["status"]["result"]["contentType"],
        "text/plain; charset=utf-8"
    );
    let broken = ended(&dev, "broken-once");
    let status = &broken["status"];
    assert_eq!(
        (&status["phase"], &status["reason"]),
        (&"Failed".into(), &"ExitCode".into())
    );
    assert_eq!((&status["exitCode"], &status["attempts"]), (&3.into(), &2.into()));
    assert_eq!(status["logs"]["tail"], "no such record\n");
    let copy = ended(&dev, "copy-two");
    assert_eq!(copy["status"]["result"]["body"], "2 files copied\n");
    assert_eq!(copy["status"]["progress"]["percent"], 100);
    let build = ended(&dev, "build");
    assert_eq!(build["status"]["result"]["body"], "1.2.3\n", "{build}");
    let log = build["status"]["logs"]["tail"].as_str().unwrap();
    assert!(
        log.contains("[LINT] linted\n") && log.ends_with("\npacked\n"),
        "{log}"
    );
    let inline = ended(&dev, "inline");
    let year = inline["status"]["result"]["body"]
        .as_str()
        .unwrap()
        .trim()
        .to_owned();
    assert!(year.parse::<u32>().unwrap() >= 2025, "{year}");
}

/// Ends with the test, also after a failure.
struct Receiver(std::process::Child);

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_example_receiver_verifies_what_the_example_task_tells() {
    let dev = Dev::start(&[]);
    let script = format!("{}/receiver.py", examples());
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
        .to_string();
    let start = |key: &[&str]| {
        let mut python = Command::new("python3");
        python.args([&script, &port]).args(key);
        let mut child = python.stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), format!("waits on port {port}"));
        (Receiver(child), lines)
    };
    let text = |name: &str| std::fs::read_to_string(format!("{}/{name}", examples())).unwrap();
    dev.apply(&text("callback-key.yaml"));
    let task = text("callback-task.yaml").replace(":8000/", &format!(":{port}/"));
    // With another key it does not believe a word.
    let (wrong, _) = start(&["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]);
    dev.apply(&task);
    let status = || -> serde_json::Value {
        let text = dev
            .kubectl(&["get", "task", "callback", "-o", "jsonpath={.status.callback}"])
            .ok();
        serde_json::from_str(&text).unwrap_or_default()
    };
    wait_for(
        "a refusal",
        || status().to_string(),
        || (status()["lastStatus"] == 401).then_some(()),
    );
    drop(wrong);
    let (_right, mut lines) = start(&[]);
    let line = lines.next().unwrap().unwrap();
    assert_eq!(line, "default callback Succeeded Completed");
    wait_for(
        "the end",
        || status().to_string(),
        || (status()["state"] == "Delivered").then_some(()),
    );
}

#[test]
fn every_command_of_the_readme_works() {
    let dev = Dev::start(&["--apply", examples()]);
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let mut ran = 0;
    let mut script = String::new();
    for line in readme.lines().filter_map(|line| line.strip_prefix("$ ")) {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        // What builds or starts a plane is what this test stands on; CI runs the make targets themselves, and the cluster
        // tests install, upgrade and uninstall the chart.
        if matches!(
            words[..],
            ["make" | "export" | "helm", ..] | ["errand", "dev", ..]
        ) {
            continue;
        }
        // Lines that share variables share a shell.
        if line.starts_with("curl ") || line.starts_with("ID=") {
            script.push_str(line);
            script.push('\n');
            continue;
        }
        let program = words.remove(0);
        let words: Vec<&str> = words.iter().map(|word| word.trim_matches(['"', '\''])).collect();
        let outcome = match program {
            "errand" => dev.errand(&words),
            "kubectl" => dev.kubectl(&words),
            other => panic!("the README runs {other}, which no test knows: {line}"),
        };
        // What fails on purpose says so in the README, right behind the command.
        assert!(
            outcome.code == Some(0) || line.contains("broken"),
            "{line}: {outcome:?}"
        );
        ran += 1;
    }
    assert!(ran >= 5, "only {ran} commands were found in the README");
    let shell = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script])
        .env("FACADE", dev.says("facade"))
        .env("TOKEN", dev.says("token"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&shell.stdout);
    let complaint = String::from_utf8_lossy(&shell.stderr);
    assert!(
        shell.status.success(),
        "{script}{said}{complaint} (it needs curl)"
    );
    for sign in [
        "hello, Ada\n[{\"id\":",
        "\"status\":200",
        "\"command\":\"INVOKE hello\",\"status\":\"SUCCEEDED\"",
        "event: log\nid: 1.1\ndata: ",
        "event: end\n",
        "\n\nhello, Ada\n{\"jobId\":",
        "\"title\":\"Nightly copy\"",
    ] {
        assert!(said.contains(sign), "{sign:?} is not in {said}");
    }
    assert!(said.contains("{\"itemsInTotal\":"), "{said}");
}
