//! The line splitter by itself, and the follower against an API whose logs are written by hand.

use std::{convert::Infallible, io};

use kube::client::Body;
use proptest::prelude::*;
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::*;

type Bytes = axum::body::Bytes;
type Log = mpsc::UnboundedSender<Result<Bytes, io::Error>>;
type Reports = mpsc::Receiver<(&'static str, Progress)>;

fn lines_of(chunks: &[&[u8]]) -> (Vec<Vec<u8>>, Option<Vec<u8>>) {
    let (mut lines, mut found) = (Lines::default(), Vec::new());
    for chunk in chunks {
        lines.push(chunk, |line| found.push(line.to_vec()));
    }
    (found, lines.end().map(<[u8]>::to_vec))
}

#[test]
fn lines_are_put_together_across_chunks() {
    let (lines, rest) = lines_of(&[b"a\nb", b"c", b"\n\nd\r\n", b"e"]);
    assert_eq!(lines, [&b"a"[..], b"bc", b"", b"d\r"]);
    assert_eq!(rest.as_deref(), Some(&b"e"[..]));
}

#[test]
fn a_line_of_200_megabytes_is_passed_over_and_never_held() {
    let (mut lines, mut found) = (Lines::default(), Vec::new());
    let chunk = vec![b'x'; 1 << 20];
    for _ in 0..200 {
        lines.push(&chunk, |line| found.push(line.to_vec()));
        assert!(lines.held.capacity() <= 2 * MAX_LINE);
    }
    assert_eq!(lines.end(), None);
    lines.push(b"::progress 1\n::progress 2\n", |line| found.push(line.to_vec()));
    assert_eq!(found, [b"::progress 2"]);
    let (kept, _) = lines_of(&[&[b'x'; MAX_LINE], b"\n", &[b'x'; MAX_LINE + 1], b"\nok\n"]);
    assert_eq!(kept, [vec![b'x'; MAX_LINE], b"ok".to_vec()]);
}

proptest! {
    #[test]
    fn any_cut_into_chunks_gives_the_same_lines(
        bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..200),
        size in 1usize..20,
    ) {
        let chunks: Vec<&[u8]> = bytes.chunks(size).collect();
        let (mut lines, rest) = lines_of(&chunks);
        lines.push(rest.unwrap());
        let expected: Vec<Vec<u8>> = bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        prop_assert_eq!(lines, expected);
    }
}

/// An API whose every log request is handed to the test: its path and query, and where to write the log.
fn api() -> (Client, mpsc::UnboundedReceiver<(String, Log)>) {
    let (sender, requests) = mpsc::unbounded_channel();
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let sender = sender.clone();
        async move {
            let target = request.uri().to_string();
            let (log, chunks) = mpsc::unbounded_channel();
            let gone = target.contains("/pods/gone/");
            let _ = sender.send((target, log));
            let response = http::Response::builder();
            Ok::<_, Infallible>(match gone {
                true => {
                    let status = r#"{"kind":"Status","status":"Failure","reason":"NotFound","code":404}"#;
                    response.status(404).body(axum::body::Body::from(status)).unwrap()
                }
                false => {
                    let log = axum::body::Body::from_stream(UnboundedReceiverStream::new(chunks));
                    response.body(log).unwrap()
                }
            })
        }
    });
    (Client::new(service, "ns"), requests)
}

fn follower(client: Client, limit: usize) -> (Follower<&'static str>, Reports, CancellationToken) {
    let (sender, reports) = mpsc::channel(16);
    let shutdown = CancellationToken::new();
    (
        Follower::new(client, limit, sender, shutdown.clone()),
        reports,
        shutdown,
    )
}

fn source(pod: &str) -> Source {
    Source {
        namespace: "ns".into(),
        pod: pod.into(),
        container: "task".into(),
    }
}

fn write(log: &Log, text: &str) {
    log.send(Ok(Bytes::from(text.to_owned()))).unwrap();
}

fn percent(percent: u8) -> Progress {
    Progress {
        percent: Some(percent),
        ..Progress::default()
    }
}

