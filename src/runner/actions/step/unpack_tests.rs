use std::collections::BTreeMap;
use std::io::Seek as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use tar::{EntryType, Header};
use zip::write::SimpleFileOptions;

use super::*;

const SMALL: Limits = Limits {
    bytes: 100_000,
    entries: 50,
    names: 1000,
};

/// A folder `in` that archives are unpacked into, beside a file and a folder that they must not reach.
struct Ground(tempfile::TempDir);

impl Ground {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("in")).unwrap();
        std::fs::create_dir(dir.path().join("outside")).unwrap();
        std::fs::write(dir.path().join("secret"), "secret").unwrap();
        Self(dir)
    }

    fn inside(&self) -> PathBuf {
        self.0.path().join("in")
    }

    fn unpack(&self, archive: &[u8]) -> Result<(), UnpackError> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(archive).unwrap();
        file.rewind().unwrap();
        unpack(file, &self.inside(), SMALL)
    }

    /// Everything in the folder: content of files, targets of links, nothing for folders.
    fn content(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let mut ahead = vec![self.inside()];
        while let Some(folder) = ahead.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let meta = path.symlink_metadata().unwrap();
                let name = path.strip_prefix(self.inside()).unwrap().display().to_string();
                let content = if meta.is_symlink() {
                    format!("-> {}", std::fs::read_link(&path).unwrap().display())
                } else if meta.is_dir() {
                    ahead.push(path);
                    String::new()
                } else {
                    String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned()
                };
                found.insert(name, content);
            }
        }
        found
    }

    /// What lies outside is as it was, and no link leads there.
    fn assert_nothing_escaped(&self) {
        let mut names: Vec<String> = std::fs::read_dir(self.0.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["in", "outside", "secret"]);
        assert_eq!(
            std::fs::read_to_string(self.0.path().join("secret")).unwrap(),
            "secret"
        );
        assert_eq!(
            std::fs::read_dir(self.0.path().join("outside")).unwrap().count(),
            0
        );
        let root = self.inside().canonicalize().unwrap();
        for (name, content) in self.content() {
            let path = self.inside().join(&name);
            if content.starts_with("-> ")
                && let Ok(real) = path.canonicalize()
            {
                assert!(real.starts_with(&root), "{name} leads to {}", real.display());
            }
        }
    }
}

/// An entry of a tar, however odd.
#[derive(Debug, Clone)]
struct Odd {
    kind: EntryType,
    name: String,
    target: String,
    content: Vec<u8>,
}

fn odd(kind: EntryType, name: &str, target: &str, content: &[u8]) -> Odd {
    Odd {
        kind,
        name: name.into(),
        target: target.into(),
        content: content.into(),
    }
}

fn file(name: &str, content: &str) -> Odd {
    odd(EntryType::Regular, name, "", content.as_bytes())
}

fn symlink(name: &str, target: &str) -> Odd {
    odd(EntryType::Symlink, name, target, b"")
}

fn link(name: &str, target: &str) -> Odd {
    odd(EntryType::Link, name, target, b"")
}

