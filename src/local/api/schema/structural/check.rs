//! Value validation, with the words of kube-openapi and the apiextensions server.

use std::sync::Arc;

use serde_json::{Number, Value};

use super::{
    Checks, FieldError, Kind, MAX_REPORTED, Node, formats,
    lists::{self, Former},
    shape::{push_field, push_index},
};
use crate::local::api::schema::{FieldErrorKind, error::go_float};

/// Said instead of running CEL rules on an object whose structure is wrong.
pub(super) const RULES_SKIPPED: &str = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";

/// Whether this error keeps CEL rules from running: they assume types and bounds to hold.
pub(super) fn blocks_rules(error: &FieldError) -> bool {
    use FieldErrorKind::{Required, TooLong, TooMany, TypeInvalid};
    matches!(error.kind, Required | TooLong | TooMany | TypeInvalid)
}

/// Validate a whole object.
pub(super) fn check_tree(root: &Node, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut check = Check {
        path: String::new(),
        errors: Vec::new(),
    };
    check.node(root, new, old);
    check.errors.truncate(MAX_REPORTED);
    check.errors
}

/// Where the walk is, and what it found.
struct Check {
    path: String,
    errors: Vec<FieldError>,
}

impl Check {
    fn full(&self) -> bool {
        self.errors.len() >= MAX_REPORTED
    }

    fn node(&mut self, node: &Node, value: &Value, old: Option<&Value>) {
        // ratcheting: what was stored like this is not complained about again
        if self.full() || old.is_some_and(|old| lists::same(old, value)) {
            return;
        }
        if value.is_null() {
            if !node.nullable && (node.kind.is_some() || node.int_or_string) {
                self.wrong_type(node, value);
            }
            return;
        }
        if !has_type(node, value) {
            self.wrong_type(node, value);
        }
        self.choices(&node.checks, value);
        match value {
            Value::Number(n) => self.number(node, n, value),
            Value::String(s) => self.string(&node.checks, s, value),
            Value::Array(items) => self.array(node, items, old),
            Value::Object(_) => self.object(node, value, old),
            _ => {}
        }
        self.junctions(&node.checks, value, old);
    }

    fn wrong_type(&mut self, node: &Node, value: &Value) {
        let wanted = match node.kind {
            Some(kind) => kind.name(),
            None => "integer,string",
        };
        let found = type_name(value);
        let detail = format!("{} in body must be of type {wanted}: \"{found}\"", self.path);
        self.errors.push(FieldError::type_invalid(
            &self.path,
            &Value::String(found.to_owned()),
            &detail,
        ));
    }

    /// An error about the value itself: `<path> in body <words>`.
    fn invalid(&mut self, value: &Value, words: &str) {
        let detail = format!("{} in body {words}", self.path);
        self.errors.push(FieldError::invalid(&self.path, value, &detail));
    }

    fn choices(&mut self, checks: &Checks, value: &Value) {
        if checks.choices.is_empty() || checks.choices.iter().any(|choice| lists::same(choice, value)) {
            return;
        }
        let names: Vec<String> = checks
            .choices
            .iter()
            .map(|choice| choice.as_str().map_or_else(|| choice.to_string(), str::to_owned))
            .collect();
        self.errors
            .push(FieldError::not_supported(&self.path, value, &names));
    }

    fn number(&mut self, node: &Node, n: &Number, value: &Value) {
        let checks = &node.checks;
        if let Some(format) = &checks.format
            && !in_format(format, n)
        {
            let kind = node.kind.map_or("number", Kind::name);
            let words = format!(
                "Checked value must be of type {kind} with format {format} in {}",
                self.path
            );
            self.errors.push(FieldError::invalid(&self.path, value, &words));
        }
        if let Some(factor) = &checks.multiple_of
            && !is_multiple(n, factor)
        {
            self.invalid(value, &format!("should be a multiple of {}", limit(factor)));
        }
        if let Some(maximum) = &checks.maximum {
            let order = compare(n, maximum);
            if checks.exclusive_maximum && !order.is_lt() {
                self.invalid(value, &format!("should be less than {}", limit(maximum)));
            } else if !checks.exclusive_maximum && order.is_gt() {
                self.invalid(
                    value,
                    &format!("should be less than or equal to {}", limit(maximum)),
                );
            }
        }
        if let Some(minimum) = &checks.minimum {
            let order = compare(n, minimum);
            if checks.exclusive_minimum && !order.is_gt() {
                self.invalid(value, &format!("should be greater than {}", limit(minimum)));
            } else if !checks.exclusive_minimum && order.is_lt() {
                self.invalid(
                    value,
                    &format!("should be greater than or equal to {}", limit(minimum)),
                );
            }
        }
    }

