//! What follows from a node's silence: pure decisions.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod, PodCondition, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::local::scheduler::place::{TAINT_NOT_READY, tolerates_taint};

/// Taint of a node whose Ready condition is Unknown.
pub const TAINT_UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// What the Ready condition of a node should be taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Ready,
    NotReady,
    Unreachable,
}

/// A node that has been silent for longer than `grace` is unreachable, whatever it said last.
pub fn health(node: &Node, silent: SignedDuration, grace: SignedDuration) -> Health {
    if silent > grace {
        return Health::Unreachable;
    }
    match ready_status(node) {
        Some("True") => Health::Ready,
        Some("Unknown") => Health::Unreachable,
        _ => Health::NotReady,
    }
}

/// The status of the Ready condition.
pub fn ready_status(node: &Node) -> Option<&str> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    conditions
        .iter()
        .find(|condition| condition.type_ == "Ready")
        .map(|condition| condition.status.as_str())
}

/// The taints which the node should have; None if it has them. Taints of others stay.
pub fn taints(node: &Node, health: Health, now: Timestamp) -> Option<Vec<Taint>> {
    let has = node
        .spec
        .as_ref()
        .and_then(|spec| spec.taints.clone())
        .unwrap_or_default();
    let key = match health {
        Health::Ready => None,
        Health::NotReady => Some(TAINT_NOT_READY),
        Health::Unreachable => Some(TAINT_UNREACHABLE),
    };
    let ours = |taint: &Taint| [TAINT_NOT_READY, TAINT_UNREACHABLE].contains(&taint.key.as_str());
    let mut wanted: Vec<Taint> = has
        .iter()
        .filter(|taint| !ours(taint) || Some(taint.key.as_str()) == key)
        .cloned()
        .collect();
    for effect in ["NoSchedule", "NoExecute"] {
        let there = wanted
            .iter()
            .any(|taint| Some(taint.key.as_str()) == key && taint.effect == effect);
        if let Some(key) = key.filter(|_| !there) {
            wanted.push(Taint {
                key: key.to_owned(),
                effect: effect.to_owned(),
                time_added: (effect == "NoExecute").then_some(Time(now)),
                ..Taint::default()
            });
        }
    }
    (wanted != has).then_some(wanted)
}

/// When a pod has to leave its node because of the node's NoExecute taints; None if it may stay for good.
/// `default` stands in where a pod tolerates not-ready and unreachable in no way: a real API server gives every
/// pod such a toleration (admission plug-in DefaultTolerationSeconds).
pub fn leaves_at(pod: &Pod, taints: &[Taint], default: SignedDuration, now: Timestamp) -> Option<Timestamp> {
    let tolerations = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.tolerations.as_deref())
        .unwrap_or_default();
    let leaves = taints
        .iter()
        .filter(|taint| taint.effect == "NoExecute")
        .filter_map(|taint| {
            let matching: Vec<_> = tolerations
                .iter()
                .filter(|one| tolerates_taint(one, taint))
                .collect();
            let since = taint.time_added.as_ref().map_or(now, |time| time.0);
            let ours = [TAINT_NOT_READY, TAINT_UNREACHABLE].contains(&taint.key.as_str());
            let stays = match matching.iter().filter_map(|one| one.toleration_seconds).min() {
                Some(seconds) => SignedDuration::from_secs(seconds.max(0)),
                None if !matching.is_empty() => return None,
                None if ours => default,
                None => SignedDuration::ZERO,
            };
            Some(since.checked_add(stays).unwrap_or(Timestamp::MAX))
        });
    leaves.min()
}

