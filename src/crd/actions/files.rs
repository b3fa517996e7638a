//! Files that are part of the Task itself.

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Most files of a Task.
pub const MAX_FILES: usize = 256;
/// Most bytes of them, paths and contents. They travel to the container in annotations of the pod, beside the actions.
pub const MAX_FILE_BYTES: usize = 64 * 1024;
/// Longest name of a file or folder (Linux, `NAME_MAX`).
const MAX_NAME: usize = 255;

/// Files that the container finds in a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Files {
    /// The folder, an absolute path. It holds these files and nothing else, and cannot be written to.
    #[schemars(length(min = 2, max = 1024), regex(pattern = r"^/[^:]+$"))]
    pub mount_path: String,
    /// What stands in each file, as text, by its path in the folder: `db/username`. At most 256 files and, paths and contents
    /// together, 65536 bytes. Whoever may get the Task can read them.
    #[schemars(extend("maxProperties" = MAX_FILES))]
    pub contents: BTreeMap<String, String>,
}

/// Why files cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilesError {
    /// A path that leads out of the folder, or nowhere.
    #[error(
        "the path {0:?} of a file is not relative, or has a part that is empty, '.', '..', longer than 255 bytes or begins with '..'"
    )]
    Path(String),
    /// One path is a file and a folder.
    #[error("the path {0:?} of a file is also the folder of another one")]
    Folder(String),
    /// The folder is none.
    #[error("mountPath {0:?} is not the absolute path of a folder other than /, without ':' and '..'")]
    MountPath(String),
    /// Too many.
    #[error("there are {0} files; at most {MAX_FILES} are possible")]
    Many(usize),
    /// Too large.
    #[error("the files take {0} bytes with their paths; at most {MAX_FILE_BYTES} are possible")]
    Large(usize),
}

impl Files {
    /// Looks at what no schema can refuse.
    ///
    /// # Errors
    /// They cannot be had.
    pub fn check(&self) -> Result<(), FilesError> {
        let folder = &self.mount_path;
        let within = folder.strip_prefix('/').unwrap_or_default();
        if within.trim_matches('/').is_empty()
            || folder.contains(':')
            || folder.split('/').any(|part| part == "..")
        {
            return Err(FilesError::MountPath(folder.clone()));
        }
        let count = self.contents.len();
        if count > MAX_FILES {
            return Err(FilesError::Many(count));
        }
        let bytes: usize = self
            .contents
            .iter()
            .map(|(path, content)| path.len() + content.len())
            .sum();
        if bytes > MAX_FILE_BYTES {
            return Err(FilesError::Large(bytes));
        }
        self.contents.keys().try_for_each(|path| self.check_path(path))
    }

    fn check_path(&self, path: &str) -> Result<(), FilesError> {
        // A kubelet keeps names that begin with two dots to itself (Kubernetes, `pkg/volume/util/atomic_writer.go`).
        let legal =
            |part: &str| !part.is_empty() && part != "." && !part.starts_with("..") && part.len() <= MAX_NAME;
        if path.contains('\0') || !path.split('/').all(legal) {
            return Err(FilesError::Path(path.to_owned()));
        }
        let folders = path.match_indices('/').map(|(at, _)| &path[..at]);
        match folders
            .into_iter()
            .find(|folder| self.contents.contains_key(*folder))
        {
            Some(folder) => Err(FilesError::Folder(folder.to_owned())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn files(mount_path: &str, contents: &[(&str, &str)]) -> Files {
        let pair = |(path, content): &(&str, &str)| ((*path).to_owned(), (*content).to_owned());
        Files {
            mount_path: mount_path.into(),
            contents: contents.iter().map(pair).collect(),
        }
    }

    #[test]
    fn files_stay_in_their_folder() {
        for path in ["a", "a/b", "a b/ü", ".hidden", "a.b", "..."] {
            let wanted = match path.starts_with("..") {
                true => Err(FilesError::Path(path.into())),
                false => Ok(()),
            };
            assert_eq!(files("/etc/x", &[(path, "")]).check(), wanted, "{path}");
        }
        let long = "x".repeat(256);
        for path in [
            "", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", "..data/a", "a\0b", &long,
        ] {
            let refused = Err(FilesError::Path(path.into()));
            assert_eq!(files("/etc/x", &[(path, "")]).check(), refused, "{path:?}");
        }
        let both = files("/etc/x", &[("a", ""), ("a/b/c", "")]).check();
        assert_eq!(both, Err(FilesError::Folder("a".into())));
        assert_eq!(
            files("/etc/x", &[("a", ""), ("ab", ""), ("b/a", "")]).check(),
            Ok(())
        );
    }

    #[test]
    fn the_folder_is_one_of_the_container() {
        for folder in ["/etc/x", "/x", "/x/"] {
            assert_eq!(files(folder, &[]).check(), Ok(()), "{folder}");
        }
        for folder in ["", "/", "//", "etc", "/a:b", "/a/../b", "/.."] {
            assert_eq!(
                files(folder, &[]).check(),
                Err(FilesError::MountPath(folder.into())),
                "{folder}"
            );
        }
    }

    #[test]
    fn number_and_size_of_files_are_bounded() {
        let many = |count| Files {
            mount_path: "/x".into(),
            contents: (0..count)
                .map(|number| (number.to_string(), String::new()))
                .collect(),
        };
        assert_eq!(
            (many(256).check(), many(257).check()),
            (Ok(()), Err(FilesError::Many(257)))
        );
        let large = |length| files("/x", &[("a", &"x".repeat(length))]).check();
        assert_eq!(
            (large(65_535), large(65_536)),
            (Ok(()), Err(FilesError::Large(65_537)))
        );
    }

    proptest! {
        #[test]
        fn any_path_is_judged_and_a_good_one_leads_nowhere_else(path in ".{0,20}", folder in ".{0,20}") {
            if files(&folder, &[(&path, "")]).check().is_ok() {
                let joined = std::path::Path::new(&folder).join(&path);
                prop_assert!(joined.starts_with(&folder));
                prop_assert!(joined.components().all(|part| part != std::path::Component::ParentDir));
            }
        }
    }
}
