//! Ids: UUIDs in the first API, numbers in the second. Pure.
//!
//! Tasks that this door makes are named by their UUID, so that any replica finds them at the API server. The id of
//! every other Task is its uid. The number of a Task is the first 52 random bits of its UUID: JavaScript, which the web
//! client is written in, knows no integers above 2^53.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use uuid::Uuid;

use super::wire::TaskId;
use crate::facade::uuids;

/// Numbers of Tasks are below this.
const NUMBERS: u64 = 1 << 52;

/// The UUID of a Task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(Uuid);

impl JobId {
    /// A new one.
    pub fn new() -> Self {
        Self(Uuid::new_v4())
    }

    /// The UUID that a text is, in the only form that names of objects can have.
    pub fn parse(text: &str) -> Option<Self> {
        uuids::parse(text).map(Self)
    }

    /// The id of a Task.
    pub fn of(meta: &ObjectMeta) -> Option<Self> {
        uuids::of(meta).map(Self)
    }

    /// The number of the same Task. Bits 48 to 51 of a UUID tell its version (RFC 9562, section 4) and are passed over.
    pub fn number(self) -> i64 {
        let bits = self.0.as_u128();
        let number = (bits >> 80) << 4 | (bits >> 72) & 0xf;
        i64::try_from(number).unwrap_or_default()
    }

    /// The UUID of a Task that is made under this number: of all with the number the one without further bits.
    fn numbered(number: u64) -> Self {
        let number = u128::from(number);
        let version_and_variant = 0x4 << 76 | 0x8 << 60;
        Self(Uuid::from_u128(
            number >> 4 << 80 | (number & 0xf) << 72 | version_and_variant,
        ))
    }

    /// A new one that is known by its number alone.
    pub fn new_numbered() -> Self {
        Self::numbered(Self::new().number().unsigned_abs())
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// What a client may call a Task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Id {
    /// By its UUID.
    Job(JobId),
    /// By its number.
    Number(u64),
}

impl Id {
    /// The id that was sent; `None` for what no Task has.
    pub fn parse(sent: &TaskId) -> Option<Self> {
        match sent {
            TaskId::Job(text) => JobId::parse(text).map(Self::Job),
            TaskId::Number(number) => {
                let number = u64::try_from(*number).ok()?;
                (number < NUMBERS).then_some(Self::Number(number))
            }
        }
    }

    /// True for the id of this Task.
    pub fn is_of(self, meta: &ObjectMeta) -> bool {
        match (self, JobId::of(meta)) {
            (Self::Job(id), Some(own)) => id == own,
            (Self::Number(number), Some(own)) => own.number().unsigned_abs() == number,
            (_, None) => false,
        }
    }

    /// The name of the Task, should this door have made it under this id.
    pub fn name(self) -> String {
        match self {
            Self::Job(id) => id.to_string(),
            Self::Number(number) => JobId::numbered(number).to_string(),
        }
    }

    /// How names and uids begin of Tasks that have this id.
    pub fn prefix(self) -> String {
        let mut text = self.name();
        if let Self::Number(_) = self {
            // Up to the version, which is not part of the number.
            text.truncate("00000000-0000-".len());
        }
        text
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Job(text) => text.fmt(f),
            Self::Number(number) => number.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const UUID: &str = "b06f51d2-88af-487c-bb4c-4cc156cf24fd";
    const UID: &str = "0f1e2d3c-4b5a-4978-8069-1a2b3c4d5e6f";

    fn meta(name: &str, uid: &str) -> ObjectMeta {
        serde_json::from_value(json!({"name": name, "uid": uid})).unwrap()
    }

    #[test]
    fn a_task_is_called_by_its_name_if_that_is_a_uuid_else_by_its_uid() {
        let id = |meta: &ObjectMeta| JobId::of(meta).map(|id| id.to_string());
        assert_eq!(id(&meta(UUID, UID)).as_deref(), Some(UUID));
        assert_eq!(id(&meta("hello", UID)).as_deref(), Some(UID));
        assert_eq!(id(&meta("hello", "no-uuid")), None);
    }

    #[test]
    fn the_number_leaves_out_the_version() {
        let id = JobId::parse(UUID).unwrap();
        assert_eq!(id.number(), 0xb_06f5_1d28_8af8);
        let made = Id::Number(0xb_06f5_1d28_8af8);
        assert_eq!(made.name(), "b06f51d2-88af-4800-8000-000000000000");
        assert_eq!(made.prefix(), "b06f51d2-88af-");
        assert!(made.is_of(&meta(UUID, UID)) && made.is_of(&meta(&made.name(), UID)));
        assert!(!made.is_of(&meta("hello", UID)));
    }

    #[test]
    fn other_texts_and_numbers_are_no_ids() {
        let upper = UUID.to_uppercase();
        let simple = UUID.replace('-', "");
        for text in [
            "",
            "nope",
            &upper,
            &simple,
            "{b06f51d2-88af-487c-bb4c-4cc156cf24fd}",
        ] {
            assert_eq!(Id::parse(&TaskId::Job(text.into())), None, "{text}");
        }
        for number in [-1, i64::MIN, i64::MAX, 1 << 52] {
            assert_eq!(Id::parse(&TaskId::Number(number)), None, "{number}");
        }
    }

    proptest! {
        #[test]
        fn a_number_leads_back_to_its_task(bits in any::<u128>(), number in 0..NUMBERS) {
            let id = JobId(Uuid::from_u128(bits));
            let own = id.number();
            prop_assert!((0..1i64 << 52).contains(&own));
            let known = Id::parse(&TaskId::Number(own)).unwrap();
            prop_assert!(known.is_of(&meta(&id.to_string(), UID)));
            prop_assert!(id.to_string().starts_with(&known.prefix()));
            prop_assert_eq!(JobId::numbered(number).number(), i64::try_from(number).unwrap());
            prop_assert_eq!(JobId::numbered(number).0.get_version_num(), 4);
        }

        #[test]
        fn whatever_is_asked_for_gets_an_answer(text in "\\PC{0,40}", number in any::<i64>()) {
            for id in [TaskId::Job(text), TaskId::Number(number)] {
                if let Some(id) = Id::parse(&id) {
                    id.prefix();
                }
            }
        }
    }
}
