//! What the API says of itself.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};

use crate::facade::{extract::text, state::Facade};

const FORWARDED: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The address under which the client came, as a proxy in front of the facade tells it.
pub fn base(facade: &Facade, headers: &HeaderMap) -> String {
    let forwarded = text(headers, FORWARDED).filter(|scheme| matches!(*scheme, "http" | "https"));
    let own = if facade.config.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let host = text(headers, header::HOST).unwrap_or("localhost");
    format!("{}://{host}", forwarded.unwrap_or(own))
}

/// Versions of the API
#[utoipa::path(
    get, path = "/", tag = "qinling", operation_id = "qinlingVersions",
    responses((status = 200, description = "The versions", body = Value)),
)]
pub async fn versions(State(facade): State<Facade>, headers: HeaderMap) -> Json<Value> {
    let href = format!("{}/v1", base(&facade, &headers));
    Json(json!({"versions": [{
        "id": "v1.0", "status": "CURRENT", "links": [{"href": href, "target": "v1", "rel": "self"}],
    }]}))
}

/// The first version
#[utoipa::path(
    get, path = "/v1/", tag = "qinling", operation_id = "qinlingV1",
    responses((status = 200, description = "Its address", body = Value)),
)]
pub async fn v1(State(facade): State<Facade>, headers: HeaderMap) -> Json<Value> {
    Json(json!({"uri": format!("{}/v1", base(&facade, &headers))}))
}

/// Its address without the slash.
pub async fn to_v1() -> Response {
    (StatusCode::FOUND, [(header::LOCATION, "/v1/")]).into_response()
}
