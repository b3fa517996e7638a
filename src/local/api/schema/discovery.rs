//! Discovery documents.

use serde_json::Value;

use super::Resource;

/// `/api`: the versions of the core group. `host` is the address that clients see, such as `127.0.0.1:6443`.
pub fn api_versions(host: &str) -> Value {
    let _ = host;
    Value::Null
}

/// `/apis`: an APIGroupList.
pub fn api_groups(resources: &[Resource]) -> Value {
    let _ = resources;
    Value::Null
}

/// `/apis/<group>`: one APIGroup, or `None` for an unknown one.
pub fn api_group(group: &str, resources: &[Resource]) -> Option<Value> {
    let _ = (group, resources);
    None
}

/// `/api/v1` or `/apis/<group>/<version>`: an APIResourceList, or `None` for an unknown one.
pub fn api_resource_list(group: &str, version: &str, resources: &[Resource]) -> Option<Value> {
    let _ = (group, version, resources);
    None
}

/// Aggregated discovery (`APIGroupDiscoveryList` of apidiscovery.k8s.io/v2): with `core` the one for
/// `/api`, otherwise the one for `/apis`.
pub fn aggregated(resources: &[Resource], core: bool) -> Value {
    let _ = (resources, core);
    Value::Null
}

/// Media type of [`aggregated`]'s answer; clients ask for it in `Accept`.
pub const AGGREGATED_CONTENT_TYPE: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Whether an `Accept` header prefers aggregated discovery v2 in JSON.
pub fn accepts_aggregated(accept: &str) -> bool {
    let _ = accept;
    false
}
