//! Cells of built-in types, in the order of their columns.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{age, list, map, or_none, pods, text};

/// The cells of one object.
pub(super) type Paint = fn(&Value, Timestamp) -> Vec<Value>;

/// How objects of this kind are painted; `None` for name and age only.
pub(super) fn paint(group: &str, kind: &str) -> Option<Paint> {
    Some(match (group, kind) {
        ("", "Pod") => pods::cells,
        ("", "Node") => node,
        ("", "Namespace") => namespace,
        ("", "Event") | ("events.k8s.io", "Event") => event,
        ("", "Secret") => secret,
        ("", "ConfigMap") => config_map,
        ("", "ServiceAccount") => service_account,
        ("apps", "ControllerRevision") => revision,
        ("apiextensions.k8s.io", _) | ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => created,
        ("rbac.authorization.k8s.io", _) => binding,
        ("coordination.k8s.io", "Lease") => lease,
        ("networking.k8s.io", "NetworkPolicy") => network_policy,
        _ => return None,
    })
}

fn name(object: &Value) -> Value {
    json!(text(object, "/metadata/name"))
}

fn age_of(object: &Value, now: Timestamp) -> Value {
    json!(age::at(object, "/metadata/creationTimestamp", now))
}

fn created(object: &Value, _: Timestamp) -> Vec<Value> {
    vec![name(object), json!(text(object, "/metadata/creationTimestamp"))]
}

fn namespace(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        json!(text(object, "/status/phase")),
        age_of(object, now),
    ]
}

fn size(object: &Value, pointers: &[&str]) -> usize {
    pointers
        .iter()
        .filter_map(|pointer| map(object, pointer))
        .map(serde_json::Map::len)
        .sum()
}

fn secret(object: &Value, now: Timestamp) -> Vec<Value> {
    let kind = text(object, "/type");
    vec![
        name(object),
        json!(kind),
        json!(size(object, &["/data"])),
        age_of(object, now),
    ]
}

fn network_policy(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        json!(selector(object, "/spec/podSelector")),
        age_of(object, now),
    ]
}

/// A label selector as apimachinery's `FormatLabelSelector` writes it.
fn selector(object: &Value, pointer: &str) -> String {
    let labels = map(object, &format!("{pointer}/matchLabels"));
    let labels = labels.into_iter().flatten();
    let equals = labels.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()));
    let expressions = list(object, &format!("{pointer}/matchExpressions"));
    let others = expressions.iter().map(|expression| {
        let key = text(expression, "/key");
        let values: Vec<&str> = list(expression, "/values")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        match text(expression, "/operator") {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        }
    });
    let parts: Vec<String> = equals.chain(others).collect();
    or_none(&parts.join(",")).to_owned()
}

fn config_map(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        json!(size(object, &["/data", "/binaryData"])),
        age_of(object, now),
    ]
}

fn service_account(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        json!(list(object, "/secrets").len()),
        age_of(object, now),
    ]
}

fn lease(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        json!(text(object, "/spec/holderIdentity")),
        age_of(object, now),
    ]
}

fn revision(object: &Value, now: Timestamp) -> Vec<Value> {
    let owners = list(object, "/metadata/ownerReferences");
    let controller = owners
        .iter()
        .find(|owner| owner.get("controller").and_then(Value::as_bool) == Some(true))
        .map(|owner| {
            let kind = text(owner, "/kind").to_lowercase();
            let name = text(owner, "/name");
            match text(owner, "/apiVersion").split_once('/') {
                Some((group, _)) => format!("{kind}.{group}/{name}"),
                None => format!("{kind}/{name}"),
            }
        })
        .unwrap_or_else(|| "<none>".to_owned());
    let number = object.get("revision").and_then(Value::as_i64).unwrap_or_default();
    vec![
        name(object),
        json!(controller),
        json!(number),
        age_of(object, now),
    ]
}

fn binding(object: &Value, now: Timestamp) -> Vec<Value> {
    let subjects = |kind: &str| -> String {
        let names: Vec<String> = list(object, "/subjects")
            .iter()
            .filter(|subject| text(subject, "/kind") == kind)
            .map(|subject| match (kind, text(subject, "/namespace")) {
                ("ServiceAccount", namespace) if !namespace.is_empty() => {
                    format!("{namespace}/{}", text(subject, "/name"))
                }
                _ => text(subject, "/name").to_owned(),
            })
            .collect();
        names.join(", ")
    };
    vec![
        name(object),
        json!(format!(
            "{}/{}",
            text(object, "/roleRef/kind"),
            text(object, "/roleRef/name")
        )),
        age_of(object, now),
        json!(subjects("User")),
        json!(subjects("Group")),
        json!(subjects("ServiceAccount")),
    ]
}

