//! How the keeper of the door is set up.

use std::{path::PathBuf, time::Duration};

use super::{
    answers::Fresh,
    static_tokens::{self, StaticTokensError},
    tenancy::NamespaceRule,
};

/// What may be chosen.
#[derive(Clone, Debug)]
pub struct AccessConfig {
    /// How long a valid token and a right are taken for granted: the longest that a revoked one still works.
    pub token_ttl: Duration,
    /// How long a refusal stands: the longest that a new right is not seen.
    pub denied_ttl: Duration,
    /// Most answers of each kind that are kept.
    pub entries: usize,
    /// How long the API server may take for an answer.
    pub time_limit: Duration,
    /// File of static tokens; see [`static_tokens`].
    pub static_tokens: Option<PathBuf>,
    /// Which namespace stands for a caller.
    pub namespaces: NamespaceRule,
}

impl Default for AccessConfig {
    fn default() -> Self {
        Self {
            token_ttl: Duration::from_secs(10),
            denied_ttl: Duration::from_secs(5),
            entries: 10_000,
            time_limit: Duration::from_secs(10),
            static_tokens: None,
            namespaces: NamespaceRule::default(),
        }
    }
}

impl AccessConfig {
    /// Whether the file of static tokens can be used, so that a mistake in it stops the start.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn check(&self) -> Result<(), StaticTokensError> {
        self.static_tokens.as_deref().map_or(Ok(()), static_tokens::check)
    }

    pub(super) fn ttl(&self, granted: bool) -> Duration {
        if granted { self.token_ttl } else { self.denied_ttl }
    }

    pub(super) fn fresh(&self, granted: bool) -> Fresh<bool> {
        Fresh {
            value: granted,
            ttl: self.ttl(granted),
        }
    }
}
