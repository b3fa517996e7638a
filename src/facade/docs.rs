//! The document of all doors at `/openapi.json`, and as a page at `/docs` that loads nothing from anywhere.

use std::{borrow::Cow, collections::BTreeMap, fmt::Write as _, marker::PhantomData};

use axum::{
    Router,
    http::{HeaderName, HeaderValue, header},
    response::{Html, IntoResponse as _, Response},
    routing::get,
};
use bytes::Bytes;
use kube::CustomResourceExt as _;
use serde_json::Value;
use utoipa::{
    IntoResponses, PartialSchema, ToSchema,
    openapi::{
        self, ComponentsBuilder, ContentBuilder, InfoBuilder, License, Object, OpenApi, OpenApiBuilder,
        OpenApiVersion, RefOr, ResponseBuilder, Schema,
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};

use crate::crd::Task;

/// What every call of a door may be answered with instead, with `E` as the shape of its errors.
pub struct Refused<E>(PhantomData<E>);

/// Statuses of [`super::refusal::Refusal`] that any call may meet.
const REFUSALS: [(u16, &str); 9] = [
    (400, "The request is malformed; the message says what to change."),
    (401, "No token, or one that is not accepted."),
    (403, "The caller may not do this."),
    (
        404,
        "There is no such thing, or none that the caller may know of.",
    ),
    (408, "The request did not arrive in time."),
    (409, "What is there does not go with what is asked."),
    (413, "The body is too large."),
    (
        429,
        "Too much at once, or too often; `Retry-After` says when to come back.",
    ),
    (
        503,
        "Something behind the facade does not answer; `Retry-After` says when to come back.",
    ),
];

impl<E: PartialSchema> IntoResponses for Refused<E> {
    fn responses() -> BTreeMap<String, RefOr<openapi::Response>> {
        let answer = |(status, text): &(u16, &str)| {
            let content = ContentBuilder::new().schema(Some(E::schema())).build();
            let response = ResponseBuilder::new().description(*text);
            let response = response.content("application/json", content).build();
            (status.to_string(), response.into())
        };
        REFUSALS.iter().map(answer).collect()
    }
}

/// A Task as the document shows it: the schema of its definition, which `kubectl explain` shows too.
pub struct TaskObject;

impl PartialSchema for TaskObject {
    /// A place to put the real one in: utoipa's model has no room for all of it.
    fn schema() -> RefOr<Schema> {
        Object::new().into()
    }
}

/// The document as it is served.
pub fn finished(document: &OpenApi) -> Value {
    let mut value = serde_json::to_value(document).unwrap_or_default();
    let versions = Task::crd().spec.versions;
    let schema = versions.into_iter().next().and_then(|version| version.schema);
    let schema = schema.and_then(|schema| schema.open_api_v3_schema);
    let mut task = serde_json::to_value(schema).unwrap_or_default();
    plain(&mut task);
    if let Some(place) = value.pointer_mut("/components/schemas/Task") {
        *place = task;
    }
    value
}

impl ToSchema for TaskObject {
    fn name() -> Cow<'static, str> {
        "Task".into()
    }
}

/// Turns a schema of Kubernetes (OpenAPI 3.0) into one of JSON Schema 2020-12, which OpenAPI 3.1 uses: no extensions,
/// and `nullable` as a type.
fn plain(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !name.starts_with("x-kubernetes-"));
            if fields.remove("nullable") == Some(Value::Bool(true))
                && let Some(kind) = fields.get("type").and_then(Value::as_str)
            {
                let kinds = serde_json::json!([kind, "null"]);
                fields.insert("type".to_owned(), kinds);
            }
            fields.values_mut().for_each(plain);
        }
        Value::Array(items) => items.iter_mut().for_each(plain),
        _ => {}
    }
}

/// Name of the security scheme in the document.
pub const TOKEN: &str = "token";

/// The document before any door has added to it.
pub fn head() -> OpenApi {
    let info = InfoBuilder::new()
        .title("Errand")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Runs containers as tasks on Kubernetes. Every door below works on the same Tasks and Functions.",
        ))
        .license(Some(License::new("Apache-2.0")))
        .build();
    let token = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    let components = ComponentsBuilder::new().security_scheme(TOKEN, token).build();
    OpenApiBuilder::new()
        .openapi(OpenApiVersion::Version31)
        .info(info)
        .components(Some(components))
        .build()
}

