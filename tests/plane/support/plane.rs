//! A whole plane in the process of the test, with its facade.

use std::{path::Path, time::Duration};

use errand::{
    cli::plane::{Plane, PlaneOptions},
    crd::{self, Task},
    facade::dialects,
};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{command::ERRAND, http::Http};

/// How long the parts may take to end.
const STOP: Duration = Duration::from_secs(30);

/// The plane. Users are `admin` and whoever a test names; their tokens are their names.
pub struct Doors {
    plane: Option<Plane>,
    _folder: TempDir,
    pub client: Client,
    /// The facade, as nobody.
    pub http: Http,
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
            .map(|user| format!("{user}={user}").parse().unwrap())
            .collect();
        options.dialects = settings;
        options.supervisor = Some(Path::new(ERRAND).to_owned());
        let plane = Plane::start(options).await.unwrap();
        Self {
            client: plane.client.clone(),
            http: Http::to(&plane.facade_url),
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
        self.http.bearer(user)
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
        let rbac = "rbac.authorization.k8s.io";
        self.create(
            Some("default"),
            json!({"apiVersion": format!("{rbac}/v1"), "kind": "Role", "metadata": {"name": user},
                "rules": [{"apiGroups": [crd::GROUP], "resources": ["tasks", "functions"], "verbs": ["*"]}]}),
        )
        .await;
        self.create(
            Some("default"),
            json!({"apiVersion": format!("{rbac}/v1"), "kind": "RoleBinding", "metadata": {"name": user},
                "roleRef": {"apiGroup": rbac, "kind": "Role", "name": user},
                "subjects": [{"apiGroup": rbac, "kind": "User", "name": user}]}),
        )
        .await;
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
