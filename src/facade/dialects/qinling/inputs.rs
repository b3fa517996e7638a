//! The input of an execution: one text, which is read in three ways. Pure.

use serde_json::Value;

use super::spaced::spaced;
use crate::crd::Input;

/// Media type of an input that holds arguments by name.
pub const JSON: &str = "application/json";
/// Media type of an input that is one argument.
const TEXT: &str = "text/plain; charset=utf-8";

/// What a function is given. A JSON object is written as Python writes it; anything else is one text. The image of a
/// function without code gets the words of a text as arguments.
pub fn input(text: Option<&str>, words: bool) -> Option<Input> {
    let text = text?;
    let (body, content_type) = match serde_json::from_str(text) {
        Ok(object @ Value::Object(_)) => (spaced(&object), JSON),
        _ => (text.to_owned(), TEXT),
    };
    let args = if words && content_type == TEXT {
        text.split_whitespace().map(str::to_owned).collect()
    } else {
        Vec::new()
    };
    Some(Input {
        content_type: Some(content_type.to_owned()),
        body: Some(body),
        args,
        ..Input::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, words: bool) -> (String, String, Vec<String>) {
        let input = input(Some(text), words).unwrap();
        (input.content_type.unwrap(), input.body.unwrap(), input.args)
    }

    #[test]
    fn an_object_holds_arguments_by_name_and_everything_else_is_one_text() {
        assert_eq!(input(None, false), None);
        assert_eq!(
            read(r#"{"a":1}"#, false),
            (JSON.into(), r#"{"a": 1}"#.into(), vec![])
        );
        for text in [
            "plain", "a b", "6", "[1]", "1.5", "true", "\"x\"", "null", "", "{",
        ] {
            assert_eq!(read(text, false), (TEXT.into(), text.into(), vec![]), "{text}");
        }
        assert_eq!(
            read(" a  b", true),
            (TEXT.into(), " a  b".into(), vec!["a".into(), "b".into()])
        );
        assert_eq!(read(r#"{"a":1}"#, true).2, Vec::<String>::new());
    }
}
