//! What the API server fills in and checks for single built-in kinds. Pure.
//!
//! Defaults follow `pkg/apis/core/v1/defaults.go` of Kubernetes, checks `pkg/apis/core/validation`.
mod pods;

use serde_json::{Value, json};

use super::{
    catalogue::{CRDS, Kind, NAMESPACES, PODS, SERVICE_ACCOUNTS},
    meta, schema,
    schema::FieldError,
};

/// Keeps a definition until its objects are gone.
pub const CRD_CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Fills in what a writer may leave out.
pub fn fill(kind: &Kind, value: &mut Value) {
    if kind.is(PODS) {
        pods::fill(value);
    } else if kind.is(CRDS) {
        schema::crd::default(value);
    } else if kind.is("/secrets") {
        fill_secret(value);
    }
}

/// Whether the status that a new object brings is kept: kubelets create their Node with one.
pub fn keeps_status_on_create(kind: &Kind) -> bool {
    kind.is("/nodes")
}

/// Sets what new objects begin with.
pub fn begin(kind: &Kind, value: &mut Value) {
    if kind.is(PODS) {
        pods::begin(value);
    } else if kind.is(NAMESPACES) {
        meta::set(value, &["status", "phase"], "Active");
        meta::set(value, &["spec", "finalizers"], json!(["kubernetes"]));
        label_namespace(value);
    } else if kind.is(CRDS) {
        meta::set_meta(value, "finalizers", json!([CRD_CLEANUP]));
    } else if kind.is(SERVICE_ACCOUNTS) {
        meta::remove(value, &["secrets"]);
    }
}

/// Keeps what an update cannot take away.
pub fn keep(kind: &Kind, new: &mut Value, old: &Value) {
    if kind.is(NAMESPACES) {
        label_namespace(new);
        if meta::at(new, &["spec"]).is_none() {
            meta::copy(new, old, &["spec"]);
        }
    } else if kind.is(CRDS) {
        // Whoever replaces a definition does not mean to leave its objects behind when it goes.
        let finalizers = meta::finalizers(new);
        if !meta::is_deleting(old) && !finalizers.contains(&CRD_CLEANUP) {
            let all: Vec<&str> = finalizers.into_iter().chain([CRD_CLEANUP]).collect();
            let all = json!(all);
            meta::set_meta(new, "finalizers", all);
        }
    } else if kind.is(PODS) && meta::text(new, &["spec", "nodeName"]).is_empty() {
        meta::copy(new, old, &["spec", "nodeName"]);
    }
}

fn label_namespace(value: &mut Value) {
    let name = meta::meta_text(value, "name").to_owned();
    meta::set(
        value,
        &["metadata", "labels", "kubernetes.io/metadata.name"],
        name,
    );
}

/// `stringData` becomes `data`.
fn fill_secret(value: &mut Value) {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    if let Some(Value::Object(texts)) = meta::remove(value, &["stringData"]) {
        for (key, text) in texts {
            if let Value::String(text) = text {
                meta::set(value, &["data", &key], STANDARD.encode(text));
            }
        }
    }
    if meta::text(value, &["type"]).is_empty() {
        meta::set(value, &["type"], "Opaque");
    }
}

/// What is wrong with an object beyond its schema.
pub fn validate(kind: &Kind, value: &Value, old: Option<&Value>) -> Vec<FieldError> {
    if kind.is(PODS) {
        return pods::validate(value, old);
    }
    if kind.is("/secrets") || kind.is("/configmaps") {
        return validate_data(value, old);
    }
    if kind.resource.group == "rbac.authorization.k8s.io" {
        return validate_role_ref(value, old);
    }
    Vec::new()
}

fn validate_data(value: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for field in ["data", "binaryData"] {
        for key in value
            .get(field)
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(key, _)| key)
        {
            let good = !key.is_empty()
                && key.len() <= 253
                && key
                    .bytes()
                    .all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c))
                && key != "."
                && !key.starts_with("..");
            if !good {
                let why = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
                errors.push(FieldError::invalid(
                    &format!("{field}[{key}]"),
                    &key.as_str().into(),
                    why,
                ));
            }
        }
    }
    let Some(old) = old else { return errors };
    if old.get("immutable") == Some(&Value::Bool(true)) {
        for field in ["data", "binaryData", "immutable"] {
            if old.get(field) != value.get(field) {
                let why = "field is immutable when `immutable` is set";
                errors.push(FieldError::forbidden(field, why));
            }
        }
    }
    if old.get("type") != value.get("type") {
        errors.push(FieldError::invalid("type", &value["type"], "field is immutable"));
    }
    errors
}

fn validate_role_ref(value: &Value, old: Option<&Value>) -> Vec<FieldError> {
    match (value.get("roleRef"), old.and_then(|old| old.get("roleRef"))) {
        (Some(new), Some(old)) if new != old => {
            vec![FieldError::invalid("roleRef", new, "cannot change roleRef")]
        }
        _ => Vec::new(),
    }
}
