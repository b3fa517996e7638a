//! The paths of a resource and their operations.

use serde_json::{Map, Value, json};

use super::{DELETE_OPTIONS, REFERENCE, STATUS, kind_of, schema_name};
use crate::local::api::schema::{Resource, Subresource};

/// Add the paths of a resource and its subresources.
pub(super) fn add(resource: &Resource, paths: &mut Map<String, Value>) {
    let base = match resource.group.as_str() {
        "" => format!("/api/{}", resource.version),
        group => format!("/apis/{group}/{}", resource.version),
    };
    let plural = &resource.plural;
    let collection = if resource.namespaced {
        format!("{base}/namespaces/{{namespace}}/{plural}")
    } else {
        format!("{base}/{plural}")
    };
    let object = schema_name(resource);
    if resource.namespaced && resource.allows("list") {
        let mut item = Map::new();
        item.insert(
            "get".to_owned(),
            operation(resource, "list", &format!("{object}List"), &[]),
        );
        paths.insert(format!("{base}/{plural}"), Value::Object(item));
    }
    let own = operations(resource, &object, true);
    if !own.is_empty() {
        paths.insert(
            collection.clone(),
            with_parameters(own, resource.namespaced, false),
        );
    }
    let own = operations(resource, &object, false);
    if !own.is_empty() {
        paths.insert(
            format!("{collection}/{{name}}"),
            with_parameters(own, resource.namespaced, true),
        );
    }
    for sub in &resource.subresources {
        let operations = sub_operations(resource, sub, &object);
        let path = format!("{collection}/{{name}}/{}", sub.name);
        paths.insert(path, with_parameters(operations, resource.namespaced, true));
    }
}

fn operations(resource: &Resource, object: &str, collection: bool) -> Map<String, Value> {
    let mut item = Map::new();
    for verb in &resource.verbs {
        let (method, action, schema, parameters): (&str, &str, String, &[&str]) =
            match (verb.as_str(), collection) {
                ("list", true) => ("get", "list", format!("{object}List"), LIST),
                ("create", true) => ("post", "post", object.to_owned(), WRITE),
                ("deletecollection", true) => ("delete", "deletecollection", STATUS.to_owned(), LIST),
                ("get", false) => ("get", "get", object.to_owned(), &[]),
                ("update", false) => ("put", "put", object.to_owned(), WRITE),
                ("patch", false) => ("patch", "patch", object.to_owned(), PATCH),
                ("delete", false) => ("delete", "delete", STATUS.to_owned(), DELETE),
                _ => continue,
            };
        item.insert(
            method.to_owned(),
            operation(resource, action, &schema, parameters),
        );
    }
    item
}

fn sub_operations(resource: &Resource, sub: &Subresource, object: &str) -> Map<String, Value> {
    let same = (sub.kind.as_str(), sub.group.as_str()) == (resource.kind.as_str(), resource.group.as_str());
    let schema = if same { object } else { STATUS };
    let mut item = Map::new();
    for verb in &sub.verbs {
        let (method, action, parameters): (&str, &str, &[&str]) = match verb.as_str() {
            "get" => ("get", "get", &[]),
            "update" => ("put", "put", WRITE),
            "patch" => ("patch", "patch", PATCH),
            "create" => ("post", "post", WRITE),
            _ => continue,
        };
        let mut operation = operation(resource, action, schema, parameters);
        operation["x-kubernetes-group-version-kind"] =
            json!({"group": sub.group, "version": sub.version, "kind": sub.kind});
        item.insert(method.to_owned(), operation);
    }
    item
}

const LIST: &[&str] = &[
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeoutSeconds",
    "watch",
];
const WRITE: &[&str] = &["dryRun", "fieldManager", "fieldValidation"];
const PATCH: &[&str] = &["dryRun", "fieldManager", "fieldValidation", "force"];
const DELETE: &[&str] = &[
    "dryRun",
    "gracePeriodSeconds",
    "orphanDependents",
    "propagationPolicy",
];

fn operation(resource: &Resource, action: &str, schema: &str, parameters: &[&str]) -> Value {
    let content = json!({"application/json": {"schema": {"$ref": format!("{REFERENCE}{schema}")}}});
    let mut operation = json!({
        "tags": [if resource.group.is_empty() { format!("core_{}", resource.version) } else { format!("{}_{}", resource.group.replace('.', "_"), resource.version) }],
        "operationId": format!("{action}{}{}", resource.version, resource.kind),
        "parameters": parameters.iter().map(|name| parameter(name)).collect::<Vec<_>>(),
        "responses": {"200": {"description": "OK", "content": content}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": kind_of(resource, &resource.kind),
    });
    let body = match action {
        "post" | "put" => Some(json!({"*/*": {"schema": {"$ref": format!("{REFERENCE}{schema}")}}})),
        "delete" | "deletecollection" => {
            Some(json!({"*/*": {"schema": {"$ref": format!("{REFERENCE}{DELETE_OPTIONS}")}}}))
        }
        "patch" => Some(patch_body(resource.custom)),
        _ => None,
    };
    if let Some(content) = body {
        operation["requestBody"] = json!({"content": content, "required": action != "delete"});
    }
    operation
}

/// The kinds of patch. Custom resources know no strategic merge: kubectl sends one to whatever lists it.
fn patch_body(custom: bool) -> Value {
    let mut content = Map::new();
    for kind in [
        "apply-patch+yaml",
        "json-patch+json",
        "merge-patch+json",
        "strategic-merge-patch+json",
    ] {
        if !custom || !kind.starts_with("strategic") {
            content.insert(
                format!("application/{kind}"),
                json!({"schema": {"type": "object"}}),
            );
        }
    }
    Value::Object(content)
}

fn parameter(name: &str) -> Value {
    let kind = match name {
        "limit" | "timeoutSeconds" | "gracePeriodSeconds" => "integer",
        "watch" | "force" | "allowWatchBookmarks" | "sendInitialEvents" | "orphanDependents" => "boolean",
        _ => "string",
    };
    json!({"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": true}})
}

fn with_parameters(mut item: Map<String, Value>, namespaced: bool, named: bool) -> Value {
    let parameter = |name: &str| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "uniqueItems": true}});
    let mut parameters = Vec::new();
    if named {
        parameters.push(parameter("name"));
    }
    if namespaced {
        parameters.push(parameter("namespace"));
    }
    item.insert("parameters".to_owned(), Value::from(parameters));
    Value::Object(item)
}
