//! Structural schemas: compile once, then prune, default and validate many objects.
//!
//! The rules are those of apiextensions v1 ("Specifying a structural schema", "Field pruning",
//! "Defaulting", "Validation rules"). Recursion follows the object and the schema at the same time;
//! neither is deeper than 128 levels, because serde_json parses no deeper and [`Schema::compile`]
//! refuses more.

mod cel;
mod cel_cost;
mod cel_value;
mod check;
mod compile;
mod formats;
mod lists;
mod shape;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use regex::Regex;
use serde_json::{Number, Value};

use super::{CrdError, FieldError};

pub(super) use compile::Compiler;

/// A compiled structural schema. Cheap to share, never changes.
#[derive(Debug, Clone)]
pub struct Schema {
    root: Arc<Node>,
}

impl Schema {
    /// Compile `openAPIV3Schema` of a version of a CustomResourceDefinition.
    ///
    /// # Errors
    /// What is not structural, or a CEL rule that does not compile; paths start with `openAPIV3Schema`.
    pub fn compile(open_api_v3_schema: &Value) -> Result<Schema, CrdError> {
        Self::compile_at("openAPIV3Schema", open_api_v3_schema)
    }

    /// As [`Schema::compile`], with the path of the schema in its surroundings.
    pub(super) fn compile_at(path: &str, open_api_v3_schema: &Value) -> Result<Schema, CrdError> {
        let mut compiler = Compiler::new();
        let root = compiler.root(path, open_api_v3_schema);
        if compiler.errors.is_empty() {
            Ok(Schema { root })
        } else {
            Err(CrdError {
                errors: compiler.errors,
            })
        }
    }

    /// A schema made of a compiled root.
    pub(super) fn from_root(root: Arc<Node>) -> Schema {
        Schema { root }
    }

    /// Remove the fields that the schema does not know.
    ///
    /// Returns their paths (`spec.foo`, `spec.items[0].bar`), for `fieldValidation`:
    /// `unknown field "spec.foo"`. At most [`MAX_REPORTED`] paths are returned; all fields are removed.
    pub fn prune(&self, obj: &mut Value) -> Vec<String> {
        let mut unknown = Vec::new();
        shape::prune(&self.root, obj, &mut String::new(), &mut unknown);
        unknown
    }

    /// Drop nulls that may not be null, and fill in defaults.
    pub fn default(&self, obj: &mut Value) {
        shape::default(&self.root, obj);
    }

    /// Everything wrong with an object; empty when it is valid.
    ///
    /// `old` is the stored object of an update: parts that did not change are not complained about
    /// again (ratcheting), and transition rules compare with it. CEL rules run only on an object whose
    /// structure is right. At most [`MAX_REPORTED`] errors are returned.
    pub fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = check::check_tree(&self.root, new, old);
        if self.root.any_rules {
            if errors.iter().any(check::blocks_rules) {
                errors.push(FieldError::invalid("", &Value::Null, check::RULES_SKIPPED));
            } else {
                cel::run(&self.root, new, old, &mut errors);
            }
        }
        errors
    }
}

/// Most errors or unknown fields that are reported for one object: a hostile object must not come back
/// as an answer a hundred times its size.
pub const MAX_REPORTED: usize = 100;

/// One level of a schema.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// `type`; `None` accepts any.
    pub kind: Option<Kind>,
    /// `x-kubernetes-int-or-string`.
    pub int_or_string: bool,
    /// `nullable`.
    pub nullable: bool,
    /// `x-kubernetes-preserve-unknown-fields`.
    pub preserve: bool,
    /// `x-kubernetes-embedded-resource`.
    pub embedded: bool,
    /// `properties`.
    pub properties: BTreeMap<String, Arc<Node>>,
    /// `additionalProperties`.
    pub additional: Option<Arc<Node>>,
    /// `items`.
    pub items: Option<Arc<Node>>,
    /// `default`.
    pub default: Option<Value>,
    /// `x-kubernetes-list-type` and its keys.
    pub list: ListType,
    /// What values must satisfy.
    pub checks: Checks,
    /// `x-kubernetes-validations`.
    pub rules: Vec<cel::Rule>,
    /// Whether this node or any below it has rules.
    pub any_rules: bool,
}

impl Node {
    /// A node that accepts anything.
    pub fn anything() -> Self {
        Self {
            preserve: true,
            nullable: true,
            ..Self::default()
        }
    }

    /// The child that describes this field, if any.
    pub fn child(&self, field: &str) -> Option<&Arc<Node>> {
        self.properties.get(field).or(self.additional.as_ref())
    }
}

/// JSON type of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

impl Kind {
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "object" => Self::Object,
            "array" => Self::Array,
            "string" => Self::String,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "boolean" => Self::Boolean,
            _ => return None,
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }
}

/// How a list is merged and what makes its members distinct.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum ListType {
    /// One value; members may repeat.
    #[default]
    Atomic,
    /// Members are distinct.
    Set,
    /// Members are objects, distinct by these keys.
    Map(Vec<String>),
}

/// Value validations of one level.
#[derive(Debug, Default)]
pub(super) struct Checks {
    pub required: Vec<String>,
    pub choices: Vec<Value>,
    pub minimum: Option<Number>,
    pub exclusive_minimum: bool,
    pub maximum: Option<Number>,
    pub exclusive_maximum: bool,
    pub multiple_of: Option<Number>,
    pub min_length: Option<u64>,
    pub max_length: Option<u64>,
    pub pattern: Option<Regex>,
    pub format: Option<String>,
    pub min_items: Option<u64>,
    pub max_items: Option<u64>,
    pub unique_items: bool,
    pub min_properties: Option<u64>,
    pub max_properties: Option<u64>,
    pub all_of: Vec<Arc<Node>>,
    pub any_of: Vec<Arc<Node>>,
    pub one_of: Vec<Arc<Node>>,
    pub not: Option<Arc<Node>>,
    /// A second schema for the same value, without the words of `allOf`.
    pub also: Option<Arc<Node>>,
}
