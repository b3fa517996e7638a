//! One router of all doors.

use axum::{
    Router,
    handler::HandlerWithoutStateExt as _,
    http::StatusCode,
    middleware::{from_fn_with_state, map_response},
    response::{IntoResponse as _, Response},
};
use tower::ServiceBuilder;
use tower_http::compression::{
    CompressionLayer, DefaultPredicate, Predicate as _,
    predicate::{And, NotForContentType},
};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use super::{
    docs,
    door::Door,
    layers::{Observe, Room, admit, dress, observe},
    refusal::Refusal,
    state::Facade,
};

/// The routes of all doors under the layers that hold for them, and the document that describes them.
pub fn router(facade: &Facade, doors: Vec<Door>, refuse: fn(&Refusal) -> Response) -> (Router, OpenApi) {
    let (router, document) = all(facade, doors, docs::head());
    let docs = docs::routes(&document)
        .layer(CompressionLayer::new())
        .layer(from_fn_with_state(seen(facade, "docs"), observe));
    (closed(facade, router.merge(docs), refuse), document)
}

/// The routes of the doors whose callers are known by their certificates, without a document.
pub fn peer_router(facade: &Facade, doors: Vec<Door>) -> Router {
    let (router, _) = all(facade, doors, docs::head());
    closed(facade, router, plain)
}

fn all(facade: &Facade, doors: Vec<Door>, document: OpenApi) -> (Router, OpenApi) {
    let config = &facade.config;
    let requests = Room::new(
        config.requests,
        Some(config.request_timeout),
        facade.metrics.open("request"),
    );
    let streams = Room::new(config.streams, None, facade.metrics.open("stream"));
    let mut all = OpenApiRouter::with_openapi(document);
    for door in doors {
        all = all.merge(furnish(facade, door, &requests, &streams));
    }
    all.with_state(facade.clone()).split_for_parts()
}

/// Refuses what has no route.
fn closed(facade: &Facade, router: Router, refuse: fn(&Refusal) -> Response) -> Router {
    let lost = (|| async { Refusal::NotFound("there is nothing at this path".into()) }).into_service();
    let lost = ServiceBuilder::new()
        .layer(from_fn_with_state(seen(facade, "none"), observe))
        .layer(from_fn_with_state(refuse, dress))
        .service(lost);
    router.fallback_service(lost)
}

/// A refusal as a line of text.
pub fn plain(refusal: &Refusal) -> Response {
    (refusal.status(), format!("{refusal}\n")).into_response()
}

fn seen(facade: &Facade, door: &'static str) -> Observe {
    Observe {
        door,
        metrics: facade.metrics.clone(),
    }
}

/// Compresses what is not compressed already. Some clients store a file as it comes over the wire, whatever its
/// `Content-Encoding`, and clients of protobuf are promised a `Content-Length`.
fn compression() -> CompressionLayer<And<And<DefaultPredicate, NotForContentType>, NotForContentType>> {
    let packed = NotForContentType::const_new("application/zip");
    let messages = NotForContentType::const_new("application/x-protobuf");
    CompressionLayer::new().compress_when(DefaultPredicate::new().and(packed).and(messages))
}

/// A door's routes, with its layers around them; the first layer here is the innermost.
fn furnish(facade: &Facade, door: Door, requests: &Room, streams: &Room) -> OpenApiRouter<Facade> {
    let Door {
        name,
        routes,
        streams: open,
        refuse,
        cors,
    } = door;
    let routes = routes.layer(from_fn_with_state(requests.clone(), admit));
    let open = open.layer(from_fn_with_state(streams.clone(), admit));
    let mut routes = routes
        .merge(open)
        .layer(map_response(refuse_method))
        .layer(from_fn_with_state(refuse, dress))
        .layer(compression())
        .layer(from_fn_with_state(seen(facade, name), observe));
    if let Some(cors) = cors {
        routes = routes.layer(cors);
    }
    routes
}

/// The router's own answer to a method that a path does not have; keeps its `Allow` header.
async fn refuse_method(mut response: Response) -> Response {
    if response.status() == StatusCode::METHOD_NOT_ALLOWED && response.extensions().get::<Refusal>().is_none()
    {
        response.extensions_mut().insert(Refusal::Method);
    }
    response
}
