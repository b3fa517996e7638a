//! `fieldRef` and `resourceFieldRef`: what a pod may learn about itself. Pure.
//!
//! Source: kubernetes `pkg/fieldpath`, `pkg/kubelet/kubelet_pods.go` (podFieldSelectorRuntimeValue),
//! `pkg/api/v1/resource/helpers.go`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};

use crate::local::scheduler::resources::Resources;
use crate::quantity::{milli, milli_of};

/// What only the node knows.
#[derive(Clone, Debug)]
pub struct NodeFacts {
    pub node_name: String,
    pub host_ip: IpAddr,
    pub pod_ip: Option<IpAddr>,
    /// Stands in for limits that a container does not set.
    pub allocatable: Resources,
}

/// Why a field has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    #[error("unsupported fieldPath: {0}")]
    Path(String),
    #[error("unsupported container resource: {0}")]
    Resource(String),
    #[error("container {0} not found")]
    Container(String),
    #[error("divisor {0:?} is not a positive quantity")]
    Divisor(String),
}

/// The value of a `fieldRef.fieldPath`. A label or annotation that is not there is empty.
pub fn field(pod: &Pod, path: &str, facts: &NodeFacts) -> Result<String, FieldError> {
    let meta = &pod.metadata;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let pod_ip = || facts.pod_ip.map(|ip| ip.to_string()).unwrap_or_default();
    let account = || {
        let spec = pod.spec.as_ref()?;
        spec.service_account_name
            .clone()
            .or_else(|| spec.service_account.clone())
    };
    if let Some((map, key)) = subscript(path) {
        let map = match map {
            "metadata.annotations" => &meta.annotations,
            "metadata.labels" => &meta.labels,
            _ => return Err(FieldError::Path(path.to_owned())),
        };
        return Ok(map
            .as_ref()
            .and_then(|map| map.get(key))
            .cloned()
            .unwrap_or_default());
    }
    Ok(match path {
        "metadata.name" => text(&meta.name),
        "metadata.namespace" => text(&meta.namespace),
        "metadata.uid" => text(&meta.uid),
        "metadata.labels" => format_map(meta.labels.as_ref()),
        "metadata.annotations" => format_map(meta.annotations.as_ref()),
        "spec.nodeName" => facts.node_name.clone(),
        "spec.serviceAccountName" => account().unwrap_or_default(),
        "status.hostIP" | "status.hostIPs" => facts.host_ip.to_string(),
        "status.podIP" | "status.podIPs" => pod_ip(),
        _ => return Err(FieldError::Path(path.to_owned())),
    })
}

/// `metadata.annotations['a/b']` -> (`metadata.annotations`, `a/b`).
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once("['")?;
    Some((map, rest.strip_suffix("']")?))
}

/// One `key="value"` line per entry in order of keys, values quoted as Go's `%q` quotes.
fn format_map(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> = map
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", quote(value)))
        .collect();
    lines.join("\n")
}

