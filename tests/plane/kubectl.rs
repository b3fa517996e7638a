//! What kubectl does against the embedded plane, verb by verb.

use crate::support::{Dev, wait_for};

const FUNCTION: &str = r#"
apiVersion: errand.dev/v1alpha1
kind: Function
metadata: {name: shell}
spec:
  container: {image: busybox, command: [sh, -c]}
"#;

fn task(name: &str, script: &str) -> String {
    format!(
        "apiVersion: errand.dev/v1alpha1\nkind: Task\nmetadata: {{name: {name}, labels: {{test: kubectl}}}}\n\
         spec:\n  functionRef: {{name: shell}}\n  input: {{args: ['{script}']}}\n"
    )
}

/// A plane with the Function, and one Task that has succeeded.
fn with_finished_task() -> Dev {
    let dev = Dev::start(&[]);
    dev.apply(FUNCTION);
    dev.apply(&task("done", "echo one; echo two"));
    finished(&dev, "done");
    dev
}

fn finished(dev: &Dev, task: &str) {
    let wait = format!("task/{task}");
    dev.kubectl(&[
        "wait",
        "--for=jsonpath={.status.phase}=Succeeded",
        &wait,
        "--timeout=60s",
    ])
    .ok();
}

#[test]
fn apply_creates_then_leaves_alone_then_configures() {
    let dev = Dev::start(&[]);
    assert_eq!(dev.apply(FUNCTION).trim(), "function.errand.dev/shell created");
    assert_eq!(dev.apply(FUNCTION).trim(), "function.errand.dev/shell unchanged");
    let changed = FUNCTION.replace("image: busybox", "image: alpine");
    assert_eq!(dev.apply(&changed).trim(), "function.errand.dev/shell configured");
    let image = dev
        .kubectl(&["get", "fn", "shell", "-o", "jsonpath={.spec.container.image}"])
        .ok();
    assert_eq!(image, "alpine");
}

#[test]
fn apply_server_side_works_too() {
    let dev = Dev::start(&[]);
    let file = dev.folder().join("function.yaml");
    std::fs::write(&file, FUNCTION).unwrap();
    let file = file.to_str().unwrap();
    let said = dev.kubectl(&["apply", "--server-side", "-f", file]).ok();
    assert_eq!(said.trim(), "function.errand.dev/shell serverside-applied");
}

#[test]
fn an_invalid_object_is_refused_with_the_rule_it_breaks() {
    let dev = Dev::start(&[]);
    let file = dev.folder().join("task.yaml");
    std::fs::write(
        &file,
        "apiVersion: errand.dev/v1alpha1\nkind: Task\nmetadata: {name: t}\nspec: {}\n",
    )
    .unwrap();
    let ran = dev.kubectl(&["apply", "-f", file.to_str().unwrap()]);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.stderr
            .contains("exactly one of functionRef, function, external and actions must be set"),
        "{}",
        ran.stderr
    );
}

#[test]
fn get_shows_our_columns() {
    let dev = with_finished_task();
    let table = dev.kubectl(&["get", "tasks"]).ok();
    let lines: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines[0], ["NAME", "PHASE", "PROGRESS", "FUNCTION", "NODE", "AGE"]);
    assert_eq!(lines[1][..4], ["done", "Succeeded", "100", "shell"]);
    let wide = dev.kubectl(&["get", "et", "-o", "wide"]).ok();
    assert!(
        wide.lines()
            .next()
            .unwrap()
            .ends_with("REASON      ATTEMPTS   RESULT"),
        "{wide}"
    );
    let by_label = dev
        .kubectl(&["get", "tasks", "-l", "test=kubectl", "-o", "name"])
        .ok();
    assert_eq!(by_label.trim(), "task.errand.dev/done");
    assert!(
        dev.kubectl(&["get", "errand"])
            .ok()
            .contains("function.errand.dev/shell")
    );
}

