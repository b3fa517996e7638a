//! Cells: the nodes of the cluster.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
};

use axum::extract::State;
use k8s_openapi::{api::core::v1::Node, apimachinery::pkg::api::resource::Quantity};
use kube::{Api, ResourceExt as _, api::ListParams};

use super::{
    failure::Failure,
    find,
    map::PLACEMENT,
    messages::{CellCapacity, CellPresence, CellsResponse, Provider},
    quantity,
    settings::Settings,
    wire::Answer,
};
use crate::{
    chain::chain,
    facade::{
        access::{Resource, Verb},
        extract::Asker,
        refusal::Refusal,
        state::Facade,
    },
};

/// Where nodes say in which zone they are.
const ZONE: &str = "topology.kubernetes.io/zone";
/// Nodes on a page of a list.
const PAGE: u32 = 500;

/// `cells/list.r1`
pub async fn list(
    State(facade): State<Facade>,
    Asker(caller): Asker,
) -> Result<Answer<CellsResponse>, Failure> {
    let home = find::home(&facade, &caller).await?;
    facade
        .authorize(&caller, Verb::List, Resource::Tasks, &home, None)
        .await?;
    let settings = &facade.config.dialects.diego;
    let nodes = nodes(&facade).await?;
    Ok(Answer(CellsResponse {
        error: None,
        cells: nodes
            .iter()
            .filter(|node| is_ready(node))
            .map(|node| cell(node, settings))
            .collect(),
    }))
}

/// All nodes; none where the facade may not see them, which is the operator's choice.
async fn nodes(facade: &Facade) -> Result<Vec<Node>, Refusal> {
    static TOLD: AtomicBool = AtomicBool::new(false);
    let api: Api<Node> = Api::all(facade.objects.client());
    let away = || Refusal::Unavailable("the API server cannot be asked about nodes".into());
    let (mut params, mut nodes) = (ListParams::default().limit(PAGE), Vec::new());
    loop {
        let page = tokio::time::timeout(facade.config.api_timeout, api.list(&params));
        match page.await.map_err(|_| away())? {
            Ok(page) => {
                nodes.extend(page.items);
                match page.metadata.continue_.filter(|token| !token.is_empty()) {
                    Some(token) => params = params.continue_token(&token),
                    None => return Ok(nodes),
                }
            }
            Err(kube::Error::Api(status)) if status.is_forbidden() => {
                if !TOLD.swap(true, Ordering::Relaxed) {
                    tracing::warn!(said = %status.message, "the facade may not list nodes, so Diego's door has no cells");
                }
                return Ok(Vec::new());
            }
            Err(error) => {
                tracing::warn!(error = %chain(&error), "nodes cannot be listed");
                return Err(away());
            }
        }
    }
}

/// A cell that is gone has no presence.
fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition.type_ == "Ready");
    ready.is_none_or(|ready| ready.status == "True")
}

/// A node as a cell. Tags that keep others off it are taints, others are labels.
fn cell(node: &Node, settings: &Settings) -> CellPresence {
    let status = node.status.clone().unwrap_or_default();
    let addresses = status.addresses.unwrap_or_default();
    let address = |kind: &str| {
        let mut found = addresses.iter().filter(|address| address.type_ == kind);
        found.next().map(|address| address.address.clone())
    };
    let tag = |key: &str| key.strip_prefix(PLACEMENT).map(str::to_owned);
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    let required: Vec<String> = taints
        .into_iter()
        .flatten()
        .filter_map(|taint| tag(&taint.key))
        .collect();
    let optional = node.labels().keys().filter_map(|key| tag(key));
    CellPresence {
        cell_id: node.name_any(),
        // Clients insist on one.
        rep_address: address("InternalIP")
            .or_else(|| address("Hostname"))
            .unwrap_or_else(|| node.name_any()),
        zone: node.labels().get(ZONE).cloned().unwrap_or_default(),
        capacity: Some(capacity(&status.allocatable.unwrap_or_default())),
        rootfs_providers: providers(settings),
        optional_placement_tags: optional.filter(|tag| !required.contains(tag)).collect(),
        placement_tags: required,
        ..CellPresence::default()
    }
}

fn capacity(allocatable: &BTreeMap<String, Quantity>) -> CellCapacity {
    let text = |name: &str| allocatable.get(name).map_or("", |quantity| quantity.0.as_str());
    CellCapacity {
        memory_mb: quantity::mebibytes(text("memory")),
        disk_mb: quantity::mebibytes(text("ephemeral-storage")),
        containers: quantity::count(text("pods")),
    }
}

fn providers(settings: &Settings) -> Vec<Provider> {
    let docker = Provider {
        name: "docker".into(),
        properties: Vec::new(),
    };
    let stacks = Provider {
        name: "preloaded".into(),
        properties: settings.stacks.keys().cloned().collect(),
    };
    vec![docker, stacks]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(status: &str) -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": "n1", "labels": {ZONE: "z1", "placement.errand.dev/gpu": "true", "placement.errand.dev/big": "true"}},
            "spec": {"taints": [{"key": "placement.errand.dev/gpu", "effect": "NoSchedule"}, {"key": "other", "effect": "NoSchedule"}]},
            "status": {
                "addresses": [{"type": "Hostname", "address": "h"}, {"type": "InternalIP", "address": "10.0.0.7"}],
                "allocatable": {"memory": "16Gi", "ephemeral-storage": "104857600", "pods": "110"},
                "conditions": [{"type": "Ready", "status": status}],
            },
        }))
        .unwrap()
    }

    #[test]
    fn a_node_is_a_cell_with_what_it_has_to_give() {
        let settings = Settings {
            stacks: BTreeMap::from([("cflinuxfs4".into(), "i".into())]),
            ..Settings::default()
        };
        let provider = |name: &str, properties: &[&str]| Provider {
            name: name.into(),
            properties: properties.iter().map(|text| (*text).to_owned()).collect(),
        };
        let wanted = CellPresence {
            cell_id: "n1".into(),
            rep_address: "10.0.0.7".into(),
            zone: "z1".into(),
            capacity: Some(CellCapacity {
                memory_mb: 16384,
                disk_mb: 100,
                containers: 110,
            }),
            rootfs_providers: vec![provider("docker", &[]), provider("preloaded", &["cflinuxfs4"])],
            placement_tags: vec!["gpu".into()],
            optional_placement_tags: vec!["big".into()],
            ..CellPresence::default()
        };
        assert_eq!(cell(&node("True"), &settings), wanted);
        assert_eq!(
            [is_ready(&node("True")), is_ready(&node("Unknown"))],
            [true, false]
        );
    }

    #[test]
    fn a_node_that_says_nothing_still_has_an_address() {
        let bare: Node = serde_json::from_value(json!({"metadata": {"name": "n1"}})).unwrap();
        let cell = cell(&bare, &Settings::default());
        assert_eq!(
            (cell.rep_address.as_str(), cell.capacity),
            ("n1", Some(CellCapacity::default()))
        );
    }
}
