//! Paths that are no resources: health, version, discovery, OpenAPI.
use axum::body::Body;
use http::{Request, Response, StatusCode, header};
use serde_json::{Value, json};

use super::{
    negotiate::{Accepted, Format},
    respond,
    router::text,
    status::{ApiError, Result},
};
use crate::local::api::{
    core::Core,
    schema::{discovery, openapi},
};

/// The API level that the embedded server follows; that of the k8s-openapi feature in Cargo.toml.
const MINOR: &str = "33";

/// Answers that need no token: health and version, as `system:public-info-viewer` grants them.
pub(super) fn open(path: &str) -> Option<Response<Body>> {
    match path {
        "/healthz" | "/livez" | "/readyz" => {
            Some(respond::bytes(StatusCode::OK, "text/plain; charset=utf-8", "ok"))
        }
        "/version" | "/version/" => Some(respond::value(Format::Json, StatusCode::OK, &version())),
        _ => None,
    }
}

fn version() -> Value {
    json!({
        "major": "1",
        "minor": MINOR,
        "gitVersion": format!("v1.{MINOR}.0+errand.{}", env!("CARGO_PKG_VERSION")),
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}

pub(super) fn serve(core: &Core, path: &str, request: &Request<Body>) -> Result<Response<Body>> {
    if !matches!(*request.method(), http::Method::GET | http::Method::HEAD) {
        return Err(ApiError::method_not_allowed());
    }
    let accept = text(request.headers(), header::ACCEPT).unwrap_or("");
    let catalogue = core.catalogue();
    let resources = &catalogue.resources;
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let found = match segments.as_slice() {
        ["api" | "apis"] if discovery::accepts_aggregated(accept) => {
            let value = discovery::aggregated(resources, segments == ["api"]);
            return Ok(respond::bytes(
                StatusCode::OK,
                discovery::AGGREGATED_CONTENT_TYPE,
                value.to_string(),
            ));
        }
        ["api"] => {
            let host = text(request.headers(), header::HOST).unwrap_or("");
            Some(discovery::api_versions(host))
        }
        ["apis"] => Some(discovery::api_groups(resources)),
        ["api", version] => discovery::api_resource_list("", version, resources),
        ["apis", group] => discovery::api_group(group, resources),
        ["apis", group, version] => discovery::api_resource_list(group, version, resources),
        ["openapi", "v2"] => return openapi_v2(accept, core),
        ["openapi", "v3"] => Some(openapi::v3_index(resources)),
        ["openapi", "v3", "api", version] => openapi::v3_group("", version, resources),
        ["openapi", "v3", "apis", group, version] => openapi::v3_group(group, version, resources),
        _ => None,
    };
    let found = found.ok_or_else(ApiError::unknown_resource)?;
    let accepted = Accepted::choose(Some(accept))?;
    Ok(respond::value(accepted.format, StatusCode::OK, &found))
}

/// Clients that read only its protobuf form get 406, upon which kubectl takes v3.
fn openapi_v2(accept: &str, core: &Core) -> Result<Response<Body>> {
    let accepted = Accepted::choose(Some(accept))?;
    Ok(respond::value(
        accepted.format,
        StatusCode::OK,
        &openapi::v2(&core.catalogue().resources),
    ))
}
