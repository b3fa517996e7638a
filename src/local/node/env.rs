//! The environment, command and arguments of a container. Pure: ConfigMaps and Secrets come in as values.
//!
//! Source: kubernetes `pkg/kubelet/kubelet_pods.go` (makeEnvironmentVariables) and
//! `third_party/forked/golang/expansion`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, PodSpec, Secret};

use super::fields::{self, FieldError, NodeFacts};

/// The ConfigMaps and Secrets of the pod's namespace that it names and that exist.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    pub config_maps: HashMap<String, ConfigMap>,
    pub secrets: HashMap<String, Secret>,
}

/// Names of ConfigMaps and Secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    pub config_maps: BTreeSet<String>,
    pub secrets: BTreeSet<String>,
}

impl Names {
    /// Neither any ConfigMap nor any Secret.
    pub fn is_empty(&self) -> bool {
        self.config_maps.is_empty() && self.secrets.is_empty()
    }
}

/// Why a container cannot be configured; kubelet words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    #[error("configmap {0:?} not found")]
    ConfigMapMissing(String),
    #[error("secret {0:?} not found")]
    SecretMissing(String),
    #[error("couldn't find key {key} in ConfigMap {namespace}/{name}")]
    ConfigMapKey {
        key: String,
        namespace: String,
        name: String,
    },
    #[error("couldn't find key {key} in Secret {namespace}/{name}")]
    SecretKey {
        key: String,
        namespace: String,
        name: String,
    },
    #[error("environment variable {name}: the value of key {key} is not UTF-8 text")]
    NotText { name: String, key: String },
    #[error(
        "environment variable {0} has a name or value that no process can be given (\"=\" or a zero byte)"
    )]
    Impossible(String),
    #[error(transparent)]
    Field(#[from] FieldError),
}

/// What a container's environment refers to.
pub fn references(container: &Container) -> Names {
    let mut names = Names::default();
    for from in container.env_from.iter().flatten() {
        names
            .config_maps
            .extend(from.config_map_ref.iter().map(|one| one.name.clone()));
        names
            .secrets
            .extend(from.secret_ref.iter().map(|one| one.name.clone()));
    }
    for source in container
        .env
        .iter()
        .flatten()
        .filter_map(|env| env.value_from.as_ref())
    {
        names
            .config_maps
            .extend(source.config_map_key_ref.iter().map(|one| one.name.clone()));
        names
            .secrets
            .extend(source.secret_key_ref.iter().map(|one| one.name.clone()));
    }
    names
}

/// The variables of `container` in order of their first mention; a later one of the same name goes first.
pub fn environment(
    pod: &Pod,
    container: &Container,
    sources: &Sources,
    facts: &NodeFacts,
) -> Result<Vec<(String, String)>, EnvError> {
    let mut out = Ordered::default();
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        if let Some(one) = &from.config_map_ref {
            match sources.config_maps.get(&one.name) {
                Some(map) => out.extend(prefix, map.data.iter().flatten().map(|(k, v)| (k, v.as_bytes())))?,
                None if one.optional == Some(true) => {}
                None => return Err(EnvError::ConfigMapMissing(one.name.clone())),
            }
        }
        if let Some(one) = &from.secret_ref {
            match sources.secrets.get(&one.name) {
                Some(secret) => out.extend(
                    prefix,
                    secret.data.iter().flatten().map(|(k, v)| (k, v.0.as_slice())),
                )?,
                None if one.optional == Some(true) => {}
                None => return Err(EnvError::SecretMissing(one.name.clone())),
            }
        }
    }
    for env in container.env.iter().flatten() {
        let value = match (&env.value, &env.value_from) {
            (_, Some(source)) => match value_from(pod, container, &env.name, source, sources, facts)? {
                Some(value) => value,
                None => continue,
            },
            (value, None) => expand(value.as_deref().unwrap_or_default(), |name| out.get(name)),
        };
        out.set(&env.name, value);
    }
    let impossible = |(name, value): &&(String, String)| {
        name.is_empty() || name.contains(['=', '\0']) || value.contains('\0')
    };
    match out.list.iter().find(impossible) {
        Some((name, _)) => Err(EnvError::Impossible(name.clone())),
        None => Ok(out.list),
    }
}

