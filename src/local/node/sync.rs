//! What a pod needs next: pure decisions over the runs of its containers.

use jiff::{SignedDuration, Timestamp};

/// `spec.restartPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    Always,
    OnFailure,
    Never,
}

impl RestartPolicy {
    /// Always when nothing is written, as the API defaults it.
    pub fn of(text: Option<&str>) -> Self {
        match text {
            Some("Never") => Self::Never,
            Some("OnFailure") => Self::OnFailure,
            _ => Self::Always,
        }
    }
}

/// What a container is to its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Runs to its end before the next begins.
    Init,
    /// An init container that keeps running (`restartPolicy: Always`).
    Sidecar,
    Main,
}

/// How a container run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terminated {
    pub exit_code: i32,
    pub signal: Option<i32>,
    pub reason: String,
    pub message: Option<String>,
    pub started_at: Option<Timestamp>,
    pub finished_at: Timestamp,
    pub container_id: Option<String>,
}

/// Where a container is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Not running; may start (again) at `until`, at once when none.
    Waiting {
        reason: String,
        message: Option<String>,
        until: Option<Timestamp>,
    },
    /// A start is under way; shown as waiting with this reason.
    Starting {
        reason: String,
        message: Option<String>,
    },
    Running {
        since: Timestamp,
    },
    Terminated(Terminated),
}

/// One container of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub name: String,
    pub role: Role,
    pub state: State,
    pub restarts: u32,
    pub last: Option<Terminated>,
    pub ready: bool,
    /// Failed starts in a row (image pull, configuration): the back-off counts them.
    pub failures: u32,
    pub container_id: Option<String>,
    pub image_id: String,
}

impl Run {
    /// A container that has not been started.
    pub fn new(name: &str, role: Role, reason: &str) -> Self {
        Self {
            name: name.to_owned(),
            role,
            state: State::Waiting {
                reason: reason.to_owned(),
                message: None,
                until: None,
            },
            restarts: 0,
            last: None,
            ready: false,
            failures: 0,
            container_id: None,
            image_id: String::new(),
        }
    }

    /// Running.
    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }

    fn is_starting(&self) -> bool {
        matches!(self.state, State::Starting { .. })
    }

    fn is_done(&self) -> bool {
        matches!(self.state, State::Terminated(_))
    }

    fn succeeded(&self) -> bool {
        matches!(&self.state, State::Terminated(end) if end.exit_code == 0)
    }

    /// An init container is past when it succeeded, a sidecar when it runs.
    pub fn lets_next_begin(&self) -> bool {
        match self.role {
            Role::Init => self.succeeded(),
            Role::Sidecar => self.is_running(),
            Role::Main => true,
        }
    }
}

/// Why a pod is being stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// `activeDeadlineSeconds` has passed.
    Deadline,
    /// The object has a deletionTimestamp, or is gone.
    Deletion,
    /// The node is shutting down.
    Shutdown,
}

/// A stop under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    pub cause: Cause,
    pub kill_at: Timestamp,
}

/// The wishes that decide whether a pod must stop.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes {
    /// When the active deadline passes.
    pub deadline: Option<Timestamp>,
    /// The grace of a deletion that was asked for.
    pub deletion_grace: Option<SignedDuration>,
    /// The grace of a node that shuts down.
    pub shutdown_grace: Option<SignedDuration>,
    /// The grace of the pod itself, for the deadline.
    pub grace: SignedDuration,
}

/// Begins a stop, or brings its kill forward; a first cause stays, since it explains the end.
pub fn stop(current: Option<Stop>, wishes: &Wishes, now: Timestamp) -> Option<Stop> {
    let after = |grace: SignedDuration| {
        now.checked_add(grace.max(SignedDuration::ZERO))
            .unwrap_or(Timestamp::MAX)
    };
    let deadline = wishes.deadline.filter(|deadline| *deadline <= now);
    let asked = [
        deadline.map(|_| (Cause::Deadline, wishes.grace)),
        wishes.deletion_grace.map(|grace| (Cause::Deletion, grace)),
        wishes.shutdown_grace.map(|grace| (Cause::Shutdown, grace)),
    ];
    asked.into_iter().flatten().fold(current, |stop, (cause, grace)| {
        let kill_at = after(grace);
        Some(match stop {
            // Only a shorter grace than what is left changes anything: time passing must not push the kill away.
            Some(stop) => Stop {
                kill_at: stop.kill_at.min(kill_at),
                ..stop
            },
            None => Stop { cause, kill_at },
        })
    })
}

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Start(usize),
    /// SIGTERM.
    Terminate(usize),
    /// SIGKILL.
    Kill(usize),
}

