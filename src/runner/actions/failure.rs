//! Why an action failed, in the texts of Diego (`executor/depot/steps`).

use std::time::Duration;

/// A failure of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// The text.
    pub(super) text: String,
    /// How far the text is shown.
    pub(super) show: Show,
    /// Exit status, where the failure is that of one process.
    pub(super) code: Option<i32>,
}

/// How far a failure's text is shown by the actions around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Show {
    /// `timeout` and `emitProgress` add it to their own words (`EmittableError`).
    Everywhere,
    /// Only as the reason of the whole, or as one of several.
    Plain,
    /// Left out where several are joined (`IsDisplayable` is false): the consequence of another failure.
    Hidden,
}

impl Failure {
    fn new(text: impl Into<String>, show: Show) -> Self {
        Self {
            text: text.into(),
            show,
            code: None,
        }
    }

    /// A failure that is shown everywhere.
    pub(super) fn emitted(text: impl Into<String>) -> Self {
        Self::new(text, Show::Everywhere)
    }

    /// A failure that others do not repeat.
    pub(super) fn plain(text: impl Into<String>) -> Self {
        Self::new(text, Show::Plain)
    }

    /// It was told to stop, and did.
    pub(super) fn cancelled() -> Self {
        Self::new("cancelled", Show::Hidden)
    }

    /// It was told to stop, and had to be killed.
    pub(super) fn killed() -> Self {
        Self::new("exceeded graceful shutdown interval", Show::Hidden)
    }

    /// It was killed, and is still there.
    pub(super) fn stuck() -> Self {
        Self::plain("process did not exit")
    }

    /// A process ended with a status other than 0.
    pub(super) fn exited(source: &str, code: i32, out_of_memory: bool) -> Self {
        let suffix = if out_of_memory { " (out of memory)" } else { "" };
        Self {
            code: Some(code),
            ..Self::emitted(format!("{source}: Exited with status {code}{suffix}"))
        }
    }

    /// One of several that must run together ended without a failure.
    pub(super) fn codependent_exited() -> Self {
        Self::plain("Codependent step exited")
    }

    /// Time was up; `inner` is what the stopped action came to.
    pub(super) fn timed_out(after: Duration, inner: Option<&Self>) -> Self {
        let mut text = format!("exceeded {} timeout", go_duration(after));
        if let Some(inner) = inner.filter(|inner| inner.show == Show::Everywhere) {
            text.push_str("; ");
            text.push_str(&inner.text);
        }
        Self::emitted(text)
    }

    /// Several failures as one (`multiErrorFormat`); `None` where there are none.
    pub(super) fn join(failures: Vec<Self>) -> Option<Self> {
        if failures.is_empty() {
            return None;
        }
        let shown: Vec<&Self> = failures.iter().filter(|one| one.show != Show::Hidden).collect();
        let texts: Vec<&str> = shown
            .iter()
            .map(|one| one.text.as_str())
            .filter(|text| !text.is_empty())
            .collect();
        Some(Self {
            text: texts.join("; "),
            show: Show::Plain,
            code: match shown[..] {
                [only] => only.code,
                _ => None,
            },
        })
    }
}

/// A duration as Go's `time.Duration.String` writes it: `100ms`, `1.5s`, `2m0s`, `1h0m0s`. Milliseconds are the smallest
/// unit that a Task can name.
pub(super) fn go_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis == 0 {
        return "0s".to_owned();
    }
    if millis < 1000 {
        return format!("{millis}ms");
    }
    let (minutes, rest) = (millis / 60_000, millis % 60_000);
    let fraction = format!("{:03}", rest % 1000);
    let fraction = fraction.trim_end_matches('0');
    let dot = if fraction.is_empty() { "" } else { "." };
    let seconds = format!("{}{dot}{fraction}s", rest / 1000);
    match (minutes / 60, minutes % 60) {
        (0, 0) => seconds,
        (0, minutes) => format!("{minutes}m{seconds}"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_writes_them() {
        for (millis, text) in [
            (0, "0s"),
            (100, "100ms"),
            (1000, "1s"),
            (1500, "1.5s"),
            (1030, "1.03s"),
            (60_000, "1m0s"),
            (90_250, "1m30.25s"),
            (3_600_000, "1h0m0s"),
            (5_405_000, "1h30m5s"),
        ] {
            assert_eq!(go_duration(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn joined_failures_leave_out_what_was_only_stopped() {
        let failures = vec![
            Failure::exited("APP", 7, false),
            Failure::cancelled(),
            Failure::killed(),
            Failure::stuck(),
        ];
        let joined = Failure::join(failures).unwrap();
        assert_eq!(
            joined,
            Failure::plain("APP: Exited with status 7; process did not exit")
        );
        let only = Failure::join(vec![Failure::exited("APP", 7, true), Failure::cancelled()]).unwrap();
        assert_eq!(
            (only.text.as_str(), only.code),
            ("APP: Exited with status 7 (out of memory)", Some(7))
        );
        assert_eq!(Failure::join(vec![Failure::cancelled()]).unwrap().text, "");
        assert_eq!(Failure::join(vec![]), None);
    }
}
