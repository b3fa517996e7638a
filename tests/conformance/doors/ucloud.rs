//! The door for clients of UCloud.

use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::{Door, oversized, uuid_of};
use crate::conformance::{
    exchange::{Exchange, Reply, Who},
    ground::Subject,
    table::Cell,
};

const TASKS: &str = "/api/tasks";
const LIST: &str = "/api/tasks?itemsPerPage=10&page=0";
const TASK: &str = "/api/tasks/retrieve?id={id}";
const POST: &str = "/api/tasks/postStatus";
const COMPLETE: &str = "/api/tasks/markAsComplete";
const STOP: &str = "/api/tasks/pauseOrCancel";
const CREATE: &[u8] = br#"{"title": "copy", "owner": "ann"}"#;

pub struct UCloud;

fn reply(status: u16, body: Value) -> Reply {
    Reply::json_as("application/json; charset=UTF-8", status, body)
}

fn refused(status: u16, why: &str) -> Reply {
    reply(status, json!({"why": why, "errorCode": null}))
}

fn unauthorized() -> Reply {
    refused(401, "Unauthorized")
}

/// The task; `text` is what it is said to be doing.
fn shown(subject: &Subject, text: Option<&str>, complete: bool) -> Cell {
    let status = subject.task.status.clone().unwrap_or_default();
    let made = subject.task.creation_timestamp().unwrap().0.as_millisecond();
    let task = json!({
        "jobId": uuid_of(&subject.task), "owner": subject.task.spec.owner.clone().unwrap_or_default(),
        "processor": "errand", "title": subject.function.name_any(), "status": text.map(str::to_owned).or(status.message),
        "complete": complete, "startedAt": made,
        "modifiedAt": status.modified_at.map_or(made, |time| time.as_millisecond()),
    });
    Cell::Answers(vec![Exchange::get(TASK, reply(200, task))])
}

fn none() -> Cell {
    Cell::Answers(vec![Exchange::get(TASK, refused(404, "Not Found"))])
}

/// What is told about a task: by itself, by the engine, or its phase.
fn told(subject: &Subject, phase: &str) -> String {
    let status = subject.task.status.clone().unwrap_or_default();
    let reported = status.progress.and_then(|progress| progress.message);
    reported.or(status.message).unwrap_or_else(|| phase.to_owned())
}

/// Ann may not report: she is no service.
fn external() -> Cell {
    let create = Exchange::send_as("PUT", TASKS, CREATE, unauthorized());
    Cell::NoCall("services make tasks, which they do by themselves", vec![create])
}

fn everywhere(who: Who) -> Cell {
    let read = [LIST, TASK].map(|path| Exchange::get(path, unauthorized()).by(who));
    let post = [POST, COMPLETE, STOP].map(|path| Exchange::post(path, b"{}", unauthorized()).by(who));
    let create = Exchange::send_as("PUT", TASKS, CREATE, unauthorized()).by(who);
    Cell::Answers(read.into_iter().chain(post).chain([create]).collect())
}

/// What newer clients call a task: the first 52 random bits of its UUID.
fn number(subject: &Subject) -> u64 {
    let digits: String = uuid_of(&subject.task)
        .chars()
        .filter(|digit| *digit != '-')
        .collect();
    u64::from_str_radix(&format!("{}{}", &digits[..12], &digits[13..14]), 16).unwrap()
}

impl Door for UCloud {
    fn name(&self) -> &'static str {
        "ucloud"
    }

    fn id(&self, subject: &Subject) -> String {
        uuid_of(&subject.task)
    }

    fn create(&self, _: &Subject) -> Cell {
        external()
    }

    fn observe(&self, subject: &Subject) -> Cell {
        shown(subject, Some(&told(subject, "Succeeded")), true)
    }

    fn run(&self, subject: &Subject) -> Cell {
        shown(subject, Some(&told(subject, "Running")), false)
    }

    fn progress(&self, subject: &Subject) -> Cell {
        // How far it is goes to listeners.
        shown(subject, Some(&told(subject, "Running")), false)
    }

    fn log(&self, _: &Subject) -> Cell {
        Cell::NoCall("the API shows no logs", vec![])
    }

    fn result(&self, _: &Subject) -> Cell {
        Cell::NoCall("tasks have no results here", vec![])
    }

    fn failure(&self, subject: &Subject) -> Cell {
        shown(subject, None, true)
    }

    fn time_out(&self, subject: &Subject) -> Cell {
        shown(subject, None, true)
    }

    fn cancel(&self, subject: &Subject) -> Cell {
        let body = json!({"id": number(subject), "requestedState": "CANCELLED"}).to_string();
        Cell::Answers(vec![Exchange::post(STOP, body.as_bytes(), reply(200, json!({})))])
    }

    fn cancelled(&self, subject: &Subject) -> Cell {
        shown(subject, None, true)
    }

    fn delete(&self, _: &Subject) -> Cell {
        let exchange = Exchange::send_as("DELETE", TASKS, b"", refused(405, "Method Not Allowed"));
        Cell::NoCall("tasks go by themselves", vec![exchange])
    }

    fn not_found(&self, _: &Subject) -> Cell {
        none()
    }

    fn not_mine(&self, _: &Subject) -> Cell {
        Cell::Answers(vec![
            Exchange::get(TASK, refused(404, "Not Found")).by(Who::Bob),
            Exchange::get(TASK, unauthorized()).by(Who::Eve),
            Exchange::get(LIST, unauthorized()).by(Who::Eve),
        ])
    }

    fn no_token(&self, _: &Subject) -> Cell {
        everywhere(Who::Nobody)
    }

    fn wrong_token(&self, _: &Subject) -> Cell {
        everywhere(Who::Wrong)
    }

    fn bad_body(&self, _: &Subject) -> Cell {
        Cell::Answers(vec![
            Exchange::post(STOP, b"{", refused(400, "Bad request")),
            Exchange::post(STOP, b"", refused(400, "Bad Request")),
        ])
    }

    fn oversized_body(&self, _: &Subject) -> Cell {
        Cell::Answers(vec![Exchange::post(
            STOP,
            &oversized(),
            refused(413, "Payload Too Large"),
        )])
    }

    fn concurrent_creates(&self, _: &Subject) -> Cell {
        external()
    }

    fn gone(&self, _: &Subject) -> Cell {
        none()
    }
}
