//! Pruning and defaulting: what the server does to an object before it looks at the values.

use serde_json::Value;

use super::{MAX_REPORTED, Node};

/// Remove what the schema does not know; `path` is where `value` sits.
pub(super) fn prune(node: &Node, value: &mut Value, path: &mut String, unknown: &mut Vec<String>) {
    let length = path.len();
    match value {
        Value::Object(map) => {
            if !node.preserve {
                map.retain(|field, _| {
                    let known = node.child(field).is_some();
                    if !known && unknown.len() < MAX_REPORTED {
                        push_field(path, field);
                        unknown.push(path.clone());
                        path.truncate(length);
                    }
                    known
                });
            }
            for (field, value) in map.iter_mut() {
                if let Some(child) = node.child(field) {
                    push_field(path, field);
                    prune(child, value, path, unknown);
                    path.truncate(length);
                }
            }
        }
        Value::Array(items) => {
            let Some(child) = &node.items else { return };
            for (i, value) in items.iter_mut().enumerate() {
                push_index(path, i);
                prune(child, value, path, unknown);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

/// Drop nulls that may not be null and have no default, and fill in defaults.
pub(super) fn default(node: &Node, value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (field, child) in &node.properties {
                let Some(default) = &child.default else { continue };
                if map.get(field).is_none_or(|v| v.is_null() && !child.nullable) {
                    map.insert(field.clone(), default.clone());
                }
            }
            if map.values().any(Value::is_null) {
                map.retain(|field, value| {
                    !value.is_null()
                        || node
                            .child(field)
                            .is_none_or(|child| child.nullable || child.default.is_some())
                });
            }
            for (field, value) in map.iter_mut() {
                if let Some(child) = node.child(field) {
                    default_member(child, value);
                }
            }
        }
        Value::Array(items) => {
            let Some(child) = &node.items else { return };
            for value in items {
                default_member(child, value);
            }
        }
        _ => {}
    }
}

fn default_member(child: &Node, value: &mut Value) {
    if let (Value::Null, false, Some(default)) = (&*value, child.nullable, &child.default) {
        *value = default.clone();
    }
    default(child, value);
}

/// Append `.field` (or `field` at the root).
pub(super) fn push_field(path: &mut String, field: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    // a hostile key must not make every path below it huge
    match field.char_indices().nth(256) {
        Some((at, _)) => {
            path.push_str(&field[..at]);
            path.push_str("...");
        }
        None => path.push_str(field),
    }
}

/// Append `[i]`.
pub(super) fn push_index(path: &mut String, index: usize) {
    path.push('[');
    path.push_str(&index.to_string());
    path.push(']');
}
