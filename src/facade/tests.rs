//! The base under a door of its own, on the embedded API.

pub(in crate::facade) mod line;

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, HeaderValue, Method, Request, StatusCode},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, PostParams},
};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;
use utoipa_axum::router::OpenApiRouter;

use super::{
    access::Access,
    config::Config,
    dialects, docs,
    door::{Door, any_origin},
    extract::{Asker, Payload},
    metrics::Metrics,
    objects::Objects,
    refusal::Refusal,
    reports::Reports,
    server,
    state::{Facade, Inner},
    views::{Key, Views},
};
use crate::{
    crd::{self, MAX_BODY_BYTES, Task},
    health::Exposition as _,
    local::api::{ApiOptions, ApiServer, StaticToken, User},
};

/// A facade on an API server of its own. Its views are empty until they are fed.
pub(in crate::facade) async fn facade(config: Config) -> (Facade, ApiServer) {
    facade_over(config, |client| client).await
}

/// The same over a line of the test's making.
pub(in crate::facade) async fn facade_over(
    config: Config,
    line: impl FnOnce(Client) -> Client,
) -> (Facade, ApiServer) {
    let ann = StaticToken {
        user: User::new("ann", [""; 0]),
        secret: "annie".into(),
    };
    let options = ApiOptions {
        tokens: vec![ann],
        ..ApiOptions::default()
    };
    let server = ApiServer::start(options).await.unwrap();
    let client = server.client();
    for (_, definition) in crd::definitions() {
        let api = Api::all(client.clone());
        let made = api.create(&PostParams::default(), &definition).await;
        made.unwrap_or_else(|error| panic!("{}: {error}", definition.name_any()));
    }
    let client = line(client);
    let (views, shutdown) = (Views::default(), CancellationToken::new());
    let objects = Objects::new(client.clone(), "test".into(), Duration::from_secs(10));
    let facade = Facade::new(Inner {
        access: Access::new(client, config.access.clone()),
        reports: Reports::new(views.tasks.clone(), objects.clone(), 1, shutdown.clone()),
        views,
        objects,
        logs: Arc::new(Semaphore::new(1)),
        sockets: TaskTracker::new(),
        metrics: Arc::new(Metrics::new()),
        shutdown,
        config,
    });
    (facade, server)
}

fn plain(refusal: &Refusal) -> Response {
    (refusal.status(), format!("test door: {refusal}")).into_response()
}

/// A door with a route that never answers, one that gives a body back, one that asks who is there, and a stream.
fn door() -> Door {
    let mut door = Door::new("test", plain);
    let routes = Router::new()
        .route("/never", get(std::future::pending::<()>))
        .route("/echo", post(async |Payload(body): Payload| body))
        .route("/who", get(async |Asker(caller): Asker| caller.user.clone()));
    door.routes = OpenApiRouter::from(routes);
    door.cors = Some(any_origin([Method::GET, Method::POST, Method::OPTIONS]));
    let endless = || async {
        let first = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"one"))]);
        Body::from_stream(first.chain(stream::pending()))
    };
    door.streams = OpenApiRouter::from(Router::new().route("/stream", get(endless)));
    door
}

async fn router(change: impl FnOnce(&mut Config)) -> (Router, Facade, ApiServer) {
    let mut config = Config::default();
    change(&mut config);
    let (facade, server) = facade(config).await;
    let (router, _) = server::router(&facade, vec![door()], dialects::errand::refuse);
    (router, facade, server)
}

async fn ask(router: &Router, request: Request<Body>) -> (u16, HeaderMap, String) {
    let response = router.clone().oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    (
        head.status.as_u16(),
        head.headers,
        String::from_utf8(body.to_vec()).unwrap(),
    )
}

fn a_get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

fn a_post(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path).body(body.into()).unwrap()
}

