//! The door for clients of cloud.ru.

mod forms;
mod refusals;
mod tasks;

use errand::crd;
use serde_json::{Value, json};

use crate::support::{
    PATIENCE,
    http::{Answer, Http},
    plane::Doors,
};

const TASKS: &str = "/openshift/v1/default/tasks";

/// A plane with the user `ann`, who may use namespace default.
async fn open(users: &[&str]) -> (Doors, Http) {
    let all: Vec<&str> = ["ann"].iter().chain(users).copied().collect();
    let doors = Doors::open(&all).await;
    doors.grant("ann").await;
    let ann = doors.as_user("ann");
    (doors, ann)
}

/// A Task as kubectl makes it, with a shell script of its own.
async fn create(doors: &Doors, name: &str, script: &str, more: Value) {
    let mut spec = json!({"function": {"container": {"image": "busybox", "command": ["sh", "-c", script]}}});
    let fields = more.as_object().unwrap().clone();
    spec.as_object_mut().unwrap().extend(fields);
    let task =
        json!({"apiVersion": crd::API_VERSION, "kind": "Task", "metadata": {"name": name}, "spec": spec});
    doors.create(Some("default"), task).await;
}

/// The task of namespace default, once its status is this.
fn until(http: &Http, id: &str, status: &str) -> Value {
    until_at(http, &format!("{TASKS}/{id}"), status)
}

/// The task at this path, once its status is this.
fn until_at(http: &Http, path: &str, status: &str) -> Value {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let answer = http.get(path);
        assert_eq!(answer.status, 200, "{answer:?}");
        let mut body = answer.json();
        assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
        let task = body["task"].take();
        if task["status"] == status {
            return task;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "{path} is not {status}: {task}"
        );
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// An answer that refuses: a google.rpc.Status with this code.
fn refused(answer: &Answer, status: u16, code: i32, message: &str) {
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (status, Some("application/json")),
        "{answer:?}"
    );
    assert_eq!(
        answer.json(),
        json!({"code": code, "message": message, "details": []})
    );
}
