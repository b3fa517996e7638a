//! Ids of 24 hexadecimal digits whose first four bytes are the second of issue, so that they sort by age. Pure.
//!
//! Objects that this door makes are named by their id. Every other object has one too: its second of creation and the
//! first eight bytes of its uid.

use std::fmt;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::ObjectMeta, jiff::Timestamp};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// Digits of an id.
const DIGITS: usize = 24;
/// Digits of the ids that older functions and endpoints have.
const OLD_DIGITS: usize = 32;
/// Digits of the time in an id.
const TIME: usize = 8;

/// An id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
#[schema(value_type = String, pattern = "^[0-9a-f]{24}$")]
pub struct Id(String);

impl Id {
    /// A new id, issued now.
    pub fn new(now: Timestamp) -> Self {
        let random = Uuid::new_v4();
        // Bytes 6 and 8 are fixed in part.
        let [a, b, c, d, e, f, _, _, _, _, g, h, ..] = *random.as_bytes();
        let random = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        Self(format!("{:08x}{random:016x}", seconds(now)))
    }

    /// The id that a text is.
    pub fn parse(text: &str) -> Option<Self> {
        is_hex(text, DIGITS).then(|| Self(text.to_owned()))
    }

    /// The id of an object: its name where that is one, else made of its age and uid.
    pub fn of(meta: &ObjectMeta) -> Option<Self> {
        if let Some(id) = meta.name.as_deref().and_then(Self::parse) {
            return Some(id);
        }
        let issued = seconds(meta.creation_timestamp.as_ref()?.0);
        let uid: String = meta
            .uid
            .as_deref()?
            .chars()
            .filter(|digit| *digit != '-')
            .take(DIGITS - TIME)
            .collect();
        Self::parse(&format!("{issued:08x}{uid}"))
    }

    /// The unix second of issue.
    pub fn seconds(&self) -> u32 {
        u32::from_str_radix(&self.0[..TIME], 16).unwrap_or_default()
    }

    /// How the uid begins of an object that has this id without being named by it.
    pub fn uid_prefix(&self) -> String {
        let digits = &self.0[TIME..];
        format!("{}-{}-{}", &digits[..8], &digits[8..12], &digits[12..])
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of a Function: as [`Id::of`], and a name of 32 digits is one as well.
pub fn function_id(meta: &ObjectMeta) -> String {
    let name = meta.name.clone().unwrap_or_default();
    if is_hex(&name, OLD_DIGITS) {
        return name;
    }
    Id::of(meta).map_or(name, |id| id.0)
}

/// True for so many lower-case hexadecimal digits.
fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Unix seconds as four bytes hold them: until the year 2106.
fn seconds(time: Timestamp) -> u32 {
    u32::try_from(time.as_second().max(0)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn meta(name: &str, created: &str, uid: &str) -> ObjectMeta {
        serde_json::from_value(json!({"name": name, "creationTimestamp": created, "uid": uid})).unwrap()
    }

    const UID: &str = "0f1e2d3c-4b5a-4978-8069-1a2b3c4d5e6f";

    #[test]
    fn the_first_four_bytes_are_the_second_of_issue() {
        let id = Id::parse("6405942c9956fae80d7e0e91").unwrap();
        assert_eq!(id.seconds(), 1_678_087_212);
        let derived = Id::of(&meta("hello", "2023-03-06T07:20:12Z", UID)).unwrap();
        assert_eq!(derived.as_str(), "6405942c0f1e2d3c4b5a4978");
        assert_eq!(derived.uid_prefix(), "0f1e2d3c-4b5a-4978");
    }

    #[test]
    fn a_name_that_is_an_id_stays() {
        let named = meta("6405942c9956fae80d7e0e91", "2024-01-01T00:00:00Z", UID);
        assert_eq!(Id::of(&named).unwrap().as_str(), "6405942c9956fae80d7e0e91");
        let old = meta("536a74fefb8847c19d21020f43b12f67", "2024-01-01T00:00:00Z", UID);
        assert_eq!(function_id(&old), "536a74fefb8847c19d21020f43b12f67");
        assert_eq!(
            function_id(&meta("hello", "2023-03-06T07:20:12Z", UID)),
            "6405942c0f1e2d3c4b5a4978"
        );
    }

    #[test]
    fn other_texts_are_no_ids() {
        for text in [
            "",
            "list",
            "6405942c9956fae80d7e0e9",
            "6405942c9956fae80d7e0e911",
            "6405942C9956FAE80D7E0E91",
            "6405942c9956fae80d7e0e9g",
            "6405942c9956fae80d7e0é9",
        ] {
            assert_eq!(Id::parse(text), None, "{text}");
        }
        assert_eq!(Id::of(&ObjectMeta::default()), None);
    }

    proptest! {
        #[test]
        fn ids_keep_their_time_sort_by_it_and_never_repeat(earlier in 0i64..u32::MAX.into(), later in 0i64..u32::MAX.into()) {
            let at = |second| Id::new(Timestamp::from_second(second).unwrap());
            let (a, b) = (at(earlier), at(later));
            prop_assert_eq!(i64::from(a.seconds()), earlier);
            prop_assert_eq!(Id::parse(a.as_str()), Some(a.clone()));
            prop_assert!(a != b);
            if earlier != later {
                prop_assert_eq!(a < b, earlier < later);
            }
        }

        #[test]
        fn whatever_is_asked_for_gets_an_answer(text in "\\PC{0,32}") {
            if let Some(id) = Id::parse(&text) {
                id.seconds();
                id.uid_prefix();
            }
        }

        #[test]
        fn an_object_is_found_by_the_beginning_of_its_uid(uid in any::<u128>()) {
            let uid = Uuid::from_u128(uid).to_string();
            let id = Id::of(&meta("hello", "2023-03-06T07:20:12Z", &uid)).unwrap();
            prop_assert!(uid.starts_with(&id.uid_prefix()));
        }
    }
}
