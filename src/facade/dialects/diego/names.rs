//! What of a task of this API stands where in the object: its name, and annotations. Pure.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kube::ResourceExt as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::crd::Task;

/// Label of Tasks that were desired here.
pub const LABEL: &str = "errand.dev/diego";
/// Its value.
pub const LABEL_VALUE: &str = "task";
/// Annotation: the guid. Names of objects hold neither capitals nor underscores, nor so many characters.
pub const GUID: &str = "errand.dev/diego-guid";
/// Annotation: the bytes of the TaskDefinition as base64.
pub const DEFINITION: &str = "errand.dev/diego-definition";
/// Annotation: the password that was cut out of the definition, sealed.
pub const SEALED: &str = "errand.dev/diego-sealed";
/// Annotation: [`Marks`] as JSON.
pub const MARKS: &str = "errand.dev/diego-state";
/// Annotation: fields of the definition that have no effect, parted by commas.
pub const NOT_KEPT: &str = "errand.dev/diego-not-kept";

/// Most bytes of a definition. All annotations of an object may have 256 KiB together (apimachinery,
/// `TotalAnnotationSizeLimitB`); 16 KiB of them are left to the others, and base64 makes four bytes of three.
pub const MAX_DEFINITION: usize = (256 - 16) * 1024 / 4 * 3;
/// Hexadecimal digits of a digest in a name: 160 bits, so that nobody finds two guids with one name.
const DIGITS: usize = 40;

/// The name of the Task with this guid.
pub fn object_name(guid: &str) -> String {
    let digest = Sha256::digest(guid);
    let digits = digest.iter().take(DIGITS / 2).map(|byte| format!("{byte:02x}"));
    format!("diego-{}", digits.collect::<String>())
}

/// The guid of a task that was desired here; `None` for what was not, or has been tampered with.
pub fn guid(task: &Task) -> Option<&str> {
    let guid = task.annotations().get(GUID)?;
    (task.metadata.name.as_deref() == Some(&object_name(guid))).then_some(guid)
}

/// The bytes of a task's TaskDefinition, where it has them; without what is sealed.
pub fn definition(task: &Task) -> Option<Vec<u8>> {
    guid(task)?;
    STANDARD.decode(task.annotations().get(DEFINITION)?).ok()
}

/// What of the definition is sealed.
pub fn sealed(task: &Task) -> Option<&str> {
    guid(task)?;
    task.annotations().get(SEALED).map(String::as_str)
}

/// The annotations of a new task.
pub fn annotations(
    guid: &str,
    definition: &[u8],
    sealed: Option<&str>,
    not_kept: &[&str],
) -> BTreeMap<String, String> {
    let mut annotations = BTreeMap::from([
        (GUID.to_owned(), guid.to_owned()),
        (DEFINITION.to_owned(), STANDARD.encode(definition)),
    ]);
    if let Some(sealed) = sealed {
        annotations.insert(SEALED.to_owned(), sealed.to_owned());
    }
    if !not_kept.is_empty() {
        annotations.insert(NOT_KEPT.to_owned(), not_kept.join(","));
    }
    annotations
}

/// What only this API knows of a task. Times are Unix nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Marks {
    /// The cell that said it starts the task, where cells come from outside. It stays when the task is rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cell: Option<String>,
    /// The task runs on that cell.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub running: bool,
    /// How often cells have rejected the task.
    #[serde(skip_serializing_if = "is_zero")]
    pub rejections: i32,
    /// Why the last one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejection_reason: Option<String>,
    /// When it was cancelled through this API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancelled_at: Option<i64>,
    /// When somebody began to resolve it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolving_at: Option<i64>,
    /// When any of this last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<i64>,
}

// serde hands over a reference.
fn is_zero(number: &i32) -> bool {
    *number == 0
}