fn node(object: &Value, now: Timestamp) -> Vec<Value> {
    let ready = list(object, "/status/conditions")
        .iter()
        .find(|condition| text(condition, "/type") == "Ready");
    let mut status = match ready.map(|ready| text(ready, "/status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if object.pointer("/spec/unschedulable").and_then(Value::as_bool) == Some(true) {
        status.push_str(",SchedulingDisabled");
    }
    let address = |kind: &str| {
        let found = list(object, "/status/addresses")
            .iter()
            .find(|address| text(address, "/type") == kind);
        found
            .map_or("<none>", |address| or_none(text(address, "/address")))
            .to_owned()
    };
    let info = |field: &str| match text(object, &format!("/status/nodeInfo/{field}")) {
        "" => "<unknown>".to_owned(),
        known => known.to_owned(),
    };
    vec![
        name(object),
        json!(status),
        json!(or_none(&roles(object))),
        age_of(object, now),
        json!(text(object, "/status/nodeInfo/kubeletVersion")),
        json!(address("InternalIP")),
        json!(address("ExternalIP")),
        json!(info("osImage")),
        json!(info("kernelVersion")),
        json!(info("containerRuntimeVersion")),
    ]
}

fn roles(node: &Value) -> String {
    let mut roles: Vec<&str> = map(node, "/metadata/labels")
        .into_iter()
        .flatten()
        .filter_map(
            |(label, value)| match label.strip_prefix("node-role.kubernetes.io/") {
                Some(role) => Some(role),
                None if label == "kubernetes.io/role" => value.as_str(),
                None => None,
            },
        )
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    roles.join(",")
}

/// Events of both groups; events.k8s.io names some fields differently.
fn event(object: &Value, now: Timestamp) -> Vec<Value> {
    let either = |core: &str, new: &str| match text(object, core) {
        "" => text(object, new).to_owned(),
        found => found.to_owned(),
    };
    let time = |pointers: &[&str]| {
        let found = pointers.iter().find_map(|pointer| age::time(object, pointer));
        found.map_or_else(|| "<unknown>".to_owned(), |then| age::since(then, now))
    };
    let first = ["/firstTimestamp", "/deprecatedFirstTimestamp", "/eventTime"];
    let last = [
        "/series/lastObservedTime",
        "/lastTimestamp",
        "/deprecatedLastTimestamp",
        "/firstTimestamp",
        "/deprecatedFirstTimestamp",
        "/eventTime",
    ];
    let count = ["/series/count", "/count", "/deprecatedCount"]
        .iter()
        .find_map(|pointer| object.pointer(pointer)?.as_i64().filter(|count| *count > 0))
        .unwrap_or(1);
    let kind = either("/involvedObject/kind", "/regarding/kind").to_lowercase();
    let target = match either("/involvedObject/name", "/regarding/name") {
        name if name.is_empty() => kind,
        name => format!("{kind}/{name}"),
    };
    vec![
        json!(time(&last)),
        json!(text(object, "/type")),
        json!(text(object, "/reason")),
        json!(target),
        json!(either("/involvedObject/fieldPath", "/regarding/fieldPath")),
        json!(source(object)),
        json!(either("/message", "/note").trim()),
        json!(time(&first)),
        json!(count),
        name(object),
    ]
}

fn source(event: &Value) -> String {
    let component = ["/source/component", "/deprecatedSource/component"];
    let host = ["/source/host", "/deprecatedSource/host"];
    let first = |pointers: &[&str]| {
        pointers
            .iter()
            .map(|pointer| text(event, pointer))
            .find(|found| !found.is_empty())
            .unwrap_or_default()
    };
    let (component, host) = match first(&component) {
        // the newer fields stand in only where there is no source at all
        "" => (
            first(&["/reportingComponent", "/reportingController"]),
            text(event, "/reportingInstance"),
        ),
        component => (component, first(&host)),
    };
    if host.is_empty() {
        component.to_owned()
    } else {
        format!("{component}, {host}")
    }
}
