//! The last changes of one resource: what a watch that comes late, or a paged list, can still be told.
use std::{collections::VecDeque, sync::Arc};

use super::Object;

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It changed.
    Modified,
    /// It went.
    Deleted,
}

/// One change.
#[derive(Clone, Debug)]
pub struct Change {
    /// The version that the change made.
    pub version: u64,
    /// What happened.
    pub kind: ChangeKind,
    /// The object after it; for a deletion its last state, with the version of the deletion.
    pub object: Arc<Object>,
    /// The object before it.
    pub previous: Option<Arc<Object>>,
}

/// Changes kept per resource.
const MAX_CHANGES: usize = 8192;
/// Bytes kept per resource; they count as if no current object were among them. With pods of 5 KiB that is the last
/// thousand changes, and three busy resources stay within 20 MiB.
const MAX_BYTES: usize = 6 * 1024 * 1024;
/// What a change costs beyond its JSON: labels, names, pointers.
const OVERHEAD: usize = 1024;

pub(super) struct History {
    changes: VecDeque<Change>,
    bytes: usize,
    /// Every change after this version is known.
    floor: u64,
    max_changes: usize,
    max_bytes: usize,
}

impl History {
    pub fn new(floor: u64) -> Self {
        Self::bounded(floor, MAX_CHANGES, MAX_BYTES)
    }

    fn bounded(floor: u64, max_changes: usize, max_bytes: usize) -> Self {
        Self {
            changes: VecDeque::new(),
            bytes: 0,
            floor,
            max_changes,
            max_bytes,
        }
    }

    pub fn push(&mut self, change: Change) {
        self.bytes += cost(&change);
        self.changes.push_back(change);
        // The newest always stays, however large: a watcher that keeps up must never be cut off.
        while self.changes.len() > 1 && (self.changes.len() > self.max_changes || self.bytes > self.max_bytes)
        {
            if let Some(oldest) = self.changes.pop_front() {
                self.bytes -= cost(&oldest);
                self.floor = oldest.version;
            }
        }
    }

    /// Changes after a version in order, or `None` when some of them are forgotten.
    pub fn after(&self, version: u64) -> Option<impl Iterator<Item = &Change>> {
        if version < self.floor {
            return None;
        }
        let start = self.changes.partition_point(|change| change.version <= version);
        Some(self.changes.range(start..))
    }
}

fn cost(change: &Change) -> usize {
    change.object.json.len() + OVERHEAD
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn change(version: u64) -> Change {
        let object = Object::encode(json!({"metadata": {"name": "a"}}), version, &[]).unwrap();
        Change {
            version,
            kind: ChangeKind::Modified,
            object: Arc::new(object),
            previous: None,
        }
    }

    fn versions(history: &History, after: u64) -> Option<Vec<u64>> {
        history
            .after(after)
            .map(|changes| changes.map(|change| change.version).collect())
    }

    #[test]
    fn what_fell_out_of_the_window_is_known_to_be_forgotten() {
        let mut history = History::bounded(0, 3, usize::MAX);
        for version in [2, 5, 6, 9] {
            history.push(change(version));
        }
        assert_eq!(versions(&history, 1), None);
        assert_eq!(versions(&history, 2), Some(vec![5, 6, 9]));
        assert_eq!(versions(&history, 5), Some(vec![6, 9]));
        assert_eq!(versions(&history, 9), Some(vec![]));
    }

    #[test]
    fn the_window_is_bounded_in_bytes_but_keeps_the_newest() {
        let mut history = History::bounded(0, 100, 10);
        history.push(change(1));
        history.push(change(2));
        assert_eq!(versions(&history, 0), None);
        assert_eq!(versions(&history, 1), Some(vec![2]));
    }
}
