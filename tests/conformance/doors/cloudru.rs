//! The door for clients of cloud.ru.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::{Door, NO_METHOD, NO_TOKEN, WRONG_TOKEN, uuid_of};
use crate::conformance::{
    exchange::{Exchange, Reply, Who},
    ground::Subject,
    table::Cell,
};

const TASKS: &str = "/openshift/v1/default/tasks";
const TASK: &str = "/openshift/v1/default/tasks/{id}";
const TYPES: &str = "type.googleapis.com";

pub struct CloudRu;

fn refused(status: u16, code: i32, message: &str) -> Reply {
    Reply::json(status, json!({"code": code, "message": message, "details": []}))
}

/// A field of a protobuf message that has a length; all here have fewer than 128 bytes.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap();
    [&[number << 3 | 2, length], content].concat()
}

fn any(message: &str, bytes: &[u8]) -> Value {
    json!({"typeUrl": format!("{TYPES}/{message}"), "value": STANDARD.encode(bytes)})
}

/// The google.protobuf.Struct of a result.
fn response(subject: &Subject) -> Value {
    let result = subject
        .task
        .status
        .as_ref()
        .and_then(|status| status.result.clone());
    let result = result.unwrap_or_default();
    let number = |number: f64| [&[0x11][..], &number.to_le_bytes()].concat();
    let text = |text: &Option<String>| text.as_ref().map(|text| field(3, text.as_bytes()));
    let size = result
        .size_bytes
        .map(|size| number(f64::from(u16::try_from(size).unwrap())));
    let entries = [
        ("httpStatus", Some(number(f64::from(result.status)))),
        ("contentType", text(&result.content_type)),
        ("body", text(&result.body)),
        ("sizeBytes", size),
        ("truncated", Some(vec![0x20, u8::from(result.truncated)])),
    ];
    let entries = entries.iter().filter_map(|(name, value)| {
        let entry = [field(1, name.as_bytes()), field(2, value.as_ref()?)].concat();
        Some(field(1, &entry))
    });
    any("google.protobuf.Struct", &entries.collect::<Vec<_>>().concat())
}

/// The google.rpc.Status of an end, with its reason in an ErrorInfo.
fn error(subject: &Subject, code: i32) -> Value {
    let status = subject.task.status.clone().unwrap_or_default();
    let reason = status.reason.unwrap_or_default();
    let info = [field(1, reason.as_bytes()), field(2, b"errand.dev")].concat();
    json!({"code": code, "message": status.message, "details": [any("google.rpc.ErrorInfo", &info)]})
}

/// The task: what all tasks have, and how it ended.
fn task(subject: &Subject, word: &str, end: Option<(&str, Value)>) -> Exchange {
    let (meta, spec) = (&subject.task.metadata, &subject.task.spec);
    let created = meta.creation_timestamp.clone().unwrap().0;
    let modified = subject.task.status.as_ref().and_then(|status| status.modified_at);
    let modified = modified.unwrap_or(created).max(created);
    let fraction = if modified.subsec_millisecond() == 0 { 0 } else { 3 };
    let function = subject.function.name_any();
    let mut task = json!({
        "id": uuid_of(&subject.task), "serviceInstanceId": "default", "command": format!("INVOKE {function}"), "status": word,
        "createdAt": created.to_string(), "createdBy": spec.owner.clone().unwrap_or_default(),
        "modifiedAt": format!("{modified:.fraction$}"),
        "metadata": any("google.protobuf.StringValue", &field(1, function.as_bytes())),
    });
    if let Some((name, value)) = end {
        task[name] = value;
    }
    Exchange::get(TASK, Reply::json(200, json!({"task": task})))
}

fn succeeded(subject: &Subject) -> Exchange {
    task(subject, "SUCCEEDED", Some(("response", response(subject))))
}

fn read_only(method: &'static str, path: &'static str) -> Cell {
    let exchange = Exchange::send_as(method, path, b"{}", refused(501, 12, NO_METHOD));
    Cell::NoCall("the API only reads tasks", vec![exchange])
}

/// Both calls, by somebody who is refused.
fn both(who: Who, reply: &Reply) -> Vec<Exchange> {
    [TASKS, TASK]
        .map(|path| Exchange::get(path, reply.clone()).by(who))
        .into()
}

impl Door for CloudRu {
    fn name(&self) -> &'static str {
        "cloudru"
    }

    fn id(&self, subject: &Subject) -> String {
        uuid_of(&subject.task)
    }

    fn create(&self, _: &Subject) -> Cell {
        read_only("POST", TASKS)
    }

    fn observe(&self, subject: &Subject) -> Cell {
        Cell::Answers(vec![succeeded(subject)])
    }

    fn run(&self, subject: &Subject) -> Cell {
        Cell::Answers(vec![task(subject, "RUNNING", None)])
    }

    fn progress(&self, _: &Subject) -> Cell {
        Cell::NoCall("the API shows no progress", vec![])
    }

    fn log(&self, _: &Subject) -> Cell {
        Cell::NoCall("the API shows no logs", vec![])
    }

    fn result(&self, subject: &Subject) -> Cell {
        Cell::Answers(vec![succeeded(subject)])
    }

    fn failure(&self, subject: &Subject) -> Cell {
        Cell::Answers(vec![task(subject, "FAILED", Some(("error", error(subject, 2))))])
    }

    fn time_out(&self, subject: &Subject) -> Cell {
        Cell::Answers(vec![task(subject, "FAILED", Some(("error", error(subject, 4))))])
    }

    fn cancel(&self, _: &Subject) -> Cell {
        read_only("DELETE", TASK)
    }

    fn cancelled(&self, subject: &Subject) -> Cell {
        Cell::Answers(vec![task(
            subject,
            "CANCELLED",
            Some(("error", error(subject, 1))),
        )])
    }

    fn delete(&self, _: &Subject) -> Cell {
        read_only("DELETE", TASK)
    }

    fn not_found(&self, _: &Subject) -> Cell {
        Cell::Answers(vec![Exchange::get(TASK, refused(404, 5, "task not found"))])
    }

    fn not_mine(&self, subject: &Subject) -> Cell {
        let sentence = "user \"eve\" may not read the tasks of service instance default";
        let mut exchanges = both(Who::Eve, &refused(403, 7, sentence));
        // Tasks belong to the service instance.
        exchanges.push(succeeded(subject).by(Who::Bob));
        Cell::Answers(exchanges)
    }

    fn no_token(&self, _: &Subject) -> Cell {
        Cell::Answers(both(Who::Nobody, &refused(401, 16, NO_TOKEN)))
    }

    fn wrong_token(&self, _: &Subject) -> Cell {
        Cell::Answers(both(Who::Wrong, &refused(401, 16, WRONG_TOKEN)))
    }

    fn bad_body(&self, _: &Subject) -> Cell {
        Cell::NoCall("no call takes a body", vec![])
    }

    fn oversized_body(&self, _: &Subject) -> Cell {
        Cell::NoCall("no call takes a body", vec![])
    }

    fn concurrent_creates(&self, _: &Subject) -> Cell {
        read_only("POST", TASKS)
    }

    fn gone(&self, subject: &Subject) -> Cell {
        self.not_found(subject)
    }
}
