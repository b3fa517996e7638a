//! Pods that wait to be let go. Ends and starts go before them: few are let go at once, so under a load that the API
//! server can hardly bear most of its time goes to what somebody waits for.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Pods that are let go at once.
const AT_ONCE: usize = 4;
/// Beyond so many none waits: what is put off for too long piles up in the cluster.
const WAITING: usize = 1000;

/// The line of pods, by uid.
#[derive(Debug)]
pub struct Leaving {
    turns: Semaphore,
    waiting: Mutex<HashSet<String>>,
}

/// What becomes of a pod that is to be let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It is in the line now; whoever put it there waits for [`Leaving::turn`].
    Taken,
    /// It was in the line already.
    Held,
    /// The line is full: it goes at once.
    Full,
}

impl Default for Leaving {
    fn default() -> Self {
        Self {
            turns: Semaphore::new(AT_ONCE),
            waiting: Mutex::default(),
        }
    }
}

impl Leaving {
    /// Lines a pod up.
    pub fn enter(&self, uid: &str) -> Place {
        let mut waiting = self.lock();
        if waiting.contains(uid) {
            return Place::Held;
        }
        if waiting.len() >= WAITING {
            return Place::Full;
        }
        waiting.insert(uid.to_owned());
        Place::Taken
    }

    /// Waits for one of the turns, in the order of asking. Never `None`: the line is not closed.
    pub async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.turns.acquire().await.ok()
    }

    /// Takes a pod out of the line.
    pub fn leave(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn a_pod_has_one_place_in_the_line_until_it_leaves() {
        let leaving = Leaving::default();
        assert_eq!(leaving.enter("a"), Place::Taken);
        assert_eq!(leaving.enter("a"), Place::Held);
        leaving.leave("a");
        assert_eq!(leaving.enter("a"), Place::Taken);
    }

    #[test]
    fn a_full_line_puts_nothing_off() {
        let leaving = Leaving::default();
        for n in 0..WAITING {
            assert_eq!(leaving.enter(&n.to_string()), Place::Taken);
        }
        assert_eq!(leaving.enter("late"), Place::Full);
        assert_eq!(leaving.enter("7"), Place::Held);
        leaving.leave("7");
        assert_eq!(leaving.enter("late"), Place::Taken);
    }

    #[test]
    fn a_few_have_a_turn_and_the_next_one_gets_it_when_one_is_done() {
        let leaving = Leaving::default();
        let turn = || leaving.turn().now_or_never().flatten();
        let mut turns: Vec<_> = (0..AT_ONCE).filter_map(|_| turn()).collect();
        assert_eq!((turns.len(), turn().is_some()), (AT_ONCE, false));
        turns.pop();
        assert!(turn().is_some());
    }
}
