//! What the server serves at the moment: built-in resources and those of CustomResourceDefinitions.
use std::{collections::HashMap, sync::Arc};

use serde_json::Value;

use super::{
    events,
    http::status::Subject,
    meta,
    patch::lists::ListRules,
    schema::{Resource, builtin_resources},
    store::{FieldPath, Object},
};

/// Where CustomResourceDefinitions are stored.
pub const CRDS: &str = "apiextensions.k8s.io/customresourcedefinitions";
/// Where namespaces are stored.
pub const NAMESPACES: &str = "/namespaces";
/// Where pods are stored.
pub const PODS: &str = "/pods";
/// Where service accounts are stored.
pub const SERVICE_ACCOUNTS: &str = "/serviceaccounts";

/// One served group, version and kind, with what the verbs need beyond its description.
#[derive(Debug)]
pub struct Kind {
    /// The description.
    pub resource: Resource,
    /// Name of its objects in the store: `group/plural`.
    pub key: Arc<str>,
    /// Fields that its objects can be selected by, beyond name and namespace.
    pub fields: Vec<FieldPath>,
    /// How its lists are merged by server-side apply.
    pub lists: ListRules,
    /// apiVersion under which objects are stored.
    pub stored_as: String,
    /// apiVersion of this kind.
    pub api_version: String,
}

impl Kind {
    fn new(resource: Resource, stored_as: String, fields: Vec<FieldPath>) -> Self {
        let lists = match &resource.open_api {
            Some(schema) => ListRules::of_schema(schema),
            None => ListRules::builtin(),
        };
        // Both groups of events show the same objects.
        let group = if resource.group == events::GROUP {
            ""
        } else {
            &resource.group
        };
        let key = format!("{group}/{}", resource.plural).into();
        let api_version = resource.api_version();
        Self {
            resource,
            key,
            fields,
            lists,
            stored_as,
            api_version,
        }
    }

    /// What refusals are about.
    pub fn subject(&self) -> Subject<'_> {
        let Resource {
            group, plural, kind, ..
        } = &self.resource;
        Subject { group, plural, kind }
    }

    /// Whether this is the built-in resource stored under `key`.
    pub fn is(&self, key: &str) -> bool {
        &*self.key == key
    }

    /// Whether a stored object goes out as it is.
    pub fn serves_as_stored(&self, object: &Object) -> bool {
        *object.facts.api_version == self.api_version
    }

    /// A stored object in this version.
    pub fn from_stored(&self, mut value: Value) -> Value {
        if meta::text(&value, &["apiVersion"]) == self.api_version {
            return value;
        }
        if self.resource.group == events::GROUP {
            return events::to_new(value);
        }
        // CRDs convert with strategy None: nothing but the name of the version changes.
        meta::set(&mut value, &["apiVersion"], self.api_version.as_str());
        value
    }

    /// An object of this version as it is stored.
    pub fn to_stored(&self, mut value: Value) -> Value {
        if self.resource.group == events::GROUP {
            return events::to_core(value);
        }
        meta::set(&mut value, &["apiVersion"], self.stored_as.as_str());
        value
    }

    /// Whether objects can be selected by a field.
    pub fn selects_by(&self, label: &str) -> bool {
        label == "metadata.name"
            || (label == "metadata.namespace" && (self.resource.namespaced || !self.resource.custom))
            || self.fields.iter().any(|field| field.label == label)
    }
}

/// Everything that is served. Never changes; a new definition makes a new one.
#[derive(Debug, Default)]
pub struct Catalogue {
    /// Descriptions, for discovery and OpenAPI.
    pub resources: Vec<Resource>,
    kinds: Vec<Arc<Kind>>,
    by_path: HashMap<(String, String, String), Arc<Kind>>,
}

impl Catalogue {
    /// The built-in resources and those of the given definitions; a definition that is no good serves nothing.
    pub fn new(definitions: &[Value]) -> Self {
        let mut catalogue = Self::default();
        for resource in builtin_resources() {
            let stored_as = if resource.group == events::GROUP {
                "v1".to_string()
            } else {
                resource.api_version()
            };
            let fields = builtin_fields(&resource.group, &resource.plural);
            catalogue.add(Kind::new(resource, stored_as, fields));
        }
        for definition in definitions {
            let Ok(resources) = Resource::from_crd(definition) else {
                continue;
            };
            let stored_as = stored_version(definition);
            for resource in resources {
                let fields = selectable_fields(definition, &resource.version);
                catalogue.add(Kind::new(resource, stored_as.clone(), fields));
            }
        }
        catalogue
    }

    fn add(&mut self, kind: Kind) {
        let kind = Arc::new(kind);
        let Resource {
            group,
            version,
            plural,
            ..
        } = &kind.resource;
        self.by_path
            .insert((group.clone(), version.clone(), plural.clone()), kind.clone());
        self.resources.push(kind.resource.clone());
        self.kinds.push(kind);
    }

    /// The kind behind a path.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Kind>> {
        self.by_path
            .get(&(group.to_owned(), version.to_owned(), plural.to_owned()))
            .cloned()
    }

    /// One kind for each resource in the store.
    pub fn stored(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.kinds
            .iter()
            .filter(|kind| kind.stored_as == kind.api_version && kind.resource.allows("list"))
    }

    /// The kind that writes objects of a resource.
    pub fn by_key(&self, key: &str) -> Option<Arc<Kind>> {
        let mut kinds = self.kinds.iter().filter(|kind| kind.is(key));
        let first = kinds.clone().find(|kind| kind.stored_as == kind.api_version);
        first.or_else(|| kinds.next()).cloned()
    }

    /// Whether a kind is served, by apiVersion and name.
    pub fn knows(&self, api_version: &str, kind: &str) -> bool {
        self.kinds
            .iter()
            .any(|known| known.api_version == api_version && known.resource.kind == kind)
    }
}

fn stored_version(definition: &Value) -> String {
    let group = meta::text(definition, &["spec", "group"]);
    let versions = meta::at(definition, &["spec", "versions"]).and_then(Value::as_array);
    let storage = versions
        .into_iter()
        .flatten()
        .find(|version| version["storage"] == Value::Bool(true));
    format!(
        "{group}/{}",
        storage.map_or("", |version| meta::text(version, &["name"]))
    )
}

/// `spec.versions[].selectableFields` of a definition.
fn selectable_fields(definition: &Value, version: &str) -> Vec<FieldPath> {
    let versions = meta::at(definition, &["spec", "versions"]).and_then(Value::as_array);
    let version = versions
        .into_iter()
        .flatten()
        .find(|entry| meta::text(entry, &["name"]) == version);
    let fields = version
        .and_then(|version| version.get("selectableFields"))
        .and_then(Value::as_array);
    let path = |field: &Value| FieldPath::dotted(meta::text(field, &["jsonPath"]).trim_start_matches('.'));
    fields.into_iter().flatten().map(path).collect()
}

/// Field labels of built-in resources, as `pkg/apis/*/v1/conversion.go` of Kubernetes lists them.
fn builtin_fields(group: &str, plural: &str) -> Vec<FieldPath> {
    let labels: &[&str] = match (group, plural) {
        ("", "pods") => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        ("", "nodes") => &["spec.unschedulable"],
        ("", "namespaces") => &["status.phase"],
        ("", "secrets") => &["type"],
        (_, "events") => return events::selectable_fields(),
        _ => &[],
    };
    labels.iter().map(|label| FieldPath::dotted(label)).collect()
}
