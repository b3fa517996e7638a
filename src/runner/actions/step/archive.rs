//! What is in an archive: tar, gzipped tar or zip, told by its first bytes.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::rc::Rc;

use flate2::read::MultiGzDecoder;
use tar::{EntryType, PaxExtensions};
use zip::ZipArchive;

/// Most bytes of a name that does not fit into a header of its own.
const MAX_LONG: u64 = 64 * 1024;
/// Most bytes of a zip's symbolic link; Linux takes no longer one (`PATH_MAX`).
const MAX_LINK: u64 = 4096;
/// Most bytes that are read to find out what is in a zip. Entries take some hundred bytes each; a file that is made of
/// ends of zips would be read once for each of them.
const MAX_DIRECTORY: u64 = 64 * 1024 * 1024;

/// One entry. Names and targets are as they stand in the archive.
pub(super) struct Entry<'a> {
    pub(super) name: Vec<u8>,
    pub(super) mode: u32,
    pub(super) kind: Kind<'a>,
}

/// What an entry is.
pub(super) enum Kind<'a> {
    Folder,
    File(&'a mut dyn Read),
    Symlink(Vec<u8>),
    HardLink(Vec<u8>),
}

/// What is wrong with an archive.
#[derive(Debug, thiserror::Error)]
pub(super) enum ArchiveError {
    #[error("it is neither tar nor gzipped tar nor zip")]
    Unknown,
    #[error("the archive cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error("the zip cannot be read: {0}")]
    Zip(#[from] zip::result::ZipError),
    #[error("{name:?} is {what}, which is not unpacked")]
    Kind { name: String, what: &'static str },
    #[error("a name in the archive is longer than {MAX_LONG} bytes")]
    LongName,
}

/// Calls `each` with every entry in turn, until one fails. A gzipped tar may have `most` bytes: there is no other way to
/// what follows an entry than through its content, whatever that is of.
pub(super) fn entries<E: From<ArchiveError>>(
    mut file: File,
    most: u64,
    each: &mut dyn FnMut(Entry<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut head = Vec::new();
    let sniffed = file
        .seek(SeekFrom::Start(0))
        .and_then(|_| (&mut file).take(512).read_to_end(&mut head));
    let rewound = sniffed.and_then(|_| file.seek(SeekFrom::Start(0)));
    rewound.map_err(ArchiveError::Read)?;
    let file = BufReader::new(file);
    match head.as_slice() {
        [0x1f, 0x8b, ..] => {
            let reader = MultiGzDecoder::new(file);
            let left = Rc::new(Cell::new(most));
            tar(Metered { reader, left }, each)
        }
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => zip(file, each),
        head if is_tar(head) => tar(file, each),
        _ => Err(ArchiveError::Unknown.into()),
    }
}

/// A header whose checksum is right, or the end of an empty archive.
fn is_tar(head: &[u8]) -> bool {
    let Ok(block) = <&[u8; 512]>::try_from(head) else {
        return false;
    };
    if block.iter().all(|byte| *byte == 0) {
        return true;
    }
    let field = |byte: &u8| u32::from(*byte);
    let sum: u32 = block[..148].iter().chain(&block[156..]).map(field).sum::<u32>() + 8 * 32;
    let text = String::from_utf8_lossy(&block[148..156]).into_owned();
    u32::from_str_radix(text.trim_matches(['\0', ' ']), 8) == Ok(sum)
}

/// Reads no more bytes than are left.
struct Metered<R> {
    reader: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        let left = self.left.get().checked_sub(count as u64);
        self.left.set(left.unwrap_or_default());
        match left {
            Some(_) => Ok(count),
            None => Err(io::Error::other("it takes too much reading")),
        }
    }
}

impl<R: Seek> Seek for Metered<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.reader.seek(to)
    }
}

/// Names that stand before the entry that they are of.
#[derive(Default)]
struct Long {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    sparse: bool,
    size: Option<u64>,
}

