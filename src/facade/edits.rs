//! Changes of Functions that hold over several replicas: what was read is replaced only where nobody else changed it.

use std::{sync::Arc, time::Duration};

use kube::ResourceExt as _;
use uuid::Uuid;

use super::{refusal::Refusal, state::Facade, views::Key};
use crate::crd::Function;

/// How often a change is tried that others come before. Of those who try at once, one gets through each time.
const TRIES: u16 = 64;
/// How long a change may take to come into view.
const IN_VIEW: Duration = Duration::from_secs(2);

/// Reads a Function, changes it and writes it back, again and again while others come before.
///
/// # Errors
/// What `change` says, the Function is gone, or the API server refuses or does not answer.
pub async fn edit<E: From<Refusal>>(
    facade: &Facade,
    key: Key,
    change: impl Fn(&mut Function) -> Result<(), E>,
) -> Result<Function, E> {
    for turn in 0..TRIES {
        let found: Option<Function> = facade.objects.get(&key).await.map_err(E::from)?;
        let gone = || Refusal::NotFound(format!("there is no function {}", key.name));
        let mut function = found.ok_or_else(gone)?;
        change(&mut function)?;
        match facade.objects.replace(&function).await {
            Err(Refusal::Conflict(_)) => tokio::time::sleep(pause(turn)).await,
            written => return Ok(written?),
        }
    }
    let crowd = format!("too many change function {} at once", key.name);
    Err(Refusal::Unavailable(crowd).into())
}

/// A short and random wait, so that those who collided do not do so again.
fn pause(turn: u16) -> Duration {
    let [random, ..] = *Uuid::new_v4().as_bytes();
    Duration::from_millis(u64::from(random % 8) * u64::from(turn.min(8) + 1))
}

/// Waits a short time until the view has the Function as it was written, so that who changed something sees it.
pub async fn seen(facade: &Facade, function: &Function) {
    let wanted = version(function);
    let mut follower = facade.views.functions.follow(&Key::of(function));
    let there =
        |known: &Option<Arc<Function>>| known.as_deref().is_some_and(|known| version(known) >= wanted);
    // Where it does not come, the next request may see an older state, and no harm is done.
    let _ = tokio::time::timeout(IN_VIEW, follower.wait_for(there)).await;
}

/// Resource versions of one kind can be compared as numbers (Kubernetes API concepts, "Resource versions").
fn version(function: &Function) -> u64 {
    let version = function.resource_version();
    version.and_then(|version| version.parse().ok()).unwrap_or(0)
}
