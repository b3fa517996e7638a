//! Task and Function as the embedded API serves them: what it refuses and in which words, and that no text of a
//! stranger makes it stumble.

mod refused;
mod strangers;

use http_body_util::BodyExt as _;
use kube::{Api, Client, CustomResourceExt as _, api::PostParams};
use serde_json::{Value, json};

use crate::{
    crd::{self, API_VERSION, Function, Task},
    local::api::{ApiOptions, ApiServer},
};

/// An API server in memory that knows both types.
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

/// Which of the two types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Task,
    Function,
}

impl Kind {
    fn object(self, name: &str, spec: &Value) -> Value {
        json!({"apiVersion": API_VERSION, "kind": self.name(), "metadata": {"name": name}, "spec": spec})
    }

    fn name(self) -> String {
        match self {
            Self::Task => Task::api_resource().kind,
            Self::Function => Function::api_resource().kind,
        }
    }

    fn path(self) -> String {
        let resource = match self {
            Self::Task => Task::api_resource(),
            Self::Function => Function::api_resource(),
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
