//! Whose turn it is: Tasks of Functions with `maxConcurrency`. In memory; rebuilt from the caches after a start.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Mutex, PoisonError},
};

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube_runtime::reflector::ObjectRef;

use crate::crd::Task;

/// Namespace and name of a Function.
pub type FunctionKey = (String, String);

/// Order among the waiting Tasks of a Function: higher priority first, then older, then by uid.
type Place = (Reverse<i32>, Timestamp, String);

/// Turns of all Functions.
#[derive(Debug, Default)]
pub struct Queue {
    lines: Mutex<Lines>,
}

#[derive(Debug, Default)]
struct Lines {
    by_function: HashMap<FunctionKey, Line>,
    function_of: HashMap<String, FunctionKey>,
}

#[derive(Debug, Default)]
struct Line {
    active: HashSet<String>,
    waiting: BTreeMap<Place, ObjectRef<Task>>,
    places: HashMap<String, Place>,
}

/// How a Function's line stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Tasks that hold a turn.
    pub active: usize,
    /// Tasks that wait for one.
    pub waiting: usize,
}

impl Queue {
    /// Asks for a turn; true where the Task has it. Asking again is free.
    pub fn ask(&self, key: &FunctionKey, limit: usize, task: &Task) -> bool {
        let Some(uid) = task.uid() else { return false };
        let mut lines = self.lock();
        lines.function_of.insert(uid.clone(), key.clone());
        let line = lines.by_function.entry(key.clone()).or_default();
        if line.active.contains(&uid) {
            return true;
        }
        line.enqueue(&uid, task);
        let free = limit.saturating_sub(line.active.len());
        let first = line.waiting.keys().take(free).any(|place| place.2 == uid);
        if first {
            line.dequeue(&uid);
            line.active.insert(uid);
        }
        first
    }

    /// Lines a Task up without asking for its turn yet, so that those before it keep their order.
    pub fn line_up(&self, key: &FunctionKey, task: &Task) {
        let Some(uid) = task.uid() else { return };
        let mut lines = self.lock();
        lines.function_of.insert(uid.clone(), key.clone());
        let line = lines.by_function.entry(key.clone()).or_default();
        if !line.active.contains(&uid) {
            line.enqueue(&uid, task);
        }
    }

    /// Notes that a Task holds a turn already: it has a pod.
    pub fn hold(&self, key: &FunctionKey, uid: &str) {
        let mut lines = self.lock();
        lines.function_of.insert(uid.to_owned(), key.clone());
        let line = lines.by_function.entry(key.clone()).or_default();
        line.dequeue(uid);
        line.active.insert(uid.to_owned());
    }

    /// Gives a turn or a place back; returns the Task that should ask next.
    pub fn leave(&self, uid: &str) -> Option<ObjectRef<Task>> {
        let mut lines = self.lock();
        let key = lines.function_of.remove(uid)?;
        let line = lines.by_function.get_mut(&key)?;
        line.active.remove(uid);
        line.dequeue(uid);
        let next = line.waiting.values().next().cloned();
        if line.active.is_empty() && line.waiting.is_empty() {
            lines.by_function.remove(&key);
        }
        next
    }

    /// How a Function's line stands.
    pub fn standing(&self, key: &FunctionKey) -> Standing {
        let lines = self.lock();
        lines
            .by_function
            .get(key)
            .map_or_else(Standing::default, |line| Standing {
                active: line.active.len(),
                waiting: line.waiting.len(),
            })
    }

    // A panic while the lock was held leaves plain maps behind; they stay usable.
    fn lock(&self) -> std::sync::MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn enqueue(&mut self, uid: &str, task: &Task) {
        let created = task
            .creation_timestamp()
            .map_or(Timestamp::UNIX_EPOCH, |time| time.0);
        let place = (Reverse(task.spec.priority.unwrap_or(0)), created, uid.to_owned());
        if self.places.get(uid) == Some(&place) {
            return;
        }
        self.dequeue(uid);
        self.waiting.insert(place.clone(), ObjectRef::from_obj(task));
        self.places.insert(uid.to_owned(), place);
    }

    fn dequeue(&mut self, uid: &str) {
        if let Some(place) = self.places.remove(uid) {
            self.waiting.remove(&place);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn task(uid: &str, priority: i32, created: &str) -> Task {
        serde_json::from_value(json!({
            "apiVersion": "errand.dev/v1alpha1", "kind": "Task",
            "metadata": {"name": uid, "namespace": "n", "uid": uid, "creationTimestamp": created},
            "spec": {"functionRef": {"name": "f"}, "priority": priority},
        }))
        .unwrap()
    }

    fn key() -> FunctionKey {
        ("n".into(), "f".into())
    }

    #[test]
    fn no_more_than_the_limit_have_a_turn_at_once() {
        let queue = Queue::default();
        let tasks = ["a", "b", "c"].map(|uid| task(uid, 0, "2026-01-01T00:00:00Z"));
        let turns: Vec<bool> = tasks.iter().map(|t| queue.ask(&key(), 2, t)).collect();
        assert_eq!(turns, [true, true, false]);
        assert!(queue.ask(&key(), 2, &tasks[0]), "asking again is free");
        assert_eq!(queue.leave("a").map(|r| r.name), Some("c".into()));
        assert!(queue.ask(&key(), 2, &tasks[2]));
        assert_eq!(
            queue.standing(&key()),
            Standing {
                active: 2,
                waiting: 0
            }
        );
    }

    #[test]
    fn higher_priority_goes_first_then_the_older_one() {
        let queue = Queue::default();
        assert!(queue.ask(&key(), 1, &task("running", 0, "2026-01-01T00:00:00Z")));
        let late = task("late", 0, "2026-01-01T00:00:02Z");
        let early = task("early", 0, "2026-01-01T00:00:01Z");
        let urgent = task("urgent", 5, "2026-01-01T00:00:03Z");
        for waiting in [&late, &early, &urgent] {
            assert!(!queue.ask(&key(), 1, waiting));
        }
        assert_eq!(queue.leave("running").map(|r| r.name), Some("urgent".into()));
        assert!(!queue.ask(&key(), 1, &early), "not before the urgent one");
        assert!(queue.ask(&key(), 1, &urgent));
        let raised = task("late", 1, "2026-01-01T00:00:02Z");
        assert!(
            !queue.ask(&key(), 1, &raised),
            "a changed priority moves its place"
        );
        assert_eq!(queue.leave("urgent").map(|r| r.name), Some("late".into()));
    }

    #[test]
    fn a_deleted_task_does_not_block_those_behind_it() {
        let queue = Queue::default();
        assert!(queue.ask(&key(), 1, &task("a", 0, "2026-01-01T00:00:00Z")));
        assert!(!queue.ask(&key(), 1, &task("b", 0, "2026-01-01T00:00:01Z")));
        assert!(!queue.ask(&key(), 1, &task("c", 0, "2026-01-01T00:00:02Z")));
        assert_eq!(queue.leave("b").map(|r| r.name), Some("c".into()));
        assert_eq!(queue.leave("a").map(|r| r.name), Some("c".into()));
        assert_eq!(queue.leave("unknown"), None);
    }
}
