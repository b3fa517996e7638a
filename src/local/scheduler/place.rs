//! Where a pod goes: a pure decision over what is known of the nodes.
//!
//! The filters, their order and their sentences are those of kube-scheduler's default plugins
//! (NodeUnschedulable, TaintToleration, NodeAffinity, NodeResourcesFit): users search for these texts.
//! Left out: inter-pod affinity, topology spread, preferred affinity, host ports, preemption.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::{
    Node, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, Taint, Toleration,
};

use super::resources::{Resources, pod_requests};

/// Taint of a node whose Ready condition is not True.
pub const TAINT_NOT_READY: &str = "node.kubernetes.io/not-ready";

/// One node with what its pods occupy.
#[derive(Clone, Debug, Default)]
pub struct NodeInfo {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub taints: Vec<Taint>,
    pub ready: bool,
    pub unschedulable: bool,
    pub allocatable: Resources,
    /// Pod uid -> what it requests. Holds every pod bound to this node that has not ended.
    pub pods: HashMap<String, Resources>,
    used: Resources,
}

impl NodeInfo {
    /// The node without any pods.
    pub fn of(node: &Node) -> Self {
        let status = node.status.clone().unwrap_or_default();
        let spec = node.spec.clone().unwrap_or_default();
        let ready = status
            .conditions
            .iter()
            .flatten()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True");
        Self {
            name: node.metadata.name.clone().unwrap_or_default(),
            labels: node.metadata.labels.clone().unwrap_or_default(),
            taints: spec.taints.unwrap_or_default(),
            ready,
            unschedulable: spec.unschedulable.unwrap_or(false),
            allocatable: Resources::of(&status.allocatable.or(status.capacity).unwrap_or_default()),
            pods: HashMap::new(),
            used: Resources::default(),
        }
    }

    /// Counts a pod as placed here. Again with the same uid changes nothing.
    pub fn add_pod(&mut self, uid: &str, requests: Resources) {
        if !self.pods.contains_key(uid) {
            self.used.add(&requests);
            self.pods.insert(uid.to_owned(), requests);
        }
    }

    /// Gives back what a pod occupied; true if it was counted here.
    pub fn remove_pod(&mut self, uid: &str) -> bool {
        let Some(requests) = self.pods.remove(uid) else {
            return false;
        };
        self.used.subtract(&requests);
        true
    }

    /// Takes over the pods of an earlier picture of the same node.
    pub fn keep_pods_of(&mut self, earlier: Self) {
        self.pods = earlier.pods;
        self.used = earlier.used;
    }

    /// Whether a change from `earlier` could let a waiting pod in (or keep it out).
    pub fn differs_from(&self, earlier: &Self) -> bool {
        self.labels != earlier.labels
            || self.taints != earlier.taints
            || self.ready != earlier.ready
            || self.unschedulable != earlier.unschedulable
            || self.allocatable != earlier.allocatable
    }

    /// Free share of cpu and memory, the mean of both, in thousandths (kube-scheduler's LeastAllocated).
    fn free_share(&self) -> i64 {
        let share = |resource: &str| {
            let all = i128::from(self.allocatable.get(resource));
            let free = all - i128::from(self.used.get(resource));
            if all <= 0 { 0 } else { (free * 1000 / all) as i64 }
        };
        (share("cpu") + share("memory")) / 2
    }
}

/// The outcome for one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Bind it to this node.
    Node(String),
    /// No node takes it now; the sentence for its PodScheduled condition.
    Nowhere(String),
}

/// Chooses the node for `pod`: of those that pass every filter the emptiest, by name among equals.
pub fn place<'a>(pod: &Pod, nodes: impl IntoIterator<Item = &'a NodeInfo>) -> Placement {
    let default = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&default);
    let requests = pod_requests(pod);
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut best: Option<(i64, i64, &NodeInfo)> = None;
    let mut total = 0;
    for node in nodes {
        total += 1;
        let refusals = refusals(spec, &requests, node);
        if refusals.is_empty() {
            let score = (-soft_taints(spec, node), node.free_share());
            let better = best.as_ref().is_none_or(|(soft, free, at)| {
                score > (*soft, *free) || (score == (*soft, *free) && node.name < at.name)
            });
            if better {
                best = Some((score.0, score.1, node));
            }
        }
        for refusal in refusals {
            *reasons.entry(refusal).or_default() += 1;
        }
    }
    match best {
        Some((_, _, node)) => Placement::Node(node.name.clone()),
        None if total == 0 => Placement::Nowhere("no nodes available to schedule pods".to_owned()),
        None => Placement::Nowhere(sentence(total, &reasons)),
    }
}

