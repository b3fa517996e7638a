//! The resources that the server has without any CustomResourceDefinition.

use super::{Column, Resource, Subresource, openapi};

/// Verbs of an ordinary stored resource, in the order that the real server lists them.
const STORED: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];
const STATUS: &[&str] = &["get", "patch", "update"];
const CREATE: &[&str] = &["create"];

/// Shorthand for a built-in type; turned into a [`Resource`] by [`Builtin::build`].
struct Builtin {
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
    categories: &'static [&'static str],
    namespaced: bool,
    verbs: &'static [&'static str],
    /// name, group, version, kind, verbs
    subresources: &'static [(
        &'static str,
        &'static str,
        &'static str,
        &'static str,
        &'static [&'static str],
    )],
    /// name, type, priority
    columns: &'static [(&'static str, &'static str, i64)],
}

const BASE: Builtin = Builtin {
    group: "",
    kind: "",
    plural: "",
    short: &[],
    categories: &[],
    namespaced: true,
    verbs: STORED,
    subresources: &[],
    columns: &[("Age", "string", 0)],
};

const BUILTINS: &[Builtin] = &[
    Builtin {
        kind: "ConfigMap",
        plural: "configmaps",
        short: &["cm"],
        columns: &[("Data", "string", 0), ("Age", "string", 0)],
        ..BASE
    },
    Builtin {
        kind: "Event",
        plural: "events",
        short: &["ev"],
        columns: EVENT_COLUMNS,
        ..BASE
    },
    Builtin {
        kind: "Namespace",
        plural: "namespaces",
        short: &["ns"],
        namespaced: false,
        verbs: &["create", "delete", "get", "list", "patch", "update", "watch"],
        subresources: &[
            ("finalize", "", "v1", "Namespace", &["update"]),
            ("status", "", "v1", "Namespace", STATUS),
        ],
        columns: &[("Status", "string", 0), ("Age", "string", 0)],
        ..BASE
    },
    Builtin {
        kind: "Node",
        plural: "nodes",
        short: &["no"],
        namespaced: false,
        subresources: &[("status", "", "v1", "Node", STATUS)],
        columns: &[
            ("Status", "string", 0),
            ("Roles", "string", 0),
            ("Age", "string", 0),
            ("Version", "string", 0),
            ("Internal-IP", "string", 1),
            ("External-IP", "string", 1),
            ("OS-Image", "string", 1),
            ("Kernel-Version", "string", 1),
            ("Container-Runtime", "string", 1),
        ],
        ..BASE
    },
    Builtin {
        kind: "Pod",
        plural: "pods",
        short: &["po"],
        categories: &["all"],
        subresources: &[
            ("binding", "", "v1", "Binding", CREATE),
            ("eviction", "policy", "v1", "Eviction", CREATE),
            ("log", "", "v1", "Pod", &["get"]),
            (
                "proxy",
                "",
                "v1",
                "PodProxyOptions",
                &["create", "delete", "get", "patch", "update"],
            ),
            ("status", "", "v1", "Pod", STATUS),
        ],
        columns: &[
            ("Ready", "string", 0),
            ("Status", "string", 0),
            ("Restarts", "string", 0),
            ("Age", "string", 0),
            ("IP", "string", 1),
            ("Node", "string", 1),
            ("Nominated Node", "string", 1),
            ("Readiness Gates", "string", 1),
        ],
        ..BASE
    },
    Builtin {
        kind: "Secret",
        plural: "secrets",
        columns: &[("Type", "string", 0), ("Data", "string", 0), ("Age", "string", 0)],
        ..BASE
    },
    Builtin {
        kind: "ServiceAccount",
        plural: "serviceaccounts",
        short: &["sa"],
        subresources: &[("token", "authentication.k8s.io", "v1", "TokenRequest", CREATE)],
        columns: &[("Secrets", "string", 0), ("Age", "string", 0)],
        ..BASE
    },
    Builtin {
        group: "apiextensions.k8s.io",
        kind: "CustomResourceDefinition",
        plural: "customresourcedefinitions",
        short: &["crd", "crds"],
        categories: &["api-extensions"],
        namespaced: false,
        subresources: &[(
            "status",
            "apiextensions.k8s.io",
            "v1",
            "CustomResourceDefinition",
            STATUS,
        )],
        columns: &[("Created At", "date", 0)],
        ..BASE
    },
    Builtin {
        group: "apps",
        kind: "ControllerRevision",
        plural: "controllerrevisions",
        columns: &[
            ("Controller", "string", 0),
            ("Revision", "string", 0),
            ("Age", "string", 0),
        ],
        ..BASE
    },
    review(
        "authentication.k8s.io",
        "SelfSubjectReview",
        "selfsubjectreviews",
        false,
    ),
    review("authentication.k8s.io", "TokenReview", "tokenreviews", false),
    review(
        "authorization.k8s.io",
        "LocalSubjectAccessReview",
        "localsubjectaccessreviews",
        true,
    ),
    review(
        "authorization.k8s.io",
        "SelfSubjectAccessReview",
        "selfsubjectaccessreviews",
        false,
    ),
    review(
        "authorization.k8s.io",
        "SelfSubjectRulesReview",
        "selfsubjectrulesreviews",
        false,
    ),
    review(
        "authorization.k8s.io",
        "SubjectAccessReview",
        "subjectaccessreviews",
        false,
    ),
    Builtin {
        group: "coordination.k8s.io",
        kind: "Lease",
        plural: "leases",
        columns: &[("Holder", "string", 0), ("Age", "string", 0)],
        ..BASE
    },
    Builtin {
        // without the short name "ev", which the core group has: kubectl warns when it could mean two
        group: "events.k8s.io",
        kind: "Event",
        plural: "events",
        columns: EVENT_COLUMNS,
        ..BASE
    },
    Builtin {
        // Kept and shown; nothing on this machine enforces them.
        group: "networking.k8s.io",
        kind: "NetworkPolicy",
        plural: "networkpolicies",
        short: &["netpol"],
        columns: &[("Pod-Selector", "string", 0), ("Age", "string", 0)],
        ..BASE
    },
    Builtin {
        group: "rbac.authorization.k8s.io",
        kind: "ClusterRole",
        plural: "clusterroles",
        namespaced: false,
        columns: &[("Created At", "string", 0)],
        ..BASE
    },
    Builtin {
        group: "rbac.authorization.k8s.io",
        kind: "ClusterRoleBinding",
        plural: "clusterrolebindings",
        namespaced: false,
        columns: BINDING_COLUMNS,
        ..BASE
    },
    Builtin {
        group: "rbac.authorization.k8s.io",
        kind: "Role",
        plural: "roles",
        columns: &[("Created At", "string", 0)],
        ..BASE
    },
    Builtin {
        group: "rbac.authorization.k8s.io",
        kind: "RoleBinding",
        plural: "rolebindings",
        columns: BINDING_COLUMNS,
        ..BASE
    },
];

