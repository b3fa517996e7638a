//! Server-side apply of files, for `errand dev --apply`.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
};

use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams, PostParams},
    core::GroupVersionKind,
    discovery::{self, ApiCapabilities, ApiResource, Scope},
};
use serde::Deserialize as _;
use serde_json::Value;

use super::connect::Refusal;

/// Field manager of what is applied.
const MANAGER: &str = "errand-dev";
/// Largest file that is read.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// Why a file could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder could not be read.
    #[error("could not read {path}; --apply takes a YAML or JSON file, or a folder of them", path = path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is too large.
    #[error("{path} is over {MAX_FILE_BYTES} bytes; split it", path = path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A folder without any.
    #[error("there is no .yaml, .yml or .json file in {path}", path = path.display())]
    Empty {
        /// The folder.
        path: PathBuf,
    },
    /// Neither YAML nor JSON.
    #[error("could not understand {path} as YAML or JSON", path = path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where.
        #[source]
        source: serde_yaml::Error,
    },
    /// Not an object of Kubernetes.
    #[error("object {number} of {path} is no object of Kubernetes: it needs apiVersion, kind and metadata with a name", path = path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// Place in the file, from 1.
        number: usize,
    },
    /// The server does not serve the kind, or refused the object.
    #[error("could not apply {object} of {path}", path = path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// Kind and name.
        object: String,
        /// Why.
        #[source]
        source: Refusal,
    },
}

/// Applies every object of a file, or of the files of a folder in the order of their names, as `kubectl apply -f`
/// does. Returns how many there were.
pub async fn apply(client: &Client, path: &Path) -> Result<usize, Error> {
    let mut kinds = HashMap::new();
    let mut count = 0;
    for file in files(path)? {
        for (number, object) in (1..).zip(read(&file)?) {
            apply_one(client, &mut kinds, &file, number, object).await?;
            count += 1;
        }
    }
    Ok(count)
}

fn files(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    if !fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let known = file
            .extension()
            .is_some_and(|end| end == "yaml" || end == "yml" || end == "json");
        if known && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        Err(Error::Empty {
            path: path.to_owned(),
        })
    } else {
        Ok(files)
    }
}

fn read(path: &Path) -> Result<Vec<Value>, Error> {
    let failed = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    if fs::metadata(path).map_err(failed)?.len() > MAX_FILE_BYTES {
        return Err(Error::TooLarge {
            path: path.to_owned(),
        });
    }
    objects(path, &fs::read(path).map_err(failed)?)
}

/// The objects of a text; a List is taken apart.
fn objects(path: &Path, text: &[u8]) -> Result<Vec<Value>, Error> {
    let mut objects = Vec::new();
    for document in serde_yaml::Deserializer::from_slice(text) {
        let value = Value::deserialize(document).map_err(|source| Error::Syntax {
            path: path.to_owned(),
            source,
        })?;
        match value {
            Value::Null => {}
            Value::Object(mut fields)
                if fields
                    .get("kind")
                    .and_then(Value::as_str)
                    .is_some_and(|kind| kind.ends_with("List")) =>
            {
                if let Some(Value::Array(items)) = fields.remove("items") {
                    objects.extend(items);
                }
            }
            other => objects.push(other),
        }
    }
    Ok(objects)
}

type Kinds = HashMap<GroupVersionKind, (ApiResource, ApiCapabilities)>;

async fn apply_one(
    client: &Client,
    kinds: &mut Kinds,
    path: &Path,
    number: usize,
    object: Value,
) -> Result<(), Error> {
    let shape = || Error::Shape {
        path: path.to_owned(),
        number,
    };
    let object: DynamicObject = serde_json::from_value(object).map_err(|_| shape())?;
    let types = object.types.clone().ok_or_else(shape)?;
    let name = object.metadata.name.clone();
    let shown = name
        .clone()
        .or_else(|| object.metadata.generate_name.clone())
        .ok_or_else(shape)?;
    let refused = |source: kube::Error| Error::Refused {
        path: path.to_owned(),
        object: format!("{} {shown:?}", types.kind),
        source: source.into(),
    };
    let gvk = GroupVersionKind::try_from(&types).map_err(|_| shape())?;
    let (resource, capabilities) = match kinds.get(&gvk) {
        Some(found) => found.clone(),
        None => {
            let found = discovery::pinned_kind(client, &gvk).await.map_err(refused)?;
            kinds.insert(gvk, found.clone());
            found
        }
    };
    let namespace = object
        .metadata
        .namespace
        .as_deref()
        .unwrap_or(client.default_namespace());
    let api: Api<DynamicObject> = match capabilities.scope {
        Scope::Namespaced => Api::namespaced_with(client.clone(), namespace, &resource),
        Scope::Cluster => Api::all_with(client.clone(), &resource),
    };
    let applied = match name {
        Some(name) => {
            api.patch(
                &name,
                &PatchParams::apply(MANAGER).force(),
                &Patch::Apply(&object),
            )
            .await
        }
        None => api.create(&PostParams::default(), &object).await,
    };
    applied.map_err(refused)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_and_lists_become_objects() {
        let text = b"a: 1\n---\n---\nkind: List\nitems: [{b: 2}, {c: 3}]\n";
        let found = objects(Path::new("f.yaml"), text).unwrap();
        assert_eq!(
            serde_json::to_string(&found).unwrap(),
            r#"[{"a":1},{"b":2},{"c":3}]"#
        );
    }

    #[test]
    fn a_folder_is_read_in_the_order_of_names() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.yml", "a.yaml", "c.json", "notes.md"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let names: Vec<_> = files(folder.path()).unwrap();
        let names: Vec<_> = names
            .iter()
            .filter_map(|path| path.file_name()?.to_str())
            .collect();
        assert_eq!(names, ["a.yaml", "b.yml", "c.json"]);
    }

    #[test]
    fn what_cannot_be_applied_is_refused_in_words() {
        let missing = files(Path::new("/nowhere")).unwrap_err().to_string();
        assert_eq!(
            missing,
            "could not read /nowhere; --apply takes a YAML or JSON file, or a folder of them"
        );
        let folder = tempfile::tempdir().unwrap();
        let empty = files(folder.path()).unwrap_err().to_string();
        assert!(
            empty.starts_with("there is no .yaml, .yml or .json file in"),
            "{empty}"
        );
        let broken = objects(Path::new("f.yaml"), b"a: [").unwrap_err().to_string();
        assert_eq!(broken, "could not understand f.yaml as YAML or JSON");
    }
}
