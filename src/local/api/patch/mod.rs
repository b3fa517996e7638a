//! The four ways to patch.
pub mod lists;

use serde_json::Value;

use super::{
    http::{
        body,
        status::{ApiError, Result},
    },
    verbs::{
        Answer, Call,
        update::{self, Part},
    },
};

/// JSON patch (RFC 6902).
const JSON: &str = "application/json-patch+json";
/// JSON merge patch (RFC 7396).
const MERGE: &str = "application/merge-patch+json";
/// Strategic merge patch, for built-in types only.
const STRATEGIC: &str = "application/strategic-merge-patch+json";
/// Server-side apply.
const APPLY: [&str; 2] = ["application/apply-patch+yaml", "application/apply-patch+cbor"];

/// Patches an object; the flag says that apply created it.
///
/// # Errors
/// 415 for other types of patch, 400 and 422 for patches that are no good.
pub fn patch(call: &mut Call<'_>, name: &str, part: Part, kind: &str, text: &[u8]) -> Result<(bool, Answer)> {
    if kind != APPLY[0] && call.options.force.is_some() {
        return Err(ApiError::bad_request(
            "force: Forbidden: may not be specified for non-apply patch",
        ));
    }
    match kind {
        MERGE => {
            let patch = body::json(text, &call.kind.resource.kind)?;
            let answer = update::modify(call, name, part, |_, old| {
                let mut new = old.clone();
                json_patch::merge(&mut new, &patch);
                Ok(new)
            })?;
            Ok((false, answer))
        }
        JSON => {
            let patch: json_patch::Patch = serde_json::from_slice(text)
                .map_err(|error| ApiError::bad_request(format!("error decoding patch: {error}")))?;
            let answer = update::modify(call, name, part, |_, old| {
                let mut new: Value = old.clone();
                json_patch::patch(&mut new, &patch.0)
                    .map_err(|error| ApiError::bad_request(error.to_string()))?;
                Ok(new)
            })?;
            Ok((false, answer))
        }
        _ => Err(ApiError::unsupported_media_type(
            &[JSON, MERGE, STRATEGIC, APPLY[0]].join(", "),
        )),
    }
}
