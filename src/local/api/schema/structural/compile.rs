//! From `openAPIV3Schema` to [`Node`]s, refusing what is not structural.

use std::sync::Arc;

use regex::RegexBuilder;
use serde_json::{Map, Number, Value};

use super::{
    Checks, FieldError, Kind, ListType, MAX_REPORTED, Node,
    cel::{self, Rule},
    check, shape,
};
use crate::local::api::schema::openapi;

mod junctions;

/// Deepest schema that is compiled; objects are never deeper than 128.
const MAX_DEPTH: usize = 100;
/// Largest compiled regular expression, in bytes.
const MAX_REGEX: usize = 1 << 20;

/// Compiles schemas and collects what is wrong with them.
pub(in crate::local::api::schema) struct Compiler {
    pub errors: Vec<FieldError>,
    depth: usize,
    /// The list above, if any, whose members have no former selves.
    uncorrelatable: Option<String>,
}

/// Where a schema sits; decides which type is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Field,
    Item,
}

impl Compiler {
    pub fn new() -> Self {
        Self {
            errors: Vec::new(),
            depth: 0,
            uncorrelatable: None,
        }
    }

    /// The root of a custom resource: an object with apiVersion, kind and metadata besides its own fields.
    pub fn root(&mut self, path: &str, schema: &Value) -> Arc<Node> {
        let mut node = self.structural(path, schema, Level::Root);
        match node.kind {
            Some(Kind::Object) => {}
            None => self.report(FieldError::required(
                &format!("{path}.type"),
                "must not be empty at the root",
            )),
            Some(kind) => self.report(FieldError::invalid(
                &format!("{path}.type"),
                &Value::from(kind.name()),
                "must be object at the root",
            )),
        }
        add_object_fields(&mut node, true);
        self.rules(path, schema, &mut node);
        self.check_default(path, &node);
        Arc::new(node)
    }

    fn report(&mut self, error: FieldError) {
        if self.errors.len() < MAX_REPORTED {
            self.errors.push(error);
        }
    }

    /// A structural level below the root, complete with rules.
    fn level(&mut self, path: &str, schema: &Value, level: Level) -> Arc<Node> {
        if self.depth >= MAX_DEPTH {
            self.report(FieldError::forbidden(
                path,
                &format!("must not be nested deeper than {MAX_DEPTH} levels"),
            ));
            return Arc::new(Node::default());
        }
        self.depth += 1;
        let mut node = self.structural(path, schema, level);
        if node.embedded {
            add_object_fields(&mut node, false);
        }
        self.rules(path, schema, &mut node);
        self.check_default(path, &node);
        self.depth -= 1;
        Arc::new(node)
    }

    /// Everything but rules.
    fn structural(&mut self, path: &str, schema: &Value, level: Level) -> Node {
        let empty = Map::new();
        let map = schema.as_object().unwrap_or(&empty);
        let flag = |name: &str| map.get(name).and_then(Value::as_bool) == Some(true);
        let mut node = Node {
            kind: self.kind(path, map),
            int_or_string: flag("x-kubernetes-int-or-string"),
            nullable: flag("nullable"),
            preserve: flag("x-kubernetes-preserve-unknown-fields"),
            embedded: flag("x-kubernetes-embedded-resource"),
            default: map.get("default").cloned(),
            ..Node::default()
        };
        self.children(path, map, &mut node);
        node.list = self.list_type(path, map, &node);
        node.checks = self.checks(path, map, node.int_or_string);
        self.junctions(path, map, &mut node);
        self.structural_only(path, map, &node, level);
        node.any_rules = node.properties.values().any(|child| child.any_rules)
            || node.additional.as_ref().is_some_and(|child| child.any_rules)
            || node.items.as_ref().is_some_and(|child| child.any_rules);
        node
    }

    fn kind(&mut self, path: &str, map: &Map<String, Value>) -> Option<Kind> {
        let name = map.get("type")?.as_str().unwrap_or_default();
        let kind = Kind::parse(name);
        if kind.is_none() && !name.is_empty() {
            let supported = ["array", "boolean", "integer", "number", "object", "string"].map(str::to_owned);
            self.report(FieldError::not_supported(
                &format!("{path}.type"),
                &Value::from(name),
                &supported,
            ));
        }
        kind
    }

