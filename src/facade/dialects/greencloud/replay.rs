//! The answer of a function, given again. Its headers stay behind, all but the type: they spoke to the one who sent the
//! request, and `GC-Storage` is nobody's business.

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};

use super::{failure::body, map::outcome};
use crate::{
    crd::{Phase, Task},
    facade::{results, state::phase},
};

/// What is said of a task that is not over, or not there: clients that poll cannot tell, and ask again.
pub const TOO_EARLY: &str = "the task is not over yet; ask again";

/// `true` where bytes are missing at the end of the body.
const TRUNCATED: HeaderName = HeaderName::from_static("errand-result-truncated");

/// The answer of a whole Task; `None` where it is not over.
pub fn replay(task: &Task) -> Option<Response> {
    let status = StatusCode::from_u16(outcome(task)?).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let told = task.status.as_ref();
    let result = told.and_then(|told| told.result.as_ref());
    let bytes = result.map(results::body).unwrap_or_default();
    if bytes.is_empty() && phase(task) != Phase::Succeeded {
        let why = told.and_then(|told| told.message.clone());
        let why = why.unwrap_or_else(|| "the function did not answer".to_owned());
        return Some(body(status, code(status), why));
    }
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let media = result.and_then(|result| result.content_type.as_deref());
    if let Some(media) = media.and_then(|media| HeaderValue::from_str(media).ok()) {
        headers.insert(header::CONTENT_TYPE, media);
    }
    if result.is_some_and(|result| result.truncated) {
        headers.insert(TRUNCATED, HeaderValue::from_static("true"));
    }
    // What a stranger's function returns must not run as a page of this origin.
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("sandbox"),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    Some(response)
}

fn code(status: StatusCode) -> &'static str {
    if status == StatusCode::REQUEST_TIMEOUT {
        "TIMED_OUT"
    } else {
        "FUNCTION_FAILED"
    }
}
