//! What is needed of a node.

use k8s_openapi::api::core::v1::{
    NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PreferredSchedulingTerm,
    Toleration,
};
use proptest::{
    collection::{btree_map, vec},
    option::of,
    prelude::*,
};

use super::words::{quantity, text};
use crate::crd::Capabilities;

pub fn capabilities() -> BoxedStrategy<Capabilities> {
    let amounts = (of(quantity()), of(quantity()), of(quantity()));
    let resources = btree_map("([a-z]{1,6}/[a-z]{1,6}|cpu|memory)", quantity(), 0..3);
    let toleration = (of(text()), of("Exists|Equal")).prop_map(|(key, operator)| Toleration {
        key,
        operator,
        ..Toleration::default()
    });
    (
        amounts,
        resources,
        of(any::<bool>()),
        of(1..=3_600_000_i32),
        btree_map(text(), text(), 0..3),
        of(node_affinity()),
        vec(toleration, 0..3),
    )
        .prop_map(
            |(amounts, resources, privileged, latency, node_selector, node_affinity, tolerations)| {
                Capabilities {
                    cpu: amounts.0,
                    memory: amounts.1,
                    ephemeral_storage: amounts.2,
                    resources,
                    privileged,
                    network_latency_ms: latency,
                    node_selector,
                    node_affinity,
                    tolerations,
                }
            },
        )
        .boxed()
}

fn node_affinity() -> BoxedStrategy<NodeAffinity> {
    let requirement = || {
        (text(), "In|NotIn|Exists|Lt", of(vec(text(), 0..3))).prop_map(|(key, operator, values)| {
            NodeSelectorRequirement {
                key,
                operator,
                values,
            }
        })
    };
    let term = move || {
        (of(vec(requirement(), 0..3)), of(vec(requirement(), 0..2))).prop_map(
            |(match_expressions, match_fields)| NodeSelectorTerm {
                match_expressions,
                match_fields,
            },
        )
    };
    let preferred =
        (1..=100_i32, term()).prop_map(|(weight, preference)| PreferredSchedulingTerm { weight, preference });
    (of(vec(term(), 0..3)), of(vec(preferred, 0..2)))
        .prop_map(|(required, preferred)| NodeAffinity {
            required_during_scheduling_ignored_during_execution: required
                .map(|node_selector_terms| NodeSelector { node_selector_terms }),
            preferred_during_scheduling_ignored_during_execution: preferred,
        })
        .boxed()
}
