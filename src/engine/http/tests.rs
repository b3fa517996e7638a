//! Against servers that write their bytes by hand.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use axum::body::Bytes;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::handover::sha256_hex;

const LONG: Duration = Duration::from_secs(30);

fn limits(result: usize) -> Limits {
    Limits {
        result,
        read: READ_CAP,
        deadline: Instant::now() + LONG,
    }
}

fn soon(stage_limits: Limits) -> Limits {
    Limits {
        deadline: Instant::now() + Duration::from_millis(300),
        ..stage_limits
    }
}

fn get(path: &str) -> Request {
    Request {
        path: path.into(),
        ..Request::default()
    }
}

/// A head and a body of `length` bytes from the stream.
async fn read_request(stream: &mut TcpStream, length: usize) -> String {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let head = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        if head.is_some_and(|at| bytes.len() >= at + 4 + length) {
            return String::from_utf8(bytes).unwrap();
        }
        let count = stream.read(&mut chunk).await.unwrap();
        assert!(count > 0, "the request broke off: {}", bytes.escape_ascii());
        bytes.extend_from_slice(&chunk[..count]);
    }
}

/// Serves one connection by `serve`; later ones are not accepted. The handle gives what `serve` gave.
async fn server<T: Send + 'static, F: Future<Output = T> + Send>(
    serve: impl FnOnce(TcpStream) -> F + Send + 'static,
) -> (SocketAddr, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let handle = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        serve(stream).await
    });
    (address, handle)
}

/// Reads a request without a body, writes `answer`, closes; gives the request.
async fn answering(answer: impl Into<Vec<u8>>) -> (SocketAddr, JoinHandle<String>) {
    let answer = answer.into();
    server(async move |mut stream| {
        let request = read_request(&mut stream, 0).await;
        // A client that has given up may have closed.
        let _ = stream.write_all(&answer).await;
        request
    })
    .await
}

async fn outcome_of(answer: impl Into<Vec<u8>>) -> Result<Answer, SendError> {
    let (target, _server) = answering(answer).await;
    send(&Route::Direct(target), &get("/"), limits(1024)).await
}

#[tokio::test]
async fn the_request_is_on_the_wire_as_it_was_given() {
    let (target, server) = server(async |mut stream| {
        let request = read_request(&mut stream, 5).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .await
            .unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        (request, rest)
    })
    .await;
    let request = Request {
        method: "PUT".into(),
        path: "/run".into(),
        query: Some("q=%20&r=[1]".into()),
        headers: BTreeMap::from([("X-One".into(), "1".into()), ("Host".into(), "f.example".into())]),
        content_type: Some("text/plain".into()),
        body: Bytes::from_static(b"hello"),
    };
    let answer = send(&Route::Direct(target), &request, limits(10)).await.unwrap();
    assert_eq!(
        (answer.status, answer.size, answer.truncated),
        (200, Some(0), false)
    );
    let expected = "PUT /run?q=%20&r=[1] HTTP/1.1\r\nhost: f.example\r\nx-one: 1\r\ncontent-type: text/plain\r\n\
                    connection: close\r\ncontent-length: 5\r\n\r\nhello";
    assert_eq!(server.await.unwrap(), (expected.to_owned(), Vec::new()));
}

#[tokio::test]
async fn a_plain_request_says_nothing_that_was_not_asked_for() {
    let (target, server) = answering("HTTP/1.1 204 No Content\r\n\r\n").await;
    send(&Route::Direct(target), &get("/"), limits(10)).await.unwrap();
    assert_eq!(
        server.await.unwrap(),
        format!("GET / HTTP/1.1\r\nhost: {target}\r\nconnection: close\r\n\r\n")
    );
}

#[tokio::test]
async fn any_status_is_an_answer_and_redirects_are_not_followed() {
    let redirect =
        outcome_of("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 2\r\n\r\nhi");
    let expected = Answer {
        status: 302,
        headers: BTreeMap::from([
            ("location".into(), "http://127.0.0.1:1/".into()),
            ("content-length".into(), "2".into()),
        ]),
        content_type: None,
        body: b"hi".to_vec(),
        size: Some(2),
        sha256: Some(sha256_hex(b"hi")),
        truncated: false,
    };
    assert_eq!(redirect.await.unwrap(), expected);
    assert_eq!(
        outcome_of("HTTP/1.1 500 No\r\n\r\nwhy").await.unwrap().body,
        b"why"
    );
    assert_eq!(outcome_of("HTTP/1.0 799 Odd\r\n\r\n").await.unwrap().status, 799);
}

