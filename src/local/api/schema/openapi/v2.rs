//! `/openapi/v2`: the same schemas in Swagger 2.0's words, for older clients.

use serde_json::{Map, Value, json};

use super::{REFERENCE, schemas};
use crate::local::api::schema::Resource;

/// `/openapi/v2`: definitions of all resources. Paths are left out: clients that read v2 look for
/// definitions by their `x-kubernetes-group-version-kind`.
pub fn v2(resources: &[Resource]) -> Value {
    let members: Vec<&Resource> = resources.iter().collect();
    let definitions: Map<String, Value> = schemas(&members)
        .into_iter()
        .map(|(name, schema)| (name, swagger(&schema)))
        .collect();
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": "v1.33.0"},
        "paths": {},
        "definitions": definitions,
    })
}

/// Rewrite references, and leave out what Swagger 2.0 does not know.
fn swagger(schema: &Value) -> Value {
    match schema {
        Value::Object(map) => {
            let mut out = Map::new();
            for (key, value) in map {
                match (key.as_str(), value) {
                    ("$ref", Value::String(target)) => {
                        out.insert(
                            key.clone(),
                            Value::from(target.replacen(REFERENCE, "#/definitions/", 1)),
                        );
                    }
                    // v3 wraps a reference that has siblings; v2 puts them side by side
                    ("allOf", Value::Array(parts)) if parts.len() == 1 && parts[0].get("$ref").is_some() => {
                        if let Value::Object(inner) = swagger(&parts[0]) {
                            out.extend(inner);
                        }
                    }
                    ("allOf" | "anyOf" | "oneOf" | "not" | "nullable", value)
                        if !value.is_object() || key == "not" => {}
                    // properties may have any name, such as those above
                    ("properties", Value::Object(properties)) => {
                        let inner = properties
                            .iter()
                            .map(|(name, schema)| (name.clone(), swagger(schema)));
                        out.insert(key.clone(), Value::Object(inner.collect()));
                    }
                    ("default" | "enum" | "example", value) => {
                        out.insert(key.clone(), value.clone());
                    }
                    (_, value) => {
                        out.insert(key.clone(), swagger(value));
                    }
                }
            }
            Value::Object(out)
        }
        Value::Array(items) => Value::Array(items.iter().map(swagger).collect()),
        other => other.clone(),
    }
}
