//! How files of a Task reach its container: as pod annotations that a downward API volume shows, so that no other object is
//! needed for them.

use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, DownwardAPIVolumeSource, ObjectFieldSelector, Volume, VolumeMount,
};

use crate::crd::Files;

const ANNOTATION: &str = "errand.dev/file-";
const VOLUME: &str = "errand-files";

fn key(index: usize) -> String {
    format!("{ANNOTATION}{index}")
}

pub(super) fn annotations(files: &Files) -> impl Iterator<Item = (String, String)> {
    let contents = files.contents.values().enumerate();
    contents.map(|(index, content)| (key(index), content.clone()))
}

pub(super) fn volume(files: &Files) -> Volume {
    let file = |(index, path): (usize, &String)| DownwardAPIVolumeFile {
        path: path.clone(),
        field_ref: Some(ObjectFieldSelector {
            field_path: format!("metadata.annotations['{}']", key(index)),
            api_version: None,
        }),
        ..DownwardAPIVolumeFile::default()
    };
    Volume {
        name: VOLUME.into(),
        downward_api: Some(DownwardAPIVolumeSource {
            items: Some(files.contents.keys().enumerate().map(file).collect()),
            ..DownwardAPIVolumeSource::default()
        }),
        ..Volume::default()
    }
}

pub(super) fn mount(files: &Files) -> VolumeMount {
    VolumeMount {
        name: VOLUME.into(),
        mount_path: files.mount_path.clone(),
        read_only: Some(true),
        ..VolumeMount::default()
    }
}
