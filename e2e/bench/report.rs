//! Tables.

use std::{collections::BTreeMap, time::Duration};

use super::audit::Writer;

/// What a batch of one kind cost.
pub struct Row {
    /// Units per second, from the first create to the last end.
    pub rate: f64,
    /// Writes per unit.
    pub writes: BTreeMap<(Writer, String), f64>,
    /// CPU seconds of Errand's controller.
    pub cpu: f64,
    /// Its memory at most, in MiB.
    pub peak: f64,
}

impl Row {
    fn all_writes(&self) -> f64 {
        self.writes.values().sum()
    }

    fn writes_by(&self, by: &Writer) -> f64 {
        let mine = self.writes.iter().filter(|((writer, _), _)| writer == by);
        mine.map(|(_, count)| count).sum()
    }
}

/// The batches of one size side by side: bare pods, Jobs, Tasks, Tasks by hand.
pub fn batches(size: usize, rows: &[Row]) {
    let [pod, job, task, by_hand] = rows else {
        panic!("four kinds of units are compared");
    };
    println!("\n| {size} units of one pod | bare pods | Jobs | Tasks | by hand | Tasks beside |");
    println!("|---|---|---|---|---|---|");
    println!(
        "| per second | {:.1} | {:.1} | {:.1} | {:.1} | {:.2} x Jobs, {:.2} x pods, {:.2} x by hand |",
        pod.rate,
        job.rate,
        task.rate,
        by_hand.rate,
        task.rate / job.rate,
        task.rate / pod.rate,
        task.rate / by_hand.rate
    );
    println!(
        "| writes to the API per unit, by all | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} x Jobs, {:.2} x pods |",
        pod.all_writes(),
        job.all_writes(),
        task.all_writes(),
        by_hand.all_writes(),
        task.all_writes() / job.all_writes(),
        task.all_writes() / pod.all_writes()
    );
    println!(
        "| of them by Errand's controller | | | {:.2} | | |",
        task.writes_by(&Writer::Errand)
    );
    println!(
        "| CPU of Errand's controller | {:.2} s | {:.2} s | {:.2} s | {:.2} s | {:.2} ms per Task |",
        pod.cpu,
        job.cpu,
        task.cpu,
        by_hand.cpu,
        task.cpu * 1000.0 / size as f64
    );
    println!(
        "| memory of Errand's controller, peak | {:.1} MiB | {:.1} MiB | {:.1} MiB | {:.1} MiB | |",
        pod.peak, job.peak, task.peak, by_hand.peak
    );
    println!(
        "\n| writes per unit, {size} units | bare pods | Jobs | Tasks | by hand |\n|---|---|---|---|---|"
    );
    let mut kinds: Vec<_> = rows.iter().flat_map(|row| row.writes.keys()).collect();
    kinds.sort();
    kinds.dedup();
    for kind in kinds {
        let of = |row: &Row| {
            row.writes
                .get(kind)
                .map_or_else(String::new, |count| format!("{count:.2}"))
        };
        println!(
            "| {}: {} | {} | {} | {} | {} |",
            kind.0,
            kind.1,
            of(pod),
            of(job),
            of(task),
            of(by_hand)
        );
    }
}

/// Median and 99th percentile in milliseconds.
pub fn spread(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1000.0;
    format!("median {:.1} ms, p99 {:.1} ms", at(50), at(99))
}
