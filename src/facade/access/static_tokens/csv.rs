//! The fields of a line of CSV (RFC 4180), as strict as Go's `encoding/csv`, which kube-apiserver reads with, and
//! without line breaks in quotes.

use super::LineError;

pub(super) fn fields(line: &str) -> Result<Vec<String>, LineError> {
    let mut fields = Vec::new();
    let mut rest = Some(line);
    while let Some(text) = rest {
        let (field, after) = match text.strip_prefix('"') {
            Some(quoted) => unquoted(quoted)?,
            None => {
                let (field, after) = match text.split_once(',') {
                    Some((field, after)) => (field, Some(after)),
                    None => (text, None),
                };
                if field.contains('"') {
                    return Err(LineError::Quotes);
                }
                (field.to_owned(), after)
            }
        };
        fields.push(field);
        rest = after;
    }
    Ok(fields)
}

/// The field after an opening quote, and what comes after the comma behind it.
fn unquoted(mut text: &str) -> Result<(String, Option<&str>), LineError> {
    let mut field = String::new();
    loop {
        let (part, after) = text.split_once('"').ok_or(LineError::Quotes)?;
        field.push_str(part);
        if let Some(after) = after.strip_prefix('"') {
            field.push('"');
            text = after;
        } else if after.is_empty() {
            return Ok((field, None));
        } else {
            let after = after.strip_prefix(',').ok_or(LineError::Quotes)?;
            return Ok((field, Some(after)));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_are_parted_by_commas_outside_of_quotes() {
        for (line, wanted) in [
            ("a,b,c", &["a", "b", "c"][..]),
            ("a,,", &["a", "", ""]),
            (r#"a,b,c,"d,e""#, &["a", "b", "c", "d,e"]),
            (r#""a""b","""",c"#, &[r#"a"b"#, r#"""#, "c"]),
            ("\"\",x", &["", "x"]),
            ("", &[""]),
        ] {
            let wanted: Vec<String> = wanted.iter().map(|field| (*field).to_owned()).collect();
            assert_eq!(fields(line), Ok(wanted), "{line}");
        }
    }

    #[test]
    fn quotes_in_wrong_places_are_refused() {
        for line in [r#"a"b,c"#, r#""a"#, r#""a"b,c"#, r#"""#, r#"a,"b"#, r#"a, "b""#] {
            assert_eq!(fields(line), Err(LineError::Quotes), "{line}");
        }
    }

    proptest! {
        #[test]
        fn what_was_quoted_comes_back(wanted in proptest::collection::vec("[a-z,\" ]{0,6}", 1..6)) {
            let quoted: Vec<String> = wanted.iter().map(|field| format!("\"{}\"", field.replace('"', "\"\""))).collect();
            prop_assert_eq!(fields(&quoted.join(",")), Ok(wanted));
        }

        #[test]
        fn any_line_is_read_or_refused(line in ".{0,40}") {
            let _ = fields(&line);
        }
    }
}
