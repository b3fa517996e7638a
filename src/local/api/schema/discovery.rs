//! Discovery: which groups, versions and resources there are.
//!
//! Shapes: `meta/v1` APIVersions, APIGroupList, APIGroup, APIResourceList, and the aggregated form
//! `apidiscovery.k8s.io/v2`, which kubectl asks for first.

use serde_json::{Value, json};

use super::{
    Resource, Subresource,
    resource::{api_version, version_order},
};

/// Media type of [`aggregated`]'s answer; clients ask for it in `Accept`.
pub const AGGREGATED_CONTENT_TYPE: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Whether an `Accept` header asks for aggregated discovery v2 in JSON, and does so before plain JSON.
pub fn accepts_aggregated(accept: &str) -> bool {
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        if !matches!(media, "application/json" | "*/*" | "application/*") {
            continue;
        }
        let parameters: Vec<&str> = parts.filter(|part| !part.starts_with("q=")).collect();
        if parameters.is_empty() {
            return false;
        }
        if ["g=apidiscovery.k8s.io", "v=v2", "as=APIGroupDiscoveryList"]
            .iter()
            .all(|part| parameters.contains(part))
        {
            return true;
        }
    }
    false
}

/// `/api`: the versions of the core group. `host` is the address that clients see, such as
/// `127.0.0.1:6443`.
pub fn api_versions(host: &str) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": host}],
    })
}

/// Groups in the order in which resources name them first, each with its versions, best first.
fn groups(resources: &[Resource]) -> Vec<(&str, Vec<&str>)> {
    let mut found: Vec<(&str, Vec<&str>)> = Vec::new();
    for resource in resources {
        let (group, version) = (resource.group.as_str(), resource.version.as_str());
        match found.iter_mut().find(|(name, _)| *name == group) {
            None => found.push((group, vec![version])),
            Some((_, versions)) if !versions.contains(&version) => versions.push(version),
            Some(_) => {}
        }
    }
    for (_, versions) in &mut found {
        versions.sort_by(|a, b| version_order(a, b));
    }
    found
}

