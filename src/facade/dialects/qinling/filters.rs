//! What lists are narrowed to: `field=value` or `field=OP:value` in the query. Pure.

use std::collections::BTreeMap;

use crate::facade::refusal::Refusal;

/// Conditions on fields, all of which must hold.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Filters {
    /// Lists of every project are asked for.
    pub all_projects: bool,
    conditions: Vec<(String, Condition)>,
}

#[derive(Debug, PartialEq, Eq)]
struct Condition {
    operator: Operator,
    value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Eq,
    Neq,
    Gt,
    Gte,
    Lt,
    Lte,
    Has,
    In,
    Nin,
}

const OPERATORS: [(&str, Operator); 9] = [
    ("eq:", Operator::Eq),
    ("neq:", Operator::Neq),
    ("gt:", Operator::Gt),
    ("gte:", Operator::Gte),
    ("lt:", Operator::Lt),
    ("lte:", Operator::Lte),
    ("has:", Operator::Has),
    ("in:", Operator::In),
    ("nin:", Operator::Nin),
];

impl Filters {
    /// Reads a query that may name these fields, and `all_projects`.
    ///
    /// # Errors
    /// It names another one.
    pub fn read(query: BTreeMap<String, String>, fields: &[&str]) -> Result<Self, Refusal> {
        let mut filters = Self::default();
        for (name, text) in query {
            if name == "all_projects" && fields.contains(&"project_id") {
                filters.all_projects =
                    matches!(text.to_ascii_lowercase().as_str(), "true" | "1" | "yes" | "on");
            } else if fields.contains(&name.as_str()) {
                filters.conditions.push((name, Condition::of(&text)));
            } else {
                return Err(Refusal::Invalid(format!("Unknown argument: \"{name}\"")));
            }
        }
        Ok(filters)
    }

    /// The one value that a field must have, where the query says it plainly.
    pub fn exactly(&self, field: &str) -> Option<&str> {
        let found = self.conditions.iter().find(|(name, _)| name == field);
        let condition = found.map(|(_, condition)| condition);
        condition
            .filter(|condition| condition.operator == Operator::Eq)
            .map(|condition| condition.value.as_str())
    }

    /// Whether all conditions hold for an object of this namespace, where only that is asked for.
    pub fn admit_project(&self, namespace: &str) -> bool {
        self.admit(|field| (field == "project_id").then_some(namespace))
    }

    /// Whether all conditions hold for what `value` says of each field. A field without a value fulfils none, as in SQL.
    pub fn admit<'a>(&self, value: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.conditions
            .iter()
            .all(|(field, condition)| value(field).is_some_and(|value| condition.holds(value)))
    }
}

impl Condition {
    fn of(text: &str) -> Self {
        let found = OPERATORS
            .into_iter()
            .find_map(|(word, operator)| text.strip_prefix(word).map(|rest| (operator, rest)));
        // What begins with no operator is the value itself.
        let (operator, value) = found.unwrap_or((Operator::Eq, text));
        Self {
            operator,
            value: value.to_owned(),
        }
    }

    fn holds(&self, value: &str) -> bool {
        let wanted = self.value.as_str();
        match self.operator {
            Operator::Eq => value == wanted,
            Operator::Neq => value != wanted,
            Operator::Gt => value > wanted,
            Operator::Gte => value >= wanted,
            Operator::Lt => value < wanted,
            Operator::Lte => value <= wanted,
            Operator::Has => value.contains(wanted),
            Operator::In => wanted.split(',').any(|one| one == value),
            Operator::Nin => wanted.split(',').all(|one| one != value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(text: &str, value: Option<&str>) -> bool {
        let query = BTreeMap::from([("status".to_owned(), text.to_owned())]);
        let filters = Filters::read(query, &["status"]).unwrap();
        filters.admit(|field| (field == "status").then_some(value).flatten())
    }

    #[test]
    fn each_operator_compares_texts() {
        for (text, value, expected) in [
            ("success", "success", true),
            ("eq:success", "success", true),
            ("success", "failed", false),
            ("neq:success", "failed", true),
            ("neq:success", "success", false),
            ("gt:b", "c", true),
            ("gt:b", "b", false),
            ("gte:b", "b", true),
            ("lt:b", "a", true),
            ("lt:b", "b", false),
            ("lte:b", "b", true),
            ("has:cc", "success", true),
            ("has:x", "success", false),
            ("in:failed,success", "success", true),
            ("in:failed,error", "success", false),
            ("nin:failed,error", "success", true),
            ("nin:failed,success", "success", false),
            ("bogus:success", "success", false),
            ("bogus:x", "bogus:x", true),
        ] {
            assert_eq!(admits(text, Some(value)), expected, "{text} {value}");
            assert!(!admits(text, None), "{text}: nothing fulfils no condition");
        }
    }

    #[test]
    fn other_arguments_are_refused() {
        let query = |name: &str| BTreeMap::from([(name.to_owned(), "1".to_owned())]);
        for name in ["limit", "marker", "fields", "all_projects", "x"] {
            let refused = Filters::read(query(name), &["status"]).unwrap_err();
            assert_eq!(refused, Refusal::Invalid(format!("Unknown argument: \"{name}\"")));
        }
        let all = Filters::read(query("all_projects"), &["project_id"]).unwrap();
        assert!(all.all_projects);
    }
}
