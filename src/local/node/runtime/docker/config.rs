//! A container as the engine wants it described. Pure.

use std::collections::HashMap;

use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount, MountType};

use crate::local::node::runtime::{ContainerConfig, Security};

/// The period against which a cpu limit is counted, in microseconds; a kubelet's.
const CPU_PERIOD: i64 = 100_000;
/// The kernel's smallest quota and weight, as in kubelet `MilliCPUToQuota` and `MilliCPUToShares`.
const MIN_QUOTA: i64 = 1000;
const MIN_SHARES: i64 = 2;

/// The name that dockershim gave containers, which people know to look for.
pub fn container_name(container: &ContainerConfig) -> String {
    let pod = &container.pod;
    format!(
        "k8s_{}_{}_{}_{}_{}",
        container.name, pod.name, pod.namespace, pod.uid, container.attempt
    )
}

/// The whole description. `network` is the container whose network is to be shared.
pub fn body(
    container: &ContainerConfig,
    image: String,
    labels: HashMap<String, String>,
    network: Option<&str>,
    podman: bool,
) -> ContainerCreateBody {
    let list = |texts: &Vec<String>| (!texts.is_empty()).then(|| texts.clone());
    let own_network = network.is_none() && !container.host_network;
    ContainerCreateBody {
        image: Some(image),
        entrypoint: list(&container.command),
        cmd: list(&container.args),
        env: Some(
            container
                .env
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
        ),
        working_dir: container.working_dir.clone().filter(|folder| !folder.is_empty()),
        hostname: own_network.then(|| container.hostname.clone()),
        user: user(&container.security),
        labels: Some(labels),
        host_config: Some(host_config(container, network, podman)),
        ..ContainerCreateBody::default()
    }
}

fn user(security: &Security) -> Option<String> {
    match (security.user, security.group) {
        (None, None) => None,
        (user, None) => user.map(|user| user.to_string()),
        (user, Some(group)) => Some(format!("{}:{group}", user.unwrap_or(0))),
    }
}

fn host_config(container: &ContainerConfig, network: Option<&str>, podman: bool) -> HostConfig {
    let security = &container.security;
    let limits = &container.limits;
    let mut options = Vec::new();
    if security.no_new_privileges {
        options.push("no-new-privileges".to_owned());
    }
    if security.seccomp_unconfined {
        options.push("seccomp=unconfined".to_owned());
    }
    let network_mode = match network {
        _ if container.host_network => Some("host".to_owned()),
        Some(id) => Some(format!("container:{id}")),
        None => None,
    };
    let texts = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
    let groups: Vec<String> = security.extra_groups.iter().map(ToString::to_string).collect();
    HostConfig {
        mounts: Some(mounts(container)),
        cpu_period: limits.cpu_limit.map(|_| CPU_PERIOD),
        cpu_quota: limits
            .cpu_limit
            .map(|milli| milli.saturating_mul(CPU_PERIOD / 1000).max(MIN_QUOTA)),
        cpu_shares: limits
            .cpu_request
            .map(|milli| (milli.saturating_mul(1024) / 1000).max(MIN_SHARES)),
        memory: limits.memory,
        // Memory and swap together: equal means no swap.
        memory_swap: limits.memory,
        privileged: Some(security.privileged),
        readonly_rootfs: Some(security.read_only_root),
        cap_add: texts(&security.add_capabilities),
        cap_drop: texts(&security.drop_capabilities),
        group_add: texts(&groups),
        security_opt: texts(&options),
        network_mode,
        log_config: (!podman).then(|| HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(
                [("max-size", "16m"), ("max-file", "2")]
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .into(),
            ),
        }),
        ..HostConfig::default()
    }
}

fn mounts(container: &ContainerConfig) -> Vec<Mount> {
    let bind = |mount: &crate::local::node::volumes::Mount| Mount {
        typ: Some(MountType::BIND),
        // Relative folders of the node would mean something else to the engine.
        source: Some(
            std::path::absolute(&mount.host)
                .unwrap_or_else(|_| mount.host.clone())
                .to_string_lossy()
                .into_owned(),
        ),
        target: Some(mount.container.clone()),
        read_only: Some(mount.read_only),
        ..Mount::default()
    };
    container.mounts.iter().map(bind).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::local::node::images::PullPolicy;
    use crate::local::node::runtime::{Limits, PodKey};

    fn container() -> ContainerConfig {
        ContainerConfig {
            pod: PodKey {
                namespace: "ns".to_owned(),
                name: "p".to_owned(),
                uid: "u".to_owned(),
            },
            name: "task".to_owned(),
            attempt: 1,
            init: false,
            image: "x".to_owned(),
            pull_policy: PullPolicy::Never,
            registry: None,
            command: vec!["/bin/x".to_owned()],
            args: vec!["a".to_owned()],
            env: vec![("A".to_owned(), "1".to_owned())],
            working_dir: Some("/w".to_owned()),
            mounts: vec![crate::local::node::volumes::Mount {
                host: "/h".into(),
                container: "/c".to_owned(),
                read_only: true,
            }],
            ports: vec![],
            limits: Limits {
                cpu_limit: Some(500),
                cpu_request: Some(1),
                memory: Some(64),
            },
            security: Security {
                no_new_privileges: true,
                user: Some(7),
                group: Some(8),
                drop_capabilities: vec!["ALL".to_owned()],
                ..Security::default()
            },
            hostname: "p".to_owned(),
            host_network: false,
            folder: "/f".into(),
        }
    }

    #[test]
    fn limits_mounts_and_rights_are_passed_on() {
        let body = body(&container(), "x:latest".to_owned(), HashMap::new(), None, false);
        assert_eq!(
            serde_json::to_value(body).unwrap(),
            json!({
                "Hostname": "p", "User": "7:8", "Env": ["A=1"], "Cmd": ["a"], "Image": "x:latest", "WorkingDir": "/w",
                "Entrypoint": ["/bin/x"], "Labels": {},
                "HostConfig": {
                    "CpuShares": 2, "CpuPeriod": 100_000, "CpuQuota": 50_000, "Memory": 64, "MemorySwap": 64,
                    "LogConfig": { "Type": "json-file", "Config": { "max-size": "16m", "max-file": "2" } },
                    "Mounts": [{ "Target": "/c", "Source": "/h", "Type": "bind", "ReadOnly": true }],
                    "CapDrop": ["ALL"], "Privileged": false, "ReadonlyRootfs": false,
                    "SecurityOpt": ["no-new-privileges"],
                },
            })
        );
        assert_eq!(container_name(&container()), "k8s_task_p_ns_u_1");
    }

    #[test]
    fn later_containers_share_the_first_ones_network() {
        let body = body(&container(), "x".to_owned(), HashMap::new(), Some("abc"), true);
        let host = body.host_config.unwrap();
        assert_eq!(
            (body.hostname, host.network_mode.as_deref()),
            (None, Some("container:abc"))
        );
        assert_eq!(host.log_config, None);
    }
}
