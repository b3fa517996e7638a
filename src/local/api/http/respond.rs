//! Answers: objects, lists and Statuses as the client asked to see them.
use axum::body::{Body, Bytes};
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value, json};

use super::{
    negotiate::{Accepted, Format, Shape},
    path::Query,
    status::{ApiError, Result},
};
use crate::local::api::{
    catalogue::Kind,
    schema::{IncludeObject, table},
    verbs::{Answer, list::Page},
};

/// How objects are shown.
#[derive(Clone, Copy, Debug)]
pub struct Render {
    shape: Shape,
    include: IncludeObject,
}

impl Render {
    /// As negotiated; `includeObject` of the query counts for tables.
    ///
    /// # Errors
    /// 400 for an `includeObject` that does not exist.
    pub fn new(shape: Shape, query: &Query) -> Result<Self> {
        let include = IncludeObject::parse(query.get("includeObject")).ok_or_else(|| {
            ApiError::bad_request("includeObject: supported values: \"None\", \"Metadata\", \"Object\"")
        })?;
        Ok(Self { shape, include })
    }

    /// Whether objects are shown as they are.
    pub fn is_whole(&self) -> bool {
        self.shape == Shape::Whole
    }

    /// An object, or a list of them, in this shape.
    pub fn value(&self, kind: &Kind, value: Value) -> Value {
        match self.shape {
            Shape::Whole => value,
            Shape::Table => table::render(&kind.resource, &value, self.include, jiff::Timestamp::now()),
            Shape::Metadata => match value {
                Value::Object(mut list) if list.contains_key("items") => {
                    let items = list.remove("items").unwrap_or_default();
                    let items: Vec<Value> = match items {
                        Value::Array(items) => items.into_iter().map(partial).collect(),
                        _ => Vec::new(),
                    };
                    json!({
                        "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                        "metadata": list.remove("metadata"), "items": items
                    })
                }
                object => partial(object),
            },
        }
    }
}

fn partial(mut object: Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
        "metadata": object.get_mut("metadata").map(Value::take)
    })
}

/// One object as the answer of a call.
pub fn object(
    accepted: Accepted,
    render: Render,
    kind: &Kind,
    code: StatusCode,
    answer: &Answer,
) -> Response<Body> {
    match answer {
        Answer::Stored(object)
            if render.is_whole() && accepted.format == Format::Json && kind.serves_as_stored(object) =>
        {
            bytes(code, "application/json", object.json.clone())
        }
        _ => value(accepted.format, code, &render.value(kind, answer.value(kind))),
    }
}

/// A list.
pub fn list(accepted: Accepted, render: Render, kind: &Kind, page: &Page) -> Response<Body> {
    let mut metadata = Map::new();
    metadata.insert("resourceVersion".into(), page.version.to_string().into());
    if let Some(next) = &page.next {
        metadata.insert("continue".into(), next.clone().into());
    }
    if let Some(remaining) = page.remaining {
        metadata.insert("remainingItemCount".into(), remaining.into());
    }
    let plain = render.is_whole() && accepted.format == Format::Json;
    if plain && page.objects.iter().all(|object| kind.serves_as_stored(object)) {
        return bytes(StatusCode::OK, "application/json", joined(kind, metadata, page));
    }
    let items: Vec<Value> = page
        .objects
        .iter()
        .map(|object| kind.from_stored(object.value()))
        .collect();
    let list = json!({
        "kind": kind.resource.list_kind, "apiVersion": kind.api_version, "metadata": metadata, "items": items
    });
    value(accepted.format, StatusCode::OK, &render.value(kind, list))
}

fn joined(kind: &Kind, metadata: Map<String, Value>, page: &Page) -> Bytes {
    let head = json!({"kind": kind.resource.list_kind, "apiVersion": kind.api_version, "metadata": metadata});
    let head = head.to_string();
    let size: usize = page.objects.iter().map(|object| object.json.len() + 1).sum();
    let mut out = Vec::with_capacity(head.len() + size + 16);
    out.extend_from_slice(head.trim_end_matches('}').as_bytes());
    // `metadata` is the last of the head, so its brace was trimmed too.
    out.extend_from_slice(b"},\"items\":[");
    for (index, object) in page.objects.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(&object.json);
    }
    out.extend_from_slice(b"]}");
    out.into()
}

/// Any JSON value.
pub fn value(format: Format, code: StatusCode, value: &Value) -> Response<Body> {
    match format {
        Format::Json => bytes(code, "application/json", value.to_string()),
        Format::Yaml => match serde_yaml::to_string(value) {
            Ok(text) => bytes(code, "application/yaml", text),
            Err(error) => refusal(&ApiError::internal(error.to_string())),
        },
    }
}

/// A refusal.
pub fn refusal(error: &ApiError) -> Response<Body> {
    let mut response = bytes(error.code, "application/json", error.status().to_string());
    if error.code == StatusCode::UNAUTHORIZED {
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(seconds) = error.retry_after() {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Bytes of a known type.
pub fn bytes(code: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, private"),
    );
    response
}

/// Adds `Warning` headers (RFC 9111: code 299, agent `-`, quoted text), within the limits of apiserver.
pub fn warn(response: &mut Response<Body>, warnings: &[String]) {
    let mut left = 4096usize;
    for warning in warnings {
        let text: String = warning
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(256)
            .collect();
        let text = text.replace('\\', "\\\\").replace('"', "\\\"");
        left = left.saturating_sub(text.len());
        if left == 0 {
            return;
        }
        if let Ok(header) = HeaderValue::from_bytes(format!("299 - \"{text}\"").as_bytes()) {
            response.headers_mut().append(header::WARNING, header);
        }
    }
}
