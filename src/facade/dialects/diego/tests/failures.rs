//! What each call is answered with where the API server fails, call by call and failure by failure.

use std::time::Duration;

use super::*;
use crate::{
    crd::{self, MAX_BODY_BYTES},
    facade::{
        access::AccessConfig,
        dialects::diego::messages::{CellsResponse, DomainsResponse, UpsertDomainRequest},
        tests::line::Fault,
    },
};

/// Whatever an API server can answer in place of what was asked for.
const FAULTS: [Fault; 14] = [
    Fault::Status(400),
    Fault::Status(401),
    Fault::Status(403),
    Fault::Status(404),
    Fault::Status(409),
    Fault::Status(410),
    Fault::Status(413),
    Fault::Status(422),
    Fault::Status(429),
    Fault::Status(500),
    Fault::Status(503),
    Fault::Status(504),
    Fault::Silent,
    Fault::Broken,
];

/// The question whether the caller may.
const MAY: &str = "POST subjectaccessreviews";
/// What marks a task.
const WRITE: &[&str] = &[MAY, "GET tasks/*", "PATCH tasks/*"];
/// What reports an end.
const REPORT: &[&str] = &[MAY, "GET tasks/*", "PATCH tasks/*/status"];

/// An answer, whole.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    status: u16,
    media: &'static str,
    retry_after: Option<&'static str>,
    body: Vec<u8>,
}

/// A message without error.
fn fine(body: Vec<u8>) -> Told {
    Told {
        status: 200,
        media: "application/x-protobuf",
        retry_after: None,
        body,
    }
}

fn error(kind: ErrorType, message: &str) -> Told {
    let error = Error {
        kind: kind.into(),
        message: message.into(),
    };
    let response = TaskResponse {
        error: Some(error),
        task: None,
    };
    fine(response.encode_to_vec())
}

/// What clients try again.
fn again(retry_after: &'static str, line: &str) -> Told {
    Told {
        status: 503,
        media: "text/plain; charset=utf-8",
        retry_after: Some(retry_after),
        body: format!("{line}\n").into_bytes(),
    }
}

/// What is told of a failure, unless the call has an answer of its own to it.
fn usual(call: &str, fault: Fault) -> Told {
    match (call, fault) {
        (MAY, _) => again("2", "the API server cannot be asked about the caller"),
        ("GET nodes", Fault::Status(403)) => fine(Vec::new()),
        ("GET nodes", _) => again("2", "the API server cannot be asked about nodes"),
        (_, Fault::Status(400 | 422)) => error(ErrorType::InvalidRequest, "on purpose"),
        (_, Fault::Status(401 | 403)) => again("2", "the facade lacks a right that it needs; see its log"),
        (_, Fault::Status(404)) => error(
            ErrorType::ResourceNotFound,
            "the requested resource could not be found",
        ),
        (_, Fault::Status(409)) => error(
            ErrorType::ResourceConflict,
            "the requested resource is in a conflicting state",
        ),
        (_, Fault::Status(413)) => error(
            ErrorType::InvalidRequest,
            &format!("the body may have at most {MAX_BODY_BYTES} bytes"),
        ),
        (_, Fault::Status(429)) => again("1", "too many requests at once"),
        (_, Fault::Status(_)) => again("2", "the API server failed"),
        (_, Fault::Silent) => again("2", "the API server did not answer within 10 s"),
        (_, Fault::Broken) => again("2", "the API server cannot be asked"),
    }
}

/// A call of the API, and the calls that it makes to the API server.
struct Case {
    path: &'static str,
    body: Vec<u8>,
    calls: &'static [&'static str],
    /// Answers of its own, by the place of the call that fails and its failure.
    own: Vec<(usize, Fault, Told)>,
    /// What is no failure here.
    left_out: Option<(usize, Fault)>,
}

