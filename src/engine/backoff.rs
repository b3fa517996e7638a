//! How long to wait before an object is tried again: longer after each failure in a row.
//!
//! kube-runtime's `error_policy` is never told of successes and knows no attempts, so they are counted here.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, Hash, RandomState},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Wait after the first failure.
pub const FIRST: Duration = Duration::from_millis(500);

/// Longest wait, before jitter.
pub const LONGEST: Duration = Duration::from_secs(60);

/// Objects that are remembered. An object that was forgotten starts at [`FIRST`] again.
const MOST: usize = 16 * 1024;

/// Failures in a row of each object; the key is its uid, or namespace and name.
#[derive(Debug)]
pub struct Backoff<K> {
    failing: Mutex<HashMap<K, Failing>>,
    most: usize,
}

#[derive(Clone, Copy, Debug)]
struct Failing {
    failures: u32,
    last: Instant,
}

impl<K: Eq + Hash> Default for Backoff<K> {
    fn default() -> Self {
        Self::new(MOST)
    }
}

impl<K: Eq + Hash> Backoff<K> {
    /// Remembers `most` objects at once.
    pub fn new(most: usize) -> Self {
        Self {
            failing: Mutex::default(),
            most: most.max(1),
        }
    }

    /// Counts a failure of the object and says how long to wait: 0.5 s, doubling up to 60 s, a tenth more or less.
    pub fn failed(&self, key: K) -> Duration {
        let now = Instant::now();
        let mut failing = self.lock();
        if failing.len() >= self.most && !failing.contains_key(&key) {
            make_room(&mut failing, self.most, now);
        }
        let entry = failing.entry(key).or_insert(Failing {
            failures: 0,
            last: now,
        });
        entry.failures = entry.failures.saturating_add(1);
        entry.last = now;
        delay(entry.failures, random())
    }

    /// Forgets the failures of an object, because it went well or is gone.
    pub fn clear<Q: Eq + Hash + ?Sized>(&self, key: &Q)
    where
        K: std::borrow::Borrow<Q>,
    {
        self.lock().remove(key);
    }

    /// How many objects are failing.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// True where no object is failing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Failing>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drops what has long not failed (objects that went away), and where that is not enough, the eighth that failed
/// longest ago, so that the walk through all of them is rare.
fn make_room<K: Eq + Hash>(failing: &mut HashMap<K, Failing>, most: usize, now: Instant) {
    failing.retain(|_, entry| now.duration_since(entry.last) < 2 * LONGEST);
    if failing.len() < most {
        return;
    }
    let mut times: Vec<Instant> = failing.values().map(|entry| entry.last).collect();
    let (_, &mut limit, _) = times.select_nth_unstable((most / 8).min(failing.len() - 1));
    failing.retain(|_, entry| entry.last > limit);
}

/// Wait after so many failures in a row; `random` (0 to 1) moves it by a tenth to both sides.
fn delay(failures: u32, random: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    jittered(FIRST.saturating_mul(1 << doublings).min(LONGEST), 0.1, random)
}

/// `base` less or more by up to `share` of it, as `random` (0 to 1) has it.
pub(crate) fn jittered(base: Duration, share: f64, random: f64) -> Duration {
    base.mul_f64(1.0 + share * (2.0 * random - 1.0))
}

/// A number from 0 to 1, good enough to spread load and for nothing else: the hash of nothing under fresh keys.
pub(crate) fn random() -> f64 {
    f64::from(u32::try_from(RandomState::new().hash_one(()) >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(seconds: f64, actual: Duration) -> bool {
        (seconds * 0.899..=seconds * 1.101).contains(&actual.as_secs_f64())
    }

    #[test]
    fn waits_double_up_to_a_minute_and_start_again_after_a_success() {
        let backoff = Backoff::<String>::default();
        for seconds in [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0] {
            let delay = backoff.failed("a".into());
            assert!(near(seconds, delay), "{seconds} {delay:?}");
        }
        assert!(near(0.5, backoff.failed("b".into())));
        assert_eq!(backoff.len(), 2);
        backoff.clear("a");
        assert!(near(0.5, backoff.failed("a".into())));
    }

    #[test]
    fn jitter_moves_both_ways_and_no_count_overflows() {
        assert_eq!(delay(1, 0.5), FIRST);
        assert_eq!(delay(1, 0.0), FIRST.mul_f64(0.9));
        assert_eq!(delay(u32::MAX, 0.5), LONGEST);
        assert_eq!(delay(0, 0.5), FIRST);
        assert!(
            (0..1000)
                .map(|_| random())
                .all(|number| (0.0..=1.0).contains(&number))
        );
    }

    #[test]
    fn no_more_objects_than_the_bound_are_remembered_and_the_latest_stay() {
        let backoff = Backoff::new(16);
        for number in 0..1000 {
            backoff.failed(number);
            assert!(backoff.len() <= 16);
        }
        assert!(near(1.0, backoff.failed(999)));
        let one = Backoff::new(0);
        one.failed(1);
        one.failed(2);
        assert_eq!(one.len(), 1);
    }
}