/// `/apis`: an APIGroupList.
pub fn api_groups(resources: &[Resource]) -> Value {
    let named = groups(resources)
        .into_iter()
        .filter(|(group, _)| !group.is_empty());
    let groups: Vec<Value> = named
        .map(|(group, versions)| group_value(group, &versions))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/<group>`: one APIGroup, or `None` for an unknown one.
pub fn api_group(group: &str, resources: &[Resource]) -> Option<Value> {
    let (_, versions) = groups(resources)
        .into_iter()
        .find(|(name, _)| *name == group && !name.is_empty())?;
    let mut value = json!({"kind": "APIGroup", "apiVersion": "v1"});
    if let (Value::Object(value), Value::Object(fields)) = (&mut value, group_value(group, &versions)) {
        value.extend(fields);
    }
    Some(value)
}

fn group_value(group: &str, versions: &[&str]) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|version| json!({"groupVersion": api_version(group, version), "version": version}))
        .collect();
    json!({"name": group, "preferredVersion": versions.first(), "versions": versions})
}

/// `/api/v1` or `/apis/<group>/<version>`: an APIResourceList, or `None` for an unknown one.
pub fn api_resource_list(group: &str, version: &str, resources: &[Resource]) -> Option<Value> {
    let mut list = Vec::new();
    for resource in resources
        .iter()
        .filter(|r| r.group == group && r.version == version)
    {
        list.push(resource_value(resource));
        list.extend(
            resource
                .subresources
                .iter()
                .map(|sub| subresource_value(resource, sub)),
        );
    }
    if list.is_empty() {
        return None;
    }
    Some(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": api_version(group, version),
        "resources": list,
    }))
}

fn resource_value(resource: &Resource) -> Value {
    let mut value = json!({
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": resource.verbs,
    });
    add_names(&mut value, resource);
    value
}

fn subresource_value(resource: &Resource, sub: &Subresource) -> Value {
    let mut value = json!({
        "name": format!("{}/{}", resource.plural, sub.name),
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": sub.kind,
        "verbs": sub.verbs,
    });
    if (&sub.group, &sub.version) != (&resource.group, &resource.version) {
        value["group"] = Value::from(sub.group.as_str());
        value["version"] = Value::from(sub.version.as_str());
    }
    value
}

fn add_names(value: &mut Value, resource: &Resource) {
    if !resource.short_names.is_empty() {
        value["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        value["categories"] = json!(resource.categories);
    }
}

/// Aggregated discovery (`APIGroupDiscoveryList` of apidiscovery.k8s.io/v2): with `core` the one for
/// `/api`, otherwise the one for `/apis`.
pub fn aggregated(resources: &[Resource], core: bool) -> Value {
    let items: Vec<Value> = groups(resources)
        .into_iter()
        .filter(|(group, _)| group.is_empty() == core)
        .map(|(group, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|version| {
                    let members = resources
                        .iter()
                        .filter(|r| r.group == group && r.version == *version);
                    json!({
                        "version": version,
                        "resources": members.map(aggregated_resource).collect::<Vec<_>>(),
                        "freshness": "Current",
                    })
                })
                .collect();
            // the core group has no name
            let metadata = if core {
                json!({"creationTimestamp": null})
            } else {
                json!({"name": group, "creationTimestamp": null})
            };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    })
}

fn aggregated_resource(resource: &Resource) -> Value {
    let kind =
        |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
    let mut value = json!({
        "resource": resource.plural,
        "responseKind": kind(&resource.group, &resource.version, &resource.kind),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular,
        "verbs": resource.verbs,
    });
    add_names(&mut value, resource);
    if !resource.subresources.is_empty() {
        let subresources: Vec<Value> = resource
            .subresources
            .iter()
            .map(|sub| {
                json!({
                    "subresource": sub.name,
                    "responseKind": kind(&sub.group, &sub.version, &sub.kind),
                    "verbs": sub.verbs,
                })
            })
            .collect();
        value["subresources"] = Value::from(subresources);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::api::schema::builtin_resources;

    #[test]
    fn groups_are_listed_once_without_the_core_group() {
        let list = api_groups(&builtin_resources());
        let names: Vec<&str> = list["groups"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|g| g["name"].as_str())
            .collect();
        assert_eq!(
            names,
            [
                "apiextensions.k8s.io",
                "apps",
                "authentication.k8s.io",
                "authorization.k8s.io",
                "coordination.k8s.io",
                "events.k8s.io",
                "networking.k8s.io",
                "rbac.authorization.k8s.io"
            ]
        );
        let apps = api_group("apps", &builtin_resources()).unwrap();
        assert_eq!(
            apps,
            json!({
                "kind": "APIGroup", "apiVersion": "v1", "name": "apps",
                "preferredVersion": {"groupVersion": "apps/v1", "version": "v1"},
                "versions": [{"groupVersion": "apps/v1", "version": "v1"}],
            })
        );
        assert_eq!(api_group("", &builtin_resources()), None);
        assert_eq!(api_group("nope", &builtin_resources()), None);
    }

    #[test]
    fn a_resource_list_names_subresources_with_their_own_kinds() {
        let list = api_resource_list("", "v1", &builtin_resources()).unwrap();
        let find = |name: &str| {
            list["resources"]
                .as_array()
                .unwrap()
                .iter()
                .find(|r| r["name"] == name)
                .cloned()
                .unwrap_or_default()
        };
        assert_eq!(
            find("pods"),
            json!({
                "name": "pods", "singularName": "pod", "namespaced": true, "kind": "Pod",
                "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
                "shortNames": ["po"], "categories": ["all"],
            })
        );
        assert_eq!(find("pods/log")["verbs"], json!(["get"]));
        assert_eq!(find("serviceaccounts/token")["group"], "authentication.k8s.io");
        assert_eq!(api_resource_list("", "v2", &builtin_resources()), None);
    }

    #[test]
    fn aggregated_discovery_carries_scope_and_subresources() {
        let core = aggregated(&builtin_resources(), true);
        assert_eq!(core["items"].as_array().unwrap().len(), 1);
        let resources = core["items"][0]["versions"][0]["resources"].as_array().unwrap();
        let node = resources.iter().find(|r| r["resource"] == "nodes").unwrap();
        assert_eq!(node["scope"], "Cluster");
        assert_eq!(node["subresources"][0]["subresource"], "status");
        let named = aggregated(&builtin_resources(), false);
        assert_eq!(named["items"].as_array().unwrap().len(), 8);
    }

    #[test]
    fn only_clients_that_ask_for_v2_json_get_aggregated_discovery() {
        let kubectl = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
        assert!(accepts_aggregated(kubectl));
        assert!(!accepts_aggregated("application/json"));
        assert!(!accepts_aggregated(
            "application/json, application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        ));
        assert!(!accepts_aggregated(
            "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"
        ));
        assert!(!accepts_aggregated("*/*"));
        assert!(!accepts_aggregated(""));
    }
}
