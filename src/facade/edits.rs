//! Changes of objects that hold over several replicas: what was read is replaced only where nobody else changed it.

use std::time::Duration;

use uuid::Uuid;

use super::{objects::Object, refusal::Refusal, state::Facade, views::Key};

/// How often a change is tried that others come before. Of those who try at once, one gets through each time.
const TRIES: u16 = 64;

/// Reads an object, changes it and writes it back, again and again while others come before.
///
/// # Errors
/// What `change` says, the object is gone, or the API server refuses or does not answer.
pub async fn edit<E: From<Refusal>, K: Object>(
    facade: &Facade,
    key: Key,
    change: impl Fn(&mut K) -> Result<(), E>,
) -> Result<K, E> {
    let kind = K::kind(&()).to_lowercase();
    for turn in 0..TRIES {
        let found: Option<K> = facade.objects.get(&key).await.map_err(E::from)?;
        let gone = || Refusal::NotFound(format!("there is no {kind} {}", key.name));
        let mut object = found.ok_or_else(gone)?;
        change(&mut object)?;
        match facade.objects.replace(&object).await {
            Err(Refusal::Conflict(_)) => tokio::time::sleep(pause(turn)).await,
            written => return Ok(written?),
        }
    }
    let crowd = format!("too many change {kind} {} at once", key.name);
    Err(Refusal::Unavailable(crowd).into())
}

/// A short and random wait, so that those who collided do not do so again.
pub fn pause(turn: u16) -> Duration {
    let [random, ..] = *Uuid::new_v4().as_bytes();
    Duration::from_millis(u64::from(random % 8) * u64::from(turn.min(8) + 1))
}
