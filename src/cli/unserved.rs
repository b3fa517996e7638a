//! An API server that has just started, and its word on custom resources.
//!
//! Until it has read their definitions it knows no such path and says 404, as text. To whoever asks for one object that
//! reads as if it were gone: the pod of a Task that is there would be let go, and a Schedule would make a Task again. So
//! the controller and the facade hear 503, which they try again. An object that is not there is told of by a Status in JSON.

use std::task::{Context, Poll};

use futures::{TryFutureExt as _, future::MapOk};
use http::{Request, Response, StatusCode, header::CONTENT_TYPE};
use tower::{Layer, Service};

/// Where the objects of Errand are; a kubeconfig may put a path before it.
const OURS: &str = "/apis/errand.dev/";
/// Where other answers pass through the API server, of pods for example.
const OTHERS: &str = "/api/v1/";

/// The layer of a client.
#[derive(Clone, Copy, Debug)]
pub struct UnservedLayer;

impl<S> Layer<S> for UnservedLayer {
    type Service = Unserved<S>;

    fn layer(&self, inner: S) -> Unserved<S> {
        Unserved(inner)
    }
}

/// The service of [`UnservedLayer`].
#[derive(Clone, Debug)]
pub struct Unserved<S>(S);

impl<S, B, R> Service<Request<B>> for Unserved<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = MapOk<S::Future, fn(Response<R>) -> Response<R>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let path = request.uri().path();
        let ours = path.contains(OURS) && !path.contains(OTHERS);
        let heard: fn(Response<R>) -> Response<R> = if ours { heard } else { std::convert::identity };
        self.0.call(request).map_ok(heard)
    }
}

fn heard<R>(mut response: Response<R>) -> Response<R> {
    let kind = response.headers().get(CONTENT_TYPE);
    let is_status = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if response.status() == StatusCode::NOT_FOUND && !is_status {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tower::{ServiceExt as _, service_fn};

    use super::*;

    async fn answered(path: &'static str, code: u16, kind: &'static str) -> u16 {
        let server = service_fn(move |_: Request<()>| {
            let response = Response::builder().status(code).header(CONTENT_TYPE, kind);
            std::future::ready(Ok::<_, Infallible>(response.body(()).unwrap()))
        });
        let request = Request::builder().uri(path).body(()).unwrap();
        let response = UnservedLayer.layer(server).oneshot(request).await.unwrap();
        response.status().as_u16()
    }

    #[tokio::test]
    async fn a_path_that_is_not_served_yet_is_not_an_object_that_is_gone() {
        let (json, text) = ("application/json", "text/plain; charset=utf-8");
        let task = "/apis/errand.dev/v1alpha1/namespaces/default/tasks/t";
        assert_eq!(answered(task, 404, text).await, 503);
        assert_eq!(
            answered("/clusters/a/apis/errand.dev/v1alpha1/tasks", 404, text).await,
            503
        );
        assert_eq!(answered(task, 404, json).await, 404);
        assert_eq!(answered(task, 403, text).await, 403);
    }

    #[tokio::test]
    async fn answers_of_pods_and_of_other_kinds_stay_as_they_are() {
        let text = "text/plain";
        let pod = "/api/v1/namespaces/default/pods/p:8080/proxy/apis/errand.dev/x";
        assert_eq!(answered(pod, 404, text).await, 404);
        assert_eq!(answered("/apis/batch/v1/jobs", 404, text).await, 404);
    }
}
