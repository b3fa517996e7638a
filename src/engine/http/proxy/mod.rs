//! Through the API server's pod proxy, for controllers outside of the pod network.
//!
//! The request is one call to the API server, so it shares the controller's client: its connections, its credentials.
//! What that client repeats by itself is kept from this call ([`unrepeatable`]). Beyond the API server there is one
//! repetition that nobody can forbid: its own HTTP client sends a GET or HEAD without a body again where a kept
//! connection to the pod breaks before any answer (Go's `net/http.Transport`).

mod message;
mod refusal;

use std::convert::Infallible;

use axum::body::Bytes;
use http::HeaderMap;
use kube::{Client, client::Body};
use tokio::time::timeout_at;

pub use message::check_proxied;
pub use refusal::Refusal;
use refusal::{LOOKED_AT, refusal};

use super::{
    Answer, Limits, Request, SendError, Stage,
    route::PodProxy,
    send::{MAX_HEAD, read},
};

pub(super) async fn send(pod: &PodProxy, request: &Request, limits: Limits) -> Result<Answer, SendError> {
    let head = request.proxied(pod)?;
    let body = unrepeatable(request.body.clone()).await;
    let message = http::Request::from_parts(head, body.map_err(before)?);
    let waiting = timeout_at(limits.deadline, pod.client.send(message)).await;
    let response = waiting.map_err(|_| SendError::Deadline {
        stage: Stage::Waiting,
        partial: None,
    })?;
    let response = response.map_err(|error| SendError::ApiServer {
        sent: !is_connect(&error),
        source: Box::new(error),
    })?;
    // The controller's client has bounds of its own for heads, which are wider.
    let bytes = size(response.headers());
    if bytes > MAX_HEAD {
        return Err(SendError::LargeHead { bytes });
    }
    let looked_at = Limits {
        result: limits.result.max(LOOKED_AT),
        read: limits.read.max(LOOKED_AT as u64),
        ..limits
    };
    let mut answer = read(response, looked_at).await?;
    if let Some(refusal) = refusal(&answer, pod) {
        return Err(SendError::NotPassedOn(refusal));
    }
    answer.truncated |= answer.body.len() > limits.result;
    answer.body.truncate(limits.result);
    Ok(answer)
}

/// A body with which kube's client sends a request once, however it was built.
///
/// Its retry layer, on by default, sends whatever it can clone again when 429, 503 or 504 is the answer, and those may
/// be a function's. It cannot clone the body of a service's answer (`kube::client::Body::try_clone`), so here is a
/// service that answers with what it is sent. What hyper's pool repeats are requests that no connection has begun to
/// write.
async fn unrepeatable(bytes: Bytes) -> Result<Body, kube::Error> {
    let echo = tower::service_fn(|request: http::Request<Body>| async {
        Ok::<_, Infallible>(http::Response::new(request.into_body()))
    });
    let echo = Client::new(echo, "");
    let echoed = echo.send(http::Request::new(Body::from(bytes))).await?;
    Ok(echoed.into_body())
}

fn before(source: kube::Error) -> SendError {
    SendError::ApiServer {
        sent: false,
        source: Box::new(source),
    }
}

/// True where there was no connection to the API server.
fn is_connect(error: &kube::Error) -> bool {
    let kube::Error::Service(source) = error else {
        return false;
    };
    source
        .downcast_ref::<hyper_util::client::legacy::Error>()
        .is_some_and(hyper_util::client::legacy::Error::is_connect)
}

fn size(headers: &HeaderMap) -> usize {
    let line = |(name, value): (&http::HeaderName, &http::HeaderValue)| name.as_str().len() + value.len();
    headers.iter().map(line).sum()
}

#[cfg(test)]
mod tests;