fn quote(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 2);
    out.push('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => out.push_str(&format!("\\x{:02x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The value of a `resourceFieldRef` of `container` (or of the container that the selector names), in units
/// of its divisor, rounded up.
pub fn resource(
    pod: &Pod,
    container: Option<&Container>,
    selector: &ResourceFieldSelector,
    facts: &NodeFacts,
) -> Result<String, FieldError> {
    let named = selector.container_name.as_deref().filter(|name| !name.is_empty());
    let container = match named {
        Some(name) => find(pod, name).ok_or_else(|| FieldError::Container(name.to_owned()))?,
        None => container.ok_or_else(|| FieldError::Container(String::new()))?,
    };
    let wrong = || FieldError::Resource(selector.resource.clone());
    let (kind, name) = selector.resource.split_once('.').ok_or_else(wrong)?;
    if !matches!(name, "cpu" | "memory" | "ephemeral-storage") && !name.starts_with("hugepages-") {
        return Err(wrong());
    }
    let requirements = container.resources.clone().unwrap_or_default();
    let limit = requirements
        .limits
        .as_ref()
        .and_then(|limits| limits.get(name))
        .map(milli_of);
    let value = match kind {
        "limits" => limit.unwrap_or_else(|| facts.allocatable.get(name)),
        "requests" => {
            let request = requirements
                .requests
                .as_ref()
                .and_then(|requests| requests.get(name))
                .map(milli_of);
            request.or(limit).unwrap_or(0)
        }
        _ => return Err(wrong()),
    };
    let divisor_text = selector
        .divisor
        .as_ref()
        .map_or("1", |divisor| divisor.0.as_str());
    let divisor_text = if divisor_text == "0" { "1" } else { divisor_text };
    let divisor = milli(divisor_text).ok().filter(|divisor| *divisor > 0);
    let divisor = divisor.ok_or_else(|| FieldError::Divisor(divisor_text.to_owned()))?;
    Ok((value / divisor + i64::from(value % divisor != 0)).to_string())
}

fn find<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    let spec = pod.spec.as_ref()?;
    let all = spec.init_containers.iter().flatten().chain(&spec.containers);
    all.into_iter().find(|container| container.name == name)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use serde_json::json;

    use super::*;

    fn facts() -> NodeFacts {
        NodeFacts {
            node_name: "n1".to_owned(),
            host_ip: Ipv4Addr::LOCALHOST.into(),
            pod_ip: Some(Ipv4Addr::new(127, 1, 2, 3).into()),
            allocatable: Resources([("cpu".to_owned(), 4000), ("memory".to_owned(), 8_000_000)].into()),
        }
    }

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {
                "name": "p", "namespace": "ns", "uid": "u",
                "labels": { "b": "2", "a": "say \"hi\"" },
                "annotations": { "errand.dev/input-body": "line\n\u{1}" },
            },
            "spec": { "serviceAccountName": "sa", "containers": [
                { "name": "task", "resources": { "limits": { "cpu": "1500m", "memory": "64Mi" } } },
                { "name": "free" },
            ] },
        }))
        .unwrap()
    }

    #[test]
    fn fields_of_a_pod_are_found_by_path() {
        for (path, expected) in [
            ("metadata.name", "p"),
            ("metadata.namespace", "ns"),
            ("metadata.uid", "u"),
            ("metadata.labels", "a=\"say \\\"hi\\\"\"\nb=\"2\""),
            ("metadata.labels['b']", "2"),
            ("metadata.labels['none']", ""),
            ("metadata.annotations", "errand.dev/input-body=\"line\\n\\x01\""),
            ("metadata.annotations['errand.dev/input-body']", "line\n\u{1}"),
            ("spec.nodeName", "n1"),
            ("spec.serviceAccountName", "sa"),
            ("status.hostIP", "127.0.0.1"),
            ("status.podIP", "127.1.2.3"),
        ] {
            assert_eq!(field(&pod(), path, &facts()).as_deref(), Ok(expected), "{path}");
        }
        for path in [
            "metadata.generation",
            "metadata.finalizers['x']",
            "metadata.labels['x",
            "",
            "spec",
        ] {
            assert_eq!(
                field(&pod(), path, &facts()),
                Err(FieldError::Path(path.to_owned())),
                "{path}"
            );
        }
    }

    #[test]
    fn resources_are_divided_and_rounded_up() {
        let ask = |container: &str, resource_name: &str, divisor: &str| {
            let selector = ResourceFieldSelector {
                container_name: Some(container.to_owned()),
                resource: resource_name.to_owned(),
                divisor: Some(k8s_openapi::apimachinery::pkg::api::resource::Quantity(
                    divisor.to_owned(),
                )),
            };
            resource(&pod(), None, &selector, &facts())
        };
        for (container, name, divisor, expected) in [
            ("task", "limits.cpu", "0", "2"),
            ("task", "limits.cpu", "1m", "1500"),
            ("task", "requests.memory", "1Mi", "64"),
            ("free", "limits.cpu", "1", "4"),
            ("free", "requests.cpu", "1", "0"),
        ] {
            assert_eq!(
                ask(container, name, divisor).as_deref(),
                Ok(expected),
                "{container} {name}"
            );
        }
        assert_eq!(
            ask("task", "limits.gpu", "1"),
            Err(FieldError::Resource("limits.gpu".to_owned()))
        );
        assert_eq!(
            ask("task", "cpu", "1"),
            Err(FieldError::Resource("cpu".to_owned()))
        );
        assert_eq!(
            ask("task", "limits.cpu", "-1"),
            Err(FieldError::Divisor("-1".to_owned()))
        );
        assert_eq!(
            ask("none", "limits.cpu", "1"),
            Err(FieldError::Container("none".to_owned()))
        );
    }
}
