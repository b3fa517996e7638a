//! Forms that carry functions: multipart with a package, urlencoded, or one JSON object of texts.

use std::collections::BTreeMap;

use axum::{
    body::Body,
    extract::{FromRequest, Request},
    http::header,
};
use bytes::Bytes;
use serde_json::{Map, Value};

use super::package::MAX_PACKAGE;
use crate::facade::{
    extract::{body_up_to, text},
    refusal::Refusal,
    state::Facade,
};

/// Largest form: a package and some text around it.
const MAX_FORM: usize = MAX_PACKAGE + 64 * 1024;
/// Fields of a form that are read; whoever sends more has something else in mind.
const MAX_FIELDS: usize = 64;

/// A form.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// Texts by name.
    pub fields: BTreeMap<String, String>,
    /// The file `package`.
    pub package: Option<Bytes>,
}

impl Form {
    /// A text that is there and not empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.fields
            .get(name)
            .map(String::as_str)
            .filter(|text| !text.is_empty())
    }
}

impl FromRequest<Facade> for Form {
    type Rejection = Refusal;

    async fn from_request(request: Request, facade: &Facade) -> Result<Self, Refusal> {
        let media = text(request.headers(), header::CONTENT_TYPE)
            .unwrap_or_default()
            .to_owned();
        let body = body_up_to(request, facade, MAX_FORM).await?;
        read(&media, body).await
    }
}

/// Reads a form of this media type.
async fn read(media: &str, body: Bytes) -> Result<Form, Refusal> {
    let kind = media
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    match kind.as_str() {
        "multipart/form-data" => multipart(media, body).await,
        "application/x-www-form-urlencoded" => Ok(Form {
            fields: form_urlencoded::parse(&body)
                .into_owned()
                .take(MAX_FIELDS)
                .collect(),
            package: None,
        }),
        // The client's library names this type with an empty body.
        _ if body.is_empty() => Ok(Form::default()),
        _ => object(&body),
    }
}

async fn multipart(media: &str, body: Bytes) -> Result<Form, Refusal> {
    let malformed = |error: multer::Error| Refusal::Invalid(format!("the form cannot be read: {error}"));
    let boundary = multer::parse_boundary(media).map_err(malformed)?;
    let stream = Body::from(body).into_data_stream();
    let mut parts = multer::Multipart::new(stream, boundary);
    let mut form = Form::default();
    while let Some(part) = parts.next_field().await.map_err(malformed)? {
        let name = part.name().unwrap_or_default().to_owned();
        let bytes = part.bytes().await.map_err(malformed)?;
        if name == "package" {
            form.package = Some(bytes);
        } else if form.fields.len() < MAX_FIELDS {
            let text = String::from_utf8(bytes.to_vec());
            let no_text = |_| Refusal::Invalid(format!("the form's field {name} is no text"));
            form.fields.insert(name.clone(), text.map_err(no_text)?);
        }
    }
    Ok(form)
}

fn object(body: &[u8]) -> Result<Form, Refusal> {
    let malformed = |_| Refusal::Invalid("Request is neither a form nor a JSON object".to_owned());
    let object: Map<String, Value> = serde_json::from_slice(body).map_err(malformed)?;
    let texts = object
        .into_iter()
        .take(MAX_FIELDS)
        .filter_map(|(name, value)| match value {
            Value::Null => None,
            Value::String(text) => Some((name, text)),
            other => Some((name, other.to_string())),
        });
    Ok(Form {
        fields: texts.collect(),
        package: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(form: &Form) -> Vec<(&str, &str)> {
        form.fields
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()))
            .collect()
    }

    #[tokio::test]
    async fn the_three_forms_say_the_same() {
        let multipart = "--x\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\na b\r\n\
             --x\r\nContent-Disposition: form-data; name=\"package\"; filename=\"p\"\r\n\r\nPK\x03\r\n--x--\r\n";
        let form = read("multipart/form-data; boundary=x", multipart.into())
            .await
            .unwrap();
        assert_eq!(fields(&form), [("name", "a b")]);
        assert_eq!(form.package.as_deref(), Some(b"PK\x03".as_slice()));
        for (media, body) in [
            ("application/x-www-form-urlencoded", "name=a+b"),
            ("application/json", r#"{"name": "a b", "cpu": null}"#),
        ] {
            let form = read(media, body.into()).await.unwrap();
            assert_eq!(
                (fields(&form), form.package.clone()),
                (vec![("name", "a b")], None),
                "{media}"
            );
        }
    }

    #[tokio::test]
    async fn broken_forms_are_refused() {
        for (media, body) in [
            ("multipart/form-data", "--x--"),
            ("multipart/form-data; boundary=x", "nothing of it"),
            (
                "multipart/form-data; boundary=x",
                "--x\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\na",
            ),
            ("application/json", "["),
            ("text/plain", "x"),
        ] {
            let refused = read(media, body.into()).await;
            assert!(
                matches!(refused, Err(Refusal::Invalid(_))),
                "{media} {body}: {refused:?}"
            );
        }
    }
}
