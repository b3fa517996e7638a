//! The store on disk: a log of writes, and snapshots that let old logs go.
//!
//! Files in the folder, `N` being a version with leading zeros:
//! - `lock`: held by the one server that uses the folder.
//! - `snapshot-N`: all objects at version N; written beside, synced, and put in place by renaming.
//! - `log-N`: every write after version N, in order.
//!
//! Each is lines of `LENGTH CHECKSUM JSON`: eight hexadecimal digits each for the bytes of the JSON and their CRC-32.
//!
//! What a write that was answered survives: it has reached the kernel, so it survives the death of this process
//! (`kill -9`). The disk is told to keep it within a second ([`SYNC_EVERY`]), so a power cut may cost the last second.
//! A last line that is cut off (the process died while writing it, and no answer was given) is dropped and reported;
//! a bad line with good ones behind it is damage, and the server refuses to start.
use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Read as _, Seek as _, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::body::Bytes;
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{Address, Object, crc::crc32};

/// How often what was written is forced onto the disk.
pub const SYNC_EVERY: Duration = Duration::from_secs(1);
/// A log shorter than this is never worth a snapshot.
const COMPACT_ABOVE: u64 = 8 * 1024 * 1024;
/// A log is replaced once it is so many times the size of the last snapshot.
const COMPACT_RATIO: u64 = 2;

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PersistError {
    /// Another server has it.
    #[error("the data folder {folder} is in use by another server", folder = folder.display())]
    Locked {
        /// The folder.
        folder: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("use {path} in the data folder", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file holds something else than was written.
    #[error("{path} is damaged at byte {offset}: {what}; restore it from a copy, or move it away to begin without it", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What is wrong.
        what: String,
    },
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> PersistError {
    let path = path.to_owned();
    move |source| PersistError::Io { path, source }
}

/// One line.
#[derive(Deserialize)]
struct Record<'a> {
    /// Version.
    v: u64,
    /// Resource; absent in the head of a snapshot.
    #[serde(default)]
    r: String,
    /// Namespace of what was deleted.
    #[serde(default)]
    ns: String,
    /// Name of what was deleted.
    #[serde(default)]
    n: String,
    /// The object; absent for a deletion.
    #[serde(borrow, default)]
    o: Option<&'a RawValue>,
    /// Objects that follow, in the head of a snapshot.
    #[serde(default)]
    count: Option<usize>,
}

/// What a folder held.
pub struct Opened {
    /// The last version.
    pub version: u64,
    /// Objects with their versions, as JSON.
    pub objects: BTreeMap<Address, (u64, Bytes)>,
    pub(super) log: Log,
}

/// The log that writes go to.
pub(super) struct Log {
    folder: PathBuf,
    file: File,
    bytes: u64,
    snapshot_bytes: u64,
    dirty: bool,
    /// A write failed and could not be taken back; nothing more is written behind it.
    broken: bool,
    /// Held while the folder is in use.
    _lock: Arc<File>,
}

/// Opens a folder, making it if need be, and reads what is in it.
///
/// # Errors
/// See [`PersistError`].
pub fn open(folder: &Path) -> Result<Opened, PersistError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(at(folder))?;
    let lock = lock(folder)?;
    let snapshots = numbered(folder, "snapshot-")?;
    let logs = numbered(folder, "log-")?;
    let mut loaded = Loaded::default();
    let mut snapshot_bytes = 0;
    let mut base = 0;
    if let Some((version, path)) = snapshots.last() {
        snapshot_bytes = loaded.snapshot(path)?;
        base = *version;
        loaded.version = loaded.version.max(base);
    }
    let current: Vec<&(u64, PathBuf)> = logs.iter().filter(|(version, _)| *version >= base).collect();
    for (index, (_, path)) in current.iter().enumerate() {
        loaded.log(path, index + 1 == current.len())?;
    }
    let path = match current.last() {
        Some((_, path)) => path.clone(),
        None => folder.join(file_name("log-", loaded.version)),
    };
    let file = append(&path).map_err(at(&path))?;
    let bytes = file.metadata().map_err(at(&path))?.len();
    let log = Log {
        folder: folder.to_owned(),
        file,
        bytes,
        snapshot_bytes,
        dirty: false,
        broken: false,
        _lock: lock,
    };
    Ok(Opened {
        version: loaded.version,
        objects: loaded.objects,
        log,
    })
}

