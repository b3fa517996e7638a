//! Against the embedded API server, which answers TokenReview and SubjectAccessReview as a real one does.

mod callers;
mod faults;
mod homes;
mod pods;
mod rights;

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use http::{Request, Response};
use k8s_openapi::{
    api::{
        authentication::v1::TokenRequest,
        core::v1::{Namespace, Pod, ServiceAccount},
        rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{Api, ResourceExt as _, api::PostParams, client::Body};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::*;
use crate::{
    crd,
    local::api::{ApiOptions, ApiServer, StaticToken, User},
};

/// Nothing in these tests takes longer; what does is a failure.
const PATIENCE: Duration = Duration::from_secs(30);

/// Short enough to wait for.
const SHORT: Duration = Duration::from_millis(20);

/// Answers are kept as good as for ever, so that what is asked again was not kept.
fn config() -> AccessConfig {
    AccessConfig {
        token_ttl: Duration::from_secs(3600),
        denied_ttl: Duration::from_secs(3600),
        ..AccessConfig::default()
    }
}

/// What becomes of calls to the API server.
#[derive(Clone, Copy, Debug)]
enum Line {
    Clear,
    /// They wait until this changes.
    Held,
    /// They fail with this status.
    Down(u16),
}

/// An API server with users ann (group dev) and bob, and what was asked of it.
struct World {
    server: ApiServer,
    /// May do anything.
    client: Client,
    line: watch::Sender<Line>,
    calls: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl World {
    async fn new() -> Self {
        let token = |user: User, secret: &str| StaticToken {
            user,
            secret: secret.into(),
        };
        let tokens = vec![
            token(User::new("ann", ["dev"]), "ann-token"),
            token(User::new("bob", [""; 0]), "bob-token"),
        ];
        let options = ApiOptions {
            tokens,
            ..ApiOptions::default()
        };
        let server = ApiServer::start(options).await.unwrap();
        let world = Self {
            client: server.client(),
            server,
            line: watch::Sender::new(Line::Clear),
            calls: Arc::default(),
        };
        world.let_the_facade_ask().await;
        world
    }

    /// The rights that the operators' page names, and no others.
    async fn let_the_facade_ask(&self) {
        let rule = |group: &str, resource: &str, verb: &str| json!({"apiGroups": [group], "resources": [resource], "verbs": [verb]});
        let rules = [
            rule("authentication.k8s.io", "tokenreviews", "create"),
            rule("authorization.k8s.io", "subjectaccessreviews", "create"),
            rule("", "pods", "get"),
            rule("", "namespaces", "list"),
        ];
        let role = json!({"metadata": {"name": "facade"}, "rules": rules});
        make::<ClusterRole>(Api::all(self.client.clone()), role).await;
        let binding = binding("facade", "ClusterRole", json!({"kind": "User", "name": "facade"}));
        make::<ClusterRoleBinding>(Api::all(self.client.clone()), binding).await;
    }

    /// The facade's keeper of the door, on the line that a test may cut.
    fn access(&self, config: AccessConfig) -> Access {
        let client = self.server.client_for(User::new("facade", [""; 0]));
        let (line, calls) = (self.line.subscribe(), self.calls.clone());
        let service = tower::service_fn(move |request: Request<Body>| {
            let resource = request
                .uri()
                .path()
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .to_owned();
            *lock(&calls).entry(resource).or_default() += 1;
            let (client, mut line) = (client.clone(), line.clone());
            async move {
                let open = line.wait_for(|line| !matches!(line, Line::Held)).await;
                let now = open.map(|line| *line).unwrap_or(Line::Clear);
                match now {
                    Line::Down(code) => Ok(refusal(code)),
                    Line::Held | Line::Clear => client.send(request).await,
                }
            }
        });
        Access::new(Client::new(service, "default"), config)
    }

    fn set(&self, line: Line) {
        self.line.send_replace(line);
    }

    /// How many calls there were whose paths end so.
    fn calls(&self, resource: &str) -> usize {
        lock(&self.calls).get(resource).copied().unwrap_or_default()
    }

    /// Lets `subject` do `verbs` on `resources` in namespace default.
    async fn grant(&self, name: &str, subject: Value, resources: &[&str], verbs: &[&str]) {
        let rules = json!([{"apiGroups": ["errand.dev"], "resources": resources, "verbs": verbs}]);
        let role = json!({"metadata": {"name": name}, "rules": rules});
        make::<Role>(Api::namespaced(self.client.clone(), "default"), role).await;
        let binding = binding(name, "Role", subject);
        make::<RoleBinding>(Api::namespaced(self.client.clone(), "default"), binding).await;
    }

    async fn revoke(&self, name: &str) {
        let api: Api<RoleBinding> = Api::namespaced(self.client.clone(), "default");
        api.delete(name, &kube::api::DeleteParams::default())
            .await
            .unwrap();
    }

    async fn namespace(&self, name: &str, labels: Value) {
        make::<Namespace>(
            Api::all(self.client.clone()),
            json!({"metadata": {"name": name, "labels": labels}}),
        )
        .await;
    }

    async fn account(&self, name: &str) -> ServiceAccount {
        make(
            Api::namespaced(self.client.clone(), "default"),
            json!({"metadata": {"name": name}}),
        )
        .await
    }

    async fn task(&self, name: &str) -> Task {
        let api: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        for (_, definition) in crd::definitions() {
            match api.create(&PostParams::default(), &definition).await {
                Err(kube::Error::Api(status)) if status.is_already_exists() => {}
                made => drop(made.unwrap()),
            }
        }
        let task = json!({"apiVersion": crd::API_VERSION, "kind": "Task", "metadata": {"name": name},
            "spec": {"function": {"container": {"image": "busybox", "command": ["true"]}}}});
        make(Api::namespaced(self.client.clone(), "default"), task).await
    }

    /// A pod with account robot, owned by a Task.
    async fn pod(&self, name: &str, owner: &Task) -> Pod {
        let owner = json!({"apiVersion": crd::API_VERSION, "kind": "Task", "name": owner.name_any(), "uid": owner.uid(), "controller": true});
        let pod = json!({"metadata": {"name": name, "ownerReferences": [owner], "labels": {"errand.dev/attempt": "1"}},
            "spec": {"serviceAccountName": "robot", "containers": [{"name": "main", "image": "busybox"}]}});
        make(Api::namespaced(self.client.clone(), "default"), pod).await
    }

    /// A token of account robot, bound to a pod where one is given.
    async fn token(&self, audiences: &[&str], pod: Option<&Pod>) -> String {
        let mut spec = json!({"audiences": audiences, "expirationSeconds": 3600});
        if let Some(pod) = pod {
            spec["boundObjectRef"] =
                json!({"kind": "Pod", "apiVersion": "v1", "name": pod.name_any(), "uid": pod.uid()});
        }
        let request: TokenRequest = read(json!({"metadata": {}, "spec": spec}));
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), "default");
        let issued = api
            .create_token_request("robot", &PostParams::default(), &request)
            .await;
        issued.unwrap().status.unwrap().token
    }
}

fn lock(calls: &Mutex<BTreeMap<String, usize>>) -> std::sync::MutexGuard<'_, BTreeMap<String, usize>> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}

fn binding(name: &str, kind: &str, mut subject: Value) -> Value {
    if subject["kind"] != "ServiceAccount" {
        subject["apiGroup"] = "rbac.authorization.k8s.io".into();
    }
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name});
    json!({"metadata": {"name": name}, "roleRef": role, "subjects": [subject]})
}

