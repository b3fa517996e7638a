//! Object metadata: names, labels, times and small accessors over JSON. Pure.
//!
//! Rules and texts follow `k8s.io/apimachinery/pkg/util/validation`.
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::schema::FieldError;

/// Value at a path of keys, if every step exists.
pub fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| value.get(key))
}

/// Deepest nesting of an object. JSON parsers, ours included, give up a little further down.
pub const MAX_DEPTH: usize = 100;

/// How deep a value is nested; a scalar is 1.
pub fn depth(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Up to here every whole number has a float of its own.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// `2.0` becomes `2`, as in the real server: an integer's schema takes both, and Go writes both as `2`, so that clients
/// that know integers can read what was stored.
pub fn make_whole(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            let whole = number
                .as_f64()
                .filter(|number| number.fract() == 0.0 && number.abs() <= EXACT);
            if let Some(whole) = whole {
                // Exact, by the limit.
                *number = (whole as i64).into();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(make_whole),
        Value::Object(map) => map.values_mut().for_each(make_whole),
        _ => {}
    }
}

/// Text at a path, empty when absent or no text.
pub fn text<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    at(value, path).and_then(Value::as_str).unwrap_or("")
}

/// Text of `metadata.FIELD`, empty when absent.
pub fn meta_text<'a>(value: &'a Value, field: &str) -> &'a str {
    text(value, &["metadata", field])
}

/// Puts a value at a path; whatever is in the way and no map becomes one.
pub fn set(value: &mut Value, path: &[&str], new: impl Into<Value>) {
    let Some((first, rest)) = path.split_first() else {
        *value = new.into();
        return;
    };
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    set(&mut value[*first], rest, new);
}

/// Takes away what is at a path, keeping the order of the rest.
pub fn remove(value: &mut Value, path: &[&str]) -> Option<Value> {
    let (last, parents) = path.split_last()?;
    let parent = parents.iter().try_fold(value, |value, key| value.get_mut(*key))?;
    parent.as_object_mut()?.shift_remove(*last)
}

/// Puts `metadata.FIELD`.
pub fn set_meta(value: &mut Value, field: &str, new: impl Into<Value>) {
    set(value, &["metadata", field], new);
}

/// Makes `value`'s part at a path the same as that of `from`: copied, or absent as there.
pub fn copy(value: &mut Value, from: &Value, path: &[&str]) {
    match at(from, path) {
        Some(part) => set(value, path, part.clone()),
        None => {
            remove(value, path);
        }
    }
}

/// Texts of a list at a path; anything that is no text is left out.
pub fn texts<'a>(value: &'a Value, path: &[&str]) -> Vec<&'a str> {
    at(value, path)
        .and_then(Value::as_array)
        .map(|list| list.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default()
}

/// `metadata.finalizers`.
pub fn finalizers(value: &Value) -> Vec<&str> {
    texts(value, &["metadata", "finalizers"])
}

/// Whether deletion has begun.
pub fn is_deleting(value: &Value) -> bool {
    !meta_text(value, "deletionTimestamp").is_empty()
}

/// `metadata.labels`.
pub fn labels(value: &Value) -> BTreeMap<String, String> {
    at(value, &["metadata", "labels"])
        .and_then(Value::as_object)
        .map(|map| {
            map.iter()
                .filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_string())))
                .collect()
        })
        .unwrap_or_default()
}

/// A time as `metav1.Time` prints it: RFC 3339, UTC, whole seconds.
pub fn time(timestamp: jiff::Timestamp) -> String {
    timestamp.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Now, as [`time`] prints it.
pub fn now() -> String {
    time(jiff::Timestamp::now())
}

/// Letters and digits of generated names, as `k8s.io/apimachinery/pkg/util/rand` has them.
const GENERATED: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// `base` plus five random letters, within 63 characters.
pub fn generate_name(base: &str) -> String {
    let base: String = base.chars().take(58).collect();
    let random = uuid::Uuid::new_v4();
    let suffix: String = random.as_bytes()[..5]
        .iter()
        .map(|byte| char::from(GENERATED[usize::from(*byte) % GENERATED.len()]))
        .collect();
    base + &suffix
}

fn alphanumeric(c: u8, upper: bool) -> bool {
    c.is_ascii_digit() || c.is_ascii_lowercase() || (upper && c.is_ascii_uppercase())
}

fn is_dns_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    !bytes.is_empty()
        && bytes.iter().all(|c| alphanumeric(*c, false) || *c == b'-')
        && bytes.first().is_some_and(|c| *c != b'-')
        && bytes.last().is_some_and(|c| *c != b'-')
}

