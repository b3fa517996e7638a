//! A store with a data folder: loading, syncing, compacting.
use std::{collections::HashMap, path::Path, sync::Arc};

use tokio::{sync::broadcast, task::spawn_blocking};
use tokio_util::sync::CancellationToken;

use super::{
    FieldPath, HINTS, Object, State, Store,
    persist::{self, Opened, PersistError, SYNC_EVERY},
};

impl Store {
    /// A store over what a folder held; `fields` gives the selectable fields of a resource.
    pub fn load(opened: Opened, fields: impl Fn(&str) -> Vec<FieldPath>) -> Self {
        let mut state = State {
            version: opened.version.max(1),
            floor: opened.version,
            buckets: HashMap::new(),
            by_uid: HashMap::new(),
            dependents: HashMap::new(),
            log: None,
        };
        let mut known: HashMap<Arc<str>, Vec<FieldPath>> = HashMap::new();
        for (address, (version, json)) in opened.objects {
            let fields = known
                .entry(address.resource.clone())
                .or_insert_with(|| fields(&address.resource));
            state.load(&address.resource, Arc::new(Object::decode(version, json, fields)));
        }
        state.log = Some(opened.log);
        Self {
            state: std::sync::Mutex::new(state),
            hints: broadcast::Sender::new(HINTS),
        }
    }

    /// Forces onto the disk what was written. Blocks.
    ///
    /// # Errors
    /// The disk's.
    pub fn sync(&self) -> std::io::Result<()> {
        let file = self.lock().log.as_mut().and_then(super::persist::Log::unsynced);
        match file {
            Some(file) => file?.sync_data(),
            None => Ok(()),
        }
    }

    /// Replaces the log by a snapshot. Blocks; other writers go on meanwhile.
    ///
    /// # Errors
    /// The disk's; the log before it is kept then.
    pub fn compact(&self) -> Result<(), PersistError> {
        let (folder, version, objects) = {
            let mut state = self.lock();
            let version = state.version;
            let objects: Vec<(Arc<str>, Arc<Object>)> = state
                .buckets
                .iter()
                .flat_map(|(resource, bucket)| {
                    bucket
                        .objects
                        .values()
                        .map(|object| (resource.clone(), object.clone()))
                })
                .collect();
            let Some(log) = &mut state.log else { return Ok(()) };
            let folder = log.rotate(version).map_err(|source| PersistError::Io {
                path: "log".into(),
                source,
            })?;
            (folder, version, objects)
        };
        let bytes = persist::write_snapshot(Path::new(&folder), version, &objects)?;
        if let Some(log) = &mut self.lock().log {
            log.compacted(bytes);
        }
        Ok(())
    }

    fn wants_snapshot(&self) -> bool {
        self.lock()
            .log
            .as_ref()
            .is_some_and(super::persist::Log::wants_snapshot)
    }

    /// Syncs and compacts until the end, and once more then.
    pub async fn keep(self: Arc<Self>, end: CancellationToken) {
        let mut tick = tokio::time::interval(SYNC_EVERY);
        let mut ended = false;
        while !ended {
            tokio::select! {
                () = end.cancelled() => ended = true,
                _ = tick.tick() => {}
            }
            let store = self.clone();
            let work = spawn_blocking(move || {
                if let Err(error) = store.sync() {
                    tracing::error!(%error, "could not force the log of the store onto the disk");
                }
                if store.wants_snapshot()
                    && let Err(error) = store.compact()
                {
                    tracing::error!(%error, "could not compact the log of the store");
                }
            });
            if work.await.is_err() {
                tracing::error!("the upkeep of the store failed");
            }
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Err(error) = self.sync() {
            tracing::error!(%error, "could not force the log of the store onto the disk");
        }
    }
}
