//! The status of a pod as a kubelet writes it: a pure function of the runs of its containers.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    HostIP, Pod, PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::net::IpAddr;

use super::env::containers_in_order;
use super::sync::{RestartPolicy, Role, Run, State, Terminated};

/// Why a container that the node cannot account for counts as ended.
pub const UNKNOWN_REASON: &str = "ContainerStatusUnknown";
/// The exit code that goes with it.
pub const UNKNOWN_CODE: i32 = 137;

/// Why a whole pod ended, beyond what its containers say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub reason: String,
    pub message: String,
}

/// All that the status is made of.
#[derive(Clone, Debug)]
pub struct View<'a> {
    pub pod: &'a Pod,
    pub runs: &'a [Run],
    pub policy: RestartPolicy,
    pub started: Timestamp,
    pub host_ip: IpAddr,
    pub pod_ip: Option<IpAddr>,
    /// The pod will not run (again); containers that never ran count as unknown.
    pub over: bool,
    /// Fails the pod whatever its containers say.
    pub verdict: Option<&'a Verdict>,
    pub now: Timestamp,
}

/// The status. Conditions of others are kept, times of unchanged conditions too.
pub fn pod_status(view: &View<'_>) -> PodStatus {
    let phase = phase(view);
    let old = view.pod.status.clone().unwrap_or_default();
    let (init, main): (Vec<_>, Vec<_>) = view.runs.iter().partition(|run| run.role != Role::Main);
    let statuses = |runs: Vec<&Run>| -> Option<Vec<ContainerStatus>> {
        (!runs.is_empty()).then(|| runs.into_iter().map(|run| container_status(view, run)).collect())
    };
    let ips = view.pod_ip.map(|ip| vec![PodIP { ip: ip.to_string() }]);
    PodStatus {
        conditions: Some(conditions(view, phase, old.conditions.unwrap_or_default())),
        phase: Some(phase.to_owned()),
        reason: view.verdict.map(|verdict| verdict.reason.clone()),
        message: view.verdict.map(|verdict| verdict.message.clone()),
        host_ip: Some(view.host_ip.to_string()),
        host_ips: Some(vec![HostIP {
            ip: view.host_ip.to_string(),
        }]),
        pod_ip: view.pod_ip.map(|ip| ip.to_string()),
        pod_ips: ips,
        start_time: Some(old.start_time.unwrap_or(Time(view.started))),
        init_container_statuses: statuses(init),
        container_statuses: statuses(main),
        qos_class: old.qos_class.or_else(|| Some(qos_class(view.pod).to_owned())),
        observed_generation: view.pod.metadata.generation,
        ..PodStatus::default()
    }
}

