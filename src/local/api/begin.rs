//! What a server without objects begins with: namespaces, and the role of those who may do anything.

use serde_json::{Value, json};

use super::{
    auth::{MASTERS, User, rbac},
    catalogue,
    core::Core,
    http::status::Result,
    verbs::{self, Call},
};

/// Namespaces that every cluster has.
const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];
const ADMIN: &str = "cluster-admin";

/// Makes what is not there yet. What somebody has changed stays as it is.
///
/// # Errors
/// What the server refuses or cannot store.
pub(super) fn begin(core: &Core) -> Result<()> {
    for name in NAMESPACES {
        ensure(core, catalogue::NAMESPACES, verbs::create::namespace(name))?;
    }
    let [_, roles, _, bindings] = rbac::STORED;
    ensure(core, roles, admin())?;
    ensure(core, bindings, admin_binding())
}

fn ensure(core: &Core, resource: &str, object: Value) -> Result<()> {
    let user = User::superuser();
    let Some(kind) = core.kind(resource) else {
        return Ok(());
    };
    let mut call = Call::internal(core, &kind, &user, "");
    match verbs::create::create(&mut call, object) {
        Err(error) if error.reason != "AlreadyExists" => Err(error),
        _ => Ok(()),
    }
}

/// As Kubernetes makes it (`plugin/pkg/auth/authorizer/rbac/bootstrappolicy`).
fn admin() -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": metadata(),
        "rules": [
            {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
            {"nonResourceURLs": ["*"], "verbs": ["*"]},
        ],
    })
}

fn admin_binding() -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": metadata(),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": ADMIN},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": MASTERS}],
    })
}

fn metadata() -> Value {
    json!({"name": ADMIN, "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}})
}
