//! Server-side apply: who manages which fields, what an apply adds, changes and takes away. Pure.
//!
//! Follows `sigs.k8s.io/structured-merge-diff`, with one simplification: a writer who does not apply (Update) becomes
//! a manager only of fields that it takes from one who does, so objects that nobody applies carry no managedFields.
use http::StatusCode;
use serde_json::{Value, json};

use super::{
    fields::{Fields, merge},
    lists::ListRules,
};
use crate::local::api::{
    http::status::{ApiError, Cause, Result},
    meta,
};

/// One entry of `metadata.managedFields`.
#[derive(Clone, Debug, PartialEq)]
struct Manager {
    name: String,
    operation: String,
    api_version: String,
    subresource: String,
    time: String,
    fields: Fields,
}

impl Manager {
    fn parse(entry: &Value) -> Self {
        let text = |field: &str| meta::text(entry, &[field]).to_owned();
        Self {
            name: text("manager"),
            operation: text("operation"),
            api_version: text("apiVersion"),
            subresource: text("subresource"),
            time: text("time"),
            fields: Fields::from_json(&entry["fieldsV1"]),
        }
    }

    fn json(&self) -> Value {
        let mut entry = json!({
            "manager": self.name, "operation": self.operation, "apiVersion": self.api_version, "time": self.time,
            "fieldsType": "FieldsV1", "fieldsV1": self.fields.to_json()
        });
        if !self.subresource.is_empty() {
            entry["subresource"] = self.subresource.clone().into();
        }
        entry
    }

    fn is(&self, name: &str, operation: &str, subresource: &str) -> bool {
        self.name == name && self.operation == operation && self.subresource == subresource
    }
}

fn managers(object: &Value) -> Vec<Manager> {
    let entries = meta::at(object, &["metadata", "managedFields"]).and_then(Value::as_array);
    entries.into_iter().flatten().map(Manager::parse).collect()
}

fn set_managers(object: &mut Value, managers: &[Manager]) {
    let entries: Vec<Value> = managers
        .iter()
        .filter(|manager| !manager.fields.is_empty())
        .map(Manager::json)
        .collect();
    if entries.is_empty() {
        meta::remove(object, &["metadata", "managedFields"]);
    } else {
        meta::set_meta(object, "managedFields", entries);
    }
}

/// Who applies, and how.
pub struct Applier<'a> {
    /// Name of the manager.
    pub manager: &'a str,
    /// Take fields from other managers.
    pub force: bool,
    /// `status`, or empty.
    pub subresource: &'a str,
    /// apiVersion of the configuration.
    pub api_version: &'a str,
    /// Now, RFC 3339.
    pub now: &'a str,
}

/// Applies a configuration to an object (or to none yet).
///
/// # Errors
/// 409 with a cause per field that another manager has with another value, 400 for lists that cannot be merged.
pub fn apply(live: Option<&Value>, applied: &Value, by: &Applier<'_>, rules: &ListRules) -> Result<Value> {
    let fields = Fields::of_object(applied, rules)
        .map_err(|why| ApiError::bad_request(format!("failed to create typed patch object: {why}")))?;
    let nothing = json!({});
    let base = live.unwrap_or(&nothing);
    let mut managers = managers(base);
    let mine = managers
        .iter()
        .position(|manager| manager.is(by.manager, "Apply", by.subresource));
    let former = mine.map(|at| managers[at].fields.clone()).unwrap_or_default();

    let mut conflicts = Vec::new();
    for (index, other) in managers.iter_mut().enumerate() {
        if Some(index) == mine {
            continue;
        }
        let taken = fields
            .intersect(&other.fields)
            .differing(Some(base), Some(applied));
        if taken.is_empty() {
            continue;
        }
        if by.force {
            other.fields.subtract(&taken);
        } else {
            conflicts.push((other.clone(), taken.paths()));
        }
    }
    if !conflicts.is_empty() {
        return Err(conflict(&conflicts));
    }

    let mut merged = merge(base, applied, "", rules);
    let mut dropped = former;
    dropped.subtract(&fields);
    for other in managers
        .iter()
        .enumerate()
        .filter(|(index, _)| Some(*index) != mine)
        .map(|(_, other)| other)
    {
        dropped.subtract(&held(&other.fields));
    }
    let mut kept = fields.clone();
    kept.here = false;
    dropped.remove_from(&mut merged);

    let entry = Manager {
        name: by.manager.to_owned(),
        operation: "Apply".into(),
        api_version: by.api_version.to_owned(),
        subresource: by.subresource.to_owned(),
        time: by.now.to_owned(),
        fields: kept,
    };
    match mine {
        // Times alone are no change.
        Some(at) if managers[at].fields == entry.fields && managers[at].api_version == entry.api_version => {}
        Some(at) => managers[at] = entry,
        None => managers.push(entry),
    }
    set_managers(&mut merged, &managers);
    Ok(merged)
}

/// What a manager holds on to: its fields, and the elements and maps around them.
fn held(fields: &Fields) -> Fields {
    let below = fields
        .below
        .iter()
        .map(|(element, below)| (element.clone(), held(below)))
        .collect();
    Fields {
        here: fields.here || !fields.below.is_empty(),
        below,
    }
}

