//! The memory of a controller that has many Tasks to hold.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::{
    Api,
    api::{DynamicObject, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use super::{
    Bench,
    audit::Writes,
    process::Controller,
    space::{FUNCTION, PAUSED, Space},
    units::{self, Kind, Pace},
};

/// Writes that are under way at once.
const WRITERS: usize = 32;

/// No controller is meant to take so long.
const PATIENCE: Duration = Duration::from_secs(900);

/// Half of the Tasks have ended, with the status of one that did; the others wait for a Function that is paused.
pub async fn measure(mut bench: Bench) {
    let count = std::env::var("ERRAND_BENCH_CACHED").map_or(50_000, |count| count.parse().unwrap());
    eprintln!("bench: {count} Tasks");
    let space = Space::open(&bench.client, "cached".to_owned()).await;
    units::run(&bench.client, &space, Kind::Task, 1, Pace::Flood).await;
    let resource = Kind::Task.resource();
    let api: Api<DynamicObject> = Api::namespaced_with(bench.client.clone(), &space.name, &resource);
    let ended = api.list(&ListParams::default()).await.unwrap().items.remove(0);
    let status = ended.data["status"].clone();
    // Nobody looks while they are made.
    drop(bench.controller);
    let one = |number: usize| make(&api, number, status.clone());
    let made = stream::iter(0..count).map(one).buffer_unordered(WRITERS);
    made.try_for_each(|()| std::future::ready(Ok(()))).await.unwrap();
    bench.audit.skip();
    let began = Instant::now();
    bench.controller = Controller::start(&bench.kubeconfig, &bench.log).await;
    // Each queued Task is told once why it waits.
    let (mut writes, mut told) = (Writes::new(), 0);
    let queued = count / 2;
    while told < queued {
        assert!(
            began.elapsed() < PATIENCE,
            "{told} of {queued} Tasks were told why they wait"
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
        told += bench.audit.add(&space.name, &mut writes);
    }
    let took = began.elapsed();
    println!(
        "| memory of the controller with {count} Tasks, half ended, half queued | {:.1} MiB, peak {:.1} MiB |",
        bench.controller.memory(),
        bench.controller.peak()
    );
    println!(
        "| the same: from its start until all queued ones say why they wait | {:.0} s, CPU {:.1} s |",
        took.as_secs_f64(),
        bench.controller.cpu()
    );
}

async fn make(api: &Api<DynamicObject>, number: usize, status: Value) -> Result<(), kube::Error> {
    let ended = number.is_multiple_of(2);
    let name = format!("held-{number:06}");
    let function = if ended { FUNCTION } else { PAUSED };
    let task = DynamicObject::new(&name, &Kind::Task.resource())
        .data(json!({"spec": {"functionRef": {"name": function}, "input": {"body": "Ada"}}}));
    api.create(&PostParams::default(), &task).await?;
    if ended {
        let patch = Patch::Merge(json!({"status": status}));
        api.patch_status(&name, &PatchParams::default(), &patch).await?;
    }
    Ok(())
}