    fn string(&mut self, checks: &Checks, text: &str, value: &Value) {
        if checks.min_length.is_some() || checks.max_length.is_some() {
            let length = text.chars().count() as u64;
            if let Some(max) = checks.max_length.filter(|max| length > *max) {
                self.errors.push(FieldError::too_long(&self.path, max));
            }
            if let Some(min) = checks.min_length.filter(|min| length < *min) {
                self.invalid(value, &format!("should be at least {min} chars long"));
            }
        }
        if let Some(pattern) = checks.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
            self.invalid(value, &format!("should match '{}'", pattern.as_str()));
        }
        if let Some(format) = checks
            .format
            .as_ref()
            .filter(|format| !formats::matches(format, text))
        {
            let shown = FieldError::invalid("", value, "").message;
            let quoted = shown.strip_prefix("Invalid value: ").unwrap_or_default();
            let detail = format!("{} in body must be of type {format}: {quoted}", self.path);
            self.errors
                .push(FieldError::type_invalid(&self.path, value, &detail));
        }
    }

    fn array(&mut self, node: &Node, items: &[Value], old: Option<&Value>) {
        let checks = &node.checks;
        let length = items.len() as u64;
        if let Some(min) = checks.min_items.filter(|min| length < *min) {
            self.invalid(&Value::from(length), &format!("should have at least {min} items"));
        }
        if let Some(max) = checks.max_items.filter(|max| length > *max) {
            self.errors
                .push(FieldError::too_many(&self.path, items.len(), max));
            // what is too long is not worth walking: that is what the bound is for
            return;
        }
        if checks.unique_items && lists::has_duplicates(items) {
            self.invalid(&Value::from(length), "shouldn't contain duplicates");
        }
        if let Some(child) = &node.items {
            let former = Former::new(node, old);
            let length = self.path.len();
            for (i, item) in items.iter().enumerate() {
                if self.full() {
                    return;
                }
                push_index(&mut self.path, i);
                self.node(child, item, former.of(node, item));
                self.path.truncate(length);
            }
        }
        lists::check_distinct(node, items, &self.path, &mut self.errors);
    }

    fn object(&mut self, node: &Node, value: &Value, old: Option<&Value>) {
        let Value::Object(map) = value else { return };
        let checks = &node.checks;
        let count = map.len() as u64;
        if let Some(min) = checks.min_properties.filter(|min| count < *min) {
            self.invalid(
                &Value::from(count),
                &format!("should have at least {min} properties"),
            );
        }
        if let Some(max) = checks.max_properties.filter(|max| count > *max) {
            self.errors.push(FieldError::too_many(&self.path, map.len(), max));
            return;
        }
        let length = self.path.len();
        for field in checks.required.iter().filter(|field| !map.contains_key(*field)) {
            push_field(&mut self.path, field);
            self.errors.push(FieldError::required(&self.path, ""));
            self.path.truncate(length);
        }
        for (field, value) in map {
            if self.full() {
                return;
            }
            if let Some(child) = node.child(field) {
                push_field(&mut self.path, field);
                self.node(child, value, old.and_then(|old| old.get(field)));
                self.path.truncate(length);
            }
        }
    }

    /// allOf, anyOf, oneOf, not. Their own errors belong to no field, as on the real server.
    fn junctions(&mut self, checks: &Checks, value: &Value, old: Option<&Value>) {
        if let Some(also) = &checks.also {
            self.node(also, value, old);
        }
        let failures = self.branches(&checks.all_of, value);
        let passed = failures.iter().filter(|errors| errors.is_empty()).count();
        if passed < failures.len() {
            self.errors.extend(failures.into_iter().flatten());
            let none = if passed == 0 { ". None validated" } else { "" };
            self.fieldless(&format!("must validate all the schemas (allOf){none}"));
        }
        if !checks.any_of.is_empty() {
            let failures = self.branches(&checks.any_of, value);
            if failures.iter().all(|errors| !errors.is_empty()) {
                self.fieldless("must validate at least one schema (anyOf)");
                self.errors.extend(fewest(failures));
            }
        }
        if !checks.one_of.is_empty() {
            let failures = self.branches(&checks.one_of, value);
            match failures.iter().filter(|errors| errors.is_empty()).count() {
                1 => {}
                0 => {
                    self.fieldless("must validate one and only one schema (oneOf). Found none valid");
                    self.errors.extend(fewest(failures));
                }
                n => self.fieldless(&format!(
                    "must validate one and only one schema (oneOf). Found {n} valid alternatives"
                )),
            }
        }
        if let Some(not) = &checks.not
            && self.branch(not, value).is_empty()
        {
            self.fieldless("must not validate the schema (not)");
        }
    }

    fn branches(&self, nodes: &[Arc<Node>], value: &Value) -> Vec<Vec<FieldError>> {
        nodes.iter().map(|node| self.branch(node, value)).collect()
    }

    /// What is wrong by one branch. Ratcheting stops here: a branch is right or wrong as a whole.
    fn branch(&self, node: &Node, value: &Value) -> Vec<FieldError> {
        let mut check = Check {
            path: self.path.clone(),
            errors: Vec::new(),
        };
        check.node(node, value, None);
        check.errors
    }

    fn fieldless(&mut self, words: &str) {
        let detail = format!("\"{}\" {words}", self.path);
        self.errors
            .push(FieldError::invalid("", &Value::String(String::new()), &detail));
    }
}

