//! How long the API server takes to answer at present. What is only informative waits while it is slow: else a load
//! that it can hardly bear makes more Tasks long enough to be shown on their way, and so more load.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// An answer counts for so much of the mean.
const WEIGHT: u32 = 8;
/// After so long without a call nothing is known.
const FRESH: Duration = Duration::from_secs(2);
/// A lag of so much doubles a wait.
const UNIT: Duration = Duration::from_millis(100);
/// A longer lag makes no wait longer.
const LIMIT: Duration = Duration::from_secs(1);

/// The mean time of calls, of which the last ones count most.
#[derive(Debug, Default)]
pub struct Lag(Mutex<Option<Mean>>);

#[derive(Clone, Copy, Debug)]
struct Mean {
    of: Duration,
    at: Instant,
}

impl Mean {
    fn fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) < FRESH
    }
}

impl Lag {
    /// Notes a call that took so long until `now`.
    pub fn note(&self, took: Duration, now: Instant) {
        let mut mean = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = match mean.filter(|mean| mean.fresh(now)) {
            Some(mean) => (mean.of * (WEIGHT - 1) + took.min(LIMIT)) / WEIGHT,
            None => took.min(LIMIT),
        };
        *mean = Some(Mean { of, at: now });
    }

    /// The present lag; none where nothing was called lately.
    pub fn at(&self, now: Instant) -> Duration {
        let mean = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        mean.filter(|mean| mean.fresh(now))
            .map_or(Duration::ZERO, |mean| mean.of)
    }
}

/// How long something informative waits under this lag, that waits for `wait` without one: up to eleven times as long.
pub fn stretched(wait: Duration, lag: Duration) -> Duration {
    wait + wait.mul_f64(lag.min(LIMIT).div_duration_f64(UNIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn the_lag_is_a_mean_of_the_calls_of_late() {
        let (lag, start) = (Lag::default(), Instant::now());
        assert_eq!(lag.at(start), Duration::ZERO);
        lag.note(MS(80), start);
        assert_eq!(lag.at(start), MS(80));
        lag.note(MS(160), start + MS(1));
        assert_eq!(lag.at(start + MS(1)), MS(90));
        lag.note(MS(10), start + MS(2));
        assert_eq!(lag.at(start + MS(2)), MS(80));
    }

    #[test]
    fn a_lag_of_seconds_ago_is_forgotten() {
        let (lag, start) = (Lag::default(), Instant::now());
        lag.note(MS(800), start);
        assert_eq!(lag.at(start + MS(1999)), MS(800));
        assert_eq!(lag.at(start + MS(2000)), Duration::ZERO);
        lag.note(MS(8), start + MS(2000));
        assert_eq!(lag.at(start + MS(2000)), MS(8));
    }

    #[test]
    fn one_call_that_hangs_counts_as_a_second() {
        let (lag, start) = (Lag::default(), Instant::now());
        lag.note(MS(20), start);
        lag.note(MS(15_000), start + MS(1));
        assert_eq!(lag.at(start + MS(1)), Duration::from_micros(142_500));
    }

    #[test]
    fn a_wait_grows_with_the_lag_to_eleven_times_its_length() {
        let wait = MS(1500);
        let under = |lag| stretched(wait, MS(lag));
        assert_eq!(
            [under(0), under(4), under(100), under(1000), under(60_000)],
            [wait, MS(1560), MS(3000), MS(16_500), MS(16_500)]
        );
        assert_eq!(stretched(Duration::ZERO, MS(1000)), Duration::ZERO);
    }
}
