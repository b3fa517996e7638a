//! The door with cells from outside, as the tests of the real server drive it: cells start the tasks and tell how they
//! end. Nothing runs; the API server is the embedded one.

mod events;
mod failures;
mod hostile;
mod life;
mod passwords;
mod reads;
mod traces;

use std::sync::Arc;

use axum::{
    Extension, Router,
    body::{Body, Bytes, to_bytes},
    http::{HeaderMap, Request},
    response::Response,
};
use prost::Message;
use tower::ServiceExt as _;

use super::{
    Settings, doors,
    fields::put,
    messages::{
        Action, CompleteTaskRequest, Error, ErrorType, FailTaskRequest, RejectTaskRequest, ResourceLimits,
        RunAction, StartTaskRequest, StartTaskResponse, State, Task, TaskDefinition, TaskGuidRequest,
        TaskResponse, TasksRequest, TasksResponse,
    },
};
use crate::{
    facade::{
        access::Caller,
        config::Config,
        server,
        state::Facade,
        tests::{facade_over, line::Line},
    },
    local::api::ApiServer,
};

/// Calls that take a message with something in it.
const CALLS: [&str; 13] = [
    "/v1/tasks/desire.r2",
    "/v1/tasks/list.r3",
    "/v1/tasks/list.r2",
    "/v1/tasks/get_by_task_guid.r3",
    "/v1/tasks/get_by_task_guid.r2",
    "/v1/tasks/cancel",
    "/v1/tasks/resolving",
    "/v1/tasks/delete",
    "/v1/tasks/start",
    "/v1/tasks/reject",
    "/v1/tasks/complete",
    "/v1/tasks/fail",
    "/v1/domains/upsert",
];

/// A door and whoever calls there.
struct Bbs {
    facade: Facade,
    router: Router,
    /// From the facade to the API server, but for what fills the views.
    line: Line,
    server: ApiServer,
}

impl Drop for Bbs {
    fn drop(&mut self) {
        self.facade.shutdown.cancel();
    }
}

/// The real server's own tests have no retries.
fn with_cells(retries: u16) -> Settings {
    Settings {
        cells: true,
        retries,
        ..Settings::default()
    }
}

impl Bbs {
    async fn open(settings: Settings) -> Self {
        Self::open_for("admin", &["system:masters"], settings).await
    }

    async fn open_for(user: &str, groups: &[&str], settings: Settings) -> Self {
        let mut config = Config::default();
        config.dialects.diego = settings;
        Self::open_with(user, groups, config).await
    }

    async fn open_with(user: &str, groups: &[&str], config: Config) -> Self {
        let line = Line::default();
        let (facade, server) = facade_over(config, |client| line.over(client)).await;
        let (views, client, shutdown) = (facade.views.clone(), server.client(), facade.shutdown.clone());
        tokio::spawn(async move { views.feed(client, None, shutdown).await });
        facade.views.tasks.wait_until_ready().await;
        facade.views.functions.wait_until_ready().await;
        let mut bbs = Self {
            router: Router::new(),
            facade,
            line,
            server,
        };
        bbs.caller(user, groups);
        bbs
    }