#[test]
fn get_yaml_shows_status_and_result() {
    let dev = with_finished_task();
    let yaml = dev.kubectl(&["get", "task", "done", "-o", "yaml"]).ok();
    let task: serde_json::Value = serde_yaml::from_str(&yaml).unwrap();
    assert_eq!(task["status"]["phase"], "Succeeded");
    assert_eq!(task["status"]["result"]["body"], "one\ntwo\n");
    assert_eq!(task["status"]["result"]["status"], 200);
    assert_eq!(task["status"]["exitCode"], 0);
}

#[test]
fn get_watch_follows_a_task_to_its_end() {
    let dev = Dev::start(&[]);
    dev.apply(FUNCTION);
    let mut watch = dev.kubectl_beside(&["get", "tasks", "-w"]);
    dev.apply(&task("watched", "sleep 3; echo done"));
    watch.stdout_with("Running");
    watch.stdout_with("Succeeded");
}

#[test]
fn describe_tells_the_story() {
    let dev = with_finished_task();
    let text = dev.kubectl(&["describe", "task", "done"]).ok();
    for part in [
        "Name:         done",
        "Kind:         Task",
        "Phase:",
        "Succeeded",
        "Function Ref:",
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
}

#[test]
fn describe_shows_the_events_of_a_task_and_of_its_pod() {
    let dev = Dev::start(&[]);
    dev.apply(FUNCTION);
    dev.apply(&task("bad", "exit 3"));
    let events = |kind: &str, name: &str, count: usize| {
        wait_for(
            "the events",
            || dev.log(),
            || {
                let text = dev.kubectl(&["describe", kind, name]).ok();
                let (_, events) = text.split_once("\nEvents:")?;
                let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
                let events: Vec<_> = events.lines().skip(3).map(words).collect();
                (events.len() >= count).then_some(events)
            },
        )
    };
    // Type, reason, age, from, message.
    let [event] = &events("task", "bad", 1)[..] else {
        panic!("one event")
    };
    assert!(event.starts_with("Warning ExitCode "), "{event}");
    assert!(
        event.ends_with(" errand.dev/controller the command exited with code 3"),
        "{event}"
    );

    dev.apply(&task("long", "sleep 1000"));
    // Scheduler and kubelet write beside each other.
    let mut pod = events("pod", &pod_of(&dev, "long"), 3);
    pod.sort();
    let told = [
        ("Normal Created ", " kubelet Created container: task"),
        ("Normal Scheduled ", "-1 to errand-dev"),
        ("Normal Started ", " kubelet Started container task"),
    ];
    assert_eq!(pod.len(), told.len(), "{pod:#?}");
    for (event, (start, end)) in pod.iter().zip(told) {
        assert!(event.starts_with(start) && event.ends_with(end), "{event}");
    }
}

#[test]
fn delete_takes_the_task_and_its_pod_away() {
    let dev = Dev::start(&[]);
    dev.apply(FUNCTION);
    dev.apply(&task("endless", "sleep 1000"));
    dev.kubectl(&[
        "wait",
        "--for=jsonpath={.status.phase}=Running",
        "task/endless",
        "--timeout=60s",
    ])
    .ok();
    let said = dev.kubectl(&["delete", "task", "endless"]).ok();
    assert!(said.starts_with("task.errand.dev \"endless\" deleted"), "{said}");
    wait_for(
        "the end of the pod",
        || dev.log(),
        || {
            dev.kubectl(&["get", "pods", "-o", "name"])
                .ok()
                .trim()
                .is_empty()
                .then_some(())
        },
    );
}

/// The pod of a Task that runs.
fn pod_of(dev: &Dev, task: &str) -> String {
    wait_for(
        "a pod",
        || dev.log(),
        || {
            let pod = dev
                .kubectl(&["get", "task", task, "-o", "jsonpath={.status.pod.name}"])
                .ok();
            (!pod.is_empty()).then_some(pod)
        },
    )
}

#[test]
fn logs_of_a_running_pod_come_and_go_on() {
    let dev = Dev::start(&[]);
    dev.apply(FUNCTION);
    let gate = dev.folder().join("gate");
    let script = format!(
        "echo first; while ! test -e {}; do sleep 0.1; done; echo last",
        gate.display()
    );
    dev.apply(&task("speaker", &script));
    let pod = pod_of(&dev, "speaker");
    let mut follow = dev.kubectl_beside(&["logs", "-f", &pod]);
    follow.stdout_with("first");
    assert_eq!(dev.kubectl(&["logs", &pod]).ok(), "first\n");
    std::fs::write(&gate, "").unwrap();
    follow.stdout_with("last");
    assert_eq!(follow.code(), Some(0));
}

#[test]
fn wait_sees_the_phase_change() {
    let dev = Dev::start(&[]);
    dev.apply(FUNCTION);
    dev.apply(&task("soon", "sleep 0.3"));
    finished(&dev, "soon");
    let ran = dev.kubectl(&[
        "wait",
        "--for=jsonpath={.status.phase}=Failed",
        "task/soon",
        "--timeout=1s",
    ]);
    assert_eq!(ran.code, Some(1));
}

#[test]
fn explain_prints_what_the_fields_mean() {
    let dev = Dev::start(&[]);
    let text = dev.kubectl(&["explain", "task.spec.input.body"]).ok();
    assert!(text.contains("Body, as text. At most 131072 bytes."), "{text}");
    assert!(
        dev.kubectl(&["explain", "functions"])
            .ok()
            .contains("GROUP:      errand.dev")
    );
}

#[test]
fn api_resources_list_all_kinds() {
    let dev = Dev::start(&[]);
    let table = dev.kubectl(&["api-resources", "--api-group=errand.dev"]).ok();
    let mut rows: Vec<Vec<&str>> = table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect())
        .collect();
    rows.sort();
    let version = "errand.dev/v1alpha1";
    assert_eq!(
        rows,
        [
            ["functions", "fn", version, "true", "Function"],
            ["schedules", "es", version, "true", "Schedule"],
            ["tasks", "et", version, "true", "Task"],
        ],
        "{table}"
    );
}

