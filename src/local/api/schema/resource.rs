//! One served group, version and kind.

use std::sync::Arc;

use super::Schema;

/// One group/version/kind that the server serves, with all that discovery, tables and validation need.
#[derive(Clone, Debug)]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: String,
    /// Version, such as `v1`.
    pub version: String,
    /// Kind of one object.
    pub kind: String,
    /// Kind of a list of them.
    pub list_kind: String,
    /// Plural name: the segment in URLs.
    pub plural: String,
    /// Singular name, for `kubectl get task x`.
    pub singular: String,
    /// Other names that kubectl accepts.
    pub short_names: Vec<String>,
    /// Groups of resources that `kubectl get <category>` shows together.
    pub categories: Vec<String>,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Verbs of the main resource, as discovery lists them.
    pub verbs: Vec<String>,
    /// Whether `<name>/status` exists. With it, writes to the main resource ignore `status` (and do
    /// not count as a new generation when only metadata changed), and writes to it ignore the rest.
    pub status_subresource: bool,
    /// All subresources, `status` included.
    pub subresources: Vec<Subresource>,
    /// Printer columns in the order of a table. Empty for a CRD means Name and Age.
    pub columns: Vec<Column>,
    /// Schema of the objects: for a CRD the one it declares; for a built-in type its known fields and
    /// their types.
    pub schema: Option<Arc<Schema>>,
    /// For a CRD: the schema as declared, for OpenAPI. `None` for built-in types.
    pub open_api: Option<Arc<serde_json::Value>>,
    /// Whether this is the version that a CRD stores. Always true for built-in types.
    pub storage: bool,
    /// `Warning` header text for a deprecated version of a CRD.
    pub deprecation_warning: Option<String>,
    /// Whether it comes from a CustomResourceDefinition.
    pub custom: bool,
}

/// One subresource, such as `status` or `log`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subresource {
    /// Segment after the object's name.
    pub name: String,
    /// Group of its kind (differs from the resource's for `scale` and `token`).
    pub group: String,
    /// Version of its kind.
    pub version: String,
    /// Kind of what it takes and gives.
    pub kind: String,
    /// Verbs, as discovery lists them.
    pub verbs: Vec<String>,
}

/// One column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Heading.
    pub name: String,
    /// OpenAPI type: `integer`, `number`, `string`, `boolean` or `date` (shown as an age).
    pub kind: String,
    /// OpenAPI format; `name` marks the primary identifier.
    pub format: String,
    /// Help text.
    pub description: String,
    /// 0 = always shown; greater = only with `-o wide`.
    pub priority: i64,
    /// JSONPath within the object (the part between the braces). Empty for built-in columns that are
    /// computed.
    pub json_path: String,
}

impl Resource {
    /// `v1` or `group/version`, as in `apiVersion`.
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }

    /// Name of the resource with its group, as in RBAC messages and CRD names: `tasks.errand.dev`, `pods`.
    pub fn group_resource(&self) -> String {
        if self.group.is_empty() {
            self.plural.clone()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// Whether the main resource has this verb.
    pub fn allows(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| v == verb)
    }

    /// The subresource of this name.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }
}

/// `v1` or `group/version`.
pub(super) fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}

impl Column {
    /// A computed built-in column.
    pub(super) fn computed(name: &str, kind: &str, priority: i64) -> Self {
        Self {
            name: name.to_owned(),
            kind: kind.to_owned(),
            format: String::new(),
            description: String::new(),
            priority,
            json_path: String::new(),
        }
    }
}

/// Order of versions by Kubernetes' priority: stable before beta before alpha, higher numbers first,
/// other names last and by name.
pub(super) fn version_order(a: &str, b: &str) -> std::cmp::Ordering {
    rank(b).cmp(&rank(a)).then_with(|| a.cmp(b))
}

/// (stability, major, minor); greater is better.
fn rank(version: &str) -> (u8, u64, u64) {
    let parsed = || {
        let rest = version.strip_prefix('v')?;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let major = rest[..digits].parse().ok()?;
        let rest = &rest[digits..];
        let (stability, minor) = match (rest.strip_prefix("beta"), rest.strip_prefix("alpha")) {
            (Some(minor), _) => (2, minor.parse().ok()?),
            (_, Some(minor)) => (1, minor.parse().ok()?),
            _ if rest.is_empty() => (3, 0),
            _ => return None,
        };
        Some((stability, major, minor))
    };
    parsed().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_sort_as_kubernetes_sorts_them() {
        let mut versions = vec![
            "foo10",
            "v1",
            "v11alpha2",
            "v12alpha1",
            "v10",
            "v2",
            "foo1",
            "v11beta2",
            "v10beta3",
            "v3beta1",
        ];
        versions.sort_by(|a, b| version_order(a, b));
        assert_eq!(
            versions,
            [
                "v10",
                "v2",
                "v1",
                "v11beta2",
                "v10beta3",
                "v3beta1",
                "v12alpha1",
                "v11alpha2",
                "foo1",
                "foo10"
            ]
        );
    }
}
