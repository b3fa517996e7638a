//! What goes wrong with a call, as grpc-gateway sends it: a google.rpc.Status in JSON, and the HTTP status that its code
//! maps to (`HTTPStatusFromCode` in grpc-gateway's `runtime/errors.go`).

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};

use super::wire::Status;
use crate::facade::refusal::Refusal;

/// A refusal in the shape of this API.
pub fn refuse(refusal: &Refusal) -> Response {
    let (status, code) = meaning(refusal);
    let body = Status {
        code,
        message: refusal.to_string(),
        details: Vec::new(),
    };
    (status, Json(body)).into_response()
}

/// The HTTP status and the google.rpc.Code that say it.
fn meaning(refusal: &Refusal) -> (StatusCode, i32) {
    match refusal {
        Refusal::Invalid(_) => (StatusCode::BAD_REQUEST, 3),
        Refusal::Unauthenticated(_) => (StatusCode::UNAUTHORIZED, 16),
        Refusal::Forbidden(_) => (StatusCode::FORBIDDEN, 7),
        Refusal::NotFound(_) => (StatusCode::NOT_FOUND, 5),
        // A gateway knows no 405: to it a method that is not there is not implemented.
        Refusal::Method => (StatusCode::NOT_IMPLEMENTED, 12),
        // A caller who gave up half-way, and so CANCELLED.
        Refusal::Slow(_) => (StatusCode::REQUEST_TIMEOUT, 1),
        Refusal::Conflict(_) => (StatusCode::CONFLICT, 10),
        Refusal::TooLarge { .. } => (StatusCode::BAD_REQUEST, 11),
        Refusal::TooMany { .. } => (StatusCode::TOO_MANY_REQUESTS, 8),
        Refusal::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, 13),
        Refusal::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, 14),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn codes_and_statuses_go_together_as_at_a_gateway() {
        let text = String::new;
        for (refusal, wanted) in [
            (Refusal::Invalid(text()), (400, 3)),
            (Refusal::Unauthenticated(text()), (401, 16)),
            (Refusal::Forbidden(text()), (403, 7)),
            (Refusal::NotFound(text()), (404, 5)),
            (Refusal::Method, (501, 12)),
            (Refusal::Slow(Duration::ZERO), (408, 1)),
            (Refusal::Conflict(text()), (409, 10)),
            (Refusal::TooLarge { limit: 1 }, (400, 11)),
            (
                Refusal::TooMany {
                    retry: Duration::ZERO,
                },
                (429, 8),
            ),
            (Refusal::Internal(text()), (500, 13)),
            (Refusal::Unavailable(text()), (503, 14)),
        ] {
            let (status, code) = meaning(&refusal);
            assert_eq!((status.as_u16(), code), wanted, "{refusal:?}");
        }
    }
}
