//! The password of a registry: cut out of the definition that stands in the Task, and put back for who may read it. Pure.
//!
//! A definition must come back byte for byte, so what is cut out are fields as they came, with their places.

use prost::Message;

use super::{
    fields::{Malformed, split},
    keys::{Keys, NotSealed},
    names,
};
use crate::crd::Task;

/// Number of `image_password` in a TaskDefinition.
const PASSWORD: u32 = 24;

/// Fields that were cut out, in their order.
#[derive(Clone, PartialEq, Message)]
struct Cut {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<Piece>,
}

/// One of them.
#[derive(Clone, PartialEq, Message)]
struct Piece {
    /// Where it belongs in what is left.
    #[prost(uint64, tag = "1")]
    at: u64,
    /// Tag, length and content.
    #[prost(bytes = "vec", tag = "2")]
    raw: Vec<u8>,
}

/// A definition in two parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parted {
    /// What anybody may read.
    pub rest: Vec<u8>,
    /// What was cut out.
    cut: Vec<u8>,
}

/// Cuts the password out; `None` where there is none.
///
/// # Errors
/// It is no definition.
pub fn part(definition: &[u8]) -> Result<Option<Parted>, Malformed> {
    let mut rest = Vec::with_capacity(definition.len());
    let mut cut = Cut::default();
    for field in split(definition) {
        let field = field?;
        // One that is empty says nothing, and stays.
        if field.number == PASSWORD && field.content.is_some_and(|content| !content.is_empty()) {
            cut.pieces.push(Piece {
                at: rest.len() as u64,
                raw: field.raw.to_vec(),
            });
        } else {
            rest.extend_from_slice(field.raw);
        }
    }
    let cut = (!cut.pieces.is_empty()).then(|| cut.encode_to_vec());
    Ok(cut.map(|cut| Parted { rest, cut }))
}

impl Parted {
    /// The cut-out part, sealed for a Task of this name.
    ///
    /// # Errors
    /// The machine gives no random numbers.
    pub fn seal(&self, keys: &Keys, namespace: &str, name: &str) -> Result<String, NotSealed> {
        keys.seal(&place(namespace, name), &self.cut)
    }
}

/// Only the Task that it was sealed for can be read with it.
fn place(namespace: &str, name: &str) -> String {
    format!("image_password of {namespace}/{name}")
}

/// The whole definition of a Task that has a part of it sealed; `None` where it has none, or it cannot be opened.
pub fn whole(task: &Task, keys: &Keys) -> Option<Vec<u8>> {
    let sealed = names::sealed(task)?;
    let rest = names::definition(task)?;
    let meta = &task.metadata;
    let place = place(meta.namespace.as_deref()?, meta.name.as_deref()?);
    let cut = Cut::decode(&keys.open(&place, sealed)?[..]).ok()?;
    joined(&rest, &cut)
}

fn joined(rest: &[u8], cut: &Cut) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    let mut from = 0;
    for piece in &cut.pieces {
        let at = usize::try_from(piece.at).ok()?;
        whole.extend_from_slice(rest.get(from..at)?);
        whole.extend_from_slice(&piece.raw);
        from = at;
    }
    whole.extend_from_slice(rest.get(from..)?);
    Some(whole)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::facade::dialects::diego::{fields::put, messages::TaskDefinition};

    fn keys() -> Keys {
        Keys::parse(&"k".repeat(32)).unwrap()
    }

    /// The Task that holds a definition in two parts.
    fn task(parted: &Parted) -> Task {
        let name = names::object_name("g");
        let sealed = parted.seal(&keys(), "jobs", &name).unwrap();
        let annotations = names::annotations("g", &parted.rest, Some(&sealed), &[]);
        let meta = json!({"name": name, "namespace": "jobs", "annotations": annotations});
        serde_json::from_value(json!({"metadata": meta, "spec": {}})).unwrap()
    }

    #[test]
    fn a_password_is_cut_out_wherever_it_stands_and_put_back_there() {
        let mut bytes = Vec::new();
        put(&mut bytes, PASSWORD, b"first");
        put(&mut bytes, 1, b"docker:///busybox");
        put(&mut bytes, PASSWORD, b"");
        put(&mut bytes, PASSWORD, b"hush");
        put(&mut bytes, 99, b"unknown");
        put(&mut bytes, PASSWORD, b"last");
        let parted = part(&bytes).unwrap().unwrap();
        let rest = TaskDefinition::decode(&parted.rest[..]).unwrap();
        assert_eq!(
            (rest.root_fs.as_str(), rest.image_password.as_str()),
            ("docker:///busybox", "")
        );
        let task = task(&parted);
        let shown = serde_json::to_string(&task).unwrap();
        assert!(!shown.contains("hush"));
        assert_eq!(names::definition(&task), Some(parted.rest));
        assert_eq!(whole(&task, &keys()), Some(bytes));
    }

    #[test]
    fn a_definition_without_a_password_stays_in_one_part() {
        for definition in [
            TaskDefinition::default(),
            TaskDefinition {
                image_username: "u".into(),
                ..TaskDefinition::default()
            },
        ] {
            assert_eq!(part(&definition.encode_to_vec()), Ok(None));
        }
        assert_eq!(part(b"{{"), Err(Malformed));
    }

    #[test]
    fn a_part_that_was_moved_to_another_task_or_another_key_stays_shut() {
        let definition = TaskDefinition {
            image_password: "hush".into(),
            ..TaskDefinition::default()
        };
        let mut task = task(&part(&definition.encode_to_vec()).unwrap().unwrap());
        assert_eq!(whole(&task, &Keys::parse(&"x".repeat(32)).unwrap()), None);
        task.metadata.namespace = Some("other".into());
        assert_eq!(whole(&task, &keys()), None);
        assert!(names::definition(&task).is_some(), "the rest can be read");
    }

    #[test]
    fn pieces_that_belong_nowhere_are_not_put_back() {
        let piece = |at| Piece {
            at,
            raw: b"x".to_vec(),
        };
        let of = |pieces| joined(b"abc", &Cut { pieces });
        assert_eq!(of(vec![piece(1), piece(1), piece(3)]), Some(b"axxbcx".to_vec()));
        assert_eq!(of(vec![piece(4)]), None);
        assert_eq!(of(vec![piece(2), piece(1)]), None);
    }

    proptest! {
        #[test]
        fn any_definition_comes_back_byte_for_byte(fields in prop::collection::vec((prop_oneof![Just(PASSWORD), 1..40_u32], prop::collection::vec(any::<u8>(), 0..20)), 0..12)) {
            let mut bytes = Vec::new();
            for (number, content) in &fields {
                put(&mut bytes, *number, content);
            }
            if let Some(parted) = part(&bytes).unwrap() {
                prop_assert_eq!(whole(&task(&parted), &keys()), Some(bytes));
            }
        }
    }
}