const SUBDOMAIN_TEXT: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_TEXT: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED_TEXT: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const VALUE_TEXT: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

/// RFC 1123 subdomain, up to 253 characters.
pub fn check_subdomain(name: &str) -> Result<(), &'static str> {
    match name {
        _ if name.len() > 253 => Err("must be no more than 253 characters"),
        _ if name.split('.').all(is_dns_label) => Ok(()),
        _ => Err(SUBDOMAIN_TEXT),
    }
}

/// RFC 1123 label, up to 63 characters: names of namespaces.
pub fn check_label(name: &str) -> Result<(), &'static str> {
    match name {
        _ if name.len() > 63 => Err("must be no more than 63 characters"),
        _ if is_dns_label(name) => Ok(()),
        _ => Err(LABEL_TEXT),
    }
}

/// Names of RBAC objects: anything that fits into a path segment.
pub fn check_path_segment(name: &str) -> Result<(), &'static str> {
    match name {
        "." => Err("may not be '.'"),
        ".." => Err("may not be '..'"),
        _ if name.contains('/') => Err("may not contain '/'"),
        _ if name.contains('%') => Err("may not contain '%'"),
        _ => Ok(()),
    }
}

fn is_qualified_part(text: &str) -> bool {
    let bytes = text.as_bytes();
    !bytes.is_empty()
        && bytes.len() <= 63
        && bytes.iter().all(|c| alphanumeric(*c, true) || b"-_.".contains(c))
        && bytes.first().is_some_and(|c| alphanumeric(*c, true))
        && bytes.last().is_some_and(|c| alphanumeric(*c, true))
}

/// Keys of labels and annotations, names of finalizers: `[prefix/]name`.
pub fn check_qualified_name(key: &str) -> Result<(), &'static str> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if let Some(prefix) = prefix {
        check_subdomain(prefix).map_err(|_| "prefix part must be a lowercase RFC 1123 subdomain")?;
    }
    match name {
        "" => Err("name part must be non-empty"),
        _ if name.len() > 63 => Err("name part must be no more than 63 characters"),
        _ if is_qualified_part(name) => Ok(()),
        _ => Err(QUALIFIED_TEXT),
    }
}

/// Values of labels.
pub fn check_label_value(value: &str) -> Result<(), &'static str> {
    match value {
        "" => Ok(()),
        _ if value.len() > 63 => Err("must be no more than 63 characters"),
        _ if is_qualified_part(value) => Ok(()),
        _ => Err(VALUE_TEXT),
    }
}

/// Bytes that the annotations of one object may have together.
const ANNOTATIONS_LIMIT: usize = 256 * 1024;

/// Everything wrong with labels, annotations, finalizers and owner references (the name is checked per resource).
pub fn check_metadata(object: &Value) -> Vec<FieldError> {
    let mut causes = Vec::new();
    let Some(metadata) = object.get("metadata").and_then(Value::as_object) else {
        return causes;
    };
    check_labels(metadata.get("labels"), &mut causes);
    check_annotations(metadata.get("annotations"), &mut causes);
    for (field, kind) in [("finalizers", "array"), ("ownerReferences", "array")] {
        if metadata.get(field).is_some_and(|v| !v.is_array() && !v.is_null()) {
            causes.push(FieldError::invalid(
                &format!("metadata.{field}"),
                &metadata[field],
                &format!("must be an {kind}"),
            ));
        }
    }
    for finalizer in finalizers(object) {
        if let Err(why) = check_qualified_name(finalizer) {
            causes.push(FieldError::invalid("metadata.finalizers", &finalizer.into(), why));
        }
    }
    check_owners(metadata.get("ownerReferences"), &mut causes);
    causes
}

