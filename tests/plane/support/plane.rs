//! A whole plane in the process of the test, with its facade.

use std::{net::Ipv4Addr, path::Path, sync::Arc, time::Duration};

use errand::{
    cli::plane::{DiegoOptions, Plane, PlaneOptions},
    crd::{self, PodRef, Task},
    facade::dialects,
};
use k8s_openapi::api::{authentication::v1::TokenRequest, core::v1::ServiceAccount, rbac::v1::RoleBinding};
use kube::{
    Api, Client,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{command::ERRAND, http::Http};

/// How long the parts may take to end.
const STOP: Duration = Duration::from_secs(30);

/// The token of a user: the name, as far as a token can hold it.
pub fn token(user: &str) -> String {
    user.replace('#', "-")
}

/// The plane. Users are `admin` and whoever a test names.
pub struct Doors {
    plane: Option<Plane>,
    _folder: TempDir,
    pub client: Client,
    /// The facade, as nobody.
    pub http: Http,
    /// Diego's door, at which everybody is `admin`.
    pub diego: Http,
}

impl Doors {
    /// A plane on the process runtime, with these users beside `admin`.
    pub async fn open(users: &[&str]) -> Self {
        Self::with_settings(users, dialects::Settings::default()).await
    }

    /// The same, with what its doors are told.
    pub async fn with_settings(users: &[&str], settings: dialects::Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = PlaneOptions::new(folder.path().join("kubeconfig"));
        let users = ["admin"].iter().chain(users);
        options.tokens = users
            .map(|user| format!("{user}={}", token(user)).parse().unwrap())
            .collect();
        options.dialects = settings;
        options.supervisor = Some(Path::new(ERRAND).to_owned());
        options.diego = Some(DiegoOptions {
            addr: (Ipv4Addr::LOCALHOST, 0).into(),
            identity: None,
        });
        let plane = Plane::start(options).await.unwrap();
        Self {
            client: plane.client.clone(),
            http: Http::to(&plane.facade_url),
            diego: Http::to(plane.diego_url.as_ref().unwrap()),
            plane: Some(plane),
            _folder: folder,
        }
    }

    /// Where the facade is.
    pub fn url(&self) -> String {
        self.plane.as_ref().unwrap().facade_url.clone()
    }

    /// The facade, as this user.
    pub fn as_user(&self, user: &str) -> Http {
        self.http.bearer(&token(user))
    }

    /// Creates any object from its manifest.
    pub async fn create(&self, namespace: Option<&str>, manifest: Value) -> DynamicObject {
        let object: DynamicObject = serde_json::from_value(manifest).unwrap();
        let types = object.types.clone().unwrap();
        let kind = ApiResource::from_gvk(&(&types).try_into().unwrap());
        let api: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &kind),
            None => Api::all_with(self.client.clone(), &kind),
        };
        api.create(&PostParams::default(), &object).await.unwrap()
    }

    /// Creates a Function in namespace default.
    pub async fn function(&self, name: &str, spec: Value) {
        self.create(
            Some("default"),
            json!({"apiVersion": crd::API_VERSION, "kind": "Function", "metadata": {"name": name}, "spec": spec}),
        )
        .await;
    }

    /// Lets a user do anything with Tasks and Functions in namespace default.
    pub async fn grant(&self, user: &str) {
        self.allow("default", user, &[(&["tasks", "functions"], &["*"])])
            .await;
    }

    /// Gives a user rights on resources of Errand in a namespace: resources and verbs. The binding has the user's
    /// name, without what names cannot hold.
    pub async fn allow(&self, namespace: &str, user: &str, rights: &[(&[&str], &[&str])]) {
        let rbac = "rbac.authorization.k8s.io";
        let name: String = user
            .to_lowercase()
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect();
        let rules = rights.iter().map(
            |(resources, verbs)| json!({"apiGroups": [crd::GROUP], "resources": resources, "verbs": verbs}),
        );
        self.create(
            Some(namespace),
            json!({"apiVersion": format!("{rbac}/v1"), "kind": "Role", "metadata": {"name": name},
                "rules": rules.collect::<Vec<_>>()}),
        )
        .await;
        self.create(
            Some(namespace),
            json!({"apiVersion": format!("{rbac}/v1"), "kind": "RoleBinding", "metadata": {"name": name},
                "roleRef": {"apiGroup": rbac, "kind": "Role", "name": name},
                "subjects": [{"apiGroup": rbac, "kind": "User", "name": user}]}),
        )
        .await;
    }

    /// A token of audience `errand` for a pod of namespace default.
    pub async fn pod_token(&self, pod: &PodRef) -> String {
        let request = json!({"metadata": {}, "spec": {"audiences": ["errand"], "boundObjectRef":
            {"apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid}}});
        let request: TokenRequest = serde_json::from_value(request).unwrap();
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), "default");
        let params = PostParams::default();
        let made = accounts
            .create_token_request("default", &params, &request)
            .await
            .unwrap();
        made.status.unwrap().token
    }

    /// Takes away what [`Self::allow`] gave in namespace default.
    pub async fn delete_binding(&self, name: &str) {
        let api: Api<RoleBinding> = Api::namespaced(self.client.clone(), "default");
        api.delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Another facade before the same API server, which ends with what is returned.
    pub async fn replica(&self, config: errand::facade::Config) -> Replica {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let http = Http::to(&format!("http://{}", listener.local_addr().unwrap()));
        let (stop, (ready, is_ready)) = (CancellationToken::new(), oneshot::channel());
        let ready = || ready.send(()).unwrap();
        let metrics = Arc::new(errand::facade::metrics::Metrics::new());
        let run = errand::facade::run(
            self.client.clone(),
            config,
            listener,
            metrics,
            ready,
            stop.clone(),
        );
        tokio::spawn(run);
        is_ready.await.unwrap();
        Replica {
            http,
            stop: stop.drop_guard(),
        }
    }

    /// A Task of namespace default.
    pub async fn task(&self, name: &str) -> Task {
        self.tasks().get(name).await.unwrap()
    }

    /// Merges into the status of a Task of namespace default.
    pub async fn patch_status(&self, name: &str, status: Value) {
        let patch = Patch::Merge(json!({"status": status}));
        self.tasks()
            .patch_status(name, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    fn tasks(&self) -> Api<Task> {
        Api::namespaced(self.client.clone(), "default")
    }
}

/// Another facade.
pub struct Replica {
    /// As nobody.
    pub http: Http,
    /// Stops it.
    pub stop: DropGuard,
}

/// Whatever the test left running ends with its plane, also after a failure.
impl Drop for Doors {
    fn drop(&mut self) {
        let Some(plane) = self.plane.take() else { return };
        let stopped = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(plane.stop_within(STOP))
        });
        if !std::thread::panicking() {
            stopped.unwrap();
        }
    }
}