/// What is marked on a Task; nothing where somebody else has written there.
pub fn marks(task: &Task) -> Marks {
    let text = task.annotations().get(MARKS);
    text.and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

impl Marks {
    /// As the annotation has it.
    pub fn to_text(&self) -> String {
        // Strings and numbers: serialization cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// A reason as the real server stores it: the columns of its tables hold 1024 bytes.
pub fn stored(reason: &str) -> String {
    const MOST: usize = 1024;
    const CUT: &str = "(truncated)";
    match reason.len() < MOST {
        true => reason.to_owned(),
        // In the middle of a character the real server leaves half of it; here it goes.
        false => format!("{}{CUT}", crate::crd::change::cut(reason, MOST - CUT.len())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn task(guid: &str, definition: &[u8], marks: &Marks) -> Task {
        let mut annotations = annotations(guid, definition, None, &["max_pids"]);
        annotations.insert(MARKS.into(), marks.to_text());
        let meta = json!({"name": object_name(guid), "annotations": annotations});
        serde_json::from_value(json!({"metadata": meta, "spec": {}})).unwrap()
    }

    #[test]
    fn a_name_is_made_of_the_digest_of_the_guid() {
        assert_eq!(
            object_name("g"),
            "diego-cd0aa9856147b6c5b4ff2b7dfee5da20aa38253099ef1b4a64aced233c9afe29"[..46]
        );
    }

    #[test]
    fn an_object_under_another_name_is_not_that_task() {
        let mut task = task("g", b"x", &Marks::default());
        assert_eq!((guid(&task), definition(&task)), (Some("g"), Some(b"x".to_vec())));
        task.metadata.name = Some("other".into());
        assert_eq!((guid(&task), definition(&task)), (None, None));
    }

    #[test]
    fn marks_that_somebody_else_wrote_are_none() {
        let mut task = task("g", b"", &Marks::default());
        let annotations = task.metadata.annotations.as_mut().unwrap();
        annotations.insert(MARKS.into(), "[1".into());
        assert_eq!(marks(&task), Marks::default());
    }

    #[test]
    fn the_longest_definition_leaves_room_for_the_other_annotations() {
        let all = annotations(&"g".repeat(255), &vec![0; MAX_DEFINITION], None, &["max_pids"]);
        let bytes: usize = all.iter().map(|(key, value)| key.len() + value.len()).sum();
        assert!(bytes + 8 * 1024 < 256 * 1024, "{bytes}");
        let worst = Marks {
            cell: Some("\u{1}".repeat(255)),
            rejection_reason: Some("\u{1}".repeat(1024)),
            running: true,
            rejections: i32::MAX,
            cancelled_at: Some(i64::MAX),
            resolving_at: Some(i64::MAX),
            updated_at: Some(i64::MAX),
        };
        assert!(worst.to_text().len() < 8 * 1024);
    }

    #[test]
    fn a_reason_of_1024_bytes_is_cut() {
        assert_eq!(stored(&"x".repeat(1023)), "x".repeat(1023));
        for length in [1024, 5000] {
            assert_eq!(
                stored(&"x".repeat(length)),
                format!("{}(truncated)", "x".repeat(1013))
            );
        }
        assert!(stored(&"é".repeat(600)).ends_with("é(truncated)"));
    }

    proptest! {
        #[test]
        fn any_definition_comes_back_byte_for_byte(
            id in "[a-zA-Z0-9_-]{1,255}",
            bytes in prop::collection::vec(any::<u8>(), 0..600),
            reason in prop::option::of(".{0,40}"),
            rejections in 0..5i32,
        ) {
            let marks = Marks { rejection_reason: reason, rejections, cell: Some("c".into()), ..Marks::default() };
            let task = task(&id, &bytes, &marks);
            // Through the API server it goes as JSON.
            let task: Task = serde_json::from_value(serde_json::to_value(task).unwrap()).unwrap();
            prop_assert_eq!((guid(&task), definition(&task)), (Some(id.as_str()), Some(bytes)));
            prop_assert_eq!(super::marks(&task), marks);
        }
    }
}
