//! `errand install`: the executable copies itself. The init container that brings the supervisor into a pod runs it,
//! in an image that holds nothing else, so there is no `cp`.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::outcome;

/// Arguments of `errand install`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// File to write; its folder must exist
    #[arg(value_name = "PATH")]
    path: PathBuf,
}

/// Why the copy was not made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The executable that runs is not known.
    #[error("could not find the running executable")]
    Executable(#[source] io::Error),
    /// The copy failed.
    #[error("could not copy the executable to {path}", path = path.display())]
    Copy {
        /// Where to.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Copies the running executable to the path of `args`.
pub fn run(args: &Args) -> Result<u8, Error> {
    let own = std::env::current_exe().map_err(Error::Executable)?;
    let source = |source| Error::Copy {
        path: args.path.clone(),
        source,
    };
    copy(&own, &args.path).map_err(source)?;
    Ok(outcome::OK)
}

/// Readable and executable for all: the container may run as any user.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_is_whole_and_everyone_may_run_it() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::write(&from, b"\x7fELF...").unwrap();
        copy(&from, &to).unwrap();
        let mode = fs::metadata(&to).unwrap().permissions().mode() & 0o777;
        assert_eq!((fs::read(&to).unwrap(), mode), (b"\x7fELF...".to_vec(), 0o755));
    }

    #[test]
    fn a_folder_that_is_missing_is_named() {
        let args = Args {
            path: "/no/such/folder/errand".into(),
        };
        let error = run(&args).unwrap_err();
        assert_eq!(
            error.to_string(),
            "could not copy the executable to /no/such/folder/errand"
        );
    }
}
