//! Role-based access control over the Roles and bindings in the store.
//!
//! Matching follows `k8s.io/kubernetes/pkg/apis/rbac/v1/evaluation_helpers.go`, texts
//! `k8s.io/apiserver/pkg/endpoints/handlers/responsewriters`.
use std::collections::HashMap;

use serde_json::Value;

use super::{AUTHENTICATED, MASTERS, User};
use crate::local::api::{
    core::Core,
    http::{
        path::Target,
        status::{ApiError, Result, Subject},
    },
    meta,
    store::Store,
};

/// Where the four kinds are stored.
pub const STORED: [&str; 4] = [
    "rbac.authorization.k8s.io/roles",
    "rbac.authorization.k8s.io/clusterroles",
    "rbac.authorization.k8s.io/rolebindings",
    "rbac.authorization.k8s.io/clusterrolebindings",
];

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
        let of = |part: &Option<String>| part.clone().unwrap_or_default();
        Self {
            verb: verb.into(),
            group: target.group.clone(),
            resource: target.plural.clone(),
            subresource: of(&target.subresource),
            // A namespace itself counts as inside itself, so that a Role in it can grant reading it.
            namespace: match (&target.namespace, &*target.group, &*target.plural) {
                (None, "", "namespaces") => of(&target.name),
                (namespace, _, _) => of(namespace),
            },
            name: of(&target.name),
            path: String::new(),
        }
    }

    /// `pods` or `pods/log`.
    fn combined(&self) -> String {
        match self.subresource.as_str() {
            "" => self.resource.clone(),
            subresource => format!("{}/{subresource}", self.resource),
        }
    }

    /// Why it is not allowed, as the API server says it.
    pub fn refusal(&self, user: &str) -> String {
        if self.resource.is_empty() {
            return format!("User {user:?} cannot {} path {:?}", self.verb, self.path);
        }
        let scope = match self.namespace.as_str() {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace {namespace:?}"),
        };
        format!(
            "User {user:?} cannot {} resource {:?} in API group {:?} {scope}",
            self.verb,
            self.combined(),
            self.group
        )
    }
}

/// One `PolicyRule`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Rule {
    verbs: Vec<String>,
    groups: Vec<String>,
    resources: Vec<String>,
    names: Vec<String>,
    paths: Vec<String>,
}

impl Rule {
    fn parse(rule: &Value) -> Self {
        let list = |field: &str| {
            meta::texts(rule, &[field])
                .into_iter()
                .map(str::to_owned)
                .collect()
        };
        Self {
            verbs: list("verbs"),
            groups: list("apiGroups"),
            resources: list("resources"),
            names: list("resourceNames"),
            paths: list("nonResourceURLs"),
        }
    }

    fn allows(&self, wanted: &Attributes) -> bool {
        let has = |list: &[String], text: &str| list.iter().any(|entry| entry == "*" || entry == text);
        if !has(&self.verbs, &wanted.verb) {
            return false;
        }
        if wanted.resource.is_empty() {
            return self.paths.iter().any(|path| path_matches(path, &wanted.path));
        }
        let combined = wanted.combined();
        let resource = self.resources.iter().any(|entry| {
            entry == "*"
                || *entry == combined
                || (!wanted.subresource.is_empty() && entry.strip_prefix("*/") == Some(&wanted.subresource))
        });
        resource
            && has(&self.groups, &wanted.group)
            && (self.names.is_empty() || self.names.contains(&wanted.name))
    }

    /// Everything that the rule grants, one by one; a star stands for itself.
    fn grants(&self, namespace: &str) -> Vec<Attributes> {
        let mut grants = Vec::new();
        let no_name = [String::new()];
        let names = if self.names.is_empty() {
            &no_name[..]
        } else {
            &self.names
        };
        for verb in &self.verbs {
            grants.extend(self.paths.iter().map(|path| Attributes::path(verb, path)));
            for group in &self.groups {
                for resource in &self.resources {
                    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
                    grants.extend(names.iter().map(|name| Attributes {
                        verb: verb.clone(),
                        group: group.clone(),
                        resource: resource.to_owned(),
                        subresource: subresource.to_owned(),
                        namespace: namespace.to_owned(),
                        name: name.clone(),
                        path: String::new(),
                    }));
                }
            }
        }
        grants
    }
}

