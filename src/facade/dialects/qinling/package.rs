//! Packages: a zip that a runtime's image runs. It is kept in ConfigMaps that belong to the Function and are mounted
//! into its pods, so the cluster's own store bounds it and nothing else is needed to run it.

use std::io::Cursor;

use k8s_openapi::{ByteString, api::core::v1::ConfigMap, jiff::Timestamp};
use kube::{Resource as _, ResourceExt as _};
use md5::{Digest as _, Md5};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::map::RESULT;
use crate::{
    crd::{
        Capabilities, Container, Duration, Function, FunctionSpec, PodOptions, Quantity, ResultSource,
        ResultSpec,
    },
    facade::{refusal::Refusal, state::Facade, views::Key},
};

/// Bytes in a ConfigMap: of 1 MiB that one may hold, with room for names (Kubernetes, ConfigMap).
const PART: usize = 900_000;
/// Most ConfigMaps of a package.
const PARTS: usize = 8;
/// Largest package.
pub const MAX_PACKAGE: usize = PART * PARTS;
/// Most bytes that a package may unpack to, and most files.
const MAX_UNPACKED: u64 = 64 * 1024 * 1024;
const MAX_FILES: usize = 10_000;
/// Annotation of a Function that runs a package.
const ANNOTATION: &str = "errand.dev/qinling-function";
const PACKAGE: &str = "/errand/package";
const WORK: &str = "/errand/work";
/// Runs the package's entry.
const BOOTSTRAP: &str = include_str!("bootstrap.py");

/// What a Function that runs a package has beyond a Function.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Settings {
    /// Id of the runtime.
    pub runtime: String,
    /// Module and method.
    pub entry: String,
    /// The package.
    #[serde(flatten)]
    pub stored: Stored,
    /// The package before: pods that are being made may still ask for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Stored>,
    /// When it was changed here last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated: Option<Timestamp>,
}

/// A package that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Stored {
    /// Its digest in hexadecimal digits.
    pub md5: String,
    /// ConfigMaps that hold it.
    pub parts: usize,
}

impl Settings {
    /// Those of a Function that runs a package.
    pub fn of(function: &Function) -> Option<Self> {
        let text = function.annotations().get(ANNOTATION)?;
        serde_json::from_str(text).ok()
    }

    /// Writes them on a Function.
    pub fn note(&self, function: &mut Function) {
        let text = json!(self).to_string();
        function.annotations_mut().insert(ANNOTATION.to_owned(), text);
    }
}

/// True for a Function that is an image and nothing else: its arguments are the words of the input.
pub fn is_image(function: &Function) -> bool {
    function.spec.container.command.is_empty() && function.spec.http.is_none()
}

/// Looks at a zip without unpacking it.
///
/// # Errors
/// It is none, or one that must not be unpacked.
pub fn check(bytes: &[u8]) -> Result<Stored, Refusal> {
    let malformed = |_| Refusal::Invalid("Package is not a valid ZIP package.".to_owned());
    let refused = |why: String| Err(Refusal::Invalid(why));
    let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).map_err(malformed)?;
    if zip.len() > MAX_FILES {
        return refused(format!("The package has more than {MAX_FILES} files."));
    }
    let mut unpacked: u64 = 0;
    for index in 0..zip.len() {
        let file = zip.by_index_raw(index).map_err(malformed)?;
        if !stays_inside(file.name()) {
            return refused(format!(
                "The package has a file outside of itself: {:?}.",
                file.name()
            ));
        }
        if file.is_symlink() {
            return refused(format!("The package has a link: {:?}.", file.name()));
        }
        if file.encrypted() {
            return refused(format!("The package has an encrypted file: {:?}.", file.name()));
        }
        // Python's zipfile unpacks no more of a file than is declared here.
        unpacked = unpacked.saturating_add(file.size());
    }
    if unpacked > MAX_UNPACKED {
        return refused(format!("The package unpacks to more than {MAX_UNPACKED} bytes."));
    }
    let digest = Md5::digest(bytes);
    Ok(Stored {
        md5: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        parts: bytes.len().div_ceil(PART),
    })
}

