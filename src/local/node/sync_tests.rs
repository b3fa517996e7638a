use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn run(role: Role, state: State) -> Run {
    Run {
        state,
        ..Run::new("c", role, "ContainerCreating")
    }
}

fn waiting() -> State {
    State::Waiting {
        reason: "ContainerCreating".to_owned(),
        message: None,
        until: None,
    }
}

fn resting(until: i64) -> State {
    State::Waiting {
        reason: "CrashLoopBackOff".to_owned(),
        message: None,
        until: Some(at(until)),
    }
}

fn starting() -> State {
    State::Starting {
        reason: "ContainerCreating".to_owned(),
        message: None,
    }
}

fn running() -> State {
    State::Running { since: at(0) }
}

fn ended(exit_code: i32) -> State {
    State::Terminated(Terminated {
        exit_code,
        signal: None,
        reason: String::new(),
        message: None,
        started_at: None,
        finished_at: at(0),
        container_id: None,
    })
}

fn go(actions: &[Action]) -> Decision {
    Decision {
        actions: actions.to_vec(),
        wake: None,
        finished: false,
    }
}

fn over() -> Decision {
    Decision {
        finished: true,
        ..Decision::default()
    }
}

#[test]
fn containers_start_in_their_order_and_end_by_policy() {
    use Action::{Start, Terminate};
    use RestartPolicy::{Always, Never, OnFailure};
    use Role::{Init, Main, Sidecar};
    for (case, policy, runs, expected) in [
        (
            "all mains at once",
            Never,
            vec![(Main, waiting()), (Main, waiting())],
            go(&[Start(0), Start(1)]),
        ),
        ("a start is under way", Never, vec![(Main, starting())], go(&[])),
        ("running", Never, vec![(Main, running())], go(&[])),
        ("over", Never, vec![(Main, ended(1)), (Main, ended(0))], over()),
        (
            "one still runs",
            Never,
            vec![(Main, ended(1)), (Main, running())],
            go(&[]),
        ),
        (
            "first init",
            Never,
            vec![(Init, waiting()), (Init, waiting()), (Main, waiting())],
            go(&[Start(0)]),
        ),
        (
            "second init",
            Never,
            vec![(Init, ended(0)), (Init, waiting()), (Main, waiting())],
            go(&[Start(1)]),
        ),
        (
            "mains after inits",
            Never,
            vec![(Init, ended(0)), (Main, waiting())],
            go(&[Start(1)]),
        ),
        (
            "failed init ends the pod",
            Never,
            vec![(Init, ended(1)), (Main, waiting())],
            over(),
        ),
        (
            "failed init is tried again",
            OnFailure,
            vec![(Init, resting(0)), (Main, waiting())],
            go(&[Start(0)]),
        ),
        (
            "sidecar first",
            Never,
            vec![(Sidecar, waiting()), (Main, waiting())],
            go(&[Start(0)]),
        ),
        (
            "main beside a sidecar",
            Never,
            vec![(Sidecar, running()), (Main, waiting())],
            go(&[Start(1)]),
        ),
        (
            "sidecars end last",
            Never,
            vec![(Sidecar, running()), (Main, ended(0))],
            go(&[Terminate(0)]),
        ),
        (
            "and then it is over",
            Never,
            vec![(Sidecar, ended(143)), (Main, ended(0))],
            over(),
        ),
        (
            "success under OnFailure",
            OnFailure,
            vec![(Main, ended(0))],
            over(),
        ),
        ("Always never ends", Always, vec![(Main, ended(0))], go(&[])),
    ] {
        let runs: Vec<Run> = runs.into_iter().map(|(role, state)| run(role, state)).collect();
        assert_eq!(
            decide(policy, &runs, None, &Wishes::default(), at(10)),
            expected,
            "{case}"
        );
    }
}

#[test]
fn resting_containers_and_deadlines_say_when_to_look_again() {
    let runs = [run(Role::Main, resting(20))];
    let wishes = Wishes {
        deadline: Some(at(30)),
        ..Wishes::default()
    };
    let decision = decide(RestartPolicy::Always, &runs, None, &wishes, at(10));
    assert_eq!(
        decision,
        Decision {
            wake: Some(at(20)),
            ..Decision::default()
        }
    );
    let decision = decide(
        RestartPolicy::Always,
        &[run(Role::Main, running())],
        None,
        &wishes,
        at(10),
    );
    assert_eq!(
        decision,
        Decision {
            wake: Some(at(30)),
            ..Decision::default()
        }
    );
}

#[test]
fn a_stop_terminates_then_kills_and_starts_nothing() {
    use Role::{Init, Main, Sidecar};
    let stop = Some(Stop {
        cause: Cause::Deadline,
        kill_at: at(20),
    });
    let runs = [
        run(Sidecar, running()),
        run(Main, running()),
        run(Main, waiting()),
        run(Init, ended(0)),
    ];
    let wishes = Wishes::default();
    let decision = decide(RestartPolicy::Never, &runs, stop, &wishes, at(10));
    assert_eq!(
        decision,
        Decision {
            actions: vec![Action::Terminate(1)],
            wake: Some(at(20)),
            finished: false
        }
    );
    let decision = decide(RestartPolicy::Never, &runs, stop, &wishes, at(20));
    assert_eq!(decision, go(&[Action::Kill(0), Action::Kill(1)]));
    let decision = decide(
        RestartPolicy::Always,
        &[run(Main, waiting()), run(Main, ended(1))],
        stop,
        &wishes,
        at(10),
    );
    assert_eq!(decision, over());
    // A start that cannot be called back is waited for.
    let decision = decide(
        RestartPolicy::Never,
        &[run(Main, starting())],
        stop,
        &wishes,
        at(10),
    );
    assert_eq!(
        decision,
        Decision {
            wake: Some(at(20)),
            ..Decision::default()
        }
    );
}

#[test]
fn the_first_cause_stays_and_only_a_shorter_grace_moves_the_kill() {
    let seconds = SignedDuration::from_secs;
    let wishes = Wishes {
        deadline: Some(at(5)),
        grace: seconds(30),
        ..Wishes::default()
    };
    assert_eq!(stop(None, &wishes, at(4)), None);
    let first = Some(Stop {
        cause: Cause::Deadline,
        kill_at: at(35),
    });
    assert_eq!(stop(None, &wishes, at(5)), first);
    assert_eq!(stop(first, &wishes, at(20)), first);
    let deleted = Wishes {
        deletion_grace: Some(seconds(2)),
        ..wishes
    };
    assert_eq!(
        stop(first, &deleted, at(20)),
        Some(Stop {
            cause: Cause::Deadline,
            kill_at: at(22)
        })
    );
    let only_deleted = Wishes {
        deletion_grace: Some(seconds(-1)),
        ..Wishes::default()
    };
    assert_eq!(
        stop(None, &only_deleted, at(7)),
        Some(Stop {
            cause: Cause::Deletion,
            kill_at: at(7)
        })
    );
}

#[test]
fn pauses_double_up_to_five_minutes() {
    let base = SignedDuration::from_secs(10);
    let pauses: Vec<i64> = [0, 1, 2, 3, 5, 6, 40, u32::MAX]
        .map(|n| back_off(n, base).as_secs())
        .to_vec();
    assert_eq!(pauses, [0, 10, 20, 40, 160, 300, 300, 300]);
}
