//! Schedules.

use k8s_openapi::jiff::Timestamp;
use proptest::{collection::btree_map, option::of, prelude::*};

use super::{
    task::task_spec,
    words::{duration, text, text1},
};
use crate::crd::{ConcurrencyPolicy, ScheduleSpec, TaskTemplate, TemplateMetadata};

/// A Schedule's spec.
pub fn schedule_spec() -> BoxedStrategy<ScheduleSpec> {
    let policy = prop_oneof![
        Just(ConcurrencyPolicy::Allow),
        Just(ConcurrencyPolicy::Forbid),
        Just(ConcurrencyPolicy::Replace)
    ];
    // To the end of the year 9999.
    let start = (0..253_402_300_799_i64, 0..1_000_000_000_i32)
        .prop_map(|(seconds, nanoseconds)| Timestamp::new(seconds, nanoseconds).unwrap());
    let metadata = (btree_map(text(), text(), 0..3), btree_map(text(), text(), 0..3))
        .prop_map(|(labels, annotations)| TemplateMetadata { labels, annotations });
    let when = (text1(), "[A-Za-z/_]{1,64}", of(start), any::<bool>());
    let how = (
        of(1..=1_000_000_000_u32),
        of(any::<bool>()),
        of(duration()),
        of(policy),
    );
    (when, how, of(metadata), task_spec())
        .prop_map(
            |((cron, zone, start_at, again), how, metadata, spec)| ScheduleSpec {
                schedule: (again || start_at.is_none()).then_some(cron),
                time_zone: again.then_some(zone),
                start_at,
                count: how.0,
                suspend: how.1,
                starting_deadline: how.2,
                concurrency_policy: how.3,
                template: TaskTemplate { metadata, spec },
            },
        )
        .boxed()
}