    fn children(&mut self, path: &str, map: &Map<String, Value>, node: &mut Node) {
        for (name, schema) in map
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            let child = self.level(&format!("{path}.properties[{name}]"), schema, Level::Field);
            node.properties.insert(name.clone(), child);
        }
        match map.get("additionalProperties") {
            Some(Value::Bool(false)) => self.report(FieldError::forbidden(
                &format!("{path}.additionalProperties"),
                "additionalProperties cannot be set to false",
            )),
            Some(Value::Bool(true)) => node.additional = Some(Arc::new(Node::anything())),
            Some(schema) => {
                if !node.properties.is_empty() {
                    self.report(FieldError::forbidden(
                        &format!("{path}.additionalProperties"),
                        "additionalProperties and properties are mutual exclusive",
                    ));
                }
                let child = self.level(&format!("{path}.additionalProperties"), schema, Level::Field);
                node.additional = Some(child);
            }
            None => {}
        }
        match map.get("items") {
            Some(Value::Array(_)) => self.report(FieldError::forbidden(
                &format!("{path}.items"),
                "items must be a schema object and not an array",
            )),
            Some(schema) => {
                let outside = self.uncorrelatable.clone();
                // members of other lists cannot be told apart, so they have no former selves
                if map.get("x-kubernetes-list-type").and_then(Value::as_str) != Some("map") {
                    self.uncorrelatable.get_or_insert_with(|| format!("{path}.items"));
                }
                node.items = Some(self.level(&format!("{path}.items"), schema, Level::Item));
                self.uncorrelatable = outside;
            }
            None if node.kind == Some(Kind::Array) => {
                self.report(FieldError::required(
                    &format!("{path}.items"),
                    "must be specified",
                ));
            }
            None => {}
        }
    }

    /// What only a structural level must obey.
    fn structural_only(&mut self, path: &str, map: &Map<String, Value>, node: &Node, level: Level) {
        if node.kind.is_none() && !node.int_or_string && !node.preserve && level != Level::Root {
            let place = if level == Level::Item {
                "array items"
            } else {
                "object fields"
            };
            let detail = format!("must not be empty for specified {place}");
            self.report(FieldError::required(&format!("{path}.type"), &detail));
        }
        if node.int_or_string && node.kind.is_some() {
            let detail = "must be empty if x-kubernetes-int-or-string is true";
            self.report(FieldError::forbidden(&format!("{path}.type"), detail));
        }
        if node.embedded && node.kind != Some(Kind::Object) {
            let detail = "must be object if x-kubernetes-embedded-resource is true";
            self.report(FieldError::required(&format!("{path}.type"), detail));
        }
        if map
            .get("x-kubernetes-preserve-unknown-fields")
            .and_then(Value::as_bool)
            == Some(false)
        {
            let detail = "must be true or undefined";
            self.report(FieldError::invalid(
                &format!("{path}.x-kubernetes-preserve-unknown-fields"),
                &Value::Bool(false),
                detail,
            ));
        }
        if map.get("uniqueItems").and_then(Value::as_bool) == Some(true) {
            let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
            self.report(FieldError::forbidden(&format!("{path}.uniqueItems"), detail));
        }
        for (word, detail) in [
            ("$ref", "$ref is not supported"),
            ("definitions", "definitions is not supported"),
            ("dependencies", "dependencies is not supported"),
            ("patternProperties", "patternProperties is not supported"),
            ("additionalItems", "additionalItems is not supported"),
        ] {
            if map.contains_key(word) {
                self.report(FieldError::forbidden(&format!("{path}.{word}"), detail));
            }
        }
    }

    fn list_type(&mut self, path: &str, map: &Map<String, Value>, node: &Node) -> ListType {
        let Some(name) = map.get("x-kubernetes-list-type").and_then(Value::as_str) else {
            return ListType::Atomic;
        };
        if node.kind != Some(Kind::Array) {
            let detail = "must be array if x-kubernetes-list-type is specified";
            self.report(FieldError::invalid(
                &format!("{path}.type"),
                &map.get("type").cloned().unwrap_or_default(),
                detail,
            ));
        }
        match name {
            "atomic" => ListType::Atomic,
            "set" => ListType::Set,
            "map" => self.list_map(path, map, node),
            other => {
                let supported = ["atomic", "map", "set"].map(str::to_owned);
                let field = format!("{path}.x-kubernetes-list-type");
                self.report(FieldError::not_supported(&field, &Value::from(other), &supported));
                ListType::Atomic
            }
        }
    }

    fn list_map(&mut self, path: &str, map: &Map<String, Value>, node: &Node) -> ListType {
        let keys = strings(map.get("x-kubernetes-list-map-keys"));
        if keys.is_empty() {
            let detail = "must not be empty if x-kubernetes-list-type is map";
            self.report(FieldError::required(
                &format!("{path}.x-kubernetes-list-map-keys"),
                detail,
            ));
        }
        for (i, key) in keys.iter().enumerate() {
            let item = node.items.as_ref();
            match item.and_then(|item| item.properties.get(key)) {
                None => self.report(FieldError::invalid(
                    &format!("{path}.x-kubernetes-list-map-keys[{i}]"),
                    &Value::from(key.as_str()),
                    "must be defined in items.properties",
                )),
                Some(property) => {
                    let required = item.is_some_and(|item| item.checks.required.contains(key));
                    if property.default.is_none() && !required {
                        self.report(FieldError::required(
                            &format!("{path}.items.properties[{key}].default"),
                            "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
                        ));
                    }
                }
            }
        }
        ListType::Map(keys)
    }

    fn checks(&mut self, path: &str, map: &Map<String, Value>, int_or_string: bool) -> Checks {
        let flag = |name: &str| map.get(name).and_then(Value::as_bool) == Some(true);
        let count = |name: &str| map.get(name).and_then(Value::as_u64);
        let number = |name: &str| -> Option<Number> { map.get(name)?.as_number().cloned() };
        // with int-or-string, a format such as int32 speaks of the number only
        let format = map
            .get("format")
            .and_then(Value::as_str)
            .filter(|_| !int_or_string)
            .map(str::to_owned);
        Checks {
            required: strings(map.get("required")),
            choices: map
                .get("enum")
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default(),
            minimum: number("minimum"),
            exclusive_minimum: flag("exclusiveMinimum"),
            maximum: number("maximum"),
            exclusive_maximum: flag("exclusiveMaximum"),
            multiple_of: number("multipleOf"),
            min_length: count("minLength"),
            max_length: count("maxLength"),
            pattern: self.pattern(path, map),
            format,
            min_items: count("minItems"),
            max_items: count("maxItems"),
            unique_items: flag("uniqueItems"),
            min_properties: count("minProperties"),
            max_properties: count("maxProperties"),
            ..Checks::default()
        }
    }

    fn pattern(&mut self, path: &str, map: &Map<String, Value>) -> Option<regex::Regex> {
        let text = map.get("pattern")?.as_str().filter(|text| !text.is_empty())?;
        match RegexBuilder::new(text)
            .size_limit(MAX_REGEX)
            .nest_limit(64)
            .build()
        {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                let detail = format!("must be a valid regular expression, but isn't: {error}");
                self.report(FieldError::invalid(
                    &format!("{path}.pattern"),
                    &Value::from(text),
                    &detail,
                ));
                None
            }
        }
    }

    fn junctions(&mut self, path: &str, map: &Map<String, Value>, node: &mut Node) {
        for word in ["allOf", "anyOf", "oneOf"] {
            let Some(branches) = map.get(word).and_then(Value::as_array) else {
                continue;
            };
            // the fixed way to say "int or string" adds nothing to x-kubernetes-int-or-string
            if word == "anyOf" && node.int_or_string && is_int_or_string(branches) {
                continue;
            }
            let branches: Vec<Arc<Node>> = branches
                .iter()
                .enumerate()
                .map(|(i, branch)| {
                    self.value_validation(
                        &format!("{path}.{word}[{i}]"),
                        path,
                        branch,
                        map,
                        node.int_or_string,
                    )
                })
                .collect();
            match word {
                "allOf" => node.checks.all_of = branches,
                "anyOf" => node.checks.any_of = branches,
                _ => node.checks.one_of = branches,
            }
        }
        if let Some(not) = map.get("not") {
            let not = self.value_validation(&format!("{path}.not"), path, not, map, node.int_or_string);
            node.checks.not = Some(not);
        }
    }

    fn rules(&mut self, path: &str, schema: &Value, node: &mut Node) {
        let Some(rules) = schema.get("x-kubernetes-validations").and_then(Value::as_array) else {
            return;
        };
        let path = format!("{path}.x-kubernetes-validations");
        let compiled: Vec<Result<Rule, FieldError>> = cel::compile_all(&path, rules, node);
        for (i, rule) in compiled.into_iter().enumerate() {
            match (rule, &self.uncorrelatable) {
                (Ok(rule), Some(list)) if rule.uses_old_self() => {
                    let detail = format!(
                        "oldSelf cannot be used on the uncorrelatable portion of the schema within {list}"
                    );
                    let field = format!("{path}[{i}].rule");
                    self.report(FieldError::invalid(&field, &Value::from(rule.text()), &detail));
                }
                (Ok(rule), _) => node.rules.push(rule),
                (Err(error), _) => self.report(error),
            }
        }
        node.any_rules |= !node.rules.is_empty();
    }

    /// A default must itself be pruned and valid.
    fn check_default(&mut self, path: &str, node: &Node) {
        let Some(default) = &node.default else { return };
        if default.is_null() && node.nullable {
            return;
        }
        let mut value = default.clone();
        let mut unknown = Vec::new();
        shape::prune(node, &mut value, &mut String::new(), &mut unknown);
        if !unknown.is_empty() {
            let detail = format!("must not have unknown fields: {}", unknown.join(", "));
            self.report(FieldError::invalid(&format!("{path}.default"), default, &detail));
        }
        shape::default(node, &mut value);
        for error in check::check_tree(node, &value, None) {
            let field = match error.field.as_str() {
                "<nil>" => format!("{path}.default"),
                inner => format!("{path}.default.{inner}"),
            };
            self.report(FieldError { field, ..error });
        }
    }
}

