//! What goes wrong, in the words of this API: `{"code": "NOT_FOUND", "message": "..."}`.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::wire::ErrorBody;
use crate::facade::{access::AccessError, refusal::Refusal};

/// Why a handler does not answer as asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// As every door says it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The function takes no calls.
    #[error("the function {0} is paused and takes no calls; resume it with togglePause")]
    Paused(String),
    /// The endpoint has had its calls of the day.
    #[error(
        "the {0} calls that this endpoint takes in a day are used up; it takes calls again after midnight UTC"
    )]
    Spent(i64),
    /// What this server does not do.
    #[error("{0}")]
    Unsupported(&'static str),
}

impl From<AccessError> for Failure {
    fn from(error: AccessError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::Refused(Refusal::Internal(format!("a setting cannot be written: {error}")))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, code) = match &self {
            // The door's layer dresses it.
            Self::Refused(refusal) => return refusal.clone().into_response(),
            Self::Paused(_) => (StatusCode::CONFLICT, "FUNCTION_PAUSED"),
            Self::Spent(_) => (StatusCode::TOO_MANY_REQUESTS, "NO_QUOTA_AVAILABLE"),
            Self::Unsupported(_) => (StatusCode::BAD_REQUEST, "NOT_SUPPORTED"),
        };
        body(status, code, self.to_string())
    }
}

/// A refusal in the shape of this API.
pub fn refuse(refusal: &Refusal) -> Response {
    let code = match refusal {
        Refusal::Invalid(_) => "BAD_REQUEST",
        Refusal::Unauthenticated(_) => "UNAUTHORIZED",
        Refusal::Forbidden(_) => "FORBIDDEN",
        Refusal::NotFound(_) => "NOT_FOUND",
        Refusal::Method => "METHOD_NOT_ALLOWED",
        Refusal::Slow(_) => "REQUEST_TIMEOUT",
        Refusal::Conflict(_) => "CONFLICT",
        Refusal::TooLarge { .. } => "TOO_LARGE",
        Refusal::TooMany { .. } => "TOO_MANY_REQUESTS",
        Refusal::Internal(_) => "INTERNAL",
        Refusal::Unavailable(_) => "UNAVAILABLE",
    };
    body(refusal.status(), code, refusal.to_string())
}

/// An answer of this shape.
pub fn body(status: StatusCode, code: &'static str, message: String) -> Response {
    (status, Json(ErrorBody { code, message })).into_response()
}

/// For reads: whoever may not see a thing is told that there is none.
pub fn hidden(refusal: Refusal, none: impl FnOnce() -> Refusal) -> Refusal {
    match refusal {
        Refusal::Forbidden(_) => none(),
        other => other,
    }
}
