//! One-pod units of work: bare pods, Jobs, Tasks, and Tasks by hand, all made and watched in the same way.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ApiResource, DynamicObject, PostParams},
};
use kube_runtime::{WatchStreamExt as _, watcher};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    by_hand::{self, Hands, LetGo},
    space::Space,
};

/// Creates that are under way at once.
const CREATORS: usize = 32;
/// No batch is meant to take so long.
const PATIENCE: Duration = Duration::from_secs(900);

/// What a unit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Pod,
    Job,
    Task,
    /// A Task and its pod with a Task's writes, made by the client itself ([`super::by_hand`]): no controller that keeps
    /// a pod until its evidence is stored can be faster than this.
    ByHand(LetGo),
}

/// How fast units are made.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// As fast as the API server takes them.
    Flood,
    /// One every so often.
    Every(Duration),
}

/// When units were made, and when their end was seen.
pub struct Batch {
    pub made: HashMap<String, Instant>,
    pub ended: HashMap<String, Instant>,
    pub took: Duration,
}

impl Kind {
    pub fn word(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Job => "job",
            Self::Task => "task",
            Self::ByHand(LetGo::AtOnce) => "by-hand",
            Self::ByHand(LetGo::Last) => "by-hand-last",
        }
    }

    pub fn resource(self) -> ApiResource {
        let (group, version, kind, plural) = match self {
            Self::Pod => ("", "v1", "Pod", "pods"),
            Self::Job => ("batch", "v1", "Job", "jobs"),
            Self::Task | Self::ByHand(_) => ("errand.dev", "v1alpha1", "Task", "tasks"),
        };
        let api_version = match group {
            "" => version.to_owned(),
            _ => format!("{group}/{version}"),
        };
        ApiResource {
            group: group.into(),
            version: version.into(),
            api_version,
            kind: kind.into(),
            plural: plural.into(),
        }
    }

    fn spec(self) -> Value {
        let pod = pod_spec();
        match self {
            Self::Pod => pod,
            Self::Job => json!({"backoffLimit": 0, "template": {"spec": pod}}),
            Self::Task => json!({"functionRef": {"name": super::space::FUNCTION}}),
            // Which the controller leaves alone.
            Self::ByHand(_) => json!({"external": {"processor": "bench"}}),
        }
    }

    /// Whether it succeeded, once it has ended.
    fn end(self, object: &DynamicObject) -> Option<bool> {
        let status = object.data.get("status")?;
        match self {
            Self::Pod | Self::Task | Self::ByHand(_) => match status.get("phase")?.as_str()? {
                "Succeeded" => Some(true),
                "Failed" | "Cancelled" => Some(false),
                _ => None,
            },
            Self::Job => {
                let conditions = status.get("conditions")?.as_array()?;
                let holds = |kind: &str| {
                    let of_kind =
                        |condition: &Value| condition["type"] == kind && condition["status"] == "True";
                    conditions.iter().any(of_kind)
                };
                // Newer controllers say before that their criteria are met.
                (holds("Complete") || holds("Failed")).then(|| holds("Complete"))
            }
        }
    }

    /// The unit that a pod of this name belongs to.
    pub fn owner(self, pod: &str) -> &str {
        let parts = match self {
            Self::Pod | Self::ByHand(_) => 0,
            Self::Job => 1,
            // Mark of the uid, and attempt.
            Self::Task => 2,
        };
        (0..parts).fold(pod, |name, _| {
            name.rsplit_once('-').map_or(name, |(name, _)| name)
        })
    }
}

/// The pod of every unit.
pub fn pod_spec() -> Value {
    json!({
        "restartPolicy": "Never",
        "containers": [{"name": "task", "image": "hollow:1", "command": ["true"]}],
    })
}

/// Makes units and waits until all have ended. Each must succeed.
pub async fn run(client: &Client, space: &Space, kind: Kind, count: usize, pace: Pace) -> Batch {
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &space.name, &kind.resource());
    let ended = Arc::new(Mutex::new(HashMap::new()));
    let (counter, mut counted) = watch::channel(0);
    let watching = tokio::spawn(watch_ends(api.clone(), kind, ended.clone(), counter));
    let hands = match kind {
        Kind::ByHand(let_go) => Some(Hands::start(client, &space.name, let_go)),
        Kind::Pod | Kind::Job | Kind::Task => None,
    };
    let began = Instant::now();
    let made = make(&api, kind, count, pace).await;
    let all = tokio::time::timeout(PATIENCE, counted.wait_for(|seen| *seen >= count)).await;
    let took = began.elapsed();
    watching.abort();
    if let Some(hands) = hands {
        hands.finish(count).await;
    }
    let ended = ended.lock().unwrap().clone();
    assert!(
        matches!(all, Ok(Ok(_))),
        "only {} of {count} {kind:?}s ended",
        ended.len()
    );
    Batch { made, ended, took }
}

async fn make(api: &Api<DynamicObject>, kind: Kind, count: usize, pace: Pace) -> HashMap<String, Instant> {
    let resource = kind.resource();
    let one = |number: usize| {
        let name = format!("{}-{number:05}", kind.word());
        let object = DynamicObject::new(&name, &resource).data(json!({"spec": kind.spec()}));
        async move {
            let made = api.create(&PostParams::default(), &object).await?;
            if matches!(kind, Kind::ByHand(_)) {
                by_hand::make_pod(api.clone().into_client(), &made).await?;
            }
            Ok::<_, kube::Error>((name, Instant::now()))
        }
    };
    match pace {
        Pace::Flood => {
            let made = stream::iter(0..count).map(one).buffer_unordered(CREATORS);
            made.try_collect().await.unwrap()
        }
        Pace::Every(pause) => {
            let mut turns = tokio::time::interval(pause);
            let mut made = HashMap::new();
            for number in 0..count {
                turns.tick().await;
                made.extend([one(number).await.unwrap()]);
            }
            made
        }
    }
}

async fn watch_ends(
    api: Api<DynamicObject>,
    kind: Kind,
    ended: Arc<Mutex<HashMap<String, Instant>>>,
    counter: watch::Sender<usize>,
) {
    let objects = watcher(api, watcher::Config::default())
        .default_backoff()
        .applied_objects();
    let mut objects = std::pin::pin!(objects);
    while let Some(object) = objects.next().await {
        let Ok(object) = object else { continue };
        let Some(success) = kind.end(&object) else {
            continue;
        };
        assert!(
            success,
            "{} did not succeed: {:?}",
            object.name_any(),
            object.data.get("status")
        );
        let mut ended = ended.lock().unwrap();
        ended.entry(object.name_any()).or_insert_with(Instant::now);
        let _ = counter.send_replace(ended.len());
    }
}