fn path_matches(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => pattern == path,
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Who {
    User(String),
    Group(String),
}

#[derive(Clone, Debug)]
struct Binding {
    /// Where it grants; empty = everywhere.
    namespace: String,
    /// Namespace and name of the role; the namespace is empty for cluster roles.
    role: (String, String),
    who: Vec<Who>,
    name: String,
    kind: &'static str,
}

impl Binding {
    fn parse(value: &Value, kind: &'static str) -> Self {
        let namespace = meta::meta_text(value, "namespace").to_owned();
        let role_namespace = match meta::text(value, &["roleRef", "kind"]) {
            "Role" => namespace.clone(),
            _ => String::new(),
        };
        let subjects = value.get("subjects").and_then(Value::as_array);
        Self {
            role: (role_namespace, meta::text(value, &["roleRef", "name"]).to_owned()),
            who: subjects
                .into_iter()
                .flatten()
                .filter_map(|subject| who(subject, &namespace))
                .collect(),
            name: meta::meta_text(value, "name").to_owned(),
            kind,
            namespace,
        }
    }

    fn is_for(&self, user: &User) -> bool {
        self.who.iter().any(|who| match who {
            Who::User(name) => *name == user.name,
            Who::Group(name) => user.is_in(name),
        })
    }
}

fn who(subject: &Value, namespace: &str) -> Option<Who> {
    let name = meta::text(subject, &["name"]);
    match meta::text(subject, &["kind"]) {
        "User" => Some(Who::User(name.to_owned())),
        "Group" => Some(Who::Group(name.to_owned())),
        "ServiceAccount" => {
            let own = meta::text(subject, &["namespace"]);
            let namespace = if own.is_empty() { namespace } else { own };
            Some(Who::User(format!("system:serviceaccount:{namespace}:{name}")))
        }
        _ => None,
    }
}

/// All roles and bindings, ready to be asked.
#[derive(Debug, Default)]
pub struct Policy {
    roles: HashMap<(String, String), Vec<Rule>>,
    bindings: Vec<Binding>,
}

impl Policy {
    /// As stored.
    pub fn load(store: &Store) -> Self {
        let [roles, cluster_roles, bindings, cluster_bindings] = STORED.map(|key| {
            store
                .list(key, None)
                .0
                .iter()
                .map(|object| object.value())
                .collect()
        });
        Self::new(roles, cluster_roles, bindings, cluster_bindings)
    }

    fn new(
        roles: Vec<Value>,
        cluster_roles: Vec<Value>,
        bindings: Vec<Value>,
        cluster_bindings: Vec<Value>,
    ) -> Self {
        let rules = |role: &Value| -> Vec<Rule> {
            let rules = role.get("rules").and_then(Value::as_array);
            rules.into_iter().flatten().map(Rule::parse).collect()
        };
        let mut all = HashMap::new();
        for role in roles.iter().chain(&cluster_roles) {
            let mut granted = rules(role);
            for source in aggregated(role, &cluster_roles) {
                granted.extend(rules(source));
            }
            let id = (
                meta::meta_text(role, "namespace").to_owned(),
                meta::meta_text(role, "name").to_owned(),
            );
            all.insert(id, granted);
        }
        let cluster = cluster_bindings
            .iter()
            .map(|value| Binding::parse(value, "ClusterRoleBinding"));
        let local = bindings.iter().map(|value| Binding::parse(value, "RoleBinding"));
        Self {
            roles: all,
            bindings: cluster.chain(local).collect(),
        }
    }

    /// Why the user may do it; `None` when nothing says so.
    pub fn allows(&self, user: &User, wanted: &Attributes) -> Option<String> {
        if user.is_in(MASTERS) {
            return Some(String::new());
        }
        if user.is_in(AUTHENTICATED) && is_for_everyone(wanted) {
            return Some("RBAC: allowed for every authenticated user".into());
        }
        let grants = |binding: &&Binding| {
            (binding.namespace.is_empty() || binding.namespace == wanted.namespace)
                && binding.is_for(user)
                && self.rules(&binding.role).iter().any(|rule| rule.allows(wanted))
        };
        self.bindings.iter().find(grants).map(|binding| {
            let role = if binding.role.0.is_empty() {
                "ClusterRole"
            } else {
                "Role"
            };
            format!(
                "RBAC: allowed by {} {:?} of {role} {:?}",
                binding.kind, binding.name, binding.role.1
            )
        })
    }

    fn rules(&self, role: &(String, String)) -> &[Rule] {
        self.roles.get(role).map_or(&[], Vec::as_slice)
    }

    /// What a role, or the role of a binding, would grant beyond what the user may do; `None` when nothing.
    pub fn escalation(&self, user: &User, value: &Value, kind: &str, namespace: &str) -> Option<Attributes> {
        let rules: Vec<Rule> = if kind.ends_with("Binding") {
            let binding = Binding::parse(value, "");
            let plural = if binding.role.0.is_empty() {
                "clusterroles"
            } else {
                "roles"
            };
            let bind = Attributes {
                verb: "bind".into(),
                group: "rbac.authorization.k8s.io".into(),
                resource: plural.into(),
                namespace: namespace.into(),
                name: binding.role.1.clone(),
                ..Attributes::default()
            };
            if self.allows(user, &bind).is_some() {
                return None;
            }
            self.rules(&binding.role).to_vec()
        } else {
            let rules = value.get("rules").and_then(Value::as_array);
            rules.into_iter().flatten().map(Rule::parse).collect()
        };
        rules
            .iter()
            .flat_map(|rule| rule.grants(namespace))
            .find(|grant| self.allows(user, grant).is_none())
    }
}

/// Cluster roles that a role with an `aggregationRule` takes its rules from.
fn aggregated<'a>(role: &Value, cluster_roles: &'a [Value]) -> Vec<&'a Value> {
    let selectors = meta::at(role, &["aggregationRule", "clusterRoleSelectors"]).and_then(Value::as_array);
    let selectors: Vec<_> = selectors
        .into_iter()
        .flatten()
        .filter_map(|selector| selector.get("matchLabels").and_then(Value::as_object))
        .collect();
    let selected = |candidate: &&Value| {
        let labels = meta::at(candidate, &["metadata", "labels"]);
        selectors.iter().any(|selector| {
            !selector.is_empty()
                && selector
                    .iter()
                    .all(|(key, value)| labels.and_then(|l| l.get(key)) == Some(value))
        })
    };
    cluster_roles.iter().filter(selected).collect()
}

