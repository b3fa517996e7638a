//! The answer of an HTTP function, and what a Task keeps of it.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, header};

use crate::crd::TaskResult;

/// Headers that speak of one connection and say nothing about the answer (RFC 9110 section 7.6.1, and RFC 2616
/// section 13.5.1 for the older ones).
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// An answer, its body kept as far as the limit allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Status code, 200 to 999.
    pub status: u16,
    /// Headers in lower case without those of the connection; values of a repeated header are joined by `, `, and
    /// those that are not UTF-8 are read as ISO 8859-1.
    pub headers: BTreeMap<String, String>,
    /// Media type of the body.
    pub content_type: Option<String>,
    /// The first bytes of the body.
    pub body: Vec<u8>,
    /// Bytes of the whole body; `None` where it was not read to its end and its length was not announced.
    pub size: Option<u64>,
    /// SHA-256 of the whole body in hexadecimal; `None` where it was not read to its end.
    pub sha256: Option<String>,
    /// True where `body` is not the whole one.
    pub truncated: bool,
}

impl Answer {
    /// What a Task keeps: text as `body`, anything else as `bodyBase64`.
    ///
    /// Text means UTF-8. Where a text type (or an answer without a type) was cut within a character, the cut moves
    /// to the boundary before it.
    pub fn into_result(self) -> TaskResult {
        let cut_text = self.truncated && self.content_type.as_deref().is_none_or(is_text);
        let (body, body_base64) = text_or_base64(self.body, cut_text);
        TaskResult {
            status: self.status,
            content_type: self.content_type,
            headers: self.headers,
            body,
            body_base64,
            size_bytes: self.size.and_then(|size| i64::try_from(size).ok()),
            sha256: self.sha256,
            truncated: self.truncated,
        }
    }
}

/// The bytes as text, or else as base64. With `cut`, up to three bytes of a character that was cut are left out.
fn text_or_base64(bytes: Vec<u8>, cut: bool) -> (Option<String>, Option<String>) {
    let bytes = match String::from_utf8(bytes) {
        Ok(text) => return (Some(text), None),
        Err(error) => {
            let (whole, broken_off) = (
                error.utf8_error().valid_up_to(),
                error.utf8_error().error_len().is_none(),
            );
            let mut bytes = error.into_bytes();
            if cut && broken_off {
                bytes.truncate(whole);
            }
            bytes
        }
    };
    match String::from_utf8(bytes) {
        Ok(text) => (Some(text), None),
        Err(error) => (None, Some(STANDARD.encode(error.as_bytes()))),
    }
}

/// Whether a media type promises text.
fn is_text(media_type: &str) -> bool {
    let essence = media_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    essence.starts_with("text/")
        || essence.ends_with("+json")
        || essence.ends_with("+xml")
        || matches!(
            essence.as_str(),
            "application/json"
                | "application/xml"
                | "application/javascript"
                | "application/yaml"
                | "application/x-yaml"
                | "application/x-ndjson"
                | "application/x-www-form-urlencoded"
        )
}

/// The headers that a Task keeps: see [`Answer::headers`].
pub(super) fn kept_headers(map: &HeaderMap) -> BTreeMap<String, String> {
    let named: Vec<String> = map
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| {
            text(value.as_bytes())
                .split(',')
                .map(|name| name.trim().to_lowercase())
                .collect::<Vec<_>>()
        })
        .collect();
    let mut kept = BTreeMap::<String, String>::new();
    for (name, value) in map {
        let name = name.as_str();
        if HOP_BY_HOP.contains(&name) || named.iter().any(|other| other == name) {
            continue;
        }
        let value = text(value.as_bytes());
        kept.entry(name.to_owned())
            .and_modify(|joined| {
                joined.push_str(", ");
                joined.push_str(&value);
            })
            .or_insert(value);
    }
    kept
}

