//! Acting as somebody else (`kubectl --as`), for those who may `impersonate`.
//!
//! Headers and rules follow `k8s.io/apiserver/pkg/endpoints/filters/impersonation.go`.
use http::HeaderMap;

use super::{
    User,
    rbac::{self, Attributes},
};
use crate::local::api::{
    core::Core,
    http::status::{ApiError, Result},
};

/// The user that a request is to count as.
///
/// # Errors
/// 403 for those who may not, 400 for a group without a user.
pub fn apply(core: &Core, user: User, headers: &HeaderMap) -> Result<User> {
    let texts = |name: &str| -> Vec<String> {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .map(str::to_owned)
            .collect()
    };
    let groups = texts("impersonate-group");
    let Some(name) = texts("impersonate-user").pop() else {
        return match groups.is_empty() {
            true => Ok(user),
            false => Err(ApiError::bad_request(
                "requested to impersonate groups without impersonating a user",
            )),
        };
    };
    let account = name
        .strip_prefix("system:serviceaccount:")
        .and_then(|rest| rest.split_once(':'));
    let wanted = match account {
        Some((namespace, account)) => attributes("serviceaccounts", namespace, account),
        None => attributes("users", "", &name),
    };
    rbac::authorize(core, &user, &wanted)?;
    for group in &groups {
        rbac::authorize(core, &user, &attributes("groups", "", group))?;
    }
    let mut own = groups;
    if let Some((namespace, _)) = account
        && own.is_empty()
    {
        own = vec![
            "system:serviceaccounts".into(),
            format!("system:serviceaccounts:{namespace}"),
        ];
    }
    Ok(User::new(name, own))
}

fn attributes(resource: &str, namespace: &str, name: &str) -> Attributes {
    Attributes {
        verb: "impersonate".into(),
        resource: resource.into(),
        namespace: namespace.into(),
        name: name.into(),
        ..Attributes::default()
    }
}