#[tokio::test]
async fn chunks_are_put_together_and_bytes_kept_exactly() {
    let body = b"\x00\xff\r\n0\r\n\r\n";
    let mut wire = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: a/b\r\n\r\n2\r\n\x00\xff\r\n7;ext=1\r\n".to_vec();
    wire.extend_from_slice(b"\r\n0\r\n\r\n\r\n0\r\nX-Trailer: 1\r\n\r\n");
    let expected = Answer {
        status: 200,
        headers: BTreeMap::from([("content-type".into(), "a/b".into())]),
        content_type: Some("a/b".into()),
        body: body.to_vec(),
        size: Some(9),
        sha256: Some(sha256_hex(body)),
        truncated: false,
    };
    assert_eq!(outcome_of(wire).await.unwrap(), expected);
}

#[tokio::test]
async fn informational_answers_are_passed_over_but_not_a_switch_of_protocols() {
    let many = "HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n".repeat(200);
    let answer = outcome_of(format!(
        "HTTP/1.1 100 Continue\r\n\r\n{many}HTTP/1.1 200 OK\r\n\r\nend"
    ))
    .await
    .unwrap();
    assert_eq!((answer.status, answer.body), (200, b"end".to_vec()));
    let switched =
        outcome_of("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n").await;
    assert!(matches!(switched, Err(SendError::Switched)), "{switched:?}");
}

#[tokio::test]
async fn long_bodies_are_cut_and_told_with_their_real_size_and_digest() {
    let body = vec![b'x'; 3_000_000];
    let mut wire = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    wire.extend_from_slice(&body);
    let (target, _server) = answering(wire).await;
    let answer = send(&Route::Direct(target), &get("/"), limits(1000))
        .await
        .unwrap();
    let expected = Answer {
        status: 200,
        body: body[..1000].to_vec(),
        size: Some(3_000_000),
        sha256: Some(sha256_hex(&body)),
        truncated: true,
        ..Answer::default()
    };
    assert_eq!(answer, expected);
}

/// Writes `head` and then `x` until the other side has enough.
async fn endless(head: &'static str) -> (SocketAddr, JoinHandle<()>) {
    server(async move |mut stream| {
        read_request(&mut stream, 0).await;
        stream.write_all(head.as_bytes()).await.unwrap();
        while stream.write_all(&[b'x'; 65536]).await.is_ok() {}
    })
    .await
}

#[tokio::test]
async fn endless_bodies_are_left_at_the_cap() {
    let capped = |limit| Limits {
        read: 1_000_000,
        ..limits(limit)
    };
    let (target, server) = endless("HTTP/1.1 200 OK\r\n\r\n").await;
    let answer = send(&Route::Direct(target), &get("/"), capped(4)).await.unwrap();
    assert_eq!(
        answer,
        Answer {
            status: 200,
            body: b"xxxx".to_vec(),
            truncated: true,
            ..Answer::default()
        }
    );
    timeout(LONG, server).await.unwrap().unwrap();

    let (target, _server) = endless("HTTP/1.1 200 OK\r\nContent-Length: 99000000000\r\n\r\n").await;
    let answer = send(&Route::Direct(target), &get("/"), capped(4)).await.unwrap();
    assert_eq!(
        (answer.size, answer.sha256, answer.truncated),
        (Some(99_000_000_000), None, true)
    );
}

#[tokio::test]
async fn endless_heads_are_refused() {
    let (target, server) = endless("HTTP/1.1 200 OK\r\nX-Long: ").await;
    let outcome = send(&Route::Direct(target), &get("/"), limits(4)).await;
    assert!(matches!(outcome, Err(SendError::Malformed(_))), "{outcome:?}");
    timeout(LONG, server).await.unwrap().unwrap();
    let many: String = (0..2000).map(|number| format!("x-{number}: 1\r\n")).collect();
    let outcome = outcome_of(format!("HTTP/1.1 200 OK\r\n{many}\r\n")).await;
    assert!(matches!(outcome, Err(SendError::Malformed(_))), "{outcome:?}");
}

