//! The door for clients of Cloud Foundry's Diego.

use kube::ResourceExt as _;

use super::Door;
use crate::{
    conformance::{
        exchange::{Exchange, Reply},
        ground::Subject,
        table::Cell,
    },
    support::protobuf::{message, number, text},
};

const DESIRE: &str = "/v1/tasks/desire.r2";
const TASK: &str = "/v1/tasks/get_by_task_guid.r3";
const CANCEL: &str = "/v1/tasks/cancel";
const RESOLVING: &str = "/v1/tasks/resolving";
const DELETE: &str = "/v1/tasks/delete";

const RUNNING: u64 = 2;
const COMPLETED: u64 = 3;

pub struct Diego;

fn reply(bytes: Vec<u8>) -> Reply {
    Reply::bytes(200, "application/x-protobuf", bytes)
}

/// An error of this type.
fn refused(kind: u64, sentence: &str) -> Reply {
    reply(message(1, &[number(1, kind), text(2, sentence)].concat()))
}

/// TaskByGuidRequest, and every other request that only names a task.
fn named(subject: &Subject) -> Vec<u8> {
    text(1, &subject.task.name_any())
}

/// What a Function's task would have been desired with.
fn definition(subject: &Subject) -> Vec<u8> {
    let (task, container) = (&subject.task.spec, &subject.function.spec.container);
    let input = task.input.iter().flat_map(|input| &input.args);
    let words: Vec<_> = container
        .command
        .iter()
        .chain(&container.args)
        .chain(input)
        .collect();
    let run = words.iter().enumerate().map(|(place, word)| match place {
        0 => text(1, word),
        _ => message(2, word.as_bytes()),
    });
    let env = container.env.iter().chain(&task.env).filter_map(|variable| {
        let pair = [text(1, &variable.name), text(2, variable.value.as_ref()?)].concat();
        Some(message(2, &pair))
    });
    [
        text(1, &format!("docker:///{}", container.image)),
        env.collect::<Vec<_>>().concat(),
        message(3, &message(3, &run.collect::<Vec<_>>().concat())),
        text(13, task.annotation.as_deref().unwrap_or_default()),
    ]
    .concat()
}

/// The task: its state, and why it failed.
fn shown(subject: &Subject, state: u64, failure: Option<&str>) -> Cell {
    let task = &subject.task;
    let status = task.status.clone().unwrap_or_default();
    let nanoseconds = |time: jiff::Timestamp| u64::try_from(time.as_nanosecond()).unwrap();
    let created = nanoseconds(task.creation_timestamp().unwrap().0);
    let finished = status.finished_at.map(nanoseconds).unwrap_or_default();
    let modified = status.modified_at.map(nanoseconds).unwrap_or_default();
    let node = status.pod.and_then(|pod| pod.node).unwrap_or_default();
    let result = status.result.and_then(|result| result.body).unwrap_or_default();
    let over = state == COMPLETED;
    let cancelled = failure == Some("task was cancelled");
    let shown = [
        message(1, &definition(subject)),
        text(2, &task.name_any()),
        text(3, task.spec.domain.as_deref().unwrap_or_default()),
        number(4, created),
        number(5, created.max(modified).max(finished)),
        number(6, if over { finished } else { 0 }),
        number(7, state),
        text(8, if over { "" } else { &node }),
        text(9, if over && !cancelled { &result } else { "" }),
        number(10, u64::from(failure.is_some())),
        text(11, failure.unwrap_or_default()),
    ]
    .concat();
    Cell::Answers(vec![read(subject, reply(message(2, &shown)))])
}

fn read(subject: &Subject, reply: Reply) -> Exchange {
    Exchange::post(TASK, &named(subject), reply).read()
}

fn none(subject: &Subject) -> Exchange {
    read(subject, refused(13, "the requested resource could not be found"))
}

/// What the Task says of its failure.
fn failed(subject: &Subject) -> Cell {
    let status = subject.task.status.clone().unwrap_or_default();
    shown(subject, COMPLETED, Some(&status.message.unwrap_or_default()))
}

