//! Objects in memory, under one increasing resourceVersion, with a bounded history per resource.
//!
//! Objects are kept as the JSON text that goes out on the wire, beside the few facts that selectors and garbage
//! collection ask for; a write parses the one object it changes. All writes happen in [`Store::write`], under one
//! mutex that is never held across an await, so a closure there sees and changes one consistent state.
mod crc;
mod history;
mod keep;
pub mod object;
pub mod persist;
mod subscription;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;
use tokio::sync::{broadcast, watch};

pub use history::{Change, ChangeKind};
pub use object::{Facts, FieldPath, Object};
pub use subscription::{Batch, Expired, Subscription};

use self::{history::History, persist::Log};

/// Largest object, in bytes of JSON: etcd's default limit of a request.
pub const MAX_OBJECT: usize = 1_572_864;

/// Why the store refused a write.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The object is larger than [`MAX_OBJECT`].
    #[error("the object has {size} bytes, the limit is {MAX_OBJECT} bytes")]
    TooLarge {
        /// Bytes of the object as JSON.
        size: usize,
    },
    /// The object could not be written as JSON.
    #[error("encode an object")]
    Encode(#[source] serde_json::Error),
    /// The log on disk did not take the write; nothing has changed.
    #[error("write to the log on disk")]
    Log(#[source] std::io::Error),
}

/// Where an object is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// Resource, as `group/plural` (`/pods`, `errand.dev/tasks`).
    pub resource: Arc<str>,
    /// Namespace, empty for cluster-scoped objects.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

impl Address {
    /// From its parts.
    pub fn new(resource: &Arc<str>, namespace: &str, name: &str) -> Self {
        Self {
            resource: resource.clone(),
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

type Key = (Arc<str>, Arc<str>);

struct Bucket {
    objects: BTreeMap<Key, Arc<Object>>,
    history: History,
    /// Wakes watchers; the value is the last version that changed this resource.
    changed: watch::Sender<u64>,
}

impl Bucket {
    fn new(floor: u64) -> Self {
        Self {
            objects: BTreeMap::new(),
            history: History::new(floor),
            changed: watch::Sender::new(floor),
        }
    }
}

/// What a background worker may have to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// An object went; its dependents may have to follow.
    Gone(Arc<Gone>),
    /// An object that is being deleted, or that has owners, was written.
    Look(Address),
}

/// An object that went.
#[derive(Debug, PartialEq, Eq)]
pub struct Gone {
    /// Where it was.
    pub address: Address,
    /// Its uid.
    pub uid: Arc<str>,
    /// uids of its owners.
    pub owners: Vec<Arc<str>>,
}

struct State {
    version: u64,
    /// History before this version is not known: set when objects are loaded from disk.
    floor: u64,
    buckets: HashMap<Arc<str>, Bucket>,
    by_uid: HashMap<Arc<str>, Address>,
    dependents: HashMap<Arc<str>, BTreeSet<Address>>,
    log: Option<Log>,
}

/// The objects of the server.
pub struct Store {
    state: Mutex<State>,
    hints: broadcast::Sender<Hint>,
}

/// Hints that may wait for the workers; one that falls behind looks at everything instead.
const HINTS: usize = 4096;

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}

impl Store {
    /// An empty store that forgets everything when it is dropped.
    pub fn new() -> Self {
        let state = State {
            version: 1,
            floor: 0,
            buckets: HashMap::new(),
            by_uid: HashMap::new(),
            dependents: HashMap::new(),
            log: None,
        };
        Self {
            state: Mutex::new(state),
            hints: broadcast::Sender::new(HINTS),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in a closure leaves no half-done insert: each changes the state after its last fallible step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last version given out.
    pub fn version(&self) -> u64 {
        self.lock().version
    }

    /// The last version that changed any of these resources; 0 for none.
    pub fn last_change(&self, resources: &[&str]) -> u64 {
        let state = self.lock();
        let of = |resource: &&str| {
            state
                .buckets
                .get(*resource)
                .map(|bucket| *bucket.changed.borrow())
        };
        resources.iter().filter_map(of).max().unwrap_or(0)
    }

    /// One object.
    pub fn get(&self, address: &Address) -> Option<Arc<Object>> {
        self.lock().get(address)
    }

    /// The objects of a resource in one namespace or all, ordered by namespace and name, and the version at which
    /// this is what there was.
    pub fn list(&self, resource: &str, namespace: Option<&str>) -> (Vec<Arc<Object>>, u64) {
        let state = self.lock();
        (state.list(resource, namespace), state.version)
    }

    /// As [`Store::list`], as it was at an earlier version.
    ///
    /// # Errors
    /// [`Expired`] when the history no longer reaches back so far, or the version was never given out.
    pub fn list_at(
        &self,
        resource: &str,
        namespace: Option<&str>,
        version: u64,
    ) -> Result<Vec<Arc<Object>>, Expired> {
        let state = self.lock();
        let mut objects: BTreeMap<Key, Arc<Object>> = state
            .list(resource, namespace)
            .into_iter()
            .filter(|object| object.version <= version)
            .map(|object| (object.key(), object))
            .collect();
        let Some(bucket) = state.buckets.get(resource) else {
            return Ok(Vec::new());
        };
        let later = bucket.history.after(version).ok_or(Expired {
            asked: version,
            current: state.version,
        })?;
        let mut seen = BTreeSet::new();
        for change in later {
            if namespace.is_some_and(|namespace| *change.object.facts.namespace != *namespace) {
                continue;
            }
            let key = change.object.key();
            if seen.insert(key.clone())
                && let Some(previous) = &change.previous
            {
                objects.insert(key, previous.clone());
            }
        }
        Ok(objects.into_values().collect())
    }

    /// Where the object of this uid is.
    pub fn find_uid(&self, uid: &str) -> Option<Address> {
        self.lock().by_uid.get(uid).cloned()
    }

    /// Objects that name this uid as an owner.
    pub fn dependents(&self, uid: &str) -> Vec<Address> {
        self.lock()
            .dependents
            .get(uid)
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }

    /// Objects that have owners or are being deleted: what the workers look at when they begin.
    pub fn worklist(&self) -> Vec<Address> {
        let state = self.lock();
        let pick = |(resource, bucket): (&Arc<str>, &Bucket)| -> Vec<Address> {
            let busy = |object: &&Arc<Object>| object.facts.deleting || !object.facts.owners.is_empty();
            bucket
                .objects
                .values()
                .filter(busy)
                .map(|object| object.address(resource))
                .collect()
        };
        state.buckets.iter().flat_map(pick).collect()
    }

    /// Objects of any resource in a namespace.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Address> {
        let state = self.lock();
        let pick = |(resource, bucket): (&Arc<str>, &Bucket)| -> Vec<Address> {
            bucket
                .range(Some(namespace))
                .map(|object| object.address(resource))
                .collect()
        };
        state.buckets.iter().flat_map(pick).collect()
    }

    /// Hints to background workers from now on.
    pub fn hints(&self) -> broadcast::Receiver<Hint> {
        self.hints.subscribe()
    }

    /// Reads the facts of a resource's objects anew, after its selectable fields changed.
    pub fn reindex(&self, resource: &Arc<str>, fields: &[FieldPath]) {
        let mut state = self.lock();
        for object in state.bucket(resource).objects.values_mut() {
            *object = Arc::new(Object::decode(object.version, object.json.clone(), fields));
        }
    }

    /// Changes of a resource after `version` (`None` = from now on); the store must outlive the subscription.
    pub fn subscribe(self: &Arc<Self>, resource: &Arc<str>, version: Option<u64>) -> Subscription {
        let mut state = self.lock();
        let current = state.version;
        let changed = state.bucket(resource).changed.subscribe();
        Subscription::new(
            self.clone(),
            resource.clone(),
            version.unwrap_or(current),
            changed,
        )
    }

    fn changes(&self, resource: &str, after: u64) -> Result<Batch, Expired> {
        let state = self.lock();
        let expired = Expired {
            asked: after,
            current: state.version,
        };
        if after > state.version {
            return Err(expired);
        }
        let changes = match state.buckets.get(resource) {
            Some(bucket) => bucket.history.after(after).ok_or(expired)?.cloned().collect(),
            None => Vec::new(),
        };
        Ok(Batch {
            changes,
            version: state.version,
        })
    }

    /// Runs a closure on the one current state. It must be short, and make its changes after everything that can fail.
    ///
    /// # Errors
    /// What the closure refuses.
    pub fn write<T, E>(&self, change: impl FnOnce(&mut Writer<'_>) -> Result<T, E>) -> Result<T, E> {
        let mut writer = Writer {
            state: self.lock(),
            hints: &self.hints,
        };
        change(&mut writer)
    }
}

impl Bucket {
    fn range(&self, namespace: Option<&str>) -> impl Iterator<Item = &Arc<Object>> {
        let start = match namespace {
            Some(namespace) => Bound::Included((Arc::from(namespace), Arc::from(""))),
            None => Bound::Unbounded,
        };
        let wanted = namespace.map(str::to_owned);
        self.objects
            .range((start, Bound::Unbounded))
            .take_while(move |((namespace, _), _)| {
                wanted.as_deref().is_none_or(|wanted| wanted == &**namespace)
            })
            .map(|(_, object)| object)
    }
}

impl State {
    fn get(&self, address: &Address) -> Option<Arc<Object>> {
        let key = (address.namespace.clone(), address.name.clone());
        self.buckets.get(&address.resource)?.objects.get(&key).cloned()
    }

    fn list(&self, resource: &str, namespace: Option<&str>) -> Vec<Arc<Object>> {
        self.buckets
            .get(resource)
            .map(|bucket| bucket.range(namespace).cloned().collect())
            .unwrap_or_default()
    }

    fn bucket(&mut self, resource: &Arc<str>) -> &mut Bucket {
        let floor = self.floor;
        self.buckets
            .entry(resource.clone())
            .or_insert_with(|| Bucket::new(floor))
    }

    fn index(&mut self, resource: &Arc<str>, object: &Object) {
        let address = object.address(resource);
        for owner in &object.facts.owners {
            self.dependents
                .entry(owner.uid.clone())
                .or_default()
                .insert(address.clone());
        }
        self.by_uid.insert(object.facts.uid.clone(), address);
    }

    fn unindex(&mut self, resource: &Arc<str>, object: &Object) {
        let address = object.address(resource);
        for owner in &object.facts.owners {
            if let Some(set) = self.dependents.get_mut(&owner.uid) {
                set.remove(&address);
                if set.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
        self.by_uid.remove(&object.facts.uid);
    }

    /// Takes an object over from disk, without history.
    fn load(&mut self, resource: &Arc<str>, object: Arc<Object>) {
        let key = object.key();
        if let Some(former) = self.bucket(resource).objects.insert(key, object.clone()) {
            self.unindex(resource, &former);
        }
        self.index(resource, &object);
    }
}

/// The state inside [`Store::write`].
pub struct Writer<'a> {
    state: MutexGuard<'a, State>,
    hints: &'a broadcast::Sender<Hint>,
}

impl Writer<'_> {
    /// One object as it is now.
    pub fn get(&self, address: &Address) -> Option<Arc<Object>> {
        self.state.get(address)
    }

    /// Whether a namespace holds anything.
    pub fn namespace_in_use(&self, namespace: &str) -> bool {
        self.state
            .buckets
            .values()
            .any(|bucket| bucket.range(Some(namespace)).next().is_some())
    }

    /// Stores an object under the next version, which is written into it.
    ///
    /// # Errors
    /// See [`StoreError`]; nothing has changed then.
    pub fn put(
        &mut self,
        resource: &Arc<str>,
        fields: &[FieldPath],
        value: Value,
    ) -> Result<Arc<Object>, StoreError> {
        let version = self.state.version + 1;
        let object = Arc::new(Object::encode(value, version, fields)?);
        if object.json.len() > MAX_OBJECT {
            return Err(StoreError::TooLarge {
                size: object.json.len(),
            });
        }
        if let Some(log) = &mut self.state.log {
            log.put(resource, &object).map_err(StoreError::Log)?;
        }
        let key = object.key();
        let previous = self.state.bucket(resource).objects.insert(key, object.clone());
        if let Some(previous) = &previous {
            self.state.unindex(resource, previous);
        }
        self.state.index(resource, &object);
        let kind = if previous.is_some() {
            ChangeKind::Modified
        } else {
            ChangeKind::Added
        };
        self.record(
            resource,
            Change {
                version,
                kind,
                object: object.clone(),
                previous,
            },
        );
        if object.facts.deleting || !object.facts.owners.is_empty() {
            // Nobody listens in a store without workers.
            let _ = self.hints.send(Hint::Look(object.address(resource)));
        }
        Ok(object)
    }

    /// Takes an object away and gives it back as watchers see it go, with the version of its deletion.
    ///
    /// # Errors
    /// See [`StoreError`]; nothing has changed then.
    pub fn delete(&mut self, address: &Address, last: Value) -> Result<Arc<Object>, StoreError> {
        let version = self.state.version + 1;
        let object = Arc::new(Object::encode(last, version, &[])?);
        if let Some(log) = &mut self.state.log {
            log.delete(address, version).map_err(StoreError::Log)?;
        }
        let resource = &address.resource;
        let key = (address.namespace.clone(), address.name.clone());
        let previous = self.state.bucket(resource).objects.remove(&key);
        if let Some(previous) = &previous {
            self.state.unindex(resource, previous);
        }
        let change = Change {
            version,
            kind: ChangeKind::Deleted,
            object: object.clone(),
            previous,
        };
        self.record(resource, change);
        let gone = Gone {
            address: address.clone(),
            uid: object.facts.uid.clone(),
            owners: object
                .facts
                .owners
                .iter()
                .map(|owner| owner.uid.clone())
                .collect(),
        };
        let _ = self.hints.send(Hint::Gone(Arc::new(gone)));
        Ok(object)
    }

    fn record(&mut self, resource: &Arc<str>, change: Change) {
        let version = change.version;
        self.state.version = version;
        let bucket = self.state.bucket(resource);
        bucket.history.push(change);
        bucket.changed.send_replace(version);
    }
}
