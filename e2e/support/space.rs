//! A namespace of its own for a test.

use std::{
    fmt::Write as _,
    future::Future,
    panic::{AssertUnwindSafe, resume_unwind},
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

use errand::crd::{self, Phase, Task, TaskStatus};
use futures::FutureExt as _;
use k8s_openapi::api::core::v1::{Event, Namespace, Pod};
use kube::{
    Api, Client, Config, ResourceExt as _,
    api::{DeleteParams, DynamicObject, ListParams, LogParams, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};

use super::{
    PATIENCE,
    command::{Ran, kubectl},
    tools,
};

/// The namespace, and a client that may do anything.
#[derive(Clone)]
pub struct Space {
    pub client: Client,
    pub name: String,
}

/// Runs a test in a namespace of its own, which goes afterwards. A failure shows what was in it.
pub async fn in_space<F: Future<Output = ()>>(test: &str, body: impl FnOnce(Space) -> F) {
    let space = Space::open(test).await;
    let outcome = AssertUnwindSafe(body(space.clone())).catch_unwind().await;
    if let Err(panic) = outcome {
        eprintln!("{}", space.describe().await);
        space.close().await;
        resume_unwind(panic);
    }
    space.close().await;
}

/// The kubeconfig of the cluster.
pub fn kubeconfig() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        std::env::var_os("KUBECONFIG")
            .expect("KUBECONFIG names the cluster: run `make e2e`, or `make cluster-up` and what it prints")
            .into()
    })
}

/// A client of the cluster's administrator.
pub async fn administrator() -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig()).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .unwrap();
    Client::try_from(config).unwrap()
}

impl Space {
    async fn open(test: &str) -> Self {
        let client = administrator().await;
        let object =
            json!({"metadata": {"generateName": format!("{test}-"), "labels": {"errand.dev/e2e": test}}});
        let namespace: Namespace = serde_json::from_value(object).unwrap();
        let made = Api::all(client.clone())
            .create(&PostParams::default(), &namespace)
            .await
            .unwrap();
        let name = made.name_any();
        Self { client, name }
    }

    /// Does not wait: a namespace takes a while to go, and nothing of it is in another's way.
    async fn close(&self) {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let _ = api.delete(&self.name, &DeleteParams::default()).await;
    }

    /// Objects of this namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// `kubectl` in this namespace, as administrator.
    pub fn kubectl(&self, args: &[&str]) -> Ran {
        kubectl(kubeconfig(), ["--namespace", &self.name].iter().chain(args))
    }

    /// `kubectl apply` of a manifest.
    pub fn apply(&self, manifest: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("manifest.yaml");
        std::fs::write(&file, manifest).unwrap();
        // Old servers do not know all that the definitions say, and kubectl would check against what they know.
        self.kubectl(&["apply", "--validate=false", "-f", file.to_str().unwrap()])
            .ok()
    }

