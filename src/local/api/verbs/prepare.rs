//! Checks and fillings that every object goes through before it is stored. No I/O.
use serde_json::Value;

use super::{Call, FieldValidation};
use crate::local::api::{
    auth::MASTERS,
    catalogue::{CRDS, Kind, NAMESPACES},
    defaults,
    http::status::{ApiError, Result},
    meta,
    schema::{FieldError, Resource},
};

/// Refuses what is not an object of this kind, fills in apiVersion and kind where they are missing, and writes numbers
/// as the real server does.
pub fn check_type(kind: &Kind, value: &mut Value) -> Result<()> {
    let wanted = &kind.resource.kind;
    if !value.is_object() {
        return Err(ApiError::bad_request(format!(
            "the object provided is unrecognized (must be of type {wanted}): expected a JSON object"
        )));
    }
    if meta::depth(value) > meta::MAX_DEPTH {
        return Err(ApiError::bad_request(format!(
            "the object is nested deeper than {} levels",
            meta::MAX_DEPTH
        )));
    }
    meta::make_whole(value);
    let (api_version, name) = (meta::text(value, &["apiVersion"]), meta::text(value, &["kind"]));
    if !api_version.is_empty() && api_version != kind.api_version {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({})",
            kind.api_version
        )));
    }
    if !name.is_empty() && name != wanted {
        return Err(ApiError::bad_request(format!(
            "{name} in version {:?} cannot be handled as a {wanted}: the kind does not match",
            kind.api_version
        )));
    }
    if api_version.is_empty() || name.is_empty() {
        meta::set(value, &["apiVersion"], kind.api_version.as_str());
        meta::set(value, &["kind"], wanted.as_str());
    }
    match value.get("metadata") {
        None | Some(Value::Null) => meta::set(value, &["metadata"], serde_json::json!({})),
        Some(Value::Object(_)) => {}
        Some(_) => return Err(ApiError::bad_request("metadata: expected an object")),
    }
    for field in ["name", "generateName", "namespace", "uid", "resourceVersion"] {
        match value["metadata"].get(field) {
            None | Some(Value::String(_) | Value::Null) => {}
            Some(_) => {
                return Err(ApiError::bad_request(format!(
                    "metadata.{field}: expected a string"
                )));
            }
        }
    }
    Ok(())
}

/// Drops what the schema does not know and says so as the client wishes; fills in defaults.
pub fn shape(call: &mut Call<'_>, value: &mut Value) -> Result<()> {
    if let Some(schema) = &call.kind.resource.schema {
        let unknown = schema.prune(value);
        report_unknown(call, &unknown)?;
        schema.default(value);
    }
    defaults::fill(call.kind, value);
    Ok(())
}

fn report_unknown(call: &mut Call<'_>, unknown: &[String]) -> Result<()> {
    if unknown.is_empty() {
        return Ok(());
    }
    let texts: Vec<String> = unknown
        .iter()
        .map(|path| format!("unknown field {path:?}"))
        .collect();
    match call.options.validation {
        FieldValidation::Ignore => {}
        FieldValidation::Warn => call.warnings.extend(texts),
        FieldValidation::Strict => {
            let what = format!("strict decoding error: {}", texts.join(", "));
            let Resource {
                kind,
                version,
                custom,
                ..
            } = &call.kind.resource;
            return Err(ApiError::bad_request(if *custom {
                what
            } else {
                format!("{kind} in version {version:?} cannot be handled as a {kind}: {what}")
            }));
        }
    }
    Ok(())
}

/// Everything wrong with an object; `old` is what it replaces.
pub fn validate(kind: &Kind, value: &Value, old: Option<&Value>) -> Result<()> {
    let name = meta::meta_text(value, "name");
    let mut errors = Vec::new();
    if old.is_none() {
        errors.extend(check_name(kind, name));
    }
    errors.extend(meta::check_metadata(value));
    if let Some(schema) = &kind.resource.schema {
        errors.extend(schema.validate(value, old));
    }
    if errors.is_empty() {
        errors.extend(defaults::validate(kind, value, old));
    }
    if errors.is_empty()
        && kind.is(CRDS)
        && let Err(refused) = Resource::from_crd(value)
    {
        errors.extend(refused.errors);
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(ApiError::invalid(kind.subject(), name, &errors))
    }
}

fn check_name(kind: &Kind, name: &str) -> Option<FieldError> {
    let checked = if kind.is(NAMESPACES) {
        meta::check_label(name)
    } else if kind.resource.group == "rbac.authorization.k8s.io" {
        meta::check_path_segment(name)
    } else {
        meta::check_subdomain(name)
    };
    checked
        .err()
        .map(|why| FieldError::invalid("metadata.name", &name.into(), why))
}

/// Refuses roles and bindings that would grant more than their writer has.
pub fn check_escalation(call: &Call<'_>, value: &Value) -> Result<()> {
    if call.kind.resource.group != "rbac.authorization.k8s.io" || call.user.is_in(MASTERS) {
        return Ok(());
    }
    let (name, kind) = (meta::meta_text(value, "name"), &call.kind.resource.kind);
    match call
        .core
        .policy()
        .escalation(call.user, value, kind, call.namespace)
    {
        None => Ok(()),
        Some(grant) => {
            let why = format!(
                "user {:?} (groups={:?}) is attempting to grant RBAC permissions not currently held: {} {}",
                call.user.name, call.user.groups, grant.verb, grant.resource
            );
            Err(ApiError::forbidden(call.kind.subject(), name, &why))
        }
    }
}
