//! Whatever an archive holds: it is unpacked into its folder or refused, and takes no more than it may.

use std::fs::{self, Permissions};
use std::io::{Cursor, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{EntryType, Header};
use zip::write::SimpleFileOptions;

use super::unpack::{Limits, unpack};
use crate::fuzz;

const LIMITS: Limits = Limits {
    bytes: 20_000,
    entries: 30,
    names: 2_000,
};

/// A link that leads out of the folder, and was there before.
const LINK: (&str, &str) = ("o", "../outside");

/// A folder `in` that archives are unpacked into, beside what they must not reach.
struct Ground(tempfile::TempDir);

impl Ground {
    fn new() -> Self {
        let ground = Self(tempfile::tempdir().unwrap());
        fs::create_dir(ground.inside()).unwrap();
        fs::create_dir(ground.outside()).unwrap();
        fs::write(ground.outside().join("secret"), "secret").unwrap();
        // As an image may have it.
        symlink(LINK.1, ground.inside().join(LINK.0)).unwrap();
        ground
    }

    fn inside(&self) -> PathBuf {
        self.0.path().join("in")
    }

    fn outside(&self) -> PathBuf {
        self.0.path().join("outside")
    }

    fn unpack(&self, archive: &[u8]) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(archive).unwrap();
        file.rewind().unwrap();
        let _ = unpack(file, &self.inside(), LIMITS);
    }

    fn assert_all_is_well(&self) {
        let names = |folder: &Path| {
            let entries = fs::read_dir(folder).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names(self.0.path()), ["in", "outside"]);
        assert_eq!(names(&self.outside()), ["secret"]);
        let secret = self.outside().join("secret");
        assert_eq!(fs::read(&secret).unwrap(), b"secret");
        assert_eq!(fs::metadata(&secret).unwrap().nlink(), 1);
        // Where the image's link leads is the image's affair.
        let link = self.inside().join(LINK.0);
        if fs::read_link(&link).is_ok_and(|target| target == Path::new(LINK.1)) {
            fs::remove_file(link).unwrap();
        }
        let mut taken = Taken::default();
        self.look(&self.inside(), &mut taken);
        assert!(taken.bytes <= LIMITS.bytes, "{taken:?}");
        assert!(taken.files <= LIMITS.entries, "{taken:?}");
        // The last entry may bring the folders above it.
        assert!(taken.folders <= LIMITS.entries + 256, "{taken:?}");
    }

    fn look(&self, folder: &Path, taken: &mut Taken) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            let kind = meta.file_type();
            if kind.is_symlink() {
                taken.files += 1;
                let real = path.canonicalize();
                let stays = |real: PathBuf| real.starts_with(self.inside().canonicalize().unwrap());
                assert!(real.is_err() || real.is_ok_and(stays), "{}", path.display());
                continue;
            }
            assert_eq!(meta.mode() & 0o7000, 0, "{}", path.display());
            if kind.is_dir() {
                taken.folders += 1;
                // Whose permissions may be any.
                fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
                self.look(&path, taken);
            } else {
                assert!(kind.is_file(), "{}", path.display());
                taken.files += 1;
                // A hard link is not another file.
                taken.bytes += meta.len() / meta.nlink();
            }
        }
    }
}

/// What an archive takes of a disk.
#[derive(Debug, Default)]
struct Taken {
    bytes: u64,
    files: u64,
    folders: u64,
}

/// An entry, however odd.
struct Entry {
    kind: u8,
    mode: u8,
    name: Vec<u8>,
    target: Vec<u8>,
    /// Its size.
    size: usize,
}

/// Bytes as entries, so that most of them are some: kind, permissions, size, and two texts with their lengths.
fn entries(bytes: &[u8]) -> Vec<Entry> {
    let mut rest = bytes.iter().copied();
    let mut entries = Vec::new();
    while let Some(kind) = rest.next() {
        let mut byte = || rest.next().unwrap_or_default();
        let (mode, size) = (byte(), usize::from(byte()) * 100);
        let mut text = || {
            let length = usize::from(rest.next().unwrap_or_default());
            rest.by_ref().take(length).collect::<Vec<u8>>()
        };
        let (name, target) = (text(), text());
        entries.push(Entry {
            kind,
            mode,
            name,
            target,
            size,
        });
    }
    entries
}

/// The builder refuses odd names, so the header's bytes are set.
fn tar_of(entries: &[Entry]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for entry in entries {
        let extension = [("path", &*entry.name), ("linkpath", &*entry.target)];
        let (kind, content) = match entry.kind % 12 {
            0..=2 => (EntryType::Regular, vec![b'x'; entry.size]),
            3 => (EntryType::Directory, Vec::new()),
            4 | 5 => (EntryType::Symlink, Vec::new()),
            6 => (EntryType::Link, Vec::new()),
            7 => (EntryType::GNULongName, entry.name.clone()),
            8 => (EntryType::GNULongLink, entry.target.clone()),
            9 => {
                builder.append_pax_extensions(extension).unwrap();
                continue;
            }
            10 => (EntryType::XGlobalHeader, vec![b'x'; entry.size]),
            _ => (EntryType::new(entry.mode), vec![b'x'; entry.size]),
        };
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(u32::from(entry.mode) << 4);
        header.set_size(content.len() as u64);
        let old = header.as_old_mut();
        for (field, text) in [(&mut old.name, &entry.name), (&mut old.linkname, &entry.target)] {
            let length = text.len().min(field.len());
            field[..length].copy_from_slice(&text[..length]);
        }
        header.set_cksum();
        builder.append(&header, &*content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zip_of(entries: &[Entry]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for entry in entries {
        let name = String::from_utf8_lossy(&entry.name);
        let options = SimpleFileOptions::default().unix_permissions(u32::from(entry.mode) << 4);
        // It refuses a name that it has.
        let _ = match entry.kind % 12 {
            3 => writer.add_directory(name, options),
            4 | 5 => writer.add_symlink(name, String::from_utf8_lossy(&entry.target), options),
            _ => writer
                .start_file(name, options)
                .and_then(|()| Ok(writer.write_all(&vec![b'x'; entry.size])?)),
        };
    }
    writer.finish().unwrap().into_inner()
}

fn is_harmless(archive: &[u8]) {
    let ground = Ground::new();
    ground.unpack(archive);
    ground.assert_all_is_well();
}

/// The bytes are the archive.
#[test]
fn archive_bytes() {
    fuzz::check("archive_bytes", is_harmless);
}

/// The bytes say what is in the archive.
#[test]
fn archive_entries() {
    fuzz::check("archive_entries", |bytes| {
        let Some((form, bytes)) = bytes.split_first() else {
            return;
        };
        let entries = entries(bytes);
        is_harmless(&match form % 3 {
            0 => tar_of(&entries),
            1 => gzip(&tar_of(&entries)),
            _ => zip_of(&entries),
        });
    });
}
