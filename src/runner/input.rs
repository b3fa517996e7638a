//! Decodes a binary input body, which the downward API carries as base64.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::handover::args::DecodeInput;

/// The encoded body.
const ENCODED: &str = "body.base64";
/// What the command reads.
const DECODED: &str = "body";

/// The input could not be laid out for the command.
#[derive(Debug, thiserror::Error)]
pub(super) enum InputError {
    #[error("the input folder {path:?} could not be read: {source}")]
    List { path: PathBuf, source: io::Error },
    #[error("the input file {path:?} could not be read: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("the input body is not base64: {0}")]
    Decode(#[source] base64::DecodeError),
    #[error("the input file {path:?} could not be written: {source}")]
    Write { path: PathBuf, source: io::Error },
}

/// Copies the files of one folder to the other and decodes the body on the way.
///
/// A downward API volume shows its files as links into a dated folder whose name begins with `..`; those names
/// are the volume's own.
pub(super) fn decode(pair: &DecodeInput) -> Result<(), InputError> {
    let list = |source| InputError::List {
        path: pair.from().to_owned(),
        source,
    };
    fs::create_dir_all(pair.to()).map_err(|source| InputError::Write {
        path: pair.to().to_owned(),
        source,
    })?;
    for entry in fs::read_dir(pair.from()).map_err(list)? {
        let name = entry.map_err(list)?.file_name();
        let from = pair.from().join(&name);
        if name.as_encoded_bytes().starts_with(b"..") || !from.is_file() {
            continue;
        }
        let content = fs::read(&from).map_err(|source| InputError::Read { path: from, source })?;
        if name == ENCODED {
            write(
                &pair.to().join(DECODED),
                &BASE64.decode(content.trim_ascii()).map_err(InputError::Decode)?,
            )?;
        } else {
            write(&pair.to().join(name), &content)?;
        }
    }
    Ok(())
}

fn write(path: &Path, content: &[u8]) -> Result<(), InputError> {
    fs::write(path, content).map_err(|source| InputError::Write {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_downward_volume_are_copied_and_the_body_is_decoded() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let dated = from.path().join("..2026_11_24");
        fs::create_dir(&dated).unwrap();
        fs::write(dated.join(ENCODED), "AP+A\n").unwrap();
        fs::write(dated.join("query"), "a=1").unwrap();
        std::os::unix::fs::symlink(&dated, from.path().join("..data")).unwrap();
        for name in [ENCODED, "query"] {
            std::os::unix::fs::symlink(Path::new("..data").join(name), from.path().join(name)).unwrap();
        }

        decode(&DecodeInput::new(from.path(), to.path().join("input")).unwrap()).unwrap();

        let input = to.path().join("input");
        assert_eq!(fs::read(input.join("body")).unwrap(), [0, 255, 128]);
        assert_eq!(fs::read(input.join("query")).unwrap(), b"a=1");
        assert_eq!(fs::read_dir(input).unwrap().count(), 2);
    }

    #[test]
    fn a_body_that_is_not_base64_is_named() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(from.path().join(ENCODED), "not base64!").unwrap();
        let error = decode(&DecodeInput::new(from.path(), to.path()).unwrap()).unwrap_err();
        assert!(matches!(error, InputError::Decode(_)), "{error}");
    }

    #[test]
    fn a_missing_folder_is_named() {
        let to = tempfile::tempdir().unwrap();
        let error = decode(&DecodeInput::new("/errand/no-such-folder", to.path()).unwrap()).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("the input folder \"/errand/no-such-folder\" could not be read")
        );
    }
}
