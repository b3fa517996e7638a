//! What goes wrong, in the words of this API: `{"why": "Not Found", "errorCode": null}`.
//!
//! There is no 403: who may not make a call is told 401, and of a Task that they may not know of, that there is none.

use axum::{
    http::StatusCode,
    response::{IntoResponse as _, Response},
};

use super::{http::json, wire::ErrorBody};
use crate::facade::refusal::Refusal;

/// What a request without a body is told.
pub const EMPTY: &str = "Bad Request";
/// What a request is told that cannot be read. The other case is UCloud's own.
pub const MALFORMED: &str = "Bad request";

/// Status and body of a refusal. The words are the status's, but for mistakes that a sentence helps with.
pub fn told(refusal: &Refusal) -> (StatusCode, ErrorBody) {
    let status = match refusal {
        Refusal::Forbidden(_) => StatusCode::UNAUTHORIZED,
        other => other.status(),
    };
    let why = match refusal {
        Refusal::Invalid(sentence) => sentence.clone(),
        _ => status.canonical_reason().unwrap_or_default().to_owned(),
    };
    (
        status,
        ErrorBody {
            why,
            error_code: None,
        },
    )
}

/// A refusal in the shape of this API.
pub fn refuse(refusal: &Refusal) -> Response {
    let (status, body) = told(refusal);
    (status, json(&body)).into_response()
}

/// A request that cannot be read.
pub fn malformed() -> Refusal {
    Refusal::Invalid(MALFORMED.to_owned())
}

/// There is no such Task, or none that the caller may know of.
pub fn none(id: impl std::fmt::Display) -> Refusal {
    Refusal::NotFound(format!("there is no task {id}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    #[test]
    fn refusals_are_told_by_status_and_its_words() {
        let text = || "secret detail".to_owned();
        for (refusal, status, why) in [
            (malformed(), 400, "Bad request"),
            (Refusal::Unauthenticated(text()), 401, "Unauthorized"),
            (Refusal::Forbidden(text()), 401, "Unauthorized"),
            (none("x"), 404, "Not Found"),
            (Refusal::Method, 405, "Method Not Allowed"),
            (Refusal::Slow(Duration::ZERO), 408, "Request Timeout"),
            (Refusal::TooLarge { limit: 1 }, 413, "Payload Too Large"),
            (Refusal::Internal(text()), 500, "Internal Server Error"),
            (Refusal::Unavailable(text()), 503, "Service Unavailable"),
        ] {
            let (code, body) = told(&refusal);
            assert_eq!(
                (code.as_u16(), serde_json::to_value(&body).unwrap()),
                (status, json!({"why": why, "errorCode": null})),
                "{refusal:?}"
            );
        }
    }
}
