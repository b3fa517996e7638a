//! What the API says of itself.

use axum::{
    Json,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};

use crate::facade::extract::text;

fn base(headers: &HeaderMap) -> String {
    format!("http://{}", text(headers, header::HOST).unwrap_or("localhost"))
}

/// Versions of the API
#[utoipa::path(
    get, path = "/", tag = "qinling", operation_id = "qinlingVersions",
    responses((status = 200, description = "The versions", body = Value)),
)]
pub async fn versions(headers: HeaderMap) -> Json<Value> {
    let href = format!("{}/v1", base(&headers));
    Json(json!({"versions": [{
        "id": "v1.0", "status": "CURRENT", "links": [{"href": href, "target": "v1", "rel": "self"}],
    }]}))
}

/// The first version
#[utoipa::path(
    get, path = "/v1/", tag = "qinling", operation_id = "qinlingV1",
    responses((status = 200, description = "Its address", body = Value)),
)]
pub async fn v1(headers: HeaderMap) -> Json<Value> {
    Json(json!({"uri": format!("{}/v1", base(&headers))}))
}

/// Its address without the slash.
pub async fn to_v1() -> Response {
    (StatusCode::FOUND, [(header::LOCATION, "/v1/")]).into_response()
}