async fn make<K>(api: Api<K>, object: Value) -> K
where
    K: kube::Resource + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    api.create(&PostParams::default(), &read(object)).await.unwrap()
}

fn read<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn refusal(code: u16) -> Response<Body> {
    let status = json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": "Test", "message": "on purpose"});
    let response = Response::builder()
        .status(code)
        .header("content-type", "application/json");
    response
        .body(Body::from(status.to_string().into_bytes()))
        .unwrap()
}

/// Waits until a condition holds.
async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(
        tokio::time::timeout(PATIENCE, waiting).await.is_ok(),
        "never: {what}"
    );
}

fn action(verb: Verb, resource: Resource) -> Action<'static> {
    Action {
        verb,
        resource,
        namespace: "default",
        name: None,
    }
}

const CREATE: Action<'static> = Action {
    verb: Verb::Create,
    resource: Resource::Tasks,
    namespace: "default",
    name: None,
};

/// A name for each outcome, to compare by.
fn told<T>(outcome: Result<T, AccessError>) -> &'static str {
    match outcome {
        Ok(_) => "ok",
        Err(AccessError::NoToken) => "no token",
        Err(AccessError::InvalidToken) => "invalid token",
        Err(AccessError::Forbidden(_)) => "forbidden",
        Err(AccessError::PodOnly) => "pod only",
        Err(AccessError::NoNamespace(_)) => "no namespace",
        Err(AccessError::Unavailable { .. }) => "unavailable",
    }
}