fn case(path: &'static str, body: impl Message, calls: &'static [&'static str]) -> Case {
    Case {
        path,
        body: body.encode_to_vec(),
        calls,
        own: Vec::new(),
        left_out: None,
    }
}

impl Case {
    /// A call that is refused its write while others come before.
    fn crowded(mut self, place: usize, line: &str) -> Self {
        self.own.push((place, Fault::Status(409), again("2", line)));
        self
    }

    fn own(mut self, place: usize, code: u16, told: Told) -> Self {
        self.own.push((place, Fault::Status(code), told));
        self
    }

    fn but(mut self, place: usize, code: u16) -> Self {
        self.left_out = Some((place, Fault::Status(code)));
        self
    }

    fn wanted(&self, place: usize, fault: Fault) -> Told {
        let own = self
            .own
            .iter()
            .find(|(other, its, _)| (*other, *its) == (place, fault));
        own.map_or_else(
            || usual(self.calls[place], fault),
            |(_, _, told)| Told {
                body: told.body.clone(),
                ..*told
            },
        )
    }
}

impl Bbs {
    /// At which every right is asked for anew.
    pub(super) async fn forgetful() -> Self {
        let mut config = Config {
            access: AccessConfig {
                token_ttl: Duration::ZERO,
                denied_ttl: Duration::ZERO,
                ..AccessConfig::default()
            },
            ..Config::default()
        };
        config.dialects.diego = with_cells(0);
        Self::open_with("admin", &["system:masters"], config).await
    }

    async fn told(&self, path: &str, body: Vec<u8>) -> Told {
        let response = self.respond("POST", path, body).await;
        let (head, body) = response.into_parts();
        let header = |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap());
        let known = |text: Option<&str>, all: &[&'static str]| {
            let found = text.map(|text| all.iter().find(|known| **known == text));
            found.map(|known| *known.unwrap_or(&"something else"))
        };
        let media = ["application/x-protobuf", "text/plain; charset=utf-8"];
        Told {
            status: head.status.as_u16(),
            media: known(header("content-type"), &media).unwrap_or_default(),
            retry_after: known(header("retry-after"), &["1", "2"]),
            body: to_bytes(body, usize::MAX).await.unwrap().to_vec(),
        }
    }

    /// Everything there is at the API server that this API writes.
    async fn stored(&self) -> String {
        let client = self.server.client();
        let all = kube::api::ListParams::default();
        let tasks: kube::Api<crd::Task> = kube::Api::namespaced(client.clone(), "default");
        let maps: kube::Api<k8s_openapi::api::core::v1::ConfigMap> = kube::Api::namespaced(client, "default");
        let (tasks, maps) = (tasks.list(&all).await.unwrap(), maps.list(&all).await.unwrap());
        serde_json::to_string(&(tasks.items, maps.items)).unwrap()
    }

    /// Lets every call to the API server fail in every way, and none at last.
    async fn try_out(&self, case: Case) {
        let Case { path, calls, .. } = &case;
        for place in 0..calls.len() {
            let before = self.stored().await;
            let failures = FAULTS.into_iter();
            for fault in failures.filter(|fault| case.left_out != Some((place, *fault))) {
                self.line.fail(place, fault);
                let told = self.told(path, case.body.clone()).await;
                let what = format!("{path}: {fault:?} at {}", calls[place]);
                assert_eq!(told, case.wanted(place, fault), "{what}");
                assert_eq!(self.line.calls()[..=place], calls[..=place], "{what}");
            }
            // What was written before is written again: a rejection that then fails the task.
            let wrote = calls[..place].iter().any(|call| call.starts_with("PATCH"));
            assert!(
                wrote || self.stored().await == before,
                "{path} at {}",
                calls[place]
            );
        }
        self.line.mend();
        let told = self.told(path, case.body.clone()).await;
        assert_eq!(
            (told.status, told.media),
            (200, "application/x-protobuf"),
            "{path}"
        );
        assert_eq!(error_in(&told.body), None, "{path}");
        assert_eq!(self.line.calls(), *calls, "{path}");
    }
}

