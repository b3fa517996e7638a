//! Unpacks an archive into a folder, within limits: no entry leads out of it, and none fills the disk.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::Path;

use super::archive::{ArchiveError, Entry, Kind, entries};
use super::folder::{Folder, FolderError, Inner};

/// How much an archive may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// Bytes of all files together.
    pub(super) bytes: u64,
    /// Entries, and folders: those above an entry are made without being asked for.
    pub(super) entries: u64,
    /// Bytes of the names of its folders together, which are kept until the end.
    pub(super) names: u64,
}

/// What any archive may become. Disks are smaller; this ends bombs where they are not.
pub(super) const LIMITS: Limits = Limits {
    bytes: 8 * 1024 * 1024 * 1024,
    entries: 500_000,
    names: 64 * 1024 * 1024,
};
/// Room for headers and padding, names and comments around an entry's content.
const AROUND: u64 = 4096;

/// Why an archive is not unpacked. What was unpacked before stays.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnpackError {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("the folder cannot be opened: {0}")]
    Open(#[source] io::Error),
    #[error("{name:?} cannot be written: {source}")]
    Write { name: String, source: io::Error },
    #[error("the archive has more than {0} entries")]
    Entries(u64),
    #[error("the archive has more than {0} folders")]
    Folders(u64),
    #[error("the names of the archive's folders take more than {0} bytes")]
    Names(u64),
    #[error("the files of the archive take more than {0} bytes")]
    Bytes(u64),
}

/// Unpacks `archive` into the folder `to`, which exists.
pub(super) fn unpack(archive: File, to: &Path, limits: Limits) -> Result<(), UnpackError> {
    let mut unpacker = Unpacker {
        folder: Folder::open(to).map_err(UnpackError::Open)?,
        limits,
        bytes: 0,
        entries: 0,
        names: 0,
        modes: Vec::new(),
    };
    let most = limits.bytes + limits.entries * AROUND;
    entries(archive, most, &mut |entry| unpacker.take(entry))?;
    unpacker.finish()
}

struct Unpacker {
    folder: Folder,
    limits: Limits,
    bytes: u64,
    entries: u64,
    names: u64,
    /// Permissions of folders, set at the end: one that may not be written could not be filled.
    modes: Vec<(Vec<u8>, u32)>,
}

impl Unpacker {
    fn take(&mut self, entry: Entry<'_>) -> Result<(), UnpackError> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(UnpackError::Entries(self.limits.entries));
        }
        let Some(at) = Inner::parse(&entry.name)? else {
            // The folder itself, as `tar -C` writes it. It is made already, and its permissions are its owner's.
            return Ok(());
        };
        self.put(at, entry)?;
        match self.folder.made() > self.limits.entries {
            true => Err(UnpackError::Folders(self.limits.entries)),
            false => Ok(()),
        }
    }

    fn put(&mut self, at: Inner, entry: Entry<'_>) -> Result<(), UnpackError> {
        match entry.kind {
            Kind::Folder => {
                self.folder.folder(&at)?;
                self.names += entry.name.len() as u64;
                if self.names > self.limits.names {
                    return Err(UnpackError::Names(self.limits.names));
                }
                self.modes.push((entry.name, entry.mode));
                Ok(())
            }
            Kind::File(reader) => {
                let mut file = self.folder.file(&at, entry.mode)?;
                self.copy(&entry.name, reader, &mut file)
            }
            Kind::Symlink(target) => Ok(self.folder.symlink(&at, &target)?),
            Kind::HardLink(target) => {
                let target = Inner::parse(&target)?.ok_or_else(|| FolderError::Name(String::new()))?;
                Ok(self.folder.hard_link(&at, &target)?)
            }
        }
    }

    fn copy(&mut self, name: &[u8], reader: &mut dyn Read, file: &mut File) -> Result<(), UnpackError> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = match reader.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(ArchiveError::Read(error).into()),
            };
            // Counted as it comes: what headers say of sizes proves nothing.
            self.bytes += count as u64;
            if self.bytes > self.limits.bytes {
                return Err(UnpackError::Bytes(self.limits.bytes));
            }
            file.write_all(&buffer[..count])
                .map_err(|source| UnpackError::Write {
                    name: String::from_utf8_lossy(name).chars().take(200).collect(),
                    source,
                })?;
        }
    }

    fn finish(&mut self) -> Result<(), UnpackError> {
        // Inner folders stand behind the outer ones in any archive that lists both.
        for (name, mode) in self.modes.iter().rev() {
            if let Some(at) = Inner::parse(name)? {
                self.folder.set_mode(&at, *mode)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "unpack_tests.rs"]
mod tests;
