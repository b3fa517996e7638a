//! Role-based access control over the Roles and bindings in the store.
use super::{MASTERS, User};
use crate::local::api::{
    core::Core,
    http::{
        path::Target,
        status::{ApiError, Result, Subject},
    },
};

/// What somebody wants to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `get`, `create`, ...
    pub verb: String,
    /// API group.
    pub group: String,
    /// Plural name, empty for a path that is no resource.
    pub resource: String,
    /// Subresource, or empty.
    pub subresource: String,
    /// Namespace, or empty.
    pub namespace: String,
    /// Name of one object, or empty.
    pub name: String,
    /// Path that is no resource.
    pub path: String,
}

impl Attributes {
    /// About a path that is no resource.
    pub fn path(verb: &str, path: &str) -> Self {
        Self {
            verb: verb.into(),
            path: path.into(),
            ..Self::default()
        }
    }

    /// About a resource.
    pub fn resource(verb: &str, target: &Target) -> Self {
        Self {
            verb: verb.into(),
            group: target.group.clone(),
            resource: target.plural.clone(),
            subresource: target.subresource.clone().unwrap_or_default(),
            namespace: target.namespace.clone().unwrap_or_default(),
            name: target.name.clone().unwrap_or_default(),
            path: String::new(),
        }
    }
}

/// Refuses what the user may not do.
///
/// # Errors
/// 403.
pub fn authorize(_core: &Core, user: &User, wanted: &Attributes) -> Result<()> {
    if user.is_in(MASTERS) {
        return Ok(());
    }
    let subject = Subject {
        group: &wanted.group,
        plural: &wanted.resource,
        kind: "",
    };
    Err(ApiError::forbidden(subject, &wanted.name, "not allowed"))
}
