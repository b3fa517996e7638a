//! A folder that nothing leaves: files are made below it step by step, and no symbolic link is ever followed.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{Mode, SFlag, fchmod, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, linkat, symlinkat, unlinkat};

/// Longest name of an entry, and deepest, as Linux has them (`PATH_MAX`; half of it in names).
const MAX_PATH: usize = 4096;
const MAX_DEPTH: usize = 256;

/// Why an entry cannot be put into the folder.
#[derive(Debug, thiserror::Error)]
pub(super) enum FolderError {
    #[error("the name {0:?} leads out of the folder")]
    Outside(String),
    #[error("the name {0:?} is empty, too long, or nested too deep")]
    Name(String),
    #[error("the link {name:?} to {target:?} may lead out of the folder")]
    LinkOutside { name: String, target: String },
    #[error("the link {name:?} is to {target:?}, which is no file of the archive")]
    LinkToNoFile { name: String, target: String },
    #[error("{name:?} cannot be made: {}", errno.desc())]
    Make { name: String, errno: Errno },
}

/// A path below the folder, in parts: at least one, none of them `.` or `..`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Inner(Vec<OsString>);

impl Inner {
    /// Reads the name of an archive's entry. `None` for the folder itself (`./`).
    pub(super) fn parse(name: &[u8]) -> Result<Option<Self>, FolderError> {
        let shown = || shown(name);
        if name.first() == Some(&b'/') {
            return Err(FolderError::Outside(shown()));
        }
        if name.is_empty() || name.len() > MAX_PATH || name.contains(&0) {
            return Err(FolderError::Name(shown()));
        }
        let mut parts = Vec::new();
        for part in name.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => return Err(FolderError::Outside(shown())),
                part => parts.push(OsStr::from_bytes(part).to_owned()),
            }
        }
        match parts.len() {
            0 => Ok(None),
            len if len > MAX_DEPTH => Err(FolderError::Name(shown())),
            _ => Ok(Some(Self(parts))),
        }
    }

    fn shown(&self) -> String {
        let parts: Vec<_> = self.0.iter().map(|part| part.to_string_lossy()).collect();
        shown(parts.join("/").as_bytes())
    }

    fn split(&self) -> (&OsStr, &[OsString]) {
        match self.0.split_last() {
            Some((name, parents)) => (name, parents),
            None => (OsStr::new(""), &[]),
        }
    }
}

/// A name as it may stand in a sentence.
fn shown(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    match text.chars().count() > 200 {
        true => text.chars().take(200).chain(['…']).collect(),
        false => text.into_owned(),
    }
}

/// True where a link of this target, standing below `depth` real folders, stays inside whatever else is there: it
/// climbs no further than the folder, and only at its beginning. Behind a name, `..` could climb out of what another
/// link leads to.
fn stays_inside(target: &[u8], depth: usize) -> bool {
    if target.is_empty() || target.first() == Some(&b'/') || target.contains(&0) {
        return false;
    }
    let parts = || {
        target
            .split(|byte| *byte == b'/')
            .filter(|part| !matches!(*part, b"" | b"."))
    };
    let climbs = parts().take_while(|part| part == b"..").count();
    climbs <= depth && !parts().skip(climbs).any(|part| part == b"..")
}

/// The folder.
pub(super) struct Folder {
    fd: OwnedFd,
    /// Folders that were made in it.
    made: u64,
}

const WALK: OFlag = OFlag::O_DIRECTORY
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

