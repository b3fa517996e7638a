//! Events (core/v1) off the hot path: best effort, bounded, dropped under load.
//!
//! Whoever emits never waits: a full queue drops the event and counts it. One task writes them in order.
//! The same event on the same object becomes a count, as client-go's event correlator does.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use tokio::sync::mpsc;

/// Events waiting to be written; more are dropped.
const QUEUE: usize = 1024;
/// Different events remembered for counting; the table is emptied when it is full.
const REMEMBERED: usize = 4096;
/// The API refuses longer notes.
const MESSAGE_LIMIT: usize = 1024;
/// No write of an event takes longer than this.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Which events are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EventLevel {
    /// Normal and Warning.
    #[default]
    All,
    /// Only Warning: spares a busy plane four writes per pod.
    Warnings,
    /// None.
    Off,
}

/// Normal or Warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    Normal,
    Warning,
}

#[derive(Debug)]
struct Draft {
    about: ObjectReference,
    type_: EventType,
    reason: &'static str,
    message: String,
}

/// Takes events; clones feed one writer. The writer ends when the last clone is gone.
#[derive(Clone, Debug)]
pub struct Events {
    queue: mpsc::Sender<Draft>,
    level: EventLevel,
    dropped: Arc<AtomicU64>,
}

impl Events {
    /// Starts the writer. `component` and `host` become the event's source (`kubelet`, node name).
    pub fn start(client: Client, component: &str, host: Option<&str>, level: EventLevel) -> Self {
        let (queue, drafts) = mpsc::channel(QUEUE);
        let source = EventSource {
            component: Some(component.to_owned()),
            host: host.map(str::to_owned),
        };
        if level != EventLevel::Off {
            tokio::spawn(write_all(client, source, drafts));
        }
        Self {
            queue,
            level,
            dropped: Arc::default(),
        }
    }

    /// Says something about an object. Never waits, never fails.
    pub fn emit(
        &self,
        about: ObjectReference,
        type_: EventType,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        let wanted = match self.level {
            EventLevel::All => true,
            EventLevel::Warnings => type_ == EventType::Warning,
            EventLevel::Off => false,
        };
        if wanted
            && self
                .queue
                .try_send(Draft {
                    about,
                    type_,
                    reason,
                    message: message.into(),
                })
                .is_err()
        {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many events were dropped because the queue was full.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// The reference by which an event names `object`; `field_path` points into it (a container).
pub fn reference<K: Resource<DynamicType = ()>>(object: &K, field_path: Option<String>) -> ObjectReference {
    let mut about = object.object_ref(&());
    about.field_path = field_path;
    about
}

type SeenKey = (String, &'static str, String, Option<String>);

async fn write_all(client: Client, source: EventSource, mut drafts: mpsc::Receiver<Draft>) {
    let mut seen: HashMap<SeenKey, (String, i32)> = HashMap::new();
    let mut serial: u64 = 0;
    while let Some(draft) = drafts.recv().await {
        serial += 1;
        let namespace = draft
            .about
            .namespace
            .clone()
            .unwrap_or_else(|| "default".to_owned());
        let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
        let uid = draft
            .about
            .uid
            .clone()
            .or_else(|| draft.about.name.clone())
            .unwrap_or_default();
        let key = (
            uid,
            draft.reason,
            draft.message.clone(),
            draft.about.field_path.clone(),
        );
        let write = async {
            if let Some((name, count)) = seen.get_mut(&key) {
                *count += 1;
                let again = serde_json::json!({ "count": *count, "lastTimestamp": Time(Timestamp::now()) });
                if api
                    .patch(name, &PatchParams::default(), &Patch::Merge(again))
                    .await
                    .is_ok()
                {
                    return;
                }
            }
            let event = event_of(&draft, &source, &namespace, serial);
            match api.create(&PostParams::default(), &event).await {
                Ok(made) => {
                    if seen.len() >= REMEMBERED {
                        seen.clear();
                    }
                    seen.insert(key, (made.metadata.name.unwrap_or_default(), 1));
                }
                Err(error) => tracing::debug!(%error, reason = draft.reason, "event not written"),
            }
        };
        if tokio::time::timeout(WRITE_TIMEOUT, write).await.is_err() {
            tracing::debug!(reason = draft.reason, "event not written in time");
        }
    }
}

/// Events are named as client-go names them: the object's name, a dot and a number unique in time.
fn event_of(draft: &Draft, source: &EventSource, namespace: &str, serial: u64) -> Event {
    let now = Timestamp::now();
    let unique = (now.as_nanosecond() as u64).wrapping_add(serial);
    let about = draft.about.name.as_deref().unwrap_or("unknown");
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{about}.{unique:x}")),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: draft.about.clone(),
        type_: Some(format!("{:?}", draft.type_)),
        reason: Some(draft.reason.to_owned()),
        message: Some(cut(&draft.message, MESSAGE_LIMIT).to_owned()),
        source: Some(source.clone()),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        count: Some(1),
        reporting_component: source.component.clone(),
        reporting_instance: source.host.clone(),
        ..Event::default()
    }
}

/// The longest start of `text` within `limit` bytes that ends between characters.
pub fn cut(text: &str, limit: usize) -> &str {
    let mut end = limit.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
