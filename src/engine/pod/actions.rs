//! How a tree of actions reaches the supervisor: as a pod annotation that a downward API volume shows as a file.

use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, DownwardAPIVolumeSource, ObjectFieldSelector, Volume, VolumeMount,
};

use crate::handover::plan::Plan;

const ANNOTATION: &str = "errand.dev/actions";
const VOLUME: &str = "errand-actions";
const DIR: &str = "/errand/actions";
const FILE: &str = "plan.json";
/// Where the supervisor finds it.
pub(super) const PATH: &str = "/errand/actions/plan.json";

pub(super) fn annotation(plan: &Plan) -> (String, String) {
    (ANNOTATION.to_owned(), plan.encode())
}

pub(super) fn volume() -> Volume {
    let file = DownwardAPIVolumeFile {
        path: FILE.to_owned(),
        field_ref: Some(ObjectFieldSelector {
            field_path: format!("metadata.annotations['{ANNOTATION}']"),
            api_version: None,
        }),
        ..DownwardAPIVolumeFile::default()
    };
    Volume {
        name: VOLUME.into(),
        downward_api: Some(DownwardAPIVolumeSource {
            items: Some(vec![file]),
            ..DownwardAPIVolumeSource::default()
        }),
        ..Volume::default()
    }
}

pub(super) fn mount() -> VolumeMount {
    VolumeMount {
        name: VOLUME.into(),
        mount_path: DIR.into(),
        read_only: Some(true),
        ..VolumeMount::default()
    }
}
