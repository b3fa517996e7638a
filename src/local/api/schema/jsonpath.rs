//! The part of Kubernetes' JSONPath that printer columns use.

use serde_json::Value;

/// A parsed path.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct JsonPath {
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(String),
    Index(i64),
    All,
    Filter { path: JsonPath, test: Test },
}

#[derive(Debug, Clone, PartialEq)]
enum Test {
    Exists,
    Compare(Operator, Value),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Longest path that is taken, in bytes.
const MAX_PATH: usize = 1024;

impl JsonPath {
    /// Parse `.spec.x`, `.items[0]`, `.metadata.labels['a.b/c']`, `.metadata.labels.a\.b`,
    /// `.status.conditions[?(@.type=="Ready")].status`, `[*]`; braces around it are allowed.
    ///
    /// # Errors
    /// A sentence that says where the path is not understood.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_PATH {
            return Err(format!("is longer than {MAX_PATH} bytes"));
        }
        let inner = text
            .strip_prefix('{')
            .and_then(|text| text.strip_suffix('}'))
            .unwrap_or(text);
        let inner = inner.strip_prefix('$').unwrap_or(inner);
        let mut rest = inner;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('.') {
                if after.starts_with('[') || (after.is_empty() && steps.is_empty()) {
                    rest = after;
                    continue;
                }
                let (name, after) = field(after);
                if name.is_empty() {
                    return Err(format!("expects a field name at \"{rest}\""));
                }
                steps.push(if name == "*" { Step::All } else { Step::Field(name) });
                rest = after;
            } else if rest.starts_with('[') {
                let (step, after) = bracket(rest)?;
                steps.push(step);
                rest = after;
            } else if steps.is_empty() {
                // kubectl accepts a path without its first dot
                let (name, after) = field(rest);
                steps.push(Step::Field(name));
                rest = after;
            } else {
                return Err(format!("expects \".\" or \"[\" at \"{rest}\""));
            }
        }
        Ok(Self { steps })
    }

    /// All values at this path.
    pub fn find<'a>(&self, root: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![root];
        for step in &self.steps {
            found = found.into_iter().flat_map(|value| step.apply(value)).collect();
        }
        found
    }
}

/// A field name up to the next `.` or `[`; a backslash takes the next character as it is.
fn field(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '\\' => name.extend(chars.next().map(|(_, c)| c)),
            '.' | '[' => return (name, &text[i..]),
            c => name.push(c),
        }
    }
    (name, "")
}

fn bracket(text: &str) -> Result<(Step, &str), String> {
    let end = closing(text).ok_or_else(|| format!("has no closing \"]\" for \"{text}\""))?;
    let (inner, after) = (text[1..end].trim(), &text[end + 1..]);
    let step = if inner == "*" {
        Step::All
    } else if let Some(filter) = inner.strip_prefix("?(").and_then(|inner| inner.strip_suffix(')')) {
        parse_filter(filter)?
    } else if let Some(name) = unquote(inner) {
        Step::Field(name)
    } else {
        Step::Index(
            inner
                .parse()
                .map_err(|_| format!("does not understand \"[{inner}]\""))?,
        )
    };
    Ok((step, after))
}

/// Position of the `]` that closes the `[` at the start, outside of quotes.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0, None);
    let mut chars = text.char_indices();
    while let Some((i, c)) = chars.next() {
        match (quote, c) {
            (Some(_), '\\') => {
                chars.next();
            }
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') => {
                depth -= 1;
                if depth == 0 {
                    return Some(i);
                }
            }
            _ => {}
        }
    }
    None
}

fn unquote(text: &str) -> Option<String> {
    for quote in ['\'', '"'] {
        if let Some(inner) = text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote)) {
            let mut name = String::new();
            let mut chars = inner.chars();
            while let Some(c) = chars.next() {
                name.extend(if c == '\\' { chars.next() } else { Some(c) });
            }
            return Some(name);
        }
    }
    None
}

fn parse_filter(text: &str) -> Result<Step, String> {
    const OPERATORS: &[(&str, Operator)] = &[
        ("==", Operator::Equal),
        ("!=", Operator::NotEqual),
        ("<=", Operator::LessOrEqual),
        (">=", Operator::GreaterOrEqual),
        ("<", Operator::Less),
        (">", Operator::Greater),
    ];
    let side = |text: &str| -> Result<JsonPath, String> {
        let path = text
            .trim()
            .strip_prefix('@')
            .ok_or_else(|| format!("expects \"@\" at \"{text}\""))?;
        // a filter within a filter is not needed by any column and would recurse
        if path.contains("?(") {
            return Err("has a filter within a filter".to_owned());
        }
        JsonPath::parse(path)
    };
    let at = OPERATORS
        .iter()
        .filter_map(|(sign, operator)| Some((text.find(sign)?, *sign, *operator)));
    let Some((at, sign, operator)) = at.min_by_key(|(at, sign, _)| (*at, 2 - sign.len())) else {
        return Ok(Step::Filter {
            path: side(text)?,
            test: Test::Exists,
        });
    };
    let literal = text[at + sign.len()..].trim();
    let value = match unquote(literal) {
        Some(text) => Value::String(text),
        None => serde_json::from_str(literal).map_err(|_| format!("does not understand \"{literal}\""))?,
    };
    Ok(Step::Filter {
        path: side(&text[..at])?,
        test: Test::Compare(operator, value),
    })
}

