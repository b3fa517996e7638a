//! The result of a Task as bytes and as an answer, the way doors replay it. Pure.

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, header},
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;

use crate::crd::TaskResult;

/// The body of a result; what is not there is empty.
pub fn body(result: &TaskResult) -> Bytes {
    match (&result.body, &result.body_base64) {
        (Some(text), _) => Bytes::copy_from_slice(text.as_bytes()),
        // Written by the controller, or by a reporter whose base64 was checked.
        (None, Some(base64)) => STANDARD.decode(base64).unwrap_or_default().into(),
        (None, None) => Bytes::new(),
    }
}

/// True for a result without a body.
pub fn is_empty(result: &TaskResult) -> bool {
    let kept = result.body.as_ref().or(result.body_base64.as_ref());
    kept.is_none_or(String::is_empty)
}

/// Header of an answer: `true` where bytes are missing at the end of the body.
const TRUNCATED: HeaderName = HeaderName::from_static("errand-result-truncated");

/// The body of a result with its media type. The status is the door's to set.
pub fn response(result: &TaskResult) -> Response {
    let mut response = Response::new(Body::from(body(result)));
    let headers = response.headers_mut();
    let media = result.content_type.as_deref();
    if let Some(media) = media.and_then(|media| HeaderValue::from_str(media).ok()) {
        headers.insert(header::CONTENT_TYPE, media);
    }
    if result.truncated {
        headers.insert(TRUNCATED, HeaderValue::from_static("true"));
    }
    // What a stranger's function returns must not run as a page of this origin.
    let sandbox = HeaderValue::from_static("sandbox");
    headers.insert(header::CONTENT_SECURITY_POLICY, sandbox);
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

/// A body as the two fields of a Task: text where it is UTF-8 without NUL, else base64.
pub fn fields(body: &[u8]) -> (Option<String>, Option<String>) {
    match std::str::from_utf8(body) {
        Ok("") => (None, None),
        Ok(text) if !text.contains('\0') => (Some(text.to_owned()), None),
        _ => (None, Some(STANDARD.encode(body))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_come_back_from_the_fields_of_a_task(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let (text, base64) = fields(&bytes);
            let result = TaskResult { body: text, body_base64: base64, ..TaskResult::default() };
            prop_assert_eq!(body(&result), bytes);
        }
    }
}