    /// From now on this is who calls.
    fn caller(&mut self, user: &str, groups: &[&str]) {
        let caller = Arc::new(Caller {
            user: user.into(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            ..Caller::default()
        });
        self.router = server::peer_router(&self.facade, doors()).layer(Extension(caller));
    }

    async fn respond(&self, method: &str, path: &str, body: impl Into<Body>) -> Response {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(body.into())
            .unwrap();
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn send(&self, method: &str, path: &str, body: impl Into<Body>) -> (u16, HeaderMap, Bytes) {
        let (head, body) = self.respond(method, path, body).await.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        (head.status.as_u16(), head.headers, body)
    }

    /// The bytes of an answer as the API promises them.
    async fn bytes(&self, path: &str, body: Vec<u8>) -> Bytes {
        let (status, headers, body) = self.send("POST", path, body).await;
        assert_eq!(
            (status, headers["content-type"].to_str().unwrap()),
            (200, "application/x-protobuf")
        );
        body
    }

    async fn call<T: Message + Default>(&self, path: &str, request: impl Message) -> T {
        T::decode(self.bytes(path, request.encode_to_vec()).await).unwrap()
    }

    /// The error of a call that moves a task on; success is no bytes at all.
    async fn moved(&self, path: &str, request: impl Message) -> Result<(), (ErrorType, String)> {
        outcome(&self.bytes(path, request.encode_to_vec()).await)
    }

    async fn desire(&self, guid: &str, domain: &str) -> Result<(), (ErrorType, String)> {
        let body = desire(guid, domain, &definition().encode_to_vec());
        outcome(&self.bytes("/v1/tasks/desire.r2", body).await)
    }

    async fn start(&self, guid: &str, cell: &str) -> StartTaskResponse {
        let (task_guid, cell_id) = (guid.into(), cell.into());
        self.call("/v1/tasks/start", StartTaskRequest { task_guid, cell_id })
            .await
    }

    async fn named(&self, call: &str, guid: &str) -> Result<(), (ErrorType, String)> {
        let task_guid = guid.into();
        self.moved(&format!("/v1/tasks/{call}"), TaskGuidRequest { task_guid })
            .await
    }

    async fn complete(&self, guid: &str, cell: &str, result: &str) -> Result<(), (ErrorType, String)> {
        let request = CompleteTaskRequest {
            task_guid: guid.into(),
            cell_id: cell.into(),
            result: result.into(),
            ..CompleteTaskRequest::default()
        };
        self.moved("/v1/tasks/complete", request).await
    }

    async fn fail(&self, guid: &str, reason: &str) -> Result<(), (ErrorType, String)> {
        let (task_guid, failure_reason) = (guid.into(), reason.into());
        self.moved(
            "/v1/tasks/fail",
            FailTaskRequest {
                task_guid,
                failure_reason,
            },
        )
        .await
    }

    async fn reject(&self, guid: &str, reason: &str) -> Result<(), (ErrorType, String)> {
        let (task_guid, rejection_reason) = (guid.into(), reason.into());
        self.moved(
            "/v1/tasks/reject",
            RejectTaskRequest {
                task_guid,
                rejection_reason,
            },
        )
        .await
    }

    async fn got(&self, guid: &str) -> Task {
        let response = self.response(guid).await;
        assert_eq!(response.error, None);
        response.task.unwrap()
    }

    async fn response(&self, guid: &str) -> TaskResponse {
        let task_guid = guid.into();
        self.call("/v1/tasks/get_by_task_guid.r3", TaskGuidRequest { task_guid })
            .await
    }

    async fn listed(&self, domain: &str, cell: &str) -> Vec<Task> {
        let (domain, cell_id) = (domain.into(), cell.into());
        let listed: TasksResponse = self
            .call("/v1/tasks/list.r3", TasksRequest { domain, cell_id })
            .await;
        assert_eq!(listed.error, None);
        listed.tasks
    }
}

fn outcome(body: &[u8]) -> Result<(), (ErrorType, String)> {
    if body.is_empty() {
        return Ok(());
    }
    let error = TaskResponse::decode(body).unwrap().error.unwrap();
    Err((error.kind(), error.message))
}

fn desire(guid: &str, domain: &str, definition: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    put(&mut body, 1, definition);
    put(&mut body, 2, guid.as_bytes());
    put(&mut body, 3, domain.as_bytes());
    body
}

/// With a message that is there and empty, as clients send them and want them back.
fn definition() -> TaskDefinition {
    let run = RunAction {
        path: "sh".into(),
        args: vec!["-c".into(), "true".into()],
        user: "root".into(),
        resource_limits: Some(ResourceLimits::default()),
        ..RunAction::default()
    };
    TaskDefinition {
        root_fs: "docker:///busybox#1".into(),
        action: Some(Action {
            run: Some(Box::new(run)),
            ..Action::default()
        }),
        memory_mb: 64,
        ..TaskDefinition::default()
    }
}

fn transition(from: State, to: State) -> Result<(), (ErrorType, String)> {
    let text = format!("Cannot transition from {from:?} to {to:?}");
    Err((ErrorType::InvalidStateTransition, text))
}

fn not_found() -> Result<(), (ErrorType, String)> {
    let text = "the requested resource could not be found";
    Err((ErrorType::ResourceNotFound, text.into()))
}

fn bad_request() -> Result<(), (ErrorType, String)> {
    let text = "the request received is invalid";
    Err((ErrorType::InvalidRequest, text.into()))
}

fn told(error: Option<Error>) -> Result<(), (ErrorType, String)> {
    error.map_or(Ok(()), |error| Err((error.kind(), error.message)))
}
