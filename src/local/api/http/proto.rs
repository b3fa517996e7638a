//! Protobuf request bodies, for the few kinds that kubectl sends from typed clients: `kubectl create namespace`,
//! `create configmap`, `auth can-i`, `create token` and their like. Answers are always JSON. Pure.
//!
//! Envelope: the bytes `k8s\0` and a `runtime.Unknown` (`k8s.io/apimachinery/pkg/runtime/serializer/protobuf`). Field
//! numbers are those of the `generated.proto` files of `k8s.io/api` and `k8s.io/apimachinery`.
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

use crate::local::api::meta;

/// Number, name and type of a field. A type is `text`, `bytes`, `int`, `bool`, `time` or the name of a message, with
/// `[]` before it for a list and `map ` for a map from texts.
type Field = (u64, &'static str, &'static str);

/// The messages that are understood.
const MESSAGES: &[(&str, &[Field])] = &[
    ("Unknown", &[(1, "type", "TypeMeta"), (2, "raw", "bytes")]),
    ("TypeMeta", &[(1, "apiVersion", "text"), (2, "kind", "text")]),
    ("Time", &[(1, "seconds", "int"), (2, "nanos", "int")]),
    (
        "ObjectMeta",
        &[
            (1, "name", "text"),
            (2, "generateName", "text"),
            (3, "namespace", "text"),
            (5, "uid", "text"),
            (6, "resourceVersion", "text"),
            (7, "generation", "int"),
            (8, "creationTimestamp", "time"),
            (9, "deletionTimestamp", "time"),
            (10, "deletionGracePeriodSeconds", "int"),
            (11, "labels", "map text"),
            (12, "annotations", "map text"),
            (13, "ownerReferences", "[]OwnerReference"),
            (14, "finalizers", "[]text"),
        ],
    ),
    (
        "OwnerReference",
        &[
            (1, "kind", "text"),
            (3, "name", "text"),
            (4, "uid", "text"),
            (5, "apiVersion", "text"),
            (6, "controller", "bool"),
            (7, "blockOwnerDeletion", "bool"),
        ],
    ),
    (
        "Namespace",
        &[(1, "metadata", "ObjectMeta"), (2, "spec", "NamespaceSpec")],
    ),
    ("NamespaceSpec", &[(1, "finalizers", "[]text")]),
    (
        "ConfigMap",
        &[
            (1, "metadata", "ObjectMeta"),
            (2, "data", "map text"),
            (3, "binaryData", "map bytes"),
            (4, "immutable", "bool"),
        ],
    ),
    (
        "Secret",
        &[
            (1, "metadata", "ObjectMeta"),
            (2, "data", "map bytes"),
            (3, "type", "text"),
            (4, "stringData", "map text"),
            (5, "immutable", "bool"),
        ],
    ),
    (
        "ServiceAccount",
        &[
            (1, "metadata", "ObjectMeta"),
            (2, "secrets", "[]ObjectReference"),
            (3, "imagePullSecrets", "[]LocalObjectReference"),
            (4, "automountServiceAccountToken", "bool"),
        ],
    ),
    ("ObjectReference", &[(3, "name", "text")]),
    ("LocalObjectReference", &[(1, "name", "text")]),
    (
        "Role",
        &[(1, "metadata", "ObjectMeta"), (2, "rules", "[]PolicyRule")],
    ),
    (
        "ClusterRole",
        &[
            (1, "metadata", "ObjectMeta"),
            (2, "rules", "[]PolicyRule"),
            (3, "aggregationRule", "AggregationRule"),
        ],
    ),
    (
        "AggregationRule",
        &[(1, "clusterRoleSelectors", "[]LabelSelector")],
    ),
    (
        "LabelSelector",
        &[
            (1, "matchLabels", "map text"),
            (2, "matchExpressions", "[]Requirement"),
        ],
    ),
    (
        "Requirement",
        &[
            (1, "key", "text"),
            (2, "operator", "text"),
            (3, "values", "[]text"),
        ],
    ),
    (
        "PolicyRule",
        &[
            (1, "verbs", "[]text"),
            (2, "apiGroups", "[]text"),
            (3, "resources", "[]text"),
            (4, "resourceNames", "[]text"),
            (5, "nonResourceURLs", "[]text"),
        ],
    ),
    (
        "RoleBinding",
        &[
            (1, "metadata", "ObjectMeta"),
            (2, "subjects", "[]Subject"),
            (3, "roleRef", "RoleRef"),
        ],
    ),
    (
        "ClusterRoleBinding",
        &[
            (1, "metadata", "ObjectMeta"),
            (2, "subjects", "[]Subject"),
            (3, "roleRef", "RoleRef"),
        ],
    ),
    (
        "Subject",
        &[
            (1, "kind", "text"),
            (2, "apiGroup", "text"),
            (3, "name", "text"),
            (4, "namespace", "text"),
        ],
    ),
    (
        "RoleRef",
        &[(1, "apiGroup", "text"), (2, "kind", "text"), (3, "name", "text")],
    ),
    (
        "SelfSubjectAccessReview",
        &[(1, "metadata", "ObjectMeta"), (2, "spec", "AccessReviewSpec")],
    ),
    (
        "AccessReviewSpec",
        &[
            (1, "resourceAttributes", "ResourceAttributes"),
            (2, "nonResourceAttributes", "NonResourceAttributes"),
        ],
    ),
    (
        "ResourceAttributes",
        &[
            (1, "namespace", "text"),
            (2, "verb", "text"),
            (3, "group", "text"),
            (4, "version", "text"),
            (5, "resource", "text"),
            (6, "subresource", "text"),
            (7, "name", "text"),
        ],
    ),
    (
        "NonResourceAttributes",
        &[(1, "path", "text"), (2, "verb", "text")],
    ),
    (
        "SelfSubjectRulesReview",
        &[(1, "metadata", "ObjectMeta"), (2, "spec", "RulesReviewSpec")],
    ),
    ("RulesReviewSpec", &[(1, "namespace", "text")]),
    ("SelfSubjectReview", &[(1, "metadata", "ObjectMeta")]),
    (
        "TokenRequest",
        &[(1, "metadata", "ObjectMeta"), (2, "spec", "TokenRequestSpec")],
    ),
    (
        "TokenRequestSpec",
        &[
            (1, "audiences", "[]text"),
            (3, "boundObjectRef", "BoundObjectReference"),
            (4, "expirationSeconds", "int"),
        ],
    ),
    (
        "BoundObjectReference",
        &[
            (1, "kind", "text"),
            (2, "apiVersion", "text"),
            (3, "name", "text"),
            (4, "uid", "text"),
        ],
    ),
    (
        "Eviction",
        &[
            (1, "metadata", "ObjectMeta"),
            (2, "deleteOptions", "DeleteOptions"),
        ],
    ),
    (
        "DeleteOptions",
        &[
            (1, "gracePeriodSeconds", "int"),
            (2, "preconditions", "Preconditions"),
            (3, "orphanDependents", "bool"),
            (4, "propagationPolicy", "text"),
            (5, "dryRun", "[]text"),
        ],
    ),
    (
        "Preconditions",
        &[(1, "uid", "text"), (2, "resourceVersion", "text")],
    ),
];

