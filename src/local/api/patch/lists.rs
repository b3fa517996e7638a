//! How lists are merged: which are sets, which are maps by keys, and which are one value. Pure.
//!
//! For custom resources the schema says so (`x-kubernetes-list-type`). For built-in types the table follows the
//! `listType`, `listMapKey` and `patchMergeKey` markers of `k8s.io/api/core/v1` and `meta/v1`.
use std::{collections::HashMap, sync::Arc};

use serde_json::Value;

use crate::local::api::meta;

/// How one list is merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListRule {
    /// As one value.
    Atomic,
    /// Scalars, each once.
    Set,
    /// Objects, distinct by these fields.
    Map(Vec<String>),
}

/// What is known about the lists (and atomic maps) of a kind, by path without indexes: `spec.containers.env`.
#[derive(Clone, Debug, Default)]
pub struct ListRules {
    by_path: Arc<HashMap<String, ListRule>>,
    /// Built-in types are looked up by the last names of the path.
    builtin: bool,
}

impl ListRules {
    /// For built-in types.
    pub fn builtin() -> Self {
        Self {
            by_path: Arc::default(),
            builtin: true,
        }
    }

    /// As a CRD's `openAPIV3Schema` declares.
    pub fn of_schema(schema: &Value) -> Self {
        let mut by_path = HashMap::new();
        collect(schema, "", &mut by_path);
        Self {
            by_path: Arc::new(by_path),
            builtin: false,
        }
    }

    /// The rule of the list at a path.
    pub fn of(&self, path: &str) -> ListRule {
        match path {
            "metadata.finalizers" => ListRule::Set,
            "metadata.ownerReferences" => map(&["uid"]),
            _ if self.builtin => builtin(path),
            _ => self.by_path.get(path).cloned().unwrap_or(ListRule::Atomic),
        }
    }

    /// Whether a map at a path is owned as one value.
    pub fn is_atomic_map(&self, path: &str) -> bool {
        self.by_path.get(path) == Some(&ListRule::Atomic)
            || (self.builtin
                && matches!(
                    last(path),
                    "selector" | "nodeSelector" | "secretKeyRef" | "fieldRef"
                ))
    }
}

fn collect(schema: &Value, path: &str, rules: &mut HashMap<String, ListRule>) {
    match meta::text(schema, &["x-kubernetes-list-type"]) {
        "set" => {
            rules.insert(path.to_owned(), ListRule::Set);
        }
        "map" => {
            let keys = meta::texts(schema, &["x-kubernetes-list-map-keys"]);
            rules.insert(path.to_owned(), map(&keys));
        }
        _ if meta::text(schema, &["x-kubernetes-map-type"]) == "atomic" => {
            rules.insert(path.to_owned(), ListRule::Atomic);
        }
        _ => {}
    }
    for (name, property) in schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        collect(property, &join(path, name), rules);
    }
    if let Some(items) = schema.get("items") {
        collect(items, path, rules);
    }
}

/// A path one field longer.
pub fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

fn map(keys: &[&str]) -> ListRule {
    ListRule::Map(keys.iter().map(|key| (*key).to_owned()).collect())
}

fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

fn builtin(path: &str) -> ListRule {
    match last(path) {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "volumes"
        | "env"
        | "imagePullSecrets"
        | "resourceClaims"
        | "schedulingGates"
        | "secrets" => map(&["name"]),
        "ports" if path.contains("ontainers") => map(&["containerPort", "protocol"]),
        "volumeMounts" => map(&["mountPath"]),
        "volumeDevices" => map(&["devicePath"]),
        "hostAliases" | "podIPs" | "hostIPs" => map(&["ip"]),
        "topologySpreadConstraints" => map(&["topologyKey", "whenUnsatisfiable"]),
        "conditions" | "addresses" => map(&["type"]),
        "podCIDRs" => ListRule::Set,
        _ => ListRule::Atomic,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schema_says_how_its_lists_merge() {
        let rules = ListRules::of_schema(&json!({"properties": {"spec": {"properties": {
            "tags": {"type": "array", "x-kubernetes-list-type": "set"},
            "parts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a", "b"],
                "items": {"properties": {"inner": {"x-kubernetes-list-type": "set"}}}},
        }}}}));
        assert_eq!(rules.of("spec.tags"), ListRule::Set);
        assert_eq!(rules.of("spec.parts"), map(&["a", "b"]));
        assert_eq!(rules.of("spec.parts.inner"), ListRule::Set);
        assert_eq!(rules.of("spec.other"), ListRule::Atomic);
        assert_eq!(rules.of("metadata.finalizers"), ListRule::Set);
    }

    #[test]
    fn built_in_lists_merge_by_their_keys() {
        let rules = ListRules::builtin();
        assert_eq!(rules.of("spec.containers"), map(&["name"]));
        assert_eq!(
            rules.of("spec.containers.ports"),
            map(&["containerPort", "protocol"])
        );
        assert_eq!(rules.of("spec.tolerations"), ListRule::Atomic);
    }
}
