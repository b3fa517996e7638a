//! What this controller wrote last, until its cache has caught up: a reconcile must not decide on a Task that is
//! older than the controller's own last word on it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use kube::{Resource, ResourceExt};

use crate::crd::{Task, drop_bulk};

/// Own writes that the cache may not show yet, by uid.
#[derive(Debug, Default)]
pub struct Recent {
    written: Mutex<HashMap<String, Arc<Task>>>,
}

impl Recent {
    /// Notes what a write returned.
    pub fn put(&self, task: Arc<Task>) {
        if let Some(uid) = task.uid() {
            self.lock().insert(uid, task);
        }
    }

    /// The newer of the cached Task and the own write. An own write that the cache has reached is dropped.
    pub fn newest(&self, cached: Arc<Task>) -> Arc<Task> {
        let Some(uid) = cached.meta().uid.as_deref() else {
            return cached;
        };
        let mut written = self.lock();
        match written.get(uid) {
            Some(own) if version(own) > version(&cached) => own.clone(),
            Some(_) => {
                written.remove(uid);
                cached
            }
            None => cached,
        }
    }

    /// Forgets a Task that is gone.
    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Task>>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// Resource versions of one resource compare as integers (Kubernetes API concepts, "Resource versions", since 1.35;
// etcd revisions before). What is no integer counts as oldest, so that the cache wins.
fn version(task: &Task) -> u64 {
    task.resource_version()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

/// Drops from a cached Task what decisions do not need and what may be large.
pub fn slim(task: &mut Task) {
    drop_bulk(task);
    task.spec.annotation = None;
    // Doors keep theirs there, up to 256 KiB of them; nothing is decided on any.
    task.metadata.annotations = None;
    if let Some(status) = &mut task.status {
        status.logs = None;
        status.messages.clear();
    }
}
