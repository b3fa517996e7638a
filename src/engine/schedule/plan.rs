//! What a Schedule is to do now. Pure: the object and the time in, a status and a step out. However many moments were
//! missed, two or three searches find what matters.

use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::{
    crd::{
        CONDITION_READY, ConcurrencyPolicy, Schedule, ScheduleStatus,
        change::{self, Moment},
    },
    moments::Moments,
};

/// Nobody sleeps longer, since the clock may be set meanwhile.
pub const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The Task of this moment is counted and may not be there yet: create it, then take the note off.
    Resume(Timestamp),
    /// Write the status, which counts the Task of this moment; then go on as above.
    Start(Timestamp),
    /// Write the status, if it differs; look again after so long, or when something changes.
    Rest(Option<Duration>),
}

/// Step and status.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The status as it should be.
    pub status: ScheduleStatus,
    /// What to do.
    pub step: Step,
}

/// How a Schedule stands at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlook {
    /// The moment whose Task is to be made now.
    pub due: Option<Timestamp>,
    /// The first moment after `due`, or after now.
    next: Option<Timestamp>,
    /// Moments up to here are not made up for.
    since: Option<Timestamp>,
    standing: Standing,
}

/// The reason and the sentence of the condition Ready.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Standing {
    ready: bool,
    reason: &'static str,
    message: String,
}

impl Standing {
    fn waits() -> Self {
        Self {
            ready: true,
            reason: "Waiting",
            message: "the next Task is waited for".to_owned(),
        }
    }

    fn rests(reason: &'static str, message: &str) -> Self {
        Self {
            ready: false,
            reason,
            message: message.to_owned(),
        }
    }

    fn complete() -> Self {
        Self::rests("Complete", "all Tasks are made")
    }
}

/// Reason of the condition Ready while Tasks cannot be created.
pub const CREATE_FAILED: &str = "CreateFailed";

/// How the Schedule stands.
pub fn outlook(schedule: &Schedule, now: Timestamp) -> Outlook {
    let since = since(schedule, now);
    let found = match (schedule.spec.suspend, schedule.remaining()) {
        (_, Some(0)) => Err(Standing::complete()),
        (Some(true), _) => Err(Standing::rests("Suspended", "spec.suspend is true")),
        _ => match &schedule.spec.schedule {
            None => once(schedule, now),
            Some(text) => again(schedule, text, since, now),
        },
    };
    let (due, next, standing) = match found {
        Ok((due, next)) => (due, next, Standing::waits()),
        Err(standing) => (None, None, standing),
    };
    Outlook {
        due,
        next,
        since,
        standing,
    }
}

/// A change of the spec leaves out what passed before it, unless that was due already.
fn since(schedule: &Schedule, now: Timestamp) -> Option<Timestamp> {
    let status = schedule.status.as_ref()?;
    let changed =
        status.observed_generation.is_some() && status.observed_generation != schedule.metadata.generation;
    let was_due = status.next_schedule_time.is_some_and(|next| next <= now);
    if changed && !was_due {
        Some(change::to_millis(now))
    } else {
        status.since
    }
}

/// The moment that is due, and the one after.
type Found = (Option<Timestamp>, Option<Timestamp>);

fn once(schedule: &Schedule, now: Timestamp) -> Result<Found, Standing> {
    let Some(at) = schedule.spec.start_at else {
        // The API server lets none through.
        return Err(Standing::rests(
            "InvalidSchedule",
            "neither schedule nor startAt is set",
        ));
    };
    if at > now {
        return Ok((None, Some(at)));
    }
    if is_late(schedule, at, now) {
        let message = "startAt passed, and startingDeadline after it, before the Task could be made";
        return Err(Standing::rests("Missed", message));
    }
    Ok((Some(at), None))
}

fn again(
    schedule: &Schedule,
    text: &str,
    since: Option<Timestamp>,
    now: Timestamp,
) -> Result<Found, Standing> {
    let spec = &schedule.spec;
    let moments = Moments::parse(text, spec.time_zone.as_deref())
        .map_err(|error| Standing::rests("InvalidSchedule", &error.to_string()))?;
    let never = || Standing::rests("NeverDue", "the schedule names no moment that comes");
    let created = schedule
        .metadata
        .creation_timestamp
        .as_ref()
        .map_or(now, |time| time.0);
    let last = schedule
        .status
        .as_ref()
        .and_then(|status| status.last_schedule_time);
    let after = [Some(created), last, since]
        .into_iter()
        .flatten()
        .max()
        .unwrap_or(now);
    let first = moments.first(after, spec.start_at).ok_or_else(never)?;
    if first > now {
        return Ok((None, Some(first)));
    }
    // A moment right behind a gap of the clock is found forward only.
    let latest = moments.latest(now).map_or(first, |latest| latest.max(first));
    let next = moments.after(latest.max(now));
    if is_late(schedule, latest, now) {
        return Ok((None, Some(next.ok_or_else(never)?)));
    }
    Ok((Some(latest), next))
}

