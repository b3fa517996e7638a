//! Strategic merge patch, as kubectl sends it for built-in types. Pure.
//!
//! Follows `k8s.io/apimachinery/pkg/util/strategicpatch`: lists merge by key, and the directives `$patch`,
//! `$retainKeys`, `$setElementOrder/LIST` and `$deleteFromPrimitiveList/LIST` are understood.
use serde_json::{Map, Value};

use super::lists::{ListRule, ListRules, join};
use crate::local::api::http::status::{ApiError, Result};

const PATCH: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";

/// Applies a patch.
///
/// # Errors
/// 400 for a patch that is no object, or an element without its merge key.
pub fn apply(document: &Value, patch: &Value, rules: &ListRules) -> Result<Value> {
    let Some(patch) = patch.as_object() else {
        return Err(ApiError::bad_request("the patch is not a JSON object"));
    };
    let mut document = document.clone();
    merge_map(&mut document, patch, "", rules)?;
    Ok(document)
}

fn merge_map(target: &mut Value, patch: &Map<String, Value>, path: &str, rules: &ListRules) -> Result<()> {
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    match patch.get(PATCH).and_then(Value::as_str) {
        Some("replace") => {
            let kept = patch.iter().filter(|(key, _)| !key.starts_with('$'));
            *target = Value::Object(kept.map(|(key, value)| (key.clone(), value.clone())).collect());
            return Ok(());
        }
        Some("delete") => {
            *target = Value::Object(Map::new());
            return Ok(());
        }
        None | Some("merge") => {}
        Some(other) => {
            return Err(ApiError::bad_request(format!(
                "unknown patch type found: {other}"
            )));
        }
    }
    let Some(map) = target.as_object_mut() else {
        return Ok(());
    };
    if let Some(Value::Array(retain)) = patch.get(RETAIN) {
        map.retain(|key, _| retain.iter().any(|kept| kept == key));
    }
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix(DELETE_FROM) {
            if let (Some(Value::Array(items)), Value::Array(gone)) = (map.get_mut(list), value) {
                items.retain(|item| !gone.contains(item));
            }
            continue;
        }
        if key.starts_with('$') {
            continue;
        }
        let path = join(path, key);
        match value {
            Value::Null => {
                map.shift_remove(key);
            }
            Value::Object(inner) => {
                merge_map(map.entry(key.clone()).or_insert(Value::Null), inner, &path, rules)?;
                if inner.get(PATCH).and_then(Value::as_str) == Some("delete") {
                    map.shift_remove(key);
                }
            }
            Value::Array(items) => {
                let merged = merge_list(map.get(key), items, &path, rules)?;
                map.insert(key.clone(), merged);
            }
            scalar => {
                map.insert(key.clone(), scalar.clone());
            }
        }
    }
    for (key, order) in patch {
        if let (Some(list), Value::Array(order)) = (key.strip_prefix(ORDER), order)
            && let Some(Value::Array(items)) = map.get_mut(list)
        {
            sort(items, order, &rules.of(&join(path, list)));
        }
    }
    Ok(())
}

fn merge_list(target: Option<&Value>, patch: &[Value], path: &str, rules: &ListRules) -> Result<Value> {
    let current = target.and_then(Value::as_array).cloned().unwrap_or_default();
    let replaces = patch.iter().any(|item| directive(item) == Some("replace"));
    let is_directive_only =
        |item: &Value| directive(item) == Some("replace") && item.as_object().is_some_and(|m| m.len() == 1);
    match rules.of(path) {
        _ if replaces => Ok(patch
            .iter()
            .filter(|item| !is_directive_only(item))
            .map(plain)
            .collect()),
        ListRule::Atomic => Ok(patch.iter().map(plain).collect()),
        ListRule::Set => {
            let mut merged = current;
            for item in patch {
                if !merged.contains(item) {
                    merged.push(item.clone());
                }
            }
            Ok(Value::Array(merged))
        }
        // Strategic merge knows one key per list, the first of those that apply uses.
        ListRule::Map(keys) => merge_by_key(
            current,
            patch,
            keys.first().map_or("name", String::as_str),
            path,
            rules,
        ),
    }
}

