//! YAML that readers of version 1.1 take as it was meant, kubectl among them: to those a bare `on` is a boolean.

use serde::Serialize;

/// The booleans of YAML 1.1 (<https://yaml.org/type/bool.html>) that are strings in YAML 1.2.
const WORDS: [&str; 6] = ["y", "n", "yes", "no", "on", "off"];

/// Writes a value whose keys are of one line, as those of all objects of Kubernetes are.
pub fn to_string(value: &impl Serialize) -> Result<String, serde_yaml::Error> {
    let text = serde_yaml::to_string(value)?;
    let mut quoted = String::with_capacity(text.len());
    let mut block = None;
    for line in text.split_inclusive('\n') {
        push(&mut quoted, line, &mut block);
    }
    Ok(quoted)
}

/// Adds a line as the writer above breaks them: one scalar or key each, but for the lines of a block scalar, whose parent
/// stands at column `block` and which are left as they are.
fn push(to: &mut String, line: &str, block: &mut Option<usize>) {
    let text = line.trim_start_matches(' ');
    let mut column = line.len() - text.len();
    if block.is_some_and(|parent| text.trim().is_empty() || column > parent) {
        to.push_str(line);
        return;
    }
    let mut rest = text;
    let mut parent = column;
    while let Some(item) = rest.strip_prefix("- ") {
        parent = column;
        column += 2;
        rest = item;
    }
    to.push_str(&line[..column]);
    let (key, value) = split(rest.trim_end());
    if let Some(key) = key {
        parent = column;
        to.push_str(&scalar(key));
        to.push_str(if value.is_empty() { ":" } else { ": " });
    }
    to.push_str(&scalar(value));
    to.push('\n');
    *block = value.starts_with(['|', '>']).then_some(parent);
}

/// Key and value of a line. Without a key it is a value alone.
fn split(line: &str) -> (Option<&str>, &str) {
    let end = match line.chars().next() {
        Some(quote @ ('\'' | '"')) => quoted_end(line, quote).filter(|end| line[*end..].starts_with(':')),
        _ => line.find(": ").or_else(|| line.strip_suffix(':').map(str::len)),
    };
    match end {
        Some(end) => (Some(&line[..end]), line[end + 1..].trim_start_matches(' ')),
        None => (None, line),
    }
}

/// Where the quoted text ends that the line begins with.
fn quoted_end(line: &str, quote: char) -> Option<usize> {
    let mut chars = line.char_indices().skip(1).peekable();
    while let Some((at, next)) = chars.next() {
        match next {
            '\\' if quote == '"' => drop(chars.next()),
            // Within single quotes two of them are one.
            _ if next == quote && quote == '\'' && chars.peek().is_some_and(|(_, next)| *next == quote) => {
                chars.next();
            }
            _ if next == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn scalar(text: &str) -> String {
    if WORDS.iter().any(|word| text.eq_ignore_ascii_case(word)) {
        format!("\"{text}\"")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::crd;

    fn read(text: &str) -> Value {
        serde_yaml::from_str(text).unwrap()
    }

    #[test]
    fn words_that_old_readers_take_for_booleans_are_quoted_as_keys_and_as_values() {
        let value = json!({
            "on": ["Failure", "off", ["NO", "yes"], {"n": "Y"}], "only": "on and off", "script": "on:\n  on: off\n\noff\n",
            "list": ["on:\n- no\n", {"no": 1}], "it's: ": "on\n", "a: b": "no",
        });
        let text = to_string(&value).unwrap();
        assert_eq!(
            text,
            r#""on":
- Failure
- "off"
- - "NO"
  - "yes"
- "n": "Y"
only: on and off
script: |
  on:
    on: off

  off
list:
- |
  on:
  - no
- "no": 1
'it''s: ': |
  on
'a: b': "no"
"#
        );
        assert_eq!(read(&text), value);
    }

    #[test]
    fn the_definitions_name_every_field_so_that_kubectl_reads_it() {
        for (file, definition) in crd::definitions() {
            let text = to_string(&definition).unwrap();
            assert!(text.contains("\"on\":\n"), "{file}");
            assert_eq!(read(&text), json!(definition), "{file}");
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let word = prop_oneof![
            "[a-zA-Z:|>\\- \n'\"#]{0,12}",
            "(on|off|yes|no|y|n|ON|Off):?",
            "( |\n){0,2}(on|- no|off: on)\n{0,2}"
        ];
        let key = prop_oneof!["[a-zA-Z:|>\\- '\"#?]{0,12}", "(on|off|yes|no|y|n|ON|Off):?"];
        let leaf = prop_oneof![
            word.prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            Just(Value::Null)
        ];
        leaf.prop_recursive(4, 24, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((key.clone(), inner), 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn nothing_else_changes(value in values()) {
            let text = to_string(&value).unwrap();
            prop_assert_eq!(read(&text), value, "{}", text);
        }
    }
}
