//! Label and field selectors as query strings carry them. Pure.
//!
//! Grammar and error texts follow `k8s.io/apimachinery/pkg/labels` (parser) and `pkg/fields`.
use std::collections::{BTreeMap, BTreeSet};

use super::meta;

/// Why a selector cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// The label selector does not follow the grammar.
    #[error("unable to parse requirement: {0}")]
    Label(String),
    /// The field selector does not follow the grammar.
    #[error("invalid selector: '{selector}'; can't understand '{term}'")]
    Field { selector: String, term: String },
    /// The resource cannot be selected by this field.
    #[error("field label not supported: {0}")]
    UnsupportedField(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    GreaterThan(i64),
    LessThan(i64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
    values: BTreeSet<String>,
}

impl Requirement {
    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match &self.operator {
            Operator::In => value.is_some_and(|v| self.values.contains(v)),
            Operator::NotIn => value.is_none_or(|v| !self.values.contains(v)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan(bound) => value
                .and_then(|v| v.parse().ok())
                .is_some_and(|v: i64| v > *bound),
            Operator::LessThan(bound) => value
                .and_then(|v| v.parse().ok())
                .is_some_and(|v: i64| v < *bound),
        }
    }
}

/// A parsed `labelSelector`; the empty one selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector(Vec<Requirement>);

impl LabelSelector {
    /// Parses `a=b,c in (d,e),!f`.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        Parser::new(text)
            .requirements()
            .map(Self)
            .map_err(SelectorError::Label)
    }

    /// Whether an object with these labels is selected.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| requirement.matches(labels))
    }

    /// Whether everything is selected.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Tokens of the label selector grammar; the text of a word is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Symbol(&'static str),
    End,
}

impl Token {
    fn text(&self) -> &str {
        match self {
            Token::Word(word) => word,
            Token::Symbol(symbol) => symbol,
            Token::End => "",
        }
    }
}

