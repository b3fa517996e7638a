//! Field errors, worded as apimachinery's `field.Error` words them.

use std::fmt;

use serde_json::{Value, json};

/// Why a field is refused; the name that goes into `details.causes[].reason` of a Status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldErrorKind {
    /// A value that must be there is missing.
    Required,
    /// A value occurs twice where it may occur once.
    Duplicate,
    /// The value breaks a rule.
    Invalid,
    /// The value has the wrong JSON type or format.
    TypeInvalid,
    /// The value is none of an enumeration.
    NotSupported,
    /// The field may not be set here.
    Forbidden,
    /// A string is too long.
    TooLong,
    /// A list or map has too many members.
    TooMany,
    /// The server could not decide.
    Internal,
}

impl FieldErrorKind {
    /// The CamelCase word in `details.causes[].reason`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::Internal => "InternalError",
        }
    }

    /// The words that open the message.
    fn words(self) -> &'static str {
        match self {
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::Internal => "Internal error",
        }
    }
}

/// One refused field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Path such as `spec.items[0].name`; `<nil>` where the rule belongs to no single field, as the
    /// real server writes it.
    pub field: String,
    /// Class of the error.
    pub kind: FieldErrorKind,
    /// What is wrong, without the field: `Invalid value: "x": must be ...`.
    pub message: String,
}

/// Longest value that is quoted in a message, in characters; a hostile value must not come back whole.
const MAX_QUOTED: usize = 1024;

impl FieldError {
    fn new(field: &str, kind: FieldErrorKind, value: Option<String>, detail: &str) -> Self {
        let mut message = kind.words().to_owned();
        if let Some(value) = value {
            message.push_str(": ");
            message.push_str(&value);
        }
        if !detail.is_empty() {
            message.push_str(": ");
            message.push_str(detail);
        }
        let field = if field.is_empty() {
            "<nil>".to_owned()
        } else {
            field.to_owned()
        };
        Self { field, kind, message }
    }

    /// `Required value[: detail]`.
    pub fn required(field: &str, detail: &str) -> Self {
        Self::new(field, FieldErrorKind::Required, None, detail)
    }

    /// `Forbidden: detail`.
    pub fn forbidden(field: &str, detail: &str) -> Self {
        Self::new(field, FieldErrorKind::Forbidden, None, detail)
    }

    /// `Invalid value: <value>: detail`.
    pub fn invalid(field: &str, value: &Value, detail: &str) -> Self {
        Self::new(field, FieldErrorKind::Invalid, Some(go_value(value)), detail)
    }

    /// As [`FieldError::invalid`], with the class "type invalid", which keeps CEL rules from running.
    pub fn type_invalid(field: &str, value: &Value, detail: &str) -> Self {
        Self::new(field, FieldErrorKind::TypeInvalid, Some(go_value(value)), detail)
    }

    /// `Duplicate value: <value>`.
    pub fn duplicate(field: &str, value: &Value) -> Self {
        Self::new(field, FieldErrorKind::Duplicate, Some(go_value(value)), "")
    }

    /// `Unsupported value: <value>: supported values: "a", "b"`.
    pub fn not_supported(field: &str, value: &Value, supported: &[String]) -> Self {
        let list: Vec<String> = supported.iter().map(|s| go_quote(s)).collect();
        let detail = format!("supported values: {}", list.join(", "));
        Self::new(
            field,
            FieldErrorKind::NotSupported,
            Some(go_value(value)),
            &detail,
        )
    }

    /// `Too long: may not be more than N bytes`.
    pub fn too_long(field: &str, max: u64) -> Self {
        let unit = if max == 1 { "byte" } else { "bytes" };
        let detail = format!("may not be more than {max} {unit}");
        Self::new(field, FieldErrorKind::TooLong, None, &detail)
    }

    /// `Too many: <actual>: must have at most N items`.
    pub fn too_many(field: &str, actual: usize, max: u64) -> Self {
        let unit = if max == 1 { "item" } else { "items" };
        let detail = format!("must have at most {max} {unit}");
        Self::new(field, FieldErrorKind::TooMany, Some(actual.to_string()), &detail)
    }

    /// `Internal error: detail`.
    pub fn internal(field: &str, detail: &str) -> Self {
        Self::new(field, FieldErrorKind::Internal, None, detail)
    }

    /// One entry of `details.causes` in a Status.
    pub fn cause(&self) -> Value {
        json!({"reason": self.kind.reason(), "message": self.message, "field": self.field})
    }