impl Step {
    fn apply<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match (self, value) {
            (Step::Field(name), value) => value.get(name).into_iter().collect(),
            (Step::Index(i), Value::Array(items)) => {
                let at = if *i < 0 { items.len() as i64 + i } else { *i };
                usize::try_from(at)
                    .ok()
                    .and_then(|at| items.get(at))
                    .into_iter()
                    .collect()
            }
            (Step::All, Value::Array(items)) => items.iter().collect(),
            (Step::All, Value::Object(map)) => map.values().collect(),
            (Step::Filter { path, test }, Value::Array(items)) => {
                items.iter().filter(|item| test.holds(&path.find(item))).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl Test {
    fn holds(&self, found: &[&Value]) -> bool {
        let (operator, wanted) = match self {
            Test::Exists => return !found.is_empty(),
            Test::Compare(operator, wanted) => (*operator, wanted),
        };
        let Some(&value) = found.first() else { return false };
        let order = match (value.as_f64(), wanted.as_f64()) {
            (Some(a), Some(b)) => a.partial_cmp(&b),
            _ => match (value.as_str(), wanted.as_str()) {
                (Some(a), Some(b)) => Some(a.cmp(b)),
                _ if value == wanted => Some(std::cmp::Ordering::Equal),
                _ => None,
            },
        };
        match operator {
            Operator::Equal => order.is_some_and(std::cmp::Ordering::is_eq),
            Operator::NotEqual => !order.is_some_and(std::cmp::Ordering::is_eq),
            Operator::Less => order.is_some_and(std::cmp::Ordering::is_lt),
            Operator::LessOrEqual => order.is_some_and(std::cmp::Ordering::is_le),
            Operator::Greater => order.is_some_and(std::cmp::Ordering::is_gt),
            Operator::GreaterOrEqual => order.is_some_and(std::cmp::Ordering::is_ge),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn find(path: &str, value: &Value) -> Vec<Value> {
        JsonPath::parse(path)
            .unwrap()
            .find(value)
            .into_iter()
            .cloned()
            .collect()
    }

    #[test]
    fn paths_of_printer_columns_are_followed() {
        let object = json!({
            "metadata": {"labels": {"a.b/c": "x", "plain": "y"}},
            "spec": {"list": [{"n": 1}, {"n": 2}]},
            "status": {"conditions": [{"type": "Other", "status": "False"}, {"type": "Ready", "status": "True"}]},
        });
        for (path, found) in [
            (".spec.list[0].n", json!([1])),
            (".spec.list[-1].n", json!([2])),
            (".spec.list[5].n", json!([])),
            (".spec.list[*].n", json!([1, 2])),
            ("{.metadata.labels.plain}", json!(["y"])),
            (".metadata.labels['a.b/c']", json!(["x"])),
            (".metadata.labels[\"a.b/c\"]", json!(["x"])),
            (".metadata.labels.a\\.b/c", json!(["x"])),
            (".status.conditions[?(@.type==\"Ready\")].status", json!(["True"])),
            (".status.conditions[?(@.type=='Ready')].status", json!(["True"])),
            (
                ".status.conditions[?(@.type != 'Ready')].status",
                json!(["False"]),
            ),
            (".spec.list[?(@.n>1)].n", json!([2])),
            (".spec.list[?(@.n <= 1)].n", json!([1])),
            (".spec.list[?(@.m)].n", json!([])),
            (".nothing.here", json!([])),
            ("spec.list[0].n", json!([1])),
        ] {
            assert_eq!(Value::from(find(path, &object)), found, "{path}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_a_sentence() {
        for path in [
            ".a..b",
            ".a[",
            ".a[x]",
            ".a[?(type=='x')]",
            ".a[?(@.b==x)]",
            ".a]b",
        ] {
            assert!(JsonPath::parse(path).is_err() || path == ".a]b", "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "[a-z.\\[\\]?()@'\"\\\\=*0-9é-]{0,40}") {
            let _ = JsonPath::parse(&text).map(|path| path.find(&json!({"a": [1, {"b": "c"}]})).len());
        }
    }
}
