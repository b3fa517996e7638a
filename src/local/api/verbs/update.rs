//! Update and patch: read, change, compare-and-store.
use std::sync::Arc;

use serde_json::Value;

use super::{Answer, Call, prepare};
use crate::local::api::{
    catalogue::{CRDS, Kind, NAMESPACES},
    defaults,
    http::status::{ApiError, Result},
    meta, patch,
    schema::{self, FieldError},
    store::Object,
};

/// Which part of an object a write is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All but the status, where the resource has a status subresource.
    Main,
    /// `/status`.
    Status,
    /// `/finalize` of namespaces.
    Finalize,
}

/// Attempts against other writers of the same object. Each failure means that one of them got through.
const TRIES: usize = 1000;

/// Replaces an object (PUT).
///
/// # Errors
/// As the API server refuses.
pub fn replace(call: &mut Call<'_>, name: &str, part: Part, mut value: Value) -> Result<Answer> {
    prepare::check_type(call.kind, &mut value)?;
    check_address(call, name, &value)?;
    if call.kind.resource.custom && meta::meta_text(&value, "resourceVersion").is_empty() {
        let error = FieldError::invalid(
            "metadata.resourceVersion",
            &0.into(),
            "must be specified for an update",
        );
        return Err(ApiError::invalid(call.kind.subject(), name, &[error]));
    }
    modify(call, name, part, |_, _| Ok(value.clone()))
}

