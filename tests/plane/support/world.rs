//! A plane of its own for a test, in this process: API server, nodes, and an engine that can be stopped and replaced.

use std::{collections::BTreeMap, fmt::Debug, future::Future, path::Path, sync::Arc, time::Duration};

use errand::{
    crd::{self, Function, Phase, Schedule, ScheduleStatus, Task, TaskResult},
    engine::{self, Config, Delivery, Runner, leader::Leadership, metrics::Metrics},
    health::Exposition as _,
};
use k8s_openapi::{
    api::{
        core::v1::{Namespace, Pod},
        events::v1::Event,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, ResourceExt,
    api::{
        ApiResource, DeleteParams, DynamicObject, EvictParams, ListParams, LogParams, Patch, PatchParams,
        PostParams,
    },
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{
    PATIENCE,
    docker::DockerEngine,
    fault::{Faults, with_faults},
};

/// What a test may change before its world starts.
pub struct Setup {
    /// Nodes; one unlabelled node by default.
    pub nodes: Vec<NodeSpec>,
    /// The engine's configuration.
    pub engine: Config,
    /// False: the test starts engines itself.
    pub start_engine: bool,
    /// Faults that the engine's client meets.
    pub fault: Option<Faults>,
    /// The nodes run containers of this engine instead of processes.
    pub docker: Option<Arc<DockerEngine>>,
}

/// A node.
#[derive(Clone)]
pub struct NodeSpec {
    pub name: String,
    pub labels: BTreeMap<String, String>,
}

impl NodeSpec {
    pub fn labelled(name: &str, latency: &str) -> Self {
        Self {
            name: name.to_owned(),
            labels: BTreeMap::from([(crd::LABEL_LATENCY.to_owned(), latency.to_owned())]),
        }
    }
}

/// The plane.
pub struct World {
    /// A client that may do anything.
    pub client: Client,
    /// What its engines count.
    pub metrics: Arc<Metrics>,
    config: Config,
    folder: TempDir,
    engine: Option<Engine>,
    plane: super::ground::Ground,
    docker: Option<Arc<DockerEngine>>,
}

/// A running engine.
pub struct Engine {
    stop: CancellationToken,
    task: JoinHandle<Result<(), engine::Error>>,
}

impl Engine {
    /// Ends it as kill -9 would: nothing more is done.
    pub async fn abort(self) {
        self.task.abort();
        self.stop.cancel();
        drop(self.task.await);
    }

    /// Ends it properly.
    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

/// Whatever the test left running ends with its world, also after a failure.
impl Drop for World {
    fn drop(&mut self) {
        if let Some(engine) = self.engine.take() {
            engine.task.abort();
            engine.stop.cancel();
        }
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(self.plane.stop()));
        if let Some(docker) = self.docker.as_ref().filter(|_| !std::thread::panicking()) {
            assert_eq!(
                docker.containers(self.folder.path()),
                [""; 0],
                "containers are left behind"
            );
        }
    }
}

impl World {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut Setup)) -> Self {
        log_if_asked();
        let folder = tempfile::tempdir().unwrap();
        let mut setup = Setup {
            nodes: vec![NodeSpec {
                name: "node".into(),
                labels: BTreeMap::new(),
            }],
            engine: config(),
            start_engine: true,
            fault: None,
            docker: None,
        };
        change(&mut setup);
        let host = setup.docker.as_ref().map(|docker| docker.host.as_str());
        let plane = super::ground::Ground::start(folder.path(), &setup.nodes, host).await;
        let mut world = Self {
            client: plane.client(),
            metrics: Arc::new(Metrics::new()),
            config: setup.engine,
            folder,
            engine: None,
            plane,
            docker: setup.docker,
        };
        if setup.start_engine {
            let client = match setup.fault {
                Some(faults) => with_faults(world.client.clone(), faults),
                None => world.client.clone(),
            };
            world.engine = Some(world.engine_on(client));
        }
        world
    }

    /// Starts an engine that leads for good.
    pub fn engine_on(&self, client: Client) -> Engine {
        self.engine_under(Leadership::alone(CancellationToken::new()), client)
    }

    /// Starts an engine.
    pub fn engine_under(&self, leadership: Leadership, client: Client) -> Engine {
        let stop = leadership.stop().clone();
        let run = engine::run(
            client,
            self.config.clone(),
            self.metrics.clone(),
            || {},
            leadership,
        );
        Engine {
            task: tokio::spawn(run),
            stop,
        }
    }

    /// A folder that goes away with the world.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub async fn stop_node(&self, name: &str) {
        self.plane.stop_node(name).await;
        let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(self.client.clone());
        nodes.delete(name, &DeleteParams::default()).await.unwrap();
    }

    pub async fn function(&self, name: &str, spec: Value) {
        let object = json!({"apiVersion": crd::API_VERSION, "kind": "Function", "metadata": {"name": name}, "spec": spec});
        let function: Function = serde_json::from_value(object).unwrap();
        self.functions()
            .create(&PostParams::default(), &function)
            .await
            .unwrap();
    }

    pub async fn patch_function(&self, name: &str, patch: Value) {
        self.functions()
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    }

    pub async fn task(&self, name: &str, spec: Value) {
        self.task_in("default", name, spec).await;
    }

    pub async fn task_in(&self, namespace: &str, name: &str, spec: Value) {
        self.create(namespace, name, spec).await;
    }

    pub async fn schedule(&self, name: &str, spec: Value) {
        let object = json!({"apiVersion": crd::API_VERSION, "kind": "Schedule", "metadata": {"name": name}, "spec": spec});
        let schedule: Schedule = serde_json::from_value(object).unwrap();
        let params = PostParams::default();
        self.schedules().create(&params, &schedule).await.unwrap();
    }

    /// Waits until `ask` finds what it looks for in the status of a Schedule.
    pub async fn schedule_says<T>(
        &self,
        name: &str,
        what: &str,
        ask: impl Fn(&ScheduleStatus) -> Option<T>,
    ) -> T {
        self.poll(&format!("{name}: {what}"), || async {
            let schedule = self.schedules().get(name).await.unwrap();
            ask(&schedule.status?)
        })
        .await
    }

    pub async fn change_schedule(&self, name: &str, spec: Value) -> Schedule {
        let patch = Patch::Merge(json!({"spec": spec}));
        let params = PatchParams::default();
        self.schedules().patch(name, &params, &patch).await.unwrap()
    }

    /// Creates a Task as it is.
    pub async fn whole_task(&self, task: &Task) {
        let params = PostParams::default();
        self.tasks("default").create(&params, task).await.unwrap();
    }

    /// The Tasks that a Schedule made.
    pub async fn made_by(&self, schedule: &str) -> Vec<Task> {
        let labels = format!("{}={schedule}", crd::LABEL_SCHEDULE);
        let params = ListParams::default().labels(&labels);
        self.tasks("default").list(&params).await.unwrap().items
    }

    /// Name of the first Task that a Schedule made, once it is there.
    pub async fn first_made_by(&self, schedule: &str) -> String {
        self.poll(&format!("{schedule} makes a Task"), || async {
            self.made_by(schedule).await.first().map(|task| task.name_any())
        })
        .await
    }

    /// Waits until no Task that a Schedule made is left.
    pub async fn none_made_by(&self, schedule: &str) {
        self.poll(&format!("no Task of {schedule} is left"), || async {
            self.made_by(schedule).await.is_empty().then_some(())
        })
        .await;
    }

    pub async fn delete_schedule(&self, name: &str) {
        let params = DeleteParams::default();
        self.schedules().delete(name, &params).await.unwrap();
    }

    fn schedules(&self) -> Api<Schedule> {
        Api::namespaced(self.client.clone(), "default")
    }

    /// Changes the definition of Tasks.
    pub async fn change_definition(&self, patch: Value) {
        let definitions: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        let patch: Patch<Value> = Patch::Json(serde_json::from_value(patch).unwrap());
        definitions
            .patch("tasks.errand.dev", &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    /// A Task that Rust cannot read as one.
    pub async fn task_raw(&self, name: &str, spec: Value) {
        self.create("default", name, spec).await;
    }

    async fn create(&self, namespace: &str, name: &str, spec: Value) {
        let object =
            json!({"apiVersion": crd::API_VERSION, "kind": "Task", "metadata": {"name": name}, "spec": spec});
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        self.dynamic(namespace)
            .create(&PostParams::default(), &object)
            .await
            .unwrap();
    }

    fn dynamic(&self, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &ApiResource::erase::<Task>(&()))
    }

    fn functions(&self) -> Api<Function> {
        Api::namespaced(self.client.clone(), "default")
    }

    fn tasks(&self, namespace: &str) -> Api<Task> {
        Api::namespaced(self.client.clone(), namespace)
    }

    fn all_pods(&self) -> Api<Pod> {
        Api::all(self.client.clone())
    }

    pub async fn get(&self, name: &str) -> Task {
        self.tasks("default").get(name).await.unwrap()
    }

    /// Waits until `ask` finds what it looks for in the Task.
    pub async fn until<T>(&self, name: &str, what: &str, ask: impl Fn(&Task) -> Option<T>) -> T {
        self.until_in("default", name, what, ask).await
    }

    pub async fn until_in<T>(
        &self,
        namespace: &str,
        name: &str,
        what: &str,
        ask: impl Fn(&Task) -> Option<T>,
    ) -> T {
        let api = self.tasks(namespace);
        self.poll(&format!("{name}: {what}"), || async {
            let task = api.get(name).await.unwrap();
            ask(&task)
        })
        .await
    }

    pub async fn raw_until<T>(&self, name: &str, what: &str, ask: impl Fn(&Value) -> Option<T>) -> T {
        let api = self.dynamic("default");
        self.poll(&format!("{name}: {what}"), || async {
            ask(&serde_json::to_value(api.get(name).await.unwrap()).unwrap())
        })
        .await
    }

    pub async fn poll<T, F: Future<Output = Option<T>>>(&self, what: &str, ask: impl Fn() -> F) -> T {
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(found) = ask().await {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        match found.await {
            Ok(found) => found,
            Err(_) => panic!(
                "{what} did not come true within {PATIENCE:?}\n{}",
                self.describe().await
            ),
        }
    }

    async fn describe(&self) -> String {
        let show = |name: String, value: &dyn Debug| format!("{name}: {value:#?}\n");
        let mut text = String::new();
        for task in self
            .dynamic("default")
            .list(&ListParams::default())
            .await
            .unwrap()
        {
            text.push_str(&show(task.name_any(), &task.data["status"].to_string()));
        }
        for pod in self.all_pods().list(&ListParams::default()).await.unwrap() {
            text.push_str(&show(
                pod.name_any(),
                &(
                    &pod.metadata.deletion_timestamp,
                    &pod.metadata.finalizers,
                    &pod.status,
                ),
            ));
        }
        text
    }

    pub async fn ended(&self, name: &str) -> Task {
        self.until(name, "it ends", |task| {
            task.status.as_ref()?.phase?.is_terminal().then(|| task.clone())
        })
        .await
    }

    /// The result of a Task that must succeed.
    pub async fn succeeded(&self, name: &str) -> TaskResult {
        let status = self.ended(name).await.status.unwrap();
        assert_eq!(status.phase, Some(Phase::Succeeded), "{status:#?}");
        status.result.unwrap()
    }

    pub async fn running(&self, name: &str) {
        self.until(name, "it runs", |task| {
            (task.status.as_ref()?.phase == Some(Phase::Running)).then_some(())
        })
        .await;
    }

    pub async fn cancel(&self, name: &str) {
        self.patch_task(name, json!({"spec": {"cancel": true}})).await;
    }

    pub async fn patch_task(&self, name: &str, patch: Value) {
        let patch = Patch::Merge(patch);
        self.tasks("default")
            .patch(name, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    pub async fn delete(&self, name: &str) {
        self.tasks("default")
            .delete(name, &DeleteParams::default())
            .await
            .unwrap();
    }

    pub async fn gone(&self, name: &str) {
        let api = self.tasks("default");
        self.poll(&format!("{name} goes"), || async {
            api.get_opt(name).await.unwrap().is_none().then_some(())
        })
        .await;
    }

    pub async fn pods(&self) -> Vec<Pod> {
        self.all_pods().list(&ListParams::default()).await.unwrap().items
    }

    pub async fn no_pods(&self) {
        self.poll("no pod is left", || async {
            self.pods().await.is_empty().then_some(())
        })
        .await;
    }

    /// The Task has ended and its pods are gone, whoever looks after it.
    pub async fn all_let_go(&self, name: &str) {
        self.ended(name).await;
        self.no_pods().await;
    }

    pub async fn delete_pods(&self) {
        for pod in self.pods().await {
            let api: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace().unwrap());
            api.delete(&pod.name_any(), &DeleteParams::default())
                .await
                .unwrap();
        }
    }

    /// Asks the API to evict all pods, as `kubectl drain` does.
    pub async fn evict_pods(&self) {
        for pod in self.pods().await {
            let api: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace().unwrap());
            let evicted = api.evict(&pod.name_any(), &EvictParams::default()).await;
            evicted.unwrap();
        }
    }

    /// Writes into the status of all pods, as another kubelet would.
    pub async fn patch_pods_status(&self, status: Value) {
        for pod in self.pods().await {
            let api: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace().unwrap());
            let patch = Patch::Merge(json!({"status": status}));
            let patched = api
                .patch_status(&pod.name_any(), &PatchParams::default(), &patch)
                .await;
            patched.unwrap();
        }
    }

    /// Waits until the pod of an attempt is there.
    pub async fn pod_of_attempt(&self, attempt: u32) {
        let attempt = attempt.to_string();
        self.poll(&format!("the pod of attempt {attempt}"), || async {
            let pods = self.pods().await;
            let is = |pod: &Pod| pod.labels().get(crd::LABEL_ATTEMPT) == Some(&attempt);
            pods.iter().any(is).then_some(())
        })
        .await;
    }

    /// Waits until the container of a Task has said something.
    pub async fn log_of(&self, name: &str, part: &str) {
        let pod = self
            .until(name, "it has a pod", |task| task.status.as_ref()?.pod.clone())
            .await;
        let api: Api<Pod> = Api::namespaced(self.client.clone(), "default");
        self.poll(&format!("{name} says {part}"), || async {
            let log = api
                .logs(&pod.name, &LogParams::default())
                .await
                .unwrap_or_default();
            log.contains(part).then_some(())
        })
        .await;
    }

    /// Waits for an Event about a Task.
    pub async fn event(&self, name: &str, reason: &str) {
        let api: Api<Event> = Api::namespaced(self.client.clone(), "default");
        self.poll(&format!("event {reason} about {name}"), || async {
            let events = api.list(&ListParams::default()).await.unwrap();
            let about = |event: &Event| {
                event
                    .regarding
                    .as_ref()
                    .is_some_and(|about| about.name.as_deref() == Some(name))
                    && event.reason.as_deref() == Some(reason)
            };
            events.iter().any(about).then_some(())
        })
        .await;
    }

    /// Waits until each of these lines is in the metrics.
    pub async fn metrics_show(&self, lines: &[&str]) {
        self.poll(&format!("metrics show {lines:?}"), || async {
            let text = self.metrics.encode().unwrap();
            let shown = |line: &&str| text.lines().any(|other| other == *line);
            lines.iter().all(shown).then_some(())
        })
        .await;
    }

    /// How many looks came to this end.
    pub fn looks(&self, outcome: &str) -> usize {
        let text = self.metrics.encode().unwrap();
        let of_outcome = |line: &&str| {
            line.starts_with("errand_reconciles_total") && line.contains(&format!("outcome=\"{outcome}\""))
        };
        let counts = text.lines().filter(of_outcome);
        counts
            .map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap())
            .sum()
    }

    pub async fn namespace(&self, name: &str) {
        let namespace: Namespace = serde_json::from_value(
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
        )
        .unwrap();
        Api::all(self.client.clone())
            .create(&PostParams::default(), &namespace)
            .await
            .unwrap();
    }

    /// Deletes a namespace and waits until it is gone.
    pub async fn delete_namespace(&self, name: &str) {
        let api: Api<Namespace> = Api::all(self.client.clone());
        api.delete(name, &DeleteParams::default()).await.unwrap();
        self.poll(&format!("namespace {name} goes"), || async {
            api.get_opt(name).await.unwrap().is_none().then_some(())
        })
        .await;
    }
}

/// The engine's configuration for tests: short waits, the binary under test as supervisor.
fn config() -> Config {
    let mut callbacks = engine::callback::Settings::default();
    callbacks.networks.loopback = true;
    Config {
        callbacks,
        runner: Runner {
            image: super::ground::RUNNER_IMAGE.to_owned(),
            pull_policy: None,
            delivery: Some(Delivery::ImageVolume),
        },
        bad_start_grace: Duration::from_millis(500),
        function_grace: Duration::from_millis(1000),
        running_after: Duration::ZERO,
        stop_margin: Duration::from_secs(2),
        follow_after: Duration::from_millis(100),
        count_every: Duration::from_millis(50),
        ..Config::default()
    }
}

/// `ERRAND_TEST_LOG=debug` shows what the parts of a world say.
fn log_if_asked() {
    if let Ok(filter) = std::env::var("ERRAND_TEST_LOG") {
        let log = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_test_writer();
        let _ = log.try_init();
    }
}
