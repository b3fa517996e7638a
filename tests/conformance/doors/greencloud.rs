//! The door for clients of GreenCloud.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::{Door, NO_METHOD, NO_TOKEN, TOO_LARGE, WRONG_TOKEN, oversized};
use crate::conformance::{
    exchange::{Exchange, Reply, Who},
    ground::Subject,
    table::Cell,
};

const CALL: &str = "/v1/task/upper";
const TASK: &str = "/v1/task/{id}";
const RESULT: &str = "/v1/task/{id}/result";
const LIST: &str = "/v1/task/list";
const FUNCTION: &str = "/v1/function";
const FUNCTIONS: &str = "/v1/function/list";

pub struct GreenCloud;

/// The id of an object: its name where that is 24 hexadecimal digits, else its second of issue and half of its uid.
fn id(meta: &ObjectMeta) -> String {
    let name = meta.name.clone().unwrap_or_default();
    if name.len() == 24 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return name;
    }
    let issued = meta.creation_timestamp.as_ref().unwrap().0.as_second();
    let uid = meta.uid.as_ref().unwrap().replace('-', "");
    format!("{issued:08x}{}", &uid[..16])
}

fn refused(status: u16, code: &str, message: &str) -> Reply {
    Reply::json(status, json!({"code": code, "message": message}))
}

/// The task, with so much done.
fn detail(subject: &Subject, progress: u8) -> Reply {
    let own = id(&subject.task.metadata);
    let status = subject.task.status.clone().unwrap_or_default();
    let moment =
        |time: Option<k8s_openapi::jiff::Timestamp>| time.map_or(0, |time| time.as_second()).to_string();
    let timeout = if subject.function.name_any() == "late" {
        1
    } else {
        3600
    };
    Reply::json(
        200,
        json!({
            "functionId": id(&subject.function.metadata),
            "issued": i64::from_str_radix(&own[..8], 16).unwrap().to_string(),
            "assigned": moment(status.assigned_at), "finished": moment(status.finished_at),
            "progress": progress, "node": status.pod.and_then(|pod| pod.node_uid).unwrap_or_default(), "timeout": timeout,
            "capabilities": {"cpuCount": 0, "memSize": 0, "networkLatency": 0, "privileged": false},
        }),
    )
}

fn too_early() -> Reply {
    refused(404, "NOT_FOUND", "the task is not over yet; ask again")
}

fn none(subject: &Subject) -> Reply {
    let sentence = format!("there is no task {}", id(&subject.task.metadata));
    refused(404, "NOT_FOUND", &sentence)
}

/// A task that ended without an answer of its function.
fn unanswered(subject: &Subject, status: u16, code: &str) -> Cell {
    let told = subject
        .task
        .status
        .as_ref()
        .and_then(|status| status.message.clone());
    Cell::Answers(vec![
        Exchange::get(TASK, detail(subject, 100)),
        Exchange::get(RESULT, refused(status, code, &told.unwrap_or_default())),
    ])
}

fn running(subject: &Subject, progress: u8) -> Cell {
    Cell::Answers(vec![
        Exchange::get(TASK, detail(subject, progress)),
        Exchange::get(RESULT, too_early()),
    ])
}

fn call(subject: &Subject) -> Exchange {
    let made: Value = json!({"id": id(&subject.task.metadata)});
    Exchange::post(CALL, b"shout\n", Reply::json(201, made))
}

/// Calls by somebody who is refused.
fn everywhere(who: Who, reply: &Reply) -> Cell {
    let read = [TASK, RESULT, LIST, FUNCTIONS].map(|path| Exchange::get(path, reply.clone()).by(who));
    let call = Exchange::post(CALL, b"shout\n", reply.clone()).by(who);
    Cell::Answers(read.into_iter().chain([call]).collect())
}

impl Door for GreenCloud {
    fn name(&self) -> &'static str {
        "greencloud"
    }

    fn id(&self, subject: &Subject) -> String {
        id(&subject.task.metadata)
    }

    fn create(&self, subject: &Subject) -> Cell {
        Cell::Makes(call(subject))
    }

    fn observe(&self, subject: &Subject) -> Cell {
        Cell::Answers(vec![Exchange::get(TASK, detail(subject, 100))])
    }

    fn run(&self, subject: &Subject) -> Cell {
        running(subject, 75)
    }

    fn progress(&self, subject: &Subject) -> Cell {
        running(subject, 40)
    }

    fn log(&self, _: &Subject) -> Cell {
        Cell::NoCall("the API shows no logs", vec![])
    }

    fn result(&self, _: &Subject) -> Cell {
        let result = Reply::bytes(200, "text/plain; charset=utf-8", "SHOUT\n");
        Cell::Answers(vec![Exchange::get(RESULT, result)])
    }

    fn failure(&self, subject: &Subject) -> Cell {
        unanswered(subject, 500, "FUNCTION_FAILED")
    }

    fn time_out(&self, subject: &Subject) -> Cell {
        unanswered(subject, 408, "TIMED_OUT")
    }

    fn cancel(&self, subject: &Subject) -> Cell {
        self.delete(subject)
    }

    fn cancelled(&self, subject: &Subject) -> Cell {
        unanswered(subject, 500, "FUNCTION_FAILED")
    }

    fn delete(&self, _: &Subject) -> Cell {
        let refused = refused(405, "METHOD_NOT_ALLOWED", NO_METHOD);
        let exchange = Exchange::send_as("DELETE", TASK, b"", refused);
        Cell::NoCall("tasks run to their end and go by themselves", vec![exchange])
    }

    fn not_found(&self, subject: &Subject) -> Cell {
        Cell::Answers(vec![
            Exchange::get(TASK, none(subject)),
            Exchange::get(RESULT, none(subject)),
        ])
    }

    fn not_mine(&self, subject: &Subject) -> Cell {
        let exchanges = [Who::Eve, Who::Bob]
            .into_iter()
            .flat_map(|who| [TASK, RESULT].map(|path| Exchange::get(path, none(subject)).by(who)));
        Cell::Answers(exchanges.collect())
    }

    fn no_token(&self, _: &Subject) -> Cell {
        everywhere(Who::Nobody, &refused(401, "UNAUTHORIZED", NO_TOKEN))
    }

    fn wrong_token(&self, _: &Subject) -> Cell {
        everywhere(Who::Wrong, &refused(401, "UNAUTHORIZED", WRONG_TOKEN))
    }

    fn bad_body(&self, _: &Subject) -> Cell {
        let why = "the body is not the JSON that is wanted here: invalid type: integer `7`, expected a string at line 1 column 10";
        let exchange = Exchange::post(FUNCTION, br#"{"name": 7}"#, refused(400, "BAD_REQUEST", why));
        // The body of a call is the function's, and may be anything.
        Cell::Answers(vec![exchange])
    }

    fn oversized_body(&self, _: &Subject) -> Cell {
        let refused = refused(413, "TOO_LARGE", TOO_LARGE);
        Cell::Answers(vec![Exchange::post(CALL, &oversized(), refused)])
    }

    fn concurrent_creates(&self, subject: &Subject) -> Cell {
        Cell::AtOnce {
            request: call(subject),
            others: None,
        }
    }

    fn gone(&self, subject: &Subject) -> Cell {
        self.not_found(subject)
    }
}
