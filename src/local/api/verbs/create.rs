//! Create.
use serde_json::{Value, json};

use super::{Answer, Call, prepare};
use crate::local::api::{
    catalogue::{CRDS, NAMESPACES, PODS, SERVICE_ACCOUNTS},
    defaults,
    http::status::{ApiError, Cause, Result},
    meta,
    schema::FieldError,
    store::{Address, StoreError, Writer},
};

/// Names that are tried for `generateName`, as in Kubernetes.
const GENERATED_TRIES: usize = 8;

enum Refused {
    Taken,
    Other(ApiError),
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Other(error.into())
    }
}

/// Stores a new object.
///
/// # Errors
/// As the API server refuses.
pub fn create(call: &mut Call<'_>, mut value: Value) -> Result<Answer> {
    prepare::check_type(call.kind, &mut value)?;
    place(call, &mut value)?;
    let generate = meta::meta_text(&value, "name").is_empty();
    let base = meta::meta_text(&value, "generateName").to_owned();
    if generate && base.is_empty() {
        let missing = FieldError::required("metadata.name", "name or generateName is required");
        return Err(ApiError::invalid(call.kind.subject(), "", &[missing]));
    }
    if !meta::meta_text(&value, "resourceVersion").is_empty() {
        return Err(ApiError::bad_request(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    if generate {
        meta::set_meta(&mut value, "name", meta::generate_name(&base));
    }
    fresh(call, &mut value)?;
    prepare::validate(call.kind, &value, None)?;
    prepare::check_escalation(call, &value)?;
    if call.kind.is(CRDS) {
        let status = crate::local::api::schema::crd::established_status(&value, &meta::now());
        meta::set(&mut value, &["status"], status);
    }
    for _ in 0..GENERATED_TRIES {
        match store(call, &value) {
            Ok(answer) => return Ok(answer),
            Err(Refused::Other(error)) => return Err(error),
            Err(Refused::Taken) if generate => meta::set_meta(&mut value, "name", meta::generate_name(&base)),
            Err(Refused::Taken) => break,
        }
    }
    Err(ApiError::already_exists(
        call.kind.subject(),
        meta::meta_text(&value, "name"),
    ))
}

/// Puts the object into the namespace of the path.
fn place(call: &Call<'_>, value: &mut Value) -> Result<()> {
    if !call.kind.resource.namespaced {
        meta::remove(value, &["metadata", "namespace"]);
        return Ok(());
    }
    match meta::meta_text(value, "namespace") {
        "" => meta::set_meta(value, "namespace", call.namespace),
        same if same == call.namespace => {}
        _ => {
            return Err(ApiError::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
    }
    Ok(())
}

/// Sets what the server alone decides about a new object, and fills in the rest.
fn fresh(call: &mut Call<'_>, value: &mut Value) -> Result<()> {
    for field in [
        "uid",
        "selfLink",
        "generation",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        meta::remove(value, &["metadata", field]);
    }
    if call.kind.resource.status_subresource && !defaults::keeps_status_on_create(call.kind) {
        meta::remove(value, &["status"]);
    }
    prepare::shape(call, value)?;
    defaults::begin(call.kind, value);
    meta::set_meta(value, "uid", uuid::Uuid::new_v4().to_string());
    meta::set_meta(value, "creationTimestamp", meta::now());
    if call.kind.resource.status_subresource || call.kind.resource.custom {
        meta::set_meta(value, "generation", 1);
    }
    Ok(())
}

fn store(call: &Call<'_>, value: &Value) -> Result<Answer, Refused> {
    let name = meta::meta_text(value, "name");
    let address = call.address(name);
    let stored = call.kind.to_stored(value.clone());
    let object = call.core.store.write(|writer| {
        admit_to_namespace(call, writer, name).map_err(Refused::Other)?;
        admit_account(call, writer, value).map_err(Refused::Other)?;
        if writer.get(&address).is_some() {
            return Err(Refused::Taken);
        }
        if call.options.dry_run {
            return Ok(None);
        }
        Ok(Some(writer.put(&call.kind.key, &call.kind.fields, stored)?))
    })?;
    call.written();
    Ok(match object {
        Some(object) => Answer::Stored(object),
        None => Answer::Made(value.clone()),
    })
}

/// The namespace must be there and not be on its way out.
fn admit_to_namespace(call: &Call<'_>, writer: &Writer<'_>, name: &str) -> Result<()> {
    if !call.kind.resource.namespaced {
        return Ok(());
    }
    let namespace = call.namespace;
    let address = Address::new(&NAMESPACES.into(), "", namespace);
    let Some(found) = writer.get(&address) else {
        let namespaces = crate::local::api::http::status::Subject {
            group: "",
            plural: "namespaces",
            kind: "Namespace",
        };
        return Err(ApiError::not_found(namespaces, namespace));
    };
    if found.facts.deleting {
        let why =
            format!("unable to create new content in namespace {namespace} because it is being terminated");
        let mut error = ApiError::forbidden(call.kind.subject(), name, &why);
        error.causes.push(Cause {
            reason: "NamespaceTerminating".into(),
            message: format!("namespace {namespace} is being terminated"),
            field: "metadata.namespace".into(),
        });
        return Err(error);
    }
    Ok(())
}

/// A pod's service account must be there. `default` may still be in the making, and the pod has no use of it.
fn admit_account(call: &Call<'_>, writer: &Writer<'_>, value: &Value) -> Result<()> {
    let account = meta::text(value, &["spec", "serviceAccountName"]);
    if !call.kind.is(PODS) || matches!(account, "" | "default") {
        return Ok(());
    }
    let namespace = call.namespace;
    if writer
        .get(&Address::new(&SERVICE_ACCOUNTS.into(), namespace, account))
        .is_some()
    {
        return Ok(());
    }
    let why = format!(
        "error looking up service account {namespace}/{account}: serviceaccount {account:?} not found"
    );
    Err(ApiError::forbidden(
        call.kind.subject(),
        meta::meta_text(value, "name"),
        &why,
    ))
}

/// A namespace as the server makes it for itself.
pub fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}
