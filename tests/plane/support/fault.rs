//! A client whose calls go wrong on purpose.

use std::{future::pending, sync::Arc, time::Duration};

use axum::body::Bytes;
use futures::{StreamExt, TryStreamExt};
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use kube::{Client, client::Body};
use tower::BoxError;

/// What becomes of a call.
pub enum Fault {
    /// Nothing out of the way.
    None,
    /// It never reaches the API server, and no answer comes.
    Hang,
    /// It is done, but no answer comes.
    DoneThenHang,
    /// The answer is this error, with this reason; nothing was done.
    Status(u16, &'static str),
    /// It never reaches the API server, and the answer is this.
    Answer(serde_json::Value),
    /// The answer breaks off after so long.
    CutAfter(Duration),
}

/// Decides what becomes of a call.
pub type Faults = Arc<dyn Fn(&Request<Body>) -> Fault + Send + Sync>;

type AnyBody = UnsyncBoxBody<Bytes, BoxError>;

/// A client like `client` whose calls meet `faults`.
pub fn with_faults(client: Client, faults: Faults) -> Client {
    let namespace = client.default_namespace().to_owned();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, fault) = (client.clone(), faults(&request));
        async move {
            match fault {
                Fault::Hang => pending().await,
                Fault::Status(code, reason) => Ok(refusal(code, reason)),
                Fault::Answer(body) => Ok(answer(200, &body)),
                Fault::None => client.send(request).await.map(whole),
                Fault::DoneThenHang => {
                    drop(client.send(request).await);
                    pending().await
                }
                Fault::CutAfter(time) => client.send(request).await.map(|answer| cut(answer, time)),
            }
        }
    });
    Client::new(service, namespace)
}

fn whole(answer: Response<Body>) -> Response<AnyBody> {
    answer.map(|body| body.map_err(BoxError::from).boxed_unsync())
}

fn cut(answer: Response<Body>, time: Duration) -> Response<AnyBody> {
    answer.map(|body| {
        let frames = body
            .into_data_stream()
            .map_ok(hyper::body::Frame::data)
            .map_err(BoxError::from);
        StreamBody::new(frames.take_until(Box::pin(tokio::time::sleep(time)))).boxed_unsync()
    })
}

fn refusal(code: u16, reason: &str) -> Response<AnyBody> {
    let status = serde_json::json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": "on purpose",
    });
    answer(code, &status)
}

fn answer(code: u16, body: &serde_json::Value) -> Response<AnyBody> {
    let body = http_body_util::Full::new(Bytes::from(body.to_string())).map_err(|never| match never {});
    Response::builder()
        .status(code)
        .header("content-type", "application/json")
        .body(body.boxed_unsync())
        .unwrap()
}