const EVENT_COLUMNS: &[(&str, &str, i64)] = &[
    ("Last Seen", "string", 0),
    ("Type", "string", 0),
    ("Reason", "string", 0),
    ("Object", "string", 0),
    ("Subobject", "string", 1),
    ("Source", "string", 1),
    ("Message", "string", 0),
    ("First Seen", "string", 1),
    ("Count", "string", 1),
    ("Name", "string", 1),
];

const BINDING_COLUMNS: &[(&str, &str, i64)] = &[
    ("Role", "string", 0),
    ("Age", "string", 0),
    ("Users", "string", 1),
    ("Groups", "string", 1),
    ("ServiceAccounts", "string", 1),
];

const fn review(group: &'static str, kind: &'static str, plural: &'static str, namespaced: bool) -> Builtin {
    Builtin {
        group,
        kind,
        plural,
        namespaced,
        verbs: CREATE,
        columns: &[],
        ..BASE
    }
}

/// The resources served without any CustomResourceDefinition, each in its one version `v1`.
pub fn builtin_resources() -> Vec<Resource> {
    BUILTINS.iter().map(Builtin::build).collect()
}

impl Builtin {
    fn build(&self) -> Resource {
        let strings = |list: &[&str]| list.iter().map(|&s| s.to_owned()).collect::<Vec<_>>();
        let subresources: Vec<Subresource> = self
            .subresources
            .iter()
            .map(|(name, group, version, kind, verbs)| Subresource {
                name: (*name).to_owned(),
                group: (*group).to_owned(),
                version: (*version).to_owned(),
                kind: (*kind).to_owned(),
                verbs: strings(verbs),
            })
            .collect();
        Resource {
            group: self.group.to_owned(),
            version: "v1".to_owned(),
            kind: self.kind.to_owned(),
            list_kind: format!("{}List", self.kind),
            plural: self.plural.to_owned(),
            singular: self.kind.to_lowercase(),
            short_names: strings(self.short),
            categories: strings(self.categories),
            namespaced: self.namespaced,
            verbs: strings(self.verbs),
            status_subresource: subresources.iter().any(|s| s.name == "status"),
            subresources,
            columns: self
                .columns
                .iter()
                .map(|(name, kind, priority)| Column::computed(name, kind, *priority))
                .collect(),
            schema: openapi::builtin_schema(self.group, self.kind),
            open_api: None,
            storage: true,
            deprecation_warning: None,
            custom: false,
        }
    }
}
