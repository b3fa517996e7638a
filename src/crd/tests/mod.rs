//! The CEL rules, as the API server would judge by them. What is only schema is shown against the embedded API.

mod function;
mod input;
mod task;

use kube::{
    CustomResourceExt,
    core::cel::{ValidationErrors, Validator},
};
use serde_json::{Value, json};

use super::*;

fn task(spec: &Value) -> Task {
    let object = json!({"apiVersion": API_VERSION, "kind": "Task", "metadata": {"name": "t"}, "spec": spec});
    serde_json::from_value(object).unwrap()
}

fn function(spec: &Value) -> Function {
    let object =
        json!({"apiVersion": API_VERSION, "kind": "Function", "metadata": {"name": "f"}, "spec": spec});
    serde_json::from_value(object).unwrap()
}

/// What is wrong, each as `path: message`.
fn sentences(judged: Result<(), ValidationErrors>) -> Vec<String> {
    judged
        .err()
        .into_iter()
        .flat_map(ValidationErrors::into_vec)
        .map(|e| e.to_string())
        .collect()
}

fn task_problems(spec: &Value) -> Vec<String> {
    sentences(task(spec).validate_cel())
}

fn function_problems(spec: &Value) -> Vec<String> {
    sentences(function(spec).validate_cel())
}

/// As [`sentences`], for a spec that our own types refuse to hold.
fn raw_problems<K: CustomResourceExt>(spec: &Value) -> Vec<String> {
    let schema = serde_json::to_value(schema_of::<K>()).unwrap();
    sentences(Validator::new().validate(&schema, &json!({"spec": spec}), None))
}

fn schema_of<K: CustomResourceExt>() -> Value {
    serde_json::to_value(&K::crd().spec.versions[0].schema).unwrap()["openAPIV3Schema"].take()
}
