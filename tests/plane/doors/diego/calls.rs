//! Calls over the wire.

use std::io::Read as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_rest_of_the_facade_is_not_on_this_listener_and_this_is_not_on_the_other() {
    let (doors, bbs) = open().await;
    assert_eq!(bbs.0.post("/v1/ping", b"").body, [8, 1]);
    let admin = doors.as_user("admin");
    assert_eq!(admin.post("/v1/ping", b"").status, 404);
    for path in [
        "/errand/v1/namespaces/default/tasks",
        "/docs",
        "/v1/tasks/list.r1",
    ] {
        let answer = bbs.0.post(path, b"");
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    }
    let answer = bbs.0.get("/v1/ping");
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_have_a_length_and_are_not_packed_for_clients_that_could_unpack_them() {
    let (_doors, bbs) = open().await;
    let packed = Bbs(bbs.0.with("accept-encoding", "gzip"));
    packed.desire("g", "d", &script("sleep 600", "")).unwrap();
    assert_eq!(packed.task("g").text(GUID), "g");
    packed.named("cancel", "g").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_pod_can_give_is_refused_with_a_sentence() {
    let (_doors, bbs) = open().await;
    let definition = [script("true", ""), text(1, "preloaded:windows2019")].concat();
    let (kind, sentence) = bbs.desire("g", "d", &definition).unwrap_err();
    assert_eq!(kind, INVALID_REQUEST);
    assert!(sentence.contains("--diego-stack windows2019=IMAGE"), "{sentence}");
    // What the API server finds wrong is told too.
    let long = "d".repeat(200);
    bbs.desire("long", &long, &script("true", "")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn domains_are_kept_in_one_object() {
    let (_doors, bbs) = open().await;
    for (domain, ttl) in [("a", 60), ("b", 0)] {
        bbs.done("/v1/domains/upsert", &[text(1, domain), number(2, ttl)].concat())
            .unwrap();
    }
    let listed = bbs.call("/v1/domains/list", b"");
    assert_eq!(listed.all(2), [b"a", b"b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_come_as_they_happen_and_end_with_the_server() {
    let (doors, bbs) = open().await;
    let mut stream = bbs.0.connect();
    std::io::Write::write_all(
        &mut stream,
        b"POST /v1/events/tasks.r1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    )
    .unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(
        head.contains("content-type: text/event-stream; charset=utf-8"),
        "{head}"
    );
    bbs.desire("g", "d", &script("true", "")).unwrap();
    bbs.until_state("g", COMPLETED);
    bbs.named("resolving", "g").unwrap();
    bbs.named("delete", "g").unwrap();
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        let mut buffer = [0; 4096];
        while !text.contains("task_removed") || !text.ends_with("\n\n\r\n") {
            let read = stream.read(&mut buffer).unwrap();
            assert!(read > 0, "{text}");
            text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        }
        (stream, text)
    });
    let (mut stream, text) = tokio::task::spawn_blocking(|| reading.join().unwrap())
        .await
        .unwrap();
    let field = |name: &str| {
        let lines = text.lines().filter_map(|line| line.strip_prefix(name));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let (names, data) = (field("event: "), field("data: "));
    assert_eq!(names.first().map(String::as_str), Some("task_created"), "{text}");
    assert_eq!(names.last().map(String::as_str), Some("task_removed"), "{text}");
    assert_eq!(field("id: ")[..2], ["0", "1"]);
    let created = Fields::parse(&STANDARD.decode(&data[0]).unwrap());
    let created = created.message(1).unwrap();
    assert_eq!((created.text(GUID), created.number(STATE)), ("g".into(), PENDING));
    drop(doors);
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(b"0\r\n\r\n"), "{rest:?}");
}
