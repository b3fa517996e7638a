//! Protobuf messages as their fields, byte for byte (<https://protobuf.dev/programming-guides/encoding/>). Pure.
//!
//! What is not known of a message is kept as it came, and what is rebuilt keeps its order. Messages within are not looked
//! into, so nothing here recurses, and a field is never longer than what holds it.

use super::messages::DesireTaskRequest;

/// Not a protobuf message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a protobuf message")]
pub struct Malformed;

/// Wire type of strings, bytes and messages.
const LENGTH: u64 = 2;
/// Wire types of what is around a group.
const GROUP: u64 = 3;
const GROUP_END: u64 = 4;
/// Highest number of a field.
const MAX_NUMBER: u64 = (1 << 29) - 1;

/// One field as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its number.
    pub number: u32,
    /// Tag, length and content.
    pub raw: &'a [u8],
    /// The content of strings, bytes and messages; `None` for numbers and groups.
    pub content: Option<&'a [u8]>,
}

/// The fields of a message, in order.
pub struct Fields<'a> {
    rest: &'a [u8],
}

/// Splits a message. After an error there is nothing more.
pub fn split(message: &[u8]) -> Fields<'_> {
    Fields { rest: message }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let whole = std::mem::take(&mut self.rest);
        match take(whole) {
            Some((field, rest)) => {
                self.rest = rest;
                Some(Ok(field))
            }
            None => Some(Err(Malformed)),
        }
    }
}

/// The first field and what follows it.
fn take(whole: &[u8]) -> Option<(Field<'_>, &[u8])> {
    let (number, kind, rest) = tag(whole)?;
    let (content, rest) = match kind {
        GROUP => (None, past_group(number, rest)?),
        _ => past(kind, rest)?,
    };
    let raw = whole.get(..whole.len() - rest.len())?;
    Some((Field { number, raw, content }, rest))
}

/// The number and wire type of a field, and what follows them.
fn tag(bytes: &[u8]) -> Option<(u32, u64, &[u8])> {
    let (tag, rest) = varint(bytes)?;
    let number = tag >> 3;
    if number == 0 || number > MAX_NUMBER {
        return None;
    }
    Some((u32::try_from(number).ok()?, tag & 7, rest))
}

/// The content of a field that is no group, where it is one of bytes, and what follows it.
fn past(kind: u64, bytes: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    Some(match kind {
        0 => (None, varint(bytes)?.1),
        1 => (None, bytes.get(8..)?),
        LENGTH => {
            let (length, rest) = varint(bytes)?;
            let length = usize::try_from(length).ok()?;
            (Some(rest.get(..length)?), rest.get(length..)?)
        }
        5 => (None, bytes.get(4..)?),
        _ => return None,
    })
}

/// What follows the end of a group with this number. No message of this API has groups, so they are only passed over.
fn past_group(number: u32, mut rest: &[u8]) -> Option<&[u8]> {
    let mut open = vec![number];
    while let Some(innermost) = open.last().copied() {
        let (number, kind, content) = tag(rest)?;
        rest = match kind {
            GROUP => {
                open.push(number);
                content
            }
            GROUP_END if number == innermost => {
                open.pop();
                content
            }
            kind => past(kind, content)?.1,
        };
    }
    Some(rest)
}

/// A number of at most ten bytes and 64 bits.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0u64;
    for (place, byte) in bytes.iter().enumerate().take(10) {
        let bits = u64::from(byte & 0x7f);
        if place == 9 && bits > 1 {
            return None;
        }
        number |= bits << (7 * place);
        if byte & 0x80 == 0 {
            return Some((number, bytes.get(place + 1..)?));
        }
    }
    None
}

/// Appends a string, bytes or message.
pub fn put(message: &mut Vec<u8>, number: u32, content: &[u8]) {
    prost::encoding::encode_key(number, prost::encoding::WireType::LengthDelimited, message);
    prost::encoding::encode_varint(content.len() as u64, message);
    message.extend_from_slice(content);
}