/// `/openapi.json` and `/docs`.
pub fn routes<S: Clone + Send + Sync + 'static>(document: &OpenApi) -> Router<S> {
    let value = finished(document);
    let (json, html) = (Bytes::from(value.to_string()), Bytes::from(page(&value)));
    Router::new()
        .route("/openapi.json", get(async move || json_answer(json)))
        .route("/docs", get(async move || page_answer(html)))
}

fn json_answer(json: Bytes) -> Response {
    let media = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, media)], json).into_response()
}

/// The page needs no script and no other file, so a browser is told to load none.
fn page_answer(html: Bytes) -> Response {
    let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");
    let headers: [(HeaderName, HeaderValue); 1] = [(header::CONTENT_SECURITY_POLICY, policy)];
    (headers, Html(html)).into_response()
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
code,pre{font-family:ui-monospace,monospace;font-size:.9em}pre{background:#8881;padding:.5rem;overflow:auto}\
summary{cursor:pointer;padding:.3rem 0}summary code{font-weight:600}table{border-collapse:collapse}\
td{padding:.1rem .8rem .1rem 0;vertical-align:top}h2{margin-top:2rem;border-bottom:1px solid #8886}\
:root{color-scheme:light dark}";

/// The document as a page for people: paths by tag, parameters, answers, then the schemas.
fn page(document: &Value) -> String {
    let mut html = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>Errand API</title><style>{STYLE}</style><h1>Errand {}</h1><p>{}</p>\
         <p>The same for machines: <a href=/openapi.json>/openapi.json</a></p>",
        text(&document["info"]["version"]),
        text(&document["info"]["description"]),
    );
    let mut tags: Vec<(String, String)> = Vec::new();
    for (path, item) in entries(&document["paths"]) {
        for (method, operation) in entries(item) {
            let tag = text(&operation["tags"][0]);
            let shown = operation_html(method, path, operation);
            match tags.iter_mut().find(|(name, _)| *name == tag) {
                Some((_, section)) => section.push_str(&shown),
                None => tags.push((tag, shown)),
            }
        }
    }
    for (tag, section) in tags {
        // Writing into a String cannot fail.
        let _ = write!(html, "<h2>{tag}</h2>{section}");
    }
    html.push_str("<h2>Schemas</h2>");
    for (name, schema) in entries(&document["components"]["schemas"]) {
        let shown = serde_json::to_string_pretty(schema).unwrap_or_default();
        let _ = write!(
            html,
            "<details id=\"{0}\"><summary><code>{0}</code></summary><pre>{1}</pre></details>",
            escape(name),
            escape(&shown)
        );
    }
    html.push_str("</html>");
    html
}

fn operation_html(method: &str, path: &str, operation: &Value) -> String {
    let mut html = format!(
        "<details><summary><code>{} {}</code> {}</summary><p>{}</p><table>",
        escape(&method.to_uppercase()),
        escape(path),
        text(&operation["summary"]),
        text(&operation["description"]),
    );
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let _ = write!(
            html,
            "<tr><td>{} <code>{}</code><td>{}",
            text(&parameter["in"]),
            text(&parameter["name"]),
            text(&parameter["description"])
        );
    }
    for (status, answer) in entries(&operation["responses"]) {
        let schemas = entries(&answer["content"]).filter_map(|(_, media)| media["schema"]["$ref"].as_str());
        let links: String = schemas
            .filter_map(|reference| reference.rsplit('/').next())
            .map(|name| format!(" <a href=\"#{0}\">{0}</a>", escape(name)))
            .collect();
        let _ = write!(
            html,
            "<tr><td>answer <code>{}</code><td>{}{links}",
            escape(status),
            text(&answer["description"])
        );
    }
    html.push_str("</table></details>");
    html
}

fn entries(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let object = value.as_object().into_iter().flatten();
    object.map(|(key, value)| (key.as_str(), value))
}

fn text(value: &Value) -> String {
    escape(value.as_str().unwrap_or_default())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