#[tokio::test]
async fn garbage_is_not_an_answer() {
    let garbage: [&[u8]; 5] = [
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\n",
    ];
    for bytes in garbage {
        let outcome = outcome_of(bytes).await;
        assert!(
            matches!(outcome, Err(SendError::Malformed(_))),
            "{}: {outcome:?}",
            bytes.escape_ascii()
        );
        assert!(!outcome.unwrap_err().nothing_sent());
    }
    for length in ["-1", "1, 2", "99999999999999999999999999"] {
        let outcome = outcome_of(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nab")).await;
        assert!(
            matches!(outcome, Err(SendError::Malformed(_))),
            "{length}: {outcome:?}"
        );
    }
}

#[tokio::test]
async fn a_connection_closed_before_the_answer_is_told_apart() {
    for bytes in ["", "HTTP/1.1 200 OK\r\nX-Half"] {
        let outcome = outcome_of(bytes).await;
        assert!(
            matches!(outcome, Err(SendError::Closed(_))),
            "{bytes:?}: {outcome:?}"
        );
        assert!(!outcome.unwrap_err().nothing_sent());
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_gives_what_had_come() {
    for framing in [
        "Content-Length: 10\r\n\r\nabc",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n",
    ] {
        let error = outcome_of(format!("HTTP/1.1 200 OK\r\n{framing}"))
            .await
            .unwrap_err();
        assert!(
            matches!(error, SendError::BrokenOff { received: 3, .. }),
            "{framing}: {error:?}"
        );
        let partial = error.into_partial().unwrap();
        assert_eq!(
            (partial.body, partial.sha256, partial.truncated),
            (b"abc".to_vec(), None, true)
        );
    }
}

#[tokio::test]
async fn a_slow_drip_ends_at_the_deadline_in_each_stage() {
    let (target, _server) = server(async |mut stream| {
        read_request(&mut stream, 0).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        while stream.write_all(b"X: 1\r\n").await.is_ok() {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let outcome = send(&Route::Direct(target), &get("/"), soon(limits(10))).await;
    assert!(
        matches!(
            outcome,
            Err(SendError::Deadline {
                stage: Stage::Waiting,
                partial: None
            })
        ),
        "{outcome:?}"
    );
    let (target, _server) = server(async |mut stream| {
        read_request(&mut stream, 0).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while stream.write_all(b"x").await.is_ok() {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let error = send(&Route::Direct(target), &get("/"), soon(limits(1)))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            SendError::Deadline {
                stage: Stage::Reading,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(error.into_partial().unwrap().body, b"x");
}

#[tokio::test]
async fn nothing_is_sent_where_nobody_listens_or_the_input_is_not_http() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    drop(listener);
    let error = send(&Route::Direct(target), &get("/"), limits(1))
        .await
        .unwrap_err();
    assert!(
        matches!(error, SendError::Connect { .. }) && error.nothing_sent(),
        "{error:?}"
    );
    let headers = BTreeMap::from([("x".to_owned(), "a\nb".to_owned())]);
    let error = send(
        &Route::Direct(target),
        &Request { headers, ..get("/") },
        limits(1),
    )
    .await
    .unwrap_err();
    assert!(
        matches!(error, SendError::Request(_)) && error.nothing_sent(),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_answer_that_comes_before_the_request_was_read_counts() {
    let (target, _server) = server(async |mut stream| {
        stream
            .write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
            .await
            .unwrap();
        // Closing with unread bytes would reset the connection and could take the answer along.
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    })
    .await;
    let request = Request {
        body: Bytes::from(vec![b'x'; 8_000_000]),
        ..get("/")
    };
    let answer = send(&Route::Direct(target), &request, limits(10)).await.unwrap();
    assert_eq!((answer.status, answer.body), (413, b"no".to_vec()));
}

/// Answers one probe after the other, the last one for ever.
async fn probed(statuses: &'static [u16]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for number in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let request = read_request(&mut stream, 0).await;
            assert!(request.starts_with("GET /ready HTTP/1.1\r\n"), "{request}");
            let status = statuses.get(number).or(statuses.last()).unwrap();
            stream
                .write_all(format!("HTTP/1.1 {status} X\r\n\r\n").as_bytes())
                .await
                .unwrap();
        }
    });
    address
}

async fn wait(target: SocketAddr, readiness: &Readiness, within: Duration) -> Result<(), String> {
    let poll = Duration::from_millis(10);
    let outcome = wait_ready(
        &Route::Direct(target),
        readiness,
        poll,
        Instant::now() + within,
        &CancellationToken::new(),
    )
    .await;
    outcome.map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_container_is_ready_once_it_accepts() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    assert_eq!(wait(target, &Readiness::Tcp, LONG).await, Ok(()));
    drop(listener);
    let error = wait(target, &Readiness::Tcp, Duration::from_millis(50))
        .await
        .unwrap_err();
    let start = format!("the function was not ready on {target} in time: could not connect: ");
    assert!(error.starts_with(&start), "{error}");
}

#[tokio::test]
async fn a_container_is_ready_once_its_readiness_path_answers_below_400() {
    let readiness = Readiness::Http("/ready".into());
    assert_eq!(
        wait(probed(&[503, 404, 302]).await, &readiness, LONG).await,
        Ok(())
    );
    let target = probed(&[500]).await;
    let error = wait(target, &readiness, Duration::from_millis(200))
        .await
        .unwrap_err();
    assert_eq!(
        error,
        format!("the function was not ready on {target} in time: GET /ready was answered with 500")
    );
}

#[tokio::test]
async fn a_wait_can_be_called_off() {
    let cancel = CancellationToken::new();
    cancel.cancel();
    let target = probed(&[500]).await;
    let deadline = Instant::now() + LONG;
    let outcome = wait_ready(&Route::Direct(target), &Readiness::Tcp, LONG, deadline, &cancel).await;
    assert!(matches!(outcome, Err(WaitError::Cancelled)), "{outcome:?}");
}
