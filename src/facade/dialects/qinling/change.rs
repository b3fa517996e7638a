//! Changes of objects that whoever reads next sees.

use crate::facade::{
    edits::edit,
    objects::Object,
    refusal::Refusal,
    state::Facade,
    views::{Faceted, Key, View},
};

/// Changes an object and returns it as it was written, once it is in view.
///
/// # Errors
/// What `change` says, the object is gone, or the API server refuses or does not answer.
pub async fn changed<K: Object + Faceted>(
    facade: &Facade,
    view: &View<K>,
    object: &K,
    change: impl Fn(&mut K) -> Result<(), Refusal>,
) -> Result<K, Refusal> {
    let written = edit::<Refusal, K>(facade, Key::of(object), change).await?;
    view.seen(&written).await;
    Ok(written)
}
