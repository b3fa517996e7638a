//! The CEL rules, as the API server would judge by them. What is only schema is shown against the embedded API.

mod function;
mod input;
mod schedule;
mod task;

use std::sync::LazyLock;

use kube::{
    CustomResourceExt,
    core::cel::{CompiledSchema, ValidationErrors, compile_schema, validate_compiled},
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

// `validate_cel` compiles the rules at every call; the tables of these tests ask some hundred times.
static TASK_RULES: LazyLock<CompiledSchema> = LazyLock::new(|| compile_schema(&schema_of::<Task>()));
static SCHEDULE_RULES: LazyLock<CompiledSchema> = LazyLock::new(|| compile_schema(&schema_of::<Schedule>()));
static FUNCTION_RULES: LazyLock<CompiledSchema> = LazyLock::new(|| compile_schema(&schema_of::<Function>()));

fn schema_of<K: CustomResourceExt>() -> Value {
    serde_json::to_value(&K::crd().spec.versions[0].schema).unwrap()["openAPIV3Schema"].take()
}

/// What is wrong, each as `path: message`.
fn sentences(judged: Result<(), ValidationErrors>) -> Vec<String> {
    let errors = judged.err().into_iter().flat_map(ValidationErrors::into_vec);
    errors.map(|error| error.to_string()).collect()
}

fn problems(rules: &CompiledSchema, object: &Value, old: Option<&Value>) -> Vec<String> {
    sentences(validate_compiled(rules, object, old))
}

fn task_problems(spec: &Value) -> Vec<String> {
    problems(&TASK_RULES, &json!(task(spec)), None)
}

fn update_problems(old: &Value, new: &Value) -> Vec<String> {
    problems(&TASK_RULES, &json!(task(new)), Some(&json!(task(old))))
}

fn function_problems(spec: &Value) -> Vec<String> {
    problems(&FUNCTION_RULES, &json!(function(spec)), None)
}