/// A definition that names what nobody can run.
fn no_function() -> Cell {
    let run = [text(1, "sh"), text(6, "vcap")].concat();
    let definition = [text(1, "function:upper"), message(3, &message(3, &run))].concat();
    let body = [message(1, &definition), text(2, "guid"), text(3, "domain")].concat();
    let sentence = "rootfs \"function:upper\": only docker://[HOST]/PATH[#TAG], preloaded:STACK and preloaded+layer:STACK?layer=URL can be run here";
    let exchange = Exchange::post(DESIRE, &body, refused(4, sentence));
    Cell::NoCall(
        "a definition says all by itself and names no Function",
        vec![exchange],
    )
}

fn certificates() -> Cell {
    Cell::NoCall(
        "callers show a certificate, and without one there is no connection",
        vec![],
    )
}

impl Door for Diego {
    fn name(&self) -> &'static str {
        "diego"
    }

    fn is_apart(&self) -> bool {
        true
    }

    fn id(&self, subject: &Subject) -> String {
        subject.task.name_any()
    }

    fn create(&self, _: &Subject) -> Cell {
        no_function()
    }

    fn observe(&self, subject: &Subject) -> Cell {
        shown(subject, COMPLETED, None)
    }

    fn run(&self, subject: &Subject) -> Cell {
        shown(subject, RUNNING, None)
    }

    fn progress(&self, subject: &Subject) -> Cell {
        // Tasks have no progress here.
        shown(subject, RUNNING, None)
    }

    fn log(&self, _: &Subject) -> Cell {
        Cell::NoCall("logs take another way", vec![])
    }

    fn result(&self, subject: &Subject) -> Cell {
        shown(subject, COMPLETED, None)
    }

    fn failure(&self, subject: &Subject) -> Cell {
        failed(subject)
    }

    fn time_out(&self, subject: &Subject) -> Cell {
        failed(subject)
    }

    fn cancel(&self, subject: &Subject) -> Cell {
        Cell::Answers(vec![Exchange::post(CANCEL, &named(subject), reply(Vec::new()))])
    }

    fn cancelled(&self, subject: &Subject) -> Cell {
        shown(subject, COMPLETED, Some("task was cancelled"))
    }

    fn delete(&self, subject: &Subject) -> Cell {
        let body = named(subject);
        let running = "Cannot transition from Running to Resolving";
        let calls = [CANCEL, RESOLVING, DELETE].map(|call| Exchange::post(call, &body, reply(Vec::new())));
        let first = Exchange::post(DELETE, &body, refused(9, running));
        Cell::Answers([first].into_iter().chain(calls).chain([none(subject)]).collect())
    }

    fn not_found(&self, subject: &Subject) -> Cell {
        Cell::Answers(vec![none(subject)])
    }

    fn not_mine(&self, _: &Subject) -> Cell {
        Cell::NoCall("without certificates, as here, everybody is admin", vec![])
    }

    fn no_token(&self, _: &Subject) -> Cell {
        certificates()
    }

    fn wrong_token(&self, _: &Subject) -> Cell {
        certificates()
    }

    fn bad_body(&self, _: &Subject) -> Cell {
        Cell::Answers(vec![
            Exchange::post(CANCEL, b"{{", refused(4, "the request received is invalid")),
            Exchange::post(CANCEL, b"", refused(4, "Invalid field: task_guid")),
        ])
    }

    fn oversized_body(&self, _: &Subject) -> Cell {
        let body = vec![b'x'; 256 * 1024 + 1];
        let told = refused(4, "the body may have at most 262144 bytes");
        Cell::Answers(vec![Exchange::post(CANCEL, &body, told)])
    }

    fn concurrent_creates(&self, _: &Subject) -> Cell {
        no_function()
    }

    fn gone(&self, subject: &Subject) -> Cell {
        Cell::Answers(vec![none(subject)])
    }
}
