//! OpenAPI documents: v3 by group version (`kubectl explain`, `kubectl apply`), and v2 as a whole.
//!
//! Schemas of built-in types come from k8s-openapi, those of custom resources from their definitions.
//! `kubectl explain` looks for a path of the resource with a `get` that carries
//! `x-kubernetes-group-version-kind`, and then for the schema with the same kind. `kubectl apply` looks
//! for the `patch` operation and its query parameter `fieldValidation`.

mod builtin;
mod builtin_node;
mod paths;
mod v2;

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash, Hasher},
};

use serde_json::{Map, Value, json};

use super::{Resource, resource::version_order};

pub(super) use builtin_node::{builtin_schema, object_meta};
pub use v2::v2;

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
const REFERENCE: &str = "#/components/schemas/";

/// `/openapi/v3`: where the document of each group version is. The hash in an address changes with the
/// document, so that clients may keep it.
pub fn v3_index(resources: &[Resource]) -> Value {
    let mut group_versions: Vec<(&str, &str)> = resources
        .iter()
        .map(|r| (r.group.as_str(), r.version.as_str()))
        .collect();
    group_versions.sort_by(|a, b| a.0.cmp(b.0).then_with(|| version_order(a.1, b.1)));
    group_versions.dedup();
    let mut paths = Map::new();
    for (group, version) in group_versions {
        let path = if group.is_empty() {
            format!("api/{version}")
        } else {
            format!("apis/{group}/{version}")
        };
        let hash = fingerprint(group, version, resources);
        let address = format!("/openapi/v3/{path}?hash={hash:016X}");
        paths.insert(path, json!({"serverRelativeURL": address}));
    }
    json!({"paths": paths})
}

/// Changes whenever the document of a group version does.
fn fingerprint(group: &str, version: &str, resources: &[Resource]) -> u64 {
    let mut hasher = DefaultHasher::new();
    env!("CARGO_PKG_VERSION").hash(&mut hasher);
    for resource in resources
        .iter()
        .filter(|r| r.group == group && r.version == version)
    {
        (
            &resource.plural,
            &resource.kind,
            resource.namespaced,
            resource.subresources.len(),
        )
            .hash(&mut hasher);
        resource
            .open_api
            .as_ref()
            .map(ToString::to_string)
            .hash(&mut hasher);
    }
    hasher.finish()
}

/// `/openapi/v3/api/v1` or `/openapi/v3/apis/<group>/<version>`; `None` for an unknown one.
pub fn v3_group(group: &str, version: &str, resources: &[Resource]) -> Option<Value> {
    let members: Vec<&Resource> = resources
        .iter()
        .filter(|r| r.group == group && r.version == version)
        .collect();
    if members.is_empty() {
        return None;
    }
    let schemas = schemas(&members);
    let mut all_paths = Map::new();
    for resource in &members {
        paths::add(resource, &mut all_paths);
    }
    Some(json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.33.0"},
        "paths": all_paths,
        "components": {"schemas": schemas},
    }))
}

/// Name of the schema of a resource: the group's domain reversed, as the real server names it.
fn schema_name(resource: &Resource) -> String {
    if let Some(name) = builtin::definition_of(&resource.group, &resource.kind).filter(|_| !resource.custom) {
        return name.to_owned();
    }
    let domain: Vec<&str> = resource.group.rsplit('.').collect();
    format!("{}.{}.{}", domain.join("."), resource.version, resource.kind)
}

fn kind_of(resource: &Resource, kind: &str) -> Value {
    json!({"group": resource.group, "version": resource.version, "kind": kind})
}

/// The schemas of these resources and all that they refer to, by name.
fn schemas(members: &[&Resource]) -> Map<String, Value> {
    let mut found = Map::new();
    for resource in members {
        let name = schema_name(resource);
        found.insert(name.clone(), object_schema(resource, &name));
        if resource.allows("list") {
            found.insert(format!("{name}List"), list_schema(resource, &name));
        }
    }
    let mut open: BTreeSet<String> = [DELETE_OPTIONS, STATUS, OBJECT_META, LIST_META]
        .map(str::to_owned)
        .into();
    found.values().for_each(|schema| references(schema, &mut open));
    while let Some(name) = open.pop_first() {
        if found.contains_key(&name) {
            continue;
        }
        if let Some(schema) = builtin::definitions().get(&name) {
            references(schema, &mut open);
            found.insert(name, schema.clone());
        }
    }
    found.sort_keys();
    found
}

/// Collect the names that a schema refers to.
fn references(schema: &Value, names: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            for (key, value) in map {
                match value.as_str().and_then(|text| text.strip_prefix(REFERENCE)) {
                    Some(name) if key == "$ref" => {
                        names.insert(name.to_owned());
                    }
                    _ => references(value, names),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, names)),
        _ => {}
    }
}

fn object_schema(resource: &Resource, name: &str) -> Value {
    let mut schema = match &resource.open_api {
        Some(declared) => custom_schema(declared),
        None => builtin::definitions()
            .get(name)
            .cloned()
            .unwrap_or_else(|| json!({"type": "object"})),
    };
    schema["x-kubernetes-group-version-kind"] = json!([kind_of(resource, &resource.kind)]);
    schema
}

fn described(name: &str) -> Value {
    let doc = builtin::definitions()
        .get("io.k8s.api.core.v1.Pod")
        .and_then(|pod| pod.pointer(&format!("/properties/{name}/description")));
    json!({"type": "string", "description": doc.cloned().unwrap_or_default()})
}

fn reference(name: &str, description: &str) -> Value {
    json!({"description": description, "allOf": [{"$ref": format!("{REFERENCE}{name}")}]})
}

/// A custom resource's own schema, with the fields that every object has.
fn custom_schema(declared: &Value) -> Value {
    let mut schema = declared.clone();
    if !schema.get("properties").is_some_and(Value::is_object) {
        schema["properties"] = json!({});
    }
    let declared = schema["properties"].as_object().cloned().unwrap_or_default();
    let mut properties = Map::new();
    properties.insert("apiVersion".to_owned(), described("apiVersion"));
    properties.insert("kind".to_owned(), described("kind"));
    let words = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
    properties.insert("metadata".to_owned(), reference(OBJECT_META, words));
    for (name, property) in declared {
        properties.entry(name).or_insert(property);
    }
    schema["properties"] = Value::Object(properties);
    schema
}

fn list_schema(resource: &Resource, name: &str) -> Value {
    let items = "List of objects. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md";
    let metadata = "Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
    json!({
        "description": format!("{} is a list of {}", resource.list_kind, resource.kind),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": described("apiVersion"),
            "items": {"description": items, "type": "array", "items": {"allOf": [{"$ref": format!("{REFERENCE}{name}")}]}},
            "kind": described("kind"),
            "metadata": reference(LIST_META, metadata),
        },
        "x-kubernetes-group-version-kind": [kind_of(resource, &resource.list_kind)],
    })
}

#[cfg(test)]
mod tests;
