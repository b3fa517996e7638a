//! Errors in the words of this API. Its client reads `faultstring` and cannot do with plain text or a body without a
//! media type. Some calls leave the other two fields out, and so does this door.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::facade::{docs, refusal::Refusal};

/// An error.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = QinlingFault)]
pub struct Fault {
    /// `Client` or `Server`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub faultcode: Option<&'static str>,
    /// A sentence.
    #[schema(example = "Execution not found [id=0f1e2d3c-4b5a-4978-8069-1a2b3c4d5e6f]")]
    pub faultstring: String,
    /// Always null.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub debuginfo: Option<()>,
}

/// What every call may be answered with instead.
pub type Refused = docs::Refused<Fault>;

/// What this API says to whom may not.
pub const NOT_ALLOWED: &str = "Operation not allowed";

/// A refusal with all three fields.
pub fn refuse(refusal: &Refusal) -> Response {
    let status = status(refusal);
    let faultcode = if status.is_server_error() {
        "Server"
    } else {
        "Client"
    };
    let body =
        serde_json::json!({"faultcode": faultcode, "faultstring": refusal.to_string(), "debuginfo": null});
    (status, Json(body)).into_response()
}

/// A refusal with its sentence only: of calls that carry files or text.
pub fn refuse_short(refusal: &Refusal) -> Response {
    fault(status(refusal), refusal.to_string())
}

/// An error with its sentence only.
pub fn fault(status: StatusCode, sentence: String) -> Response {
    let fault = Fault {
        faultcode: None,
        faultstring: sentence,
        debuginfo: None,
    };
    (status, Json(fault)).into_response()
}

/// The client breaks on 500, whatever its body.
fn status(refusal: &Refusal) -> StatusCode {
    match refusal.status() {
        StatusCode::INTERNAL_SERVER_ERROR => StatusCode::SERVICE_UNAVAILABLE,
        status => status,
    }
}

/// Whoever may not see a thing is told that there is none.
pub fn hidden(refusal: Refusal, none: impl FnOnce() -> Refusal) -> Refusal {
    match refusal {
        Refusal::Forbidden(_) => none(),
        other => other,
    }
}

/// The sentence of this API for whoever may not, in place of the one that says which right is missing.
pub fn not_allowed(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::Forbidden(_) => Refusal::Forbidden(NOT_ALLOWED.to_owned()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use serde_json::{Value, json};

    use super::*;

    async fn sent(response: Response) -> (u16, Value) {
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn every_error_is_json_with_a_faultstring_and_none_is_a_bare_500() {
        let none = Refusal::NotFound("Execution not found [id=1]".into());
        let whole =
            json!({"faultcode": "Client", "faultstring": "Execution not found [id=1]", "debuginfo": null});
        assert_eq!(sent(refuse(&none)).await, (404, whole));
        let short = json!({"faultstring": "Execution not found [id=1]"});
        assert_eq!(sent(refuse_short(&none)).await, (404, short));
        let ours = Refusal::Internal("a defect".into());
        let server = json!({"faultcode": "Server", "faultstring": "a defect", "debuginfo": null});
        assert_eq!(sent(refuse(&ours)).await, (503, server));
    }
}