// The reader is told to leave extensions to us, since it would read them into memory whatever their size.
fn tar<E: From<ArchiveError>>(
    reader: impl Read,
    each: &mut dyn FnMut(Entry<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut archive = tar::Archive::new(reader);
    let mut long = Long::default();
    for entry in archive.entries().map_err(ArchiveError::Read)?.raw(true) {
        let mut entry = entry.map_err(ArchiveError::Read)?;
        let kind = entry.header().entry_type();
        match kind {
            EntryType::GNULongName => long.name = Some(small(&mut entry)?),
            EntryType::GNULongLink => long.link = Some(small(&mut entry)?),
            EntryType::XHeader => extend(&mut long, &small(&mut entry)?),
            // For all entries that follow: comments, as git writes them. Nothing in it is needed.
            EntryType::XGlobalHeader => {}
            _ => {
                let long = std::mem::take(&mut long);
                tar_entry(&mut entry, kind, long, each)?;
            }
        }
    }
    Ok(())
}

fn tar_entry<R: Read, E: From<ArchiveError>>(
    entry: &mut tar::Entry<'_, R>,
    kind: EntryType,
    long: Long,
    each: &mut dyn FnMut(Entry<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let header = entry.header();
    let name = long.name.unwrap_or_else(|| header.path_bytes().into_owned());
    let link = long
        .link
        .or_else(|| header.link_name_bytes().map(|link| link.into_owned()));
    let mode = header.mode().unwrap_or(0o644);
    let refused = |what| ArchiveError::Kind {
        name: String::from_utf8_lossy(&name).chars().take(200).collect(),
        what,
    };
    let header_size = header.entry_size().map_err(ArchiveError::Read)?;
    if long.sparse || kind == EntryType::GNUSparse {
        return Err(refused("a sparse file").into());
    }
    if long.size.is_some_and(|size| size != header_size) {
        return Err(refused("a file of 8 GiB or more").into());
    }
    let kind = match kind {
        EntryType::Directory => Kind::Folder,
        // As tar wrote folders before it had a letter for them.
        EntryType::Regular if name.ends_with(b"/") => Kind::Folder,
        EntryType::Regular | EntryType::Continuous => Kind::File(entry),
        EntryType::Symlink => Kind::Symlink(link.unwrap_or_default()),
        EntryType::Link => Kind::HardLink(link.unwrap_or_default()),
        EntryType::Char | EntryType::Block => return Err(refused("a device").into()),
        EntryType::Fifo => return Err(refused("a named pipe").into()),
        _ => return Err(refused("of an unknown kind").into()),
    };
    each(Entry { name, mode, kind })
}

fn small(entry: &mut impl Read) -> Result<Vec<u8>, ArchiveError> {
    let mut bytes = Vec::new();
    entry.take(MAX_LONG + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_LONG {
        return Err(ArchiveError::LongName);
    }
    // GNU tar ends its long names with a zero byte.
    if bytes.last() == Some(&0) {
        bytes.pop();
    }
    Ok(bytes)
}

fn extend(long: &mut Long, records: &[u8]) {
    for record in PaxExtensions::new(records).flatten() {
        let value = || record.value_bytes().to_vec();
        match record.key_bytes() {
            b"path" => long.name = Some(value()),
            b"linkpath" => long.link = Some(value()),
            b"size" => long.size = record.value().ok().and_then(|size| size.parse().ok()),
            key if key.starts_with(b"GNU.sparse.") => long.sparse = true,
            _ => {}
        }
    }
}

fn zip<E: From<ArchiveError>>(
    reader: BufReader<File>,
    each: &mut dyn FnMut(Entry<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let left = Rc::new(Cell::new(MAX_DIRECTORY));
    let reader = Metered {
        reader,
        left: left.clone(),
    };
    let mut archive = ZipArchive::new(reader).map_err(ArchiveError::Zip)?;
    // What comes out of it from here on is counted where it goes.
    left.set(u64::MAX);
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(ArchiveError::Zip)?;
        let name = entry.name_raw().to_vec();
        let mode = entry.unix_mode();
        if entry.is_dir() {
            let mode = mode.unwrap_or(0o755);
            let kind = Kind::Folder;
            each(Entry { name, mode, kind })?;
        } else if entry.is_symlink() {
            let mut target = Vec::new();
            (&mut entry)
                .take(MAX_LINK + 1)
                .read_to_end(&mut target)
                .map_err(ArchiveError::Read)?;
            let kind = Kind::Symlink(target);
            each(Entry { name, mode: 0, kind })?;
        } else {
            let mode = mode.unwrap_or(0o644);
            let kind = Kind::File(&mut entry);
            each(Entry { name, mode, kind })?;
        }
    }
    Ok(())
}
