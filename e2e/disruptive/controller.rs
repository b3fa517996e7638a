//! Controllers that are killed, paused and robbed of their Lease while Tasks run.

use std::time::Duration;

use serde_json::json;

use super::{
    dice::Dice,
    load::Load,
    processes::{Paused, Renewed, another_leads, leader, running, usurp},
    support::in_healthy_cluster,
};
use crate::support::Space;

const TASKS: usize = 200;
/// So many at once keep two slow cores busy, and starts and ends apart until the last kill.
const AT_ONCE: u32 = 50;
const KILLS: usize = 5;

#[tokio::test]
async fn controllers_killed_at_random_moments_lose_and_repeat_none_of_200_tasks() {
    in_healthy_cluster("killed", |space: Space| async move {
        let load = Load::of(&space, 2, json!({"maxConcurrency": AT_ONCE})).await;
        let renewed = Renewed(&["controller"]);
        let mut dice = Dice::new();
        let killing = async {
            // The first is the leader; of the others the dice say who and when.
            load.started(1).await;
            assert!(leader(&space).await.signal("-KILL"));
            for kill in 1..KILLS {
                let spread = TASKS / (KILLS + 1);
                load.ended((kill - 1) * spread + dice.below(spread)).await;
                tokio::time::sleep(Duration::from_millis(dice.below(1000) as u64)).await;
                let running = running("controller");
                if !running.is_empty() {
                    let victim = &running[dice.below(running.len())];
                    eprintln!(
                        "{} Tasks are over; kills {victim:?}: {}",
                        load.over(),
                        victim.signal("-KILL")
                    );
                }
            }
        };
        tokio::join!(load.make("t", TASKS), killing);
        // Killed ones start ever later; whoever is still waiting to does so now.
        drop(renewed);
        load.all_ran_once().await;
    })
    .await;
}

#[tokio::test]
async fn a_leader_that_loses_its_lease_or_sleeps_through_it_starts_nothing_twice() {
    in_healthy_cluster("leaders", |space: Space| async move {
        let load = Load::of(&space, 1, json!({})).await;
        load.make("robbed", 20).await;
        load.started(1).await;
        usurp(&space).await;
        // Both stand for it once nobody has renewed it for its duration, so it may be the same one again.
        let second = another_leads(&space, "nobody").await;
        load.make("paused", 30).await;
        load.started(25).await;
        let before = load.over();
        let paused = Paused::pause(leader(&space).await);
        let third = another_leads(&space, &second).await;
        space
            .poll("the new leader ends Tasks", || async {
                (load.over() > before + 3).then_some(())
            })
            .await;
        load.make("awake", 20).await;
        drop(paused);
        assert_eq!(another_leads(&space, &second).await, third);
        load.all_ran_once().await;
    })
    .await;
}