fn is_late(schedule: &Schedule, moment: Timestamp, now: Timestamp) -> bool {
    let limit = schedule.spec.starting_deadline;
    limit.is_some_and(|limit| now.duration_since(moment).unsigned_abs() > limit.get() && now > moment)
}

/// What to do. `busy`: a Task that the Schedule made has not ended; asked for only where [`Outlook::due`] is there.
pub fn decide(schedule: &Schedule, now: Timestamp, outlook: &Outlook, busy: bool) -> Decision {
    let old = schedule.status.clone().unwrap_or_default();
    if let Some(pending) = old.pending_time {
        return Decision {
            status: old,
            step: Step::Resume(pending),
        };
    }
    let policy = schedule.spec.concurrency_policy.unwrap_or_default();
    let held = busy && policy == ConcurrencyPolicy::Forbid;
    let mut status = ScheduleStatus {
        since: outlook.since,
        created: Some(old.created.unwrap_or(0)),
        ..old
    };
    let mut standing = outlook.standing.clone();
    let step = match outlook.due {
        Some(due) if held => {
            status.next_schedule_time = Some(due);
            Step::Rest(Some(LONGEST_SLEEP))
        }
        Some(due) => {
            let created = status.created.unwrap_or(0).saturating_add(1);
            let over = schedule.spec.limit().is_some_and(|limit| created >= limit);
            status.created = Some(created);
            status.last_schedule_time = Some(due);
            status.pending_time = Some(due);
            status.next_schedule_time = outlook.next.filter(|_| !over);
            if over {
                standing = Standing::complete();
            }
            Step::Start(due)
        }
        None => {
            status.next_schedule_time = outlook.next;
            Step::Rest(outlook.next.map(|next| sleep(next, now)))
        }
    };
    let limit = schedule.spec.limit();
    status.remaining = limit.map(|limit| limit.saturating_sub(status.created.unwrap_or(0)));
    let status = stated(schedule, status, &standing, now);
    Decision { status, step }
}

/// How long to sleep until a moment, with a little more, so that it has come.
fn sleep(until: Timestamp, now: Timestamp) -> Duration {
    let wait = until.duration_since(now).max(SignedDuration::ZERO).unsigned_abs();
    (wait + Duration::from_millis(1)).min(LONGEST_SLEEP)
}

fn stated(
    schedule: &Schedule,
    mut status: ScheduleStatus,
    standing: &Standing,
    now: Timestamp,
) -> ScheduleStatus {
    let moment = moment(schedule, now);
    let message = change::bounded(&standing.message);
    let ready = change::condition(CONDITION_READY, standing.ready, standing.reason, &message, moment);
    change::set_condition(&mut status.conditions, ready);
    status.observed_generation = moment.generation;
    status
}

/// The status once the Task of the pending moment is there.
pub fn made(status: &ScheduleStatus) -> ScheduleStatus {
    ScheduleStatus {
        pending_time: None,
        ..status.clone()
    }
}

/// The status while the Task of the pending moment cannot be created. The sentence of the first refusal stays: one that
/// counts something would else have the status written without end.
pub fn refused(schedule: &Schedule, status: &ScheduleStatus, why: &str, now: Timestamp) -> ScheduleStatus {
    let said = status
        .conditions
        .iter()
        .any(|condition| condition.reason == CREATE_FAILED);
    if said {
        return status.clone();
    }
    let standing = Standing::rests(CREATE_FAILED, why);
    stated(schedule, status.clone(), &standing, now)
}

fn moment(schedule: &Schedule, now: Timestamp) -> Moment {
    let issued_at = schedule
        .metadata
        .creation_timestamp
        .as_ref()
        .map_or(now, |time| time.0);
    Moment {
        now,
        generation: schedule.metadata.generation,
        issued_at,
    }
}
