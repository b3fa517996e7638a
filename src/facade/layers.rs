//! What holds for every request of a door: an id, a line in the log, metrics, limits, and refusals in its own shape.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    extract::{MatchedPath, Request, State},
    http::{HeaderName, HeaderValue},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::Instrument as _;
use uuid::Uuid;

use super::{access::Caller, body::Held, metrics::Metrics, refusal::Refusal};

/// Names one request in answers and logs.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The same from clients and routers of Cloud Foundry. It goes first: what stands between adds the other on its own.
const VCAP_REQUEST_ID: HeaderName = HeaderName::from_static("x-vcap-request-id");
/// Ids from clients are taken over up to this length. Those of Cloud Controller have up to 293 bytes: what it was given,
/// cut to 255, and a UUID (`middleware/vcap_request_id.rb`).
const MAX_ID: usize = 300;

/// Log and metrics of a door.
#[derive(Clone)]
pub struct Observe {
    /// Name of the door.
    pub door: &'static str,
    /// Where it is counted.
    pub metrics: Arc<Metrics>,
}

/// Who asks, once that is known: carried in the request for the line in the log.
#[derive(Clone, Default)]
pub struct Identified(pub Arc<OnceLock<Arc<Caller>>>);

/// Gives the request an id, under which all is logged that happens meanwhile, and counts and logs its answer.
pub async fn observe(State(observe): State<Observe>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = request_id(&request);
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let user = Identified::default();
    request.extensions_mut().insert(user.clone());
    let method = method_word(&request);
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("", MatchedPath::as_str).to_owned();
    // Of the highest level, so that it is there whatever the filter lets through.
    let span = tracing::error_span!("call", request = id.to_str().unwrap_or_default());
    let mut response = next.run(request).instrument(span).await;
    let (status, took) = (response.status().as_u16(), began.elapsed());
    observe
        .metrics
        .answered(observe.door, &route, method, status, took);
    let user = user.0.get().map(|caller| &*caller.user);
    tracing::info!(
        target: "errand::access", door = observe.door, method, route, status, took_ms = took.as_secs_f64() * 1000.0,
        user, request = id.to_str().unwrap_or_default(), "answered"
    );
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// The client's own id where it is printable and short, else a new one.
fn request_id(request: &Request) -> HeaderValue {
    let fit = |id: &&HeaderValue| {
        let bytes = id.as_bytes();
        !bytes.is_empty() && bytes.len() <= MAX_ID && bytes.iter().all(u8::is_ascii_graphic)
    };
    let names = [VCAP_REQUEST_ID, REQUEST_ID];
    let mut given = names
        .iter()
        .filter_map(|name| request.headers().get(name).filter(fit));
    given.next().cloned().unwrap_or_else(|| {
        let id = Uuid::new_v4().simple().to_string();
        // Hexadecimal digits are a header value.
        HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("unknown"))
    })
}

/// A word out of a fixed set, so that clients cannot make the number of series grow.
fn method_word(request: &Request) -> &'static str {
    match request.method().as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// Gives a refusal the shape of its door.
pub async fn dress(State(refuse): State<fn(&Refusal) -> Response>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let Some(refusal) = response.extensions_mut().remove::<Refusal>() else {
        return response;
    };
    let mut dressed = refuse(&refusal);
    refusal.mark(&mut dressed);
    dressed
}

/// Room for so many requests at once.
#[derive(Clone)]
pub struct Room {
    places: Arc<Semaphore>,
    open: Gauge,
    /// Limit on the time to an answer; `None` for streams, which bound themselves.
    timeout: Option<Duration>,
}

impl Room {
    /// Room for `count` requests, each of which must be answered within `timeout`.
    pub fn new(count: usize, timeout: Option<Duration>, open: Gauge) -> Self {
        Self {
            places: Arc::new(Semaphore::new(count)),
            open,
            timeout,
        }
    }
}

/// Holds a place for a request until its answer is sent whole, or refuses it at once where there is none. A handler
/// that goes on after its answer finds the place in the extensions, as `Arc<Place>`, and keeps it.
pub async fn admit(State(room): State<Room>, mut request: Request, next: Next) -> Response {
    let Ok(place) = room.places.clone().try_acquire_owned() else {
        let retry = Duration::from_secs(1);
        return Refusal::TooMany { retry }.into_response();
    };
    let place = Arc::new(Place::new(place, room.open.clone()));
    request.extensions_mut().insert(place.clone());
    let answer = next.run(request);
    let response = match room.timeout {
        None => answer.await,
        Some(limit) => match tokio::time::timeout(limit, answer).await {
            Ok(response) => response,
            Err(_) => {
                let text = format!("no answer within {} s", limit.as_secs());
                Refusal::Unavailable(text).into_response()
            }
        },
    };
    response.map(|body| Body::new(Held::new(body, place)))
}

/// A place that is taken.
pub struct Place {
    _permit: OwnedSemaphorePermit,
    open: Gauge,
}

impl Place {
    fn new(permit: OwnedSemaphorePermit, open: Gauge) -> Self {
        open.inc();
        Self {
            _permit: permit,
            open,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.dec();
    }
}