fn fields_of(message: &str) -> Option<&'static [Field]> {
    MESSAGES
        .iter()
        .find(|(name, _)| *name == message)
        .map(|(_, fields)| *fields)
}

/// Messages that are whole objects, and so may stand in an envelope.
fn is_object(kind: &str) -> bool {
    kind == "DeleteOptions"
        || fields_of(kind).is_some_and(|fields| fields.contains(&(1, "metadata", "ObjectMeta")))
}

/// Why a body is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtoError {
    /// A kind that only JSON and YAML are understood of.
    #[error("protobuf is not understood for {0}")]
    Kind(String),
    /// No such message.
    #[error("provided data does not appear to be a protobuf message: {0}")]
    Malformed(&'static str),
}

/// An object from its envelope.
///
/// # Errors
/// See [`ProtoError`].
pub fn decode(body: &[u8]) -> Result<Value, ProtoError> {
    let envelope = body
        .strip_prefix(b"k8s\0")
        .ok_or(ProtoError::Malformed("expected prefix k8s"))?;
    let envelope = read_message(envelope, "Unknown")?;
    let kind = meta::text(&envelope, &["type", "kind"]).to_owned();
    let api_version = meta::text(&envelope, &["type", "apiVersion"]).to_owned();
    if !is_object(&kind) {
        return Err(ProtoError::Kind(kind));
    }
    let raw = STANDARD
        .decode(meta::text(&envelope, &["raw"]))
        .map_err(|_| ProtoError::Malformed("raw"))?;
    let mut object = Map::new();
    object.insert("apiVersion".into(), api_version.into());
    object.insert("kind".into(), kind.as_str().into());
    if let Value::Object(fields) = read_message(&raw, &kind)? {
        object.extend(fields);
    }
    Ok(Value::Object(object))
}

struct Reader<'a>(&'a [u8]);