/// What to do, when to look again, whether the pod is over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    pub actions: Vec<Action>,
    pub wake: Option<Timestamp>,
    pub finished: bool,
}

/// Decides what the pod's containers need now. `runs` has the init containers first. Signals are named
/// every time while they apply; whoever acts sends each once.
pub fn decide(
    policy: RestartPolicy,
    runs: &[Run],
    stop: Option<Stop>,
    wishes: &Wishes,
    now: Timestamp,
) -> Decision {
    if let Some(stop) = stop {
        return wind_down(runs, stop.kill_at, now);
    }
    let mut decision = Decision {
        wake: wishes.deadline,
        ..Decision::default()
    };
    if init_failed(policy, runs) || mains_over(policy, runs) {
        return Decision {
            wake: decision.wake,
            ..end_sidecars(runs)
        };
    }
    for (index, run) in runs.iter().enumerate() {
        if run.role == Role::Main && !runs.iter().all(Run::lets_next_begin) {
            break;
        }
        if let State::Waiting { until, .. } = &run.state {
            match until.filter(|until| *until > now) {
                Some(until) => decision.wake = earlier(decision.wake, until),
                None => decision.actions.push(Action::Start(index)),
            }
        }
        if run.role != Role::Main && !run.lets_next_begin() {
            break;
        }
    }
    decision
}

/// Whether this end is followed by another start.
pub fn restarts(policy: RestartPolicy, role: Role, exit_code: i32) -> bool {
    match (role, policy) {
        (Role::Sidecar, _) => true,
        (Role::Init, RestartPolicy::Always | RestartPolicy::OnFailure)
        | (Role::Main, RestartPolicy::OnFailure) => exit_code != 0,
        (Role::Main, RestartPolicy::Always) => true,
        (_, RestartPolicy::Never) => false,
    }
}

/// A failed init container ends the pod when nothing restarts it.
fn init_failed(policy: RestartPolicy, runs: &[Run]) -> bool {
    policy == RestartPolicy::Never
        && runs
            .iter()
            .any(|run| run.role == Role::Init && run.is_done() && !run.succeeded())
}

fn mains_over(policy: RestartPolicy, runs: &[Run]) -> bool {
    let mut mains = runs.iter().filter(|run| run.role == Role::Main);
    mains.all(
        |run| matches!(&run.state, State::Terminated(end) if !restarts(policy, Role::Main, end.exit_code)),
    )
}

fn end_sidecars(runs: &[Run]) -> Decision {
    let busy = |run: &Run| run.is_running() || run.is_starting();
    let running = runs.iter().enumerate().filter(|(_, run)| run.is_running());
    Decision {
        actions: running.map(|(index, _)| Action::Terminate(index)).collect(),
        wake: None,
        finished: !runs.iter().any(busy),
    }
}

fn wind_down(runs: &[Run], kill_at: Timestamp, now: Timestamp) -> Decision {
    let mains_run = runs
        .iter()
        .any(|run| run.role != Role::Sidecar && run.is_running());
    let mut actions = Vec::new();
    for (index, run) in runs.iter().enumerate().filter(|(_, run)| run.is_running()) {
        if kill_at <= now {
            actions.push(Action::Kill(index));
        } else if run.role != Role::Sidecar || !mains_run {
            actions.push(Action::Terminate(index));
        }
    }
    let busy = runs.iter().any(|run| run.is_running() || run.is_starting());
    Decision {
        actions,
        wake: (busy && kill_at > now).then_some(kill_at),
        finished: !busy,
    }
}

fn earlier(one: Option<Timestamp>, other: Timestamp) -> Option<Timestamp> {
    Some(one.map_or(other, |one| one.min(other)))
}

/// The pause before the next try after `failures` tries: none, then `base`, doubling up to 5 minutes.
pub fn back_off(failures: u32, base: SignedDuration) -> SignedDuration {
    const LONGEST: SignedDuration = SignedDuration::from_mins(5);
    match failures.checked_sub(1) {
        None => SignedDuration::ZERO,
        Some(doublings) => 1i32
            .checked_shl(doublings)
            .filter(|_| doublings < 30)
            .and_then(|factor| base.checked_mul(factor))
            .unwrap_or(LONGEST)
            .min(LONGEST),
    }
}

#[cfg(test)]
#[path = "sync_tests.rs"]
mod tests;
