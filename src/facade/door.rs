//! What a door is to the base: routes, a shape for refusals, and whether browsers may come from elsewhere.

use axum::{
    http::{HeaderName, header},
    response::Response,
};
use tower_http::cors::{AllowMethods, Any, CorsLayer};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use super::{refusal::Refusal, state::Facade};

/// One API. A dialect may have several doors, where paths differ in what holds for them.
pub struct Door {
    /// Name in logs and metrics.
    pub name: &'static str,
    /// Routes that answer soon: under the limits on time and concurrency.
    pub routes: OpenApiRouter<Facade>,
    /// Routes that stay open (streams, long polls): under a limit on their number, and bounded by themselves.
    pub streams: OpenApiRouter<Facade>,
    /// A refusal in the shape of this API.
    pub refuse: fn(&Refusal) -> Response,
    /// Answers to browsers that come from other sites; `None` = they get no answer.
    pub cors: Option<CorsLayer>,
}

impl Door {
    /// A door without routes.
    pub fn new(name: &'static str, refuse: fn(&Refusal) -> Response) -> Self {
        Self {
            name,
            routes: OpenApiRouter::new(),
            streams: OpenApiRouter::new(),
            refuse,
            cors: None,
        }
    }
}

/// Adds routes that are also there with a slash at the end of the path, for clients that send one. The document shows
/// them once.
pub fn with_slash(
    mut router: OpenApiRouter<Facade>,
    routes: UtoipaMethodRouter<Facade>,
) -> OpenApiRouter<Facade> {
    let methods = routes.2.clone();
    for path in routes.1.paths.keys() {
        router = router.route(&format!("{path}/"), methods.clone());
    }
    router.routes(routes)
}

/// Lets scripts of any site in, without cookies: callers prove who they are with a token, if at all.
pub fn any_origin(methods: impl Into<AllowMethods>) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods(methods)
        .allow_headers([header::CONTENT_TYPE, header::AUTHORIZATION])
        .expose_headers([header::RETRY_AFTER, HeaderName::from_static("x-request-id")])
}
