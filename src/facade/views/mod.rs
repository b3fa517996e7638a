//! What the facade knows of Tasks, Functions and Schedules without asking: a watch of each, in memory, without bodies and logs.
//!
//! Reads come from here; bodies and logs are fetched on demand ([`super::objects`]). Who waits for a Task follows it
//! ([`View::follow`]) or hears of all changes ([`View::changes`]), and nobody polls.

mod feed;
mod table;

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use kube::ResourceExt;
use tokio::sync::{broadcast, watch};

pub use self::table::{Change, Facet, Faceted, Key, Table};
use crate::crd::{Function, FunctionRef, Schedule, Task};

/// Changes that a listener may be behind before it is cut off.
const BACKLOG: usize = 4096;
/// How long a change may take to come into view.
const IN_VIEW: Duration = Duration::from_secs(2);

/// All views.
#[derive(Clone, Default)]
pub struct Views {
    /// Tasks, without bodies and logs.
    pub tasks: View<Task>,
    /// Functions.
    pub functions: View<Function>,
    /// Schedules.
    pub schedules: View<Schedule>,
}

/// Objects of one kind. Clones share everything.
pub struct View<K> {
    inner: Arc<Inner<K>>,
}

struct Inner<K> {
    table: RwLock<Table<K>>,
    followers: Mutex<HashMap<Key, watch::Sender<Option<Arc<K>>>>>,
    changes: broadcast::Sender<Change<K>>,
    ready: watch::Sender<bool>,
}

impl<K> Clone for View<K> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
        }
    }
}

impl<K: Clone> Default for View<K> {
    fn default() -> Self {
        Self {
            inner: Arc::new(Inner {
                table: RwLock::default(),
                followers: Mutex::default(),
                changes: broadcast::Sender::new(BACKLOG),
                ready: watch::Sender::new(false),
            }),
        }
    }
}

