//! The few well-known messages that this API carries, as bytes (<https://protobuf.dev/programming-guides/encoding/>).
//! Pure.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Wire types.
const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const LENGTH: u8 = 2;

/// A message under construction.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    /// Fields here have numbers below 16, so a tag is one byte.
    fn tag(&mut self, field: u8, wire: u8) {
        self.0.push(field << 3 | wire);
    }

    fn varint(&mut self, mut number: usize) {
        while number > 0x7f {
            self.0.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.0.push(number.to_le_bytes()[0]);
    }

    /// A string, bytes or message that is there even when it is empty.
    fn present(&mut self, field: u8, content: &[u8]) {
        self.tag(field, LENGTH);
        self.varint(content.len());
        self.0.extend_from_slice(content);
    }

    /// A string of proto3: an empty one is not written.
    fn text(&mut self, field: u8, text: &str) {
        if !text.is_empty() {
            self.present(field, text.as_bytes());
        }
    }

    /// One entry of a map whose keys are strings.
    fn entry(&mut self, field: u8, key: &str, value: &[u8]) {
        let mut entry = Self::default();
        entry.present(1, key.as_bytes());
        entry.present(2, value);
        self.present(field, &entry.0);
    }
}

/// google.protobuf.StringValue.
pub fn string_value(text: &str) -> Vec<u8> {
    let mut message = Writer::default();
    message.text(1, text);
    message.0
}

/// google.protobuf.Struct.
pub fn structure(fields: &Map<String, Value>) -> Vec<u8> {
    let mut message = Writer::default();
    for (key, field) in fields {
        message.entry(1, key, &value(field));
    }
    message.0
}

/// google.protobuf.Value. Its numbers are doubles.
fn value(value: &Value) -> Vec<u8> {
    let mut message = Writer::default();
    match value {
        Value::Null => {
            message.tag(1, VARINT);
            message.varint(0);
        }
        Value::Number(number) => {
            message.tag(2, FIXED64);
            let double = number.as_f64().unwrap_or_default();
            message.0.extend_from_slice(&double.to_le_bytes());
        }
        Value::String(text) => message.present(3, text.as_bytes()),
        Value::Bool(truth) => {
            message.tag(4, VARINT);
            message.varint(usize::from(*truth));
        }
        Value::Object(fields) => message.present(5, &structure(fields)),
        Value::Array(items) => {
            let mut list = Writer::default();
            for item in items {
                list.present(1, &self::value(item));
            }
            message.present(6, &list.0);
        }
    }
    message.0
}

/// google.rpc.ErrorInfo.
pub fn error_info(reason: &str, domain: &str, metadata: &BTreeMap<String, String>) -> Vec<u8> {
    let mut message = Writer::default();
    message.text(1, reason);
    message.text(2, domain);
    for (key, value) in metadata {
        message.entry(3, key, value.as_bytes());
    }
    message.0
}
