//! What a run needs from the machine, in the words of a pod.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        Affinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, ResourceRequirements,
    },
    apimachinery::pkg::api::resource::Quantity,
};

use crate::{
    crd::{Capabilities, LABEL_LATENCY},
    quantity,
};

/// Bytes that the supervisor may take on the node's disk where an init container copies it.
const SUPERVISOR_ROOM: i64 = 128 * 1024 * 1024;

type Amounts = BTreeMap<String, Quantity>;

/// What the machine must have, as request and as limit.
pub(super) fn resources(capabilities: &Capabilities) -> Option<ResourceRequirements> {
    let extended = capabilities
        .resources
        .iter()
        .map(|(name, amount)| (name.clone(), Quantity::from(amount.clone())));
    requirements(basic(capabilities).into_iter().chain(extended).collect())
}

/// What the init container that brings the supervisor may use: no more processor time and memory than the Task, so that
/// the pod keeps the class "Guaranteed" and a ResourceQuota finds its limits. A kubelet counts the copied file against
/// the pod's limit on disk, which is the greatest of any init container's and the containers' sum (Kubernetes,
/// "Resource sharing within containers"), so there is room for it. The Task's own container keeps its limit.
pub(super) fn init_resources(capabilities: &Capabilities) -> Option<ResourceRequirements> {
    let mut amounts = basic(capabilities);
    if let Some(disk) = amounts.get_mut("ephemeral-storage") {
        // The schema lets only quantities pass.
        let bytes = quantity::units(&disk.0).unwrap_or(0);
        disk.0 = bytes.saturating_add(SUPERVISOR_ROOM).to_string();
    }
    requirements(amounts)
}

fn basic(capabilities: &Capabilities) -> Amounts {
    let named = [
        ("cpu", &capabilities.cpu),
        ("memory", &capabilities.memory),
        ("ephemeral-storage", &capabilities.ephemeral_storage),
    ];
    named
        .into_iter()
        .filter_map(|(name, amount)| Some((name.to_owned(), Quantity::from(amount.clone()?))))
        .collect()
}

fn requirements(amounts: Amounts) -> Option<ResourceRequirements> {
    (!amounts.is_empty()).then(|| ResourceRequirements {
        limits: Some(amounts.clone()),
        requests: Some(amounts),
        ..ResourceRequirements::default()
    })
}

/// The Function's node affinity with the latency requirement added to each of its terms: terms are alternatives, the
/// expressions of a term all hold, and an empty term matches no node (core/v1 NodeSelector).
pub(super) fn affinity(capabilities: &Capabilities) -> Option<Affinity> {
    let mut node_affinity = capabilities.node_affinity.clone();
    if let Some(limit) = capabilities.network_latency_ms {
        let latency = NodeSelectorRequirement {
            key: LABEL_LATENCY.into(),
            operator: "Lt".into(),
            values: Some(vec![limit.to_string()]),
        };
        let required = &mut node_affinity
            .get_or_insert_default()
            .required_during_scheduling_ignored_during_execution;
        match required {
            Some(required) => {
                let terms = required.node_selector_terms.iter_mut();
                for term in terms.filter(|term| !is_empty(term)) {
                    term.match_expressions
                        .get_or_insert_default()
                        .push(latency.clone());
                }
            }
            None => {
                *required = Some(NodeSelector {
                    node_selector_terms: vec![NodeSelectorTerm {
                        match_expressions: Some(vec![latency]),
                        match_fields: None,
                    }],
                });
            }
        }
    }
    node_affinity.map(|node_affinity| Affinity {
        node_affinity: Some(node_affinity),
        ..Affinity::default()
    })
}

fn is_empty(term: &NodeSelectorTerm) -> bool {
    let none = |list: &Option<Vec<NodeSelectorRequirement>>| list.as_ref().is_none_or(Vec::is_empty);
    none(&term.match_expressions) && none(&term.match_fields)
}
