//! Ids of tasks and of service instances. Pure.

use kube::ResourceExt as _;
use uuid::Uuid;

use crate::{
    crd::Task,
    facade::{objects::is_name, refusal::Refusal, uuids},
};

/// Longest id of a service instance: longest name of a namespace, and longest value of a label.
const MAX_INSTANCE: usize = 63;

/// The id of a Task.
pub fn of(task: &Task) -> String {
    uuids::of(&task.metadata).map_or_else(|| task.name_any(), |id| id.to_string())
}

/// What a task is asked for by: an id, or the name of a Task.
pub fn task(text: &str) -> Result<String, Refusal> {
    // Digits of a UUID mean the same in either case when they are read (RFC 9562, section 4).
    let text = if is_uuid(text) {
        text.to_ascii_lowercase()
    } else {
        text.to_owned()
    };
    if is_name(&text) {
        Ok(text)
    } else {
        Err(Refusal::Invalid(
            "the task id is neither a UUID nor the name of a task".into(),
        ))
    }
}

/// A service instance is asked for by the value of a label or the name of a namespace.
pub fn instance(text: &str) -> Result<(), Refusal> {
    let ends = [text.bytes().next(), text.bytes().next_back()];
    let legal = text.len() <= MAX_INSTANCE
        && ends
            .iter()
            .all(|end| end.is_some_and(|end| end.is_ascii_alphanumeric()))
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if legal {
        Ok(())
    } else {
        Err(Refusal::Invalid(
            "the service instance id must be 1 to 63 letters, digits, dashes, dots and underscores, a letter or digit at both ends".into(),
        ))
    }
}

/// True for the form with dashes; others are read by libraries, and never written.
fn is_uuid(text: &str) -> bool {
    text.len() == 36 && Uuid::try_parse(text).is_ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const UID: &str = "0f1e2d3c-4b5a-4978-8069-1a2b3c4d5e6f";

    #[test]
    fn the_id_of_a_task_is_its_name_where_that_is_a_uuid_else_its_uid() {
        let id = |name: &str, uid: Option<&str>| {
            let task = json!({"metadata": {"name": name, "uid": uid}, "spec": {}});
            of(&serde_json::from_value(task).unwrap())
        };
        let uuid = "7d1f6a52-0000-4000-8000-0123456789ab";
        assert_eq!(id(uuid, Some(UID)), uuid);
        for name in [
            "hello",
            "6405942c9956fae80d7e0e91",
            "7d1f6a520000400080000123456789ab",
        ] {
            assert_eq!(id(name, Some(UID)), UID);
        }
        assert_eq!(id("hello", None), "hello");
    }

    #[test]
    fn a_task_is_asked_for_by_uuid_or_name() {
        for (text, wanted) in [
            (UID, Some(UID)),
            ("0F1E2D3C-4B5A-4978-8069-1A2B3C4D5E6F", Some(UID)),
            ("hello", Some("hello")),
            ("a.b-c", Some("a.b-c")),
            ("Hello", None),
            ("", None),
            ("a/b", None),
            ("a b", None),
            ("../x", None),
            ("é", None),
        ] {
            assert_eq!(task(text).ok().as_deref(), wanted, "{text}");
        }
        assert!(task(&"x".repeat(254)).is_err());
    }

    #[test]
    fn a_service_instance_is_the_value_of_a_label_or_the_name_of_a_namespace() {
        for legal in [UID, "default", "vDC_1.a", "x"] {
            assert_eq!(instance(legal), Ok(()), "{legal}");
        }
        for malformed in ["", "-a", "a-", "a b", "a,b", "a)", "é", &"x".repeat(64)] {
            assert!(instance(malformed).is_err(), "{malformed}");
        }
    }
}
