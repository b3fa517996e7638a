//! What makes two values the same, and the members of lists that must be distinct.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::{FieldError, ListType, MAX_REPORTED, Node};
use crate::local::api::schema::error::go_number;

/// Whether two JSON values are the same; `1` and `1.0` are, and the order of an object's fields does
/// not count.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

/// Text that is equal exactly for values that are [`same`].
fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Number(n) => out.push_str(&go_number(n)),
        Value::Array(items) => {
            out.push('[');
            for item in items {
                canonical(item, out);
                out.push(',');
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut fields: Vec<(&String, &Value)> = map.iter().collect();
            fields.sort_by_key(|(key, _)| key.as_str());
            out.push('{');
            for (key, value) in fields {
                canonical(&Value::String(key.clone()), out);
                out.push(':');
                canonical(value, out);
                out.push(',');
            }
            out.push('}');
        }
        other => out.push_str(&other.to_string()),
    }
}

fn canonical_of(value: &Value) -> String {
    let mut out = String::new();
    canonical(value, &mut out);
    out
}

/// The keys of a member of a map list, with defaults filled in for keys that are absent.
fn keys_of(node: &Node, item: &Value, keys: &[String]) -> Value {
    let mut found = Map::new();
    for key in keys {
        let default = || node.items.as_ref()?.properties.get(key)?.default.clone();
        if let Some(value) = item.get(key).cloned().or_else(default) {
            found.insert(key.clone(), value);
        }
    }
    Value::Object(found)
}

/// Whether any member occurs twice.
pub(super) fn has_duplicates(items: &[Value]) -> bool {
    let mut seen = HashSet::new();
    !items.iter().all(|item| seen.insert(canonical_of(item)))
}

/// Report members that occur twice in a set or map list.
pub(super) fn check_distinct(node: &Node, items: &[Value], path: &str, errors: &mut Vec<FieldError>) {
    let mut seen: HashMap<String, bool> = HashMap::new();
    for (i, item) in items.iter().enumerate() {
        if errors.len() >= MAX_REPORTED {
            return;
        }
        let identity = match &node.list {
            ListType::Atomic => return,
            ListType::Set => item.clone(),
            ListType::Map(keys) => keys_of(node, item, keys),
        };
        match seen.get_mut(&canonical_of(&identity)) {
            None => {
                seen.insert(canonical_of(&identity), false);
            }
            // one value is reported once, however often it is repeated
            Some(reported @ false) => {
                *reported = true;
                errors.push(FieldError::duplicate(&format!("{path}[{i}]"), &identity));
            }
            Some(true) => {}
        }
    }
}

/// Finds the former self of each member of a list: by keys in a map list; a member of any other list
/// has none.
pub(super) struct Former<'a> {
    by_keys: HashMap<String, &'a Value>,
}

impl<'a> Former<'a> {
    pub fn new(node: &Node, old: Option<&'a Value>) -> Self {
        let mut by_keys = HashMap::new();
        if let (ListType::Map(keys), Some(Value::Array(items))) = (&node.list, old) {
            for item in items {
                by_keys
                    .entry(canonical_of(&keys_of(node, item, keys)))
                    .or_insert(item);
            }
        }
        Self { by_keys }
    }

    pub fn of(&self, node: &Node, item: &Value) -> Option<&'a Value> {
        match &node.list {
            ListType::Map(keys) if !self.by_keys.is_empty() => self
                .by_keys
                .get(&canonical_of(&keys_of(node, item, keys)))
                .copied(),
            _ => None,
        }
    }
}
