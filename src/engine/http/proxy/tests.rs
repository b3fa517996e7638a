//! Against API servers that answer by hand, through kube's whole client.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Config,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::super::{READ_CAP, Readiness, Route, send, wait_ready};
use super::*;
use crate::local::api::{ApiOptions, ApiServer, User};

/// Answers every request with `answer` and counts them.
async fn api_server(answer: &'static str) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream, answer, counted.clone()));
        }
    });
    (address, count)
}

async fn serve(mut stream: TcpStream, answer: &str, count: Arc<AtomicUsize>) {
    let mut head = Vec::new();
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    count.fetch_add(1, Ordering::SeqCst);
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
    // Closing with unread bytes would reset the connection and could take the answer along.
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
}

/// The client that the controller has in a cluster: with kube's own layers, among them its retries.
fn client(address: SocketAddr) -> Client {
    let config = Config::new(format!("http://{address}").parse().unwrap());
    assert!(config.default_retry, "kube retries by default");
    Client::try_from(config).unwrap()
}

fn route(client: Client) -> Route {
    Route::ApiProxy(PodProxy {
        client,
        namespace: "n".into(),
        pod: "p".into(),
        port: 80,
    })
}

fn limits(result: usize) -> Limits {
    Limits {
        result,
        read: READ_CAP,
        deadline: Instant::now() + Duration::from_secs(30),
    }
}

fn post() -> Request {
    Request {
        path: "/x".into(),
        body: Bytes::from_static(b"hello"),
        ..Request::default()
    }
}

const BUSY: &str = "HTTP/1.1 503 X\r\nretry-after: 0\r\ncontent-type: text/plain\r\ncontent-length: 4\r\nconnection: close\r\n\r\nbusy";

#[tokio::test]
async fn a_request_is_sent_once_whatever_the_answer_is_and_whatever_the_client_would_repeat() {
    let empty = Request {
        body: Bytes::new(),
        ..post()
    };
    for request in [post(), empty] {
        let (address, count) = api_server(BUSY).await;
        let answer = send(&route(client(address)), &request, limits(10)).await.unwrap();
        assert_eq!((answer.status, answer.body), (503, b"busy".to_vec()));
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }
    // The same client does repeat what it can clone.
    let (address, count) = api_server(BUSY).await;
    let request = http::Request::post("/x")
        .body(Body::from(b"hello".to_vec()))
        .unwrap();
    let client = client(address);
    let repeated = async {
        while count.load(Ordering::SeqCst) < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        answer = client.send(request) => panic!("kube gave up: {answer:?}"),
        () = repeated => {}
    }
}

#[tokio::test]
async fn redirects_are_answers() {
    let (address, count) = api_server(
        "HTTP/1.1 307 X\r\nlocation: /elsewhere\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    )
    .await;
    let answer = send(&route(client(address)), &post(), limits(10)).await.unwrap();
    assert_eq!((answer.status, count.load(Ordering::SeqCst)), (307, 1));
    assert_eq!(
        answer.headers.get("location").map(String::as_str),
        Some("/elsewhere")
    );
}

#[tokio::test]
async fn nothing_is_sent_where_there_is_no_api_server() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = send(&route(client(address)), &post(), limits(10))
        .await
        .unwrap_err();
    assert!(
        matches!(error, SendError::ApiServer { sent: false, .. }) && error.nothing_sent(),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_api_server_that_goes_away_may_have_passed_the_request_on() {
    let (address, _) = api_server("").await;
    let error = send(&route(client(address)), &post(), limits(10))
        .await
        .unwrap_err();
    assert!(
        matches!(error, SendError::ApiServer { sent: true, .. }) && !error.nothing_sent(),
        "{error:?}"
    );
}

#[tokio::test]
async fn the_api_servers_own_failure_is_told_from_an_answer_even_where_little_is_kept() {
    let message = "error trying to reach service: dial tcp 10.0.0.1:80: connect: connection refused";
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": "ServiceUnavailable", "code": 503});
    let answer =
        format!("HTTP/1.1 503 X\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n{body}");
    let (address, _) = api_server(answer.leak()).await;
    let error = send(&route(client(address)), &post(), limits(0))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("the API server got no answer from the function: {message}")
    );
    assert!(error.nothing_sent());
}

#[tokio::test]
async fn no_more_is_kept_than_wanted_and_large_heads_are_refused() {
    let (address, _) = api_server("HTTP/1.1 200 X\r\nconnection: close\r\n\r\n0123456789").await;
    let answer = send(&route(client(address)), &post(), limits(4)).await.unwrap();
    assert_eq!(
        (answer.body, answer.size, answer.truncated),
        (b"0123".to_vec(), Some(10), true)
    );
    let head = format!("HTTP/1.1 200 X\r\nx-a: {}\r\n\r\n", "a".repeat(100_000));
    let (address, _) = api_server(head.leak()).await;
    let error = send(&route(client(address)), &post(), limits(4))
        .await
        .unwrap_err();
    assert!(matches!(error, SendError::LargeHead { .. }), "{error:?}");
}

#[tokio::test]
async fn an_api_server_that_says_nothing_is_given_up() {
    let (address, _) = api_server("HTTP/1.1 200 X\r\ncontent-length: 5\r\n\r\nab").await;
    let soon = || Limits {
        deadline: Instant::now() + Duration::from_millis(300),
        ..limits(10)
    };
    let error = send(&route(client(address)), &post(), soon()).await.unwrap_err();
    // The server closes, or the deadline comes first.
    assert!(
        matches!(error, SendError::Deadline { .. } | SendError::BrokenOff { .. }),
        "{error:?}"
    );
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let error = send(&route(client(silent.local_addr().unwrap())), &post(), soon())
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            SendError::Deadline {
                stage: Stage::Waiting,
                ..
            }
        ) && !error.nothing_sent(),
        "{error:?}"
    );
}