#[tokio::test]
async fn a_refusal_has_the_shape_of_the_door_at_which_it_happens() {
    let (router, ..) = router(|_| {}).await;
    let (status, headers, body) = ask(&router, a_get("/who")).await;
    let text = "test door: a token is needed in the header Authorization";
    assert_eq!((status, body.as_str()), (401, text));
    assert_eq!(headers["www-authenticate"], "Bearer");
    let (status, headers, body) = ask(&router, a_get("/echo")).await;
    assert_eq!(
        (status, body.as_str()),
        (405, "test door: this method is not allowed here")
    );
    assert_eq!(headers["allow"], "POST");
    let (status, _, body) = ask(&router, a_get("/elsewhere")).await;
    let text = r#"{"error":{"code":404,"message":"there is nothing at this path"}}"#;
    assert_eq!((status, body.as_str()), (404, text));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_takes_too_long_becomes_a_503_that_says_when_to_come_back() {
    let (router, ..) = router(|config| config.request_timeout = Duration::from_secs(7)).await;
    let (status, headers, body) = ask(&router, a_get("/never")).await;
    assert_eq!((status, body.as_str()), (503, "test door: no answer within 7 s"));
    assert_eq!(headers["retry-after"], "2");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_in_time_is_refused_with_408_and_the_connection_closed() {
    let (router, ..) = router(|_| {}).await;
    let endless = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
    let (status, headers, body) = ask(&router, a_post("/echo", endless)).await;
    let text = "test door: the request did not arrive within 15 seconds";
    assert_eq!((status, body.as_str()), (408, text));
    assert_eq!(headers["connection"], "close");
}

#[tokio::test]
async fn a_body_may_be_as_long_as_the_limit_and_not_a_byte_longer() {
    let (router, ..) = router(|_| {}).await;
    let (status, _, body) = ask(&router, a_post("/echo", "x".repeat(MAX_BODY_BYTES))).await;
    assert_eq!((status, body.len()), (200, MAX_BODY_BYTES));
    let (status, _, body) = ask(&router, a_post("/echo", "x".repeat(MAX_BODY_BYTES + 1))).await;
    let text = format!("test door: the body may have at most {MAX_BODY_BYTES} bytes");
    assert_eq!((status, body), (413, text));
}

#[tokio::test]
async fn one_request_too_many_is_refused_at_once_and_the_place_is_free_again_when_its_client_goes() {
    let (router, facade, _server) = router(|config| config.requests = 1).await;
    let held = tokio::spawn(router.clone().oneshot(a_get("/never")));
    let open = facade.metrics.open("request");
    while open.get() == 0 {
        tokio::task::yield_now().await;
    }
    let (status, headers, _) = ask(&router, a_post("/echo", "x")).await;
    assert_eq!((status, headers["retry-after"].to_str().unwrap()), (429, "1"));
    // Else a browser's script would not see the refusal at all.
    assert_eq!(headers["access-control-allow-origin"], "*");
    held.abort();
    assert!(held.await.unwrap_err().is_cancelled());
    assert_eq!(ask(&router, a_post("/echo", "x")).await.0, 200);
    assert_eq!(open.get(), 0);
}

#[tokio::test]
async fn streams_have_places_of_their_own_and_hold_them_until_their_body_ends() {
    let (router, facade, _server) = router(|config| config.streams = 1).await;
    let stream = router.clone().oneshot(a_get("/stream")).await.unwrap();
    assert_eq!(stream.status(), StatusCode::OK);
    assert_eq!(ask(&router, a_get("/stream")).await.0, 429);
    assert_eq!(ask(&router, a_post("/echo", "x")).await.0, 200);
    assert_eq!(facade.metrics.open("stream").get(), 1);
    drop(stream);
    assert_eq!(facade.metrics.open("stream").get(), 0);
}

#[tokio::test]
async fn a_request_keeps_the_clients_id_if_it_is_fit_for_a_log() {
    let (router, ..) = router(|_| {}).await;
    let with = |ids: &[(&str, &[u8])]| {
        let request = ids.iter().fold(Request::post("/echo"), |request, (name, id)| {
            request.header(*name, HeaderValue::from_bytes(id).unwrap())
        });
        request.body(Body::empty()).unwrap()
    };
    let (own, vcap) = ("x-request-id", "x-vcap-request-id");
    let longest = "x".repeat(300);
    type Ids<'a> = &'a [(&'a str, &'a [u8])];
    let cases: [(Ids<'_>, &str); 5] = [
        (&[(own, b"abc-1")], "abc-1"),
        (&[(vcap, b"abc-1::2")], "abc-1::2"),
        (
            &[(own, b"from-a-proxy"), (vcap, b"from-the-client")],
            "from-the-client",
        ),
        (&[(own, b"fit"), (vcap, b"not fit")], "fit"),
        (&[(vcap, longest.as_bytes())], &longest),
    ];
    for (given, kept) in cases {
        let (_, headers, _) = ask(&router, with(given)).await;
        assert_eq!(headers[own], kept, "{given:?}");
        // What came in is not said again in its own name.
        assert!(!headers.contains_key(vcap), "{headers:?}");
    }
    let too_long = "x".repeat(301);
    for unfit in [&b""[..], b"two words", b"a\tb", b"\xff\xfe", too_long.as_bytes()] {
        for name in [own, vcap] {
            let (_, headers, _) = ask(&router, with(&[(name, unfit)])).await;
            let made = headers[own].to_str().unwrap();
            let is_hex = made.bytes().all(|byte| byte.is_ascii_hexdigit());
            assert!(is_hex && made.len() == 32, "{unfit:?} {made}");
        }
    }
}

#[tokio::test]
async fn requests_are_counted_by_door_and_route_and_never_by_what_a_client_wrote() {
    let (router, facade, _server) = router(|_| {}).await;
    ask(&router, a_post("/echo", "x")).await;
    ask(
        &router,
        Request::builder()
            .method("BREW")
            .uri("/pot-1234")
            .body(Body::empty())
            .unwrap(),
    )
    .await;
    let text = facade.metrics.encode().unwrap();
    for line in [
        r#"errand_facade_requests_total{door="test",route="/echo",method="POST",status="200"} 1"#,
        r#"errand_facade_requests_total{door="none",route="",method="other",status="404"} 1"#,
        r#"errand_facade_request_duration_seconds_count{door="test",route="/echo"} 1"#,
    ] {
        assert!(
            text.lines().any(|other| other == line),
            "{line} is not in\n{text}"
        );
    }
    assert!(!text.contains("pot-1234") && !text.contains("BREW"), "{text}");
}

#[tokio::test]
async fn answers_are_compressed_for_those_who_can_read_that() {
    let (router, ..) = router(|_| {}).await;
    let request = Request::post("/echo").header("accept-encoding", "gzip");
    let response = router
        .oneshot(request.body(Body::from("a".repeat(10_000))).unwrap())
        .await
        .unwrap();
    assert_eq!(response.headers()["content-encoding"], "gzip");
    assert!(to_bytes(response.into_body(), 1000).await.is_ok());
}

#[tokio::test]
async fn the_document_describes_every_route_and_refers_to_nothing_that_is_not_there() {
    let (facade, _server) = facade(Config::default()).await;
    let (router, document) = server::router(&facade, dialects::doors(), dialects::errand::refuse);
    let (status, headers, body) = ask(&router, a_get("/openapi.json")).await;
    assert_eq!(
        (status, headers["content-type"].to_str().unwrap()),
        (200, "application/json")
    );
    assert_eq!(body, docs::finished(&document).to_string());
    let value: serde_json::Value = serde_json::from_str(&body).unwrap();
    for part in body.split("\"$ref\":\"#").skip(1) {
        let pointer = part.split('"').next().unwrap();
        assert!(
            value.pointer(pointer).is_some(),
            "{pointer} is not in the document"
        );
    }
    let spec = value.pointer("/components/schemas/Task/properties/spec/properties/functionRef");
    assert!(spec.is_some(), "the schema of a Task is that of its definition");
    let (status, headers, page) = ask(&router, a_get("/docs")).await;
    assert_eq!(
        (status, headers["content-security-policy"].to_str().unwrap()),
        (200, "default-src 'none'; style-src 'unsafe-inline'")
    );
    for (path, _) in value["paths"].as_object().unwrap() {
        assert!(
            page.contains(&format!("{path}</code>")),
            "{path} is not on the page"
        );
    }
}

/// A Task without a pod.
async fn external(server: &ApiServer, name: &str) -> Api<Task> {
    let tasks: Api<Task> = Api::default_namespaced(server.client());
    let task = json!({"apiVersion": crd::API_VERSION, "kind": "Task", "metadata": {"name": name},
        "spec": {"external": {"processor": "p"}}});
    let task = serde_json::from_value(task).unwrap();
    tasks.create(&PostParams::default(), &task).await.unwrap();
    tasks
}

#[tokio::test]
async fn a_stream_ends_soon_after_the_right_to_it() {
    let mut config = Config {
        recheck: Duration::from_millis(20),
        ..Config::default()
    };
    config.access.token_ttl = Duration::from_millis(20);
    let (facade, server) = facade(config).await;
    let (router, _) = server::router(&facade, dialects::doors(), dialects::errand::refuse);
    external(&server, "t").await;
    let roles: Api<Role> = Api::default_namespaced(server.client());
    let role = json!({"metadata": {"name": "r"}, "rules": [{"apiGroups": ["errand.dev"], "resources": ["tasks"], "verbs": ["get"]}]});
    let role = serde_json::from_value(role).unwrap();
    roles.create(&PostParams::default(), &role).await.unwrap();
    let bindings: Api<RoleBinding> = Api::default_namespaced(server.client());
    let binding = json!({"metadata": {"name": "b"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"kind": "User", "name": "ann", "apiGroup": "rbac.authorization.k8s.io"}]});
    let binding = serde_json::from_value(binding).unwrap();
    bindings.create(&PostParams::default(), &binding).await.unwrap();

    let request =
        Request::get("/errand/v1/namespaces/default/tasks/t/events").header("authorization", "annie");
    let response = router
        .oneshot(request.body(Body::empty()).unwrap())
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let mut events = response.into_body().into_data_stream();
    let first = events.next().await.unwrap().unwrap();
    assert!(first.starts_with(b"event: status\n"), "{first:?}");
    bindings.delete("b", &DeleteParams::default()).await.unwrap();
    // The test's own patience is the runner's: the stream would go on for ever.
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn who_waits_for_a_task_that_is_deleted_waits_no_longer() {
    let (facade, server) = facade(Config::default()).await;
    let tasks = external(&server, "t").await;
    let (views, stop) = (facade.views.clone(), CancellationToken::new());
    let feeding = tokio::spawn({
        let (client, stop) = (server.client(), stop.clone());
        async move { views.feed(client, None, stop).await }
    });
    facade.views.tasks.wait_until_ready().await;
    let key = Key::new("default", "t");
    let waiting = facade.wait_for_end(&key, Duration::from_secs(3600));
    let mut waiting = std::pin::pin!(waiting);
    assert!(futures::poll!(waiting.as_mut()).is_pending());
    tasks.delete("t", &DeleteParams::default()).await.unwrap();
    waiting.await;
    stop.cancel();
    feeding.await.unwrap();
}
