//! Schemas of the built-in types, from k8s-openapi, with what it leaves out: defaults and the keys by
//! which lists are merged.

use std::sync::LazyLock;

use k8s_openapi::{
    api::{
        apps::v1::ControllerRevision,
        authentication::v1::{SelfSubjectReview, TokenRequest, TokenReview},
        authorization::v1::{
            LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview,
        },
        coordination::v1::Lease,
        core::v1::{Binding, ConfigMap, Event, Namespace, Node, Pod, Secret, ServiceAccount},
        events::v1::Event as NewEvent,
        networking::v1::NetworkPolicy,
        policy::v1::Eviction,
        rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    apimachinery::pkg::apis::meta::v1::{DeleteOptions, ListMeta, Status},
};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// Schemas by name, such as `io.k8s.api.core.v1.Pod`; references point to `#/components/schemas/`.
pub(super) fn definitions() -> &'static Map<String, Value> {
    &DEFINITIONS
}

/// Name of the schema of a built-in kind.
pub(super) fn definition_of(group: &str, kind: &str) -> Option<&'static str> {
    NAMES
        .iter()
        .find(|(of, name)| *of == group && name.rsplit('.').next() == Some(kind))
        .map(|(_, name)| *name)
}

const NAMES: &[(&str, &str)] = &[
    ("", "io.k8s.api.core.v1.Binding"),
    ("", "io.k8s.api.core.v1.ConfigMap"),
    ("", "io.k8s.api.core.v1.Event"),
    ("", "io.k8s.api.core.v1.Namespace"),
    ("", "io.k8s.api.core.v1.Node"),
    ("", "io.k8s.api.core.v1.Pod"),
    ("", "io.k8s.api.core.v1.Secret"),
    ("", "io.k8s.api.core.v1.ServiceAccount"),
    (
        "apiextensions.k8s.io",
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
    ),
    ("apps", "io.k8s.api.apps.v1.ControllerRevision"),
    (
        "authentication.k8s.io",
        "io.k8s.api.authentication.v1.SelfSubjectReview",
    ),
    (
        "authentication.k8s.io",
        "io.k8s.api.authentication.v1.TokenRequest",
    ),
    (
        "authentication.k8s.io",
        "io.k8s.api.authentication.v1.TokenReview",
    ),
    (
        "authorization.k8s.io",
        "io.k8s.api.authorization.v1.LocalSubjectAccessReview",
    ),
    (
        "authorization.k8s.io",
        "io.k8s.api.authorization.v1.SelfSubjectAccessReview",
    ),
    (
        "authorization.k8s.io",
        "io.k8s.api.authorization.v1.SelfSubjectRulesReview",
    ),
    (
        "authorization.k8s.io",
        "io.k8s.api.authorization.v1.SubjectAccessReview",
    ),
    ("coordination.k8s.io", "io.k8s.api.coordination.v1.Lease"),
    ("events.k8s.io", "io.k8s.api.events.v1.Event"),
    ("networking.k8s.io", "io.k8s.api.networking.v1.NetworkPolicy"),
    ("policy", "io.k8s.api.policy.v1.Eviction"),
    ("rbac.authorization.k8s.io", "io.k8s.api.rbac.v1.ClusterRole"),
    (
        "rbac.authorization.k8s.io",
        "io.k8s.api.rbac.v1.ClusterRoleBinding",
    ),
    ("rbac.authorization.k8s.io", "io.k8s.api.rbac.v1.Role"),
    ("rbac.authorization.k8s.io", "io.k8s.api.rbac.v1.RoleBinding"),
];

static DEFINITIONS: LazyLock<Map<String, Value>> = LazyLock::new(|| {
    let mut generator = SchemaSettings::openapi3().into_generator();
    macro_rules! add {
        ($($type:ty),* $(,)?) => { $( generator.subschema_for::<$type>(); )* };
    }
    add!(
        Binding,
        ConfigMap,
        Event,
        Namespace,
        Node,
        Pod,
        Secret,
        ServiceAccount,
        CustomResourceDefinition,
        ControllerRevision,
        SelfSubjectReview,
        TokenRequest,
        TokenReview,
        LocalSubjectAccessReview,
        SelfSubjectAccessReview,
        SelfSubjectRulesReview,
        SubjectAccessReview,
        Lease,
        NewEvent,
        NetworkPolicy,
        Eviction,
        ClusterRole,
        ClusterRoleBinding,
        Role,
        RoleBinding,
        DeleteOptions,
        ListMeta,
        Status,
    );
    let mut definitions = generator.take_definitions(true);
    add_defaults(&mut definitions);
    add_merge_keys(&mut definitions);
    definitions
});

