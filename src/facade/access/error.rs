//! Why a caller does not get in.

use std::{sync::Arc, time::Duration};

/// Why a caller does not get in. All but [`Self::Unavailable`] are final words on what was sent.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AccessError {
    /// Nothing was sent that is a token.
    #[error("a token is needed, as `Authorization: Bearer TOKEN` or `X-Auth-Token: TOKEN`")]
    NoToken,
    /// Nobody's, ended, or for somebody else.
    #[error("the token is not valid, or has ended")]
    InvalidToken,
    /// The caller is known and may not do this: a sentence.
    #[error("{0}")]
    Forbidden(String),
    /// A pod's token, used for anything but its own Task.
    #[error("the token of a pod is good for reports on the pod's own Task, and for nothing else")]
    PodOnly,
    /// No namespace stands for the caller: a sentence.
    #[error("{0}")]
    NoNamespace(String),
    /// The API server was asked and did not answer. Never kept: the next request asks again. Nothing was logged.
    #[error("could not {attempt}")]
    Unavailable {
        /// What was attempted.
        attempt: &'static str,
        /// Why it failed. Shared by all who waited for the one call.
        #[source]
        source: Arc<Unanswered>,
    },
}

/// Why the API server gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// It was not reached, failed, or refused the facade itself.
    #[error(transparent)]
    Call(#[from] kube::Error),
    /// It took too long.
    #[error("the API server did not answer within {0:?}")]
    TimedOut(Duration),
}
