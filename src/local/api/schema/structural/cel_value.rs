//! JSON values as CEL sees them through a schema.

use std::{cell::RefCell, collections::HashMap, sync::Arc};

use base64::Engine;
use kube_cel::cel::{
    Context, IdedExpr, Program, Value as Cel,
    objects::{Key, Map, OptionalValue},
};
use serde_json::Value;

use super::{Kind, Node};

/// Words that CEL keeps for itself; a field of that name is written `__word__`.
const RESERVED: &[&str] = &[
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// A field's name in CEL.
pub(super) fn escape(name: &str) -> String {
    if RESERVED.contains(&name) {
        return format!("__{name}__");
    }
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        if rest.starts_with("__") {
            out.push_str("__underscores__");
            rest = &rest[2..];
            continue;
        }
        match c {
            '.' => out.push_str("__dot__"),
            '-' => out.push_str("__dash__"),
            '/' => out.push_str("__slash__"),
            c => out.push(c),
        }
        rest = &rest[c.len_utf8()..];
    }
    out
}

/// A value with the types that its schema gives it.
pub(super) fn typed(node: &Node, value: &Value) -> Cel {
    match value {
        Value::Null | Value::Bool(_) => untyped(value),
        Value::Number(n) => match node.kind {
            Some(Kind::Number) => Cel::Float(n.as_f64().unwrap_or_default()),
            Some(Kind::Integer) => match (n.as_i64(), n.as_f64()) {
                (Some(i), _) => Cel::Int(i),
                // whole floats, which validation takes for integers
                #[allow(clippy::cast_possible_truncation)]
                (None, Some(f)) if !n.is_u64() => Cel::Int(f as i64),
                _ => untyped(value),
            },
            _ => untyped(value),
        },
        Value::String(s) => string(node, s),
        Value::Array(items) => Cel::List(Arc::new(match &node.items {
            Some(item) => items.iter().map(|value| typed(item, value)).collect(),
            None => items.iter().map(untyped).collect(),
        })),
        Value::Object(map) => {
            let is_map = node.additional.is_some();
            let mut out = HashMap::with_capacity(map.len());
            for (name, value) in map {
                let value = match node.child(name) {
                    Some(child) => typed(child, value),
                    // unknown fields that are preserved cannot be seen by rules
                    None if node.kind == Some(Kind::Object) => continue,
                    None => untyped(value),
                };
                let name = if is_map { name.clone() } else { escape(name) };
                out.insert(Key::String(Arc::new(name)), value);
            }
            Cel::Map(Map { map: Arc::new(out) })
        }
    }
}

/// A value without a schema.
fn untyped(value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(b) => Cel::Bool(*b),
        Value::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(i), _) => Cel::Int(i),
            (None, Some(u)) => Cel::UInt(u),
            (None, None) => Cel::Float(n.as_f64().unwrap_or_default()),
        },
        Value::String(s) => Cel::String(Arc::new(s.clone())),
        Value::Array(items) => Cel::List(Arc::new(items.iter().map(untyped).collect())),
        Value::Object(map) => Cel::Map(Map {
            map: Arc::new(
                map.iter()
                    .map(|(k, v)| (Key::String(Arc::new(k.clone())), untyped(v)))
                    .collect(),
            ),
        }),
    }
}

fn string(node: &Node, text: &str) -> Cel {
    let plain = || Cel::String(Arc::new(text.to_owned()));
    if node.int_or_string {
        return plain();
    }
    match node.checks.format.as_deref() {
        Some("byte") => match base64::engine::general_purpose::STANDARD.decode(text) {
            Ok(bytes) => Cel::Bytes(Arc::new(bytes)),
            Err(_) => plain(),
        },
        Some("date-time") => converted("timestamp(s)", text).unwrap_or_else(plain),
        Some("date") => converted("timestamp(s)", &format!("{text}T00:00:00Z")).unwrap_or_else(plain),
        Some("duration") => converted("duration(s)", text).unwrap_or_else(plain),
        _ => plain(),
    }
}

thread_local! {
    /// Parsed `timestamp(s)` and `duration(s)`: CEL's own functions make the values that CEL compares.
    static CONVERSIONS: RefCell<HashMap<&'static str, Option<IdedExpr>>> = RefCell::new(HashMap::new());
}

fn converted(conversion: &'static str, text: &str) -> Option<Cel> {
    CONVERSIONS.with(|cache| {
        let mut cache = cache.borrow_mut();
        let expr = cache
            .entry(conversion)
            .or_insert_with(|| {
                Program::compile(conversion)
                    .ok()
                    .map(|program| program.expression().clone())
            })
            .as_ref()?;
        let mut context = Context::default();
        context.add_variable_from_value("s", Cel::String(Arc::new(text.to_owned())));
        Cel::resolve(expr, &context).ok()
    })
}

/// `oldSelf` of a rule with `optionalOldSelf`.
pub(super) fn optional(value: Option<Cel>) -> Cel {
    Cel::Opaque(Arc::new(match value {
        Some(value) => OptionalValue::of(value),
        None => OptionalValue::none(),
    }))
}
