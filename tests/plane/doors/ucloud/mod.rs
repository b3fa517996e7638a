//! The door for clients of UCloud.

mod bad;
mod calls;
mod replicas;
mod second;
mod sockets;

use serde_json::{Value, json};

use crate::support::{
    http::{Answer, Http},
    plane::{Doors, token},
    socket::Socket,
};

/// The user of UCloud's own examples.
const USER: &str = "User#1234";
/// The service of UCloud's own examples.
const SERVICE: &str = "_ucloud";

const PATH: &str = "/api/tasks";

type Rights = [(&'static [&'static str], &'static [&'static str])];
/// What a user of these Tasks needs.
const READ: &Rights = &[(&["tasks"], &["get", "list", "watch", "patch"])];
/// What a service needs that does the work of Tasks.
const REPORT: &Rights = &[(&["tasks"], &["create"]), (&["tasks/status"], &["patch"])];

/// A plane with the user and the service, and whoever else a test names, who may do nothing.
async fn open(others: &[&str]) -> Doors {
    let all: Vec<&str> = [USER, SERVICE].iter().chain(others).copied().collect();
    let doors = Doors::open(&all).await;
    doors.allow("default", USER, READ).await;
    doors.allow("default", SERVICE, REPORT).await;
    doors
}

/// The body of an answer that is 200 and has UCloud's media type.
fn ok(answer: &Answer) -> Value {
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("application/json; charset=UTF-8")),
        "{answer:?}"
    );
    answer.json()
}

/// An answer that refuses, byte for byte.
fn refused(answer: &Answer, status: u16, why: &str) {
    let body = format!(r#"{{"why":"{why}","errorCode":null}}"#);
    assert_eq!(
        (answer.status, answer.header("content-type"), answer.text()),
        (status, Some("application/json; charset=UTF-8"), body),
        "{answer:?}"
    );
}

fn send(http: &Http, method: &str, path: &str, body: &Value) -> Answer {
    http.send(method, &format!("{PATH}{path}"), body.to_string().as_bytes())
}

fn post(http: &Http, path: &str, body: &Value) -> Answer {
    send(http, "POST", path, body)
}

fn create(service: &Http, title: &str, owner: &str) -> Answer {
    let body = json!({"title": title, "owner": owner, "initialStatus": null});
    send(service, "PUT", "", &body)
}

/// A new Task of the user's; its id.
fn made(service: &Http, title: &str) -> String {
    let task = ok(&create(service, title, USER));
    task["jobId"].as_str().unwrap().to_owned()
}

fn update(service: &Http, update: &Value) {
    let answer = post(service, "/postStatus", &json!({"update": update}));
    assert_eq!((ok(&answer), answer.text()), (json!({}), "{}".into()));
}

fn complete(service: &Http, id: &Value) {
    let answer = post(service, "/markAsComplete", &json!({"id": id}));
    assert_eq!((ok(&answer), answer.text()), (json!({}), "{}".into()));
}

fn frame(call: &str, stream: &str, payload: &Value, bearer: &str) -> String {
    json!({"call": call, "streamId": stream, "payload": payload, "bearer": token(bearer)}).to_string()
}

/// Calls over a socket on which nothing else is said; status and payload of the response.
async fn call(socket: &mut Socket, name: &str, payload: Value, bearer: &str) -> (Value, Value) {
    socket.say(frame(name, "call", &payload, bearer)).await;
    let frame = socket.json().await;
    assert_eq!(
        (&frame["streamId"], &frame["type"]),
        (&json!("call"), &json!("response")),
        "{frame}"
    );
    (frame["status"].clone(), frame["payload"].clone())
}

/// A socket on which this user hears news as stream 0.
async fn listener(http: &Http, call_name: &str, bearer: &str) -> Socket {
    let mut socket = Socket::open(http, PATH).await;
    listen(&mut socket, call_name, bearer).await;
    socket
}

/// Listens as stream 0. There is no answer to that; frames are read in order, and this one has an answer.
async fn listen(socket: &mut Socket, call_name: &str, bearer: &str) {
    socket.say(frame(call_name, "0", &json!({}), bearer)).await;
    assert_eq!(call(socket, "none", json!({}), "").await, (json!(404), json!({})));
}
