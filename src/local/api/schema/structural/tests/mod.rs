mod cel;
mod hostile;
mod structure;

use serde_json::{Value, json};

use super::Schema;

/// A root with `spec` as given.
fn with_spec(spec: Value) -> Value {
    json!({"type": "object", "properties": {"spec": spec}})
}

fn compile(spec: Value) -> Schema {
    Schema::compile(&with_spec(spec)).unwrap()
}

/// The errors of a spec, as texts.
fn errors(schema: &Schema, spec: Value) -> Vec<String> {
    schema
        .validate(&json!({"spec": spec}), None)
        .iter()
        .map(ToString::to_string)
        .collect()
}

/// The errors of an update.
fn update_errors(schema: &Schema, old: Value, new: Value) -> Vec<String> {
    schema
        .validate(&json!({"spec": new}), Some(&json!({"spec": old})))
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn refused(spec: Value) -> String {
    Schema::compile(&with_spec(spec)).unwrap_err().to_string()
}
