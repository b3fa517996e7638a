//! Objects of one kind in memory, findable by name, uid and facet. Pure.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use kube::{Resource, ResourceExt};

/// Namespace and name of an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Key {
    /// The key of these.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// The key of an object.
    pub fn of(object: &impl ResourceExt) -> Self {
        Self::new(object.namespace().unwrap_or_default(), object.name_any())
    }
}

/// What objects can be found by, beside their name and uid.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Facet {
    /// All of a namespace.
    Namespace(String),
    /// Tasks with this `spec.owner`, in whatever namespace.
    Owner(String),
    /// Tasks of a namespace without a `spec.owner`.
    Unowned(String),
    /// Tasks with this `spec.domain`, in whatever namespace.
    Domain(String),
    /// Tasks that have, or last had, a pod on this node.
    Node(String),
    /// Tasks and Schedules of this Function.
    Function(Key),
    /// Functions with an annotation of this name, in whatever namespace.
    Annotation(String),
}

/// An object that says what it can be found by.
pub trait Faceted: Resource<DynamicType = ()> + ResourceExt {
    /// Every facet of it.
    fn facets(&self) -> Vec<Facet>;
}

/// What became of an object, as a watch told it.
#[derive(Clone, Debug)]
pub struct Change<K> {
    /// The object before; `None` for a new one.
    pub before: Option<Arc<K>>,
    /// The object now; `None` where it is gone.
    pub after: Option<Arc<K>>,
}

/// The objects.
#[derive(Debug)]
pub struct Table<K> {
    objects: HashMap<Key, Arc<K>>,
    uids: BTreeMap<String, Key>,
    /// In order, so that all namespaces are found in a row.
    facets: BTreeMap<Facet, BTreeSet<Key>>,
}

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self {
            objects: HashMap::new(),
            uids: BTreeMap::new(),
            facets: BTreeMap::new(),
        }
    }
}

impl<K: Faceted> Table<K> {
    /// The object with this name.
    pub fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.objects.get(key).cloned()
    }

    /// The object with this uid.
    pub fn by_uid(&self, uid: &str) -> Option<Arc<K>> {
        self.uids.get(uid).and_then(|key| self.get(key))
    }

    /// The objects whose uid begins so, in the order of their uids.
    pub fn by_uid_prefix(&self, prefix: &str) -> Vec<Arc<K>> {
        self.uids
            .range(prefix.to_owned()..)
            .take_while(|(uid, _)| uid.starts_with(prefix))
            .filter_map(|(_, key)| self.get(key))
            .collect()
    }

    /// The objects with this facet, in the order of their names.
    pub fn by_facet(&self, facet: &Facet) -> Vec<Arc<K>> {
        let keys = self.facets.get(facet).into_iter().flatten();
        keys.filter_map(|key| self.get(key)).collect()
    }

    /// The objects of this name, in the order of their namespaces.
    pub fn named(&self, name: &str) -> Vec<Arc<K>> {
        self.namespaces()
            .filter_map(|(namespace, _)| self.get(&Key::new(namespace, name)))
            .collect()
    }

    /// The objects whose name begins so, in the order of their namespaces and names.
    pub fn by_name_prefix(&self, prefix: &str) -> Vec<Arc<K>> {
        self.namespaces()
            .flat_map(|(namespace, keys)| {
                let from = keys.range(Key::new(namespace, prefix)..);
                from.take_while(|key| key.name.starts_with(prefix))
            })
            .filter_map(|key| self.get(key))
            .collect()
    }

    fn namespaces(&self) -> impl Iterator<Item = (&String, &BTreeSet<Key>)> {
        let all = self.facets.range(Facet::Namespace(String::new())..);
        all.map_while(|(facet, keys)| match facet {
            Facet::Namespace(namespace) => Some((namespace, keys)),
            _ => None,
        })
    }

    /// Every object, in no order.
    pub fn all(&self) -> Vec<Arc<K>> {
        self.objects.values().cloned().collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// True where there are none.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Puts an object in the place of the one with its name.
    pub fn put(&mut self, object: Arc<K>) -> Change<K> {
        let before = self.remove(&Key::of(object.as_ref())).before;
        let key = Key::of(object.as_ref());
        if let Some(uid) = object.uid() {
            self.uids.insert(uid, key.clone());
        }
        for facet in object.facets() {
            self.facets.entry(facet).or_default().insert(key.clone());
        }
        self.objects.insert(key, object.clone());
        Change {
            before,
            after: Some(object),
        }
    }

    /// Takes an object out.
    pub fn remove(&mut self, key: &Key) -> Change<K> {
        let before = self.objects.remove(key);
        if let Some(object) = &before {
            if let Some(uid) = object.uid() {
                self.uids.remove(&uid);
            }
            for facet in object.facets() {
                if let Some(keys) = self.facets.get_mut(&facet) {
                    keys.remove(key);
                    if keys.is_empty() {
                        self.facets.remove(&facet);
                    }
                }
            }
        }
        Change { before, after: None }
    }

    /// Puts all of `objects` in the place of everything; returns what changed.
    pub fn replace(&mut self, objects: Vec<K>) -> Vec<Change<K>> {
        let mut gone: BTreeSet<Key> = self.objects.keys().cloned().collect();
        let mut changes = Vec::new();
        for object in objects {
            let key = Key::of(&object);
            gone.remove(&key);
            let same = self.objects.get(&key).is_some_and(|old| {
                old.resource_version() == object.resource_version() && old.uid() == object.uid()
            });
            if !same {
                changes.push(self.put(Arc::new(object)));
            }
        }
        changes.extend(gone.iter().map(|key| self.remove(key)));
        changes
    }
}
