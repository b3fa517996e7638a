//! When to stop the command, and how long to wait for what. Pure: the time is given.

use std::time::{Duration, Instant};

/// How long pipes that other processes hold open are read after the command has ended.
const DRAIN: Duration = Duration::from_secs(1);
/// How long nobody may take our output, after the command has ended, until it is given up.
const STALL: Duration = Duration::from_secs(10);
/// The part of the grace period that is kept back for the evidence, at most.
const MARGIN: Duration = Duration::from_secs(2);

/// Why the command was told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The run limit.
    Limit,
    /// This signal came from outside.
    Signal(i32),
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    /// Tell the command to stop.
    Terminate,
    /// End it.
    Kill,
}

#[derive(Debug)]
pub(super) struct Timeline {
    grace: Duration,
    /// When the run limit is reached.
    limit: Option<Instant>,
    cause: Option<Cause>,
    kill: Option<Instant>,
    /// When whoever stops us loses patience: the evidence must be written by then.
    evidence: Option<Instant>,
    ended: Option<Instant>,
}

impl Timeline {
    /// `start`: when the command was started. Limits too far away to be told are none.
    pub(super) fn new(start: Instant, timeout: Option<Duration>, grace: Duration) -> Self {
        let limit = timeout.and_then(|timeout| start.checked_add(timeout));
        Self {
            grace,
            limit,
            cause: None,
            kill: None,
            evidence: None,
            ended: None,
        }
    }

    /// A signal from outside says that it is over. After the grace period comes SIGKILL, for us too, so the
    /// command is killed a little earlier.
    pub(super) fn stop(&mut self, now: Instant, signal: i32) {
        if self.evidence.is_some() {
            return;
        }
        let margin = MARGIN.min(self.grace / 4);
        self.evidence = now.checked_add(self.grace.saturating_sub(margin / 4));
        let kill = now.checked_add(self.grace.saturating_sub(margin));
        self.kill = [self.kill, kill].into_iter().flatten().min();
        if self.ended.is_none() {
            self.cause.get_or_insert(Cause::Signal(signal));
        }
    }

    /// What is due now. Each due is told once.
    pub(super) fn due(&mut self, now: Instant) -> Due {
        if self.ended.is_some() {
            return Due::Nothing;
        }
        if self.kill.is_some_and(|kill| kill <= now) {
            self.kill = None;
            return Due::Kill;
        }
        if self.cause.is_none() && self.limit.is_some_and(|limit| limit <= now) {
            self.cause = Some(Cause::Limit);
            self.kill = now.checked_add(self.grace);
            return Due::Terminate;
        }
        Due::Nothing
    }

    /// When [`Self::due`] may have something.
    pub(super) fn next(&self) -> Option<Instant> {
        let limit = self.limit.filter(|_| self.cause.is_none());
        [self.kill, limit]
            .into_iter()
            .flatten()
            .min()
            .filter(|_| self.ended.is_none())
    }

    /// The command's process has ended.
    pub(super) fn end(&mut self, now: Instant) {
        self.ended.get_or_insert(now);
    }

    pub(super) fn cause(&self) -> Option<Cause> {
        self.cause
    }

    /// Until when to read pipes that stay open, once the command has ended. Half of what is left, if we are being
    /// stopped.
    pub(super) fn drain_until(&self) -> Option<Instant> {
        let ended = self.ended?;
        let patience = match self.evidence {
            Some(evidence) => DRAIN.min(evidence.saturating_duration_since(ended) / 2),
            None => DRAIN,
        };
        ended.checked_add(patience)
    }

    /// Until when to wait for somebody to take our output; `moved` is when some was taken last.
    pub(super) fn stall_until(&self, moved: Instant) -> Option<Instant> {
        let from = self.ended.map_or(moved, |ended| ended.max(moved));
        [from.checked_add(STALL), self.evidence]
            .into_iter()
            .flatten()
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_run_limit_terminates_and_kills_after_the_grace_period() {
        let start = Instant::now();
        let mut timeline = Timeline::new(start, Some(secs(60)), secs(10));
        assert_eq!(timeline.next(), Some(start + secs(60)));
        assert_eq!(timeline.due(start + secs(59)), Due::Nothing);
        assert_eq!(timeline.due(start + secs(60)), Due::Terminate);
        assert_eq!(timeline.cause(), Some(Cause::Limit));
        assert_eq!(timeline.next(), Some(start + secs(70)));
        assert_eq!(timeline.due(start + secs(69)), Due::Nothing);
        assert_eq!(timeline.due(start + secs(70)), Due::Kill);
        assert_eq!(
            (timeline.due(start + secs(99)), timeline.next()),
            (Due::Nothing, None)
        );
    }

    #[test]
    fn a_stop_kills_before_the_grace_period_is_over_and_is_remembered() {
        let start = Instant::now();
        let mut timeline = Timeline::new(start, Some(secs(60)), secs(30));
        timeline.stop(start + secs(5), 15);
        timeline.stop(start + secs(20), 2);
        assert_eq!(
            (timeline.cause(), timeline.next()),
            (Some(Cause::Signal(15)), Some(start + secs(33)))
        );
        assert_eq!(timeline.due(start + secs(33)), Due::Kill);
        assert_eq!(
            (timeline.due(start + secs(61)), timeline.next()),
            (Due::Nothing, None)
        );
        timeline.end(start + secs(33));
        assert_eq!(
            timeline.drain_until(),
            Some(start + secs(33) + Duration::from_millis(750))
        );
        assert_eq!(
            timeline.stall_until(start),
            Some(start + secs(5) + Duration::from_millis(29_500))
        );
    }

    #[test]
    fn a_stop_after_the_run_limit_keeps_the_cause_and_may_kill_earlier() {
        let start = Instant::now();
        let mut timeline = Timeline::new(start, Some(secs(1)), secs(8));
        assert_eq!(timeline.due(start + secs(1)), Due::Terminate);
        timeline.stop(start + secs(2), 15);
        assert_eq!(
            (timeline.cause(), timeline.next()),
            (Some(Cause::Limit), Some(start + secs(8)))
        );
    }

    #[test]
    fn no_grace_means_at_once() {
        let start = Instant::now();
        let mut timeline = Timeline::new(start, None, Duration::ZERO);
        timeline.stop(start, 15);
        assert_eq!(timeline.due(start), Due::Kill);
    }

    #[test]
    fn a_stop_after_the_end_hurries_the_evidence_only() {
        let start = Instant::now();
        let mut timeline = Timeline::new(start, Some(secs(9)), secs(4));
        timeline.end(start + secs(1));
        assert_eq!(timeline.stall_until(start), Some(start + secs(11)));
        assert_eq!(timeline.stall_until(start + secs(3)), Some(start + secs(13)));
        timeline.stop(start + secs(2), 15);
        assert_eq!(
            (timeline.cause(), timeline.next(), timeline.due(start + secs(99))),
            (None, None, Due::Nothing)
        );
        assert_eq!(
            timeline.stall_until(start + secs(3)),
            Some(start + secs(2) + Duration::from_millis(3750))
        );
    }

    #[test]
    fn limits_beyond_the_clock_are_none() {
        let start = Instant::now();
        let mut timeline = Timeline::new(start, Some(Duration::MAX), Duration::MAX);
        assert_eq!(timeline.next(), None);
        timeline.stop(start, 15);
        assert_eq!(
            (timeline.next(), timeline.stall_until(start)),
            (None, Some(start + STALL))
        );
    }
}
