//! Answers of the API server, kept for a short time and bounded in number. Who asks the same at the same time waits
//! for the one answer.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared, WeakShared},
};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::error::AccessError;

/// SHA-256 of a question. Tokens are among the questions, so none is kept as it is.
pub(super) type Key = [u8; 32];

/// The key of a question that is no secret.
pub(super) fn key(question: &impl Serialize) -> Key {
    let mut hash = Sha256::new();
    // Neither the hash nor these questions can fail to be written; what had come would still be a key.
    let _ = serde_json::to_writer(&mut hash, question);
    hash.finalize().into()
}

/// An answer, and how long it may be kept.
pub(super) struct Fresh<V> {
    pub value: V,
    pub ttl: Duration,
}

type Flight<V> = BoxFuture<'static, Result<V, AccessError>>;

/// Kept answers. Full, it forgets first what has ended, then what would end next: among those with one ttl the oldest.
pub(super) struct Answers<V> {
    capacity: usize,
    state: Mutex<State<V>>,
}

struct State<V> {
    kept: HashMap<Key, (V, Instant)>,
    /// The keys of `kept` by their end.
    ends: BTreeSet<(Instant, Key)>,
    /// Questions that somebody waits for, each with a number that tells it from later ones with its key.
    flights: HashMap<Key, (u64, WeakShared<Flight<V>>)>,
    flown: u64,
}

impl<V: Clone + Send + Sync + 'static> Answers<V> {
    pub fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            capacity,
            state: Mutex::new(State {
                kept: HashMap::new(),
                ends: BTreeSet::new(),
                flights: HashMap::new(),
                flown: 0,
            }),
        })
    }

    /// The kept answer, else the one to a call that is under way, else the one to a call that `ask` makes. A call goes
    /// on as long as anybody waits for it. Errors are told to all who wait, and not kept.
    pub async fn get<A, F>(self: &Arc<Self>, key: Key, ask: A) -> Result<V, AccessError>
    where
        A: FnOnce() -> F,
        F: Future<Output = Result<Fresh<V>, AccessError>> + Send + 'static,
    {
        match self.kept_or_asked(key, ask) {
            Ok(value) => Ok(value),
            Err(flight) => flight.await,
        }
    }

    fn kept_or_asked<A, F>(self: &Arc<Self>, key: Key, ask: A) -> Result<V, Shared<Flight<V>>>
    where
        A: FnOnce() -> F,
        F: Future<Output = Result<Fresh<V>, AccessError>> + Send + 'static,
    {
        let mut state = self.lock();
        match state.kept.get(&key) {
            Some((value, end)) if *end > Instant::now() => return Ok(value.clone()),
            _ => {}
        }
        if let Some(flight) = state.flights.get(&key).and_then(|(_, flight)| flight.upgrade()) {
            return Err(flight);
        }
        state.flown += 1;
        let landing = Landing {
            answers: self.clone(),
            key,
            number: state.flown,
        };
        let asked = ask();
        let flight = async move {
            let fresh = asked.await?;
            landing.answers.keep(key, &fresh);
            Ok(fresh.value)
        };
        let flight = flight.boxed().shared();
        if let Some(weak) = flight.downgrade() {
            let number = state.flown;
            state.flights.insert(key, (number, weak));
        }
        Err(flight)
    }

    fn keep(&self, key: Key, fresh: &Fresh<V>) {
        let now = Instant::now();
        let end = now + fresh.ttl;
        let mut state = self.lock();
        if let Some((_, old)) = state.kept.insert(key, (fresh.value.clone(), end)) {
            state.ends.remove(&(old, key));
        }
        state.ends.insert((end, key));
        while let Some(&(end, key)) = state.ends.first()
            && (end <= now || state.kept.len() > self.capacity)
        {
            state.ends.pop_first();
            state.kept.remove(&key);
        }
    }
}

impl<V> Answers<V> {
    fn lock(&self) -> MutexGuard<'_, State<V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many are kept, and how many asked for.
    #[cfg(test)]
    pub fn sizes(&self) -> (usize, usize) {
        let state = self.lock();
        assert_eq!(state.kept.len(), state.ends.len());
        (state.kept.len(), state.flights.len())
    }
}

/// Takes a call off the list, whether it was answered or nobody waited any longer.
struct Landing<V> {
    answers: Arc<Answers<V>>,
    key: Key,
    number: u64,
}