/// True for a relative path without steps up, for any system that may unpack it.
fn stays_inside(name: &str) -> bool {
    !name.starts_with('/') && !name.contains(['\\', ':']) && name.split('/').all(|step| step != "..")
}

/// Name of a part. Its digest is in it, so that a package that is changed has others.
fn part_name(function: &str, stored: &Stored, part: usize) -> String {
    format!("{function}-{}-{part}", stored.md5)
}

/// Keeps a package for a Function that is there.
///
/// # Errors
/// The API server refuses or does not answer.
pub async fn store(
    facade: &Facade,
    function: &Function,
    stored: &Stored,
    bytes: &[u8],
) -> Result<(), Refusal> {
    for (index, chunk) in bytes.chunks(PART).enumerate() {
        let mut map = ConfigMap {
            immutable: Some(true),
            binary_data: Some([("part".to_owned(), ByteString(chunk.to_vec()))].into()),
            ..ConfigMap::default()
        };
        map.metadata.name = Some(part_name(&function.name_any(), stored, index));
        map.metadata.namespace = function.namespace();
        map.metadata.owner_references = function.owner_ref(&()).map(|owner| vec![owner]);
        match facade.objects.create(&map).await {
            Ok(_) => {}
            // The same bytes, if it is ours: the name says so.
            Err(Refusal::Conflict(sentence)) => {
                if part(facade, function, stored, index).await?.is_none() {
                    return Err(Refusal::Conflict(sentence));
                }
            }
            Err(refusal) => return Err(refusal),
        }
    }
    Ok(())
}

/// A part that is there and belongs to the Function. Whoever may change the Function can write any name on it, and must
/// not come to a stranger's ConfigMap that way: the facade's right is not theirs.
async fn part(
    facade: &Facade,
    function: &Function,
    stored: &Stored,
    index: usize,
) -> Result<Option<ConfigMap>, Refusal> {
    let name = part_name(&function.name_any(), stored, index);
    let key = Key::new(function.namespace().unwrap_or_default(), name);
    let map: Option<ConfigMap> = facade.objects.get(&key).await?;
    let uid = function.uid();
    Ok(map.filter(|map| {
        map.owner_references()
            .iter()
            .any(|owner| Some(&owner.uid) == uid.as_ref())
    }))
}

/// The bytes of a package.
///
/// # Errors
/// A part is missing, or the API server does not answer.
pub async fn load(facade: &Facade, function: &Function, stored: &Stored) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    for index in 0..stored.parts.min(PARTS) {
        let missing =
            || Refusal::NotFound(format!("the package of function {} is gone", function.name_any()));
        let map = part(facade, function, stored, index).await?;
        let mut data = map.and_then(|map| map.binary_data).ok_or_else(missing)?;
        bytes.extend(data.remove("part").ok_or_else(missing)?.0);
    }
    Ok(bytes)
}

/// Drops a package that nothing runs any more. One that is gone already is no error.
///
/// # Errors
/// The API server refuses or does not answer.
pub async fn drop_stored(facade: &Facade, function: &Function, stored: &Stored) -> Result<(), Refusal> {
    for index in 0..stored.parts.min(PARTS) {
        let Some(map) = part(facade, function, stored, index).await? else {
            continue;
        };
        match facade.objects.delete::<ConfigMap>(&Key::of(&map)).await {
            Ok(()) | Err(Refusal::NotFound(_)) => {}
            Err(refusal) => return Err(refusal),
        }
    }
    Ok(())
}

/// The volume that holds a package, as a Function of this name mounts it.
pub fn volume(function: &str, stored: &Stored) -> Map<String, Value> {
    let part = |index: usize| {
        json!({"configMap": {
            "name": part_name(function, stored, index),
            "items": [{"key": "part", "path": format!("{index:03}")}],
        }})
    };
    let sources: Vec<Value> = (0..stored.parts).map(part).collect();
    volume_of("package", json!({"projected": {"sources": sources}}))
}

fn volume_of(name: &str, source: Value) -> Map<String, Value> {
    let mut volume = Map::from_iter([("name".to_owned(), json!(name))]);
    if let Value::Object(source) = source {
        volume.extend(source);
    }
    volume
}

