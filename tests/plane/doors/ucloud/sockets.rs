//! The calls over a WebSocket, and news.

use serde_json::json;

use super::{PATH, SERVICE, USER, call, complete, create, frame, listen, listener, made, ok, open, update};
use crate::support::socket::Socket;

/// As the protocol is written down, byte for byte.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_hears_a_service_count_while_they_ask_for_something_else() {
    let doors = open(&[]).await;
    let service = doors.as_user(SERVICE);
    let mut user = listener(&doors.http, "task.listen", USER).await;

    let task = ok(&create(&service, "We are counting to 3", USER));
    let id = task["jobId"].as_str().unwrap();
    let news = |title: &str, complete: bool, message: &str| {
        format!(
            r#"{{"streamId":"0","payload":{{"jobId":"{id}","newTitle":{title},"speeds":[],"progress":null,"complete":{complete},"messageToAppend":{message},"newStatus":null}},"type":"message"}}"#
        )
    };
    assert_eq!(
        user.text().await,
        news(r#""We are counting to 3""#, false, "null")
    );
    for count in 1..=3 {
        let said = format!("Count is now {count}");
        update(&service, &json!({"jobId": id, "messageToAppend": said}));
        assert_eq!(user.text().await, news("null", false, &json!(said).to_string()));
    }
    user.say(frame("task.view", "1", &json!({"id": "nope"}), USER))
        .await;
    assert_eq!(
        user.text().await,
        r#"{"streamId":"1","payload":{"why":"Not Found","errorCode":null},"status":404,"type":"response"}"#
    );
    complete(&service, &json!(id));
    assert_eq!(user.text().await, news("null", true, "null"));
    // The stream goes on.
    let next = made(&service, "next");
    let first = user.json().await;
    assert_eq!(
        (&first["payload"]["jobId"], &first["payload"]["newTitle"]),
        (&json!(next), &json!("next"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_is_answered_over_a_socket_by_whoever_may_make_it() {
    let doors = open(&[]).await;
    let mut socket = Socket::open(&doors.http, PATH).await;
    let new = json!({"title": "t", "owner": USER, "initialStatus": "soon"});
    let (status, task) = call(&mut socket, "task.create", new, SERVICE).await;
    assert_eq!((status, &task["status"]), (json!(200), &json!("soon")));
    let id = task["jobId"].clone();
    let say = json!({"update": {"jobId": id, "newStatus": "now"}});
    assert_eq!(
        call(&mut socket, "task.postStatus", say.clone(), SERVICE).await,
        (json!(200), json!({}))
    );
    let seen = call(&mut socket, "task.view", json!({"id": id}), USER).await.1;
    assert_eq!(seen["status"], json!("now"));
    let (status, page) = call(&mut socket, "task.list", json!({"itemsPerPage": 10}), USER).await;
    assert_eq!(
        (status, &page["itemsPerPage"], &page["items"][0]["jobId"]),
        (json!(200), &json!(10), &id)
    );
    let end = json!({"id": id});
    assert_eq!(
        call(&mut socket, "task.markAsComplete", end.clone(), SERVICE).await,
        (json!(200), json!({}))
    );
    assert_eq!(
        call(&mut socket, "task.list", json!({}), USER).await.1["itemsInTotal"],
        json!(0)
    );

    let unauthorized = (json!(401), json!({"why": "Unauthorized", "errorCode": null}));
    for (name, payload, bearer) in [
        ("task.list", json!({}), ""),
        ("task.list", json!({}), "nobody"),
        ("task.list", json!({}), SERVICE),
        ("task.view", end.clone(), SERVICE),
        ("task.listen", json!({}), SERVICE),
        ("task.listen", json!({}), ""),
        ("task.create", json!({}), USER),
        ("task.postStatus", say, USER),
        ("task.markAsComplete", end, USER),
    ] {
        assert_eq!(
            call(&mut socket, name, payload, bearer).await,
            unauthorized,
            "{name} {bearer}"
        );
    }
    let malformed = (json!(400), json!({"why": "Bad request", "errorCode": null}));
    for (name, payload, bearer) in [
        ("task.list", json!({"page": "x"}), USER),
        ("task.view", json!({}), USER),
        ("task.create", json!({"title": null, "owner": USER}), SERVICE),
        ("task.postStatus", json!({"jobId": "x"}), SERVICE),
    ] {
        assert_eq!(
            call(&mut socket, name, payload, bearer).await,
            malformed,
            "{name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_later_of_two_streams_of_news_takes_the_place_of_the_earlier() {
    let doors = open(&["bob"]).await;
    doors.allow("default", "bob", super::READ).await;
    let service = doors.as_user(SERVICE);
    let mut socket = listener(&doors.http, "task.listen", USER).await;
    socket.say(frame("task.listen", "late", &json!({}), USER)).await;
    assert_eq!(call(&mut socket, "none", json!({}), "").await.0, json!(404));
    let mut bob = listener(&doors.http, "task.listen", "bob").await;
    let id = made(&service, "t");
    let news = socket.json().await;
    assert_eq!(
        (&news["streamId"], &news["payload"]["jobId"]),
        (&json!("late"), &json!(id))
    );
    // Bob hears of his own only.
    let his = ok(&create(&service, "his", "bob"))["jobId"].clone();
    assert_eq!(bob.json().await["payload"]["jobId"], his);
    update(&service, &json!({"jobId": id, "newStatus": "on"}));
    assert_eq!(socket.json().await["payload"]["newStatus"], json!("on"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_a_service_tells_reaches_its_user() {
    let doors = open(&[]).await;
    let service = doors.as_user(SERVICE);
    let id = made(&service, "t");
    let mut user = listener(&doors.http, "task.listen", USER).await;
    let speed = |value: f64| json!({"title": "disk", "speed": value, "unit": "MB/s", "asText": format!("{value} MB/s")});
    let told = json!({"jobId": id, "newTitle": "T", "speeds": [speed(1.5), speed(2.0)],
        "progress": {"title": "files", "current": 3, "maximum": 9}, "complete": false,
        "messageToAppend": "a\nb", "newStatus": "copying"});
    update(&service, &told);
    assert_eq!(user.json().await["payload"], told);
    // What is told again is no news, but for speeds, which make a curve.
    update(&service, &told);
    let again = user.json().await["payload"].clone();
    assert_eq!(
        again,
        json!({"jobId": id, "newTitle": null, "speeds": [speed(1.5), speed(2.0)], "progress": null,
            "complete": false, "messageToAppend": "a\nb", "newStatus": null})
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_progress_and_the_failure_of_a_pod_reach_the_owner_of_its_task() {
    let doors = open(&[]).await;
    let mut user = listener(&doors.http, "task.listen", USER).await;
    let gate = tempfile::tempdir().unwrap();
    let open = gate.path().join("open");
    let script = format!(
        "echo ::progress 3/7 third file; until [ -e {} ]; do sleep 0.1; done; exit 3",
        open.display()
    );
    let task = json!({"apiVersion": "errand.dev/v1alpha1", "kind": "Task", "metadata": {"name": "steps"},
        "spec": {"owner": USER, "title": "Copy", "function": {"container": {"image": "i", "command": ["sh", "-c", script]}}}});
    doors.create(Some("default"), task).await;
    let first = user.json().await["payload"].clone();
    assert_eq!(
        (&first["newTitle"], &first["newStatus"]),
        (&json!("Copy"), &json!("Queued"))
    );
    let progress = loop {
        let news = user.json().await["payload"].clone();
        assert_eq!(
            (&news["jobId"], &news["complete"]),
            (&first["jobId"], &json!(false)),
            "{news}"
        );
        if !news["progress"].is_null() {
            break news["progress"].clone();
        }
    };
    assert_eq!(
        progress,
        json!({"title": "third file", "current": 3, "maximum": 7})
    );
    std::fs::write(&open, "").unwrap();
    let mut news = user.json().await["payload"].clone();
    let mut last = json!(null);
    while news["complete"] == json!(false) {
        last = news["newStatus"].clone();
        news = user.json().await["payload"].clone();
    }
    assert_eq!(
        news,
        json!({"jobId": first["jobId"], "newTitle": null, "speeds": [], "progress": null, "complete": true,
            "messageToAppend": null, "newStatus": null})
    );
    assert!(last.as_str().is_some_and(|why| why.contains('3')), "{last}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_reconnects_finds_in_the_list_what_it_missed() {
    let doors = open(&[]).await;
    let service = doors.as_user(SERVICE);
    let mut user = listener(&doors.http, "task.listen", USER).await;
    let id = made(&service, "t");
    assert_eq!(user.json().await["payload"]["newTitle"], json!("t"));
    drop(user);
    update(&service, &json!({"jobId": id, "newTitle": "missed"}));
    let mut user = Socket::open(&doors.http, PATH).await;
    listen(&mut user, "task.listen", USER).await;
    let (_, page) = call(&mut user, "task.list", json!({}), USER).await;
    assert_eq!(page["items"][0]["title"], json!("missed"));
    update(&service, &json!({"jobId": id, "newTitle": "heard"}));
    assert_eq!(user.json().await["payload"]["newTitle"], json!("heard"));
}
