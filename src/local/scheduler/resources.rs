//! What pods ask for and nodes have, as numbers.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::quantity::milli_of;

/// Resource name -> amount in thousandths of its unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources(pub BTreeMap<String, i64>);

impl Resources {
    /// From a map of quantities such as `status.allocatable`.
    pub fn of(map: &BTreeMap<String, Quantity>) -> Self {
        Self(
            map.iter()
                .map(|(name, quantity)| (name.clone(), milli_of(quantity)))
                .collect(),
        )
    }

    /// The amount of one resource, 0 when absent.
    pub fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Adds every amount of `other`.
    pub fn add(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let sum = self.0.entry(name.clone()).or_default();
            *sum = sum.saturating_add(*amount);
        }
    }

    /// Takes every amount of `other` away.
    pub fn subtract(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let rest = self.0.entry(name.clone()).or_default();
            *rest = rest.saturating_sub(*amount);
        }
    }

    fn raise_to(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let most = self.0.entry(name.clone()).or_default();
            *most = (*most).max(*amount);
        }
    }
}

/// What a pod occupies on its node: the larger of the sum over its containers and its largest init
/// container (each beside the sidecars started before it), plus overhead; pod-level requests go first.
/// A limit without a request counts as the request. Source: `resource.PodRequests` in k8s.io/component-helpers.
pub fn pod_requests(pod: &Pod) -> Resources {
    let Some(spec) = &pod.spec else {
        return Resources::default();
    };
    let mut total = container_requests(spec);
    if let Some(own) = &spec.resources {
        total.0.extend(requests_of(Some(own)).0);
    }
    if let Some(overhead) = &spec.overhead {
        total.add(&Resources::of(overhead));
    }
    total
}

fn container_requests(spec: &PodSpec) -> Resources {
    let mut running = Resources::default();
    for container in &spec.containers {
        running.add(&requests_of(container.resources.as_ref()));
    }
    let mut sidecars = Resources::default();
    let mut peak = Resources::default();
    for init in spec.init_containers.iter().flatten() {
        let wanted = requests_of(init.resources.as_ref());
        if is_sidecar(init) {
            sidecars.add(&wanted);
            running.add(&wanted);
            peak.raise_to(&sidecars);
        } else {
            let mut beside = sidecars.clone();
            beside.add(&wanted);
            peak.raise_to(&beside);
        }
    }
    running.raise_to(&peak);
    running
}

/// An init container that keeps running beside the main ones.
pub fn is_sidecar(init: &Container) -> bool {
    init.restart_policy.as_deref() == Some("Always")
}

fn requests_of(requirements: Option<&ResourceRequirements>) -> Resources {
    let mut out = Resources::default();
    let Some(requirements) = requirements else {
        return out;
    };
    for map in [&requirements.limits, &requirements.requests]
        .into_iter()
        .flatten()
    {
        out.0.extend(Resources::of(map).0);
    }
    out
}