/// The branch that came closest.
fn fewest(failures: Vec<Vec<FieldError>>) -> Vec<FieldError> {
    failures.into_iter().min_by_key(Vec::len).unwrap_or_default()
}

fn has_type(node: &Node, value: &Value) -> bool {
    if node.int_or_string && node.kind.is_none() {
        return value.is_string() || is_integer(value);
    }
    match node.kind {
        None => true,
        Some(Kind::Object) => value.is_object(),
        Some(Kind::Array) => value.is_array(),
        Some(Kind::String) => value.is_string(),
        Some(Kind::Boolean) => value.is_boolean(),
        Some(Kind::Number) => value.is_number(),
        Some(Kind::Integer) => is_integer(value),
    }
}

/// Whole numbers count as integers, however they are written. Those beyond 64 bits with a sign are floats to the real
/// server (apimachinery, util/json), which takes none of that size for an integer.
fn is_integer(value: &Value) -> bool {
    value.is_i64()
        || value
            .as_f64()
            .is_some_and(|f| f.fract() == 0.0 && f.abs() < 9.0e15)
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) if is_integer(value) => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Whether a number fits an integer format; other formats accept any.
fn in_format(format: &str, n: &Number) -> bool {
    let float = n.as_f64().unwrap_or(f64::MAX);
    match format {
        "int32" => (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&float),
        "int64" => n.as_i64().is_some() || (!n.is_u64() && float.abs() < 9.2e18),
        "float" => float.abs() <= f64::from(f32::MAX),
        _ => true,
    }
}

fn limit(n: &Number) -> String {
    go_float(n.as_f64().unwrap_or(f64::NAN))
}

fn compare(a: &Number, b: &Number) -> std::cmp::Ordering {
    match (a.as_i64(), b.as_i64()) {
        (Some(a), Some(b)) => a.cmp(&b),
        // JSON has no NaN, so any two numbers compare
        _ => a
            .as_f64()
            .partial_cmp(&b.as_f64())
            .unwrap_or(std::cmp::Ordering::Equal),
    }
}

fn is_multiple(n: &Number, factor: &Number) -> bool {
    match (n.as_i64(), factor.as_i64()) {
        (Some(n), Some(factor)) => factor == 0 || n.wrapping_rem(factor) == 0,
        _ => {
            let quotient = n.as_f64().unwrap_or_default() / factor.as_f64().unwrap_or(1.0);
            (quotient - quotient.round()).abs() <= 1e-9 * quotient.abs().max(1.0)
        }
    }
}
