//! What a person sees of a running Task, all on standard error: a bar with the log above it on a terminal, plain
//! lines otherwise.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

use super::follow::Viewer;
use crate::crd::{Phase, Progress, TaskStatus};

/// Characters of a title that fit beside the bar.
const MAX_TITLE: usize = 60;

/// Shows a Task while it runs.
pub struct View {
    name: String,
    bar: Option<ProgressBar>,
    last: Shown,
}

/// What was said last; the same is not said twice.
#[derive(Clone, Debug, Default, PartialEq)]
struct Shown {
    phase: Option<Phase>,
    node: Option<String>,
    why: Option<String>,
    progress: Option<Progress>,
}

impl View {
    /// A bar where standard error is a terminal, else lines.
    pub fn new(name: &str) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(100).with_prefix(name.to_owned());
            bar.set_style(style(false));
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self {
            name: name.to_owned(),
            bar,
            last: Shown::default(),
        }
    }

    // A closed standard error is no reason to leave a Task alone.
    fn line(&self, line: &[u8]) {
        match &self.bar {
            Some(bar) => bar.println(String::from_utf8_lossy(line)),
            None => {
                let mut stderr = io::stderr().lock();
                let _ = stderr.write_all(line).and_then(|()| stderr.write_all(b"\n"));
            }
        }
    }

    /// Takes the bar away.
    pub fn close(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Viewer for View {
    fn status(&mut self, status: &TaskStatus) {
        let now = Shown::of(status);
        if now == self.last {
            return;
        }
        match &self.bar {
            Some(bar) => {
                bar.set_style(style(
                    now.progress
                        .as_ref()
                        .is_some_and(|progress| progress.percent.is_some()),
                ));
                if let Some(percent) = now.progress.as_ref().and_then(|progress| progress.percent) {
                    bar.set_position(u64::from(percent));
                }
                bar.set_message(now.beside_the_bar());
            }
            None => {
                for line in now.lines(&self.last, &self.name) {
                    self.line(line.as_bytes());
                }
            }
        }
        self.last = now;
    }

    fn log(&mut self, line: &[u8]) {
        self.line(line);
    }

    fn note(&mut self, text: &str) {
        self.line(text.as_bytes());
    }
}

fn style(with_bar: bool) -> ProgressStyle {
    let template = if with_bar {
        "{spinner} {prefix} [{bar:30}] {percent:>3}% {wide_msg} {elapsed}"
    } else {
        "{spinner} {prefix} {wide_msg} {elapsed}"
    };
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

impl Shown {
    fn of(status: &TaskStatus) -> Self {
        Self {
            phase: status.phase,
            node: status.pod.as_ref().and_then(|pod| pod.node.clone()),
            why: status.message.clone().or_else(|| status.reason.clone()),
            progress: status.progress.clone(),
        }
    }

    fn phase_text(&self) -> String {
        self.phase
            .map_or_else(|| "accepted".to_owned(), |phase| phase.to_string())
    }

    fn waits(&self) -> bool {
        matches!(self.phase, None | Some(Phase::Queued | Phase::Pending))
    }

    fn beside_the_bar(&self) -> String {
        let title = self.progress.as_ref().and_then(|progress| progress.title.clone());
        let more = title.or_else(|| self.why.clone().filter(|_| self.waits()));
        match more {
            Some(more) => format!(
                "{}: {}",
                self.phase_text(),
                more.chars().take(MAX_TITLE).collect::<String>()
            ),
            None => self.phase_text(),
        }
    }

    // The end is left to the caller, who says it with reason and message.
    fn lines(&self, before: &Self, name: &str) -> Vec<String> {
        let mut lines = Vec::new();
        let ended = self.phase.is_some_and(Phase::is_terminal);
        if self.phase != before.phase && self.phase.is_some() && !ended {
            let node = self.node.as_ref().filter(|_| self.phase == Some(Phase::Running));
            let node = node.map(|node| format!(" on {node}")).unwrap_or_default();
            lines.push(format!("task/{name} {}{node}", self.phase_text()));
        }
        if self.why != before.why && self.waits() {
            lines.extend(
                self.why
                    .as_ref()
                    .map(|why| format!("task/{name} {}: {why}", self.phase_text())),
            );
        }
        if self.progress != before.progress {
            lines.extend(
                self.progress
                    .as_ref()
                    .and_then(|progress| progress_line(name, progress)),
            );
        }
        lines
    }
}

fn progress_line(name: &str, progress: &Progress) -> Option<String> {
    let percent = progress.percent.map(|percent| format!(" {percent}%"));
    let title = progress.title.as_ref().map(|title| format!(" {title}"));
    if percent.is_none() && title.is_none() {
        return None;
    }
    Some(format!(
        "task/{name} progress{}{}",
        percent.unwrap_or_default(),
        title.unwrap_or_default()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(status: serde_json::Value) -> Shown {
        Shown::of(&serde_json::from_value(status).unwrap())
    }

    #[test]
    fn lines_tell_changes_and_never_the_same_twice() {
        let nothing = Shown::default();
        let running = shown(json!({"phase": "Running", "pod": {"name": "p", "node": "n1"}}));
        assert_eq!(running.lines(&nothing, "t"), ["task/t Running on n1"]);
        assert_eq!(running.lines(&running, "t"), Vec::<String>::new());
        let later = shown(json!({"phase": "Running", "pod": {"name": "p", "node": "n1"},
            "progress": {"percent": 40, "title": "copying"}}));
        assert_eq!(later.lines(&running, "t"), ["task/t progress 40% copying"]);
    }

    #[test]
    fn a_waiting_task_says_what_it_waits_for() {
        let pending =
            shown(json!({"phase": "Pending", "reason": "Unschedulable", "message": "no node has 9 cpus"}));
        assert_eq!(
            pending.lines(&Shown::default(), "t"),
            ["task/t Pending", "task/t Pending: no node has 9 cpus"]
        );
        assert_eq!(pending.beside_the_bar(), "Pending: no node has 9 cpus");
    }

    #[test]
    fn templates_of_the_bar_are_valid() {
        for with_bar in [true, false] {
            let bar = ProgressBar::hidden();
            bar.set_style(style(with_bar));
        }
        assert!(
            ProgressStyle::with_template("{spinner} {prefix} [{bar:30}] {percent:>3}% {wide_msg} {elapsed}")
                .is_ok()
        );
    }
}
