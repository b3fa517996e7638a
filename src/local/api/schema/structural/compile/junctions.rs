//! Schemas below `allOf`, `anyOf`, `oneOf` and `not`: they restrict values and describe no structure.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Compiler, FieldError, MAX_DEPTH, Node, is_flagged};

impl Compiler {
    /// A schema below a junction: it may restrict values, not describe structure. `outer` is the
    /// structural level that it restricts, at `outer_path`.
    pub(super) fn value_validation(
        &mut self,
        path: &str,
        outer_path: &str,
        schema: &Value,
        outer: &Map<String, Value>,
        int_or_string: bool,
    ) -> Arc<Node> {
        let empty = Map::new();
        let map = schema.as_object().unwrap_or(&empty);
        if self.depth >= MAX_DEPTH {
            self.report(FieldError::forbidden(
                path,
                &format!("must not be nested deeper than {MAX_DEPTH} levels"),
            ));
            return Arc::new(Node::default());
        }
        self.depth += 1;
        for word in [
            "type",
            "title",
            "description",
            "default",
            "additionalProperties",
            "nullable",
        ]
        .into_iter()
        .chain(
            map.keys()
                .map(String::as_str)
                .filter(|word| word.starts_with("x-kubernetes-")),
        ) {
            let allowed = word == "type" && int_or_string;
            if map.contains_key(word) && !allowed {
                self.report(FieldError::forbidden(
                    &format!("{path}.{word}"),
                    "must be empty to be structural",
                ));
            }
        }
        let mut node = Node {
            nullable: true,
            kind: self.kind(path, map),
            ..Node::default()
        };
        for (name, schema) in map
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            let inner_path = format!("{path}.properties[{name}]");
            let peer_path = format!("{outer_path}.properties[{name}]");
            let peer = outer
                .get("properties")
                .and_then(|properties| properties.get(name))
                .and_then(Value::as_object);
            if peer.is_none() && outer.get("additionalProperties").is_none() {
                self.report(FieldError::required(
                    &peer_path,
                    &format!("because it is defined in {inner_path}"),
                ));
            }
            let child = self.value_validation(
                &inner_path,
                &peer_path,
                schema,
                peer.unwrap_or(&empty),
                is_flagged(peer),
            );
            node.properties.insert(name.clone(), child);
        }
        if let Some(items) = map.get("items") {
            let peer = outer.get("items").and_then(Value::as_object);
            if peer.is_none() {
                let detail = format!("because it is defined in {path}.items");
                self.report(FieldError::required(&format!("{outer_path}.items"), &detail));
            }
            let child = self.value_validation(
                &format!("{path}.items"),
                &format!("{outer_path}.items"),
                items,
                peer.unwrap_or(&empty),
                is_flagged(peer),
            );
            node.items = Some(child);
        }
        node.checks = self.checks(path, map, int_or_string);
        self.nested_junctions(path, outer_path, map, outer, &mut node, int_or_string);
        self.depth -= 1;
        Arc::new(node)
    }

    fn nested_junctions(
        &mut self,
        path: &str,
        outer_path: &str,
        map: &Map<String, Value>,
        outer: &Map<String, Value>,
        node: &mut Node,
        int_or_string: bool,
    ) {
        for word in ["allOf", "anyOf", "oneOf"] {
            let branches: Vec<Arc<Node>> = map
                .get(word)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .enumerate()
                .map(|(i, branch)| {
                    self.value_validation(
                        &format!("{path}.{word}[{i}]"),
                        outer_path,
                        branch,
                        outer,
                        int_or_string,
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
            let not = self.value_validation(&format!("{path}.not"), outer_path, not, outer, int_or_string);
            node.checks.not = Some(not);
        }
    }
}
