//! How many Tasks there are, of those that still exist. Pure.

use std::sync::Arc;

use k8s_openapi::jiff::{SignedDuration, Timestamp, tz::TimeZone};
use kube::ResourceExt as _;

use crate::{crd::Task, facade::state::is_over};

/// Tasks of a Function or an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Made since midnight UTC.
    pub today: usize,
    /// Made in the last seven days.
    pub week: usize,
    /// Not over.
    pub pending: usize,
    /// Over.
    pub completed: usize,
}

/// Counts Tasks.
pub fn count<'a>(tasks: impl IntoIterator<Item = &'a Arc<Task>>, now: Timestamp) -> Counts {
    let today = now.to_zoned(TimeZone::UTC).date();
    let week = now - SignedDuration::from_hours(7 * 24);
    let mut counts = Counts::default();
    for task in tasks {
        let created = task.creation_timestamp().map_or(now, |time| time.0);
        counts.today += usize::from(created.to_zoned(TimeZone::UTC).date() == today);
        counts.week += usize::from(created > week);
        let over = is_over(task);
        counts.completed += usize::from(over);
        counts.pending += usize::from(!over);
    }
    counts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tasks_are_counted_by_age_and_end() {
        let task = |created: &str, phase: &str| -> Arc<Task> {
            Arc::new(
                serde_json::from_value(
                    json!({"apiVersion": "errand.dev/v1alpha1", "kind": "Task", "spec": {},
                    "metadata": {"name": "t", "creationTimestamp": created}, "status": {"phase": phase}}),
                )
                .unwrap(),
            )
        };
        let tasks = [
            task("2026-01-31T00:00:00Z", "Queued"),
            task("2026-01-31T11:00:00Z", "Succeeded"),
            task("2026-01-30T23:59:59Z", "Running"),
            task("2026-01-24T12:00:00Z", "Failed"),
        ];
        let now = "2026-01-31T12:00:00Z".parse().unwrap();
        assert_eq!(
            count(&tasks, now),
            Counts {
                today: 2,
                week: 3,
                pending: 2,
                completed: 2
            }
        );
        assert_eq!(count([], now), Counts::default());
    }
}
