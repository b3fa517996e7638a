//! Following the changes of one resource: a cursor into the shared history, so a slow reader costs nothing.
use std::sync::Arc;

use tokio::sync::watch;

use super::{Change, Store};

/// The history does not reach back (or forward) to the version asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too old resource version: {asked} ({current})")]
pub struct Expired {
    /// Version asked for.
    pub asked: u64,
    /// Last version given out.
    pub current: u64,
}

/// Changes in order, and the version up to which there are no others.
pub struct Batch {
    /// The changes.
    pub changes: Vec<Change>,
    /// Everything up to this version has been told.
    pub version: u64,
}

/// A reader of the changes of one resource.
pub struct Subscription {
    store: Arc<Store>,
    resource: Arc<str>,
    after: u64,
    changed: watch::Receiver<u64>,
}

impl Subscription {
    pub(super) fn new(
        store: Arc<Store>,
        resource: Arc<str>,
        after: u64,
        changed: watch::Receiver<u64>,
    ) -> Self {
        Self {
            store,
            resource,
            after,
            changed,
        }
    }

    /// What has changed since the last call; may be empty. Never waits.
    ///
    /// # Errors
    /// [`Expired`] when the reader fell behind the history.
    pub fn poll(&mut self) -> Result<Batch, Expired> {
        self.changed.mark_unchanged();
        let batch = self.store.changes(&self.resource, self.after)?;
        self.after = batch.version;
        Ok(batch)
    }

    /// Waits until something may have changed. Cancel-safe.
    pub async fn changed(&mut self) {
        if self.changed.changed().await.is_err() {
            // The sender lives in the store, which `self` holds.
            std::future::pending::<()>().await;
        }
    }

    /// Waits for changes and gives them. Cancel-safe.
    ///
    /// # Errors
    /// [`Expired`] when the reader fell behind the history.
    pub async fn next(&mut self) -> Result<Batch, Expired> {
        loop {
            let batch = self.poll()?;
            if !batch.changes.is_empty() {
                return Ok(batch);
            }
            self.changed().await;
        }
    }
}
