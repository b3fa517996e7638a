//! The door for clients of OpenStack Qinling.

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::{Door, NO_METHOD, NO_TOKEN, TOO_LARGE, WRONG_TOKEN, oversized, uuid_of as id};
use crate::conformance::{
    exchange::{Exchange, Reply, Who},
    ground::Subject,
    table::Cell,
};

const EXECUTIONS: &str = "/v1/executions";
const EXECUTION: &str = "/v1/executions/{id}";
const LOG: &str = "/v1/executions/{id}/log";
const FUNCTIONS: &str = "/v1/functions";
/// The one id that callers bring along.
const CHOSEN: &str = "7f1e2d3c-4b5a-4978-8069-1a2b3c4d5e6f";

pub struct Qinling;

fn fault(status: u16, sentence: &str) -> Reply {
    Reply::json(
        status,
        json!({"faultcode": "Client", "faultstring": sentence, "debuginfo": null}),
    )
}

/// Of calls that carry text or files.
fn short_fault(status: u16, sentence: &str) -> Reply {
    Reply::json(status, json!({"faultstring": sentence}))
}

fn time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The execution; `output` is what came out, once something did.
fn execution(subject: &Subject, status: &str, output: Option<Value>) -> Value {
    let (task, now) = (&subject.task, subject.task.status.clone().unwrap_or_default());
    let seconds = now.started_at.zip(now.finished_at).map_or(0.0, |(from, to)| {
        (to.duration_since(from).as_secs_f64() * 1000.0).round() / 1000.0
    });
    let result = output.map(|output| format!("{{\"output\": {output}, \"duration\": {}}}", json!(seconds)));
    let noted = task.annotations().get("errand.dev/qinling-execution");
    json!({
        "id": id(task), "function_id": id(&subject.function), "function_version": 0, "function_alias": null,
        "description": null, "status": status, "sync": noted.is_none(),
        "input": task.spec.input.as_ref().and_then(|input| input.body.clone()), "result": result,
        "project_id": "default", "created_at": time(task.creation_timestamp().unwrap().0),
        "updated_at": now.modified_at.map(time),
    })
}

fn shown(subject: &Subject, status: &str, output: Option<Value>) -> Cell {
    let reply = Reply::json(200, execution(subject, status, output));
    Cell::Answers(vec![Exchange::get(EXECUTION, reply)])
}

/// Shown, and its log not yet.
fn running(subject: &Subject) -> Cell {
    let reply = Reply::json(200, execution(subject, "running", None));
    Cell::Answers(vec![
        Exchange::get(EXECUTION, reply),
        Exchange::get(LOG, Reply::empty(204)),
    ])
}

/// Makes an execution; the answer shows it as it is at first.
fn create(subject: &Subject, more: Value) -> Exchange {
    let mut order = json!({"function_id": id(&subject.function), "input": "shout\n", "sync": false});
    order
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let mut made = execution(subject, "running", None);
    (made["input"], made["updated_at"]) = (json!("shout\n"), json!(null));
    made["sync"] = json!(false);
    Exchange::post(EXECUTIONS, order.to_string().as_bytes(), Reply::json(201, made))
}

fn message(subject: &Subject) -> Value {
    json!(
        subject
            .task
            .status
            .as_ref()
            .and_then(|status| status.message.clone())
    )
}

fn none(subject: &Subject) -> Cell {
    let sentence = format!("Execution not found [id={}]", id(&subject.task));
    Cell::Answers(vec![
        Exchange::get(EXECUTION, fault(404, &sentence)),
        Exchange::get(LOG, short_fault(404, &sentence)),
        Exchange::send_as("DELETE", EXECUTION, b"", fault(404, &sentence)),
    ])
}

fn everywhere(who: Who, sentence: &str) -> Cell {
    let paths = [EXECUTION, EXECUTIONS, FUNCTIONS];
    let reads = paths.map(|path| Exchange::get(path, fault(401, sentence)).by(who));
    let log = Exchange::get(LOG, short_fault(401, sentence)).by(who);
    let create = Exchange::post(EXECUTIONS, b"{}", fault(401, sentence)).by(who);
    Cell::Answers(reads.into_iter().chain([log, create]).collect())
}

