//! How the input of a command function reaches its container.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, DownwardAPIVolumeSource, EmptyDirVolumeSource, ObjectFieldSelector, Volume,
    VolumeMount,
};

use super::{ENCODED_DIR, INPUT_DIR};
use crate::engine::resolve::{Run, RunInput};

const ANNOTATION_INPUT: &str = "errand.dev/input-";

/// The input files of a command function, as pod annotations that a downward API volume shows as files.
pub(super) struct InputMount {
    /// File name and content.
    pub(super) files: BTreeMap<&'static str, String>,
    supervised: bool,
}

impl InputMount {
    pub(super) fn of(run: &Run) -> Self {
        let files = if run.facts.http.is_some() {
            BTreeMap::new()
        } else {
            input_files(&run.input)
        };
        Self {
            files,
            supervised: run.facts.supervised,
        }
    }

    /// True where the supervisor must decode the body: an annotation holds text only.
    pub(super) fn encoded(&self) -> bool {
        self.supervised && self.files.contains_key("body.base64")
    }

    pub(super) fn annotations(&self) -> impl Iterator<Item = (String, String)> + '_ {
        self.files
            .iter()
            .map(|(file, content)| (annotation(file), content.clone()))
    }

    pub(super) fn volumes(&self) -> Vec<Volume> {
        if self.files.is_empty() {
            return Vec::new();
        }
        let item = |file: &&str| DownwardAPIVolumeFile {
            path: (*file).to_owned(),
            field_ref: Some(ObjectFieldSelector {
                field_path: format!("metadata.annotations['{}']", annotation(file)),
                api_version: None,
            }),
            ..DownwardAPIVolumeFile::default()
        };
        let mut volumes = vec![Volume {
            name: "errand-input".into(),
            downward_api: Some(DownwardAPIVolumeSource {
                items: Some(self.files.keys().map(item).collect()),
                ..DownwardAPIVolumeSource::default()
            }),
            ..Volume::default()
        }];
        if self.encoded() {
            volumes.push(Volume {
                name: "errand-input-decoded".into(),
                empty_dir: Some(EmptyDirVolumeSource::default()),
                ..Volume::default()
            });
        }
        volumes
    }

    pub(super) fn mounts(&self) -> Vec<VolumeMount> {
        let mount = |name: &str, path: &str, read_only: bool| VolumeMount {
            name: name.into(),
            mount_path: path.into(),
            read_only: read_only.then_some(true),
            ..VolumeMount::default()
        };
        match (self.files.is_empty(), self.encoded()) {
            (true, _) => Vec::new(),
            (false, false) => vec![mount("errand-input", INPUT_DIR, true)],
            (false, true) => vec![
                mount("errand-input", ENCODED_DIR, true),
                mount("errand-input-decoded", INPUT_DIR, false),
            ],
        }
    }
}

fn annotation(file: &str) -> String {
    format!("{ANNOTATION_INPUT}{file}")
}

fn input_files(input: &RunInput) -> BTreeMap<&'static str, String> {
    let mut files = BTreeMap::new();
    match input
        .body
        .as_deref()
        .map(|body| (std::str::from_utf8(body), body))
    {
        Some((Ok(text), _)) => drop(files.insert("body", text.to_owned())),
        Some((Err(_), bytes)) => drop(files.insert("body.base64", STANDARD.encode(bytes))),
        None => {}
    }
    if let Some(query) = &input.query {
        files.insert("query", query.clone());
    }
    if !input.headers.is_empty() {
        // A map of strings: serialization cannot fail.
        files.insert(
            "headers.json",
            serde_json::to_string(&input.headers).unwrap_or_default(),
        );
    }
    if let Some(content_type) = &input.content_type {
        files.insert("content-type", content_type.clone());
    }
    files
}