/// The builder refuses odd names, so the header's bytes are set.
fn tar_of(entries: &[Odd]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for entry in entries {
        let mut header = Header::new_ustar();
        header.set_entry_type(entry.kind);
        header.set_mode(0o4755);
        header.set_size(entry.content.len() as u64);
        let old = header.as_old_mut();
        for (field, text) in [(&mut old.name, &entry.name), (&mut old.linkname, &entry.target)] {
            let bytes = &text.as_bytes()[..text.len().min(field.len())];
            field[..bytes.len()].copy_from_slice(bytes);
        }
        header.set_cksum();
        builder.append(&header, &entry.content[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zip_of(entries: &[Odd]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().unix_permissions(0o755);
    for entry in entries {
        match entry.kind {
            EntryType::Directory => writer.add_directory(&entry.name, options).unwrap(),
            EntryType::Symlink => writer.add_symlink(&entry.name, &entry.target, options).unwrap(),
            _ => {
                writer.start_file(&entry.name, options).unwrap();
                writer.write_all(&entry.content).unwrap();
            }
        }
    }
    writer.finish().unwrap().into_inner()
}

fn plain() -> Vec<Odd> {
    vec![
        odd(EntryType::Directory, "./", "", b""),
        odd(EntryType::Directory, "bin/", "", b""),
        file("bin/run", "run"),
        symlink("bin/start", "run"),
        symlink("current", "./bin"),
        symlink("bin/up", "../deep"),
        file("deep/er/file", "deep"),
    ]
}

#[test]
fn tar_and_gzipped_tar_and_zip_are_unpacked_alike() {
    let expected: BTreeMap<String, String> = [
        ("bin", ""),
        ("bin/run", "run"),
        ("bin/start", "-> run"),
        ("bin/up", "-> ../deep"),
        ("current", "-> ./bin"),
        ("deep", ""),
        ("deep/er", ""),
        ("deep/er/file", "deep"),
    ]
    .map(|(name, content)| (name.to_owned(), content.to_owned()))
    .into();
    let tar = tar_of(&plain());
    for archive in [gzip(&tar), tar, zip_of(&plain()[1..])] {
        let ground = Ground::new();
        ground.unpack(&archive).unwrap();
        assert_eq!(ground.content(), expected);
        // Without the bit that would lend its owner's rights.
        let mode = std::fs::metadata(ground.inside().join("bin/run"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o755);
        ground.assert_nothing_escaped();
        // Once more, over what is there.
        ground.unpack(&archive).unwrap();
        assert_eq!(ground.content(), expected);
    }
}

#[test]
fn long_names_come_from_extensions_of_both_kinds() {
    let name = format!("{}/file", "long".repeat(40));
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_size(3);
    header.set_mode(0o644);
    builder.append_data(&mut header, &name, &b"gnu"[..]).unwrap();
    builder
        .append_pax_extensions([("path", &b"pax"[..]), ("mtime", &b"1.5"[..])])
        .unwrap();
    let mut header = Header::new_ustar();
    header.set_path("short").unwrap();
    header.set_size(3);
    header.set_mode(0o644);
    header.set_cksum();
    builder.append(&header, &b"pax"[..]).unwrap();
    let ground = Ground::new();
    ground.unpack(&builder.into_inner().unwrap()).unwrap();
    assert_eq!(ground.content()[&name], "gnu");
    assert_eq!(ground.content()["pax"], "pax");
}

#[test]
fn a_hard_link_is_a_second_name_of_a_file_in_the_archive() {
    let ground = Ground::new();
    ground
        .unpack(&tar_of(&[file("a/b", "x"), link("c", "a/b")]))
        .unwrap();
    assert_eq!(ground.content()["c"], "x");
}

#[test]
fn nothing_leads_out_of_the_folder() {
    for entries in [
        vec![file("../secret", "x")],
        vec![file("/etc/errand-test", "x")],
        vec![file("a/../../secret", "x")],
        vec![symlink("l", "../outside")],
        vec![symlink("l", "/etc")],
        vec![symlink("a/l", "../../secret")],
        // Through a link that was made before.
        vec![symlink("l", "."), file("l/x", "x")],
        vec![symlink("d/up", ".."), symlink("l", "d/up/..")],
        vec![symlink("d/up", ".."), file("d/up/x", "x")],
        vec![link("l", "../secret")],
        vec![link("l", "/etc/passwd")],
        // A link that is moved to another depth leads elsewhere.
        vec![symlink("a/b/c/l", "../../.."), link("l", "a/b/c/l")],
        vec![symlink("d", "."), link("l", "d/x")],
        vec![odd(EntryType::Char, "null", "", b"")],
        vec![odd(EntryType::Block, "disk", "", b"")],
        vec![odd(EntryType::Fifo, "pipe", "", b"")],
    ] {
        let ground = Ground::new();
        let outcome = ground.unpack(&tar_of(&entries));
        assert!(outcome.is_err(), "{entries:?}");
        ground.assert_nothing_escaped();
    }
    for entries in [
        vec![file("../secret", "x")],
        vec![symlink("l", "../outside"), file("l/x", "x")],
    ] {
        let ground = Ground::new();
        assert!(ground.unpack(&zip_of(&entries)).is_err(), "{entries:?}");
        ground.assert_nothing_escaped();
    }
}

#[test]
fn bombs_end_at_the_limits() {
    let sentence = |archive: &[u8]| Ground::new().unpack(archive).unwrap_err().to_string();
    let large = tar_of(&[odd(EntryType::Regular, "zeros", "", &vec![0; 5_000_000])]);
    assert_eq!(
        sentence(&gzip(&large)),
        "the files of the archive take more than 100000 bytes"
    );
    let large = zip_of(&[odd(EntryType::Regular, "zeros", "", &vec![0; 5_000_000])]);
    assert_eq!(
        sentence(&large),
        "the files of the archive take more than 100000 bytes"
    );
    let many: Vec<Odd> = (0..51).map(|at| file(&format!("f{at}"), "")).collect();
    assert_eq!(
        sentence(&gzip(&tar_of(&many))),
        "the archive has more than 50 entries"
    );
    assert_eq!(sentence(&zip_of(&many)), "the archive has more than 50 entries");
    // A name without end.
    let name = odd(EntryType::GNULongName, "././@LongLink", "", &vec![b'a'; 70_000]);
    assert_eq!(
        sentence(&gzip(&tar_of(&[name]))),
        "a name in the archive is longer than 65536 bytes"
    );
}

#[test]
fn what_is_no_file_costs_no_more_than_files_may() {
    let sentence = |archive: &[u8]| Ground::new().unpack(archive).unwrap_err().to_string();
    let zeros = vec![0; 5_000_000];
    for kind in [EntryType::XGlobalHeader, EntryType::Symlink, EntryType::Directory] {
        assert_eq!(
            sentence(&gzip(&tar_of(&[odd(kind, "a", "b", &zeros)]))),
            "the archive cannot be read: it takes too much reading",
            "{kind:?}"
        );
    }
    let comments = vec![odd(EntryType::XGlobalHeader, "a", "", b""); 1000];
    assert_eq!(
        sentence(&gzip(&tar_of(&comments))),
        "the archive cannot be read: it takes too much reading"
    );
}

#[test]
fn folders_above_entries_count() {
    let sentence = |archive: &[u8]| Ground::new().unpack(archive).unwrap_err().to_string();
    let deep: Vec<Odd> = (0..40).map(|at| file(&format!("{at}/a/b/f"), "")).collect();
    assert_eq!(sentence(&tar_of(&deep)), "the archive has more than 50 folders");
    let long: Vec<Odd> = (0..40)
        .map(|at| odd(EntryType::Directory, &format!("{at}{}", "a".repeat(50)), "", b""))
        .collect();
    assert_eq!(
        sentence(&tar_of(&long)),
        "the names of the archive's folders take more than 1000 bytes"
    );
}

#[test]
fn a_zip_that_seems_to_end_all_over_is_not_searched_without_end() {
    // Each of these says that one entry lies before it, so that all before it is searched for that entry.
    let mut end = b"PK\x05\x06".to_vec();
    end.extend([0, 0, 0, 0, 1, 0, 1, 0, 46, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let mut archive = b"PK\x03\x04".to_vec();
    archive.extend(end.repeat(50_000));
    let started = std::time::Instant::now();
    assert!(Ground::new().unpack(&archive).is_err());
    let took = started.elapsed();
    assert!(took < std::time::Duration::from_secs(30), "{took:?}");
}

#[test]
fn what_is_no_archive_is_said_to_be_none() {
    let sentence = |archive: &[u8]| Ground::new().unpack(archive).unwrap_err().to_string();
    assert_eq!(
        sentence(b"<html>not found</html>"),
        "it is neither tar nor gzipped tar nor zip"
    );
    assert_eq!(sentence(b""), "it is neither tar nor gzipped tar nor zip");
    let cut = &gzip(&tar_of(&plain()))[..60];
    assert!(
        sentence(cut).starts_with("the archive cannot be read: "),
        "{}",
        sentence(cut)
    );
}

#[test]
fn an_empty_archive_is_one() {
    let ground = Ground::new();
    ground
        .unpack(&gzip(&tar_of(&[])))
        .unwrap_or_else(|error| panic!("{error}"));
    ground.unpack(&tar_of(&[])).unwrap();
    ground.unpack(&zip_of(&[])).unwrap();
    assert!(ground.content().is_empty());
}

fn any_name() -> impl Strategy<Value = String> {
    let part = proptest::sample::select(vec!["a", "b", "c", "..", ".", "", "secret", "outside"]);
    (any::<bool>(), proptest::collection::vec(part, 1..5)).prop_map(|(absolute, parts)| {
        let slash = if absolute { "/" } else { "" };
        format!("{slash}{}", parts.join("/"))
    })
}

fn any_entry() -> impl Strategy<Value = Odd> {
    let kind = prop_oneof![
        3 => Just(EntryType::Regular), 2 => Just(EntryType::Directory), 4 => Just(EntryType::Symlink),
        2 => Just(EntryType::Link), 1 => any::<u8>().prop_map(EntryType::new),
    ];
    // Names that are relative and do not climb get further.
    let name = prop_oneof![2 => "[abc](/[abc]){0,3}", 1 => any_name()];
    (kind, name, any_name(), "[a-z]{0,5}")
        .prop_map(|(kind, name, target, content)| odd(kind, &name, &target, content.as_bytes()))
}

proptest! {
    #[test]
    fn no_tar_escapes(entries in proptest::collection::vec(any_entry(), 0..12)) {
        let ground = Ground::new();
        // One entry after the other, so that a refused one does not end the story.
        for entry in &entries {
            let _ = ground.unpack(&tar_of(std::slice::from_ref(entry)));
        }
        ground.assert_nothing_escaped();
        let ground = Ground::new();
        let _ = ground.unpack(&tar_of(&entries));
        ground.assert_nothing_escaped();
    }

    #[test]
    fn no_bytes_make_it_stumble(mut bytes in proptest::collection::vec(any::<u8>(), 0..2000), head in 0..4_u8, at in any::<prop::sample::Index>(), new in any::<u8>()) {
        let whole = match head {
            0 => tar_of(&plain()),
            1 => gzip(&tar_of(&plain())),
            2 => zip_of(&plain()[1..]),
            _ => bytes.clone(),
        };
        if !whole.is_empty() {
            bytes = whole;
            let at = at.index(bytes.len());
            bytes[at] = new;
        }
        let ground = Ground::new();
        let _ = ground.unpack(&bytes);
        ground.assert_nothing_escaped();
    }
}