impl<V> Drop for Landing<V> {
    fn drop(&mut self) {
        let mut state = self.answers.lock();
        if state
            .flights
            .get(&self.key)
            .is_some_and(|(number, _)| *number == self.number)
        {
            state.flights.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    /// Answers each question with the number of the call; `gate` lets calls through.
    struct Oracle {
        answers: Arc<Answers<usize>>,
        calls: Arc<AtomicUsize>,
        gate: Arc<Semaphore>,
    }

    const TTL: Duration = Duration::from_secs(10);

    impl Oracle {
        fn new(capacity: usize) -> Self {
            Self {
                answers: Answers::new(capacity),
                calls: Arc::default(),
                gate: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            }
        }

        fn shut() -> Self {
            Self {
                gate: Arc::new(Semaphore::new(0)),
                ..Self::new(10)
            }
        }

        fn ask(
            &self,
            question: u8,
            ttl: Duration,
        ) -> impl Future<Output = Result<usize, AccessError>> + use<> {
            let (answers, calls, gate) = (self.answers.clone(), self.calls.clone(), self.gate.clone());
            async move {
                let call = || async move {
                    let value = calls.fetch_add(1, Ordering::SeqCst) + 1;
                    gate.acquire().await.unwrap().forget();
                    Ok(Fresh { value, ttl })
                };
                answers.get([question; 32], call).await
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_kept_until_its_time_is_over() {
        let oracle = Oracle::new(10);
        assert_eq!(oracle.ask(1, TTL).await.unwrap(), 1);
        tokio::time::advance(TTL - Duration::from_millis(1)).await;
        assert_eq!(oracle.ask(1, TTL).await.unwrap(), 1);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(oracle.ask(1, TTL).await.unwrap(), 2);
        assert_eq!(oracle.ask(2, Duration::ZERO).await.unwrap(), 3);
        assert_eq!(oracle.ask(2, Duration::ZERO).await.unwrap(), 4);
        assert_eq!(oracle.answers.sizes(), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_cache_forgets_what_has_ended_then_the_oldest() {
        let oracle = Oracle::new(3);
        let short = Duration::from_secs(1);
        oracle.ask(1, TTL).await.unwrap();
        oracle.ask(2, short).await.unwrap();
        tokio::time::advance(short).await;
        oracle.ask(3, TTL).await.unwrap();
        oracle.ask(4, TTL).await.unwrap();
        assert_eq!(
            oracle.ask(1, TTL).await.unwrap(),
            1,
            "only the ended one had to go"
        );
        tokio::time::advance(short).await;
        oracle.ask(5, TTL).await.unwrap();
        assert_eq!(oracle.ask(3, TTL).await.unwrap(), 3);
        assert_eq!(oracle.ask(1, TTL).await.unwrap(), 6, "the oldest had to go");
        for question in 0..=255 {
            oracle.ask(question, TTL).await.unwrap();
            assert!(oracle.answers.sizes().0 <= 3);
        }
    }

    #[tokio::test]
    async fn who_asks_the_same_at_once_waits_for_one_answer() {
        let oracle = Oracle::shut();
        let mut asking: Vec<_> = (0..5).map(|_| Box::pin(oracle.ask(1, TTL))).collect();
        for one in &mut asking {
            assert!(futures::poll!(one).is_pending());
        }
        drop(asking.remove(0));
        oracle.gate.add_permits(5);
        let answers: Vec<usize> = futures::future::try_join_all(asking).await.unwrap();
        assert_eq!((answers, oracle.calls.load(Ordering::SeqCst)), (vec![1; 4], 1));
        assert_eq!(oracle.answers.sizes(), (1, 0));
    }

    #[tokio::test]
    async fn a_question_that_nobody_waits_for_leaves_nothing_behind() {
        let oracle = Oracle::shut();
        let mut asking = Box::pin(oracle.ask(1, TTL));
        assert!(futures::poll!(&mut asking).is_pending());
        assert_eq!(oracle.answers.sizes(), (0, 1));
        drop(asking);
        assert_eq!(oracle.answers.sizes(), (0, 0));
        oracle.gate.add_permits(1);
        assert_eq!(oracle.ask(1, TTL).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn an_error_is_not_kept() {
        let oracle = Oracle::new(10);
        let failing = oracle
            .answers
            .get([1; 32], || async { Err(AccessError::PodOnly) });
        assert!(matches!(failing.await, Err(AccessError::PodOnly)));
        assert_eq!(oracle.answers.sizes(), (0, 0));
        assert_eq!(oracle.ask(1, TTL).await.unwrap(), 1);
    }

    #[test]
    fn questions_that_differ_have_keys_that_differ() {
        assert_eq!(key(&("a", ["b"])), key(&("a", ["b"])));
        assert_ne!(key(&(["a", "b"], [""; 0])), key(&(["a"], ["b"])));
        assert_ne!(key(&("a,b", "c")), key(&("a", "b,c")));
    }
}