/// Conditions with `type_` set to a status; None if that is how it is.
pub fn with_condition(
    pod: &Pod,
    type_: &str,
    status: &str,
    reason: Option<&str>,
    message: Option<&str>,
    now: Timestamp,
) -> Option<Vec<PodCondition>> {
    let mut conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.clone())
        .unwrap_or_default();
    if conditions
        .iter()
        .any(|condition| condition.type_ == type_ && condition.status == status)
    {
        return None;
    }
    conditions.retain(|condition| condition.type_ != type_);
    conditions.push(PodCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.map(str::to_owned),
        message: message.map(str::to_owned),
        last_transition_time: Some(Time(now)),
        ..PodCondition::default()
    });
    Some(conditions)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn seconds(n: i64) -> SignedDuration {
        SignedDuration::from_secs(n)
    }

    fn node(ready: &str, taints: Value) -> Node {
        serde_json::from_value(json!({
            "metadata": { "name": "n" },
            "spec": { "taints": taints },
            "status": { "conditions": [{ "type": "Ready", "status": ready }] },
        }))
        .unwrap()
    }

    #[test]
    fn silence_makes_a_node_unreachable() {
        for (ready, silent, expected) in [
            ("True", 40, Health::Ready),
            ("True", 41, Health::Unreachable),
            ("False", 1, Health::NotReady),
            ("Unknown", 1, Health::Unreachable),
        ] {
            assert_eq!(
                health(&node(ready, json!([])), seconds(silent), seconds(40)),
                expected,
                "{ready} {silent}"
            );
        }
        assert_eq!(
            health(&Node::default(), seconds(1), seconds(40)),
            Health::NotReady
        );
    }

    #[test]
    fn taints_follow_health_and_leave_others_alone() {
        let foreign = json!({ "key": "gpu", "effect": "NoSchedule" });
        let fresh = node("True", json!([foreign]));
        let keys = |taints: Option<Vec<Taint>>| {
            taints.map(|taints| {
                taints
                    .into_iter()
                    .map(|taint| format!("{}:{}", taint.key, taint.effect))
                    .collect::<Vec<_>>()
            })
        };
        assert_eq!(taints(&fresh, Health::Ready, at(5)), None);
        let lost = taints(&fresh, Health::Unreachable, at(5));
        assert_eq!(
            keys(lost.clone()).unwrap(),
            [
                "gpu:NoSchedule",
                "node.kubernetes.io/unreachable:NoSchedule",
                "node.kubernetes.io/unreachable:NoExecute"
            ]
        );
        let tainted = node("Unknown", serde_json::to_value(lost).unwrap());
        assert_eq!(taints(&tainted, Health::Unreachable, at(9)), None);
        assert_eq!(
            keys(taints(&tainted, Health::Ready, at(9))).unwrap(),
            ["gpu:NoSchedule"]
        );
    }

    #[test]
    fn pods_leave_when_their_toleration_ends() {
        let taint: Vec<Taint> = serde_json::from_value(json!([
            { "key": TAINT_UNREACHABLE, "effect": "NoSchedule" },
            { "key": TAINT_UNREACHABLE, "effect": "NoExecute", "timeAdded": "1970-01-01T00:01:40Z" },
        ]))
        .unwrap();
        for (tolerations, expected) in [
            (json!([]), Some(at(400))),
            (
                json!([{ "key": TAINT_UNREACHABLE, "operator": "Exists", "tolerationSeconds": 5 }]),
                Some(at(105)),
            ),
            (
                json!([{ "key": TAINT_UNREACHABLE, "operator": "Exists", "tolerationSeconds": -5 }]),
                Some(at(100)),
            ),
            (json!([{ "operator": "Exists" }]), None),
            (json!([{ "key": "other", "operator": "Exists" }]), Some(at(400))),
        ] {
            let pod =
                serde_json::from_value(json!({ "spec": { "containers": [], "tolerations": tolerations } }))
                    .unwrap();
            assert_eq!(
                leaves_at(&pod, &taint, seconds(300), at(0)),
                expected,
                "{tolerations}"
            );
        }
        assert_eq!(leaves_at(&Pod::default(), &[], seconds(300), at(0)), None);
    }
}