impl DesireTaskRequest {
    /// Reads the request. A message that comes in several parts is their concatenation: reading that is what merging them
    /// means.
    ///
    /// # Errors
    /// It is no such message.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut request = Self::default();
        for field in split(bytes) {
            let field = field?;
            let text = || text(field.content);
            match field.number {
                1 => {
                    let part = field.content.ok_or(Malformed)?;
                    request
                        .task_definition
                        .get_or_insert_default()
                        .extend_from_slice(part);
                }
                2 => request.task_guid = text()?,
                3 => request.domain = text()?,
                _ => {}
            }
        }
        Ok(request)
    }
}

fn text(content: Option<&[u8]>) -> Result<String, Malformed> {
    let text = std::str::from_utf8(content.ok_or(Malformed)?);
    text.map(str::to_owned).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn joined(message: &[u8]) -> Result<Vec<u8>, Malformed> {
        split(message).try_fold(Vec::new(), |mut all, field| {
            all.extend_from_slice(field?.raw);
            Ok(all)
        })
    }

    #[test]
    fn all_kinds_of_fields_are_told_apart() {
        let message = [
            0x08, 0x96, 0x01, // 1: varint 150
            0x11, 1, 2, 3, 4, 5, 6, 7, 8, // 2: fixed64
            0x1a, 0x02, b'h', b'i', // 3: bytes
            0x25, 1, 2, 3, 4, // 4: fixed32
            0x33, 0x08, 0x01, 0x3b, 0x2a, 0x00, 0x3c,
            0x34, // 6: a group with a number, and in group 7 no bytes
            0xfa, 0xff, 0xff, 0xff, 0x0f, 0x00, // the highest number: empty bytes
        ];
        let fields: Vec<_> = split(&message)
            .map(|field| field.map(|field| (field.number, field.content)))
            .collect();
        let wanted = [
            Ok((1, None)),
            Ok((2, None)),
            Ok((3, Some(b"hi".as_slice()))),
            Ok((4, None)),
            Ok((6, None)),
            Ok((MAX_NUMBER as u32, Some([].as_slice()))),
        ];
        assert_eq!(fields, wanted);
        assert_eq!(joined(&message), Ok(message.to_vec()));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for bytes in [
            b"{{".as_slice(),
            &[0x08],                                                             // no number
            &[0x0a, 0x05, 1],                                                    // shorter than it says
            &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], // longer than memory
            &[0x00, 0x01],                                                       // field 0
            &[0x0b, 0x08, 0x01],                                                 // a group without end
            &[0x0b, 0x13, 0x0c, 0x14],                                           // groups that end crosswise
            &[0x0c],                                                             // the end of no group
            &[0x0e, 0x00],                                                       // wire type 6
            &[0x80; 11],                                                         // a number without end
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], // 65 bits
        ] {
            assert_eq!(joined(bytes), Err(Malformed), "{bytes:x?}");
        }
    }

    #[test]
    fn a_definition_in_parts_is_their_concatenation() {
        let mut bytes = Vec::new();
        put(&mut bytes, 1, b"\x0a\x01a");
        put(&mut bytes, 2, b"g");
        put(&mut bytes, 1, b"\x28\x01");
        put(&mut bytes, 9, b"unknown");
        put(&mut bytes, 3, b"d");
        let wanted = DesireTaskRequest {
            task_definition: Some(b"\x0a\x01a\x28\x01".to_vec()),
            task_guid: "g".into(),
            domain: "d".into(),
        };
        assert_eq!(DesireTaskRequest::parse(&bytes), Ok(wanted));
        assert_eq!(
            DesireTaskRequest::parse(&[0x0a, 0]).unwrap().task_definition,
            Some(Vec::new())
        );
        assert_eq!(DesireTaskRequest::parse(&[]), Ok(DesireTaskRequest::default()));
        assert_eq!(DesireTaskRequest::parse(&[0x10, 0x01]), Err(Malformed));
        assert_eq!(
            DesireTaskRequest::parse(&[0x12, 0x01, 0xff]),
            Err(Malformed),
            "not UTF-8"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_fields_that_make_them_up_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(joined) = joined(&bytes) {
                prop_assert_eq!(joined, bytes.clone());
            }
            let _ = DesireTaskRequest::parse(&bytes);
        }
    }
}
