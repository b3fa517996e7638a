//! Schedules in the words of this API, and orders for them. Pure: the time is given.

use k8s_openapi::jiff::{SignedDuration, Timestamp, civil, tz::TimeZone};
use kube::ResourceExt as _;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::{fields::Fields, inputs, map, map::Extra, wire::time};
use crate::{
    crd::{FunctionRef, Schedule, ScheduleSpec, TaskSpec, TaskTemplate, TemplateMetadata},
    facade::refusal::Refusal,
    moments::Moments,
};

/// Annotation of a Schedule with what its job has beyond a Schedule.
const ANNOTATION: &str = "errand.dev/qinling-job";
/// How far ahead a time must be.
const AHEAD: SignedDuration = SignedDuration::from_mins(1);
/// Most executions of a job.
const MOST: i64 = 1_000_000_000;

/// A job.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = QinlingJob)]
pub struct Shown {
    /// Its id, a UUID.
    pub id: String,
    /// Name for people.
    pub name: Option<String>,
    /// The function; null with an alias.
    pub function_id: Option<String>,
    /// The alias.
    pub function_alias: Option<String>,
    /// The version; 0 with an alias, and for the function as it stands.
    pub function_version: i64,
    /// What the function is given.
    pub function_input: Option<String>,
    /// running, paused, cancelled or done.
    pub status: &'static str,
    /// A cron expression in UTC; null for a job that runs once.
    pub pattern: Option<String>,
    /// Executions still to come; null without end.
    pub count: Option<u32>,
    /// The first time.
    pub first_execution_time: Option<String>,
    /// The next time; of a job that is over the last one.
    pub next_execution_time: Option<String>,
    /// The namespace.
    pub project_id: String,
    /// When it was made.
    pub created_at: Option<String>,
    /// When it was changed last.
    pub updated_at: Option<String>,
}

/// What a job has beyond a Schedule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
struct Note {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alias: Option<String>,
    /// The first time, where the Schedule does not tell it any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first: Option<Timestamp>,
    #[serde(default)]
    cancelled: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    updated: Option<Timestamp>,
}

impl Note {
    fn of(schedule: &Schedule) -> Self {
        let text = schedule.annotations().get(ANNOTATION);
        // Whoever may change a Schedule may write anything here.
        let read = text.and_then(|text| serde_json::from_str(text).ok());
        read.unwrap_or_default()
    }

    fn put(&self, schedule: &mut Schedule) {
        let text = json!(self).to_string();
        schedule.annotations_mut().insert(ANNOTATION.to_owned(), text);
    }
}

/// How a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It waits for its time.
    Running,
    /// It was stopped for a while.
    Paused,
    /// It was stopped for good.
    Cancelled,
    /// It has run as often as it was to.
    Done,
}

impl Status {
    /// The word of this API.
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Cancelled => "cancelled",
            Self::Done => "done",
        }
    }

    /// True while it may run again.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

/// How the job of a Schedule stands.
pub fn status(schedule: &Schedule) -> Status {
    let missed = || {
        let conditions = schedule.status.iter().flat_map(|status| &status.conditions);
        conditions
            .into_iter()
            .any(|condition| condition.reason == "Missed")
    };
    if Note::of(schedule).cancelled {
        Status::Cancelled
    } else if schedule.remaining() == Some(0) || missed() {
        Status::Done
    } else if schedule.spec.suspend == Some(true) {
        Status::Paused
    } else {
        Status::Running
    }
}

/// The alias that a job names.
pub fn alias(schedule: &Schedule) -> Option<String> {
    Note::of(schedule).alias
}

/// The version that a job runs.
pub fn version(schedule: &Schedule) -> i64 {
    let function = schedule.spec.template.spec.function_ref.as_ref();
    function.and_then(|function| function.version).unwrap_or(0)
}

/// The job; `function` is the id of its function, where that is known.
pub fn shown(schedule: &Schedule, function: Option<String>) -> Shown {
    let (note, spec) = (Note::of(schedule), &schedule.spec);
    let by_alias = note.alias.is_some();
    let input = spec.template.spec.input.as_ref();
    Shown {
        id: map::id(schedule),
        name: note.name.clone(),
        function_id: function.filter(|_| !by_alias),
        function_version: if by_alias { 0 } else { version(schedule) },
        function_input: input.and_then(|input| input.body.clone()),
        status: status(schedule).word(),
        pattern: spec.schedule.clone(),
        count: schedule.remaining(),
        first_execution_time: note.first.or_else(|| first(schedule)).map(time),
        next_execution_time: next(schedule).map(time),
        project_id: schedule.namespace().unwrap_or_default(),
        created_at: schedule.creation_timestamp().map(|made| time(made.0)),
        updated_at: note.updated.map(time),
        function_alias: note.alias,
    }
}