fn check_labels(labels: Option<&Value>, causes: &mut Vec<FieldError>) {
    let field = "metadata.labels";
    match labels {
        None | Some(Value::Null) => {}
        Some(Value::Object(map)) => {
            for (key, value) in map {
                if let Err(why) = check_qualified_name(key) {
                    causes.push(FieldError::invalid(field, &key.as_str().into(), why));
                }
                match value.as_str().map(check_label_value) {
                    Some(Ok(())) => {}
                    Some(Err(why)) => causes.push(FieldError::invalid(field, value, why)),
                    None => causes.push(FieldError::invalid(field, value, "must be a string")),
                }
            }
        }
        Some(other) => causes.push(FieldError::invalid(field, other, "must be an object")),
    }
}

fn check_annotations(annotations: Option<&Value>, causes: &mut Vec<FieldError>) {
    let field = "metadata.annotations";
    match annotations {
        None | Some(Value::Null) => {}
        Some(Value::Object(map)) => {
            let mut size = 0;
            for (key, value) in map {
                if let Err(why) = check_qualified_name(&key.to_lowercase()) {
                    causes.push(FieldError::invalid(field, &key.as_str().into(), why));
                }
                match value {
                    Value::String(text) => size += key.len() + text.len(),
                    other => causes.push(FieldError::invalid(field, other, "must be a string")),
                }
            }
            if size > ANNOTATIONS_LIMIT {
                causes.push(FieldError::too_long(field, ANNOTATIONS_LIMIT as u64));
            }
        }
        Some(other) => causes.push(FieldError::invalid(field, other, "must be an object")),
    }
}

fn check_owners(owners: Option<&Value>, causes: &mut Vec<FieldError>) {
    let mut controllers = 0;
    for (index, owner) in owners.and_then(Value::as_array).into_iter().flatten().enumerate() {
        for (field, detail) in [
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ] {
            if text(owner, &[field]).is_empty() {
                let path = format!("metadata.ownerReferences[{index}].{field}");
                causes.push(FieldError::invalid(&path, &"".into(), detail));
            }
        }
        controllers += usize::from(owner.get("controller") == Some(&Value::Bool(true)));
    }
    if controllers > 1 {
        causes.push(FieldError::invalid(
            "metadata.ownerReferences",
            &owners.cloned().unwrap_or_default(),
            "Only one reference can have Controller set to true",
        ));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_follow_rfc_1123() {
        for good in ["a", "a-b", "a.b", "1", &"a".repeat(253)] {
            assert_eq!(check_subdomain(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "A",
            "-a",
            "a-",
            "a..b",
            ".a",
            "a_b",
            "ä",
            "a/b",
            &"a".repeat(254),
        ] {
            assert!(check_subdomain(bad).is_err(), "{bad}");
        }
        assert!(check_label("a.b").is_err());
        assert!(check_label(&"a".repeat(64)).is_err());
    }

    #[test]
    fn generated_names_fit_and_differ() {
        let name = generate_name(&"x".repeat(100));
        assert_eq!(name.len(), 63);
        assert_eq!(check_label(&name), Ok(()));
        assert_ne!(generate_name("a-"), generate_name("a-"));
    }

    #[test]
    fn wrong_metadata_is_listed_field_by_field() {
        let object = json!({"metadata": {
            "labels": {"a b": "c", "ok": 3}, "annotations": [], "finalizers": ["bad name"],
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p"}]
        }});
        let fields: Vec<String> = check_metadata(&object).into_iter().map(|c| c.field).collect();
        assert_eq!(
            fields,
            [
                "metadata.labels",
                "metadata.labels",
                "metadata.annotations",
                "metadata.finalizers",
                "metadata.ownerReferences[0].uid"
            ]
        );
    }
}
