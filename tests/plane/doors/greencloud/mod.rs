//! The door for clients of GreenCloud.

mod functions;
mod public;
mod tasks;

use serde_json::{Value, json};

use crate::support::{http::Http, plane::Doors};

/// Answers the body with the type it came with; with `status=` in the query with that status, with `die` not at all.
const ECHO: &str = r#"
import http.server, os, time
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self):
        body = self.rfile.read(int(self.headers.get('content-length') or 0))
        query = self.path.partition('?')[2]
        if query == 'die': os._exit(7)
        if query == 'hang': time.sleep(600)
        kind = self.headers.get('content-type')
        if query.startswith('show'):
            names = sorted(name.lower() for name in self.headers.keys())
            body = repr([self.command, self.path, kind, names]).encode()
        code = int(query[7:]) if query.startswith('status=') else 200
        self.send_response(code)
        if kind: self.send_header('Content-Type', kind)
        self.send_header('GC-Storage', 'c2VjcmV0')
        self.send_header('X-Own', '1')
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_GET = do_POST = answer
    def log_message(self, *args): pass
http.server.HTTPServer(('0.0.0.0', int(os.environ['PORT'])), Handler).serve_forever()
"#;

/// An HTTP function that echoes.
fn echo() -> Value {
    json!({"container": {"image": "python:3-alpine", "command": ["python3", "-c", ECHO]}, "http": {}})
}

/// A command function.
fn shell(script: &str) -> Value {
    json!({"container": {"image": "busybox", "command": ["sh", "-c", script]}})
}

/// A plane with the function `echo` and the user `ann`, who may use it.
async fn open(users: &[&str]) -> (Doors, Http) {
    let all: Vec<&str> = ["ann"].iter().chain(users).copied().collect();
    let doors = Doors::open(&all).await;
    doors.grant("ann").await;
    doors.function("echo", echo()).await;
    let ann = doors.as_user("ann");
    (doors, ann)
}

/// The id in an answer that says that something was made.
fn id(answer: &crate::support::http::Answer) -> String {
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (201, Some("application/json")),
        "{answer:?}"
    );
    let json = answer.json();
    let id = json["id"]
        .as_str()
        .unwrap_or_else(|| panic!("no id in {json}"))
        .to_owned();
    assert_eq!(json, json!({"id": id}));
    assert!(
        id.len() == 24 && id.bytes().all(|byte| b"0123456789abcdef".contains(&byte)),
        "{id}"
    );
    id
}

/// The task in the list of its owner.
fn listed(ann: &Http, id: &str) -> Value {
    let list = ann.get("/v1/task/list").json();
    let found = list.as_array().unwrap().iter().find(|task| task["id"] == id);
    found.unwrap_or_else(|| panic!("no {id} in {list}")).clone()
}

/// An answer that refuses.
fn refused(answer: &crate::support::http::Answer, status: u16, code: &str) {
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (status, Some("application/json")),
        "{answer:?}"
    );
    let json = answer.json();
    assert_eq!(json["code"], code, "{json}");
    assert!(json["message"].as_str().unwrap().len() > 10, "{json}");
    assert_eq!(json.as_object().unwrap().len(), 2, "{json}");
}