fn merge_by_key(
    mut list: Vec<Value>,
    patch: &[Value],
    key: &str,
    path: &str,
    rules: &ListRules,
) -> Result<Value> {
    for item in patch {
        let (Some(fields), Some(id)) = (item.as_object(), item.get(key)) else {
            return Err(ApiError::bad_request(format!(
                "map: {item} does not contain declared merge key: {key}"
            )));
        };
        let found = list.iter().position(|known| known.get(key) == Some(id));
        match (directive(item), found) {
            (Some("delete"), _) => list.retain(|known| known.get(key) != Some(id)),
            (_, Some(at)) => merge_map(&mut list[at], fields, path, rules)?,
            (_, None) => {
                let mut new = Value::Object(Map::new());
                merge_map(&mut new, fields, path, rules)?;
                list.push(new);
            }
        }
    }
    Ok(Value::Array(list))
}

fn directive(item: &Value) -> Option<&str> {
    item.get(PATCH).and_then(Value::as_str)
}

/// A value without directives.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map
                .iter()
                .filter(|(key, _)| key.as_str() != PATCH && key.as_str() != RETAIN);
            Value::Object(kept.map(|(key, value)| (key.clone(), plain(value))).collect())
        }
        Value::Array(items) => items.iter().map(plain).collect(),
        other => other.clone(),
    }
}

/// Orders a list as the client has it; what the client does not know keeps its place behind its neighbours.
fn sort(items: &mut [Value], order: &[Value], rule: &ListRule) {
    let place = |item: &Value| {
        order.iter().position(|wanted| match rule {
            ListRule::Map(keys) => keys
                .first()
                .is_some_and(|key| wanted.get(key).is_some() && wanted.get(key) == item.get(key)),
            _ => wanted == item,
        })
    };
    let mut last = 0;
    let mut keyed: Vec<(usize, Value)> = Vec::with_capacity(items.len());
    for item in items.iter() {
        last = place(item).unwrap_or(last);
        keyed.push((last, item.clone()));
    }
    keyed.sort_by_key(|(at, _)| *at);
    for (slot, (_, item)) in items.iter_mut().zip(keyed) {
        *slot = item;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn run(document: Value, patch: Value) -> Value {
        apply(&document, &patch, &ListRules::builtin()).unwrap()
    }

    #[test]
    fn lists_merge_by_key_and_order_as_kubectl_says() {
        let pod = json!({"spec": {"containers": [{"name": "a", "image": "1", "env": [{"name": "x", "value": "1"}]}, {"name": "b"}]}});
        let patch = json!({"spec": {
            "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}],
            "containers": [{"name": "a", "image": "2", "env": [{"name": "y", "value": "2"}]}, {"name": "c"}, {"name": "b", "$patch": "delete"}]
        }});
        assert_eq!(
            run(pod, patch),
            json!({"spec": {"containers": [{"name": "c"}, {"name": "a", "image": "2",
                "env": [{"name": "x", "value": "1"}, {"name": "y", "value": "2"}]}]}})
        );
    }

    #[test]
    fn directives_replace_delete_and_retain() {
        let object = json!({"metadata": {"labels": {"a": "1"}, "finalizers": ["x", "y"]}, "spec": {"a": 1, "b": 2}, "list": [1]});
        let patch = json!({
            "metadata": {"labels": {"$patch": "replace", "b": "2"}, "$deleteFromPrimitiveList/finalizers": ["x"], "finalizers": ["z"]},
            "spec": {"$retainKeys": ["b", "c"], "c": 3}, "list": [2]
        });
        assert_eq!(
            run(object, patch),
            json!({"metadata": {"labels": {"b": "2"}, "finalizers": ["y", "z"]}, "spec": {"b": 2, "c": 3}, "list": [2]})
        );
    }

    #[test]
    fn conditions_merge_by_type_and_nulls_remove() {
        let node = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}, {"type": "Disk"}], "x": 1}});
        let patch = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}], "x": null}});
        assert_eq!(
            run(node, patch),
            json!({"status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Disk"}]}})
        );
        assert!(
            apply(
                &json!({}),
                &json!({"status": {"conditions": [{"status": "True"}]}}),
                &ListRules::builtin()
            )
            .is_err()
        );
        assert!(apply(&json!({}), &json!([]), &ListRules::builtin()).is_err());
    }

    proptest! {
        #[test]
        fn hostile_patches_never_panic(key in "(\\$patch|\\$retainKeys|\\$setElementOrder/containers|\\$deleteFromPrimitiveList/a|containers|a)",
            value in prop_oneof![Just(json!(null)), Just(json!("replace")), Just(json!("delete")), Just(json!([1, {"name": 1}, null])), Just(json!({"a": []}))]) {
            let document = json!({"containers": [{"name": "a"}, 3], "a": [1]});
            let _ = apply(&document, &json!({key: value}), &ListRules::builtin());
        }
    }
}
