//! What controllers add to a unit's time, under a light load.

use std::{collections::HashMap, time::Duration};

use super::{
    Bench, report,
    space::Space,
    units::{self, Kind, Pace},
};

/// Units, and the time between two of them.
const UNITS: usize = 200;
const PAUSE: Duration = Duration::from_millis(100);

pub async fn measure(bench: &Bench) {
    println!(
        "\n| {} units a second | Jobs | Tasks |\n|---|---|---|",
        1000 / PAUSE.as_millis()
    );
    let (job, task) = (added(bench, Kind::Job).await, added(bench, Kind::Task).await);
    println!("| from its create's answer to its pod | {} | {} |", job.0, task.0);
    println!("| from the node's report to its end | {} | {} |", job.1, task.1);
    println!("\n| what | measured |\n|---|---|");
}

/// From the answer to the create to the pod, and from the pod's reported end to that of the unit.
async fn added(bench: &Bench, kind: Kind) -> (String, String) {
    let space = Space::open(&bench.client, format!("light-{}", kind.word())).await;
    let batch = units::run(&bench.client, &space, kind, UNITS, Pace::Every(PAUSE)).await;
    let lives = bench.hollow.lives(&space.name);
    let lives: HashMap<&str, _> = lives.iter().map(|(pod, life)| (kind.owner(pod), life)).collect();
    assert_eq!(lives.len(), UNITS, "pods that the hollow nodes saw");
    // A watch may be faster than an answer.
    let before = batch
        .made
        .iter()
        .map(|(name, made)| lives[name.as_str()].made.saturating_duration_since(*made));
    let after = batch.ended.iter().map(|(name, ended)| {
        let reported = lives[name.as_str()].ended.expect("the end of a pod was reported");
        ended.saturating_duration_since(reported)
    });
    let spreads = (report::spread(before.collect()), report::spread(after.collect()));
    space.close().await;
    spreads
}
