//! Task, Function and Schedule as the embedded API serves them: what it refuses and in which words, and that no text of a
//! stranger makes it stumble.

mod refused;
mod strangers;

use http_body_util::BodyExt as _;
use kube::{Api, Client, CustomResourceExt as _, api::PostParams};
use serde_json::{Value, json};

use crate::{
    crd::{self, API_VERSION, Function, Schedule, Task},
    local::api::{ApiOptions, ApiServer},
};

/// An API server in memory that knows all types.
async fn server() -> (ApiServer, Client) {
    let server = ApiServer::start(ApiOptions::default()).await.unwrap();
    let client = server.client();
    for (_, definition) in crd::definitions() {
        let definitions = Api::all(client.clone());
        definitions
            .create(&PostParams::default(), &definition)
            .await
            .unwrap();
    }
    (server, client)
}

/// Which type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Task,
    Function,
    Schedule,
}

impl Kind {
    fn object(self, name: &str, spec: &Value) -> Value {
        json!({"apiVersion": API_VERSION, "kind": self.name(), "metadata": {"name": name}, "spec": spec})
    }

    fn name(self) -> String {
        match self {
            Self::Task => Task::api_resource().kind,
            Self::Function => Function::api_resource().kind,
            Self::Schedule => Schedule::api_resource().kind,
        }
    }

    fn path(self) -> String {
        let resource = match self {
            Self::Task => Task::api_resource(),
            Self::Function => Function::api_resource(),
            Self::Schedule => Schedule::api_resource(),
        };
        format!("/apis/{API_VERSION}/namespaces/default/{}", resource.plural)
    }
}

/// Sends whatever `body` is; the status of the answer, and its body.
async fn send(client: &Client, verb: &str, path: &str, media_type: &str, body: Vec<u8>) -> (u16, Value) {
    let request = http::Request::builder()
        .method(verb)
        .uri(path)
        .header("content-type", media_type)
        .body(body.into())
        .unwrap();
    let answer = client.send(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

/// Creates whatever `body` is.
async fn post(client: &Client, kind: Kind, query: &str, body: Vec<u8>) -> (u16, Value) {
    let path = format!("{}?{query}", kind.path());
    send(client, "POST", &path, "application/json", body).await
}

#[tokio::test]
async fn an_integer_may_be_written_with_a_point_however_it_comes_in() {
    let (_server, client) = server().await;
    let spec = json!({"container": {"image": "i"}, "capabilities": {"cpu": 0.0}, "maxConcurrency": 2.0});
    let body = Kind::Function.object("f", &spec).to_string().into_bytes();
    assert_eq!(post(&client, Kind::Function, "", body).await.0, 201);
    let functions: Api<Function> = Api::default_namespaced(client.clone());
    let read = async || {
        let spec = functions.get("f").await.unwrap().spec;
        (
            spec.max_concurrency,
            spec.capabilities.unwrap().cpu.unwrap().to_string(),
        )
    };
    assert_eq!(read().await, (Some(2), "0".to_owned()));
    let path = format!("{}/f", Kind::Function.path());
    for (media_type, patch) in [
        (
            "merge-patch+json",
            r#"{"spec": {"maxConcurrency": 3e0, "capabilities": {"cpu": 1.0}}}"#,
        ),
        (
            "json-patch+json",
            r#"[{"op": "add", "path": "/spec/maxConcurrency", "value": 3.0}]"#,
        ),
        (
            "apply-patch+yaml",
            "{apiVersion: errand.dev/v1alpha1, kind: Function, metadata: {name: f}, spec: {container: {image: i}, maxConcurrency: 3.0}}",
        ),
    ] {
        let media_type = format!("application/{media_type}");
        let path = format!("{path}?fieldManager=t&force={}", media_type.contains("apply"));
        let path = path.replace("&force=false", "");
        let (status, answer) = send(&client, "PATCH", &path, &media_type, patch.into()).await;
        assert_eq!(status, 200, "{media_type}: {answer}");
        assert_eq!(read().await, (Some(3), "1".to_owned()), "{media_type}");
    }
}