const SYMBOLS: [&str; 9] = ["==", "!=", "=", "!", "(", ")", ",", ">", "<"];

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn new(text: &str) -> Self {
        let mut tokens = Vec::new();
        let mut rest = text;
        loop {
            rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
            if rest.is_empty() {
                break;
            }
            if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
                tokens.push(Token::Symbol(symbol));
                rest = &rest[symbol.len()..];
                continue;
            }
            let end = rest
                .find(|c: char| "=!(),><".contains(c) || matches!(c, ' ' | '\t' | '\r' | '\n'))
                .unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..end].to_string()));
            rest = &rest[end..];
        }
        Self { tokens, at: 0 }
    }

    fn peek(&self) -> Token {
        self.tokens.get(self.at).cloned().unwrap_or(Token::End)
    }

    fn next(&mut self) -> Token {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn requirements(&mut self) -> Result<Vec<Requirement>, String> {
        let mut requirements = Vec::new();
        if self.peek() == Token::End {
            return Ok(requirements);
        }
        loop {
            requirements.push(self.requirement()?);
            match self.next() {
                Token::End => return Ok(requirements),
                Token::Symbol(",") => match self.peek() {
                    Token::Word(_) | Token::Symbol("!") => {}
                    other => {
                        return Err(format!(
                            "found '{}', expected: identifier after ','",
                            other.text()
                        ));
                    }
                },
                other => {
                    return Err(format!(
                        "found '{}', expected: ',' or 'end of string'",
                        other.text()
                    ));
                }
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let negated = self.peek() == Token::Symbol("!");
        if negated {
            self.next();
        }
        let key = match self.next() {
            Token::Word(word) => word,
            other => return Err(format!("found '{}', expected: identifier", other.text())),
        };
        meta::check_qualified_name(&key).map_err(|why| format!("key: Invalid value: {key:?}: {why}"))?;
        let bare = |operator| Requirement {
            key: key.clone(),
            operator,
            values: BTreeSet::new(),
        };
        if matches!(self.peek(), Token::End | Token::Symbol(",")) {
            return Ok(bare(if negated {
                Operator::DoesNotExist
            } else {
                Operator::Exists
            }));
        }
        if negated {
            return Err(format!(
                "found '{}', expected: ',' or 'end of string'",
                self.peek().text()
            ));
        }
        let operator = self.next();
        let (operator, values) = match operator.text() {
            "=" | "==" => (Operator::In, BTreeSet::from([self.exact_value()])),
            "!=" => (Operator::NotIn, BTreeSet::from([self.exact_value()])),
            "in" => (Operator::In, self.values()?),
            "notin" => (Operator::NotIn, self.values()?),
            ">" => (Operator::GreaterThan(self.bound()?), BTreeSet::new()),
            "<" => (Operator::LessThan(self.bound()?), BTreeSet::new()),
            other => {
                return Err(format!("found '{other}', expected: in, notin, =, ==, !=, gt, lt"));
            }
        };
        for value in &values {
            meta::check_label_value(value)
                .map_err(|why| format!("values[0][{key}]: Invalid value: {value:?}: {why}"))?;
        }
        Ok(Requirement {
            key,
            operator,
            values,
        })
    }

    fn exact_value(&mut self) -> String {
        match self.peek() {
            Token::Word(word) => {
                self.next();
                word
            }
            _ => String::new(),
        }
    }

    fn bound(&mut self) -> Result<i64, String> {
        let text = self.exact_value();
        text.parse().map_err(|_| {
            format!(
                "values[0]: Invalid value: {text:?}: for 'Gt', 'Lt' operators, the value must be an integer"
            )
        })
    }

    fn values(&mut self) -> Result<BTreeSet<String>, String> {
        match self.next() {
            Token::Symbol("(") => {}
            other => return Err(format!("found '{}' expected: '('", other.text())),
        }
        let mut values = BTreeSet::new();
        if self.peek() == Token::Symbol(")") {
            return Err(
                "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty".into(),
            );
        }
        loop {
            values.insert(self.exact_value());
            match self.next() {
                Token::Symbol(",") => {}
                Token::Symbol(")") => return Ok(values),
                other => return Err(format!("found '{}', expected: ',' or ')'", other.text())),
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct FieldTerm {
    field: String,
    equal: bool,
    value: String,
}

/// A parsed `fieldSelector`; the empty one selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector(Vec<FieldTerm>);

impl FieldSelector {
    /// Parses `a=b,c!=d`, with `\,` `\=` `\\` as escapes in values.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut terms = Vec::new();
        for term in split_unescaped(text) {
            if term.is_empty() {
                continue;
            }
            let Some((field, equal, value)) =
                split_term(term).and_then(|(f, e, v)| Some((f, e, unescape(v)?)))
            else {
                return Err(SelectorError::Field {
                    selector: text.to_string(),
                    term: term.to_string(),
                });
            };
            terms.push(FieldTerm {
                field: field.to_string(),
                equal,
                value,
            });
        }
        Ok(Self(terms))
    }

    /// Refuses fields that `supported` does not know.
    pub fn check(&self, supported: impl Fn(&str) -> bool) -> Result<(), SelectorError> {
        match self.0.iter().find(|term| !supported(&term.field)) {
            Some(term) => Err(SelectorError::UnsupportedField(term.field.clone())),
            None => Ok(()),
        }
    }

    /// Whether an object is selected, `value_of` giving its fields (absent = empty).
    pub fn matches<'a>(&self, value_of: impl Fn(&str) -> &'a str) -> bool {
        self.0
            .iter()
            .all(|term| (value_of(&term.field) == term.value) == term.equal)
    }

    /// Whether everything is selected.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value that `field` must have, if the selector says so: one object instead of a whole list.
    pub fn required(&self, field: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|term| term.equal && term.field == field)
            .map(|term| term.value.as_str())
    }
}

fn split_unescaped(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    let at = term.find(['=', '!'])?;
    let (field, rest) = (&term[..at], &term[at..]);
    [("!=", false), ("==", true), ("=", true)]
        .iter()
        .find_map(|(operator, equal)| rest.strip_prefix(operator).map(|value| (field, *equal, value)))
}

fn unescape(value: &str) -> Option<String> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next()? {
                c @ ('\\' | ',' | '=') => out.push(c),
                _ => return None,
            },
            ',' | '=' => return None,
            c => out.push(c),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect()
    }

    fn selects(selector: &str, pairs: &[(&str, &str)]) -> bool {
        LabelSelector::parse(selector).unwrap().matches(&labels(pairs))
    }

    #[test]
    fn equality_and_sets_select_as_the_api_server_does() {
        assert!(selects("", &[]));
        assert!(selects("a=b", &[("a", "b")]));
        assert!(selects("a == b , c!=d", &[("a", "b")]));
        assert!(!selects("a!=b", &[("a", "b")]));
        assert!(selects("a in (b, c)", &[("a", "c")]));
        assert!(!selects("a in (b,c)", &[]));
        assert!(selects("a notin (b,c)", &[]));
        assert!(selects("a", &[("a", "")]));
        assert!(selects("!a", &[("b", "")]));
        assert!(selects("a=", &[("a", "")]));
        assert!(selects(
            "errand.dev/task=x,n>3,n<5",
            &[("errand.dev/task", "x"), ("n", "4")]
        ));
        assert!(!selects("n>3", &[("n", "abc")]));
        assert!(selects("a in (,b)", &[("a", "")]));
    }

    #[test]
    fn malformed_label_selectors_are_refused_with_a_reason() {
        for bad in [
            "=a", "a=b,", "a in b", "a in ()", "a in (b", "a b", "!a=b", "a=b=c", ",", "-a=b", "a=b c", "n>x",
        ] {
            let error = LabelSelector::parse(bad).unwrap_err();
            assert!(
                error.to_string().starts_with("unable to parse requirement: "),
                "{bad}: {error}"
            );
        }
    }

    #[test]
    fn field_selectors_compare_and_unescape() {
        let selector = FieldSelector::parse(r"metadata.name=a\,b,status.phase!=Failed").unwrap();
        let of = |name: &'static str, phase: &'static str| {
            move |f: &str| if f == "metadata.name" { name } else { phase }
        };
        assert!(selector.matches(of("a,b", "Running")));
        assert!(!selector.matches(of("a,b", "Failed")));
        assert!(!selector.matches(of("ab", "Running")));
        assert_eq!(selector.required("metadata.name"), Some("a,b"));
        assert!(FieldSelector::parse("novalue").is_err());
        assert!(FieldSelector::parse(r"a=\x").is_err());
        assert_eq!(
            selector.check(|f| f == "metadata.name").unwrap_err().to_string(),
            "field label not supported: status.phase"
        );
    }

    proptest! {
        #[test]
        fn hostile_text_never_panics(text in "\\PC{0,60}") {
            let _ = LabelSelector::parse(&text).map(|s| s.matches(&BTreeMap::new()));
            let _ = FieldSelector::parse(&text).map(|s| s.matches(|_| ""));
        }

        #[test]
        fn what_is_selected_by_equality_is_exactly_the_equal_value(key in "[a-z]{1,5}", a in "[a-z0-9]{1,5}", b in "[a-z0-9]{0,5}") {
            let selector = LabelSelector::parse(&format!("{key}={a}")).unwrap();
            prop_assert_eq!(selector.matches(&labels(&[(&key, &b)])), a == b);
            let negative = LabelSelector::parse(&format!("{key} notin ({a})")).unwrap();
            prop_assert_eq!(negative.matches(&labels(&[(&key, &b)])), a != b);
        }
    }
}