impl<K: Faceted + Clone> View<K> {
    /// Reads the table; keep it short, since changes wait meanwhile.
    pub fn read<T>(&self, read: impl FnOnce(&Table<K>) -> T) -> T {
        read(&self.inner.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The object with this name.
    pub fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.read(|table| table.get(key))
    }

    /// The objects with this facet, in the order of their names.
    pub fn by_facet(&self, facet: &Facet) -> Vec<Arc<K>> {
        self.read(|table| table.by_facet(facet))
    }

    /// The present state of an object and every later one; states in quick succession may become one. `None` while
    /// there is no such object.
    pub fn follow(&self, key: &Key) -> watch::Receiver<Option<Arc<K>>> {
        let mut followers = self.followers();
        if let Some(sender) = followers.get(key) {
            return sender.subscribe();
        }
        // Under the lock, so that no change comes between the look and the entry.
        let (sender, receiver) = watch::channel(self.get(key));
        followers.insert(key.clone(), sender);
        receiver
    }

    /// Waits a short time until the view has an object as it was written, so that who changed something sees it. Where
    /// it does not come, the next look may see an older state, and no harm is done.
    pub async fn seen(&self, written: &K) {
        let wanted = version(written);
        let mut follower = self.follow(&Key::of(written));
        let there = |known: &Option<Arc<K>>| known.as_deref().is_some_and(|known| version(known) >= wanted);
        let _ = tokio::time::timeout(IN_VIEW, follower.wait_for(there)).await;
    }

    /// Waits a short time until an object that was deleted is out of view.
    pub async fn gone(&self, deleted: &K) {
        let mut follower = self.follow(&Key::of(deleted));
        let gone = |known: &Option<Arc<K>>| known.as_deref().is_none_or(|known| known.uid() != deleted.uid());
        let _ = tokio::time::timeout(IN_VIEW, follower.wait_for(gone)).await;
    }

    /// Every change from now on. Who falls behind by some thousands is told so (`Lagged`).
    pub fn changes(&self) -> broadcast::Receiver<Change<K>> {
        self.inner.changes.subscribe()
    }

    /// Resolves once the view was filled for the first time.
    pub async fn wait_until_ready(&self) {
        // The sender lives in `self`.
        let _ = self.inner.ready.subscribe().wait_for(|ready| *ready).await;
    }

    /// Followed objects, for metrics and tests.
    pub fn followed(&self) -> usize {
        let mut followers = self.followers();
        followers.retain(|_, sender| !sender.is_closed());
        followers.len()
    }

    fn put(&self, object: K) {
        let change = self.write(|table| table.put(Arc::new(object)));
        self.tell(change);
    }

    /// `last`: how it was when it went, which its last watched state need not tell.
    fn remove(&self, key: &Key, last: Option<K>) {
        let mut change = self.write(|table| table.remove(key));
        if let (Some(before), Some(last)) = (&mut change.before, last) {
            *before = Arc::new(last);
        }
        self.tell(change);
    }

    fn replace(&self, objects: Vec<K>) {
        for change in self.write(|table| table.replace(objects)) {
            self.tell(change);
        }
        self.inner.ready.send_replace(true);
    }

    fn write<T>(&self, write: impl FnOnce(&mut Table<K>) -> T) -> T {
        write(&mut self.inner.table.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn tell(&self, change: Change<K>) {
        let Some(object) = change.after.as_ref().or(change.before.as_ref()) else {
            return;
        };
        let key = Key::of(object.as_ref());
        let mut followers = self.followers();
        if let Some(sender) = followers.get(&key)
            && sender.send(change.after.clone()).is_err()
        {
            followers.remove(&key);
        }
        drop(followers);
        // Nobody may be listening.
        let _ = self.inner.changes.send(change);
    }

    fn followers(&self) -> std::sync::MutexGuard<'_, HashMap<Key, watch::Sender<Option<Arc<K>>>>> {
        self.inner
            .followers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Resource versions of one kind can be compared as numbers (Kubernetes API concepts, "Resource versions").
fn version(object: &impl ResourceExt) -> u64 {
    let version = object.resource_version();
    version.and_then(|version| version.parse().ok()).unwrap_or(0)
}

impl Faceted for Task {
    fn facets(&self) -> Vec<Facet> {
        let namespace = self.metadata.namespace.clone().unwrap_or_default();
        let pod = self.status.as_ref().and_then(|status| status.pod.as_ref());
        let function = self.spec.function_ref.as_ref();
        let function = function.map(|function| Facet::Function(Key::new(&namespace, &function.name)));
        let owner = match &self.spec.owner {
            Some(owner) => Facet::Owner(owner.clone()),
            None => Facet::Unowned(namespace.clone()),
        };
        let found = [
            Some(owner),
            self.spec.domain.clone().map(Facet::Domain),
            pod.and_then(|pod| pod.node.clone()).map(Facet::Node),
            function,
            Some(Facet::Namespace(namespace)),
        ];
        found.into_iter().flatten().collect()
    }
}

impl Views {
    /// Resolves once all views were filled for the first time.
    pub async fn wait_until_ready(&self) {
        tokio::join!(
            self.tasks.wait_until_ready(),
            self.functions.wait_until_ready(),
            self.schedules.wait_until_ready()
        );
    }
}

impl Faceted for Schedule {
    fn facets(&self) -> Vec<Facet> {
        let namespace = self.metadata.namespace.clone().unwrap_or_default();
        let function = self.spec.template.spec.function_ref.as_ref();
        let key = |function: &FunctionRef| Key::new(&namespace, &function.name);
        let function = function.map(|function| Facet::Function(key(function)));
        function
            .into_iter()
            .chain([Facet::Namespace(namespace)])
            .collect()
    }
}

impl Faceted for Function {
    fn facets(&self) -> Vec<Facet> {
        let namespace = Facet::Namespace(self.metadata.namespace.clone().unwrap_or_default());
        let annotations = self.metadata.annotations.iter().flat_map(|all| all.keys());
        let annotations = annotations.map(|name| Facet::Annotation(name.clone()));
        annotations.chain([namespace]).collect()
    }
}
