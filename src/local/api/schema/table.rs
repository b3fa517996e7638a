//! Tables (`meta.k8s.io/v1`), which `kubectl get` prints.

use jiff::Timestamp;
use serde_json::Value;

use super::Resource;

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

/// A list or a single object as a Table.
pub fn render(
    res: &Resource,
    list_or_object: &Value,
    include_object: IncludeObject,
    now: Timestamp,
) -> Value {
    let _ = (res, list_or_object, include_object, now);
    Value::Null
}
