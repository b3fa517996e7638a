//! Tokens from a file, for callers that no cluster knows.
//!
//! The format is that of kube-apiserver's static token file (Kubernetes, "Authenticating", "Static token file"): CSV
//! with token, user, uid and, in quotes where there are several, groups. Other than there, a file with a mistake is
//! refused as a whole, and so are users and groups of `system:`, which are the cluster's own to give.

mod csv;

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use subtle::{ConditionallySelectable as _, ConstantTimeEq as _};
use tokio::{sync::Mutex, time::Instant};

use super::{answers::Key, caller::Caller, token};
use crate::chain::chain;

/// Largest file: a Secret holds no more (Kubernetes, "Secrets", "Size limit").
const MAX_FILE: u64 = 1024 * 1024;

/// How often the file is looked at, at most.
const LOOK: Duration = Duration::from_secs(1);

/// The group that Kubernetes too puts everyone in who showed a valid token.
const AUTHENTICATED: &str = "system:authenticated";

/// Why a file of tokens cannot be used. Nothing of a token is in the texts.
#[derive(Debug, thiserror::Error)]
pub enum StaticTokensError {
    /// It is not there, or not readable.
    #[error("could not read the static tokens in {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// One line is wrong.
    #[error("could not use the static tokens in {path}: line {line}", path = path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        #[source]
        source: LineError,
    },
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum LineError {
    #[error("a quoted field must end on the line where it began, with a comma or nothing after it")]
    Quotes,
    #[error("there must be token, user, uid and maybe groups; put several groups in one pair of quotes")]
    Columns,
    #[error("the token must be 1 to 16384 visible ASCII characters without spaces")]
    Token,
    #[error("the token is that of an earlier line")]
    Twice,
    #[error("user and groups must not be empty, nor begin or end with a space, nor hold control characters")]
    Name,
    #[error("users and groups that begin with system: are the cluster's own")]
    System,
}

/// Tells whether a file can be used.
pub(super) fn check(path: &Path) -> Result<(), StaticTokensError> {
    let content = read(path)?;
    parse(&content)
        .map(drop)
        .map_err(|(line, source)| in_line(path, line, source))
}

fn in_line(path: &Path, line: usize, source: LineError) -> StaticTokensError {
    StaticTokensError::Line {
        path: path.to_owned(),
        line,
        source,
    }
}

fn read(path: &Path) -> Result<Vec<u8>, StaticTokensError> {
    let mut content = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut content));
    let fits = read.and_then(|size| match size as u64 {
        0..=MAX_FILE => Ok(content),
        _ => Err(io::Error::other("it is larger than 1 MiB")),
    });
    fits.map_err(|source| StaticTokensError::Read {
        path: path.to_owned(),
        source,
    })
}

/// Whose tokens there are, by digest.
type Table = Vec<(Key, Arc<Caller>)>;

fn parse(content: &[u8]) -> Result<Table, (usize, LineError)> {
    let mut table = Table::new();
    for (number, line) in content.split(|byte| *byte == b'\n').enumerate() {
        let entry = || -> Result<_, LineError> {
            let line = std::str::from_utf8(line.trim_ascii_end()).map_err(|_| LineError::Name)?;
            if line.is_empty() {
                return Ok(None);
            }
            let (key, caller) = entry(&csv::fields(line)?)?;
            if table.iter().any(|(known, _)| *known == key) {
                return Err(LineError::Twice);
            }
            Ok(Some((key, Arc::new(caller))))
        };
        table.extend(entry().map_err(|error| (number + 1, error))?);
    }
    Ok(table)
}

fn entry(fields: &[String]) -> Result<(Key, Caller), LineError> {
    let (token, user, uid, groups) = match fields {
        [token, user, uid] => (token, user, uid, ""),
        [token, user, uid, groups] => (token, user, uid, groups.as_str()),
        _ => return Err(LineError::Columns),
    };
    if !token::is_plausible(token) {
        return Err(LineError::Token);
    }
    let groups = if groups.is_empty() {
        Vec::new()
    } else {
        groups.split(',').collect()
    };
    for name in groups.iter().copied().chain([user.as_str()]) {
        if name.is_empty() || name.trim() != name || name.chars().any(char::is_control) {
            return Err(LineError::Name);
        }
        if name.starts_with("system:") {
            return Err(LineError::System);
        }
    }
    let caller = Caller {
        user: user.clone(),
        uid: Some(uid.clone()).filter(|uid| !uid.is_empty()),
        groups: groups
            .into_iter()
            .chain([AUTHENTICATED])
            .map(str::to_owned)
            .collect(),
        extra: BTreeMap::new(),
        pod: None,
    };
    Ok((Sha256::digest(token).into(), caller))
}

/// Compares with every entry, whatever the outcome, so that the time taken tells nothing.
fn find(table: &Table, token: &Key) -> Option<Arc<Caller>> {
    let mut found = 0;
    for (number, (known, _)) in (1u64..).zip(table) {
        found.conditional_assign(&number, known.ct_eq(token));
    }
    let found = usize::try_from(found.checked_sub(1)?).ok()?;
    table.get(found).map(|(_, caller)| caller.clone())
}

/// A file of tokens, read again when it has changed.
pub(super) struct StaticTokens {
    path: PathBuf,
    table: RwLock<Arc<Table>>,
    /// Held by whoever looks at the file.
    look: Mutex<Look>,
}

#[derive(Debug)]
struct Look {
    at: Instant,
    /// Digest of what was read last, good or not; none where nothing could be read.
    content: Option<Key>,
}

impl StaticTokens {
    /// Reads the file. One that cannot be used is logged and stands for no tokens, until it changes.
    pub fn open(path: PathBuf) -> Self {
        let tokens = Self {
            table: RwLock::default(),
            look: Mutex::new(Look {
                at: Instant::now(),
                content: None,
            }),
            path,
        };
        let read = read(&tokens.path);
        if let Err(error) = &read {
            tokens.warn(error);
        }
        if let (Ok(content), Ok(mut look)) = (read, tokens.look.try_lock()) {
            tokens.take(&content, &mut look);
        }
        tokens
    }

    /// Whose token has this digest.
    pub async fn caller_of(&self, token: &Key) -> Option<Arc<Caller>> {
        self.look_again().await;
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner).clone();
        find(&table, token)
    }

    /// Whoever comes while another looks goes on with the table that there is.
    async fn look_again(&self) {
        let Ok(mut look) = self.look.try_lock() else {
            return;
        };
        if look.at.elapsed() < LOOK {
            return;
        }
        look.at = Instant::now();
        let path = self.path.clone();
        match tokio::task::spawn_blocking(move || read(&path)).await {
            Ok(Ok(content)) => self.take(&content, &mut look),
            Ok(Err(error)) => {
                // Said once, not with each look.
                if look.content.take().is_some() {
                    self.warn(&error);
                }
            }
            Err(_) => {}
        }
    }

    /// Content rather than time of change is compared: two changes can fall into one tick of the file system's clock.
    fn take(&self, content: &[u8], look: &mut Look) {
        let digest: Key = Sha256::digest(content).into();
        if look.content.replace(digest) == Some(digest) {
            return;
        }
        match parse(content) {
            Ok(table) => {
                tracing::info!(path = %self.path.display(), tokens = table.len(), "read the static tokens");
                *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
            }
            Err((line, source)) => self.warn(&in_line(&self.path, line, source)),
        }
    }

    fn warn(&self, error: &StaticTokensError) {
        tracing::warn!(
            error = chain(error),
            "going on with the static tokens as they were"
        );
    }
}

#[cfg(test)]
mod tests;
