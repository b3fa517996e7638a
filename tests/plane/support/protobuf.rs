//! Protobuf written out and read by hand (<https://protobuf.dev/programming-guides/encoding/>), so that tests do not lean on
//! what they test.

/// A number; 0 is not written.
pub fn number(field: u8, value: u64) -> Vec<u8> {
    match value {
        0 => Vec::new(),
        _ => [varint(u64::from(field) << 3), varint(value)].concat(),
    }
}

/// A string; an empty one is not written.
pub fn text(field: u8, value: &str) -> Vec<u8> {
    match value {
        "" => Vec::new(),
        _ => message(field, value.as_bytes()),
    }
}

/// A message, also an empty one.
pub fn message(field: u8, content: &[u8]) -> Vec<u8> {
    let tag = varint(u64::from(field) << 3 | 2);
    [&tag, &*varint(content.len() as u64), content].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A message that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(Vec<(u64, Value)>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Number(u64),
    Bytes(Vec<u8>),
}

impl Fields {
    pub fn parse(mut bytes: &[u8]) -> Self {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let tag = take_varint(&mut bytes);
            let value = match tag & 7 {
                0 => Value::Number(take_varint(&mut bytes)),
                2 => {
                    let length = usize::try_from(take_varint(&mut bytes)).unwrap();
                    let (content, rest) = bytes.split_at(length);
                    bytes = rest;
                    Value::Bytes(content.to_vec())
                }
                other => panic!("wire type {other}"),
            };
            fields.push((tag >> 3, value));
        }
        Self(fields)
    }

    /// A number; 0 where it is left out.
    pub fn number(&self, field: u64) -> u64 {
        let found = self.0.iter().find(|(number, _)| *number == field);
        match found {
            None => 0,
            Some((_, Value::Number(value))) => *value,
            Some((_, other)) => panic!("{other:?}"),
        }
    }

    /// The content of every string or message with this number.
    pub fn all(&self, field: u64) -> Vec<Vec<u8>> {
        let found = self.0.iter().filter(|(number, _)| *number == field);
        found
            .map(|(_, value)| match value {
                Value::Bytes(content) => content.clone(),
                Value::Number(number) => panic!("{number}"),
            })
            .collect()
    }

    pub fn text(&self, field: u64) -> String {
        let found = self.all(field).pop().unwrap_or_default();
        String::from_utf8(found).unwrap()
    }

    pub fn message(&self, field: u64) -> Option<Self> {
        self.all(field).pop().map(|content| Self::parse(&content))
    }
}

fn take_varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for place in 0.. {
        let (first, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(first & 0x7f) << (7 * place);
        if first & 0x80 == 0 {
            break;
        }
    }
    value
}