impl Folder {
    /// Opens the folder; what its own path leads through is its owner's affair.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let fd = open(path, OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        Ok(Self { fd, made: 0 })
    }

    /// How many folders were made in it.
    pub(super) fn made(&self) -> u64 {
        self.made
    }

    /// Makes a folder, and those above it that are missing.
    pub(super) fn folder(&mut self, at: &Inner) -> Result<(), FolderError> {
        self.walk(at, &at.0).map(drop)
    }

    /// Sets the permissions of a folder.
    pub(super) fn set_mode(&mut self, at: &Inner, mode: u32) -> Result<(), FolderError> {
        let fd = self.walk(at, &at.0)?;
        fchmod(&fd, Mode::from_bits_truncate(mode & 0o777)).map_err(make(at))
    }

    /// Makes a file; one that is there, and is no folder, gives way to it.
    pub(super) fn file(&mut self, at: &Inner, mode: u32) -> Result<File, FolderError> {
        let (name, parents) = at.split();
        let parent = self.walk(at, parents)?;
        clear(&parent, name).map_err(make(at))?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        // Setuid, setgid and sticky bits stay out: what an archive brings belongs to its user.
        let mode = Mode::from_bits_truncate(mode & 0o777);
        let fd = openat(&parent, name, flags, mode).map_err(make(at))?;
        // The umask took some away.
        fchmod(&fd, mode).map_err(make(at))?;
        Ok(File::from(fd))
    }

    /// Makes a symbolic link that leads nowhere but into the folder.
    pub(super) fn symlink(&mut self, at: &Inner, target: &[u8]) -> Result<(), FolderError> {
        let (name, parents) = at.split();
        if !stays_inside(target, parents.len()) {
            return Err(FolderError::LinkOutside {
                name: at.shown(),
                target: shown(target),
            });
        }
        let parent = self.walk(at, parents)?;
        clear(&parent, name).map_err(make(at))?;
        symlinkat(OsStr::from_bytes(target), &parent, name).map_err(make(at))
    }

    /// Makes a second name of a file in the folder. Only of files: a symbolic link that is moved to another depth leads
    /// elsewhere.
    pub(super) fn hard_link(&mut self, at: &Inner, target: &Inner) -> Result<(), FolderError> {
        let (name, parents) = at.split();
        let (old_name, old_parents) = target.split();
        let no_file = || FolderError::LinkToNoFile {
            name: at.shown(),
            target: target.shown(),
        };
        let old_parent = self.walk_existing(old_parents).map_err(|_| no_file())?;
        let stat = fstatat(&old_parent, old_name, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(|_| no_file())?;
        if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
            return Err(no_file());
        }
        if at == target {
            return Ok(());
        }
        let parent = self.walk(at, parents)?;
        clear(&parent, name).map_err(make(at))?;
        linkat(&old_parent, old_name, &parent, name, AtFlags::empty()).map_err(make(at))
    }

    fn walk(&mut self, at: &Inner, parts: &[OsString]) -> Result<OwnedFd, FolderError> {
        let mut fd = self.fd.try_clone().map_err(|error| FolderError::Make {
            name: at.shown(),
            errno: Errno::from_raw(error.raw_os_error().unwrap_or_default()),
        })?;
        for part in parts {
            match mkdirat(&fd, part.as_os_str(), Mode::from_bits_truncate(0o755)) {
                Ok(()) => self.made += 1,
                Err(Errno::EEXIST) => {}
                Err(errno) => return Err(make(at)(errno)),
            }
            fd = openat(&fd, part.as_os_str(), WALK, Mode::empty()).map_err(make(at))?;
        }
        Ok(fd)
    }

    fn walk_existing(&self, parts: &[OsString]) -> nix::Result<OwnedFd> {
        let mut fd = openat(self.fd.as_fd(), ".", WALK, Mode::empty())?;
        for part in parts {
            fd = openat(&fd, part.as_os_str(), WALK, Mode::empty())?;
        }
        Ok(fd)
    }
}

fn make(at: &Inner) -> impl Fn(Errno) -> FolderError + '_ {
    |errno| FolderError::Make {
        name: at.shown(),
        errno,
    }
}

/// Takes away what stands in the place of an entry, unless it is a folder.
fn clear(parent: &OwnedFd, name: &OsStr) -> nix::Result<()> {
    match unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_out_are_refused() {
        for name in ["/etc/passwd", "../x", "a/../../x", "a/.."] {
            assert!(
                matches!(Inner::parse(name.as_bytes()), Err(FolderError::Outside(_))),
                "{name}"
            );
        }
        assert!(matches!(Inner::parse(b""), Err(FolderError::Name(_))));
        assert!(matches!(Inner::parse(b"a\0b"), Err(FolderError::Name(_))));
        assert!(matches!(
            Inner::parse("a/".repeat(300).as_bytes()),
            Err(FolderError::Name(_))
        ));
        assert_eq!(Inner::parse(b"./").unwrap(), None);
        let parts = ["a", "b"].map(OsString::from).to_vec();
        assert_eq!(Inner::parse(b"./a//b/").unwrap(), Some(Inner(parts)));
    }

    #[test]
    fn links_may_climb_at_their_beginning_and_no_further_than_the_folder() {
        for (target, depth, inside) in [
            ("x", 0, true),
            ("../x", 1, true),
            ("./../x", 1, true),
            ("../x", 0, false),
            ("a/../x", 5, false),
            ("a/..", 5, false),
            ("/x", 9, false),
            ("", 0, false),
            ("..", 1, true),
            (".", 0, true),
        ] {
            assert_eq!(
                stays_inside(target.as_bytes(), depth),
                inside,
                "{target} at {depth}"
            );
        }
    }
}
