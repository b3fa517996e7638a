//! Answers that are not sent again as long as they are the same (RFC 9110, section 13.1.2).

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::facade::refusal::Refusal;

/// The body as JSON with its tag, or 304 where the caller has it.
pub fn answer(headers: &HeaderMap, body: &impl Serialize) -> Result<Response, Refusal> {
    let body = serde_json::to_vec(body)
        .map_err(|error| Refusal::Internal(format!("an answer cannot be written: {error}")))?;
    let tag = tag(&body);
    let media = HeaderValue::from_static("application/json");
    let mut response = if is_known(headers, &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, media)], body).into_response()
    };
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(response)
}

/// Weak, since the answer may be compressed on its way.
fn tag(body: &[u8]) -> String {
    let digest = Sha256::digest(body);
    let digits: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("W/\"{digits}\"")
}

fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let opaque = tag.trim_start_matches("W/");
    let fields = headers.get_all(header::IF_NONE_MATCH).iter();
    let fields = fields.filter_map(|field| field.to_str().ok());
    fields
        .flat_map(|field| field.split(','))
        .map(str::trim)
        .any(|given| given == "*" || given.trim_start_matches("W/") == opaque)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-256 of `"x"`, the quotation marks included.
    const TAG: &str = "W/\"ba2df4903a2c14e86dc3bcca58911b44\"";

    fn asked(given: &[&str]) -> Response {
        let mut headers = HeaderMap::new();
        for given in given {
            headers.append(header::IF_NONE_MATCH, HeaderValue::from_str(given).unwrap());
        }
        answer(&headers, &"x").unwrap()
    }

    #[test]
    fn what_the_caller_has_is_not_sent_again() {
        let strong = TAG.trim_start_matches("W/");
        let among_others = format!("\"other\", {TAG}");
        for (given, status) in [
            (vec![], 200),
            (vec![""], 200),
            (vec!["\"other\"", "W/\"another\""], 200),
            (vec!["*"], 304),
            (vec![TAG], 304),
            (vec![strong], 304),
            (vec![&among_others], 304),
            (vec!["\"other\"", TAG], 304),
        ] {
            let answer = asked(&given);
            let seen = (answer.status().as_u16(), &answer.headers()[header::ETAG]);
            assert_eq!(seen, (status, &HeaderValue::from_static(TAG)), "{given:?}");
        }
    }
}