impl Door for Qinling {
    fn name(&self) -> &'static str {
        "qinling"
    }

    fn id(&self, subject: &Subject) -> String {
        id(&subject.task)
    }

    fn create(&self, subject: &Subject) -> Cell {
        Cell::Makes(create(subject, json!({})))
    }

    fn observe(&self, subject: &Subject) -> Cell {
        shown(subject, "success", Some(json!("SHOUT\n")))
    }

    fn run(&self, subject: &Subject) -> Cell {
        running(subject)
    }

    fn progress(&self, subject: &Subject) -> Cell {
        // An execution runs, or it does not.
        running(subject)
    }

    fn log(&self, subject: &Subject) -> Cell {
        let logs = subject
            .task
            .status
            .clone()
            .unwrap_or_default()
            .logs
            .unwrap_or_default();
        Cell::Answers(vec![Exchange::get(
            LOG,
            Reply::bytes(200, "text/plain; charset=UTF-8", logs.tail),
        )])
    }

    fn result(&self, subject: &Subject) -> Cell {
        self.observe(subject)
    }

    fn failure(&self, subject: &Subject) -> Cell {
        shown(subject, "failed", Some(message(subject)))
    }

    fn time_out(&self, subject: &Subject) -> Cell {
        shown(subject, "failed", Some(json!("Function execution timeout.")))
    }

    fn cancel(&self, _: &Subject) -> Cell {
        let refused = fault(405, NO_METHOD);
        let exchange = Exchange::send_as("PUT", EXECUTION, b"{}", refused);
        Cell::NoCall("executions run to their end or are deleted", vec![exchange])
    }

    fn cancelled(&self, subject: &Subject) -> Cell {
        shown(subject, "failed", Some(message(subject)))
    }

    fn delete(&self, subject: &Subject) -> Cell {
        let sentence = format!("Execution not found [id={}]", id(&subject.task));
        Cell::Answers(vec![
            Exchange::send_as("DELETE", EXECUTION, b"", Reply::empty(204)),
            Exchange::get(EXECUTION, fault(404, &sentence)),
        ])
    }

    fn not_found(&self, subject: &Subject) -> Cell {
        none(subject)
    }

    fn not_mine(&self, subject: &Subject) -> Cell {
        let sentence = format!("Execution not found [id={}]", id(&subject.task));
        let project = execution(subject, "success", Some(json!("SHOUT\n")));
        Cell::Answers(vec![
            Exchange::get(EXECUTION, fault(404, &sentence)).by(Who::Eve),
            Exchange::get(LOG, short_fault(404, &sentence)).by(Who::Eve),
            Exchange::get(EXECUTIONS, fault(403, "Operation not allowed")).by(Who::Eve),
            Exchange::send_as("DELETE", EXECUTION, b"", fault(404, &sentence)).by(Who::Eve),
            // A project has its executions together.
            Exchange::get(EXECUTION, Reply::json(200, project)).by(Who::Bob),
        ])
    }

    fn no_token(&self, _: &Subject) -> Cell {
        everywhere(Who::Nobody, NO_TOKEN)
    }

    fn wrong_token(&self, _: &Subject) -> Cell {
        everywhere(Who::Wrong, WRONG_TOKEN)
    }

    fn bad_body(&self, _: &Subject) -> Cell {
        let sentence = "Request is not in valid JSON format";
        Cell::Answers(vec![Exchange::post(
            EXECUTIONS,
            b"{\"input\":",
            fault(400, sentence),
        )])
    }

    fn oversized_body(&self, _: &Subject) -> Cell {
        Cell::Answers(vec![Exchange::post(
            EXECUTIONS,
            &oversized(),
            fault(413, TOO_LARGE),
        )])
    }

    fn concurrent_creates(&self, subject: &Subject) -> Cell {
        let sentence = format!("Duplicate entry for executions: ['id'] {CHOSEN}");
        Cell::AtOnce {
            request: create(subject, json!({"id": CHOSEN})),
            others: Some(fault(400, &sentence)),
        }
    }

    fn gone(&self, subject: &Subject) -> Cell {
        none(subject)
    }
}
