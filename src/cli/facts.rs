//! One Task with all its facts, for people. Pure.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::table::age;
use crate::crd::{Task, TaskStatus};

const WIDTH: usize = 14;

/// Facts as `Name:  value` lines; facts that are not known are left out.
pub fn of(task: &Task, now: Timestamp) -> String {
    let status = task.status.clone().unwrap_or_default();
    let mut page = Page::default();
    identity(&mut page, task);
    state(&mut page, &status);
    times(&mut page, task, &status, now);
    output(&mut page, &status);
    page.text
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn fact(&mut self, name: &str, value: Option<impl ToString>) {
        if let Some(value) = value
            .map(|value| value.to_string())
            .filter(|value| !value.is_empty())
        {
            // Writing to a String cannot fail.
            let _ = writeln!(self.text, "{:<WIDTH$}{value}", format!("{name}:"));
        }
    }
}

fn identity(page: &mut Page, task: &Task) {
    let spec = &task.spec;
    page.fact("Name", task.metadata.name.as_ref());
    page.fact("Namespace", task.metadata.namespace.as_ref());
    let reference = spec
        .function_ref
        .as_ref()
        .map(|reference| match reference.version {
            None | Some(0) => reference.name.clone(),
            Some(version) => format!("{} (version {version})", reference.name),
        });
    let inline = spec
        .function
        .as_ref()
        .map(|function| format!("inline, image {}", function.container.image));
    let external = spec
        .external
        .as_ref()
        .map(|external| format!("external, by {}", external.processor));
    let actions = spec
        .actions
        .as_ref()
        .map(|actions| format!("actions, image {}", actions.container.image));
    page.fact("Function", reference.or(inline).or(external).or(actions));
    let title = task.status.as_ref().and_then(|status| status.title.as_ref());
    page.fact("Title", title.or(spec.title.as_ref()));
    page.fact("Owner", spec.owner.as_ref());
    page.fact("Priority", spec.priority);
    page.fact("Suspend", spec.suspend.filter(|suspend| *suspend));
    page.fact(
        "Cancel",
        spec.cancel.filter(|cancel| *cancel).map(|_| "asked for"),
    );
}

fn state(page: &mut Page, status: &TaskStatus) {
    page.fact("Phase", status.phase);
    page.fact("Reason", status.reason.as_ref());
    page.fact("Message", status.message.as_ref());
    page.fact("Exit code", status.exit_code);
    let progress = status.progress.as_ref().map(|progress| {
        let percent = progress.percent.map(|percent| format!("{percent}%"));
        let steps = progress
            .current
            .zip(progress.maximum)
            .map(|(current, of)| format!("{current}/{of}"));
        let parts = [percent, steps, progress.title.clone(), progress.message.clone()];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
    });
    page.fact("Progress", progress);
    page.fact("Attempts", status.attempts);
    page.fact("Pod", status.pod.as_ref().map(|pod| &pod.name));
    page.fact("Node", status.pod.as_ref().and_then(|pod| pod.node.as_ref()));
    for condition in &status.conditions {
        let why = if condition.message.is_empty() {
            &condition.reason
        } else {
            &condition.message
        };
        page.fact(
            "Condition",
            Some(format!("{}={} {why}", condition.type_, condition.status)),
        );
    }
}

fn times(page: &mut Page, task: &Task, status: &TaskStatus, now: Timestamp) {
    let ago = |time: &Timestamp| format!("{time} ({} ago)", age(now.as_second() - time.as_second()));
    page.fact(
        "Created",
        task.metadata.creation_timestamp.as_ref().map(|time| ago(&time.0)),
    );
    page.fact("Started", status.started_at.as_ref().map(ago));
    page.fact("Finished", status.finished_at.as_ref().map(ago));
    page.fact("Next attempt", status.next_attempt_at.as_ref());
    let ran = status.started_at.zip(status.finished_at).map(|(start, end)| {
        format!(
            "{:.3}s",
            (end.as_millisecond() - start.as_millisecond()).max(0) as f64 / 1000.0
        )
    });
    page.fact("Ran for", ran);
}

fn output(page: &mut Page, status: &TaskStatus) {
    let cut = |truncated: bool| if truncated { ", cut" } else { "" };
    let size = |bytes: Option<i64>| bytes.map(|bytes| format!(", {bytes} bytes")).unwrap_or_default();
    let result = status.result.as_ref().map(|result| {
        let kind = result
            .content_type
            .as_ref()
            .map(|kind| format!(", {kind}"))
            .unwrap_or_default();
        format!(
            "{}{kind}{}{}",
            result.status,
            size(result.size_bytes),
            cut(result.truncated)
        )
    });
    page.fact("Result", result);
    let logs = status.logs.as_ref().map(|logs| {
        let kept = format!("{} bytes kept", logs.tail.len());
        let whole = logs
            .size_bytes
            .map(|bytes| format!(" of {bytes}"))
            .unwrap_or_default();
        format!("{kept}{whole}{}", cut(logs.truncated))
    });
    page.fact("Log", logs);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_finished_task_tells_all_its_facts() {
        let task: Task = serde_json::from_value(json!({
            "metadata": {"name": "t", "namespace": "default", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"functionRef": {"name": "copy"}, "owner": "ann"},
            "status": {
                "phase": "Failed", "reason": "ExitCode", "message": "exit code 3", "exitCode": 3, "attempts": 1,
                "progress": {"percent": 40, "current": 2, "maximum": 5, "title": "copying"},
                "pod": {"name": "t-1", "node": "n1"},
                "startedAt": "2026-01-01T00:00:01Z", "finishedAt": "2026-01-01T00:00:02.500Z",
                "result": {"status": 500, "contentType": "text/plain", "sizeBytes": 9, "truncated": true},
                "logs": {"tail": "abc", "sizeBytes": 300, "truncated": true},
            },
        }))
        .unwrap();
        assert_eq!(
            of(&task, "2026-01-01T00:01:00Z".parse().unwrap()),
            "Name:         t\n\
             Namespace:    default\n\
             Function:     copy\n\
             Owner:        ann\n\
             Phase:        Failed\n\
             Reason:       ExitCode\n\
             Message:      exit code 3\n\
             Exit code:    3\n\
             Progress:     40% 2/5 copying\n\
             Attempts:     1\n\
             Pod:          t-1\n\
             Node:         n1\n\
             Created:      2026-01-01T00:00:00Z (60s ago)\n\
             Started:      2026-01-01T00:00:01Z (59s ago)\n\
             Finished:     2026-01-01T00:00:02.5Z (58s ago)\n\
             Ran for:      1.500s\n\
             Result:       500, text/plain, 9 bytes, cut\n\
             Log:          3 bytes kept of 300, cut\n"
        );
    }
}
