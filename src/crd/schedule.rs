//! The Schedule: when Tasks are made by themselves.

use std::collections::BTreeMap;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{Duration, TaskSpec};

/// Condition type: True while the next Task is waited for. Its reason says why not, else.
pub const CONDITION_READY: &str = "Ready";

/// When Tasks are made by themselves.
#[derive(Clone, Debug, Default, PartialEq, CustomResource, Deserialize, Serialize, KubeSchema)]
#[kube(
    group = "errand.dev",
    version = "v1alpha1",
    kind = "Schedule",
    plural = "schedules",
    shortname = "es",
    category = "errand",
    namespaced,
    status = "ScheduleStatus",
    derive = "PartialEq",
    cel,
    doc = "A Schedule makes Tasks at the moments that it names: again and again, or once.",
    printcolumn(name = "Schedule", type_ = "string", json_path = ".spec.schedule"),
    printcolumn(name = "Suspend", type_ = "boolean", json_path = ".spec.suspend"),
    printcolumn(name = "Last", type_ = "date", json_path = ".status.lastScheduleTime"),
    // A moment to come is no age.
    printcolumn(name = "Next", type_ = "string", json_path = ".status.nextScheduleTime"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Created", type_ = "integer", json_path = ".status.created", priority = 1),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("has(self.schedule) || has(self.startAt)", "at least one of schedule and startAt must be set"),
)]
pub struct ScheduleSpec {
    /// Moments, as a cron expression of five fields: minute, hour, day of month, month, day of week. Absent: once, at
    /// startAt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub schedule: Option<String>,
    /// Time zone of the expression, by its name in the IANA database. Default UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: Option<String>,
    /// No Task is made before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "moment")]
    pub start_at: Option<Timestamp>,
    /// Tasks to make in all. Default: without end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub count: Option<u32>,
    /// True: no Tasks are made. Moments of the expression that pass meanwhile are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// How late a Task may be made for a moment that was missed. Default: however late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starting_deadline: Option<Duration>,
    /// What happens where an earlier Task has not ended yet. Default Allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency_policy: Option<ConcurrencyPolicy>,
    /// The Tasks that are made.
    pub template: TaskTemplate,
}

/// What happens where an earlier Task of the Schedule has not ended yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub enum ConcurrencyPolicy {
    /// Tasks run side by side.
    #[default]
    Allow,
    /// The Task is made once the earlier one has ended, for the latest moment.
    Forbid,
    /// The earlier one is cancelled.
    Replace,
}

/// A Task to be.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskTemplate {
    /// Labels and annotations of the Tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<TemplateMetadata>,
    /// Spec of the Tasks.
    #[schemars(schema_with = "task_spec")]
    pub spec: TaskSpec,
}

/// Labels and annotations of Tasks to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateMetadata {
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub annotations: BTreeMap<String, String>,
}

/// What the controller observes of a Schedule.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleStatus {
    /// The last moment that a Task was made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "timestamp")]
    pub last_schedule_time: Option<Timestamp>,
    /// The next moment. In the past while the Task waits for an earlier one to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "timestamp")]
    pub next_schedule_time: Option<Timestamp>,
    /// The moment whose Task is counted already and being made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "timestamp")]
    pub pending_time: Option<Timestamp>,
    /// Moments of the expression up to this one are not made up for: the spec was another then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "timestamp")]
    pub since: Option<Timestamp>,
    /// Tasks made so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<u32>,
    /// Tasks still to make, where their number is limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining: Option<u32>,
    /// Conditions: Ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

impl ScheduleSpec {
    /// Tasks to make in all; `None` without end. What names one moment makes one Task.
    pub fn limit(&self) -> Option<u32> {
        match self.schedule {
            Some(_) => self.count,
            None => Some(1),
        }
    }
}

impl Schedule {
    /// Tasks still to make; `None` without end.
    pub fn remaining(&self) -> Option<u32> {
        let created = self.status.as_ref().and_then(|status| status.created);
        let limit = self.spec.limit()?;
        Some(limit.saturating_sub(created.unwrap_or(0)))
    }
}

/// RFC 3339, with no more digits than are read back.
fn moment(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "format": "date-time",
        "maxLength": 35,
        "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$",
    })
}

fn timestamp(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time"})
}

/// A Task's spec may not change; one that is yet to be may.
fn task_spec(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = TaskSpec::json_schema(generator);
    if let Some(rules) = schema
        .get_mut("x-kubernetes-validations")
        .and_then(serde_json::Value::as_array_mut)
    {
        rules.retain(|rule| {
            let text = rule["rule"].as_str().unwrap_or_default();
            !text.contains("oldSelf")
        });
    }
    schema
}