fn check_address(call: &Call<'_>, name: &str, value: &Value) -> Result<()> {
    let given = meta::meta_text(value, "name");
    if given != name {
        return Err(ApiError::bad_request(if given.is_empty() {
            "the name of the object must be specified".to_owned()
        } else {
            format!("the name of the object ({given}) does not match the name on the URL ({name})")
        }));
    }
    let namespace = meta::meta_text(value, "namespace");
    if !namespace.is_empty() && namespace != call.namespace {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}

/// Changes an object: `change` gets it in the version of the call and gives its successor. May be called again when
/// another writer was faster.
///
/// # Errors
/// As the API server refuses, or as `change` does.
pub fn modify(
    call: &mut Call<'_>,
    name: &str,
    part: Part,
    change: impl Fn(&mut Call<'_>, &Value) -> Result<Value>,
) -> Result<Answer> {
    write(call, name, part, false, change)
}

/// As [`modify`], where `change` has taken care of the managers of fields.
///
/// # Errors
/// As the API server refuses, or as `change` does.
pub fn apply(
    call: &mut Call<'_>,
    name: &str,
    part: Part,
    change: impl Fn(&mut Call<'_>, &Value) -> Result<Value>,
) -> Result<Answer> {
    write(call, name, part, true, change)
}

fn write(
    call: &mut Call<'_>,
    name: &str,
    part: Part,
    applied: bool,
    change: impl Fn(&mut Call<'_>, &Value) -> Result<Value>,
) -> Result<Answer> {
    for _ in 0..TRIES {
        let warnings = call.warnings.len();
        let current = call.stored(name)?;
        let old = call.kind.from_stored(current.value());
        let new = change(call, &old)?;
        let mut new = succeed(call, part, &old, new)?;
        if !applied {
            let subresource = if part == Part::Status { "status" } else { "" };
            let manager = &call.options.manager;
            patch::follow_update(
                &old,
                &mut new,
                manager,
                &call.kind.api_version,
                subresource,
                &meta::now(),
            );
        }
        if let Some(answer) = store(call, &current, &old, new)? {
            call.written();
            return Ok(answer);
        }
        call.warnings.truncate(warnings);
    }
    Err(ApiError::stale(call.kind.subject(), name))
}

/// Stores the successor, unless another writer was faster (`None`).
fn store(call: &Call<'_>, current: &Arc<Object>, old: &Value, new: Value) -> Result<Option<Answer>> {
    let vanishes = vanishes(call.kind, &new);
    if !vanishes && same(old, &new) {
        return Ok(Some(Answer::Stored(current.clone())));
    }
    if call.options.dry_run {
        return Ok(Some(Answer::Made(new)));
    }
    let address = current.address(&call.kind.key);
    let stored = call.kind.to_stored(new);
    call.core.store.write(|writer| {
        if writer
            .get(&address)
            .is_none_or(|now| now.version != current.version)
        {
            return Ok(None);
        }
        let object = if vanishes {
            if call.kind.is(NAMESPACES) && writer.namespace_in_use(&address.name) {
                // Something came in while its last finalizer went; the namespace's deletion continues.
                return Err(ApiError::conflict(
                    call.kind.subject(),
                    &address.name,
                    "the namespace is not empty",
                ));
            }
            writer.delete(&address, stored)?
        } else {
            writer.put(&call.kind.key, &call.kind.fields, stored)?
        };
        Ok::<_, ApiError>(Some(Answer::Stored(object)))
    })
}

/// Whether nothing but the version of the write would be new.
fn same(old: &Value, new: &Value) -> bool {
    old == new
}

/// Whether an object that is being deleted has nothing left to wait for.
pub fn vanishes(kind: &Kind, value: &Value) -> bool {
    meta::is_deleting(value)
        && meta::finalizers(value).is_empty()
        && meta::at(value, &["metadata", "deletionGracePeriodSeconds"])
            .and_then(Value::as_i64)
            .unwrap_or(0)
            == 0
        && (!kind.is(NAMESPACES) || meta::texts(value, &["spec", "finalizers"]).is_empty())
}

/// Fields of metadata that no writer can change.
const IMMUTABLE: [&str; 9] = [
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
];

/// What follows `old` when a client wants `new`.
fn succeed(call: &mut Call<'_>, part: Part, old: &Value, mut new: Value) -> Result<Value> {
    prepare::check_type(call.kind, &mut new)?;
    let subject_name = meta::meta_text(old, "name").to_owned();
    preconditions(call.kind, &subject_name, old, &new)?;
    let kind = call.kind.clone();
    let custom = kind.resource.custom;
    match part {
        Part::Status => {
            let status = new.get("status").cloned();
            let metadata = new["metadata"].take();
            new = old.clone();
            match status {
                Some(status) => meta::set(&mut new, &["status"], status),
                None => drop(meta::remove(&mut new, &["status"])),
            }
            if !custom {
                for field in ["labels", "annotations"] {
                    copy_field(&mut new["metadata"], &metadata, field);
                }
            }
            copy_field(&mut new["metadata"], &metadata, "managedFields");
        }
        Part::Finalize => {
            let mut kept = old.clone();
            meta::copy(&mut kept, &new, &["spec", "finalizers"]);
            new = kept;
        }
        Part::Main if kind.resource.status_subresource => meta::copy(&mut new, old, &["status"]),
        Part::Main => {}
    }
    for field in IMMUTABLE {
        meta::copy(&mut new, old, &["metadata", field]);
    }
    if meta::at(&new, &["metadata", "managedFields"]).is_none() {
        meta::copy(&mut new, old, &["metadata", "managedFields"]);
    }
    tidy(&mut new);
    prepare::shape(call, &mut new)?;
    defaults::keep(&kind, &mut new, old);
    check_finalizers(&kind, &subject_name, old, &new)?;
    prepare::validate(&kind, &new, Some(old))?;
    prepare::check_escalation(call, &new)?;
    if kind.is(CRDS) && part == Part::Main {
        let status = schema::crd::established_status(&new, &meta::now());
        meta::set(&mut new, &["status"], status);
    }
    if counts_generations(&kind) && part == Part::Main && !same_but_metadata(&kind, old, &new) {
        let generation = meta::at(old, &["metadata", "generation"])
            .and_then(Value::as_i64)
            .unwrap_or(0);
        meta::set_meta(&mut new, "generation", generation + 1);
    }
    Ok(new)
}

fn copy_field(to: &mut Value, from: &Value, field: &str) {
    meta::copy(to, from, &[field]);
}

/// Empty lists and maps of metadata are left out, as the types of `meta/v1` do it.
fn tidy(value: &mut Value) {
    for field in [
        "labels",
        "annotations",
        "finalizers",
        "ownerReferences",
        "managedFields",
    ] {
        let empty = match value["metadata"].get(field) {
            Some(Value::Object(map)) => map.is_empty(),
            Some(Value::Array(list)) => list.is_empty(),
            Some(Value::Null) => true,
            _ => false,
        };
        if empty {
            meta::remove(value, &["metadata", field]);
        }
    }
}

fn preconditions(kind: &Kind, name: &str, old: &Value, new: &Value) -> Result<()> {
    let (given, stored) = (meta::meta_text(new, "uid"), meta::meta_text(old, "uid"));
    if !given.is_empty() && given != stored {
        return Err(ApiError::uid_conflict(kind.subject(), name, given, stored));
    }
    let (given, stored) = (
        meta::meta_text(new, "resourceVersion"),
        meta::meta_text(old, "resourceVersion"),
    );
    if !given.is_empty() && given != "0" && given != stored {
        if given.parse::<u64>().is_err() {
            let error = FieldError::invalid("metadata.resourceVersion", &given.into(), "must be a number");
            return Err(ApiError::invalid(kind.subject(), name, &[error]));
        }
        return Err(ApiError::stale(kind.subject(), name));
    }
    for field in ["name", "namespace"] {
        let (given, stored) = (meta::meta_text(new, field), meta::meta_text(old, field));
        if !given.is_empty() && given != stored {
            let error =
                FieldError::invalid(&format!("metadata.{field}"), &given.into(), "field is immutable");
            return Err(ApiError::invalid(kind.subject(), name, &[error]));
        }
    }
    Ok(())
}

fn check_finalizers(kind: &Kind, name: &str, old: &Value, new: &Value) -> Result<()> {
    if !meta::is_deleting(old) {
        return Ok(());
    }
    let known = meta::finalizers(old);
    let added: Vec<&str> = meta::finalizers(new)
        .into_iter()
        .filter(|f| !known.contains(f))
        .collect();
    if added.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = added.iter().map(|finalizer| format!("{finalizer:?}")).collect();
    let why = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
        list.join(", ")
    );
    Err(ApiError::invalid(
        kind.subject(),
        name,
        &[FieldError::forbidden("metadata.finalizers", &why)],
    ))
}

fn counts_generations(kind: &Kind) -> bool {
    kind.resource.status_subresource || kind.resource.custom
}

fn same_but_metadata(kind: &Kind, old: &Value, new: &Value) -> bool {
    let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else {
        return false;
    };
    let counts = |key: &str| {
        let apart = matches!(key, "metadata" | "apiVersion" | "kind");
        !apart && (key != "status" || !kind.resource.status_subresource)
    };
    let covers = |a: &serde_json::Map<String, Value>, b: &serde_json::Map<String, Value>| {
        a.iter()
            .filter(|(key, _)| counts(key))
            .all(|(key, value)| b.get(key) == Some(value))
    };
    covers(old, new) && covers(new, old)
}
