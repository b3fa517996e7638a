//! Who asks, and what they may do.
pub mod impersonate;
pub mod rbac;
pub mod reviews;
pub mod tokens;

use std::collections::BTreeMap;

/// The group whose members may do anything (`user.SystemPrivilegedGroup` of apiserver).
pub const MASTERS: &str = "system:masters";
/// The group of everyone who showed a valid token.
pub const AUTHENTICATED: &str = "system:authenticated";

/// Who sent a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// Name.
    pub name: String,
    /// uid, empty for users that are no objects.
    pub uid: String,
    /// Groups.
    pub groups: Vec<String>,
    /// More about them, such as the pod that a token is bound to.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// A user with groups; `system:authenticated` is added.
    pub fn new(name: impl Into<String>, groups: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let mut groups: Vec<String> = groups.into_iter().map(Into::into).collect();
        if !groups.iter().any(|group| group == AUTHENTICATED) {
            groups.push(AUTHENTICATED.into());
        }
        Self {
            name: name.into(),
            groups,
            ..Self::default()
        }
    }

    /// The one who may do anything: the plane's own parts.
    pub fn superuser() -> Self {
        Self::new("system:admin", [MASTERS])
    }

    /// Whether the user is in a group.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|known| known == group)
    }
}