#[tokio::test(start_paused = true)]
async fn progress_is_reported_at_once_and_then_the_newest_each_second() {
    let (client, mut requests) = api();
    let (follower, mut reports, _shutdown) = follower(client, 8);
    assert!(follower.follow("t", source("p")));
    assert!(follower.follow("t", source("p")));
    let (target, log) = requests.recv().await.unwrap();
    assert_eq!(
        target,
        "/api/v1/namespaces/ns/pods/p/log?&container=task&follow=true&tailLines=100"
    );
    let start = Instant::now();
    write(&log, "hello\n::progress 1\n");
    assert_eq!(reports.recv().await.unwrap(), ("t", percent(1)));
    assert_eq!(start.elapsed(), Duration::ZERO);
    for number in 2..=50 {
        write(&log, &format!("::progress {number}\n"));
    }
    assert_eq!(reports.recv().await.unwrap(), ("t", percent(50)));
    assert_eq!(start.elapsed().as_secs(), 1);
    // What is known already, and what came and went within the second, is not told.
    write(&log, "::progress 51\n::progress 50\n");
    sleep(Duration::from_secs(5)).await;
    assert!(reports.try_recv().is_err());
    write(&log, "::progress 60\n::progress 99 last");
    drop(log);
    let mut last = reports.recv().await.unwrap();
    if last.1 == percent(60) {
        last = reports.recv().await.unwrap();
    }
    assert_eq!(
        last,
        (
            "t",
            Progress {
                title: Some("last".into()),
                ..percent(99)
            }
        )
    );
    assert!(requests.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_log_that_breaks_off_is_asked_for_again_from_where_it_was() {
    let (client, mut requests) = api();
    let (follower, mut reports, shutdown) = follower(client, 8);
    follower.follow("t", source("p"));
    let (_, log) = requests.recv().await.unwrap();
    write(&log, "::progress 1\n");
    reports.recv().await.unwrap();
    sleep(Duration::from_secs(20)).await;
    log.send(Err(io::ErrorKind::ConnectionReset.into())).unwrap();
    let (target, log) = requests.recv().await.unwrap();
    assert_eq!(
        target,
        "/api/v1/namespaces/ns/pods/p/log?&container=task&follow=true&sinceSeconds=22"
    );
    write(&log, "::progress 2\n");
    assert_eq!(reports.recv().await.unwrap(), ("t", percent(2)));
    shutdown.cancel();
    log.closed().await;
    assert!(!follower.follow("u", source("q")));
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_over_each_time_is_let_go_after_some_tries() {
    let (client, mut requests) = api();
    let (follower, _reports, _shutdown) = follower(client, 8);
    follower.follow("t", source("p"));
    let start = Instant::now();
    for _ in 0..MAX_FRUITLESS {
        drop(requests.recv().await.unwrap());
    }
    while !follower.is_empty() {
        sleep(RETRY.0).await;
    }
    assert!(start.elapsed() > Duration::from_secs(60), "{:?}", start.elapsed());
    assert!(requests.try_recv().is_err());
    follower.follow("t", source("gone"));
    requests.recv().await.unwrap();
    while !follower.is_empty() {
        sleep(RETRY.0).await;
    }
    assert!(requests.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn no_more_logs_than_allowed_are_followed_and_a_stop_makes_room() {
    let (client, mut requests) = api();
    let (follower, mut reports, _shutdown) = follower(client, 1);
    assert!(follower.follow("t", source("p")));
    assert!(!follower.follow("u", source("q")));
    let (_, first) = requests.recv().await.unwrap();
    // The pod of the next attempt takes the place of the one before.
    assert!(follower.follow("t", source("p-2")));
    first.closed().await;
    let (target, second) = requests.recv().await.unwrap();
    assert!(
        target.starts_with("/api/v1/namespaces/ns/pods/p-2/log?"),
        "{target}"
    );
    write(&second, "::progress 3\n");
    assert_eq!(reports.recv().await.unwrap(), ("t", percent(3)));
    assert_eq!(follower.len(), 1);
    follower.stop(&"t");
    second.closed().await;
    assert!(follower.is_empty() && follower.follow("u", source("q")));
}
