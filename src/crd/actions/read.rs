//! Reads trees of actions that strangers wrote: within bounds, and with the place of every mistake.

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{
    Action, ActionGroup, Checksum, DownloadAction, EmitProgressAction, KINDS, MAX_ACTION_DEPTH, MAX_ACTIONS,
    MAX_TREE_BYTES, RunAction, TimeoutAction, TryAction, UploadAction,
};
use crate::crd::Duration;

/// Why a tree is none. The sentences name the place of what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActionsError {
    /// Too many levels.
    #[error("{path}: actions are nested more than {MAX_ACTION_DEPTH} deep")]
    TooDeep {
        /// The first action that is too deep.
        path: String,
    },
    /// Too many actions.
    #[error("there are more than {MAX_ACTIONS} actions")]
    TooMany,
    /// Too many bytes.
    #[error("the actions take {bytes} bytes as JSON; at most {MAX_TREE_BYTES} are possible")]
    TooLarge {
        /// Bytes that they take.
        bytes: usize,
    },
    /// No object with one known key.
    #[error(
        "{path}: an action is an object with one key out of run, download, upload, serial, parallel, codependent, \
         timeout, try and emitProgress; this is {found}"
    )]
    NoAction {
        /// Its place.
        path: String,
        /// What stands there.
        found: String,
    },
    /// A field is missing, unknown or of another type.
    #[error("{path}: {why}")]
    Field {
        /// The action.
        path: String,
        /// What is wrong with it.
        why: String,
    },
}

impl Action {
    /// Reads a tree that a stranger wrote.
    ///
    /// # Errors
    /// [`ActionsError`] where it is none, or larger than it may be. Recursion ends at [`MAX_ACTION_DEPTH`].
    pub fn read(tree: &Map<String, Value>) -> Result<Self, ActionsError> {
        let mut reader = Reader { left: MAX_ACTIONS };
        let action = reader.object(tree, "action", 1)?;
        // Strings, numbers and booleans: serialization cannot fail.
        let bytes = serde_json::to_string(tree).unwrap_or_default().len();
        match bytes > MAX_TREE_BYTES {
            true => Err(ActionsError::TooLarge { bytes }),
            false => Ok(action),
        }
    }

    /// The tree as it stands in a Task.
    pub fn to_map(&self) -> Map<String, Value> {
        // An enum with content is an object with one key: neither can fail.
        match serde_json::to_value(self) {
            Ok(Value::Object(map)) => map,
            _ => Map::new(),
        }
    }
}

struct Reader {
    /// Actions that may still come.
    left: usize,
}

impl Reader {
    fn action(&mut self, value: Option<&Value>, path: &str, depth: usize) -> Result<Action, ActionsError> {
        match value {
            Some(Value::Object(tree)) => self.object(tree, path, depth),
            other => Err(no_action(path, kind_of(other))),
        }
    }

    fn object(
        &mut self,
        tree: &Map<String, Value>,
        path: &str,
        depth: usize,
    ) -> Result<Action, ActionsError> {
        if depth > MAX_ACTION_DEPTH {
            return Err(ActionsError::TooDeep {
                path: path.to_owned(),
            });
        }
        self.left = self.left.checked_sub(1).ok_or(ActionsError::TooMany)?;
        let mut pairs = tree.iter();
        let (Some((name, content)), None) = (pairs.next(), pairs.next()) else {
            return Err(no_action(path, keys_of(tree)));
        };
        let at = format!("{path}.{name}");
        let Value::Object(content) = content else {
            return match KINDS.iter().any(|(kind, _)| kind == name) {
                true => Err(field(
                    &at,
                    format!("an object is needed, not {}", kind_of(Some(content))),
                )),
                false => Err(no_action(path, keys_of(tree))),
            };
        };
        let group = |reader: &mut Self| reader.group(content, &at, depth);
        Ok(match name.as_str() {
            "run" => Action::Run(run(&at, content)?),
            "download" => Action::Download(download(&at, content)?),
            "upload" => Action::Upload(upload(&at, content)?),
            "serial" => Action::Serial(group(self)?),
            "parallel" => Action::Parallel(group(self)?),
            "codependent" => Action::Codependent(group(self)?),
            "timeout" => {
                let rest: TimeoutRest = rest(&at, content, "action")?;
                if rest.after.get().is_zero() {
                    return Err(field(&at, "after must be more than nothing"));
                }
                Action::Timeout(TimeoutAction {
                    after: rest.after,
                    action: Box::new(self.inner(content, &at, depth)?),
                    log_source: rest.log_source,
                })
            }
            "try" => {
                let rest: GroupRest = rest(&at, content, "action")?;
                Action::Try(TryAction {
                    action: Box::new(self.inner(content, &at, depth)?),
                    log_source: rest.log_source,
                })
            }
            "emitProgress" => {
                let rest: EmitRest = rest(&at, content, "action")?;
                Action::EmitProgress(EmitProgressAction {
                    action: Box::new(self.inner(content, &at, depth)?),
                    start_message: rest.start_message,
                    success_message: rest.success_message,
                    failure_message_prefix: rest.failure_message_prefix,
                    log_source: rest.log_source,
                })
            }
            _ => return Err(no_action(path, keys_of(tree))),
        })
    }

