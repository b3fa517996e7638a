//! Volumes of drivers that the operator has mapped. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::VolumeMount as Mount;
use serde_json::{Map, Value, json};

use super::Unsupported;
use crate::facade::{
    dialects::diego::{messages::VolumeMount, settings::VolumeKind},
    objects::is_name,
};

/// What the pod has, and where its container finds it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Volumes {
    /// Volumes, as `pod.volumes` has them.
    pub volumes: Vec<Map<String, Value>>,
    /// Their places.
    pub mounts: Vec<Mount>,
}

/// The volumes that a definition mounts. A claim that is mounted twice is one volume: a kubelet attaches it once.
pub fn volumes(
    mounts: &[VolumeMount],
    drivers: &BTreeMap<String, VolumeKind>,
) -> Result<Volumes, Unsupported> {
    let mut claims: Vec<&str> = Vec::new();
    let mut made = Volumes::default();
    for mount in mounts {
        let VolumeKind::Claim = drivers
            .get(&mount.driver)
            .ok_or_else(|| Unsupported::Driver(mount.driver.clone()))?;
        let id = mount
            .shared
            .as_ref()
            .map_or("", |shared| shared.volume_id.as_str());
        if !is_name(id) {
            return Err(Unsupported::VolumeId(id.to_owned()));
        }
        let place = claims.iter().position(|claim| *claim == id).unwrap_or_else(|| {
            claims.push(id);
            claims.len() - 1
        });
        made.mounts.push(Mount {
            name: name(place),
            mount_path: folder(&mount.container_dir)?,
            read_only: Some(is_read_only(&mount.mode)?),
            ..Mount::default()
        });
    }
    let volume = |(place, claim): (usize, &&str)| {
        Map::from_iter([
            ("name".to_owned(), json!(name(place))),
            ("persistentVolumeClaim".to_owned(), json!({"claimName": claim})),
        ])
    };
    made.volumes = claims.iter().enumerate().map(volume).collect();
    Ok(made)
}

fn name(place: usize) -> String {
    format!("volume-{place}")
}

/// A place in the container that Kubernetes takes.
fn folder(path: &str) -> Result<String, Unsupported> {
    let legal = path.starts_with('/')
        && !path.trim_matches('/').is_empty()
        && !path.contains([':', '\0'])
        && path.split('/').all(|part| part != "..");
    match legal {
        true => Ok(path.to_owned()),
        false => Err(Unsupported::ContainerDir(path.to_owned())),
    }
}

/// The two modes that cells know.
fn is_read_only(mode: &str) -> Result<bool, Unsupported> {
    match mode {
        "r" => Ok(true),
        "rw" => Ok(false),
        other => Err(Unsupported::VolumeMode(other.to_owned())),
    }
}

/// True where a mount says more than which claim it is.
pub fn has_config(mounts: &[VolumeMount]) -> bool {
    let config = |mount: &VolumeMount| {
        let shared = mount.shared.as_ref();
        shared.is_some_and(|shared| !shared.mount_config.is_empty())
    };
    mounts.iter().any(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facade::dialects::diego::messages::SharedDevice;

    fn mount(driver: &str, id: &str, folder: &str, mode: &str) -> VolumeMount {
        VolumeMount {
            driver: driver.into(),
            container_dir: folder.into(),
            mode: mode.into(),
            shared: Some(SharedDevice {
                volume_id: id.into(),
                mount_config: String::new(),
            }),
        }
    }

    fn of(mounts: &[VolumeMount]) -> Result<Volumes, Unsupported> {
        volumes(mounts, &[("nfsv3driver".to_owned(), VolumeKind::Claim)].into())
    }

    #[test]
    fn a_volume_of_a_mapped_driver_is_the_claim_of_its_id() {
        let got = of(&[
            mount("nfsv3driver", "shared-data", "/var/vcap/data/1", "rw"),
            mount("nfsv3driver", "other", "/data", "r"),
            mount("nfsv3driver", "shared-data", "/again", "r"),
        ])
        .unwrap();
        assert_eq!(
            json!(got.volumes),
            json!([
                {"name": "volume-0", "persistentVolumeClaim": {"claimName": "shared-data"}},
                {"name": "volume-1", "persistentVolumeClaim": {"claimName": "other"}},
            ])
        );
        assert_eq!(
            json!(got.mounts),
            json!([
                {"name": "volume-0", "mountPath": "/var/vcap/data/1", "readOnly": false},
                {"name": "volume-1", "mountPath": "/data", "readOnly": true},
                {"name": "volume-0", "mountPath": "/again", "readOnly": true},
            ])
        );
        assert_eq!(of(&[]), Ok(Volumes::default()));
    }

    #[test]
    fn what_no_claim_can_be_is_refused() {
        for (mount, wanted) in [
            (
                mount("smbdriver", "a", "/a", "r"),
                Unsupported::Driver("smbdriver".into()),
            ),
            (mount("", "a", "/a", "r"), Unsupported::Driver(String::new())),
            (
                mount("nfsv3driver", "A_b", "/a", "r"),
                Unsupported::VolumeId("A_b".into()),
            ),
            (
                mount("nfsv3driver", "../a", "/a", "r"),
                Unsupported::VolumeId("../a".into()),
            ),
            (
                mount("nfsv3driver", "a", "a", "r"),
                Unsupported::ContainerDir("a".into()),
            ),
            (
                mount("nfsv3driver", "a", "/", "r"),
                Unsupported::ContainerDir("/".into()),
            ),
            (
                mount("nfsv3driver", "a", "/a/../b", "r"),
                Unsupported::ContainerDir("/a/../b".into()),
            ),
            (
                mount("nfsv3driver", "a", "/a", "ro"),
                Unsupported::VolumeMode("ro".into()),
            ),
            (
                VolumeMount {
                    shared: None,
                    ..mount("nfsv3driver", "", "/a", "r")
                },
                Unsupported::VolumeId(String::new()),
            ),
        ] {
            assert_eq!(of(&[mount]), Err(wanted));
        }
    }
}