/// The first moment of a Schedule as it stands.
fn first(schedule: &Schedule) -> Option<Timestamp> {
    moment_after(schedule, None)
}

/// The next moment: as the controller tells it, else as the spec does.
fn next(schedule: &Schedule) -> Option<Timestamp> {
    let told = schedule.status.as_ref();
    let last = told.and_then(|status| status.last_schedule_time);
    if !status(schedule).is_open() && last.is_some() {
        return last;
    }
    let news = told.filter(|status| status.observed_generation == schedule.metadata.generation);
    let next = news.and_then(|status| status.next_schedule_time);
    let since = told.and_then(|status| status.since);
    next.or_else(|| moment_after(schedule, last.max(since)))
}

fn moment_after(schedule: &Schedule, after: Option<Timestamp>) -> Option<Timestamp> {
    let spec = &schedule.spec;
    let Some(pattern) = &spec.schedule else {
        return spec.start_at;
    };
    let moments = Moments::parse(pattern, spec.time_zone.as_deref()).ok()?;
    let made = schedule.creation_timestamp().map(|made| made.0);
    moments.first(made.max(after)?, spec.start_at)
}

/// When a job is to run, as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Times {
    pattern: Option<String>,
    start: Option<Timestamp>,
    count: Option<u32>,
}

impl Times {
    /// Reads `pattern`, `first_execution_time` and `count`.
    ///
    /// # Errors
    /// One is malformed, or they do not go together.
    pub fn read(fields: &Fields, now: Timestamp) -> Result<Self, Refusal> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let pattern = given(fields.text("pattern")?);
        let start = given(fields.text("first_execution_time")?);
        let count = match fields.integer("count", 1)? {
            Some(many) if many > MOST => {
                return Err(Refusal::Invalid(format!("count may be at most {MOST}")));
            }
            count => count.and_then(|count| u32::try_from(count).ok()),
        };
        if pattern.is_none() && start.is_none() {
            let sentence = "pattern or first_execution_time must be specified.";
            return Err(Refusal::Invalid(sentence.to_owned()));
        }
        let start = start.map(|text| ahead(moment(&text)?, now)).transpose()?;
        if pattern.is_none() && count.is_some_and(|count| count > 1) {
            let sentence = "pattern must be provided if count is greater than 1.";
            return Err(Refusal::Invalid(sentence.to_owned()));
        }
        if let Some(pattern) = &pattern {
            check(pattern)?;
        }
        Ok(Self {
            pattern,
            start,
            count,
        })
    }
}

/// What a job runs, as it was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Work {
    /// Name for people.
    pub name: Option<String>,
    /// The alias that was named.
    pub alias: Option<String>,
    /// Name and version of the Function.
    pub function: FunctionRef,
    /// What it is given.
    pub input: Option<String>,
    /// True for an image that gets the words of a text as arguments.
    pub words: bool,
    /// Who the executions belong to.
    pub owner: String,
}

/// The Schedule of a new job.
pub fn schedule(id: &str, namespace: &str, times: Times, work: Work) -> Schedule {
    let extra = Extra {
        alias: None,
        sync: false,
    };
    let template = TaskTemplate {
        metadata: Some(TemplateMetadata {
            annotations: [extra.annotation()].into(),
            ..TemplateMetadata::default()
        }),
        spec: TaskSpec {
            function_ref: Some(work.function),
            input: inputs::input(work.input.as_deref(), work.words),
            description: Some(format!("Created by Job {id}")),
            owner: Some(work.owner),
            ..TaskSpec::default()
        },
    };
    let spec = ScheduleSpec {
        schedule: times.pattern,
        start_at: times.start,
        count: times.count,
        template,
        ..ScheduleSpec::default()
    };
    let mut schedule = Schedule::new(id, spec);
    schedule.metadata.namespace = Some(namespace.to_owned());
    let note = Note {
        name: work.name,
        alias: work.alias,
        ..Note::default()
    };
    note.put(&mut schedule);
    schedule
}