    /// The message of a Status that carries these errors: `[a: ..., b: ...]`, or the error alone.
    pub fn aggregate(errors: &[FieldError]) -> String {
        // apimachinery's Aggregate leaves out repeated messages
        let mut seen: Vec<String> = Vec::new();
        for text in errors.iter().map(ToString::to_string) {
            if !seen.contains(&text) {
                seen.push(text);
            }
        }
        if seen.len() == 1 {
            seen.remove(0)
        } else {
            format!("[{}]", seen.join(", "))
        }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// A value as Go prints it in a field error: strings quoted, numbers plain, the rest in Go syntax.
pub(super) fn go_value(value: &Value) -> String {
    match value {
        // field.Error replaces a nil value by the text "null" and then quotes it
        Value::Null => "\"null\"".to_owned(),
        Value::Bool(b) => b.to_string(),
        Value::Number(n) => go_number(n),
        Value::String(s) => go_quote(s),
        other => cut(go_syntax(other)),
    }
}

/// Go's `%#v` of a decoded JSON value.
fn go_syntax(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::Bool(b) => b.to_string(),
        Value::Number(n) => go_number(n),
        Value::String(s) => go_quote(s),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(go_syntax).collect();
            format!("[]interface {{}}{{{}}}", items.join(", "))
        }
        Value::Object(map) => {
            let mut fields: Vec<(&String, &Value)> = map.iter().collect();
            fields.sort_by_key(|(k, _)| k.as_str());
            let fields: Vec<String> = fields
                .into_iter()
                .map(|(k, v)| format!("{}:{}", go_quote(k), go_syntax(v)))
                .collect();
            format!("map[string]interface {{}}{{{}}}", fields.join(", "))
        }
    }
}

/// Go's `%v` of a number: whole floats lose their fraction.
pub(super) fn go_number(n: &serde_json::Number) -> String {
    match (n.as_i64(), n.as_u64(), n.as_f64()) {
        (Some(i), _, _) => i.to_string(),
        (_, Some(u), _) => u.to_string(),
        (_, _, Some(f)) => go_float(f),
        _ => n.to_string(),
    }
}

/// Go's `%v` of a float64: plain digits while the exponent is in -4..21, else `1e+21`.
pub(super) fn go_float(f: f64) -> String {
    let magnitude = f.abs();
    if magnitude != 0.0 && !(1e-4..1e21).contains(&magnitude) {
        let text = format!("{f:e}");
        return match text.split_once('e') {
            Some((mantissa, exponent)) => {
                let (sign, digits) = match exponent.strip_prefix('-') {
                    Some(digits) => ('-', digits),
                    None => ('+', exponent),
                };
                format!("{mantissa}e{sign}{digits:0>2}")
            }
            None => text,
        };
    }
    f.to_string()
}

/// Go's `%q` of a string, cut to a bounded length.
pub(super) fn go_quote(s: &str) -> String {
    let mut out = String::with_capacity(s.len().min(MAX_QUOTED) + 2);
    out.push('"');
    for (i, c) in s.chars().enumerate() {
        if i == MAX_QUOTED {
            out.push_str("...");
            break;
        }
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() && (c as u32) < 0x80 => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn cut(text: String) -> String {
    match text.char_indices().nth(MAX_QUOTED) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_read_as_the_real_server_writes_them() {
        let cases = [
            (FieldError::required("spec.foo", ""), "spec.foo: Required value"),
            (
                FieldError::invalid(
                    "spec.n",
                    &json!(15),
                    "spec.n in body should be less than or equal to 10",
                ),
                "spec.n: Invalid value: 15: spec.n in body should be less than or equal to 10",
            ),
            (
                FieldError::not_supported("spec.x", &json!("a"), &["b".into(), "c".into()]),
                "spec.x: Unsupported value: \"a\": supported values: \"b\", \"c\"",
            ),
            (
                FieldError::too_long("spec.s", 3),
                "spec.s: Too long: may not be more than 3 bytes",
            ),
            (
                FieldError::too_many("spec.l", 5, 1),
                "spec.l: Too many: 5: must have at most 1 item",
            ),
            (
                FieldError::forbidden("spec.f", "not here"),
                "spec.f: Forbidden: not here",
            ),
            (
                FieldError::duplicate("spec.l[1]", &json!({"port": 80, "name": "a"})),
                "spec.l[1]: Duplicate value: map[string]interface {}{\"name\":\"a\", \"port\":80}",
            ),
            (
                FieldError::invalid("", &Value::Null, "no"),
                "<nil>: Invalid value: \"null\": no",
            ),
        ];
        for (error, text) in cases {
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn several_errors_are_bracketed_and_repeats_left_out() {
        let a = FieldError::required("a", "");
        let b = FieldError::required("b", "");
        assert_eq!(
            FieldError::aggregate(std::slice::from_ref(&a)),
            "a: Required value"
        );
        assert_eq!(
            FieldError::aggregate(&[a.clone(), b, a]),
            "[a: Required value, b: Required value]"
        );
    }

    #[test]
    fn a_cause_carries_reason_message_and_field() {
        assert_eq!(
            FieldError::required("spec.foo", "").cause(),
            json!({"reason": "FieldValueRequired", "message": "Required value", "field": "spec.foo"})
        );
    }

    #[test]
    fn numbers_print_as_in_go() {
        for (f, text) in [
            (10.0, "10"),
            (1.5, "1.5"),
            (1e21, "1e+21"),
            (1e-5, "1e-05"),
            (0.0, "0"),
            (-3.0, "-3"),
        ] {
            assert_eq!(go_float(f), text);
        }
    }

    #[test]
    fn a_huge_value_is_cut_in_the_message() {
        let long = "é".repeat(1_000_000);
        assert!(go_value(&Value::String(long.clone())).len() < 4096);
        assert!(go_value(&json!([long])).len() < 8192);
    }
}
