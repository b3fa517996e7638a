//! Fields of a request's body, and what this API says of those that are wrong. Pure.

use serde_json::{Map, Value};

use super::spaced::spaced;
use crate::facade::refusal::Refusal;

/// A JSON object with nothing in it that is not known.
#[derive(Debug)]
pub struct Fields(Map<String, Value>);

impl Fields {
    /// Reads a body; `read_only` are fields of answers.
    ///
    /// # Errors
    /// There is no body, it is no JSON object, or it has other fields.
    pub fn read(body: &[u8], known: &[&str], read_only: &[&str]) -> Result<Self, Refusal> {
        if body.is_empty() {
            return Err(Refusal::Invalid("Missing argument: \"body\"".into()));
        }
        let malformed = || Refusal::Invalid("Request is not in valid JSON format".into());
        let fields: Map<String, Value> = serde_json::from_slice(body).map_err(|_| malformed())?;
        for (name, value) in &fields {
            if read_only.contains(&name.as_str()) {
                return Err(invalid(name, value, "Cannot set read only field."));
            }
            if !known.contains(&name.as_str()) {
                let sentence = format!("Unknown attribute for argument body: {name}");
                return Err(Refusal::Invalid(sentence));
            }
        }
        Ok(Self(fields))
    }

    /// True for a field that is there, if only as null.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn value(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A text; null is none.
    ///
    /// # Errors
    /// It is something else.
    pub fn text(&self, name: &str) -> Result<Option<String>, Refusal> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(invalid(name, other, "Wrong type. Expected a string.")),
        }
    }

    /// A text that is no longer than what it is kept in takes.
    ///
    /// # Errors
    /// It is something else, or longer.
    pub fn short_text(&self, name: &str, most: usize) -> Result<Option<String>, Refusal> {
        let text = self.text(name)?;
        match &text {
            Some(long) if long.chars().count() > most => {
                let sentence = format!("{name} may have at most {most} characters");
                Err(Refusal::Invalid(sentence))
            }
            _ => Ok(text),
        }
    }

    /// A whole number of at least `least`, also as text; null is none.
    ///
    /// # Errors
    /// It is something else, or smaller.
    pub fn integer(&self, name: &str, least: i64) -> Result<Option<i64>, Refusal> {
        let Some(value) = self.value(name) else {
            return Ok(None);
        };
        let number = match value {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        match number {
            Some(number) if number >= least => Ok(Some(number)),
            Some(_) => Err(invalid(
                name,
                value,
                &format!("Value should be greater or equal to {least}"),
            )),
            None => Err(invalid(name, value, "Wrong type. Expected an integer.")),
        }
    }

    /// Yes or no, also as text; null is none.
    ///
    /// # Errors
    /// It is something else.
    pub fn boolean(&self, name: &str) -> Result<Option<bool>, Refusal> {
        let Some(value) = self.value(name) else {
            return Ok(None);
        };
        let word = match value {
            Value::Bool(truth) => return Ok(Some(*truth)),
            Value::String(text) => text.trim().to_ascii_lowercase(),
            Value::Number(number) => number.to_string(),
            _ => String::new(),
        };
        // As WSME reads texts.
        match word.as_str() {
            "true" | "t" | "yes" | "y" | "on" | "1" => Ok(Some(true)),
            "false" | "f" | "no" | "n" | "off" | "0" => Ok(Some(false)),
            _ => Err(invalid(name, value, "Wrong type. Expected a boolean.")),
        }
    }

    /// A UUID, in lower case; null is none.
    ///
    /// # Errors
    /// It is something else.
    pub fn id(&self, name: &str) -> Result<Option<String>, Refusal> {
        self.text(name)?.map(|text| id(name, &text)).transpose()
    }
}

/// The UUID that a text is, in lower case and with its dashes.
///
/// # Errors
/// It is none.
pub fn id(name: &str, text: &str) -> Result<String, Refusal> {
    match uuid::Uuid::try_parse(text) {
        Ok(id) => Ok(id.hyphenated().to_string()),
        Err(_) => Err(Refusal::Invalid(format!(
            "Invalid input for field/attribute {name}. Value: '{text}'. unable to convert to uuid. \
             Error: Expected a uuid but received {text}."
        ))),
    }
}

fn invalid(name: &str, value: &Value, why: &str) -> Refusal {
    let shown = match value {
        Value::String(text) => text.clone(),
        other => spaced(other),
    };
    Refusal::Invalid(format!(
        "Invalid input for field/attribute {name}. Value: '{shown}'. {why}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> String {
        let known = ["input", "sync", "function_id", "function_version"];
        let read = Fields::read(body.as_bytes(), &known, &["status"]);
        let checked = read.and_then(|fields| {
            fields.text("input")?;
            fields.boolean("sync")?;
            fields.id("function_id")?;
            fields.integer("function_version", 0)
        });
        checked.unwrap_err().to_string()
    }

    #[test]
    fn what_is_wrong_is_named_in_the_words_of_the_api() {
        assert_eq!(refused(""), "Missing argument: \"body\"");
        for malformed in ["{", "[]", "1", "null", "{\"input\": \"a\"} x"] {
            assert_eq!(
                refused(malformed),
                "Request is not in valid JSON format",
                "{malformed}"
            );
        }
        assert_eq!(refused(r#"{"x": 1}"#), "Unknown attribute for argument body: x");
        assert_eq!(
            refused(r#"{"status": "x"}"#),
            "Invalid input for field/attribute status. Value: 'x'. Cannot set read only field."
        );
        assert_eq!(
            refused(r#"{"function_id": "abc"}"#),
            "Invalid input for field/attribute function_id. Value: 'abc'. unable to convert to uuid. \
             Error: Expected a uuid but received abc."
        );
        assert_eq!(
            refused(r#"{"input": {"a": 1}}"#),
            "Invalid input for field/attribute input. Value: '{\"a\": 1}'. Wrong type. Expected a string."
        );
        for (body, end) in [
            (
                r#"{"function_version": -1}"#,
                "Value should be greater or equal to 0",
            ),
            (r#"{"function_version": 1.5}"#, "Wrong type. Expected an integer."),
            (r#"{"sync": "perhaps"}"#, "Wrong type. Expected a boolean."),
        ] {
            assert!(refused(body).ends_with(end), "{}", refused(body));
        }
    }

    #[test]
    fn numbers_and_truths_may_come_as_text_and_null_is_nothing() {
        let body = br#"{"function_version": "2", "sync": "False", "input": null}"#;
        let fields = Fields::read(body, &["function_version", "sync", "input"], &[]).unwrap();
        assert_eq!(fields.integer("function_version", 0), Ok(Some(2)));
        assert_eq!(fields.boolean("sync"), Ok(Some(false)));
        assert_eq!((fields.text("input"), fields.has("input")), (Ok(None), true));
    }
}
