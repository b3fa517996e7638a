//! Tasks as a table with the columns that `kubectl get tasks` shows. Pure.

use jiff::Timestamp;

use crate::crd::Task;

const HEAD: [&str; 9] = [
    "NAME", "PHASE", "PROGRESS", "FUNCTION", "NODE", "AGE", "REASON", "ATTEMPTS", "RESULT",
];
/// Columns that are shown without `-o wide`.
const NARROW: usize = 6;
const GAP: usize = 3;

/// The cells of one Task, in the order of the columns.
pub type Row = [String; HEAD.len()];

/// The cells of `task`; what is not known is empty.
pub fn row(task: &Task, now: Timestamp) -> Row {
    let status = task.status.as_ref();
    let text = |value: Option<String>| value.unwrap_or_default();
    let function = task
        .spec
        .function_ref
        .as_ref()
        .map(|reference| reference.name.clone());
    let created = task.metadata.creation_timestamp.as_ref().map(|time| time.0);
    [
        text(task.metadata.name.clone()),
        text(
            status
                .and_then(|status| status.phase)
                .map(|phase| phase.to_string()),
        ),
        text(
            status
                .and_then(|status| status.progress.as_ref()?.percent)
                .map(|percent| percent.to_string()),
        ),
        text(function),
        text(status.and_then(|status| status.pod.as_ref()?.node.clone())),
        text(created.map(|created| age(now.as_second() - created.as_second()))),
        text(status.and_then(|status| status.reason.clone())),
        text(
            status
                .and_then(|status| status.attempts)
                .map(|attempts| attempts.to_string()),
        ),
        text(
            status
                .and_then(|status| status.result.as_ref())
                .map(|result| result.status.to_string()),
        ),
    ]
}

/// Rows under their heads, each column as wide as it needs.
pub fn render(rows: &[Row], wide: bool) -> String {
    let columns = if wide { HEAD.len() } else { NARROW };
    let head: Row = HEAD.map(str::to_owned);
    let lines = || std::iter::once(&head).chain(rows);
    let width = |column: usize| {
        lines()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in lines() {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:<width$}", width = width + GAP));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// An age as kubectl writes it (`duration.HumanDuration` of apimachinery): `45s`, `3m20s`, `5h7m`, `3d4h`, `40d`.
pub fn age(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |whole: i64, unit: &str, rest: i64, rest_unit: &str| match rest {
        0 => format!("{whole}{unit}"),
        rest => format!("{whole}{unit}{rest}{rest_unit}"),
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => two(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn task() -> Task {
        serde_json::from_value(json!({
            "metadata": {"name": "hello-abc12", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"functionRef": {"name": "hello"}},
            "status": {"phase": "Failed", "reason": "ExitCode", "attempts": 2, "progress": {"percent": 40},
                "pod": {"name": "p", "node": "n1"}, "result": {"status": 500}},
        }))
        .unwrap()
    }

    #[test]
    fn a_table_has_the_columns_of_kubectl() {
        let now = "2026-01-01T00:00:45Z".parse().unwrap();
        let bare = serde_json::from_value(json!({"metadata": {"name": "new"}, "spec": {}})).unwrap();
        let rows = [row(&task(), now), row(&bare, now)];
        assert_eq!(
            render(&rows, false),
            "NAME          PHASE    PROGRESS   FUNCTION   NODE   AGE\n\
             hello-abc12   Failed   40         hello      n1     45s\n\
             new\n"
        );
        assert_eq!(
            render(&rows[..1], true),
            "NAME          PHASE    PROGRESS   FUNCTION   NODE   AGE   REASON     ATTEMPTS   RESULT\n\
             hello-abc12   Failed   40         hello      n1     45s   ExitCode   2          500\n"
        );
    }

    #[test]
    fn ages_read_as_in_kubectl() {
        for (seconds, text) in [
            (-5, "0s"),
            (119, "119s"),
            (120, "2m"),
            (200, "3m20s"),
            (3600, "60m"),
            (18_420, "5h7m"),
            (90_000, "25h"),
            (273_600, "3d4h"),
            (3_456_000, "40d"),
            (86_400 * 800, "2y70d"),
            (86_400 * 3650, "10y"),
        ] {
            assert_eq!(age(seconds), text, "{seconds}");
        }
    }
}
