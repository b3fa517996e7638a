//! OpenAPI documents.

use std::sync::Arc;

use serde_json::Value;

use super::{Resource, Schema, structural::Node};

/// `/openapi/v2`.
pub fn v2(resources: &[Resource]) -> Value {
    let _ = resources;
    Value::Null
}

/// `/openapi/v3`: where the document of each group version is.
pub fn v3_index(resources: &[Resource]) -> Value {
    let _ = resources;
    Value::Null
}

/// `/openapi/v3/api/v1` or `/openapi/v3/apis/<group>/<version>`; `None` for an unknown one.
pub fn v3_group(group: &str, version: &str, resources: &[Resource]) -> Option<Value> {
    let _ = (group, version, resources);
    None
}

/// The schema of a built-in type.
pub(super) fn builtin_schema(group: &str, kind: &str) -> Option<Arc<Schema>> {
    let _ = (group, kind);
    None
}

/// The schema of `metadata`.
pub(super) fn object_meta() -> Option<Arc<Node>> {
    None
}