/// `system:discovery` and `system:basic-user`.
fn is_for_everyone(wanted: &Attributes) -> bool {
    const PATHS: [&str; 9] = [
        "/api",
        "/api/*",
        "/apis",
        "/apis/*",
        "/healthz",
        "/livez",
        "/openapi/*",
        "/readyz",
        "/version",
    ];
    if wanted.resource.is_empty() {
        return matches!(wanted.verb.as_str(), "get" | "head")
            && PATHS.iter().any(|pattern| path_matches(pattern, &wanted.path));
    }
    wanted.verb == "create"
        && matches!(
            (wanted.group.as_str(), wanted.resource.as_str()),
            (
                "authorization.k8s.io",
                "selfsubjectaccessreviews" | "selfsubjectrulesreviews"
            ) | ("authentication.k8s.io", "selfsubjectreviews")
        )
}

/// Refuses what the user may not do.
///
/// # Errors
/// 403.
pub fn authorize(core: &Core, user: &User, wanted: &Attributes) -> Result<()> {
    if user.is_in(MASTERS) || core.policy().allows(user, wanted).is_some() {
        return Ok(());
    }
    let why = wanted.refusal(&user.name);
    if wanted.resource.is_empty() {
        return Err(ApiError::forbidden_path(&why));
    }
    let subject = Subject {
        group: &wanted.group,
        plural: &wanted.resource,
        kind: "",
    };
    Err(ApiError::forbidden(subject, &wanted.name, &why))
}

#[cfg(test)]
#[path = "rbac_tests.rs"]
mod tests;
