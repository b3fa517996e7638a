//! Request bodies: bounded, and JSON or YAML.
use std::time::Duration;

use axum::body::{Body, Bytes};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::Value;

use super::{
    negotiate::media_type,
    proto::{self, ProtoError},
    status::{ApiError, Result},
};

/// Largest request body, as in the real server (`MaxRequestBodyBytes`).
pub const MAX_BODY: usize = 3 * 1024 * 1024;

/// A body has so long to arrive.
const PATIENCE: Duration = Duration::from_secs(60);

/// Reads a body up to the limit.
///
/// # Errors
/// 413 above it, 400 when it breaks off.
pub async fn read(request: Request<Body>) -> Result<Bytes> {
    let declared = request
        .headers()
        .get(http::header::CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok()?.parse().ok());
    if declared.is_some_and(|length: usize| length > MAX_BODY) {
        return Err(ApiError::body_too_large(MAX_BODY));
    }
    let reading = Limited::new(request.into_body(), MAX_BODY).collect();
    let Ok(read) = tokio::time::timeout(PATIENCE, reading).await else {
        return Err(ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            "Timeout",
            "the body took too long to arrive",
        ));
    };
    match read {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::body_too_large(MAX_BODY)),
        Err(error) => Err(ApiError::bad_request(format!(
            "the body could not be read: {error}"
        ))),
    }
}

/// A body as a value, by its media type.
///
/// # Errors
/// 415 for other types, 400 for what does not parse.
pub fn parse(content_type: Option<&str>, body: &[u8], wanted: &str) -> Result<Value> {
    match media_type(content_type).as_str() {
        // kubectl and curl leave it out or send a form type by accident; the real server takes none as JSON.
        "" | "application/json" => json(body, wanted),
        "application/yaml" => yaml(body, wanted),
        "application/vnd.kubernetes.protobuf" => proto::decode(body).map_err(|error| match error {
            ProtoError::Kind(_) => ApiError::unsupported_media_type("application/json, application/yaml"),
            ProtoError::Malformed(_) => unreadable(wanted, "protobuf parse error", &error),
        }),
        _ => Err(ApiError::unsupported_media_type(
            "application/json, application/yaml",
        )),
    }
}

/// JSON text as a value.
///
/// # Errors
/// 400.
pub fn json(body: &[u8], wanted: &str) -> Result<Value> {
    serde_json::from_slice(body).map_err(|error| unreadable(wanted, "json parse error", &error))
}

/// YAML text as a value.
///
/// # Errors
/// 400.
pub fn yaml(body: &[u8], wanted: &str) -> Result<Value> {
    serde_yaml::from_slice(body).map_err(|error| unreadable(wanted, "yaml parse error", &error))
}

fn unreadable(wanted: &str, what: &str, error: &dyn std::fmt::Display) -> ApiError {
    ApiError::bad_request(format!(
        "the object provided is unrecognized (must be of type {wanted}): couldn't get version/kind; {what}: {error}"
    ))
}
