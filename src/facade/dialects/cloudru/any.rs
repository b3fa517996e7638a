//! google.protobuf.Any in the forms of this API. Pure.
//!
//! The API documents `{"typeUrl", "value"}`, the generic rendering of the message. The JSON mapping of proto3 gives an
//! Any a form of its own, `{"@type", ...}`, which servers that take it literally send
//! (<https://protobuf.dev/programming-guides/json/>).

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::{protobuf, settings::AnyForm, wire::Any};

const STRING_VALUE: &str = "type.googleapis.com/google.protobuf.StringValue";
const EMPTY: &str = "type.googleapis.com/google.protobuf.Empty";
const STRUCT: &str = "type.googleapis.com/google.protobuf.Struct";
const ERROR_INFO: &str = "type.googleapis.com/google.rpc.ErrorInfo";

/// A message that can be put into an Any.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// google.protobuf.Empty.
    Empty,
    /// google.protobuf.StringValue.
    Text(String),
    /// google.protobuf.Struct.
    Struct(Map<String, Value>),
    /// google.rpc.ErrorInfo.
    ErrorInfo {
        /// What happened, in one word.
        reason: String,
        /// Who says so.
        domain: String,
        /// More about it.
        metadata: BTreeMap<String, String>,
    },
}

impl Message {
    /// A detail of an error as a Task keeps it: an object with `@type`. What is no message of those known here goes as
    /// a Struct with all its fields, so that nothing is lost.
    pub fn of_detail(detail: &Value) -> Self {
        let object = detail.as_object();
        let field = |name: &str| object.and_then(|object| object.get(name));
        let known = match field("@type").and_then(Value::as_str) {
            Some(ERROR_INFO) => error_info(detail),
            Some(STRING_VALUE) => field("value")
                .and_then(Value::as_str)
                .map(|text| Self::Text(text.to_owned())),
            Some(STRUCT) => field("value")
                .and_then(Value::as_object)
                .cloned()
                .map(Self::Struct),
            Some(EMPTY) => Some(Self::Empty),
            _ => None,
        };
        known.unwrap_or_else(|| Self::Struct(object.cloned().unwrap_or_default()))
    }

    fn type_url(&self) -> &'static str {
        match self {
            Self::Empty => EMPTY,
            Self::Text(_) => STRING_VALUE,
            Self::Struct(_) => STRUCT,
            Self::ErrorInfo { .. } => ERROR_INFO,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Empty => Vec::new(),
            Self::Text(text) => protobuf::string_value(text),
            Self::Struct(fields) => protobuf::structure(fields),
            Self::ErrorInfo {
                reason,
                domain,
                metadata,
            } => protobuf::error_info(reason, domain, metadata),
        }
    }

    /// In proto3's form: messages with a JSON form of their own stand in `value`, others show their fields.
    fn json(self) -> (Option<Value>, Map<String, Value>) {
        match self {
            Self::Empty => (Some(json!({})), Map::new()),
            Self::Text(text) => (Some(text.into()), Map::new()),
            Self::Struct(fields) => (Some(fields.into()), Map::new()),
            Self::ErrorInfo {
                reason,
                domain,
                metadata,
            } => {
                let fields = [
                    ("reason", reason.into()),
                    ("domain", domain.into()),
                    ("metadata", json!(metadata)),
                ];
                let fields = fields.map(|(name, value)| (name.to_owned(), value));
                (None, fields.into_iter().collect())
            }
        }
    }

    /// As it is written.
    pub fn into_any(self, form: AnyForm) -> Any {
        let url = self.type_url();
        let encoded = Value::from(STANDARD.encode(self.bytes()));
        let (value, fields) = self.json();
        match form {
            AnyForm::Documented => Any {
                type_url: Some(url),
                proto3_type: None,
                value: Some(encoded),
                fields: Map::new(),
            },
            AnyForm::Proto3 => Any {
                type_url: None,
                proto3_type: Some(url),
                value,
                fields,
            },
            // Both forms have a `value`; the documented one is what such clients are generated from.
            AnyForm::Both => Any {
                type_url: Some(url),
                proto3_type: Some(url),
                value: Some(encoded),
                fields,
            },
        }
    }
}

/// The ErrorInfo that a detail is, where its fields are what they must be and there are no others.
fn error_info(detail: &Value) -> Option<Message> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Detail {
        #[serde(rename = "@type")]
        _type: String,
        #[serde(default)]
        reason: String,
        #[serde(default)]
        domain: String,
        #[serde(default)]
        metadata: BTreeMap<String, String>,
    }
    let Detail {
        reason,
        domain,
        metadata,
        ..
    } = serde::Deserialize::deserialize(detail).ok()?;
    Some(Message::ErrorInfo {
        reason,
        domain,
        metadata,
    })
}

#[cfg(test)]
#[path = "any_tests.rs"]
mod tests;