fn value_from(
    pod: &Pod,
    container: &Container,
    name: &str,
    source: &EnvVarSource,
    sources: &Sources,
    facts: &NodeFacts,
) -> Result<Option<String>, EnvError> {
    let namespace = || pod.metadata.namespace.clone().unwrap_or_default();
    if let Some(reference) = &source.field_ref {
        return Ok(Some(fields::field(pod, &reference.field_path, facts)?));
    }
    if let Some(reference) = &source.resource_field_ref {
        return Ok(Some(fields::resource(pod, Some(container), reference, facts)?));
    }
    if let Some(one) = &source.config_map_key_ref {
        let optional = one.optional == Some(true);
        let Some(map) = sources.config_maps.get(&one.name) else {
            return if optional {
                Ok(None)
            } else {
                Err(EnvError::ConfigMapMissing(one.name.clone()))
            };
        };
        return match map.data.as_ref().and_then(|data| data.get(&one.key)) {
            Some(value) => Ok(Some(value.clone())),
            None if optional => Ok(None),
            None => Err(EnvError::ConfigMapKey {
                key: one.key.clone(),
                namespace: namespace(),
                name: one.name.clone(),
            }),
        };
    }
    if let Some(one) = &source.secret_key_ref {
        let optional = one.optional == Some(true);
        let Some(secret) = sources.secrets.get(&one.name) else {
            return if optional {
                Ok(None)
            } else {
                Err(EnvError::SecretMissing(one.name.clone()))
            };
        };
        return match secret.data.as_ref().and_then(|data| data.get(&one.key)) {
            Some(value) => match String::from_utf8(value.0.clone()) {
                Ok(text) => Ok(Some(text)),
                Err(_) => Err(EnvError::NotText {
                    name: name.to_owned(),
                    key: one.key.clone(),
                }),
            },
            None if optional => Ok(None),
            None => Err(EnvError::SecretKey {
                key: one.key.clone(),
                namespace: namespace(),
                name: one.name.clone(),
            }),
        };
    }
    Ok(Some(String::new()))
}

#[derive(Default)]
struct Ordered {
    list: Vec<(String, String)>,
    index: BTreeMap<String, usize>,
}

impl Ordered {
    fn get(&self, name: &str) -> Option<&str> {
        self.index
            .get(name)
            .and_then(|at| self.list.get(*at))
            .map(|(_, value)| value.as_str())
    }

    fn set(&mut self, name: &str, value: String) {
        match self.index.get(name).and_then(|at| self.list.get_mut(*at)) {
            Some(entry) => entry.1 = value,
            None => {
                self.index.insert(name.to_owned(), self.list.len());
                self.list.push((name.to_owned(), value));
            }
        }
    }

    fn extend<'a>(
        &mut self,
        prefix: &str,
        entries: impl Iterator<Item = (&'a String, &'a [u8])>,
    ) -> Result<(), EnvError> {
        for (key, value) in entries {
            let name = format!("{prefix}{key}");
            let text = std::str::from_utf8(value).map_err(|_| EnvError::NotText {
                name: name.clone(),
                key: key.clone(),
            })?;
            self.set(&name, text.to_owned());
        }
        Ok(())
    }
}

/// Replaces `$(NAME)` by what `lookup` knows; `$$` is a dollar sign; unknown names and anything else stay.
pub fn expand<'a>(text: &str, lookup: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match lookup(name) {
                Some(value) => out.push_str(value),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

/// [`expand`] of each text with a finished environment.
pub fn expand_all(texts: Option<&Vec<String>>, env: &[(String, String)]) -> Vec<String> {
    let known: HashMap<&str, &str> = env
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    texts
        .into_iter()
        .flatten()
        .map(|text| expand(text, |name| known.get(name).copied()))
        .collect()
}