/// kubelet `getPhase`.
fn phase(view: &View<'_>) -> &'static str {
    if view.verdict.is_some() && view.over {
        return "Failed";
    }
    let init_pending = view
        .runs
        .iter()
        .any(|run| run.role != Role::Main && !run.lets_next_begin());
    let init_failed = view
        .runs
        .iter()
        .any(|run| run.role == Role::Init && code(&run.state).is_some_and(|code| code != 0));
    if view.over {
        let mains = view.runs.iter().filter(|run| run.role == Role::Main);
        let good = mains.into_iter().all(|run| code(&run.state) == Some(0));
        return if good && !init_failed {
            "Succeeded"
        } else {
            "Failed"
        };
    }
    if init_failed && view.policy == RestartPolicy::Never {
        return "Failed";
    }
    if init_pending
        && !view
            .runs
            .iter()
            .any(|run| run.role == Role::Main && run.restarts > 0)
    {
        return "Pending";
    }
    let mains = || view.runs.iter().filter(|run| run.role == Role::Main);
    let never_ran =
        |run: &Run| matches!(run.state, State::Waiting { .. } | State::Starting { .. }) && run.last.is_none();
    if mains().any(never_ran) {
        "Pending"
    } else {
        "Running"
    }
}

fn code(state: &State) -> Option<i32> {
    match state {
        State::Terminated(end) => Some(end.exit_code),
        _ => None,
    }
}

fn container_status(view: &View<'_>, run: &Run) -> ContainerStatus {
    let spec = view.pod.spec.as_ref();
    let container = spec
        .into_iter()
        .flat_map(containers_in_order)
        .map(|(_, container)| container)
        .find(|container| container.name == run.name);
    let state = match &run.state {
        State::Running { since } => ContainerState {
            running: Some(ContainerStateRunning {
                started_at: Some(Time(*since)),
            }),
            ..Default::default()
        },
        State::Terminated(end) => ContainerState {
            terminated: Some(terminated(end)),
            ..Default::default()
        },
        State::Waiting { .. } | State::Starting { .. } if view.over => ContainerState {
            terminated: Some(unknown(run)),
            ..Default::default()
        },
        State::Waiting { reason, message, .. } | State::Starting { reason, message } => ContainerState {
            waiting: Some(ContainerStateWaiting {
                reason: Some(reason.clone()),
                message: message.clone(),
            }),
            ..Default::default()
        },
    };
    let past_init = run.role == Role::Init && code(&run.state) == Some(0);
    let last_state = run.last.as_ref().map(|end| ContainerState {
        terminated: Some(terminated(end)),
        ..Default::default()
    });
    ContainerStatus {
        name: run.name.clone(),
        image: container
            .and_then(|container| container.image.clone())
            .unwrap_or_default(),
        image_id: run.image_id.clone(),
        container_id: run.container_id.clone(),
        ready: past_init || (run.is_running() && run.ready),
        started: Some(run.is_running()),
        restart_count: i32::try_from(run.restarts).unwrap_or(i32::MAX),
        state: Some(state),
        last_state,
        ..ContainerStatus::default()
    }
}

fn terminated(end: &Terminated) -> ContainerStateTerminated {
    ContainerStateTerminated {
        exit_code: end.exit_code,
        signal: end.signal,
        reason: Some(end.reason.clone()),
        message: end.message.clone(),
        started_at: end.started_at.map(Time),
        finished_at: Some(Time(end.finished_at)),
        container_id: end.container_id.clone(),
    }
}

/// A container that was to run and did not, of a pod that is over. The reason why it waited is kept as
/// the message, since it explains the end.
fn unknown(run: &Run) -> ContainerStateTerminated {
    let waited = match &run.state {
        State::Waiting { reason, message, .. } | State::Starting { reason, message } => {
            let message = message
                .as_ref()
                .map(|message| format!(": {message}"))
                .unwrap_or_default();
            format!(" (it was waiting: {reason}{message})")
        }
        _ => String::new(),
    };
    ContainerStateTerminated {
        exit_code: UNKNOWN_CODE,
        reason: Some(UNKNOWN_REASON.to_owned()),
        message: Some(format!(
            "The container had not been started when the pod was terminated{waited}"
        )),
        ..ContainerStateTerminated::default()
    }
}

struct Ours {
    type_: &'static str,
    fails: Option<(&'static str, Option<String>)>,
    good_reason: Option<&'static str>,
}

fn conditions(view: &View<'_>, phase: &str, old: Vec<PodCondition>) -> Vec<PodCondition> {
    let not_past: Vec<&str> = names(view.runs, |run| run.role != Role::Main && !run.lets_next_begin());
    let not_ready: Vec<&str> = names(view.runs, |run| {
        run.role != Role::Init && !(run.is_running() && run.ready)
    });
    let init_fails = (!not_past.is_empty() && phase != "Succeeded").then(|| {
        (
            "ContainersNotInitialized",
            Some(format!(
                "containers with incomplete status: [{}]",
                not_past.join(" ")
            )),
        )
    });
    let ready_fails = match phase {
        "Succeeded" => Some(("PodCompleted", None)),
        "Failed" => Some(("PodFailed", None)),
        _ if not_ready.is_empty() => None,
        _ => Some((
            "ContainersNotReady",
            Some(format!(
                "containers with unready status: [{}]",
                not_ready.join(" ")
            )),
        )),
    };
    let done = matches!(phase, "Succeeded" | "Failed");
    let ours = [
        Ours {
            type_: "PodReadyToStartContainers",
            fails: (done || view.pod_ip.is_none()).then_some(("", None)),
            good_reason: None,
        },
        Ours {
            type_: "Initialized",
            fails: init_fails,
            good_reason: (phase == "Succeeded").then_some("PodCompleted"),
        },
        Ours {
            type_: "Ready",
            fails: ready_fails.clone(),
            good_reason: None,
        },
        Ours {
            type_: "ContainersReady",
            fails: ready_fails,
            good_reason: None,
        },
        Ours {
            type_: "PodScheduled",
            fails: None,
            good_reason: None,
        },
    ];
    let mut out: Vec<PodCondition> = ours.into_iter().map(|ours| condition(ours, &old, view)).collect();
    let foreign = |condition: &PodCondition| out.iter().all(|ours| ours.type_ != condition.type_);
    let kept: Vec<PodCondition> = old
        .iter()
        .filter(|condition| foreign(condition))
        .cloned()
        .collect();
    out.extend(kept);
    out
}

fn names(runs: &[Run], which: impl Fn(&Run) -> bool) -> Vec<&str> {
    runs.iter()
        .filter(|run| which(run))
        .map(|run| run.name.as_str())
        .collect()
}

fn condition(ours: Ours, old: &[PodCondition], view: &View<'_>) -> PodCondition {
    let status = if ours.fails.is_some() { "False" } else { "True" };
    let earlier = old
        .iter()
        .find(|condition| condition.type_ == ours.type_ && condition.status == status);
    let (reason, message) = match ours.fails {
        Some((reason, message)) => (
            Some(reason.to_owned()).filter(|reason| !reason.is_empty()),
            message,
        ),
        None => (ours.good_reason.map(str::to_owned), None),
    };
    PodCondition {
        type_: ours.type_.to_owned(),
        status: status.to_owned(),
        reason,
        message,
        last_transition_time: earlier
            .and_then(|condition| condition.last_transition_time.clone())
            .or(Some(Time(view.now))),
        observed_generation: view.pod.metadata.generation,
        ..PodCondition::default()
    }
}

/// Guaranteed, Burstable or BestEffort, by requests and limits for cpu and memory.
fn qos_class(pod: &Pod) -> &'static str {
    let mut any = false;
    let mut guaranteed = true;
    for (_, container) in pod.spec.as_ref().into_iter().flat_map(containers_in_order) {
        let requirements = container.resources.clone().unwrap_or_default();
        let limits = requirements.limits.unwrap_or_default();
        let requests = requirements.requests.unwrap_or_default();
        for name in ["cpu", "memory"] {
            any |= limits.contains_key(name) || requests.contains_key(name);
            let same = limits
                .get(name)
                .is_some_and(|limit| requests.get(name).is_none_or(|request| request == limit));
            guaranteed &= same;
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use serde_json::json;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": { "name": "p", "generation": 1 },
            "spec": {
                "initContainers": [{ "name": "init", "image": "i" }],
                "containers": [{ "name": "task", "image": "t", "resources": { "limits": { "cpu": "1", "memory": "1Gi" } } }],
            },
            "status": { "conditions": [
                { "type": "PodScheduled", "status": "True", "lastTransitionTime": "1970-01-01T00:00:01Z" },
                { "type": "example.com/Gate", "status": "True" },
            ] },
        }))
        .unwrap()
    }

    fn ended(exit_code: i32) -> State {
        State::Terminated(Terminated {
            exit_code,
            signal: None,
            reason: if exit_code == 0 { "Completed" } else { "Error" }.to_owned(),
            message: Some("said".to_owned()),
            started_at: Some(at(2)),
            finished_at: at(3),
            container_id: Some("process://1".to_owned()),
        })
    }

    fn status(init: State, main: State, over: bool, verdict: Option<&Verdict>) -> PodStatus {
        let runs = [
            Run {
                state: init,
                ..Run::new("init", Role::Init, "PodInitializing")
            },
            Run {
                state: main,
                ready: true,
                ..Run::new("task", Role::Main, "PodInitializing")
            },
        ];
        pod_status(&View {
            pod: &pod(),
            runs: &runs,
            policy: RestartPolicy::Never,
            started: at(1),
            host_ip: Ipv4Addr::LOCALHOST.into(),
            pod_ip: Some(Ipv4Addr::new(127, 1, 1, 1).into()),
            over,
            verdict,
            now: at(9),
        })
    }

    fn waiting() -> State {
        State::Waiting {
            reason: "PodInitializing".to_owned(),
            message: None,
            until: None,
        }
    }

    #[test]
    fn phases_follow_the_containers() {
        let verdict = Verdict {
            reason: "DeadlineExceeded".to_owned(),
            message: "too long".to_owned(),
        };
        for (init, main, over, verdict, phase) in [
            (waiting(), waiting(), false, None, "Pending"),
            (State::Running { since: at(1) }, waiting(), false, None, "Pending"),
            (ended(0), waiting(), false, None, "Pending"),
            (ended(0), State::Running { since: at(1) }, false, None, "Running"),
            (ended(0), ended(0), true, None, "Succeeded"),
            (ended(0), ended(3), true, None, "Failed"),
            (ended(1), waiting(), true, None, "Failed"),
            (ended(0), waiting(), true, None, "Failed"),
            (ended(0), ended(0), true, Some(&verdict), "Failed"),
            (
                ended(0),
                State::Running { since: at(1) },
                false,
                Some(&verdict),
                "Running",
            ),
        ] {
            let status = status(init.clone(), main.clone(), over, verdict);
            assert_eq!(status.phase.as_deref(), Some(phase), "{init:?} {main:?}");
        }
    }

    #[test]
    fn a_running_pod_is_ready_and_keeps_the_conditions_of_others() {
        let status = status(ended(0), State::Running { since: at(2) }, false, None);
        let seen: Vec<(String, String)> = status
            .conditions
            .iter()
            .flatten()
            .map(|one| (one.type_.clone(), one.status.clone()))
            .collect();
        let expected = [
            "PodReadyToStartContainers",
            "Initialized",
            "Ready",
            "ContainersReady",
            "PodScheduled",
            "example.com/Gate",
        ];
        assert_eq!(seen, expected.map(|name| (name.to_owned(), "True".to_owned())));
        let scheduled = status
            .conditions
            .unwrap()
            .into_iter()
            .find(|one| one.type_ == "PodScheduled")
            .unwrap();
        assert_eq!(scheduled.last_transition_time, Some(Time(at(1))));
        assert_eq!(status.qos_class.as_deref(), Some("Burstable"));
    }

    #[test]
    fn the_end_of_a_container_is_told_in_full() {
        let status = status(ended(0), ended(3), true, None);
        let main = serde_json::to_value(&status.container_statuses.unwrap()[0]).unwrap();
        assert_eq!(
            main,
            json!({
                "name": "task", "image": "t", "imageID": "", "ready": false, "started": false, "restartCount": 0,
                "state": { "terminated": {
                    "exitCode": 3, "reason": "Error", "message": "said", "containerID": "process://1",
                    "startedAt": "1970-01-01T00:00:02Z", "finishedAt": "1970-01-01T00:00:03Z" } },
            })
        );
        assert!(status.init_container_statuses.unwrap()[0].ready);
    }

    #[test]
    fn a_container_that_never_ran_is_said_to_be_unknown() {
        let status = status(ended(0), waiting(), true, None);
        let state = status.container_statuses.unwrap()[0]
            .state
            .clone()
            .unwrap()
            .terminated
            .unwrap();
        assert_eq!(
            (state.exit_code, state.reason.as_deref()),
            (137, Some("ContainerStatusUnknown"))
        );
    }
}
