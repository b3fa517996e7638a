//! The four ways to patch.
mod apply;
mod fields;
mod json;
pub mod lists;
mod strategic;

use serde_json::Value;

use self::apply::Applier;
pub use self::apply::follow_update;
use super::{
    http::{
        body,
        status::{ApiError, Result, Subject},
    },
    meta,
    schema::FieldError,
    verbs::{
        Answer, Call, create, prepare,
        update::{self, Part},
    },
};

/// JSON patch (RFC 6902).
const JSON: &str = "application/json-patch+json";
/// JSON merge patch (RFC 7396).
const MERGE: &str = "application/merge-patch+json";
/// Strategic merge patch, for built-in types only.
const STRATEGIC: &str = "application/strategic-merge-patch+json";
/// Server-side apply.
const APPLY: &str = "application/apply-patch+yaml";

/// Patches an object; the flag says that apply created it.
///
/// # Errors
/// 415 for other types of patch, 400 and 422 for patches that are no good.
pub fn patch(call: &mut Call<'_>, name: &str, part: Part, kind: &str, text: &[u8]) -> Result<(bool, Answer)> {
    if kind != APPLY && call.options.force.is_some() {
        return Err(ApiError::bad_request(
            "PatchOptions.meta.k8s.io \"\" is invalid: force: Forbidden: may not be specified for non-apply patch",
        ));
    }
    let wanted = call.kind.resource.kind.clone();
    let answer = match kind {
        MERGE => {
            let patch = body::json(text, &wanted)?;
            if !patch.is_object() {
                return Err(ApiError::bad_request(
                    "error decoding patch: a merge patch is a JSON object",
                ));
            }
            update::modify(call, name, part, |_, old| {
                let mut new = old.clone();
                json_patch::merge(&mut new, &patch);
                Ok(new)
            })?
        }
        JSON => {
            let patch = json::parse(text)?;
            update::modify(call, name, part, |_, old| json::apply(old, &patch))?
        }
        STRATEGIC if !call.kind.resource.custom => {
            let patch = body::json(text, &wanted)?;
            let rules = call.kind.lists.clone();
            update::modify(call, name, part, |_, old| strategic::apply(old, &patch, &rules))?
        }
        APPLY => return apply_patch(call, name, part, text),
        _ if call.kind.resource.custom => {
            return Err(ApiError::unsupported_media_type(&[JSON, MERGE, APPLY].join(", ")));
        }
        _ => {
            return Err(ApiError::unsupported_media_type(
                &[JSON, MERGE, STRATEGIC, APPLY].join(", "),
            ));
        }
    };
    Ok((false, answer))
}

/// Creates or merges; who loses a race tries again on what the winner made.
fn apply_patch(call: &mut Call<'_>, name: &str, part: Part, text: &[u8]) -> Result<(bool, Answer)> {
    let applied = configuration(call, name, part, text)?;
    let (manager, force) = (call.options.manager.clone(), call.options.force.unwrap_or(false));
    let (rules, api_version, now) = (
        call.kind.lists.clone(),
        call.kind.api_version.clone(),
        meta::now(),
    );
    let subresource = if part == Part::Status { "status" } else { "" };
    let by = Applier {
        manager: &manager,
        force,
        subresource,
        api_version: &api_version,
        now: &now,
    };
    for _ in 0..100 {
        let changed = update::apply(call, name, part, |_, old| {
            apply::apply(Some(old), &applied, &by, &rules)
        });
        match changed {
            Err(error) if error.reason == "NotFound" && part == Part::Main => {}
            other => return Ok((false, other?)),
        }
        if !meta::meta_text(&applied, "uid").is_empty() {
            let why = "uid mismatch: the provided object specified a uid, and no existing object was found";
            return Err(ApiError::conflict(call.kind.subject(), name, why));
        }
        let new = apply::apply(None, &applied, &by, &rules)?;
        match create::create(call, new) {
            Err(error) if error.reason == "AlreadyExists" => {}
            other => return Ok((true, other?)),
        }
    }
    Err(ApiError::stale(call.kind.subject(), name))
}

fn configuration(call: &Call<'_>, name: &str, part: Part, text: &[u8]) -> Result<Value> {
    let kind = &call.kind.resource.kind;
    let mut applied = body::yaml(text, kind)?;
    for field in ["apiVersion", "kind"] {
        if meta::text(&applied, &[field]).is_empty() {
            return Err(ApiError::bad_request(format!(
                "Object '{field}' is missing in the applied configuration"
            )));
        }
    }
    prepare::check_type(call.kind, &mut applied)?;
    if !call.options.manager_given {
        return Err(ApiError::invalid(
            Subject {
                group: "meta.k8s.io",
                plural: "patchoptions",
                kind: "PatchOptions",
            },
            "",
            &[FieldError::required(
                "fieldManager",
                "is required for apply patch",
            )],
        ));
    }
    if !matches!(
        meta::at(&applied, &["metadata", "managedFields"]),
        None | Some(Value::Null)
    ) {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    let given = meta::meta_text(&applied, "name");
    if !given.is_empty() && given != name {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({name})"
        )));
    }
    meta::set_meta(&mut applied, "name", name);
    match part {
        Part::Status => {
            for field in ["spec", "data"] {
                meta::remove(&mut applied, &[field]);
            }
            for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
                meta::remove(&mut applied, &["metadata", field]);
            }
        }
        _ if call.kind.resource.status_subresource => drop(meta::remove(&mut applied, &["status"])),
        _ => {}
    }
    drop_nulls(&mut applied);
    Ok(applied)
}

/// A null in a configuration says nothing, as in Go's types.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}