/// The error of any answer, which is field 1 of all.
fn error_in(body: &[u8]) -> Option<Error> {
    #[derive(Clone, PartialEq, Message)]
    struct Any {
        #[prost(message, optional, tag = "1")]
        error: Option<Error>,
    }
    Any::decode(body).unwrap().error
}

fn guid(guid: &str) -> TaskGuidRequest {
    TaskGuidRequest {
        task_guid: guid.into(),
    }
}

#[tokio::test(start_paused = true)]
async fn desires_tell_of_every_failure() {
    let bbs = Bbs::forgetful().await;
    let mut desired = case("/v1/tasks/desire.r2", guid(""), &[MAY, "POST tasks"]);
    desired.body = desire("g", "d", &definition().encode_to_vec());
    // The namespace, since the task is new.
    let no_namespace = error(ErrorType::InvalidRequest, "on purpose");
    let exists = error(ErrorType::ResourceExists, "the requested resource already exists");
    bbs.try_out(desired.own(1, 404, no_namespace).own(1, 409, exists))
        .await;
}

#[tokio::test(start_paused = true)]
async fn reads_tell_of_every_failure() {
    let bbs = Bbs::forgetful().await;
    for path in ["/v1/tasks/list.r3", "/v1/tasks/list.r2"] {
        bbs.try_out(case(path, TasksRequest::default(), &[MAY])).await;
    }
    // Results of a few are read one by one.
    let stages: [(&str, &'static [&'static str]); 3] = [
        ("a", &[MAY, "GET tasks/*"]),
        ("b", &[MAY, "GET tasks/*", "GET tasks/*"]),
        ("c", &[MAY, "GET tasks"]),
    ];
    for (name, calls) in stages {
        bbs.desire(name, "d").await.unwrap();
        bbs.start(name, "cell").await;
        bbs.complete(name, "cell", "42").await.unwrap();
        let listed = bbs.listed("", "").await;
        // A task that is gone meanwhile is shown as it was known: without its result.
        let without_results = |from: usize| {
            let mut tasks = listed.clone();
            let gone = tasks.iter_mut().skip(from);
            gone.for_each(|task| task.result.clear());
            fine(TasksResponse { error: None, tasks }.encode_to_vec())
        };
        for path in ["/v1/tasks/list.r3", "/v1/tasks/list.r2"] {
            let singly = (1..calls.len()).filter(|place| calls[*place] == "GET tasks/*");
            let case = singly.fold(case(path, TasksRequest::default(), calls), |case, place| {
                case.own(place, 404, without_results(place - 1))
            });
            bbs.try_out(case).await;
        }
    }
    let known = TaskResponse {
        error: None,
        task: Some(Task {
            result: String::new(),
            ..bbs.got("a").await
        }),
    };
    for path in ["/v1/tasks/get_by_task_guid.r3", "/v1/tasks/get_by_task_guid.r2"] {
        let known = fine(known.encode_to_vec());
        let case = case(path, guid("a"), &[MAY, "GET tasks/*"]);
        bbs.try_out(case.own(1, 404, known)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_move_a_task_on_tell_of_every_failure_and_leave_it_where_it_was() {
    let bbs = Bbs::forgetful().await;
    for name in ["cancelled", "rejected", "failed", "completed"] {
        bbs.desire(name, "d").await.unwrap();
    }
    let crowd = |name: &str| format!("too many change task {name} at once");
    let reported = |name: &str| {
        let name = crate::facade::dialects::diego::names::object_name(name);
        format!("Task {name} is changed by others again and again")
    };
    let start = |name: &str| StartTaskRequest {
        task_guid: name.into(),
        cell_id: "cell".into(),
    };
    let started = case("/v1/tasks/start", start("completed"), WRITE);
    bbs.try_out(started.crowded(2, &crowd("completed"))).await;
    let complete = CompleteTaskRequest {
        task_guid: "completed".into(),
        cell_id: "cell".into(),
        result: "42".into(),
        ..CompleteTaskRequest::default()
    };
    let completed = case("/v1/tasks/complete", complete, REPORT);
    bbs.try_out(completed.crowded(2, &reported("completed"))).await;
    let fail = FailTaskRequest {
        task_guid: "failed".into(),
        failure_reason: "why".into(),
    };
    let failed = case("/v1/tasks/fail", fail, REPORT);
    bbs.try_out(failed.crowded(2, &reported("failed"))).await;
    let reject = RejectTaskRequest {
        task_guid: "rejected".into(),
        rejection_reason: "full".into(),
    };
    let calls = &[
        MAY,
        "GET tasks/*",
        "PATCH tasks/*",
        "GET tasks/*",
        "PATCH tasks/*/status",
    ];
    let rejected = case("/v1/tasks/reject", reject, calls).crowded(2, &crowd("rejected"));
    bbs.try_out(rejected.crowded(4, &reported("rejected"))).await;
    let cancelled = case("/v1/tasks/cancel", guid("cancelled"), WRITE);
    bbs.try_out(cancelled.crowded(2, &crowd("cancelled"))).await;
    let resolved = case("/v1/tasks/resolving", guid("cancelled"), WRITE);
    bbs.try_out(resolved.crowded(2, &crowd("cancelled"))).await;
    let deleted = case(
        "/v1/tasks/delete",
        guid("cancelled"),
        &[MAY, "GET tasks/*", "DELETE tasks/*"],
    );
    bbs.try_out(deleted.crowded(2, &crowd("cancelled"))).await;
}

#[tokio::test(start_paused = true)]
async fn domains_and_cells_tell_of_every_failure() {
    let bbs = Bbs::forgetful().await;
    let upsert = || UpsertDomainRequest {
        domain: "d".into(),
        ttl: 0,
    };
    let crowd = "too many change the domains at once";
    let first = case(
        "/v1/domains/upsert",
        upsert(),
        &[MAY, "GET configmaps/*", "POST configmaps"],
    );
    // That there is none yet is no failure; that the namespace is not there is one.
    let no_namespace = error(ErrorType::InvalidRequest, "on purpose");
    let first = first.crowded(2, crowd).own(2, 404, no_namespace);
    let mut list = case("/v1/domains/list", guid(""), &[MAY, "GET configmaps/*"]);
    list = list.own(1, 404, fine(Vec::new()));
    bbs.try_out(list).await;
    bbs.try_out(first.but(1, 404)).await;
    let again_and_again = again("2", crowd);
    let next = case(
        "/v1/domains/upsert",
        upsert(),
        &[MAY, "GET configmaps/*", "PATCH configmaps/*"],
    );
    let next = next.crowded(2, crowd).own(2, 404, again_and_again);
    bbs.try_out(next.but(1, 404)).await;
    let listed: DomainsResponse = bbs.call("/v1/domains/list", guid("")).await;
    assert_eq!(listed.domains, ["d"]);

    bbs.try_out(case("/v1/cells/list.r1", guid(""), &[MAY, "GET nodes"]))
        .await;
    let cells: CellsResponse = bbs.call("/v1/cells/list.r1", guid("")).await;
    assert_eq!(cells, CellsResponse::default());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_cannot_be_opened_says_why_and_one_is_opened_after_it() {
    let bbs = Bbs::forgetful().await;
    for path in ["/v1/events/tasks.r1", "/v1/events/tasks"] {
        for fault in FAULTS {
            bbs.line.fail(0, fault);
            assert_eq!(bbs.told(path, Vec::new()).await, usual(MAY, fault), "{path}");
        }
        bbs.line.mend();
        let response = bbs.respond("POST", path, "").await;
        assert_eq!(response.status(), 200);
        assert_eq!(bbs.line.calls(), [MAY]);
    }
}

#[tokio::test(start_paused = true)]
async fn whether_the_server_is_there_does_not_depend_on_what_is_behind_it() {
    let bbs = Bbs::forgetful().await;
    for fault in FAULTS {
        bbs.line.fail(0, fault);
        assert_eq!(bbs.told("/v1/ping", Vec::new()).await, fine(vec![8, 1]));
        assert_eq!(bbs.line.calls(), [""; 0]);
    }
}