    async fn create(&self, kind: &str, plural: &str, name: &str, spec: Value) {
        let resource = kube::api::ApiResource {
            group: "errand.dev".into(),
            version: "v1alpha1".into(),
            api_version: crd::API_VERSION.into(),
            kind: kind.into(),
            plural: plural.into(),
        };
        let object =
            json!({"apiVersion": crd::API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec});
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.name, &resource);
        api.create(&PostParams::default(), &object).await.unwrap();
    }

    pub async fn function(&self, name: &str, spec: Value) {
        self.create("Function", "functions", name, spec).await;
    }

    pub async fn task(&self, name: &str, spec: Value) {
        self.create("Task", "tasks", name, spec).await;
    }

    /// A Task that runs a shell script in the image of tools; `more` is merged into its Function.
    pub async fn script(&self, name: &str, script: &str, more: Value) {
        self.task(name, json!({"function": shell(script, more)})).await;
    }

    pub async fn get(&self, name: &str) -> Task {
        self.api::<Task>().get(name).await.unwrap()
    }

    /// Waits until `ask` finds what it looks for in the Task.
    pub async fn until<T>(&self, name: &str, what: &str, ask: impl Fn(&Task) -> Option<T>) -> T {
        self.poll(&format!("{name}: {what}"), || async {
            ask(&self.get(name).await)
        })
        .await
    }

    /// Asks again until there is an answer.
    pub async fn poll<T, F: Future<Output = Option<T>>>(&self, what: &str, ask: impl Fn() -> F) -> T {
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(found) = ask().await {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        found
            .await
            .unwrap_or_else(|_| panic!("{what} did not come true within {PATIENCE:?}"))
    }

    /// The status of a Task once it has ended.
    pub async fn ended(&self, name: &str) -> TaskStatus {
        self.until(name, "it ends", |task| {
            let status = task.status.clone()?;
            status.phase?.is_terminal().then_some(status)
        })
        .await
    }

    /// The status of a Task that must succeed.
    pub async fn succeeded(&self, name: &str) -> TaskStatus {
        let status = self.ended(name).await;
        assert_eq!(status.phase, Some(Phase::Succeeded), "{status:#?}");
        status
    }

    /// The status of a Task that must fail, for this reason.
    pub async fn failed(&self, name: &str, reason: &str) -> TaskStatus {
        let status = self.ended(name).await;
        let seen = (status.phase, status.reason.as_deref());
        assert_eq!(seen, (Some(Phase::Failed), Some(reason)), "{status:#?}");
        status
    }

    pub async fn running(&self, name: &str) {
        self.until(name, "it runs", |task| {
            (task.status.as_ref()?.phase == Some(Phase::Running)).then_some(())
        })
        .await;
    }

    /// Waits until the container of a Task has said something.
    pub async fn says(&self, name: &str, part: &str) {
        let pod = self
            .until(name, "it has a pod", |task| task.status.as_ref()?.pod.clone())
            .await;
        self.poll(&format!("{name} says {part}"), || async {
            let log = self.api::<Pod>().logs(&pod.name, &LogParams::default()).await;
            log.unwrap_or_default().contains(part).then_some(())
        })
        .await;
    }

    pub async fn cancel(&self, name: &str) {
        let patch = Patch::Merge(json!({"spec": {"cancel": true}}));
        self.api::<Task>()
            .patch(name, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    pub async fn pods(&self) -> Vec<Pod> {
        self.api::<Pod>()
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
    }

    pub async fn no_pods(&self) {
        self.poll("no pod is left", || async {
            self.pods().await.is_empty().then_some(())
        })
        .await;
    }

    /// What a failed test leaves to read: Tasks, pods, Events and the operator's last words.
    async fn describe(&self) -> String {
        let mut text = format!("--- namespace {}\n", self.name);
        let tasks: Api<Task> = self.api();
        if let Ok(tasks) = tasks.list(&ListParams::default()).await {
            for task in tasks {
                let _ = writeln!(text, "task {}: {:#?}", task.name_any(), task.status);
            }
        }
        if let Ok(pods) = self.api::<Pod>().list(&ListParams::default()).await {
            for pod in pods {
                let _ = writeln!(text, "pod {}: {:#?}", pod.name_any(), pod.status);
            }
        }
        if let Ok(events) = self.api::<Event>().list(&ListParams::default()).await {
            for event in events {
                let (about, message) = (event.involved_object.name, event.message);
                let _ = writeln!(text, "event {about:?} {:?}: {message:?}", event.reason);
            }
        }
        text.push_str(&super::installation::last_words());
        text
    }
}

/// A Function's spec that runs a shell script in the image of tools; `more` is merged into it.
pub fn shell(script: &str, more: Value) -> Value {
    let mut spec = json!({
        "container": {"image": tools(), "command": ["sh", "-c", script], "imagePullPolicy": "IfNotPresent"},
        "timeout": "2m",
    });
    merge(&mut spec, more);
    spec
}

/// JSON merge patch (RFC 7396) without its nulls.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}
