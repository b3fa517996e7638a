//! One stored object: its JSON text and the facts that are asked for without parsing it.
use std::{collections::BTreeMap, sync::Arc};

use axum::body::Bytes;
use serde_json::Value;

use super::{Address, StoreError};
use crate::local::api::meta;

/// A field that objects of a resource can be selected by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPath {
    /// Name in a field selector.
    pub label: String,
    /// Steps to the value.
    pub path: Vec<String>,
}

impl FieldPath {
    /// A field whose name is its path: `spec.nodeName`.
    pub fn dotted(label: &str) -> Self {
        Self {
            label: label.into(),
            path: label.split('.').map(str::to_owned).collect(),
        }
    }
}

/// An owner reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// uid of the owner.
    pub uid: Arc<str>,
    /// Whether a foreground deletion of the owner waits for this object.
    pub blocks: bool,
}

/// What is known of an object without parsing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Namespace, empty for cluster-scoped objects.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// uid.
    pub uid: Arc<str>,
    /// apiVersion under which it is stored.
    pub api_version: Arc<str>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Selectable fields beyond name and namespace that have a value.
    pub fields: Vec<(String, String)>,
    /// Owners.
    pub owners: Vec<Owner>,
    /// Whether deletion has begun.
    pub deleting: bool,
}

impl Facts {
    /// Reads the facts from an object.
    pub fn of(value: &Value, fields: &[FieldPath]) -> Self {
        let owners = meta::at(value, &["metadata", "ownerReferences"]).and_then(Value::as_array);
        Self {
            namespace: meta::meta_text(value, "namespace").into(),
            name: meta::meta_text(value, "name").into(),
            uid: meta::meta_text(value, "uid").into(),
            api_version: meta::text(value, &["apiVersion"]).into(),
            labels: meta::labels(value),
            fields: fields
                .iter()
                .filter_map(|field| field_value(value, field))
                .collect(),
            owners: owners.into_iter().flatten().map(owner).collect(),
            deleting: meta::is_deleting(value),
        }
    }

    /// Value of a selectable field, empty when it has none.
    pub fn field(&self, label: &str) -> &str {
        match label {
            "metadata.name" => &self.name,
            "metadata.namespace" => &self.namespace,
            _ => self
                .fields
                .iter()
                .find(|(name, _)| name == label)
                .map_or("", |(_, value)| value),
        }
    }
}

fn owner(reference: &Value) -> Owner {
    Owner {
        uid: meta::text(reference, &["uid"]).into(),
        blocks: reference.get("blockOwnerDeletion") == Some(&Value::Bool(true)),
    }
}

fn field_value(value: &Value, field: &FieldPath) -> Option<(String, String)> {
    let found = field.path.iter().try_fold(value, |value, key| value.get(key))?;
    let text = match found {
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => found.to_string(),
        _ => return None,
    };
    Some((field.label.clone(), text))
}

/// One version of an object. Shared, never changed.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its resourceVersion.
    pub version: u64,
    /// The object as JSON, resourceVersion included.
    pub json: Bytes,
    /// What can be asked without parsing.
    pub facts: Facts,
}

impl Object {
    pub(super) fn encode(mut value: Value, version: u64, fields: &[FieldPath]) -> Result<Self, StoreError> {
        meta::set_meta(&mut value, "resourceVersion", version.to_string());
        let json = serde_json::to_vec(&value).map_err(StoreError::Encode)?;
        Ok(Self {
            version,
            // As long as the text: the vector has room for up to twice as much, and would keep it.
            json: Bytes::copy_from_slice(&json),
            facts: Facts::of(&value, fields),
        })
    }

    /// From JSON that [`Object::encode`] made.
    pub(super) fn decode(version: u64, json: Bytes, fields: &[FieldPath]) -> Self {
        let mut object = Self {
            version,
            facts: Facts::of(&Value::Null, &[]),
            json,
        };
        object.facts = Facts::of(&object.value(), fields);
        object
    }

    /// The object as a value.
    pub fn value(&self) -> Value {
        // What was encoded from a value parses again; a stored text that does not would be a broken machine.
        serde_json::from_slice(&self.json).unwrap_or_default()
    }

    pub(super) fn key(&self) -> (Arc<str>, Arc<str>) {
        (self.facts.namespace.clone(), self.facts.name.clone())
    }

    /// Where it is among the objects of `resource`.
    pub fn address(&self, resource: &Arc<str>) -> Address {
        Address {
            resource: resource.clone(),
            namespace: self.facts.namespace.clone(),
            name: self.facts.name.clone(),
        }
    }
}
