//! What the facade counts, for Prometheus. Labels are doors and matched routes, never what a client wrote.

use std::{fmt, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::health::Exposition;

/// Seconds.
const BUCKETS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0];

/// Metrics of one facade, with the registry they are in.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<Answer, Counter>,
    seconds: Family<Route, Histogram, fn() -> Histogram>,
    open: Family<Kind, Gauge>,
    tasks: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    door: &'static str,
    route: String,
    method: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    door: &'static str,
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All metrics at zero, registered under the prefix `errand_facade_`.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("errand_facade");
        let requests = Family::default();
        let seconds = Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        let (open, tasks) = (Family::default(), Gauge::default());
        registry.register("requests", "Requests answered", requests.clone());
        registry.register_with_unit(
            "request_duration",
            "Time to the head of the answer; long polls wait in it",
            Unit::Seconds,
            seconds.clone(),
        );
        registry.register("open", "Requests and streams under way", open.clone());
        registry.register("tasks", "Tasks in view", tasks.clone());
        Self {
            registry,
            requests,
            seconds,
            open,
            tasks,
        }
    }

    /// Counts an answered request.
    pub fn answered(
        &self,
        door: &'static str,
        route: &str,
        method: &'static str,
        status: u16,
        took: Duration,
    ) {
        let route = route.to_owned();
        let answer = Answer {
            door,
            route: route.clone(),
            method,
            status,
        };
        self.requests.get_or_create(&answer).inc();
        let seconds = self.seconds.get_or_create(&Route { door, route });
        seconds.observe(took.as_secs_f64());
    }

    /// Requests (`request`) or streams (`stream`) under way.
    pub fn open(&self, kind: &'static str) -> Gauge {
        self.open.get_or_create(&Kind { kind }).clone()
    }

    /// Sets how many Tasks are in view.
    pub fn set_tasks(&self, count: usize) {
        self.tasks.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

impl Exposition for Metrics {
    fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
