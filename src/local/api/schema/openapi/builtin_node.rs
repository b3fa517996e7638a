//! Compiled schemas of the built-in types: their fields, types and required fields.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};

use serde_json::{Map, Value};

use super::{OBJECT_META, REFERENCE, builtin};
use crate::local::api::schema::{
    Schema,
    structural::{Checks, Kind, ListType, Node},
};

/// Types whose content is free, or that refer to themselves.
const FREE: &[&str] = &[
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray",
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
    "io.k8s.apimachinery.pkg.runtime.RawExtension",
];

static NODES: LazyLock<HashMap<String, Arc<Node>>> = LazyLock::new(|| {
    let mut builder = Builder {
        nodes: HashMap::new(),
        open: Vec::new(),
    };
    for name in builtin::definitions().keys() {
        builder.named(name);
    }
    builder.nodes
});

/// The schema of a built-in type. Parts are shared, so this is cheap after the first call.
pub(in crate::local::api::schema) fn builtin_schema(group: &str, kind: &str) -> Option<Arc<Schema>> {
    let name = builtin::definition_of(group, kind)?;
    NODES
        .get(name)
        .map(|node| Arc::new(Schema::from_root(Arc::clone(node))))
}

/// The schema of `metadata`.
pub(in crate::local::api::schema) fn object_meta() -> Option<Arc<Node>> {
    NODES.get(OBJECT_META).cloned()
}

struct Builder {
    nodes: HashMap<String, Arc<Node>>,
    /// Names being built; a reference back to one of them is left free.
    open: Vec<String>,
}

impl Builder {
    fn named(&mut self, name: &str) -> Arc<Node> {
        if let Some(node) = self.nodes.get(name) {
            return Arc::clone(node);
        }
        if FREE.contains(&name) || self.open.iter().any(|open| open == name) {
            return Arc::new(Node::anything());
        }
        let Some(schema) = builtin::definitions().get(name) else {
            return Arc::new(Node::anything());
        };
        self.open.push(name.to_owned());
        let node = self.node(schema);
        self.open.pop();
        self.nodes.insert(name.to_owned(), Arc::clone(&node));
        node
    }

    fn node(&mut self, schema: &Value) -> Arc<Node> {
        let empty = Map::new();
        let map = schema.as_object().unwrap_or(&empty);
        let wrapped = || map.get("allOf")?.as_array()?.first()?.get("$ref");
        if let Some(target) = map.get("$ref").or_else(wrapped).and_then(Value::as_str) {
            let node = self.named(target.trim_start_matches(REFERENCE));
            return match map.get("default") {
                Some(default) => Arc::new(with_default(&node, default)),
                None => node,
            };
        }
        let properties = map
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten();
        let properties = properties
            .map(|(name, schema)| (name.clone(), self.node(schema)))
            .collect();
        let kind = map.get("type").and_then(Value::as_str).and_then(Kind::parse);
        let int_or_string = map.get("x-kubernetes-int-or-string").and_then(Value::as_bool) == Some(true);
        let required = map
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        Arc::new(Node {
            kind,
            int_or_string,
            // a schema that says nothing accepts anything
            preserve: kind.is_none() && !int_or_string,
            nullable: kind.is_none() && !int_or_string,
            properties,
            additional: map
                .get("additionalProperties")
                .filter(|a| a.is_object())
                .map(|schema| self.node(schema)),
            items: map.get("items").map(|schema| self.node(schema)),
            default: map.get("default").cloned(),
            checks: Checks {
                required: required.filter_map(Value::as_str).map(str::to_owned).collect(),
                format: map
                    .get("format")
                    .and_then(Value::as_str)
                    .filter(|_| !int_or_string)
                    .map(str::to_owned),
                ..Checks::default()
            },
            ..Node::default()
        })
    }
}

/// The same node with a default; what it shares stays shared.
fn with_default(node: &Node, default: &Value) -> Node {
    Node {
        kind: node.kind,
        int_or_string: node.int_or_string,
        preserve: node.preserve,
        nullable: node.nullable,
        properties: node.properties.clone(),
        additional: node.additional.clone(),
        items: node.items.clone(),
        list: ListType::Atomic,
        default: Some(default.clone()),
        checks: Checks {
            required: node.checks.required.clone(),
            format: node.checks.format.clone(),
            ..Checks::default()
        },
        ..Node::default()
    }
}
