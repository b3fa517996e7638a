//! What is malformed, hostile or slow.

use std::time::Duration;

use errand::facade::Config;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{
    PATH, SERVICE, USER, call, complete, frame, listen, listener, made, ok, open, post, refused, send, update,
};
use crate::support::{http::Http, plane::token, socket::Socket};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_malformed_request_gets_the_error_of_this_api() {
    let doors = open(&[]).await;
    let (service, user) = (doors.as_user(SERVICE), doors.as_user(USER));
    for path in ["", "/postStatus", "/markAsComplete"] {
        let method = if path.is_empty() { "PUT" } else { "POST" };
        let path = format!("{PATH}{path}");
        refused(&service.send(method, &path, b""), 400, "Bad Request");
        for body in [
            &b"{"[..],
            b"[]",
            b"null",
            b"{}",
            b"\xff\xfe",
            b"{\"id\":{}}",
            b"{\"update\":7}",
        ] {
            refused(&service.send(method, &path, body), 400, "Bad request");
        }
        let deep = "[".repeat(60_000);
        refused(&service.send(method, &path, deep.as_bytes()), 400, "Bad request");
        let long = vec![b' '; 131_073];
        refused(&service.send(method, &path, &long), 413, "Payload Too Large");
    }
    for body in [
        json!({"title": null, "owner": USER}),
        json!({"title": "t"}),
        json!({"title": 7, "owner": USER}),
        json!({"title": "t", "owner": USER, "initialStatus": []}),
    ] {
        refused(&send(&service, "PUT", "", &body), 400, "Bad request");
    }
    for query in ["?page=x", "?page=", "?itemsPerPage=1e3", "?page=99999999999"] {
        refused(&user.get(&format!("{PATH}{query}")), 400, "Bad request");
    }
    refused(&user.get(&format!("{PATH}/retrieve")), 400, "Bad request");
    for id in [
        "",
        "nope",
        "%00",
        "%ff",
        "..",
        "b06f51d2-88af-487c-bb4c-4cc156cf24fd",
        "-1",
        "4503599627370496",
    ] {
        refused(&user.get(&format!("{PATH}/retrieve?id={id}")), 404, "Not Found");
        let id = id.replace('%', "\u{0}");
        refused(
            &post(&service, "/markAsComplete", &json!({"id": id})),
            404,
            "Not Found",
        );
        let news = json!({"update": {"jobId": id}});
        refused(&post(&service, "/postStatus", &news), 404, "Not Found");
    }
    refused(&user.send("DELETE", PATH, b""), 405, "Method Not Allowed");
    // An upgrade to something else is a plain request.
    let upgrade = user.with("Connection", "Upgrade").with("Upgrade", "h2c");
    assert_eq!(upgrade.get(PATH).status, 200);
    // A name too long for a Task is told in words.
    let owner = "o".repeat(600);
    let answer = super::create(&service, "t", &owner);
    assert_eq!(answer.status, 400);
    assert!(
        answer.json()["why"].as_str().unwrap().contains("owner"),
        "{answer:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn titles_and_messages_of_any_length_are_kept_within_bounds() {
    let doors = open(&[]).await;
    let service = doors.as_user(SERVICE);
    let long = "ä".repeat(20_000);
    let id = made(&service, &long);
    update(
        &service,
        &json!({"jobId": id, "newStatus": long, "messageToAppend": long}),
    );
    for _ in 0..3 {
        update(
            &service,
            &json!({"jobId": id, "messageToAppend": "x".repeat(16_000)}),
        );
    }
    let status = doors.task(&id).await.status.unwrap();
    let bytes: usize = status.messages.iter().map(|message| message.text.len()).sum();
    assert_eq!((bytes, status.messages.last().unwrap().sequence), (32_000, 4));
    let seen = ok(&doors.as_user(USER).get(&format!("{PATH}/retrieve?id={id}")));
    let length = |field: &str| seen[field].as_str().unwrap().len();
    assert_eq!((length("title"), length("status")), (1024, 2048));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_are_no_calls_are_passed_over_and_the_socket_stays() {
    let doors = open(&[]).await;
    let mut socket = listener(&doors.http, "task.listen", USER).await;
    let deep = format!(
        r#"{{"call":"c","streamId":"s","payload":{{"a":{}"#,
        "[".repeat(50_000)
    );
    for text in [
        "",
        "READY",
        "{",
        "[]",
        "null",
        r#"{"call":"task.list"}"#,
        r#"{"call":"task.list","streamId":1,"payload":{}}"#,
        r#"{"call":"task.list","streamId":"1","payload":[]}"#,
        deep.as_str(),
    ] {
        socket.say(text).await;
    }
    socket.send(Message::binary(vec![0, 159, 146, 150])).await;
    socket.send(Message::Ping(vec![1].into())).await;
    socket.send(Message::Pong(vec![2].into())).await;
    // Nothing was said to any of them: the next text answers the next call.
    let call_text = frame("task.nothing", "\"\u{0}☃", &json!({}), "x");
    socket.say(call_text).await;
    let answer = loop {
        match socket.message().await {
            Message::Text(text) => break text.as_str().to_owned(),
            Message::Pong(bytes) => assert_eq!(&bytes[..], [1]),
            other => panic!("{other:?}"),
        }
    };
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(
        answer,
        json!({"streamId": "\"\u{0}☃", "payload": {}, "status": 404, "type": "response"})
    );
    let id = made(&doors.as_user(SERVICE), "t");
    assert_eq!(socket.json().await["payload"]["jobId"], json!(id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_too_large_ends_its_socket_and_no_other() {
    let doors = open(&[]).await;
    let mut good = listener(&doors.http, "task.listen", USER).await;
    let mut bad = Socket::open(&doors.http, PATH).await;
    // The other side may be gone before all of it is sent.
    let _ = bad.try_send(Message::text("x".repeat(1024 * 1024))).await;
    assert_eq!(bad.end().await.1, [""; 0]);
    let id = made(&doors.as_user(SERVICE), "t");
    assert_eq!(good.json().await["payload"]["jobId"], json!(id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_stops_reading_is_dropped_and_another_hears_everything() {
    let doors = open(&[]).await;
    let config = Config {
        stalled: Duration::from_millis(500),
        ..Config::default()
    };
    let replica = doors.replica(config).await;
    let mut slow = Socket::open_narrow(&replica.http, PATH).await;
    listen(&mut slow, "task.listen", USER).await;
    let mut good = listener(&replica.http, "task.listen", USER).await;
    let service = Http::to(&format!("http://{}", replica.http.addr())).bearer(SERVICE);
    let id = made(&service, "t");
    assert_eq!(good.json().await["payload"]["newTitle"], json!("t"));
    // More than buffers on the way hold: 6 MB at most for one connection of this machine.
    let text = "x".repeat(16_000);
    for count in 0..600 {
        update(
            &service,
            &json!({"jobId": id, "messageToAppend": format!("{count}:{text}")}),
        );
        let message = good.json().await["payload"]["messageToAppend"].clone();
        let told = message.as_str().unwrap();
        assert!(
            told.starts_with(&format!("{count}:x")) && told.len() > 16_000,
            "{count}"
        );
    }
    complete(&service, &json!(id));
    assert_eq!(good.json().await["payload"]["complete"], json!(true));
    // What was on its way is still read, and then there is no more: the end of the Task never came.
    let (_, said) = slow.end().await;
    assert!(
        said.len() < 600,
        "{} messages reached a listener that did not read",
        said.len()
    );
    assert!(!said.iter().any(|frame| frame.contains(r#""complete":true"#)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_have_places_and_give_them_back() {
    let doors = open(&[]).await;
    let config = Config {
        streams: 2,
        ..Config::default()
    };
    let replica = doors.replica(config).await;
    let mut first = Socket::open(&replica.http, PATH).await;
    let second = Socket::open(&replica.http, PATH).await;
    let user = replica.http.bearer(&token(USER));
    refused(&user.get(PATH), 429, "Too Many Requests");
    drop(second);
    assert_eq!(user.get_until_not(PATH, 429).status, 200);
    assert_eq!(call(&mut first, "task.list", json!({}), USER).await.0, json!(200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn news_ends_soon_after_the_right_to_it_and_the_socket_stays() {
    let doors = open(&[]).await;
    let mut config = Config {
        recheck: Duration::from_millis(50),
        ..Config::default()
    };
    config.access.token_ttl = Duration::from_millis(50);
    let replica = doors.replica(config).await;
    let mut user = listener(&replica.http, "task.listen", USER).await;
    doors.delete_binding("user1234").await;
    assert_eq!(
        user.text().await,
        r#"{"streamId":"0","payload":{"why":"Unauthorized","errorCode":null},"status":401,"type":"response"}"#
    );
    made(&doors.as_user(SERVICE), "t");
    assert_eq!(call(&mut user, "none", json!({}), "").await.0, json!(404));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_on_which_nobody_shows_a_token_is_closed() {
    let doors = open(&[]).await;
    let config = Config {
        request_timeout: Duration::from_secs(4),
        ..Config::default()
    };
    let replica = doors.replica(config).await;
    let mut known = Socket::open(&replica.http, PATH).await;
    assert_eq!(call(&mut known, "task.list", json!({}), USER).await.0, json!(200));
    let mut nobody = Socket::open(&replica.http, PATH).await;
    assert_eq!(
        call(&mut nobody, "task.list", json!({}), "nobody").await.0,
        json!(401)
    );
    let (goodbye, said) = nobody.end().await;
    assert_eq!(
        (goodbye.map(|frame| u16::from(frame.code)), said),
        (Some(1000), Vec::new())
    );
    assert_eq!(call(&mut known, "task.list", json!({}), USER).await.0, json!(200));
}
