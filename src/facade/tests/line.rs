//! A line to the API server that fails where a test wants it to.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::{Request, Response};
use kube::{Client, client::Body};
use serde_json::json;
use tower::BoxError;

/// How a call fails; the API server never hears of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::facade) enum Fault {
    /// The answer is this status.
    Status(u16),
    /// No answer comes.
    Silent,
    /// The connection breaks.
    Broken,
}

/// The line. Clones are one.
#[derive(Clone, Default)]
pub(in crate::facade) struct Line(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    calls: Vec<String>,
    fault: Option<(usize, Fault)>,
}

impl Line {
    /// A client like `client` over this line.
    pub fn over(&self, client: Client) -> Client {
        let namespace = client.default_namespace().to_owned();
        let line = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let (client, fault) = (client.clone(), line.take(&request));
            async move {
                match fault {
                    None => client.send(request).await.map_err(BoxError::from),
                    Some(Fault::Status(code)) => Ok(refusal(code)),
                    Some(Fault::Silent) => std::future::pending().await,
                    Some(Fault::Broken) => Err(io::Error::from(io::ErrorKind::ConnectionReset).into()),
                }
            }
        });
        Client::new(service, namespace)
    }

    /// Forgets the calls. Of those that come now the one at `place` fails, and after it every one that is like it.
    pub fn fail(&self, place: usize, fault: Fault) {
        *self.lock() = State {
            calls: Vec::new(),
            fault: Some((place, fault)),
        };
    }

    /// Forgets the calls; from now on none fails.
    pub fn mend(&self) {
        *self.lock() = State::default();
    }

    /// The calls since then, as method and kind: `GET tasks/*`.
    pub fn calls(&self) -> Vec<String> {
        self.lock().calls.clone()
    }

    fn take(&self, request: &Request<Body>) -> Option<Fault> {
        let mut state = self.lock();
        state.calls.push(kind(request));
        let (place, fault) = state.fault?;
        let is_like_it = state.calls.get(place) == state.calls.last();
        (state.calls.len() > place && is_like_it).then_some(fault)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn kind(request: &Request<Body>) -> String {
    let path = request.uri().path();
    let resource = match path.split_once("/namespaces/default/") {
        Some((_, resource)) => resource,
        None => path.rsplit('/').next().unwrap_or_default(),
    };
    let mut parts: Vec<&str> = resource.split('/').collect();
    if let Some(name) = parts.get_mut(1) {
        *name = "*";
    }
    format!("{} {}", request.method(), parts.join("/"))
}

fn refusal(code: u16) -> Response<Body> {
    // As `metav1.StatusReason` names them.
    let reason = match code {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        410 => "Gone",
        413 => "RequestEntityTooLarge",
        422 => "Invalid",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "InternalError",
    };
    let status = json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": "on purpose"});
    let response = Response::builder()
        .status(code)
        .header("content-type", "application/json");
    response
        .body(Body::from(status.to_string().into_bytes()))
        .unwrap()
}