fn is_flagged(map: Option<&Map<String, Value>>) -> bool {
    map.and_then(|map| map.get("x-kubernetes-int-or-string"))
        .and_then(Value::as_bool)
        == Some(true)
}

fn is_int_or_string(branches: &[Value]) -> bool {
    let kinds: Vec<&str> = branches
        .iter()
        .filter_map(|branch| branch.get("type")?.as_str())
        .collect();
    kinds == ["integer", "string"] && branches.len() == 2
}

fn strings(value: Option<&Value>) -> Vec<String> {
    value
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// Give a node the fields that every object has. What the schema itself says about `metadata` (its
/// name's length, say) stays as an extra check.
fn add_object_fields(node: &mut Node, is_root: bool) {
    let text = || {
        Arc::new(Node {
            kind: Some(Kind::String),
            ..Node::default()
        })
    };
    for field in ["apiVersion", "kind"] {
        node.properties.entry(field.to_owned()).or_insert_with(text);
        if !is_root && !node.checks.required.iter().any(|required| required == field) {
            node.checks.required.push(field.to_owned());
        }
    }
    let Some(known) = openapi::object_meta() else {
        return;
    };
    let declared = node
        .properties
        .get("metadata")
        .filter(|declared| !declared.properties.is_empty())
        .cloned();
    let metadata = match declared {
        None => known,
        Some(declared) => Arc::new(Node {
            kind: known.kind,
            properties: known.properties.clone(),
            checks: Checks {
                also: Some(declared),
                ..Checks::default()
            },
            ..Node::default()
        }),
    };
    node.properties.insert("metadata".to_owned(), metadata);
}