    fn inner(
        &mut self,
        content: &Map<String, Value>,
        at: &str,
        depth: usize,
    ) -> Result<Action, ActionsError> {
        self.action(content.get("action"), &format!("{at}.action"), depth + 1)
    }

    fn group(
        &mut self,
        content: &Map<String, Value>,
        at: &str,
        depth: usize,
    ) -> Result<ActionGroup, ActionsError> {
        let rest: GroupRest = rest(at, content, "actions")?;
        let items = match content.get("actions") {
            Some(Value::Array(items)) if !items.is_empty() => items,
            _ => return Err(field(at, "actions must be a list of at least one action")),
        };
        let read = |(index, item)| self.action(Some(item), &format!("{at}.actions[{index}]"), depth + 1);
        Ok(ActionGroup {
            actions: items.iter().enumerate().map(read).collect::<Result<_, _>>()?,
            log_source: rest.log_source,
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GroupRest {
    log_source: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TimeoutRest {
    after: Duration,
    log_source: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EmitRest {
    start_message: Option<String>,
    success_message: Option<String>,
    failure_message_prefix: Option<String>,
    log_source: Option<String>,
}

/// The fields of an action but for the actions in it.
fn rest<T: DeserializeOwned>(at: &str, content: &Map<String, Value>, inner: &str) -> Result<T, ActionsError> {
    let others = content.iter().filter(|(name, _)| *name != inner);
    leaf(
        at,
        others
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
    )
}

fn leaf<T: DeserializeOwned>(at: &str, content: Map<String, Value>) -> Result<T, ActionsError> {
    serde_json::from_value(Value::Object(content)).map_err(|error| field(at, error.to_string()))
}

fn run(at: &str, content: &Map<String, Value>) -> Result<RunAction, ActionsError> {
    let run: RunAction = leaf(at, content.clone())?;
    needed(at, "path", &run.path)?;
    let texts = [Some(&run.path), run.dir.as_ref()];
    clean(at, texts.into_iter().flatten().chain(&run.args))?;
    for variable in &run.env {
        if variable.name.is_empty() || variable.name.contains(['=', '\0']) || variable.value.contains('\0') {
            let why = format!(
                "env: {:?} is no name of a variable, or its value holds a zero byte",
                variable.name
            );
            return Err(field(at, why));
        }
    }
    Ok(run)
}

fn download(at: &str, content: &Map<String, Value>) -> Result<DownloadAction, ActionsError> {
    let download: DownloadAction = leaf(at, content.clone())?;
    needed(at, "from", &download.from)?;
    needed(at, "to", &download.to)?;
    clean(at, [&download.to])?;
    if let Some(Checksum { algorithm, value }) = &download.checksum {
        let digits = algorithm.digits();
        if value.len() != digits || !value.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(field(
                at,
                format!("checksum.value must be {digits} hexadecimal digits"),
            ));
        }
    }
    Ok(download)
}

fn upload(at: &str, content: &Map<String, Value>) -> Result<UploadAction, ActionsError> {
    let upload: UploadAction = leaf(at, content.clone())?;
    needed(at, "from", &upload.from)?;
    needed(at, "to", &upload.to)?;
    clean(at, [&upload.from])?;
    Ok(upload)
}

fn needed(at: &str, name: &str, text: &str) -> Result<(), ActionsError> {
    match text.is_empty() {
        true => Err(field(at, format!("{name} must not be empty"))),
        false => Ok(()),
    }
}

/// No system call takes a zero byte within a text.
fn clean<'a>(at: &str, texts: impl IntoIterator<Item = &'a String>) -> Result<(), ActionsError> {
    match texts.into_iter().any(|text| text.contains('\0')) {
        true => Err(field(at, "paths and arguments must not hold zero bytes")),
        false => Ok(()),
    }
}

fn field(at: &str, why: impl Into<String>) -> ActionsError {
    ActionsError::Field {
        path: at.to_owned(),
        why: why.into(),
    }
}

fn no_action(path: &str, found: impl Into<String>) -> ActionsError {
    ActionsError::NoAction {
        path: path.to_owned(),
        found: found.into(),
    }
}

fn keys_of(map: &Map<String, Value>) -> String {
    if map.is_empty() {
        return "an object without a key".to_owned();
    }
    let keys: Vec<String> = map.keys().take(3).map(|key| format!("{:?}", cut(key))).collect();
    format!("an object with {}", keys.join(", "))
}

fn cut(text: &str) -> String {
    text.chars().take(40).collect()
}

const fn kind_of(value: Option<&Value>) -> &'static str {
    match value {
        None => "nothing",
        Some(Value::Null) => "null",
        Some(Value::Bool(_)) => "a boolean",
        Some(Value::Number(_)) => "a number",
        Some(Value::String(_)) => "a text",
        Some(Value::Array(_)) => "a list",
        Some(Value::Object(_)) => "an object",
    }
}
