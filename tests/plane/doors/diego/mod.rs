//! The door for clients of Cloud Foundry's Diego, with tasks in pods.

mod calls;
mod pods;
mod tls;

use crate::support::{
    PATIENCE,
    http::{Answer, Http},
    plane::Doors,
    protobuf::{Fields, message, number, text},
};
use errand::facade::dialects::{self, diego};

/// Numbers of a task's fields (`models/task.proto` of the BBS).
const DEFINITION: u64 = 1;
const GUID: u64 = 2;
const FIRST_COMPLETED_AT: u64 = 6;
const STATE: u64 = 7;
const CELL: u64 = 8;
const RESULT: u64 = 9;
const FAILED: u64 = 10;
const REASON: u64 = 11;

const PENDING: u64 = 1;
const RUNNING: u64 = 2;
const COMPLETED: u64 = 3;
const RESOLVING: u64 = 4;

/// Types of errors.
const INVALID_REQUEST: u64 = 4;
const STATE_TRANSITION: u64 = 9;
const NOT_FOUND: u64 = 13;

/// A plane whose operator knows a stack, and keys.
async fn open() -> (Doors, Bbs) {
    let settings = dialects::Settings {
        diego: diego::Settings {
            stacks: [("cflinuxfs4".to_owned(), "busybox".to_owned())].into(),
            keys: Some(diego::Keys::parse(&"k".repeat(32)).unwrap()),
            ..diego::Settings::default()
        },
        ..dialects::Settings::default()
    };
    let doors = Doors::with_settings(&["ann"], settings).await;
    let bbs = Bbs(doors.diego.clone());
    (doors, bbs)
}

/// The door, as a client.
struct Bbs(Http);

/// Nothing, or type and text of an error.
type Outcome = Result<(), (u64, String)>;

impl Bbs {
    /// The message that a call is answered with.
    fn call(&self, path: &str, body: &[u8]) -> Fields {
        let answer = self.0.post(path, body);
        Self::is_message(&answer);
        Fields::parse(&answer.body)
    }

    fn is_message(answer: &Answer) {
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, Some("application/x-protobuf")),
            "{answer:?}"
        );
        assert_eq!(
            answer.header("content-length"),
            Some(&*answer.body.len().to_string()),
            "{answer:?}"
        );
    }

    /// A call that is answered with an error or nothing.
    fn done(&self, path: &str, body: &[u8]) -> Outcome {
        error(&self.call(path, body))
    }

    fn named(&self, call: &str, guid: &str) -> Outcome {
        self.done(&format!("/v1/tasks/{call}"), &text(1, guid))
    }

    fn desire(&self, guid: &str, domain: &str, definition: &[u8]) -> Outcome {
        let body = [message(1, definition), text(2, guid), text(3, domain)].concat();
        self.done("/v1/tasks/desire.r2", &body)
    }

    fn task(&self, guid: &str) -> Fields {
        let answer = self.call("/v1/tasks/get_by_task_guid.r3", &text(1, guid));
        assert_eq!(error(&answer), Ok(()), "{answer:?}");
        answer.message(2).unwrap()
    }

    /// The task, once this is so.
    fn until(&self, guid: &str, what: &str, is_so: impl Fn(&Fields) -> bool) -> Fields {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let task = self.task(guid);
            if is_so(&task) {
                return task;
            }
            assert!(
                std::time::Instant::now() < deadline,
                "{guid} is not {what}: {task:?}"
            );
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    fn until_state(&self, guid: &str, state: u64) -> Fields {
        self.until(guid, &format!("in state {state}"), |task| {
            task.number(STATE) == state
        })
    }
}

/// The error of an answer, which is field 1 of all.
fn error(answer: &Fields) -> Outcome {
    match answer.message(1) {
        None => Ok(()),
        Some(error) => Err((error.number(1), error.text(2))),
    }
}

/// Who runs the tests runs the commands: the process runtime has no other users.
fn user() -> String {
    let ran = std::process::Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(ran.stdout).unwrap().trim().to_owned()
}

/// A definition that runs a script: root_fs 1, action 3, log_source 8, log_guid 9, result_file 11.
fn script(script: &str, result_file: &str) -> Vec<u8> {
    let run = [
        text(1, "sh"),
        text(2, "-c"),
        text(2, script),
        message(5, b""),
        text(6, &user()),
    ]
    .concat();
    [
        text(1, "preloaded:cflinuxfs4"),
        message(3, &message(3, &run)),
        text(8, "TSK"),
        text(9, "log-guid"),
        text(11, result_file),
    ]
    .concat()
}