#[test]
fn a_schedule_is_applied_and_makes_its_task() {
    let dev = Dev::start(&[]);
    dev.apply(FUNCTION);
    let schedule = "apiVersion: errand.dev/v1alpha1\nkind: Schedule\nmetadata: {name: once}\n\
         spec:\n  startAt: '2026-01-01T09:00:00Z'\n  template: {spec: {functionRef: {name: shell}, input: {args: [echo one]}}}\n";
    assert_eq!(dev.apply(schedule).trim(), "schedule.errand.dev/once created");
    assert_eq!(dev.apply(schedule).trim(), "schedule.errand.dev/once unchanged");
    let label = ["get", "tasks", "-l", "errand.dev/schedule=once", "-o"];
    let made = || dev.kubectl(&[&label[..], &["name"]].concat()).ok();
    wait_for("the Task", made, || (!made().is_empty()).then_some(()));
    let task = made();
    let task = task.trim().strip_prefix("task.errand.dev/").unwrap();
    finished(&dev, task);
    let table = dev.kubectl(&["get", "es"]).ok();
    let head: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(head, ["NAME", "SCHEDULE", "SUSPEND", "LAST", "NEXT", "AGE"]);
    let wide = dev.kubectl(&["get", "schedules", "-o", "wide"]).ok();
    assert!(wide.contains("Complete"), "{wide}");
    let file = dev.folder().join("wrong.yaml");
    std::fs::write(&file, schedule.replace("  startAt: '2026-01-01T09:00:00Z'\n", "")).unwrap();
    let refused = dev.kubectl(&["apply", "--dry-run=server", "-f", file.to_str().unwrap()]);
    let sentence = "at least one of schedule and startAt must be set";
    assert!(refused.stderr.contains(sentence), "{refused:?}");
    dev.kubectl(&["delete", "schedule", "once"]).ok();
    wait_for("the end of its Task", made, || made().is_empty().then_some(()));
}
