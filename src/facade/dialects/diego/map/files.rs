//! Files that a definition brings along, in the folder where cells mount them. Pure.

use super::Unsupported;
use crate::{
    crd::Files,
    facade::dialects::diego::messages::{Action, File},
};

/// The folder (executor, `initializer_garden.go`).
const FOLDER: &str = "/etc/cf-service-bindings";

/// Files as a Task has them; `None` where there are none. As on a cell a leading slash is the folder's, and of two files with
/// one path the later counts. What leads out of the folder is refused, which cells leave to chance.
pub fn files(files: &[File]) -> Result<Option<Files>, Unsupported> {
    if files.is_empty() {
        return Ok(None);
    }
    let contents = files.iter().map(|file| (clean(&file.path), file.content.clone()));
    let files = Files {
        mount_path: FOLDER.to_owned(),
        contents: contents.collect(),
    };
    files.check()?;
    Ok(Some(files))
}

/// Without empty parts and those that mean the folder that they are in.
fn clean(path: &str) -> String {
    let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
    parts.collect::<Vec<_>>().join("/")
}

/// True where an action names files: cells read those of the definition alone.
pub fn in_actions(action: &Action) -> bool {
    let run = action.run.as_ref();
    run.is_some_and(|run| !run.volume_mounted_files.is_empty()) || super::needs::inner(action).any(in_actions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::FilesError;

    fn of(paths: &[&str]) -> Result<Vec<String>, Unsupported> {
        let given: Vec<File> = paths
            .iter()
            .enumerate()
            .map(|(index, path)| File {
                path: (*path).to_owned(),
                content: index.to_string(),
            })
            .collect();
        let files = files(&given)?.unwrap_or_default();
        let pair = |(path, content): (String, String)| format!("{path}={content}");
        Ok(files.contents.into_iter().map(pair).collect())
    }

    #[test]
    fn files_stand_where_cells_put_them() {
        assert_eq!(
            of(&["redis/username", "/vcap_services", "a//./b", "redis/username"]).unwrap(),
            ["a/b=2", "redis/username=3", "vcap_services=1"]
        );
        assert_eq!(files(&[]), Ok(None));
    }

    #[test]
    fn what_leads_out_of_the_folder_or_nowhere_is_refused() {
        for path in ["../../passwd", "a/../../b", "a/..", "..data"] {
            let refused = of(&[path]).unwrap_err();
            assert_eq!(
                refused,
                Unsupported::Files(FilesError::Path(path.into())),
                "{path}"
            );
        }
        for path in ["", "/", "."] {
            let refused = of(&[path]).unwrap_err();
            assert_eq!(
                refused,
                Unsupported::Files(FilesError::Path(String::new())),
                "{path}"
            );
        }
        let both = of(&["a", "a/b"]).unwrap_err();
        assert_eq!(both, Unsupported::Files(FilesError::Folder("a".into())));
    }
}