/// `0/2 nodes are available: 1 Insufficient cpu, 1 node(s) were unschedulable.`
fn sentence(total: usize, reasons: &BTreeMap<String, usize>) -> String {
    let mut parts: Vec<String> = reasons
        .iter()
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    parts.sort();
    format!("0/{total} nodes are available: {}.", parts.join(", "))
}

/// Why `node` does not take the pod: the sentences of the first filter that refuses.
fn refusals(spec: &PodSpec, requests: &Resources, node: &NodeInfo) -> Vec<String> {
    if node.unschedulable && !tolerates(spec, &unschedulable_taint()) {
        return vec!["node(s) were unschedulable".to_owned()];
    }
    if let Some(taint) = hard_taint(spec, node) {
        let value = taint.value.as_deref().unwrap_or_default();
        return vec![format!(
            "node(s) had untolerated taint {{{}: {value}}}",
            taint.key
        )];
    }
    if !matches_affinity(spec, node) {
        return vec!["node(s) didn't match Pod's node affinity/selector".to_owned()];
    }
    lacks(requests, node)
}

fn unschedulable_taint() -> Taint {
    Taint {
        key: "node.kubernetes.io/unschedulable".to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Taint::default()
    }
}

fn hard_taint(spec: &PodSpec, node: &NodeInfo) -> Option<Taint> {
    let not_ready = (!node.ready).then(|| Taint {
        key: TAINT_NOT_READY.to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Taint::default()
    });
    let own = node
        .taints
        .iter()
        .filter(|taint| taint.effect == "NoSchedule" || taint.effect == "NoExecute");
    own.cloned()
        .chain(not_ready)
        .find(|taint| !tolerates(spec, taint))
}

fn soft_taints(spec: &PodSpec, node: &NodeInfo) -> i64 {
    let soft = node
        .taints
        .iter()
        .filter(|taint| taint.effect == "PreferNoSchedule");
    i64::try_from(soft.filter(|taint| !tolerates(spec, taint)).count()).unwrap_or(i64::MAX)
}

fn tolerates(spec: &PodSpec, taint: &Taint) -> bool {
    spec.tolerations
        .iter()
        .flatten()
        .any(|toleration| tolerates_taint(toleration, taint))
}

/// core/v1 `Toleration.ToleratesTaint`: an empty effect or key (with Exists) matches all.
pub fn tolerates_taint(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let effect = text(&toleration.effect);
    let key = text(&toleration.key);
    if (!effect.is_empty() && effect != taint.effect) || (!key.is_empty() && key != taint.key) {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or("Equal") {
        "Exists" => true,
        "Equal" | "" => !key.is_empty() && text(&toleration.value) == text(&taint.value),
        _ => false,
    }
}

fn matches_affinity(spec: &PodSpec, node: &NodeInfo) -> bool {
    let selected = spec
        .node_selector
        .iter()
        .flatten()
        .all(|(key, value)| node.labels.get(key) == Some(value));
    let required = spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|affinity| {
            affinity
                .required_during_scheduling_ignored_during_execution
                .as_ref()
        });
    selected
        && required.is_none_or(|selector| {
            selector
                .node_selector_terms
                .iter()
                .any(|term| matches_term(term, node))
        })
}

/// Terms are alternatives, what stands inside one must hold together; an empty term matches nothing.
fn matches_term(term: &NodeSelectorTerm, node: &NodeInfo) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    let labels = |key: &str| node.labels.get(key).map(String::as_str);
    let names = |key: &str| (key == "metadata.name").then_some(node.name.as_str());
    expressions
        .iter()
        .all(|requirement| matches_requirement(requirement, labels(&requirement.key)))
        && fields
            .iter()
            .all(|requirement| matches_requirement(requirement, names(&requirement.key)))
}

fn matches_requirement(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = || value.is_some_and(|value| values.iter().any(|one| one == value));
    let numbers = || Some((value?.parse::<i64>().ok()?, values.first()?.parse::<i64>().ok()?));
    match requirement.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => numbers().is_some_and(|(have, bound)| have > bound),
        "Lt" => numbers().is_some_and(|(have, bound)| have < bound),
        _ => false,
    }
}

fn lacks(requests: &Resources, node: &NodeInfo) -> Vec<String> {
    let mut lacking = Vec::new();
    let room = node.allocatable.0.get("pods").map(|milli| milli / 1000);
    if room.is_some_and(|room| i64::try_from(node.pods.len()).unwrap_or(i64::MAX) >= room) {
        lacking.push("Too many pods".to_owned());
    }
    for (name, wanted) in &requests.0 {
        let free = node.allocatable.get(name).saturating_sub(node.used.get(name));
        if *wanted > 0 && *wanted > free {
            lacking.push(format!("Insufficient {name}"));
        }
    }
    lacking
}
