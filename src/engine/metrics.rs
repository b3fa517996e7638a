//! What the engine counts, for Prometheus.
//!
//! Label values are static words of this code, so that no user can make the number of series grow; nothing is
//! labelled by the name of an object.

use std::{borrow::Cow, fmt, sync::Arc, time::Instant};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Registry, Unit},
};

use crate::{crd::Phase, health::Exposition};

/// Outcome of a reconcile that was dropped before it ended: a shutdown, a time limit around it, a panic.
pub const DROPPED: &str = "dropped";

/// Seconds. A reconcile without a write takes microseconds; one that waits for the API may take its time limit.
const BUCKETS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0,
];

/// Metrics of one engine, with the registry they are in.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reconcile_seconds: Family<Kind, Histogram, fn() -> Histogram>,
    reconciles: Family<Outcome, Counter>,
    tasks_ended: Family<End, Counter>,
    pods_created: Counter,
    api_writes: Family<Write, Counter>,
    events_dropped: Counter,
    callback_tries: Family<Try, Counter>,
    callbacks_ended: Family<CallbackEnd, Counter>,
    callbacks: Gauge,
    queued: Gauge,
    pending: Gauge,
    running: Gauge,
    followed: Gauge,
    leader: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct End {
    phase: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Write {
    verb: &'static str,
    resource: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Try {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallbackEnd {
    state: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All metrics at zero, registered under the prefix `errand_`.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("errand"),
            reconcile_seconds: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            reconciles: Family::default(),
            tasks_ended: Family::default(),
            pods_created: Counter::default(),
            api_writes: Family::default(),
            events_dropped: Counter::default(),
            callback_tries: Family::default(),
            callbacks_ended: Family::default(),
            callbacks: Gauge::default(),
            queued: Gauge::default(),
            pending: Gauge::default(),
            running: Gauge::default(),
            followed: Gauge::default(),
            leader: Gauge::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register_with_unit(
            "reconcile_duration",
            "Time that one reconcile took",
            Unit::Seconds,
            self.reconcile_seconds.clone(),
        );
        registry.register(
            "reconciles",
            "Reconciles by their outcome",
            self.reconciles.clone(),
        );
        registry.register(
            "tasks_ended",
            "Tasks that reached a final phase",
            self.tasks_ended.clone(),
        );
        registry.register("pods_created", "Pods made for Tasks", self.pods_created.clone());
        registry.register(
            "api_writes",
            "Write requests sent to the API server",
            self.api_writes.clone(),
        );
        registry.register(
            "events_dropped",
            "Events that were not published: too many at once, or refused",
            self.events_dropped.clone(),
        );
        registry.register(
            "tasks_queued",
            "Tasks that wait for their turn",
            self.queued.clone(),
        );
        registry.register(
            "tasks_pending",
            "Tasks whose pod has not started",
            self.pending.clone(),
        );
        registry.register(
            "tasks_running",
            "Tasks whose container runs",
            self.running.clone(),
        );
        registry.register(
            "logs_followed",
            "Logs that are followed for progress",
            self.followed.clone(),
        );
        registry.register(
            "callback_tries",
            "POSTs of callbacks by their outcome",
            self.callback_tries.clone(),
        );
        registry.register(
            "callbacks_ended",
            "Callbacks that are over, by their final state",
            self.callbacks_ended.clone(),
        );
        registry.register(
            "callbacks_underway",
            "Callbacks that are made or wait for their turn",
            self.callbacks.clone(),
        );
        registry.register("leader", "1 while this process leads", self.leader.clone());
        registry.register("build", "The build that runs", Info::new(build_labels()));
    }

    /// Starts the clock of one reconcile of a `kind`; see [`Reconcile`].
    pub fn reconcile(self: &Arc<Self>, kind: &'static str) -> Reconcile {
        Reconcile {
            metrics: Arc::clone(self),
            kind,
            outcome: DROPPED,
            start: Instant::now(),
        }
    }

    /// Counts a Task that reached the final `phase`; `reason` is one of the engine's own words.
    pub fn task_ended(&self, phase: Phase, reason: &'static str) {
        self.tasks_ended
            .get_or_create(&End {
                phase: phase_word(phase),
                reason,
            })
            .inc();
    }

    /// Counts a pod made for a Task.
    pub fn pod_created(&self) {
        self.pods_created.inc();
    }

    /// Counts a write request: `create`, `patch`, `update` or `delete` of a `resource` such as `tasks/status`.
    pub fn api_write(&self, verb: &'static str, resource: &'static str) {
        self.api_writes.get_or_create(&Write { verb, resource }).inc();
    }

    /// Sets how many Tasks are Queued, Pending and Running.
    pub fn set_tasks(&self, queued: usize, pending: usize, running: usize) {
        set(&self.queued, queued);
        set(&self.pending, pending);
        set(&self.running, running);
    }

    /// Sets how many logs are followed for progress.
    pub fn set_followed(&self, count: usize) {
        set(&self.followed, count);
    }

    /// Counts a POST of a callback; `outcome` is a static word.
    pub fn callback_tried(&self, outcome: &'static str) {
        self.callback_tries.get_or_create(&Try { outcome }).inc();
    }

    /// Counts a callback that is over.
    pub fn callback_ended(&self, delivered: bool) {
        let state = if delivered { "Delivered" } else { "Failed" };
        self.callbacks_ended.get_or_create(&CallbackEnd { state }).inc();
    }

    /// Sets how many callbacks are made or wait for their turn.
    pub fn set_callbacks(&self, count: usize) {
        set(&self.callbacks, count);
    }

    /// Sets whether this process leads.
    pub fn set_leader(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    /// The counter of Events that were not published, for [`super::events::Events`].
    pub fn events_dropped(&self) -> Counter {
        self.events_dropped.clone()
    }
}

impl Exposition for Metrics {
    fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn set(gauge: &Gauge, count: usize) {
    gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
}

fn build_labels() -> Vec<(&'static str, Cow<'static, str>)> {
    let commit = crate::telemetry::COMMIT.unwrap_or("unknown");
    vec![
        ("version", env!("CARGO_PKG_VERSION").into()),
        ("commit", commit.into()),
    ]
}

fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Queued => "Queued",
        Phase::Pending => "Pending",
        Phase::Running => "Running",
        Phase::Succeeded => "Succeeded",
        Phase::Failed => "Failed",
        Phase::Cancelled => "Cancelled",
    }
}

/// One reconcile under way. Its time and outcome are counted when it is dropped.
#[derive(Debug)]
pub struct Reconcile {
    metrics: Arc<Metrics>,
    kind: &'static str,
    outcome: &'static str,
    start: Instant,
}

impl Reconcile {
    /// Says how it ended: `ok`, or the static category of an error. Unsaid, the outcome is [`DROPPED`].
    pub fn outcome(mut self, outcome: &'static str) {
        self.outcome = outcome;
    }
}

impl Drop for Reconcile {
    fn drop(&mut self) {
        let (kind, outcome) = (self.kind, self.outcome);
        self.metrics
            .reconcile_seconds
            .get_or_create(&Kind { kind })
            .observe(self.start.elapsed().as_secs_f64());
        self.metrics
            .reconciles
            .get_or_create(&Outcome { kind, outcome })
            .inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_in_the_text() {
        let metrics = Arc::new(Metrics::new());
        metrics.task_ended(Phase::Failed, "TimedOut");
        metrics.task_ended(Phase::Failed, "TimedOut");
        metrics.pod_created();
        metrics.api_write("patch", "tasks/status");
        metrics.set_tasks(3, 2, 1);
        metrics.set_followed(4);
        metrics.callback_tried("5xx");
        metrics.callback_ended(true);
        metrics.set_callbacks(5);
        metrics.set_leader(true);
        metrics.events_dropped().inc();
        let text = metrics.encode().unwrap();
        let lines = [
            r#"errand_tasks_ended_total{phase="Failed",reason="TimedOut"} 2"#,
            "errand_pods_created_total 1",
            r#"errand_api_writes_total{verb="patch",resource="tasks/status"} 1"#,
            "errand_tasks_queued 3",
            "errand_tasks_pending 2",
            "errand_tasks_running 1",
            "errand_logs_followed 4",
            r#"errand_callback_tries_total{outcome="5xx"} 1"#,
            r#"errand_callbacks_ended_total{state="Delivered"} 1"#,
            "errand_callbacks_underway 5",
            "errand_leader 1",
            "errand_events_dropped_total 1",
        ];
        for line in lines {
            assert!(
                text.lines().any(|other| other == line),
                "{line} is not in\n{text}"
            );
        }
        let build = format!(
            "errand_build_info{{version=\"{}\",commit=\"",
            env!("CARGO_PKG_VERSION")
        );
        assert!(text.contains(&build), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn a_reconcile_is_counted_once_even_if_it_is_dropped() {
        let metrics = Arc::new(Metrics::new());
        metrics.reconcile("Task").outcome("ok");
        drop(metrics.reconcile("Task"));
        let text = metrics.encode().unwrap();
        let lines = [
            r#"errand_reconciles_total{kind="Task",outcome="ok"} 1"#,
            r#"errand_reconciles_total{kind="Task",outcome="dropped"} 1"#,
            r#"errand_reconcile_duration_seconds_count{kind="Task"} 2"#,
            r#"errand_reconcile_duration_seconds_bucket{le="30.0",kind="Task"} 2"#,
        ];
        for line in lines {
            assert!(
                text.lines().any(|other| other == line),
                "{line} is not in\n{text}"
            );
        }
    }

    #[test]
    fn names_carry_the_prefix_and_every_metric_has_a_help_text() {
        let text = Metrics::new().encode().unwrap();
        for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
            let name = line.split(' ').nth(2).unwrap();
            assert!(name.starts_with("errand_"), "{line}");
            assert!(text.contains(&format!("# HELP {name} ")), "{line}");
        }
    }
}
