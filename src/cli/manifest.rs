//! What `errand run` submits: a Task made from a Function's name, or read from a file. Pure but for reading.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    str::FromStr,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kube::core::ObjectMeta;
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::crd::{self, Duration, Function, FunctionRef, Input, MAX_BODY_BYTES, Task, TaskSpec};

/// Most bytes of a file given with `-f`: more than any object that an API server takes.
const MAX_MANIFEST_BYTES: u64 = 4 * 1024 * 1024;

/// Where the input body comes from: the text itself, `@FILE`, or `@-` for standard input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The text itself.
    Text(String),
    /// A file.
    File(PathBuf),
    /// Standard input.
    Stdin,
}

impl FromStr for Source {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.strip_prefix('@') {
            None => Ok(Self::Text(text.to_owned())),
            Some("") => Err(Error::NoFileName),
            Some("-") => Ok(Self::Stdin),
            Some(path) => Ok(Self::File(path.into())),
        }
    }
}

/// Why there is no Task to submit.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `@` without a name.
    #[error("--input @ needs the name of a file after the @, or `-` for standard input")]
    NoFileName,
    /// The body is larger than the API takes.
    #[error(
        "the input is over {MAX_BODY_BYTES} bytes, the most that a Task may carry; put it where the container can fetch it and pass the address"
    )]
    TooLarge,
    /// A file could not be read.
    #[error("could not read {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The manifest is larger than any object may be.
    #[error("{path} is over {MAX_MANIFEST_BYTES} bytes and cannot be a Task", path = path.display())]
    ManifestTooLarge {
        /// The file.
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
    /// More or less than one object.
    #[error("{path} holds {found} objects, and `errand run -f` takes one Task or Function; give the others to `kubectl apply -f`", path = path.display())]
    Documents {
        /// The file.
        path: PathBuf,
        /// How many.
        found: usize,
    },
    /// Another kind.
    #[error("{path} holds a {kind}; `errand run -f` takes a Task or a Function of {api}", path = path.display(), api = crd::API_VERSION)]
    Kind {
        /// The file.
        path: PathBuf,
        /// apiVersion and kind as found.
        kind: String,
    },
    /// A field has the wrong type.
    #[error("{path} is no valid {kind}", path = path.display())]
    Object {
        /// The file.
        path: PathBuf,
        /// Task or Function.
        kind: &'static str,
        /// Which field.
        #[source]
        source: serde_json::Error,
    },
    /// A field that the type does not have.
    #[error("{path} has the unknown field {field}; `kubectl explain {kind}.spec` lists those there are", path = path.display())]
    UnknownField {
        /// The file.
        path: PathBuf,
        /// task or function.
        kind: &'static str,
        /// Path of the field.
        field: String,
    },
    /// A flag and the file contradict each other.
    #[error("{path} names the namespace {file:?} and the command line {given:?}; leave one of them out", path = path.display())]
    Namespace {
        /// The file.
        path: PathBuf,
        /// As the file says.
        file: String,
        /// As the command line says.
        given: String,
    },
}

/// What the command line lays over the Task.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    /// Input body.
    pub body: Option<Vec<u8>>,
    /// Arguments appended to the container's.
    pub args: Vec<String>,
    /// Run time limit.
    pub timeout: Option<Duration>,
}

/// A Task that runs the named Function.
pub fn of_function(name: &str) -> Task {
    let reference = FunctionRef {
        name: name.to_owned(),
        version: None,
    };
    named(
        name,
        TaskSpec {
            function_ref: Some(reference),
            ..TaskSpec::default()
        },
    )
}

fn named(function: &str, spec: TaskSpec) -> Task {
    // Names may have 253 characters and the server adds six to a generateName; labels made of it stay readable.
    let base: String = function.chars().take(57).collect();
    let metadata = ObjectMeta {
        generate_name: Some(format!("{base}-")),
        ..ObjectMeta::default()
    };
    Task {
        metadata,
        spec,
        status: None,
    }
}

/// The Task in a file, or a Task that runs the Function in it. `-` reads standard input.
pub fn of_file(path: &Path) -> Result<Task, Error> {
    let text = if path == Path::new("-") {
        read_limited(io::stdin().lock(), MAX_MANIFEST_BYTES)
    } else {
        File::open(path).and_then(|file| read_limited(file, MAX_MANIFEST_BYTES))
    };
    let text = text.map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    let text = text.ok_or_else(|| Error::ManifestTooLarge {
        path: path.to_owned(),
    })?;
    parse(path, &text)
}

/// Reads the body, at most [`MAX_BODY_BYTES`].
pub fn read_body(source: &Source) -> Result<Vec<u8>, Error> {
    let limit = MAX_BODY_BYTES as u64;
    let (path, body) = match source {
        Source::Text(text) if text.len() > MAX_BODY_BYTES => return Err(Error::TooLarge),
        Source::Text(text) => return Ok(text.clone().into_bytes()),
        Source::File(path) => (
            path.clone(),
            File::open(path).and_then(|file| read_limited(file, limit)),
        ),
        Source::Stdin => (
            PathBuf::from("standard input"),
            read_limited(io::stdin().lock(), limit),
        ),
    };
    body.map_err(|source| Error::Read { path, source })?
        .ok_or(Error::TooLarge)
}

