//! Collects the result and leaves the record.

use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::fcntl::OFlag;

use super::capture::kept_head;
use super::say;
use crate::handover::args::{ResultFrom, SuperviseArgs};
use crate::handover::record::{Kept, Record};
use crate::handover::sha256_hex;

/// Puts the record into the termination message file. A failure is told on stderr, where the log has it.
///
/// The file is mounted into the container and cannot be replaced, so it is overwritten, and shortened only then:
/// at no moment is it empty.
pub(super) fn record(args: &SuperviseArgs, record: &Record) {
    let path = &args.termination_message;
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        let text = record.encode();
        file.write_all(text.as_bytes())?;
        match file.set_len(text.len() as u64) {
            // Not a regular file, so there is nothing to shorten.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            other => other,
        }
    };
    if let Err(error) = write() {
        say(&format!(
            "the record could not be written to {}: {error}",
            path.display()
        ));
    }
}

/// The result, if it comes from elsewhere than stdout.
pub(super) fn result(args: &SuperviseArgs) -> Option<Kept> {
    match &args.result {
        ResultFrom::Stdout | ResultFrom::None => None,
        ResultFrom::File(path) => Some(read(path, args.result_limit).unwrap_or_else(|error| {
            let problem = match error.kind() {
                io::ErrorKind::NotFound => format!("the result file {} does not exist", path.display()),
                _ => format!("the result file {} could not be read: {error}", path.display()),
            };
            Kept {
                problem: Some(problem),
                ..Kept::default()
            }
        })),
        // The kubelet makes the file; a missing one is as good as an empty one.
        ResultFrom::TerminationMessage => Some(
            read(&args.termination_message, args.result_limit).unwrap_or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => kept_head(Vec::new(), 0, Some(sha256_hex(b""))),
                _ => {
                    let problem = format!("the termination message could not be read: {error}");
                    Kept {
                        problem: Some(problem),
                        ..Kept::default()
                    }
                }
            }),
        ),
    }
}

/// The first `limit` bytes. Opened so that a pipe in the file's place does not hold us up.
fn read(path: &Path, limit: usize) -> io::Result<Kept> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    // One byte more tells whether there is more.
    file.take((limit as u64).saturating_add(1))
        .read_to_end(&mut bytes)?;
    if bytes.len() <= limit {
        let (size, sha256) = (bytes.len() as u64, sha256_hex(&bytes));
        return Ok(kept_head(bytes, size, Some(sha256)));
    }
    // Files of /proc have no size, and others may grow while they are read.
    let size = meta.len().max(bytes.len() as u64);
    bytes.truncate(limit);
    Ok(kept_head(bytes, size, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(result: ResultFrom, limit: usize) -> SuperviseArgs {
        SuperviseArgs {
            result,
            result_limit: limit,
            ..SuperviseArgs::new(vec!["true".into()])
        }
    }

    fn file(content: &[u8]) -> (tempfile::TempDir, ResultFrom) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("result");
        std::fs::write(&path, content).unwrap();
        (dir, ResultFrom::File(path))
    }

    #[test]
    fn a_result_file_is_kept_within_its_limit() {
        let (_dir, from) = file(b"12345");
        let whole = Kept {
            bytes: b"12345".to_vec(),
            size_bytes: 5,
            sha256: Some(sha256_hex(b"12345")),
            problem: None,
        };
        assert_eq!(result(&args(from.clone(), 5)), Some(whole));
        let cut = Kept {
            bytes: b"1234".to_vec(),
            size_bytes: 5,
            sha256: None,
            problem: None,
        };
        assert_eq!(result(&args(from, 4)), Some(cut));
    }

    #[test]
    fn what_cannot_be_the_result_is_said() {
        let problem = |from| result(&args(from, 10)).and_then(|kept| kept.problem);
        let missing = ResultFrom::File("/errand/no-such-file".into());
        assert_eq!(
            problem(missing).as_deref(),
            Some("the result file /errand/no-such-file does not exist")
        );
        let folder = problem(ResultFrom::File("/".into()));
        assert_eq!(
            folder.as_deref(),
            Some("the result file / could not be read: it is not a regular file")
        );
        assert_eq!(result(&args(ResultFrom::None, 10)), None);
        assert_eq!(result(&args(ResultFrom::Stdout, 10)), None);
    }

    #[test]
    fn a_pipe_in_the_place_of_the_result_holds_nobody_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(
            result(&args(ResultFrom::File(path), 10))
                .unwrap()
                .problem
                .is_some()
        );
    }

    #[test]
    fn a_termination_message_that_is_not_there_is_empty() {
        let mut args = args(ResultFrom::TerminationMessage, 10);
        args.termination_message = "/errand/no-such-file".into();
        assert_eq!(result(&args), Some(kept_head(vec![], 0, Some(sha256_hex(b"")))));
    }

    #[test]
    fn a_shorter_record_replaces_a_longer_one() {
        let (_dir, from) = file(&[b'x'; 5000]);
        let ResultFrom::File(path) = from else {
            panic!("a file was made")
        };
        let args = SuperviseArgs {
            termination_message: path.clone(),
            ..args(ResultFrom::None, 0)
        };
        let findings = crate::runner::nothing_ran(&crate::runner::NotStarted::NoCommand);
        let expected = findings.record(4096, "", false);
        record(&args, &expected);
        assert_eq!(std::fs::read_to_string(path).unwrap(), expected.encode());
    }
}