fn lock(folder: &Path) -> Result<Arc<File>, PersistError> {
    let path = folder.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(false)
        .mode(0o600)
        .open(&path);
    let file = file.map_err(at(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(Arc::new(file)),
        Err(fs::TryLockError::WouldBlock) => Err(PersistError::Locked {
            folder: folder.to_owned(),
        }),
        Err(fs::TryLockError::Error(source)) => Err(PersistError::Io { path, source }),
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
}

fn file_name(prefix: &str, version: u64) -> String {
    format!("{prefix}{version:020}")
}

/// Files of a kind by version, ascending.
fn numbered(folder: &Path, prefix: &str) -> Result<Vec<(u64, PathBuf)>, PersistError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(at(folder))? {
        let entry = entry.map_err(at(folder))?;
        let name = entry.file_name();
        if let Some(version) = name
            .to_str()
            .and_then(|name| name.strip_prefix(prefix)?.parse().ok())
        {
            found.push((version, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

#[derive(Default)]
struct Loaded {
    version: u64,
    objects: BTreeMap<Address, (u64, Bytes)>,
    resources: BTreeMap<String, Arc<str>>,
}

impl Loaded {
    fn take(&mut self, record: &Record<'_>) -> Result<(), String> {
        let resource = match self.resources.get(&record.r) {
            Some(known) => known.clone(),
            None => {
                let new: Arc<str> = record.r.as_str().into();
                self.resources.insert(record.r.clone(), new.clone());
                new
            }
        };
        self.version = self.version.max(record.v);
        match record.o {
            Some(object) => {
                #[derive(Deserialize)]
                struct Named<'a> {
                    #[serde(borrow)]
                    metadata: Metadata<'a>,
                }
                #[derive(Deserialize)]
                struct Metadata<'a> {
                    #[serde(default, borrow)]
                    namespace: std::borrow::Cow<'a, str>,
                    #[serde(borrow)]
                    name: std::borrow::Cow<'a, str>,
                }
                let named: Named<'_> =
                    serde_json::from_str(object.get()).map_err(|error| error.to_string())?;
                let address = Address::new(&resource, &named.metadata.namespace, &named.metadata.name);
                self.objects.insert(
                    address,
                    (record.v, Bytes::copy_from_slice(object.get().as_bytes())),
                );
            }
            None => {
                self.objects
                    .remove(&Address::new(&resource, &record.ns, &record.n));
            }
        }
        Ok(())
    }

    fn snapshot(&mut self, path: &Path) -> Result<u64, PersistError> {
        let text = fs::read(path).map_err(at(path))?;
        let damaged = |offset: usize, what: String| PersistError::Damaged {
            path: path.to_owned(),
            offset: offset as u64,
            what,
        };
        let mut expected = None;
        let mut offset = 0;
        while offset < text.len() {
            let (body, end) =
                frame(&text, offset).ok_or_else(|| damaged(offset, "no whole record".into()))?;
            let record: Record<'_> =
                serde_json::from_slice(body).map_err(|error| damaged(offset, error.to_string()))?;
            match (expected, record.count) {
                (None, Some(count)) => {
                    expected = Some(count);
                    self.version = record.v;
                }
                (None, None) => return Err(damaged(offset, "no head".into())),
                (Some(_), _) => self.take(&record).map_err(|what| damaged(offset, what))?,
            }
            offset = end;
        }
        if expected != Some(self.objects.len()) {
            return Err(damaged(
                offset,
                format!("{expected:?} objects expected, {} found", self.objects.len()),
            ));
        }
        Ok(text.len() as u64)
    }

    fn log(&mut self, path: &Path, last: bool) -> Result<(), PersistError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(at(path))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(at(path))?;
        let damaged = |offset: usize, what: String| PersistError::Damaged {
            path: path.to_owned(),
            offset: offset as u64,
            what,
        };
        let mut offset = 0;
        while offset < text.len() {
            let Some((body, end)) = frame(&text, offset) else {
                if !last || more_frames(&text, offset) {
                    return Err(damaged(offset, "no whole record, but others behind it".into()));
                }
                let dropped = text.len() - offset;
                tracing::warn!(path = %path.display(), dropped, "the last record of the log was cut off; it is dropped");
                file.set_len(offset as u64).map_err(at(path))?;
                file.seek(SeekFrom::End(0)).map_err(at(path))?;
                file.sync_all().map_err(at(path))?;
                return Ok(());
            };
            let record: Record<'_> =
                serde_json::from_slice(body).map_err(|error| damaged(offset, error.to_string()))?;
            self.take(&record).map_err(|what| damaged(offset, what))?;
            offset = end;
        }
        Ok(())
    }
}

/// The record at an offset, and where the next begins.
fn frame(text: &[u8], offset: usize) -> Option<(&[u8], usize)> {
    let head = text.get(offset..offset + 18)?;
    if head[8] != b' ' || head[17] != b' ' {
        return None;
    }
    let hex = |part: &[u8]| u32::from_str_radix(std::str::from_utf8(part).ok()?, 16).ok();
    let (length, sum) = (hex(&head[..8])? as usize, hex(&head[9..17])?);
    let start = offset + 18;
    let body = text.get(start..start.checked_add(length)?)?;
    let end = start + length + 1;
    (text.get(end - 1) == Some(&b'\n') && crc32(body) == sum).then_some((body, end))
}

/// Whether a whole record begins at a later line.
fn more_frames(text: &[u8], offset: usize) -> bool {
    let breaks = text[offset..]
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'\n');
    breaks
        .map(|(at, _)| offset + at + 1)
        .any(|start| frame(text, start).is_some())
}

fn framed(parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(length + 19);
    out.extend_from_slice(&[b' '; 18]);
    for part in parts {
        out.extend_from_slice(part);
    }
    let head = format!("{length:08x} {:08x} ", crc32(&out[18..]));
    out[..18].copy_from_slice(head.as_bytes());
    out.push(b'\n');
    out
}

fn put_record(resource: &str, object: &Object) -> Vec<u8> {
    let head = format!("{{\"v\":{},\"r\":{},\"o\":", object.version, json!(resource));
    framed(&[head.as_bytes(), &object.json, b"}"])
}

impl Log {
    pub fn put(&mut self, resource: &Arc<str>, object: &Object) -> io::Result<()> {
        self.write(&put_record(resource, object))
    }

    pub fn delete(&mut self, address: &Address, version: u64) -> io::Result<()> {
        let Address {
            resource,
            namespace,
            name,
        } = address;
        let record = json!({"v": version, "r": **resource, "ns": **namespace, "n": **name}).to_string();
        self.write(&framed(&[record.as_bytes()]))
    }

    fn write(&mut self, record: &[u8]) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other(
                "an earlier write to the log failed; start again",
            ));
        }
        if let Err(error) = self.file.write_all(record) {
            // Half a record would make all that follow unreadable.
            self.broken = self.file.set_len(self.bytes).is_err();
            return Err(error);
        }
        self.bytes += record.len() as u64;
        self.dirty = true;
        Ok(())
    }

    /// A handle to sync with, if anything was written since the last.
    pub fn unsynced(&mut self) -> Option<io::Result<File>> {
        std::mem::take(&mut self.dirty).then(|| self.file.try_clone())
    }

    pub fn wants_snapshot(&self) -> bool {
        self.bytes > COMPACT_ABOVE.max(self.snapshot_bytes.saturating_mul(COMPACT_RATIO))
    }

    /// Goes on in a new log after `version`. The snapshot of that version is then written with [`write_snapshot`].
    pub fn rotate(&mut self, version: u64) -> io::Result<PathBuf> {
        let path = self.folder.join(file_name("log-", version));
        let file = append(&path)?;
        self.file.sync_data()?;
        self.file = file;
        self.bytes = 0;
        Ok(self.folder.clone())
    }

    pub fn compacted(&mut self, snapshot_bytes: u64) {
        self.snapshot_bytes = snapshot_bytes;
    }
}

/// Writes a snapshot, puts it in place and removes what it replaces; gives its size.
pub(super) fn write_snapshot(
    folder: &Path,
    version: u64,
    objects: &[(Arc<str>, Arc<Object>)],
) -> Result<u64, PersistError> {
    let (name, new) = (
        folder.join(file_name("snapshot-", version)),
        folder.join("snapshot.new"),
    );
    let write = || -> io::Result<u64> {
        let file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        let mut out = BufWriter::new(file);
        let head = json!({"v": version, "count": objects.len()}).to_string();
        out.write_all(&framed(&[head.as_bytes()]))?;
        for (resource, object) in objects {
            out.write_all(&put_record(resource, object))?;
        }
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        fs::rename(&new, &name)?;
        File::open(folder)?.sync_all()?;
        Ok(file.metadata()?.len())
    };
    let bytes = write().map_err(at(&name))?;
    for prefix in ["snapshot-", "log-"] {
        for (older, path) in numbered(folder, prefix)?
            .into_iter()
            .filter(|(older, _)| *older < version)
        {
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(older, path = %path.display(), %error, "could not remove a replaced file");
            }
        }
    }
    Ok(bytes)
}
