//! Tables (`meta.k8s.io/v1`), which `kubectl get` prints.

mod age;
mod builtin;
mod pods;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Column, Resource, jsonpath::JsonPath};

pub use age::human_duration;

/// What each row carries besides its cells (`?includeObject=`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum IncludeObject {
    /// Nothing.
    None,
    /// The object's metadata, as a PartialObjectMetadata.
    #[default]
    Metadata,
    /// The whole object.
    Object,
}

impl IncludeObject {
    /// The value of the query parameter; absent or empty means [`IncludeObject::Metadata`].
    pub fn parse(value: Option<&str>) -> Option<Self> {
        match value {
            None | Some("" | "Metadata") => Some(Self::Metadata),
            Some("None") => Some(Self::None),
            Some("Object") => Some(Self::Object),
            Some(_) => None,
        }
    }
}

/// What the server says of an object's name column.
const NAME_DESCRIPTION: &str = "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";
const AGE_DESCRIPTION: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

/// A list or a single object as a Table. The rows keep the order of the list; the table takes over the
/// list's (or the object's) resourceVersion and continue token.
pub fn render(
    res: &Resource,
    list_or_object: &Value,
    include_object: IncludeObject,
    now: Timestamp,
) -> Value {
    let painter = Painter::new(res, now);
    let (objects, metadata) = match list_or_object.get("items").and_then(Value::as_array) {
        Some(items) => (items.iter().collect::<Vec<_>>(), list_metadata(list_or_object)),
        None => (vec![list_or_object], object_metadata(list_or_object)),
    };
    let rows: Vec<Value> = objects
        .into_iter()
        .map(|object| json!({"cells": painter.cells(object), "object": included(object, include_object)}))
        .collect();
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": painter.definitions(),
        "rows": rows,
    })
}

fn list_metadata(list: &Value) -> Value {
    list.get("metadata")
        .filter(|metadata| metadata.is_object())
        .cloned()
        .unwrap_or_else(|| json!({}))
}

fn object_metadata(object: &Value) -> Value {
    let version = object.pointer("/metadata/resourceVersion");
    version.map_or_else(|| json!({}), |version| json!({"resourceVersion": version}))
}

fn included(object: &Value, include: IncludeObject) -> Value {
    match include {
        IncludeObject::None => Value::Null,
        IncludeObject::Object => object.clone(),
        IncludeObject::Metadata => json!({
            "kind": "PartialObjectMetadata",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": object.get("metadata").cloned().unwrap_or_else(|| json!({})),
        }),
    }
}

/// Knows the columns of one resource.
struct Painter<'a> {
    now: Timestamp,
    /// Each column, with its path where it is declared by a CRD.
    columns: Vec<(Column, Option<JsonPath>)>,
    /// Computes the cells of a built-in type.
    builtin: Option<builtin::Paint>,
    resource: &'a Resource,
}

impl<'a> Painter<'a> {
    fn new(resource: &'a Resource, now: Timestamp) -> Self {
        let builtin = if resource.custom {
            None
        } else {
            builtin::paint(&resource.group, &resource.kind)
        };
        let name = Column {
            name: "Name".to_owned(),
            kind: "string".to_owned(),
            format: "name".to_owned(),
            description: NAME_DESCRIPTION.to_owned(),
            priority: 0,
            json_path: ".metadata.name".to_owned(),
        };
        let mut columns = vec![name];
        if builtin.is_some() {
            if resource
                .columns
                .first()
                .is_some_and(|column| column.name == "Last Seen")
            {
                // events are told by their object; their own names come last, with `-o wide`
                columns.clear();
            }
            columns.extend(resource.columns.iter().cloned());
        } else if resource.columns.is_empty() || !resource.custom {
            columns.push(Column {
                name: "Age".to_owned(),
                kind: "date".to_owned(),
                format: String::new(),
                description: AGE_DESCRIPTION.to_owned(),
                priority: 0,
                json_path: ".metadata.creationTimestamp".to_owned(),
            });
        } else {
            columns.extend(resource.columns.iter().cloned());
        }
        let columns = columns.into_iter().map(|column| {
            let path = JsonPath::parse(&column.json_path).ok();
            (column, path)
        });
        Self {
            now,
            columns: columns.collect(),
            builtin,
            resource,
        }
    }

    fn definitions(&self) -> Vec<Value> {
        self.columns
            .iter()
            .map(|(column, _)| {
                let description = if column.description.is_empty() && self.resource.custom {
                    format!(
                        "Custom resource definition column (in JSONPath format): {}",
                        column.json_path
                    )
                } else {
                    column.description.clone()
                };
                json!({
                    "name": column.name,
                    "type": column.kind,
                    "format": column.format,
                    "description": description,
                    "priority": column.priority,
                })
            })
            .collect()
    }

    fn cells(&self, object: &Value) -> Vec<Value> {
        if let Some(paint) = self.builtin {
            return paint(object, self.now);
        }
        self.columns
            .iter()
            .map(|(column, path)| {
                let found = path
                    .as_ref()
                    .and_then(|path| path.find(object).into_iter().next());
                found.map_or(Value::Null, |value| self.cell(&column.kind, value))
            })
            .collect()
    }

    /// A value as a cell of a type; null where it does not fit, as on the real server.
    fn cell(&self, kind: &str, value: &Value) -> Value {
        match (kind, value) {
            (_, Value::Null) => Value::Null,
            ("string", Value::String(_)) => value.clone(),
            ("string", other) => Value::from(other.to_string()),
            // whole floats count as integers
            #[allow(clippy::cast_possible_truncation)]
            ("integer", Value::Number(n)) => match (n.as_i64(), n.as_f64()) {
                (Some(i), _) => Value::from(i),
                (None, Some(f)) => Value::from(f as i64),
                _ => Value::Null,
            },
            ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => value.clone(),
            ("date", Value::String(text)) => Value::from(match text.parse() {
                Ok(then) => age::since(then, self.now),
                Err(_) => "<invalid>".to_owned(),
            }),
            _ => Value::Null,
        }
    }
}

/// The text at a pointer, or nothing.
fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "<none>" } else { text }
}

fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn map<'a>(object: &'a Value, pointer: &str) -> Option<&'a Map<String, Value>> {
    object.pointer(pointer).and_then(Value::as_object)
}

#[cfg(test)]
mod tests;
