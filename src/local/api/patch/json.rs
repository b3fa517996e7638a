//! JSON patch (RFC 6902) within the limits of apiserver. Pure.
use json_patch::{Patch, PatchOperation, jsonptr::Pointer};
use serde_json::Value;

use crate::local::api::{
    http::status::{ApiError, Result},
    meta,
};
use http::StatusCode;

/// Operations in one patch (`maxJSONPatchOperations`).
const MAX_OPERATIONS: usize = 10_000;
/// Values that `copy` may add in one patch, counted in nodes: copies of copies grow without bound.
const MAX_COPIED: usize = 100_000;

/// Reads a patch.
///
/// # Errors
/// 400, or 413 for too many operations.
pub fn parse(text: &[u8]) -> Result<Patch> {
    let patch: Patch = serde_json::from_slice(text)
        .map_err(|error| ApiError::bad_request(format!("error decoding patch: {error}")))?;
    if patch.0.len() > MAX_OPERATIONS {
        return Err(ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestEntityTooLarge",
            format!(
                "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
                patch.0.len()
            ),
        ));
    }
    Ok(patch)
}

/// Applies a patch.
///
/// # Errors
/// 422 when a test fails, a path does not exist, or a limit is passed.
pub fn apply(document: &Value, patch: &Patch) -> Result<Value> {
    let mut document = document.clone();
    let mut copied = 0;
    for (index, operation) in patch.0.iter().enumerate() {
        let refuse = |why: String| {
            let message = format!(
                "the server rejected our request due to an error in our request: operation {index}: {why}"
            );
            ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message)
        };
        // Later steps recurse through the document, so it is never let grow deep.
        let depth = added_depth(&document, operation);
        if depth > meta::MAX_DEPTH {
            return Err(refuse(format!(
                "the result is nested deeper than {}",
                meta::MAX_DEPTH
            )));
        }
        if let PatchOperation::Copy(copy) = operation {
            copied += resolve(&document, &copy.from).map_or(0, nodes);
            if copied > MAX_COPIED {
                return Err(refuse(format!("copies add more than {MAX_COPIED} values")));
            }
        }
        json_patch::patch_unsafe(&mut document, std::slice::from_ref(operation))
            .map_err(|error| refuse(error.kind.to_string()))?;
    }
    Ok(document)
}

fn resolve<'a>(document: &'a Value, pointer: &Pointer) -> Option<&'a Value> {
    document.pointer(pointer.as_str())
}

fn added_depth(document: &Value, operation: &PatchOperation) -> usize {
    let path = operation.path().count();
    path + match operation {
        PatchOperation::Add(add) => meta::depth(&add.value),
        PatchOperation::Replace(replace) => meta::depth(&replace.value),
        PatchOperation::Copy(copy) => resolve(document, &copy.from).map_or(0, meta::depth),
        PatchOperation::Move(moved) => resolve(document, &moved.from).map_or(0, meta::depth),
        PatchOperation::Remove(_) | PatchOperation::Test(_) => 0,
    }
}

fn nodes(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(nodes).sum(),
        Value::Object(map) => map.values().map(nodes).sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn run(document: Value, patch: Value) -> Result<Value> {
        apply(&document, &parse(patch.to_string().as_bytes())?)
    }

    #[test]
    fn a_failed_test_is_unprocessable_and_rubbish_is_a_bad_request() {
        let error = run(json!({"a": 1}), json!([{"op": "test", "path": "/a", "value": 2}])).unwrap_err();
        assert_eq!(
            (error.code, error.reason),
            (StatusCode::UNPROCESSABLE_ENTITY, "Invalid")
        );
        assert_eq!(parse(b"{\"op\":1}").unwrap_err().code, StatusCode::BAD_REQUEST);
        let missing = run(json!({}), json!([{"op": "remove", "path": "/a/b"}])).unwrap_err();
        assert_eq!(missing.code, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(
            run(json!({}), json!([{"op": "add", "path": "/a", "value": 2}])).unwrap(),
            json!({"a": 2})
        );
    }

    #[test]
    fn copies_of_copies_and_ever_deeper_values_are_stopped() {
        let copies: Vec<Value> = (0..60)
            .map(|n| json!({"op": "copy", "from": "/a", "path": format!("/a/{n}")}))
            .collect();
        assert!(run(json!({"a": {}}), Value::Array(copies)).is_err());
        let path = |n: usize| "/a".repeat(n);
        let deeper: Vec<Value> = (1..2000)
            .map(|n| json!({"op": "add", "path": path(n), "value": {}}))
            .collect();
        assert!(
            run(json!({}), Value::Array(deeper))
                .unwrap_err()
                .message
                .contains("nested deeper")
        );
    }

    proptest! {
        #[test]
        fn hostile_patches_never_panic(
            op in "add|remove|replace|move|copy|test|x", path in "(/[ab~01-9-]{0,3}|\\PC){0,4}", from in "(/[ab0-9]{0,2}){0,3}"
        ) {
            let _ = run(
                json!({"a": {"b": [1, {"a": 2}]}, "b": null}),
                json!([{"op": op, "path": path, "from": from, "value": {"a": [1]}}]),
            );
        }
    }
}