/// The volumes of a Function of this name that runs a package.
pub fn volumes(function: &str, stored: &Stored) -> Vec<Map<String, Value>> {
    vec![
        volume(function, stored),
        volume_of("work", json!({"emptyDir": {}})),
    ]
}

/// What is asked of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Thousandths of a processor.
    pub cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Seconds.
    pub timeout: i64,
}

impl Limits {
    /// Writes them into a spec.
    pub fn apply(self, spec: &mut FunctionSpec) {
        let capabilities = spec.capabilities.get_or_insert_with(Capabilities::default);
        capabilities.cpu = Some(Quantity(format!("{}m", self.cpu)));
        capabilities.memory = Some(Quantity(self.memory.to_string()));
        spec.timeout = Some(Duration::from_secs(self.timeout.unsigned_abs()));
    }
}

/// A Function of this name that runs a package in an image that has `python3`.
pub fn spec(name: &str, image: &str, settings: &Settings, limits: Limits) -> FunctionSpec {
    let mount = |name: &str, path: &str, read_only: bool| json!({"name": name, "mountPath": path, "readOnly": read_only});
    let mounts = json!([mount("package", PACKAGE, true), mount("work", WORK, false)]);
    let mut spec = FunctionSpec {
        container: Container {
            image: image.to_owned(),
            command: vec!["python3".into(), "-c".into(), BOOTSTRAP.into()],
            args: args(&settings.entry),
            volume_mounts: serde_json::from_value(mounts).unwrap_or_default(),
            ..Container::default()
        },
        result: Some(ResultSpec {
            from: Some(ResultSource::File),
            path: Some(format!("{WORK}/result.json")),
            content_type: Some(RESULT.to_owned()),
            limit: None,
        }),
        pod: Some(PodOptions {
            volumes: volumes(name, &settings.stored),
            ..PodOptions::default()
        }),
        ..FunctionSpec::default()
    };
    limits.apply(&mut spec);
    spec
}

/// The arguments of the bootstrap.
pub fn args(entry: &str) -> Vec<String> {
    vec![entry.to_owned(), PACKAGE.to_owned(), WORK.to_owned()]
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use zip::{ZipWriter, write::SimpleFileOptions};

    use super::*;

    fn zipped(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in files {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    #[test]
    fn a_zip_is_known_by_its_digest() {
        let package = zipped(&[("main.py", b"def main(): pass"), ("lib/x.py", b"")]);
        let stored = check(&package).unwrap();
        assert_eq!((stored.md5.len(), stored.parts), (32, 1));
        assert_eq!(check(&package), Ok(stored));
    }

    #[test]
    fn what_must_not_be_unpacked_is_refused_with_a_sentence() {
        let mut linked = ZipWriter::new(Cursor::new(Vec::new()));
        linked
            .add_symlink("link", "/etc/passwd", SimpleFileOptions::default())
            .unwrap();
        let bomb = zipped(&[("zeros", &vec![0; 65 * 1024 * 1024])]);
        assert!(bomb.len() < 200_000);
        for (package, word) in [
            (b"not a zip".to_vec(), "not a valid ZIP"),
            (Vec::new(), "not a valid ZIP"),
            (zipped(&[("../main.py", b"")]), "outside of itself"),
            (zipped(&[("a/../../main.py", b"")]), "outside of itself"),
            (zipped(&[("/main.py", b"")]), "outside of itself"),
            (zipped(&[("..\\main.py", b"")]), "outside of itself"),
            (linked.finish().unwrap().into_inner(), "a link"),
            (bomb, "unpacks to more than"),
        ] {
            let refused = check(&package).map_err(|refusal| refusal.to_string());
            assert!(
                refused.as_ref().is_err_and(|words| words.contains(word)),
                "{word}: {refused:?}"
            );
        }
    }

    #[test]
    fn a_package_in_parts_is_mounted_in_their_order() {
        let stored = Stored {
            md5: "d4".into(),
            parts: 2,
        };
        let part = |index: usize| json!({"configMap": {"name": format!("f-d4-{index}"), "items": [{"key": "part", "path": format!("00{index}")}]}});
        let expected = json!([{"name": "package", "projected": {"sources": [part(0), part(1)]}}, {"name": "work", "emptyDir": {}}]);
        assert_eq!(json!(volumes("f", &stored)), expected);
    }
}
