//! Why a request is not answered as it asks. Every room of the facade refuses with these; each door gives them its own
//! shape on the wire ([`super::door::Door::refuse`]).

use std::time::Duration;

use super::access::AccessError;
use crate::chain::chain;
use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

/// A refusal: what a client is to be told. Sentences say what to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 400: the request is malformed.
    #[error("{0}")]
    Invalid(String),
    /// 401: no token, or one that is not accepted.
    #[error("{0}")]
    Unauthenticated(String),
    /// 403: Kubernetes does not let the caller do this.
    #[error("{0}")]
    Forbidden(String),
    /// 404: there is no such thing, or none that the caller may know of.
    #[error("{0}")]
    NotFound(String),
    /// 405: the path exists, the method does not.
    #[error("this method is not allowed here")]
    Method,
    /// 408: the request did not arrive in time.
    #[error("the request did not arrive within {} seconds", .0.as_secs())]
    Slow(Duration),
    /// 409: what is there does not go with what is asked.
    #[error("{0}")]
    Conflict(String),
    /// 413: the body is too large.
    #[error("the body may have at most {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// 429: too much at once.
    #[error("too many requests at once; try again in {} s", .retry.as_secs())]
    TooMany {
        /// When to come back.
        retry: Duration,
    },
    /// 500: a defect of ours.
    #[error("{0}")]
    Internal(String),
    /// 503: something behind the facade does not answer.
    #[error("{0}")]
    Unavailable(String),
}

/// When a client may come back after a 503.
const RETRY: Duration = Duration::from_secs(2);

impl Refusal {
    /// The HTTP status that says it.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Slow(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Seconds after which the client may try again.
    fn retry(&self) -> Option<u64> {
        match self {
            Self::TooMany { retry } => Some(retry.as_secs().max(1)),
            Self::Unavailable(_) => Some(RETRY.as_secs()),
            _ => None,
        }
    }

    /// Adds the headers that belong to the refusal, whatever its body looks like.
    pub fn mark(&self, response: &mut Response) {
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        match self {
            Self::Unauthenticated(_) => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            // What is left of the request will not be read.
            Self::Slow(_) => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
    }
}

/// Carries the refusal in the extensions, for the door's layer to dress.
impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<AccessError> for Refusal {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::NoToken | AccessError::InvalidToken => Self::Unauthenticated(error.to_string()),
            AccessError::Forbidden(_) | AccessError::PodOnly | AccessError::NoNamespace(_) => {
                Self::Forbidden(error.to_string())
            }
            AccessError::Unavailable { .. } => {
                tracing::warn!(error = %chain(&error), "a caller cannot be checked");
                Self::Unavailable("the API server cannot be asked about the caller".into())
            }
        }
    }
}
