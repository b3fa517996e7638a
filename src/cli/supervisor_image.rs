//! The content of the runner image on this machine: a folder with the running executable as `/errand`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Why the supervisor cannot be offered to containers.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The executable could not be linked or copied.
    #[error("could not put {from} into {folder} for containers to run", from = from.display(), folder = folder.display())]
    Place {
        /// The executable.
        from: PathBuf,
        /// Where it was to go.
        folder: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Puts `executable` into `folder` under the name `errand`: as a hard link, so that it costs nothing and outlives a
/// rebuild under the same path, or as a copy where the two are on different file systems.
pub fn place(executable: &Path, folder: &Path) -> Result<(), Error> {
    let failed = |source| Error::Place {
        from: executable.to_owned(),
        folder: folder.to_owned(),
        source,
    };
    fs::create_dir_all(folder).map_err(failed)?;
    let target = folder.join("errand");
    match fs::remove_file(&target) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    // Symlinks are resolved first: a link to the link would dangle where the container sees it.
    let executable = fs::canonicalize(executable).map_err(failed)?;
    if fs::hard_link(&executable, &target).is_err() {
        fs::copy(&executable, &target).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_executable_lies_in_the_folder_and_replaces_an_older_one() {
        let folder = tempfile::tempdir().unwrap();
        let (one, image) = (folder.path().join("one"), folder.path().join("image"));
        fs::write(&one, "1").unwrap();
        fs::set_permissions(&one, fs::Permissions::from_mode(0o755)).unwrap();
        place(&one, &image).unwrap();
        place(&one, &image).unwrap();
        assert_eq!(fs::read(image.join("errand")).unwrap(), b"1");
        assert_eq!(
            fs::metadata(image.join("errand")).unwrap().permissions().mode() & 0o777,
            0o755
        );
        let missing = place(Path::new("/nowhere/errand"), &image)
            .unwrap_err()
            .to_string();
        assert!(
            missing.starts_with("could not put /nowhere/errand into"),
            "{missing}"
        );
    }
}
