//! Errand's own door.

use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::{Door, NO_METHOD, NO_TOKEN, TOO_LARGE, WRONG_TOKEN, oversized};
use crate::conformance::{
    exchange::{Exchange, Reply, Who},
    ground::Subject,
    table::Cell,
};

const TASKS: &str = "/errand/v1/namespaces/default/tasks";
const TASK: &str = "/errand/v1/namespaces/default/tasks/{id}";
const LOG: &str = "/errand/v1/namespaces/default/tasks/{id}/log";
const RESULT: &str = "/errand/v1/namespaces/default/tasks/{id}/result";
const CANCEL: &str = "/errand/v1/namespaces/default/tasks/{id}/cancel";
const PROGRESS: &str = "/errand/v1/namespaces/default/tasks/{id}/progress";
/// Answered once the Task is over.
const RESULT_IN_TIME: &str = "/errand/v1/namespaces/default/tasks/{id}/result?wait=60s";

pub struct Errand;

fn refused(code: u16, message: &str) -> Reply {
    Reply::json(code, json!({"error": {"code": code, "message": message}}))
}

/// The whole object, as Kubernetes has it.
fn object(subject: &Subject) -> Reply {
    let mut object = serde_json::to_value(&subject.task).unwrap();
    object["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("managedFields");
    Reply::json(200, object)
}

fn reads(subject: &Subject, result: Reply) -> Cell {
    Cell::Answers(vec![
        Exchange::get(TASK, object(subject)),
        Exchange::get(RESULT, result),
    ])
}

fn pending(body: Value) -> Reply {
    Reply::json(202, body)
}

impl Door for Errand {
    fn name(&self) -> &'static str {
        "errand"
    }

    fn id(&self, subject: &Subject) -> String {
        subject.task.name_any()
    }

    fn create(&self, _: &Subject) -> Cell {
        let exchange = Exchange::post(TASKS, b"{}", refused(405, NO_METHOD));
        Cell::NoCall("Tasks are made with kubectl or at other doors", vec![exchange])
    }

    fn observe(&self, subject: &Subject) -> Cell {
        Cell::Answers(vec![Exchange::get(TASK, object(subject))])
    }

    fn run(&self, subject: &Subject) -> Cell {
        reads(subject, pending(json!({"phase": "Running"})))
    }

    fn progress(&self, subject: &Subject) -> Cell {
        reads(subject, pending(json!({"phase": "Running", "progress": 40})))
    }

    fn log(&self, subject: &Subject) -> Cell {
        let logs = subject
            .task
            .status
            .as_ref()
            .and_then(|status| status.logs.clone());
        let tail = logs.unwrap_or_default().tail;
        let log = Reply::bytes(200, "text/plain; charset=utf-8", tail);
        Cell::Answers(vec![Exchange::get(LOG, log)])
    }

    fn result(&self, _: &Subject) -> Cell {
        let result = Reply::bytes(200, "text/plain; charset=utf-8", "SHOUT\n");
        Cell::Answers(vec![Exchange::get(RESULT, result)])
    }

    fn failure(&self, subject: &Subject) -> Cell {
        reads(subject, Reply::empty(204))
    }

    fn time_out(&self, subject: &Subject) -> Cell {
        reads(subject, Reply::empty(204))
    }

    fn cancel(&self, _: &Subject) -> Cell {
        Cell::Answers(vec![
            Exchange::post(CANCEL, b"", pending(json!({"phase": "Running"}))),
            Exchange::get(RESULT_IN_TIME, Reply::empty(204)),
        ])
    }

    fn cancelled(&self, subject: &Subject) -> Cell {
        reads(subject, Reply::empty(204))
    }

    fn delete(&self, _: &Subject) -> Cell {
        let exchange = Exchange::send_as("DELETE", TASK, b"", refused(405, NO_METHOD));
        Cell::NoCall("Tasks go with kubectl or by themselves", vec![exchange])
    }

    fn not_found(&self, _: &Subject) -> Cell {
        let none = || refused(404, "there is no Task nothing in namespace default");
        let paths = [TASK, LOG, RESULT].map(|path| Exchange::get(path, none()));
        Cell::Answers(paths.into())
    }

    fn not_mine(&self, subject: &Subject) -> Cell {
        let name = subject.task.name_any();
        let sentence = format!("user \"eve\" cannot get task {name:?} in namespace \"default\"");
        Cell::Answers(vec![
            Exchange::get(TASK, refused(403, &sentence)).by(Who::Eve),
            Exchange::get(RESULT, refused(403, &sentence)).by(Who::Eve),
            Exchange::get(TASK, object(subject)).by(Who::Bob),
        ])
    }

    fn no_token(&self, _: &Subject) -> Cell {
        let paths =
            [TASKS, TASK, RESULT].map(|path| Exchange::get(path, refused(401, NO_TOKEN)).by(Who::Nobody));
        Cell::Answers(paths.into())
    }

    fn wrong_token(&self, _: &Subject) -> Cell {
        let paths =
            [TASKS, TASK, RESULT].map(|path| Exchange::get(path, refused(401, WRONG_TOKEN)).by(Who::Wrong));
        Cell::Answers(paths.into())
    }

    fn bad_body(&self, _: &Subject) -> Cell {
        let why = "the body is not the JSON that is wanted here: invalid type: string \"half\", expected i64 at line 1 column 18";
        let exchange = Exchange::post(PROGRESS, br#"{"percent": "half"}"#, refused(400, why));
        Cell::Answers(vec![exchange])
    }

    fn oversized_body(&self, _: &Subject) -> Cell {
        Cell::Answers(vec![Exchange::post(
            PROGRESS,
            &oversized(),
            refused(413, TOO_LARGE),
        )])
    }

    fn concurrent_creates(&self, subject: &Subject) -> Cell {
        self.create(subject)
    }

    fn gone(&self, subject: &Subject) -> Cell {
        let sentence = format!(
            "there is no Task {} in namespace default",
            subject.task.name_any()
        );
        Cell::Answers(vec![Exchange::get(TASK, refused(404, &sentence))])
    }
}
