//! Starts the command, or says why it cannot be started.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::errno::Errno;

use super::actions::PlanError;
use super::input::InputError;
use super::{EXIT_NOT_FOUND, EXIT_NOT_RUNNABLE, EXIT_SUPERVISOR};

/// Why the command was not started.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotStarted {
    #[error("no command was given")]
    NoCommand,
    #[error(
        "the command {command:?} was not found in PATH ({path}): the image does not have it, or it needs its full path"
    )]
    NotInPath { command: String, path: String },
    #[error("the command {command:?} was not found: the image has no such file")]
    NoSuchFile { command: String },
    #[error(
        "the command {command:?} cannot be run: the interpreter named in its first line, or the loader it was linked for, is not in the image"
    )]
    NoInterpreter { command: String },
    #[error("the command {command:?} cannot be run: it is a folder")]
    Folder { command: String },
    #[error("the command {command:?} cannot be run: the file is not executable (mode {mode:04o})")]
    NotExecutable { command: String, mode: u32 },
    #[error(
        "the command {command:?} cannot be run: it is no program for this kind of machine, and no script with an interpreter in its first line"
    )]
    NoProgram { command: String },
    #[error("the command {command:?} cannot be run: its arguments and environment are too long together")]
    TooLong { command: String },
    #[error("the command {command:?} cannot be run: the working directory cannot be used ({})", Errno::from_raw(*errno).desc())]
    WorkingDirectory { command: String, errno: i32 },
    #[error("the command {command:?} cannot be run: {source}")]
    Refused { command: String, source: io::Error },
    #[error("the supervisor could not prepare the run: {0}")]
    Prepare(#[source] io::Error),
    #[error(transparent)]
    Input(#[from] InputError),
    #[error(transparent)]
    Plan(#[from] PlanError),
}

impl NotStarted {
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::NotInPath { .. } | Self::NoSuchFile { .. } => EXIT_NOT_FOUND,
            Self::NoCommand | Self::Prepare(_) | Self::Input(_) | Self::Plan(_) => EXIT_SUPERVISOR,
            _ => EXIT_NOT_RUNNABLE,
        }
    }
}

/// Starts `command` as the leader of a new process group, with pipes for stdout and stderr.
pub(super) fn start(command: &[String]) -> Result<Child, NotStarted> {
    let (program, args) = command.split_first().ok_or(NotStarted::NoCommand)?;
    let mut child = Command::new(program);
    child
        .args(args)
        .process_group(0)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    child.spawn().map_err(|error| explain(program, error))
}

/// Why `program` was not started.
pub(super) fn explain(program: &str, error: io::Error) -> NotStarted {
    let command = program.to_owned();
    if let Err(directory) = std::env::current_dir() {
        return NotStarted::WorkingDirectory {
            command,
            errno: directory.raw_os_error().unwrap_or_default(),
        };
    }
    let found = find(program);
    match (error.raw_os_error().map(Errno::from_raw), found) {
        (Some(Errno::ENOENT | Errno::ENOTDIR), Some(path)) if path.is_file() => {
            NotStarted::NoInterpreter { command }
        }
        (Some(Errno::ENOENT | Errno::ENOTDIR), _) if !program.contains('/') => NotStarted::NotInPath {
            command,
            path: search_path(),
        },
        (Some(Errno::ENOENT | Errno::ENOTDIR), _) => NotStarted::NoSuchFile { command },
        (Some(Errno::EACCES), Some(path)) => match std::fs::metadata(&path) {
            Ok(meta) if meta.is_dir() => NotStarted::Folder { command },
            Ok(meta) if meta.permissions().mode() & 0o111 == 0 => NotStarted::NotExecutable {
                command,
                mode: meta.permissions().mode() & 0o7777,
            },
            _ => NotStarted::Refused {
                command,
                source: error,
            },
        },
        (Some(Errno::ENOEXEC), _) => NotStarted::NoProgram { command },
        (Some(Errno::E2BIG), _) => NotStarted::TooLong { command },
        _ => NotStarted::Refused {
            command,
            source: error,
        },
    }
}

/// The file that execvp(3) would try first.
fn find(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| path.exists());
    }
    search_path()
        .split(':')
        .map(|folder| Path::new(folder).join(program))
        .find(|path| path.is_file())
}

/// As execvp(3): glibc takes this path where the variable is not set.
fn search_path() -> String {
    std::env::var("PATH").unwrap_or_else(|_| "/bin:/usr/bin".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sentence and exit code for a file that cannot be run.
    fn failure(command: &Path) -> (String, u8) {
        let failure = start(&[command.display().to_string()]).expect_err("this cannot be run");
        (failure.to_string(), failure.exit_code())
    }

    fn file(name: &str, content: &[u8], mode: u32) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        (dir, path)
    }

    #[test]
    fn a_command_that_is_not_there_is_code_127() {
        let missing = Path::new("/errand/no-such-file");
        let sentence = "the command \"/errand/no-such-file\" was not found: the image has no such file";
        assert_eq!(failure(missing), (sentence.to_owned(), 127));
        let (sentence, code) = failure(Path::new("errand-no-such-command"));
        assert!(
            sentence.starts_with("the command \"errand-no-such-command\" was not found in PATH ("),
            "{sentence}"
        );
        assert_eq!(code, 127);
    }

    #[test]
    fn a_command_that_cannot_be_run_is_code_126_with_the_cause() {
        let (_dir, path) = file("plain", b"text", 0o644);
        let (sentence, code) = failure(&path);
        assert!(
            sentence.ends_with("cannot be run: the file is not executable (mode 0644)"),
            "{sentence}"
        );
        assert_eq!(code, 126);

        let (_dir, path) = file("script", b"#!/errand/no-such-shell\n", 0o755);
        let (sentence, code) = failure(&path);
        assert!(
            sentence.contains("the interpreter named in its first line"),
            "{sentence}"
        );
        assert_eq!(code, 126);

        let (dir, _) = file("x", b"", 0o644);
        let (sentence, code) = failure(dir.path());
        assert!(sentence.ends_with("cannot be run: it is a folder"), "{sentence}");
        assert_eq!(code, 126);
    }

    #[test]
    fn a_file_that_is_no_program_is_code_126() {
        let (_dir, path) = file("noise", &[0x7f, 1, 2, 3], 0o755);
        let (sentence, code) = failure(&path);
        assert!(
            sentence.contains("it is no program for this kind of machine"),
            "{sentence}"
        );
        assert_eq!(code, 126);
    }

    #[test]
    fn no_command_is_the_supervisors_own_failure() {
        assert_eq!(start(&[]).expect_err("nothing to start").exit_code(), 125);
    }
}