/// A header value as text. HTTP once said ISO 8859-1 and now says bytes (RFC 9110 section 5.5).
pub(super) fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().copied().map(char::from).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    fn answer(body: &[u8], content_type: Option<&str>, truncated: bool) -> TaskResult {
        let content_type = content_type.map(str::to_owned);
        Answer {
            status: 200,
            content_type,
            body: body.to_vec(),
            truncated,
            ..Answer::default()
        }
        .into_result()
    }

    #[test]
    fn an_answer_becomes_a_result() {
        let headers = BTreeMap::from([("x-a".to_owned(), "1".to_owned())]);
        let answer = Answer {
            status: 404,
            headers: headers.clone(),
            content_type: Some("text/plain".into()),
            body: b"nothing".to_vec(),
            size: Some(7),
            sha256: Some("ab".into()),
            truncated: false,
        };
        let expected = TaskResult {
            status: 404,
            content_type: Some("text/plain".into()),
            headers,
            body: Some("nothing".into()),
            body_base64: None,
            size_bytes: Some(7),
            sha256: Some("ab".into()),
            truncated: false,
        };
        assert_eq!(answer.into_result(), expected);
    }

    #[test]
    fn bytes_that_are_not_text_are_kept_as_base64() {
        let result = answer(&[0, 255, 10], Some("text/plain"), false);
        assert_eq!((result.body, result.body_base64.as_deref()), (None, Some("AP8K")));
        let empty = answer(b"", None, false);
        assert_eq!((empty.body.as_deref(), empty.body_base64), (Some(""), None));
    }

    #[test]
    fn text_is_cut_between_characters_and_other_types_keep_every_byte() {
        let cut = &"ab€".as_bytes()[..4];
        assert_eq!(
            answer(cut, Some("text/plain; charset=utf-8"), true)
                .body
                .as_deref(),
            Some("ab")
        );
        assert_eq!(
            answer(cut, Some("application/problem+json"), true)
                .body
                .as_deref(),
            Some("ab")
        );
        assert_eq!(answer(cut, None, true).body.as_deref(), Some("ab"));
        assert_eq!(
            answer(cut, Some("image/png"), true).body_base64.as_deref(),
            Some("YWLigg==")
        );
        assert_eq!(answer(cut, None, false).body_base64.as_deref(), Some("YWLigg=="));
        assert_eq!(
            answer(b"a\xffb\xe2", None, true).body_base64.as_deref(),
            Some("Yf9i4g==")
        );
    }

    #[test]
    fn repeated_headers_are_joined_and_those_of_the_connection_dropped() {
        let lines: [(&str, &[u8]); 8] = [
            ("set-cookie", b"a=1"),
            ("set-cookie", b"b=2"),
            ("connection", b"close, X-Secret"),
            ("x-secret", b"gone"),
            ("transfer-encoding", b"chunked"),
            ("x-latin", b"caf\xe9"),
            ("x-utf8", "café".as_bytes()),
            ("content-length", b"3"),
        ];
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(
                HeaderName::from_static(name),
                HeaderValue::from_bytes(value).unwrap(),
            );
        }
        let expected = [
            ("set-cookie", "a=1, b=2"),
            ("x-latin", "café"),
            ("x-utf8", "café"),
            ("content-length", "3"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(kept_headers(&map), BTreeMap::from(expected));
    }

    proptest! {
        #[test]
        fn whole_bodies_come_back_byte_for_byte(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let result = answer(&bytes, Some("text/plain"), false);
            let back = match (result.body, result.body_base64) {
                (Some(text), None) => text.into_bytes(),
                (None, Some(base64)) => STANDARD.decode(base64).unwrap(),
                both => panic!("exactly one of both: {both:?}"),
            };
            prop_assert_eq!(back, bytes);
        }

        #[test]
        fn text_cut_anywhere_stays_text(text in "\\PC{0,20}", at in 0usize..40) {
            let cut = &text.as_bytes()[..at.min(text.len())];
            let body = answer(cut, None, true).body.unwrap();
            prop_assert!(text.starts_with(&body) && cut.len() - body.len() < 4);
        }
    }
}
