//! CustomResourceDefinitions: what they serve, and why one is refused.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{Column, FieldError, Resource, Schema, Subresource, jsonpath::JsonPath, resource::version_order};

/// Why a CustomResourceDefinition cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", FieldError::aggregate(.errors))]
pub struct CrdError {
    /// Each refused field; never empty.
    pub errors: Vec<FieldError>,
}

/// Verbs of a custom resource, in the order that the real server lists them.
const VERBS: &[&str] = &[
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "create",
    "update",
    "watch",
];

impl Resource {
    /// The resources that a CustomResourceDefinition serves: one per served version, best version first.
    ///
    /// # Errors
    /// Fields that the real server would refuse.
    pub fn from_crd(crd: &Value) -> Result<Vec<Resource>, CrdError> {
        let mut errors = check_definition(crd);
        let empty = Vec::new();
        let versions = crd
            .pointer("/spec/versions")
            .and_then(Value::as_array)
            .unwrap_or(&empty);
        let mut resources = Vec::new();
        for (i, version) in versions.iter().enumerate() {
            match build(crd, version, &format!("spec.versions[{i}]")) {
                Ok(resource) if flag(version, "served") => resources.push(resource),
                Ok(_) => {}
                Err(found) => errors.extend(found),
            }
        }
        if !errors.is_empty() {
            return Err(CrdError { errors });
        }
        resources.sort_by(|a, b| version_order(&a.version, &b.version));
        Ok(resources)
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn flag(value: &Value, name: &str) -> bool {
    value.get(name).and_then(Value::as_bool) == Some(true)
}

fn strings(value: &Value, pointer: &str) -> Vec<String> {
    let list = value.pointer(pointer).and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// DNS-1035 label: what names in URLs must be.
fn is_label(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

fn is_subdomain(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// Everything outside the versions' schemas.
fn check_definition(crd: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let group = text(crd, "/spec/group");
    if group.is_empty() {
        errors.push(FieldError::required("spec.group", ""));
    } else if !is_subdomain(group) || !group.contains('.') {
        let detail = "should be a domain with at least one dot";
        errors.push(FieldError::invalid("spec.group", &Value::from(group), detail));
    }
    match text(crd, "/spec/scope") {
        "Namespaced" | "Cluster" => {}
        "" => errors.push(FieldError::required("spec.scope", "")),
        other => {
            let supported = ["Cluster", "Namespaced"].map(str::to_owned);
            errors.push(FieldError::not_supported(
                "spec.scope",
                &Value::from(other),
                &supported,
            ));
        }
    }
    for (field, pointer) in [
        ("spec.names.plural", "/spec/names/plural"),
        ("spec.names.kind", "/spec/names/kind"),
    ] {
        match text(crd, pointer) {
            "" => errors.push(FieldError::required(field, "")),
            name if !is_label(&name.to_lowercase()) || (field.ends_with("plural") && !is_label(name)) => {
                let detail = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
                errors.push(FieldError::invalid(field, &Value::from(name), detail));
            }
            _ => {}
        }
    }
    let name = text(crd, "/metadata/name");
    if name != format!("{}.{group}", text(crd, "/spec/names/plural")) {
        let detail = "must be spec.names.plural+\".\"+spec.group";
        errors.push(FieldError::invalid("metadata.name", &Value::from(name), detail));
    }
    let kind = text(crd, "/spec/names/kind");
    if !kind.is_empty() && text(crd, "/spec/names/listKind") == kind {
        let detail = "kind and listKind may not be the same";
        errors.push(FieldError::invalid(
            "spec.names.listKind",
            &Value::from(kind),
            detail,
        ));
    }
    check_versions(crd, &mut errors);
    errors
}

fn check_versions(crd: &Value, errors: &mut Vec<FieldError>) {
    let empty = Vec::new();
    let versions = crd
        .pointer("/spec/versions")
        .and_then(Value::as_array)
        .unwrap_or(&empty);
    if versions.is_empty() {
        errors.push(FieldError::required(
            "spec.versions",
            "must have at least one version",
        ));
        return;
    }
    for (i, version) in versions.iter().enumerate() {
        let name = text(version, "/name");
        let field = format!("spec.versions[{i}].name");
        if !is_label(name) {
            let detail = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
            errors.push(FieldError::invalid(&field, &Value::from(name), detail));
        } else if versions[..i].iter().any(|other| text(other, "/name") == name) {
            errors.push(FieldError::invalid(
                &field,
                &Value::from(name),
                "must contain unique version names",
            ));
        }
    }
    if versions.iter().filter(|version| flag(version, "storage")).count() != 1 {
        let names: Vec<Value> = versions
            .iter()
            .map(|version| Value::from(text(version, "/name")))
            .collect();
        let detail = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid("spec.versions", &Value::from(names), detail));
    }
    if flag(&crd["spec"], "preserveUnknownFields") {
        let detail = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        errors.push(FieldError::invalid(
            "spec.preserveUnknownFields",
            &Value::Bool(true),
            detail,
        ));
    }
}

fn build(crd: &Value, version: &Value, path: &str) -> Result<Resource, Vec<FieldError>> {
    let mut errors = Vec::new();
    let columns = columns(version, path, &mut errors);
    let declared = version.pointer("/schema/openAPIV3Schema").cloned();
    let schema = match &declared {
        None => {
            let field = format!("{path}.schema.openAPIV3Schema");
            errors.push(FieldError::required(&field, "schemas are required"));
            None
        }
        Some(declared) => match Schema::compile_at(&format!("{path}.schema.openAPIV3Schema"), declared) {
            Ok(schema) => Some(Arc::new(schema)),
            Err(error) => {
                errors.extend(error.errors);
                None
            }
        },
    };
    if !errors.is_empty() {
        return Err(errors);
    }
    let kind = text(crd, "/spec/names/kind").to_owned();
    let or = |pointer: &str, other: String| match text(crd, pointer) {
        "" => other,
        given => given.to_owned(),
    };
    let (group, name) = (
        text(crd, "/spec/group").to_owned(),
        text(version, "/name").to_owned(),
    );
    let subresources = subresources(version, &group, &name, &kind);
    let deprecation_warning =
        flag(version, "deprecated").then(|| match text(version, "/deprecationWarning") {
            "" => format!("{group}/{name} {kind} is deprecated"),
            given => given.to_owned(),
        });
    Ok(Resource {
        list_kind: or("/spec/names/listKind", format!("{kind}List")),
        singular: or("/spec/names/singular", kind.to_lowercase()),
        plural: text(crd, "/spec/names/plural").to_owned(),
        short_names: strings(crd, "/spec/names/shortNames"),
        categories: strings(crd, "/spec/names/categories"),
        namespaced: text(crd, "/spec/scope") == "Namespaced",
        verbs: VERBS.iter().map(|&verb| verb.to_owned()).collect(),
        status_subresource: subresources.iter().any(|sub| sub.name == "status"),
        group,
        version: name,
        kind,
        subresources,
        columns,
        schema,
        open_api: declared.map(Arc::new),
        storage: flag(version, "storage"),
        deprecation_warning,
        custom: true,
    })
}

fn subresources(version: &Value, group: &str, name: &str, kind: &str) -> Vec<Subresource> {
    let mut found = Vec::new();
    let verbs = ["get", "patch", "update"].map(str::to_owned).to_vec();
    if version
        .pointer("/subresources/status")
        .is_some_and(Value::is_object)
    {
        found.push(Subresource {
            name: "status".to_owned(),
            group: group.to_owned(),
            version: name.to_owned(),
            kind: kind.to_owned(),
            verbs: verbs.clone(),
        });
    }
    if version
        .pointer("/subresources/scale")
        .is_some_and(Value::is_object)
    {
        found.push(Subresource {
            name: "scale".to_owned(),
            group: "autoscaling".to_owned(),
            version: "v1".to_owned(),
            kind: "Scale".to_owned(),
            verbs,
        });
    }
    found
}

fn columns(version: &Value, path: &str, errors: &mut Vec<FieldError>) -> Vec<Column> {
    let mut found = Vec::new();
    let declared = version.get("additionalPrinterColumns").and_then(Value::as_array);
    for (i, column) in declared.into_iter().flatten().enumerate() {
        let path = format!("{path}.additionalPrinterColumns[{i}]");
        let json_path = text(column, "/jsonPath");
        if json_path.is_empty() {
            errors.push(FieldError::required(
                &format!("{path}.jsonPath"),
                "must specify jsonPath",
            ));
        } else if let Err(problem) = JsonPath::parse(json_path) {
            errors.push(FieldError::invalid(
                &format!("{path}.jsonPath"),
                &Value::from(json_path),
                &problem,
            ));
        }
        if text(column, "/name").is_empty() {
            errors.push(FieldError::required(&format!("{path}.name"), ""));
        }
        let kind = text(column, "/type");
        if kind.is_empty() {
            errors.push(FieldError::required(&format!("{path}.type"), ""));
        } else if !matches!(kind, "integer" | "number" | "string" | "boolean" | "date") {
            let supported = ["boolean", "date", "integer", "number", "string"].map(str::to_owned);
            errors.push(FieldError::not_supported(
                &format!("{path}.type"),
                &Value::from(kind),
                &supported,
            ));
        }
        found.push(Column {
            name: text(column, "/name").to_owned(),
            kind: kind.to_owned(),
            format: text(column, "/format").to_owned(),
            description: text(column, "/description").to_owned(),
            priority: column.get("priority").and_then(Value::as_i64).unwrap_or_default(),
            json_path: json_path.to_owned(),
        });
    }
    found
}

/// Fill in what the real server fills in: `spec.names.singular`, `spec.names.listKind`,
/// `spec.conversion`.
pub fn default(crd: &mut Value) {
    let kind = text(crd, "/spec/names/kind").to_owned();
    if let Some(names) = crd.pointer_mut("/spec/names").and_then(Value::as_object_mut)
        && !kind.is_empty()
    {
        fill(names, "singular", kind.to_lowercase());
        fill(names, "listKind", format!("{kind}List"));
    }
    if let Some(spec) = crd.get_mut("spec").and_then(Value::as_object_mut) {
        spec.entry("conversion")
            .or_insert_with(|| json!({"strategy": "None"}));
    }
}

fn fill(map: &mut Map<String, Value>, field: &str, value: String) {
    if map.get(field).and_then(Value::as_str).is_none_or(str::is_empty) {
        map.insert(field.to_owned(), Value::from(value));
    }
}

/// The status of an accepted and established definition: conditions, acceptedNames, storedVersions.
///
/// `crd` has its defaults (see [`default`]) and, on an update, its former status, whose stored versions
/// and transition times are kept. `now` is in RFC 3339.
pub fn established_status(crd: &Value, now: &str) -> Value {
    let mut stored = strings(crd, "/status/storedVersions");
    let versions = crd.pointer("/spec/versions").and_then(Value::as_array);
    for version in versions
        .into_iter()
        .flatten()
        .filter(|version| flag(version, "storage"))
    {
        let name = text(version, "/name").to_owned();
        if !stored.contains(&name) {
            stored.push(name);
        }
    }
    let condition = |kind: &str, reason: &str, message: &str| {
        let former = crd
            .pointer("/status/conditions")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .find(|condition| text(condition, "/type") == kind && text(condition, "/status") == "True")
            .map(|condition| text(condition, "/lastTransitionTime").to_owned());
        json!({
            "lastTransitionTime": former.unwrap_or_else(|| now.to_owned()),
            "message": message,
            "reason": reason,
            "status": "True",
            "type": kind,
        })
    };
    json!({
        "acceptedNames": crd.pointer("/spec/names").cloned().unwrap_or_default(),
        "conditions": [
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ],
        "storedVersions": stored,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task_crd() -> Value {
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": "tasks.errand.dev"},
            "spec": {
                "group": "errand.dev",
                "scope": "Namespaced",
                "names": {"plural": "tasks", "kind": "Task", "shortNames": ["et"], "categories": ["errand"]},
                "versions": [{
                    "name": "v1alpha1", "served": true, "storage": true,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [
                        {"name": "Phase", "type": "string", "jsonPath": ".status.phase"},
                        {"name": "Reason", "type": "string", "jsonPath": ".status.reason", "priority": 1},
                    ],
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                        "spec": {"type": "object", "properties": {"n": {"type": "integer"}}},
                        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                    }}},
                }],
            },
        })
    }

    #[test]
    fn a_good_definition_serves_its_version() {
        let resources = Resource::from_crd(&task_crd()).unwrap();
        assert_eq!(resources.len(), 1);
        let task = &resources[0];
        assert_eq!(task.api_version(), "errand.dev/v1alpha1");
        assert_eq!(
            (task.list_kind.as_str(), task.singular.as_str()),
            ("TaskList", "task")
        );
        assert_eq!(task.short_names, ["et"]);
        assert_eq!(task.categories, ["errand"]);
        assert!(task.namespaced && task.status_subresource && task.storage && task.custom);
        assert_eq!(
            task.columns.iter().map(|c| c.priority).collect::<Vec<_>>(),
            [0, 1]
        );
        assert!(task.schema.is_some());
    }

    #[test]
    fn unserved_versions_are_left_out_and_the_best_comes_first() {
        let mut crd = task_crd();
        let mut v1 = crd["spec"]["versions"][0].clone();
        v1["name"] = json!("v1");
        v1["storage"] = json!(false);
        v1["deprecated"] = json!(true);
        let mut gone = v1.clone();
        gone["name"] = json!("v2");
        gone["served"] = json!(false);
        crd["spec"]["versions"].as_array_mut().unwrap().extend([v1, gone]);
        let resources = Resource::from_crd(&crd).unwrap();
        let names: Vec<&str> = resources.iter().map(|r| r.version.as_str()).collect();
        assert_eq!(names, ["v1", "v1alpha1"]);
        assert_eq!(
            resources[0].deprecation_warning.as_deref(),
            Some("errand.dev/v1 Task is deprecated")
        );
    }

    #[test]
    fn bad_definitions_are_refused_in_the_real_servers_words() {
        let cases: Vec<(&str, Value, &str)> = vec![
            (
                "/metadata/name",
                json!("x"),
                "metadata.name: Invalid value: \"x\": must be spec.names.plural+\".\"+spec.group",
            ),
            (
                "/spec/scope",
                json!("Galaxy"),
                "spec.scope: Unsupported value: \"Galaxy\": supported values: \"Cluster\", \"Namespaced\"",
            ),
            (
                "/spec/versions/0/storage",
                json!(false),
                "spec.versions: Invalid value: []interface {}{\"v1alpha1\"}: must have exactly one version marked as storage version",
            ),
            (
                "/spec/versions/0/schema",
                json!({}),
                "spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required",
            ),
            (
                "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/n",
                json!({}),
                "spec.versions[0].schema.openAPIV3Schema.properties[spec].properties[n].type: Required value: must not be empty for specified object fields",
            ),
            (
                "/spec/versions/0/additionalPrinterColumns/0/type",
                json!("thing"),
                "spec.versions[0].additionalPrinterColumns[0].type: Unsupported value: \"thing\": supported values: \"boolean\", \"date\", \"integer\", \"number\", \"string\"",
            ),
        ];
        for (pointer, value, message) in cases {
            let mut crd = task_crd();
            *crd.pointer_mut(pointer).unwrap() = value;
            assert_eq!(
                Resource::from_crd(&crd).unwrap_err().to_string(),
                message,
                "{pointer}"
            );
        }
    }

    #[test]
    fn anything_else_is_refused_without_a_panic() {
        for value in [
            json!(null),
            json!([]),
            json!({}),
            json!({"spec": 3}),
            json!({"spec": {"versions": [1, null, {}]}}),
        ] {
            assert!(Resource::from_crd(&value).is_err());
        }
    }

    #[test]
    fn defaults_and_status_are_those_of_an_established_definition() {
        let mut crd = task_crd();
        default(&mut crd);
        assert_eq!(crd["spec"]["names"]["singular"], "task");
        assert_eq!(crd["spec"]["names"]["listKind"], "TaskList");
        assert_eq!(crd["spec"]["conversion"], json!({"strategy": "None"}));
        crd["status"] = established_status(&crd, "2024-01-01T00:00:00Z");
        assert_eq!(crd["status"]["storedVersions"], json!(["v1alpha1"]));
        assert_eq!(crd["status"]["acceptedNames"]["listKind"], "TaskList");
        assert_eq!(crd["status"]["conditions"][1]["type"], "Established");
        let again = established_status(&crd, "2025-01-01T00:00:00Z");
        assert_eq!(again, crd["status"]);
    }
}
