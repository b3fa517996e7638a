//! The result of a Task as bytes, the way doors replay it. Pure.

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
