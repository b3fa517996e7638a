//! Calls on the wire, to servers of this machine.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Bytes, http::Request, response::Response, routing::any};
use http::{HeaderMap, HeaderValue};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::{
    Networks,
    call::{Caller, Limits, Message},
    decide::Answer,
    target::Target,
};
use crate::tls::{Outgoing, OutgoingFiles};

pub(super) const LIMITS: Limits = Limits {
    timeout: Duration::from_secs(20),
    redirects: true,
};

pub(super) fn here() -> Networks {
    Networks {
        loopback: true,
        ..Networks::default()
    }
}

pub(super) fn caller(networks: Networks) -> Caller {
    Caller::new(networks, Outgoing::open(OutgoingFiles::default()).unwrap())
}

fn message() -> Message {
    Message {
        headers: HeaderMap::from_iter([(
            http::header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        )]),
        body: Bytes::from_static(b"{}"),
    }
}

pub(super) async fn post(caller: &Caller, url: &str, limits: Limits) -> Answer {
    caller
        .post(&Target::parse(url).unwrap(), &message(), limits)
        .await
}

/// A server that answers each path as `answer` says; method, path and `Host` of what came are noted.
async fn serve(
    answer: impl Fn(&str) -> Response + Clone + Send + Sync + 'static,
) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let noted = heard.clone();
    let handler = move |request: Request<axum::body::Body>| {
        let (answer, noted) = (answer.clone(), noted.clone());
        async move {
            let host = request.headers()["host"].to_str().unwrap().to_owned();
            let (method, path) = (request.method().clone(), request.uri().to_string());
            noted.lock().unwrap().push(format!("{method} {path} {host}"));
            answer(&path)
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(any(handler))).await });
    (address, heard)
}

fn plain(status: u16) -> Response {
    Response::builder().status(status).body("x".into()).unwrap()
}

fn redirect(status: u16, to: &str) -> Response {
    let answer = Response::builder().status(status).header("location", to);
    answer.body(axum::body::Body::empty()).unwrap()
}

/// Answers each connection with these bytes, once a request has begun; then says nothing more and holds it open.
async fn raw(bytes: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut some = [0; 1024];
            assert!(stream.read(&mut some).await.unwrap() > 0);
            drop(stream.write_all(bytes).await);
            open.push(stream);
        }
    });
    address
}

#[tokio::test]
async fn a_post_is_made_and_its_answer_read() {
    let (address, heard) = serve(|_| plain(202)).await;
    let caller = caller(here());
    assert_eq!(
        post(&caller, &format!("http://{address}/x?y=1"), LIMITS).await,
        Answer::Status(202, None)
    );
    let by_name = format!("http://localhost:{}/", address.port());
    assert_eq!(post(&caller, &by_name, LIMITS).await, Answer::Status(202, None));
    let expected = [
        format!("POST /x?y=1 {address}"),
        format!("POST / localhost:{}", address.port()),
    ];
    assert_eq!(*heard.lock().unwrap(), expected);
}

#[tokio::test]
async fn an_address_that_is_not_allowed_is_never_connected_to() {
    let (address, heard) = serve(|_| plain(200)).await;
    let caller = caller(Networks::default());
    let port = address.port();
    for host in [
        "127.0.0.1",
        "localhost",
        "[::ffff:127.0.0.1]",
        "2130706433",
        "0x7f.1",
        "127.1",
    ] {
        let Answer::Refused(words) = post(&caller, &format!("http://{host}:{port}/"), LIMITS).await else {
            panic!("{host} was called");
        };
        assert!(
            words.contains("it is loopback, which must be allowed"),
            "{host}: {words}"
        );
    }
    assert_eq!(
        post(&caller, "http://169.254.169.254/latest/meta-data", LIMITS).await,
        Answer::Refused("169.254.169.254 is not called: it is link-local".into())
    );
    assert!(heard.lock().unwrap().is_empty());
}

