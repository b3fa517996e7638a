//! Tables.

use std::{collections::BTreeMap, time::Duration};

use super::{audit::Writer, by_hand::LetGo, units::Kind};

/// What a batch of one kind cost.
pub struct Row {
    /// What the units were.
    pub kind: Kind,
    /// Units per second, from the first create to the last end.
    pub rate: f64,
    /// Writes per unit.
    pub writes: BTreeMap<(Writer, String), f64>,
    /// CPU milliseconds of Errand's controller per unit.
    pub cpu: f64,
    /// CPU milliseconds of the API server per unit, until there were no more writes.
    pub api_server: f64,
    /// Most memory of Errand's controller, in MiB.
    pub peak: f64,
}

impl Row {
    fn heading(&self) -> &'static str {
        match self.kind {
            Kind::Pod => "bare pods",
            Kind::Job => "Jobs",
            Kind::Task => "Tasks",
            Kind::ByHand(LetGo::AtOnce) => "by hand",
            Kind::ByHand(LetGo::Last) => "by hand, let go last",
        }
    }

    fn all_writes(&self) -> f64 {
        self.writes.values().sum()
    }

    fn writes_of_errand(&self) -> f64 {
        let mine = self
            .writes
            .iter()
            .filter(|((writer, _), _)| *writer == Writer::Errand);
        // The sum of none would be printed as -0.
        mine.fold(0.0, |sum, (_, count)| sum + count)
    }
}

/// The batches of one size side by side.
pub fn batches(size: usize, rows: &[Row]) {
    headings(&format!("{size} units of one pod"), rows);
    line("per second", rows, |row| format!("{:.1}", row.rate));
    beside("times the rate of bare pods", rows, Kind::Pod, |row| row.rate);
    beside("times the rate of Jobs", rows, Kind::Job, |row| row.rate);
    line("writes to the API per unit, by all", rows, |row| {
        format!("{:.2}", row.all_writes())
    });
    line("of them by Errand's controller", rows, |row| {
        format!("{:.2}", row.writes_of_errand())
    });
    line("CPU of the API server per unit, ms", rows, |row| {
        format!("{:.1}", row.api_server)
    });
    line("CPU of Errand's controller per unit, ms", rows, |row| {
        format!("{:.2}", row.cpu)
    });
    line("memory of Errand's controller at most, MiB", rows, |row| {
        format!("{:.1}", row.peak)
    });
    headings(&format!("writes per unit, {size} units"), rows);
    let mut kinds: Vec<_> = rows.iter().flat_map(|row| row.writes.keys()).collect();
    kinds.sort();
    kinds.dedup();
    for kind in kinds {
        line(&format!("{}: {}", kind.0, kind.1), rows, |row| {
            let count = row.writes.get(kind);
            count.map_or_else(String::new, |count| format!("{count:.2}"))
        });
    }
}

fn headings(first: &str, rows: &[Row]) {
    println!();
    line(first, rows, |row| row.heading().to_owned());
    println!("|---|{}", "---|".repeat(rows.len()));
}

fn line(what: &str, rows: &[Row], cell: impl Fn(&Row) -> String) {
    let cells: Vec<_> = rows.iter().map(cell).collect();
    println!("| {what} | {} |", cells.join(" | "));
}

/// Each row as a multiple of the row of `kind`.
fn beside(what: &str, rows: &[Row], kind: Kind, value: impl Fn(&Row) -> f64) {
    let unit = rows.iter().find(|row| row.kind == kind).map_or(f64::NAN, &value);
    line(what, rows, |row| format!("{:.2}", value(row) / unit));
}

/// Median and 99th percentile in milliseconds.
pub fn spread(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1000.0;
    format!("median {:.1} ms, p99 {:.1} ms", at(50), at(99))
}