/// Everything of `reader`, or nothing where there are more than `limit` bytes.
fn read_limited(reader: impl Read, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    reader.take(limit + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= limit).then_some(bytes))
}

fn parse(path: &Path, text: &[u8]) -> Result<Task, Error> {
    let mut documents = Vec::new();
    for document in serde_yaml::Deserializer::from_slice(text) {
        let value = Value::deserialize(document).map_err(|source| Error::Syntax {
            path: path.to_owned(),
            source,
        })?;
        if !value.is_null() {
            documents.push(value);
        }
    }
    let found = documents.len();
    let [mut value] = <[Value; 1]>::try_from(documents).map_err(|_| Error::Documents {
        path: path.to_owned(),
        found,
    })?;
    // A Task that nobody names needs no metadata; the types want to see it all the same.
    if let Some(fields) = value.as_object_mut() {
        fields.entry("metadata").or_insert_with(|| json!({}));
    }
    let field = |name: &str| {
        value
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    match (field("apiVersion").as_str(), field("kind").as_str()) {
        (crd::API_VERSION, "Task") => {
            let mut task: Task = typed(path, "Task", "task", &value)?;
            task.status = None;
            if task.metadata.name.is_none() && task.metadata.generate_name.is_none() {
                let function = task
                    .spec
                    .function_ref
                    .as_ref()
                    .map(|reference| reference.name.clone());
                task.metadata.generate_name =
                    named(function.as_deref().unwrap_or("task"), TaskSpec::default())
                        .metadata
                        .generate_name;
            }
            Ok(task)
        }
        (crd::API_VERSION, "Function") => {
            let function: Function = typed(path, "Function", "function", &value)?;
            let name = function.metadata.name.as_deref().unwrap_or("function");
            let mut task = named(
                name,
                TaskSpec {
                    function: Some(function.spec),
                    ..TaskSpec::default()
                },
            );
            task.metadata.namespace = function.metadata.namespace;
            Ok(task)
        }
        (api, kind) => Err(Error::Kind {
            path: path.to_owned(),
            kind: format!("{kind:?} of {api:?}"),
        }),
    }
}

fn typed<K>(path: &Path, kind: &'static str, resource: &'static str, value: &Value) -> Result<K, Error>
where
    K: serde::de::DeserializeOwned + serde::Serialize,
{
    let wrong = |source| Error::Object {
        path: path.to_owned(),
        kind,
        source,
    };
    let object: K = K::deserialize(value).map_err(wrong)?;
    let known = serde_json::to_value(&object).map_err(wrong)?;
    // Only spec: metadata and status are the API server's, and users paste what `kubectl get -o yaml` printed.
    match unknown_field(value.get("spec"), known.get("spec"), "spec") {
        Some(field) => Err(Error::UnknownField {
            path: path.to_owned(),
            kind: resource,
            field,
        }),
        None => Ok(object),
    }
}

/// The first field of `given` that a round trip through the type lost. Empty values are skipped on the way out and
/// do not count.
fn unknown_field(given: Option<&Value>, known: Option<&Value>, path: &str) -> Option<String> {
    match (given?, known) {
        (Value::Null, None) => None,
        (Value::Array(items), None) if items.is_empty() => None,
        (Value::Object(fields), None) if fields.is_empty() => None,
        (_, None) => Some(path.to_owned()),
        (Value::Object(fields), Some(Value::Object(kept))) => fields
            .iter()
            .find_map(|(name, value)| unknown_field(Some(value), kept.get(name), &format!("{path}.{name}"))),
        (Value::Array(items), Some(Value::Array(kept))) => items
            .iter()
            .enumerate()
            .find_map(|(at, value)| unknown_field(Some(value), kept.get(at), &format!("{path}[{at}]"))),
        _ => None,
    }
}

/// Lays the flags over the Task; text bodies go to `body`, others to `bodyBase64`.
pub fn overlay(mut task: Task, overlay: Overlay) -> Task {
    if overlay.body.is_some() || !overlay.args.is_empty() {
        let mut input = task.spec.input.take().unwrap_or_default();
        if let Some(body) = overlay.body {
            set_body(&mut input, body);
        }
        input.args.extend(overlay.args);
        task.spec.input = Some(input);
    }
    if overlay.timeout.is_some() {
        task.spec.timeout = overlay.timeout;
    }
    task
}

fn set_body(input: &mut Input, body: Vec<u8>) {
    (input.body, input.body_base64) = match String::from_utf8(body) {
        Ok(text) => (Some(text), None),
        Err(error) => (None, Some(STANDARD.encode(error.as_bytes()))),
    };
}

/// The namespace of the Task: that of the file, else the session's; a contradiction is refused.
pub fn namespace(path: &Path, task: &Task, given: Option<&str>, fallback: &str) -> Result<String, Error> {
    match (task.metadata.namespace.as_deref(), given) {
        (Some(file), Some(given)) if file != given => Err(Error::Namespace {
            path: path.to_owned(),
            file: file.to_owned(),
            given: given.to_owned(),
        }),
        (Some(file), _) => Ok(file.to_owned()),
        (None, _) => Ok(fallback.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::chain;

    fn file(text: &str) -> Result<Task, Error> {
        parse(Path::new("task.yaml"), text.as_bytes())
    }

    fn problem(text: &str) -> String {
        chain(&file(text).unwrap_err())
    }

    #[test]
    fn a_function_name_becomes_a_task_with_a_generated_name() {
        let task = of_function("hello");
        assert_eq!(task.metadata.generate_name.as_deref(), Some("hello-"));
        assert_eq!(task.spec.function_ref.unwrap().name, "hello");
    }

    #[test]
    fn a_function_file_is_run_inline() {
        let task = file("apiVersion: errand.dev/v1alpha1\nkind: Function\nmetadata: {name: f}\nspec: {container: {image: i}}").unwrap();
        assert_eq!(task.metadata.generate_name.as_deref(), Some("f-"));
        assert_eq!(task.spec.function.unwrap().container.image, "i");
    }

    #[test]
    fn a_task_file_keeps_its_name_and_json_is_yaml_too() {
        let task = file(r#"{"apiVersion":"errand.dev/v1alpha1","kind":"Task","metadata":{"name":"t"},"spec":{"functionRef":{"name":"f"},"capabilities":{"cpu":2}}}"#).unwrap();
        assert_eq!(task.metadata.name.as_deref(), Some("t"));
        assert_eq!(task.metadata.generate_name, None);
    }

    #[test]
    fn what_is_no_task_is_refused_in_words() {
        assert_eq!(
            problem("apiVersion: v1\nkind: Pod"),
            "task.yaml holds a \"Pod\" of \"v1\"; `errand run -f` takes a Task or a Function of errand.dev/v1alpha1"
        );
        assert!(problem("").starts_with("task.yaml holds 0 objects"));
        assert!(problem("a: 1\n---\nb: 2").starts_with("task.yaml holds 2 objects"));
        assert!(problem("a: [").starts_with("could not understand task.yaml as YAML or JSON: "));
        assert_eq!(
            problem("apiVersion: errand.dev/v1alpha1\nkind: Task\nspec: {timeout: 5 parsecs}"),
            "task.yaml is no valid Task: \"5 parsecs\" is not a duration such as 90s, 10m or 1h30m"
        );
        assert_eq!(
            problem(
                "apiVersion: errand.dev/v1alpha1\nkind: Task\nspec: {functionRef: {name: f}, timeOut: 5s, env: []}"
            ),
            "task.yaml has the unknown field spec.timeOut; `kubectl explain task.spec` lists those there are"
        );
    }

    #[test]
    fn flags_lie_over_the_file() {
        let task = file("apiVersion: errand.dev/v1alpha1\nkind: Task\nspec: {functionRef: {name: f}, input: {bodyBase64: AAA=, args: [a]}}").unwrap();
        let flags = Overlay {
            body: Some(b"text".to_vec()),
            args: vec!["-b".into()],
            timeout: Some(Duration::from_secs(5)),
        };
        let task = overlay(task, flags);
        let input = task.spec.input.unwrap();
        assert_eq!((input.body.as_deref(), input.body_base64), (Some("text"), None));
        assert_eq!(input.args, ["a", "-b"]);
        assert_eq!(task.spec.timeout, Some(Duration::from_secs(5)));
    }

    #[test]
    fn a_binary_body_travels_as_base64() {
        let task = overlay(
            of_function("f"),
            Overlay {
                body: Some(vec![0xff, 0]),
                ..Overlay::default()
            },
        );
        assert_eq!(task.spec.input.unwrap().body_base64.as_deref(), Some("/wA="));
    }

    #[test]
    fn input_sources_are_text_file_or_standard_input() {
        assert_eq!("a@b".parse::<Source>().unwrap(), Source::Text("a@b".into()));
        assert_eq!("@-".parse::<Source>().unwrap(), Source::Stdin);
        assert_eq!("@x.bin".parse::<Source>().unwrap(), Source::File("x.bin".into()));
        assert!("@".parse::<Source>().is_err());
    }

    #[test]
    fn an_oversized_body_is_refused_with_the_limit() {
        let text = "x".repeat(MAX_BODY_BYTES + 1);
        let error = read_body(&Source::Text(text)).unwrap_err().to_string();
        assert!(error.starts_with("the input is over 131072 bytes"), "{error}");
        assert_eq!(read_limited(&b"1234"[..], 3).unwrap(), None);
        assert_eq!(read_limited(&b"123"[..], 3).unwrap(), Some(b"123".to_vec()));
    }

    #[test]
    fn namespaces_of_file_and_flag_must_agree() {
        let path = Path::new("task.yaml");
        let mut task = of_function("f");
        assert_eq!(namespace(path, &task, Some("a"), "a").unwrap(), "a");
        task.metadata.namespace = Some("b".into());
        assert_eq!(namespace(path, &task, None, "default").unwrap(), "b");
        assert!(namespace(path, &task, Some("a"), "a").is_err());
    }
}