#[tokio::test]
async fn redirects_are_followed_where_that_is_wished_and_judged_anew() {
    let (address, heard) = serve(|path| match path {
        "/one" => redirect(307, "/two"),
        "/two" => redirect(302, "three"),
        "/three" => plain(204),
        "/see" => redirect(303, "/three"),
        "/loop" => redirect(308, "/loop"),
        "/inside" => redirect(302, "http://169.254.169.254/latest"),
        "/file" => redirect(302, "file:///etc/passwd"),
        "/nowhere" => plain(302),
        _ => plain(404),
    })
    .await;
    let caller = caller(here());
    let url = |path: &str| format!("http://{address}{path}");
    let refused = Limits {
        redirects: false,
        ..LIMITS
    };
    assert_eq!(
        post(&caller, &url("/one"), refused).await,
        Answer::Status(307, None)
    );
    assert_eq!(heard.lock().unwrap().len(), 1);
    assert_eq!(
        post(&caller, &url("/one"), LIMITS).await,
        Answer::Status(204, None)
    );
    let followed: Vec<String> = heard.lock().unwrap().drain(..).skip(1).collect();
    assert_eq!(
        followed,
        ["/one", "/two", "/three"].map(|path| format!("POST {path} {address}"))
    );
    for (path, expected) in [
        ("/see", Answer::Status(303, None)),
        (
            "/loop",
            Answer::Broken("the answers were more than 3 redirects".into()),
        ),
        (
            "/inside",
            Answer::Refused("169.254.169.254 is not called: it is link-local".into()),
        ),
        (
            "/file",
            Answer::Refused("the address of the callback is neither http nor https".into()),
        ),
        (
            "/nowhere",
            Answer::Broken("the answer was a redirect without an address".into()),
        ),
    ] {
        assert_eq!(post(&caller, &url(path), LIMITS).await, expected, "{path}");
    }
}

#[tokio::test]
async fn whoever_says_nothing_or_too_much_is_not_waited_for() {
    let caller = caller(here());
    let short = Limits {
        timeout: Duration::from_millis(300),
        ..LIMITS
    };
    let silent = raw(b"").await;
    assert_eq!(
        post(&caller, &format!("http://{silent}/"), short).await,
        Answer::TimedOut("no answer within 300ms (waiting for an answer)".into())
    );
    // The head is there; a body that never ends is left where it is.
    let endless = raw(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\nxxxx").await;
    let day = Limits {
        timeout: Duration::from_secs(86_400),
        ..LIMITS
    };
    assert_eq!(
        post(&caller, &format!("http://{endless}/"), day).await,
        Answer::Status(200, None)
    );
    let (huge, _) = serve(|_| Response::new(vec![b'x'; 8 << 20].into())).await;
    assert_eq!(
        post(&caller, &format!("http://{huge}/"), LIMITS).await,
        Answer::Status(200, None)
    );
}

#[tokio::test]
async fn what_is_no_http_or_breaks_off_is_said_so() {
    let caller = caller(here());
    for bytes in [&b"SSH-2.0-OpenSSH_9.6\r\n"[..], b"HTTP/1.1 200 OK\r\nx: "] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut some = [0; 1024];
            assert!(stream.read(&mut some).await.unwrap() > 0);
            stream.write_all(bytes).await.unwrap();
        });
        let Answer::Broken(words) = post(&caller, &format!("http://{address}/"), LIMITS).await else {
            panic!("{bytes:?} is no answer");
        };
        assert!(
            words.starts_with("the connection broke before an answer"),
            "{words}"
        );
    }
    let gone = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let Answer::Broken(words) = post(&caller, &format!("http://{gone}/"), LIMITS).await else {
        panic!("nobody is there")
    };
    assert!(
        words.starts_with(&format!("could not connect to {gone}: ")),
        "{words}"
    );
    let Answer::Broken(words) = post(&caller, "http://no-such-name.invalid/", LIMITS).await else {
        panic!("there is no such name")
    };
    assert!(
        words.starts_with("could not look up no-such-name.invalid: "),
        "{words}"
    );
}