/// A pod at this machine's loopback address, in an API server that knows `ann`, who may do nothing.
async fn plane() -> ApiServer {
    let server = ApiServer::start(ApiOptions::default()).await.unwrap();
    let pods: Api<Pod> = Api::default_namespaced(server.client());
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let pod = serde_json::from_value(pod).unwrap();
    pods.create(&PostParams::default(), &pod).await.unwrap();
    let patch = Patch::Merge(json!({"status": {"podIP": "127.0.0.1"}}));
    pods.patch_status("p", &PatchParams::default(), &patch)
        .await
        .unwrap();
    server
}

fn on_plane(client: Client, pod: &str, port: u16) -> Route {
    Route::ApiProxy(PodProxy {
        client,
        namespace: "default".into(),
        pod: pod.into(),
        port,
    })
}

#[tokio::test]
async fn each_refusal_of_a_whole_api_server_is_told_from_an_answer() {
    let server = plane().await;
    let (listening, _) = api_server("HTTP/1.1 404 X\r\nconnection: close\r\n\r\nnot here").await;
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = free.local_addr().unwrap().port();
    drop(free);
    let ann = || server.client_for(User::new("ann", ["dev"]));
    let outcome = async |route: Route, request: Request| {
        let outcome = send(&route, &request, limits(100)).await;
        match outcome {
            Ok(answer) => (answer.status, false, String::from_utf8(answer.body).unwrap()),
            Err(SendError::NotPassedOn(Refusal { code, message, sent })) => (code, !sent, message),
            Err(other) => panic!("{other:?}"),
        }
    };
    let open = on_plane(server.client(), "p", listening.port());
    assert_eq!(outcome(open, post()).await, (404, false, "not here".into()));
    let (code, nothing_sent, message) = outcome(on_plane(server.client(), "q", 80), post()).await;
    assert_eq!(
        (code, nothing_sent, message.as_str()),
        (404, true, "pods \"q\" not found")
    );
    let refused =
        format!("error trying to reach service: dial tcp 127.0.0.1:{closed}: connect: connection refused");
    for accept in ["*/*", "application/yaml", "text/csv"] {
        let request = Request {
            headers: [("accept".to_owned(), accept.to_owned())].into(),
            ..post()
        };
        let told = outcome(on_plane(server.client(), "p", closed), request).await;
        assert_eq!(told, (503, true, refused.clone()), "{accept}");
    }
    let (code, nothing_sent, message) = outcome(on_plane(ann(), "p", listening.port()), post()).await;
    assert_eq!((code, nothing_sent), (403, true));
    assert!(
        message.contains("User \"ann\" cannot create resource \"pods/proxy\""),
        "{message}"
    );
}

#[tokio::test]
async fn a_wait_without_the_right_to_ask_ends_at_once_and_others_go_on() {
    let server = plane().await;
    let wait = async |client: Client, port: u16, within: Duration| {
        let route = on_plane(client, "p", port);
        let deadline = Instant::now() + within;
        let readiness = Readiness::Http("/ready".into());
        let never = CancellationToken::new();
        let outcome = wait_ready(&route, &readiness, Duration::from_millis(10), deadline, &never).await;
        outcome.map_err(|error| error.to_string())
    };
    let (listening, _) = api_server("HTTP/1.1 204 X\r\nconnection: close\r\n\r\n").await;
    let long = Duration::from_secs(3600);
    assert_eq!(wait(server.client(), listening.port(), long).await, Ok(()));
    let ann = server.client_for(User::new("ann", ["dev"]));
    let error = wait(ann, listening.port(), long).await.unwrap_err();
    assert!(
        error.starts_with(&format!(
            "the function cannot be asked on p:{} through the API server: ",
            listening.port()
        )),
        "{error}"
    );
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = free.local_addr().unwrap().port();
    drop(free);
    let error = wait(server.client(), closed, Duration::from_millis(100))
        .await
        .unwrap_err();
    assert!(
        error.contains("was not ready") && error.contains("connection refused"),
        "{error}"
    );
}