/// A change of a job; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    name: Option<String>,
    input: Option<String>,
    status: Option<String>,
    pattern: Option<String>,
    next: Option<Timestamp>,
    now: Timestamp,
}

impl Change {
    /// Reads `name`, `function_input`, `status`, `pattern` and `next_execution_time`.
    ///
    /// # Errors
    /// One is malformed.
    pub fn read(fields: &Fields, now: Timestamp) -> Result<Self, Refusal> {
        let next = fields
            .text("next_execution_time")?
            .filter(|text| !text.is_empty());
        Ok(Self {
            name: fields.short_text("name", 256)?,
            input: fields.text("function_input")?,
            status: fields.text("status")?.filter(|status| !status.is_empty()),
            pattern: fields.text("pattern")?,
            next: next.map(|text| moment(&text)).transpose()?,
            now,
        })
    }

    /// Changes the Schedule; `words` as in [`Work`].
    ///
    /// # Errors
    /// The job is over, or does not become what it is to be.
    pub fn apply(&self, schedule: &mut Schedule, words: bool) -> Result<(), Refusal> {
        let refused = |sentence: &str| Err(Refusal::Invalid(sentence.to_owned()));
        let before = status(schedule);
        if !before.is_open() {
            return refused("Can not update a finished job.");
        }
        let is_cron = schedule.spec.schedule.is_some();
        match self.pattern.as_deref() {
            Some("") if is_cron => return refused("Can not change job type."),
            Some("") | None => {}
            Some(_) if !is_cron => return refused("Can not change job type."),
            Some(pattern) => check(pattern)?,
        }
        if !matches!(
            self.status.as_deref(),
            None | Some("running" | "paused" | "cancelled")
        ) {
            return refused("Invalid status.");
        }
        let resumes = before == Status::Paused && self.status.as_deref() == Some("running");
        match (self.next, schedule.spec.start_at) {
            (Some(next), _) => drop(ahead(next, self.now)?),
            (None, Some(start)) if resumes && !is_cron => drop(ahead(start, self.now)?),
            _ => {}
        }
        self.put(schedule, words);
        Ok(())
    }

    fn put(&self, schedule: &mut Schedule, words: bool) {
        let mut note = Note::of(schedule);
        let pattern = self.pattern.as_ref().filter(|pattern| !pattern.is_empty());
        if pattern.is_some() || self.next.is_some() {
            note.first = note.first.or_else(|| first(schedule));
        }
        note.name = self.name.clone().or(note.name);
        note.updated = Some(self.now);
        note.cancelled = self.status.as_deref() == Some("cancelled");
        note.put(schedule);
        let spec = &mut schedule.spec;
        if pattern.is_some() {
            spec.schedule = pattern.cloned();
        }
        spec.start_at = self.next.or(spec.start_at);
        if let Some(status) = &self.status {
            spec.suspend = (status != "running").then_some(true);
        }
        if self.input.is_some() {
            spec.template.spec.input = inputs::input(self.input.as_deref(), words);
        }
    }
}

/// Has the job run another function.
pub fn turn(schedule: &mut Schedule, function: &FunctionRef) {
    schedule.spec.template.spec.function_ref = Some(function.clone());
}

fn check(pattern: &str) -> Result<(), Refusal> {
    let refused = |_| Refusal::Invalid(format!("The specified pattern is not valid: {pattern}"));
    Moments::parse(pattern, None).map(drop).map_err(refused)
}

/// A time as clients write it; whatever time zone it names is passed over, and UTC is meant.
fn moment(text: &str) -> Result<Timestamp, Refusal> {
    let plain = text.trim().trim_end_matches(['Z', 'z']);
    let read = plain
        .parse::<civil::DateTime>()
        .and_then(|time| time.to_zoned(TimeZone::UTC));
    let refused = |_| Refusal::Invalid(format!("Unknown string format: {text}"));
    read.map(|time| time.timestamp()).map_err(refused)
}

fn ahead(time: Timestamp, now: Timestamp) -> Result<Timestamp, Refusal> {
    if time.duration_since(now) < AHEAD {
        let sentence = "Execution time must be at least 1 minute in the future.";
        return Err(Refusal::Invalid(sentence.to_owned()));
    }
    Ok(time)
}

#[cfg(test)]
#[path = "job_tests.rs"]
mod tests;