/// Every container of a pod with its place: init containers first, in order.
pub fn containers_in_order(spec: &PodSpec) -> Vec<(bool, &Container)> {
    let init = spec
        .init_containers
        .iter()
        .flatten()
        .map(|container| (true, container));
    init.chain(spec.containers.iter().map(|container| (false, container)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use serde_json::{Value, json};

    use super::*;
    use crate::local::scheduler::resources::Resources;

    #[test]
    fn variables_expand_as_kubernetes_expands_them() {
        let lookup = |name: &str| match name {
            "A" => Some("1"),
            "EMPTY" => Some(""),
            "LOOP" => Some("$(A)"),
            _ => None,
        };
        for (text, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("$(A)", "1"),
            ("x$(A)y$(A)", "x1y1"),
            ("$(EMPTY)|", "|"),
            ("$(NONE)", "$(NONE)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$A ${A}", "$A ${A}"),
            ("$(A", "$(A"),
            ("$", "$"),
            ("$(LOOP)", "$(A)"),
            ("$()", "$()"),
            ("é$(A)é", "é1é"),
        ] {
            assert_eq!(expand(text, lookup), expected, "{text}");
        }
    }

    fn run(container: Value, sources: &Sources) -> Result<Vec<(String, String)>, EnvError> {
        let pod =
            json!({ "metadata": { "name": "p", "namespace": "ns" }, "spec": { "containers": [container] } });
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let facts = NodeFacts {
            node_name: "n".to_owned(),
            host_ip: Ipv4Addr::LOCALHOST.into(),
            pod_ip: None,
            allocatable: Resources::default(),
        };
        environment(&pod, &pod.spec.as_ref().unwrap().containers[0], sources, &facts)
    }

    fn sources() -> Sources {
        let map = json!({ "data": { "k": "v", "other": "o" } });
        let secret = json!({ "data": { "s": "c2VjcmV0", "bin": "/w==" } });
        Sources {
            config_maps: [("cm".to_owned(), serde_json::from_value(map).unwrap())].into(),
            secrets: [("sec".to_owned(), serde_json::from_value(secret).unwrap())].into(),
        }
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn later_variables_see_earlier_ones_and_replace_them_in_place() {
        let env = json!({ "name": "task", "envFrom": [{ "prefix": "P_", "configMapRef": { "name": "cm" } }], "env": [
            { "name": "A", "value": "1" },
            { "name": "B", "value": "$(A)-$(P_k)-$(LATER)" },
            { "name": "LATER", "valueFrom": { "secretKeyRef": { "name": "sec", "key": "s" } } },
            { "name": "P_k", "value": "mine" },
            { "name": "POD", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
            { "name": "NOT", "valueFrom": { "configMapKeyRef": { "name": "no", "key": "k", "optional": true } } },
        ] });
        let expected = pairs(&[
            ("P_k", "mine"),
            ("P_other", "o"),
            ("A", "1"),
            ("B", "1-v-$(LATER)"),
            ("LATER", "secret"),
            ("POD", "p"),
        ]);
        assert_eq!(run(env, &sources()), Ok(expected));
    }

    #[test]
    fn what_is_missing_is_named() {
        let key = |kind: &str, name: &str, key: &str| json!({ "name": "task", "env": [{ "name": "X", "valueFrom": { kind: { "name": name, "key": key } } }] });
        let names = |key: &str, name: &str| (key.to_owned(), "ns".to_owned(), name.to_owned());
        let (k, ns, n) = names("none", "cm");
        let error = EnvError::ConfigMapKey {
            key: k,
            namespace: ns,
            name: n,
        };
        assert_eq!(error.to_string(), "couldn't find key none in ConfigMap ns/cm");
        assert_eq!(run(key("configMapKeyRef", "cm", "none"), &sources()), Err(error));
        let error = EnvError::ConfigMapMissing("no".to_owned());
        assert_eq!(error.to_string(), "configmap \"no\" not found");
        assert_eq!(run(key("configMapKeyRef", "no", "k"), &sources()), Err(error));
        let error = EnvError::SecretMissing("no".to_owned());
        assert_eq!(
            run(
                json!({ "name": "task", "envFrom": [{ "secretRef": { "name": "no" } }] }),
                &sources()
            ),
            Err(error)
        );
        let error = EnvError::NotText {
            name: "X".to_owned(),
            key: "bin".to_owned(),
        };
        assert_eq!(run(key("secretKeyRef", "sec", "bin"), &sources()), Err(error));
        let error = EnvError::Impossible("X".to_owned());
        let zero = json!({ "name": "task", "env": [{ "name": "X", "value": "a\u{0}b" }] });
        assert_eq!(run(zero, &sources()), Err(error));
    }
}