/// A field's number and what is on the wire.
enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Reader<'a> {
    fn varint(&mut self) -> Result<u64, ProtoError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(ProtoError::Malformed("cut off"))?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(ProtoError::Malformed("a number is too long"))
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], ProtoError> {
        let split = usize::try_from(length)
            .ok()
            .and_then(|length| self.0.split_at_checked(length));
        let (taken, rest) = split.ok_or(ProtoError::Malformed("cut off"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn next(&mut self) -> Result<Option<(u64, Wire<'a>)>, ProtoError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let wire = match tag & 7 {
            0 => Wire::Number(self.varint()?),
            1 => Wire::Bytes(self.take(8)?),
            2 => {
                let length = self.varint()?;
                Wire::Bytes(self.take(length)?)
            }
            5 => Wire::Bytes(self.take(4)?),
            _ => return Err(ProtoError::Malformed("unknown wire type")),
        };
        Ok(Some((tag >> 3, wire)))
    }
}

/// Recursion follows the tables above, which are a few levels deep.
fn read_message(bytes: &[u8], message: &str) -> Result<Value, ProtoError> {
    let fields = fields_of(message).unwrap_or(&[]);
    let mut object = Map::new();
    let mut reader = Reader(bytes);
    while let Some((number, wire)) = reader.next()? {
        let Some((_, name, holds)) = fields.iter().find(|(known, ..)| *known == number) else {
            continue;
        };
        if let Some(holds) = holds.strip_prefix("[]") {
            let value = read_value(&wire, holds)?;
            let list = object.entry(*name).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(list) = list {
                list.push(value);
            }
        } else if let Some(holds) = holds.strip_prefix("map ") {
            let (key, value) = read_entry(&wire, holds)?;
            let map = object.entry(*name).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(map) = map {
                map.insert(key, value);
            }
        } else {
            let value = read_value(&wire, holds)?;
            // Go writes empty texts and times too; JSON leaves them out.
            if !value.is_null() && value.as_str() != Some("") {
                object.insert((*name).into(), value);
            }
        }
    }
    Ok(Value::Object(object))
}

fn read_entry(wire: &Wire<'_>, holds: &str) -> Result<(String, Value), ProtoError> {
    let Wire::Bytes(bytes) = wire else {
        return Err(ProtoError::Malformed("a map entry is no message"));
    };
    let (mut key, mut value) = (String::new(), Value::String(String::new()));
    let mut reader = Reader(bytes);
    while let Some((number, wire)) = reader.next()? {
        match number {
            1 => key = utf8(&wire)?,
            2 => value = read_value(&wire, holds)?,
            _ => {}
        }
    }
    Ok((key, value))
}

fn utf8(wire: &Wire<'_>) -> Result<String, ProtoError> {
    match wire {
        Wire::Bytes(bytes) => {
            String::from_utf8(bytes.to_vec()).map_err(|_| ProtoError::Malformed("a text is not UTF-8"))
        }
        Wire::Number(_) => Err(ProtoError::Malformed("a number where a text belongs")),
    }
}

fn read_value(wire: &Wire<'_>, holds: &str) -> Result<Value, ProtoError> {
    Ok(match (holds, wire) {
        ("text", wire) => utf8(wire)?.into(),
        ("bytes", Wire::Bytes(bytes)) => STANDARD.encode(bytes).into(),
        // Negative numbers are ten bytes of two's complement.
        ("int", Wire::Number(number)) => number.cast_signed().into(),
        ("bool", Wire::Number(number)) => (*number != 0).into(),
        ("time", Wire::Bytes(bytes)) => {
            let time = read_message(bytes, "Time")?;
            let seconds = time.get("seconds").and_then(Value::as_i64);
            let time = seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
            time.map_or(Value::Null, |time| meta::time(time).into())
        }
        (message, Wire::Bytes(bytes)) => read_message(bytes, message)?,
        _ => return Err(ProtoError::Malformed("a field has another type")),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn bytes(number: u8, content: &[u8]) -> Vec<u8> {
        [
            &[number << 3 | 2, u8::try_from(content.len()).unwrap()][..],
            content,
        ]
        .concat()
    }

    fn envelope(kind: &str, raw: &[u8]) -> Vec<u8> {
        let names = [bytes(1, b"v1"), bytes(2, kind.as_bytes())].concat();
        [b"k8s\0".to_vec(), bytes(1, &names), bytes(2, raw)].concat()
    }

    #[test]
    fn a_config_map_is_read_as_its_json() {
        let entry = bytes(2, &[bytes(1, b"key"), bytes(2, b"value")].concat());
        let meta = bytes(1, &[bytes(1, b"name"), bytes(2, b""), vec![7 << 3, 0]].concat());
        let map = decode(&envelope("ConfigMap", &[meta, entry].concat())).unwrap();
        assert_eq!(
            map,
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "name", "generation": 0}, "data": {"key": "value"}})
        );
    }

    #[test]
    fn kinds_without_a_table_and_broken_bytes_are_refused() {
        assert_eq!(decode(&envelope("Pod", b"")), Err(ProtoError::Kind("Pod".into())));
        assert!(decode(b"{}").is_err());
        assert!(decode(&envelope("ConfigMap", &[0xff; 20])).is_err());
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(raw in proptest::collection::vec(any::<u8>(), 0..120)) {
            for kind in ["Secret", "ClusterRole", "TokenRequest", "DeleteOptions"] {
                let _ = decode(&envelope(kind, &raw));
            }
            let _ = decode(&[b"k8s\0", raw.as_slice()].concat());
        }
    }
}