fn conflict(conflicts: &[(Manager, Vec<String>)]) -> ApiError {
    let count: usize = conflicts.iter().map(|(_, paths)| paths.len()).sum();
    let with = |manager: &Manager| {
        let sub = if manager.subresource.is_empty() {
            String::new()
        } else {
            format!(" with subresource {:?}", manager.subresource)
        };
        format!("{:?}{sub} using {}", manager.name, manager.api_version)
    };
    let texts: Vec<String> = conflicts
        .iter()
        .map(|(manager, paths)| match paths.as_slice() {
            [path] => format!("conflict with {}: {path}", with(manager)),
            paths => format!("conflicts with {}:\n- {}", with(manager), paths.join("\n- ")),
        })
        .collect();
    let noun = if count == 1 { "conflict" } else { "conflicts" };
    let message = format!("Apply failed with {count} {noun}: {}", texts.join("\n"));
    let mut error = ApiError::new(StatusCode::CONFLICT, "Conflict", message);
    for (manager, paths) in conflicts {
        error.causes.extend(paths.iter().map(|path| Cause {
            reason: "FieldManagerConflict".into(),
            message: format!("conflict with {}", with(manager)),
            field: path.clone(),
        }));
    }
    error
}

/// What becomes of the managers when somebody writes without applying: they lose the fields that changed.
pub fn follow_update(
    old: &Value,
    new: &mut Value,
    manager: &str,
    api_version: &str,
    subresource: &str,
    now: &str,
) {
    let mut managers = managers(new);
    if managers.is_empty() {
        return;
    }
    let before = managers.clone();
    let mut taken = Fields::default();
    for other in managers
        .iter_mut()
        .filter(|other| !other.is(manager, "Update", subresource))
    {
        let changed = other.fields.differing(Some(old), Some(new));
        other.fields.subtract(&changed);
        taken.add(&changed);
    }
    // What is gone belongs to nobody.
    let absent = taken.differing(Some(new), None);
    let mut present = Fields::default();
    present.add(&absent);
    let present = taken.intersect(&present);
    if !present.is_empty() && subresource.is_empty() {
        match managers
            .iter_mut()
            .find(|other| other.is(manager, "Update", subresource))
        {
            Some(own) => {
                own.fields.add(&present);
                now.clone_into(&mut own.time);
            }
            None => managers.push(Manager {
                name: manager.to_owned(),
                operation: "Update".into(),
                api_version: api_version.to_owned(),
                subresource: subresource.to_owned(),
                time: now.to_owned(),
                fields: present,
            }),
        }
    }
    if managers != before {
        set_managers(new, &managers);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by<'a>(manager: &'a str, force: bool) -> Applier<'a> {
        Applier {
            manager,
            force,
            subresource: "",
            api_version: "v1",
            now: "2026-01-01T00:00:00Z",
        }
    }

    fn run(live: Option<&Value>, applied: Value, manager: &str, force: bool) -> Result<Value> {
        apply(live, &applied, &by(manager, force), &ListRules::builtin())
    }

    fn data(value: &Value) -> Value {
        value["data"].clone()
    }

    #[test]
    fn a_manager_takes_back_what_it_no_longer_applies() {
        let first = run(None, json!({"data": {"a": "1", "b": "2"}}), "m", false).unwrap();
        let mut live = first.clone();
        live["data"]["c"] = "3".into();
        let second = run(Some(&live), json!({"data": {"a": "1"}}), "m", false).unwrap();
        assert_eq!(data(&second), json!({"a": "1", "c": "3"}));
        assert_eq!(
            second["metadata"]["managedFields"][0]["fieldsV1"],
            json!({"f:data": {"f:a": {}}})
        );
    }

    #[test]
    fn another_managers_value_is_a_conflict_unless_forced() {
        let live = run(None, json!({"data": {"a": "1", "b": "2"}}), "one", false).unwrap();
        let error = run(Some(&live), json!({"data": {"a": "9"}}), "two", false).unwrap_err();
        assert_eq!(
            error.message,
            "Apply failed with 1 conflict: conflict with \"one\" using v1: .data.a"
        );
        assert_eq!(error.causes[0].field, ".data.a");
        let forced = run(Some(&live), json!({"data": {"a": "9"}}), "two", true).unwrap();
        assert_eq!(data(&forced), json!({"a": "9", "b": "2"}));
        // The first no longer has `a`, so letting go of it changes nothing.
        let after = run(Some(&forced), json!({"data": {"b": "2"}}), "one", false).unwrap();
        assert_eq!(data(&after), json!({"a": "9", "b": "2"}));
    }

    #[test]
    fn a_shared_value_stays_until_the_last_manager_lets_go() {
        let live = run(None, json!({"data": {"a": "1"}}), "one", false).unwrap();
        let live = run(Some(&live), json!({"data": {"a": "1"}}), "two", false).unwrap();
        let live = run(Some(&live), json!({}), "one", false).unwrap();
        assert_eq!(data(&live), json!({"a": "1"}));
        let live = run(Some(&live), json!({}), "two", false).unwrap();
        assert_eq!(live.get("data"), None);
    }

    #[test]
    fn an_update_takes_fields_from_appliers() {
        let old = run(None, json!({"data": {"a": "1", "b": "2"}}), "one", false).unwrap();
        let mut new = old.clone();
        new["data"]["a"] = "9".into();
        follow_update(&old, &mut new, "edit", "v1", "", "2026-01-01T00:00:00Z");
        let error = run(Some(&new), json!({"data": {"a": "1", "b": "2"}}), "one", false).unwrap_err();
        assert!(
            error.message.contains("conflict with \"edit\" using v1: .data.a"),
            "{}",
            error.message
        );
    }

    #[test]
    fn applying_the_same_again_changes_nothing() {
        let one = run(None, json!({"data": {"a": "1"}}), "m", false).unwrap();
        assert_eq!(
            run(Some(&one), json!({"data": {"a": "1"}}), "m", false).unwrap(),
            one
        );
    }
}