fn property<'a>(
    definitions: &'a mut Map<String, Value>,
    kind: &str,
    field: &str,
) -> Option<&'a mut Map<String, Value>> {
    definitions
        .get_mut(&format!("io.k8s.api.core.v1.{kind}"))?
        .pointer_mut(&format!("/properties/{field}"))?
        .as_object_mut()
}

/// Defaults that the real server fills in and that do not depend on other fields.
fn add_defaults(definitions: &mut Map<String, Value>) {
    let probe = [
        ("failureThreshold", json!(3)),
        ("periodSeconds", json!(10)),
        ("successThreshold", json!(1)),
        ("timeoutSeconds", json!(1)),
    ];
    let defaults = [
        ("PodSpec", "dnsPolicy", json!("ClusterFirst")),
        ("PodSpec", "enableServiceLinks", json!(true)),
        ("PodSpec", "restartPolicy", json!("Always")),
        ("PodSpec", "schedulerName", json!("default-scheduler")),
        ("PodSpec", "securityContext", json!({})),
        ("PodSpec", "terminationGracePeriodSeconds", json!(30)),
        ("Container", "resources", json!({})),
        (
            "Container",
            "terminationMessagePath",
            json!("/dev/termination-log"),
        ),
        ("Container", "terminationMessagePolicy", json!("File")),
        ("ContainerPort", "protocol", json!("TCP")),
        ("ObjectFieldSelector", "apiVersion", json!("v1")),
        ("HTTPGetAction", "scheme", json!("HTTP")),
        ("ConfigMapVolumeSource", "defaultMode", json!(420)),
        ("SecretVolumeSource", "defaultMode", json!(420)),
        ("DownwardAPIVolumeSource", "defaultMode", json!(420)),
        ("ProjectedVolumeSource", "defaultMode", json!(420)),
        ("Secret", "type", json!("Opaque")),
    ];
    let probe = probe.into_iter().map(|(field, value)| ("Probe", field, value));
    for (kind, field, value) in defaults.into_iter().chain(probe) {
        if let Some(property) = property(definitions, kind, field) {
            property.insert("default".to_owned(), value);
        }
    }
}

/// `x-kubernetes-patch-merge-key` of lists that a strategic merge patch merges: without it a client
/// would replace them.
fn add_merge_keys(definitions: &mut Map<String, Value>) {
    let keys = [
        ("PodSpec", "containers", "name"),
        ("PodSpec", "initContainers", "name"),
        ("PodSpec", "ephemeralContainers", "name"),
        ("PodSpec", "imagePullSecrets", "name"),
        ("PodSpec", "hostAliases", "ip"),
        ("PodSpec", "topologySpreadConstraints", "topologyKey"),
        ("PodSpec", "volumes", "name"),
        ("Container", "env", "name"),
        ("Container", "ports", "containerPort"),
        ("Container", "volumeMounts", "mountPath"),
        ("Container", "volumeDevices", "devicePath"),
        ("PodStatus", "conditions", "type"),
        ("PodStatus", "podIPs", "ip"),
        ("NodeStatus", "conditions", "type"),
        ("NodeStatus", "addresses", "type"),
        ("NamespaceStatus", "conditions", "type"),
        ("ServiceAccount", "secrets", "name"),
    ];
    for (kind, field, key) in keys {
        if let Some(property) = property(definitions, kind, field) {
            property.insert("x-kubernetes-patch-merge-key".to_owned(), Value::from(key));
            // a pod's volumes also retain members that a client does not know
            let strategy = if field == "volumes" {
                "merge,retainKeys"
            } else {
                "merge"
            };
            property.insert("x-kubernetes-patch-strategy".to_owned(), Value::from(strategy));
        }
    }
    for (field, key) in [("ownerReferences", Some("uid")), ("finalizers", None)] {
        add_meta_key(definitions.get_mut(super::OBJECT_META), field, key);
    }
}

fn add_meta_key(meta: Option<&mut Value>, field: &str, key: Option<&str>) {
    let property = meta
        .and_then(|meta| meta.pointer_mut(&format!("/properties/{field}")))
        .and_then(Value::as_object_mut);
    if let Some(property) = property {
        property.insert("x-kubernetes-patch-strategy".to_owned(), Value::from("merge"));
        if let Some(key) = key {
            property.insert("x-kubernetes-patch-merge-key".to_owned(), Value::from(key));
        }
    }
}
