//! Events: what happened to an object, told where `kubectl describe` shows it.
//!
//! Best effort: a bounded queue and one publisher behind it. Telling never blocks or fails a reconcile; what does not
//! fit into the queue or is refused is counted.

use std::{pin::pin, time::Duration};

use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use kube::{Client, Resource};
use kube_runtime::events::{Event, EventType, Recorder, Reporter};
use prometheus_client::metrics::counter::Counter;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::crd::{Function, Schedule, Task};

/// `reportingController` of our Events.
pub const CONTROLLER: &str = "errand.dev/controller";

/// Bytes of a note; apimachinery refuses longer ones (`NoteLengthLimit` in events validation).
pub const MAX_NOTE: usize = 1024;

/// Bytes of an action and of a reason; longer ones are refused.
const MAX_WORD: usize = 128;

/// Events that wait. At 2 KB each this is 2 MB at most.
const QUEUE: usize = 1024;

/// Time for one Event. It is also told to the client's own retries, which would go on for minutes.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for what waits when the process stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// A recorder remembers every Event of the last six minutes (to fold repeats into a series) and walks through them
/// at each new one. After this many it is replaced, which keeps its memory near 4 MB and costs a few series.
const RECORDER_LIFE: usize = 2048;

/// What an Event can be about.
pub trait Regarding {
    /// The reference to put into the Event.
    fn reference(&self) -> ObjectReference;
}

impl Regarding for ObjectReference {
    fn reference(&self) -> ObjectReference {
        self.clone()
    }
}

impl Regarding for Task {
    fn reference(&self) -> ObjectReference {
        self.object_ref(&())
    }
}

impl Regarding for Function {
    fn reference(&self) -> ObjectReference {
        self.object_ref(&())
    }
}

impl Regarding for Schedule {
    fn reference(&self) -> ObjectReference {
        self.object_ref(&())
    }
}

impl Regarding for Pod {
    fn reference(&self) -> ObjectReference {
        self.object_ref(&())
    }
}

/// Where Events are told. Clones share one queue.
#[derive(Clone, Debug)]
pub struct Events {
    queue: mpsc::Sender<Told>,
    dropped: Counter,
}

#[derive(Debug)]
struct Told {
    type_: EventType,
    regarding: ObjectReference,
    reason: String,
    action: String,
    note: String,
}

impl Events {
    /// Starts the publisher. `instance` is the name of this process (its pod); `dropped` counts what is lost.
    ///
    /// The publisher ends soon after `shutdown`, or once all clones are gone; its handle may be awaited.
    pub fn start(
        client: Client,
        instance: Option<String>,
        dropped: Counter,
        shutdown: CancellationToken,
    ) -> (Self, JoinHandle<()>) {
        let (queue, told) = mpsc::channel(QUEUE);
        let publisher = Publisher {
            client,
            reporter: Reporter {
                controller: CONTROLLER.to_owned(),
                instance,
            },
            dropped: dropped.clone(),
        };
        (
            Self { queue, dropped },
            tokio::spawn(publisher.run(told, shutdown)),
        )
    }

    /// Tells of something that did not go as it should.
    pub fn warn(&self, regarding: &impl Regarding, reason: &str, action: &str, note: &str) {
        self.tell(EventType::Warning, regarding.reference(), reason, action, note);
    }

    /// Tells of something that went as it should.
    pub fn normal(&self, regarding: &impl Regarding, reason: &str, action: &str, note: &str) {
        self.tell(EventType::Normal, regarding.reference(), reason, action, note);
    }

    fn tell(&self, type_: EventType, mut regarding: ObjectReference, reason: &str, action: &str, note: &str) {
        // The recorder compares whole references, and a version in them would part one series into many.
        regarding.resource_version = None;
        let told = Told {
            type_,
            regarding,
            reason: cut(reason, MAX_WORD).to_owned(),
            action: cut(action, MAX_WORD).to_owned(),
            note: cut(note, MAX_NOTE).to_owned(),
        };
        if self.queue.try_send(told).is_err() {
            self.dropped.inc();
        }
    }
}

/// The longest start of `text` that has at most `limit` bytes and ends between characters.
fn cut(text: &str, limit: usize) -> &str {
    text.get(..text.floor_char_boundary(limit)).unwrap_or(text)
}

struct Publisher {
    client: Client,
    reporter: Reporter,
    dropped: Counter,
}

impl Publisher {
    async fn run(self, mut told: mpsc::Receiver<Told>, shutdown: CancellationToken) {
        let mut recorder = self.recorder();
        let mut published = 0_usize;
        let stopping = async {
            shutdown.cancelled().await;
            sleep(DRAIN_TIMEOUT).await;
        };
        let mut stopping = pin!(stopping);
        loop {
            let event = tokio::select! {
                biased;
                () = shutdown.cancelled(), if !told.is_closed() => {
                    // What waits is still published, as far as the time goes.
                    told.close();
                    continue;
                }
                event = told.recv() => event,
            };
            let Some(event) = event else { return };
            tokio::select! {
                () = self.publish(&recorder, event) => {}
                () = &mut stopping => {
                    self.dropped.inc_by(1 + told.len() as u64);
                    return;
                }
            }
            published += 1;
            if published.is_multiple_of(RECORDER_LIFE) {
                recorder = self.recorder();
            }
        }
    }

    fn recorder(&self) -> Recorder {
        Recorder::new(self.client.clone(), self.reporter.clone())
    }

    async fn publish(&self, recorder: &Recorder, told: Told) {
        let event = Event {
            type_: told.type_,
            reason: told.reason,
            action: told.action,
            note: Some(told.note),
            secondary: None,
        };
        let why = match timeout(PUBLISH_TIMEOUT, recorder.publish(&event, &told.regarding)).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the API did not answer in time".to_owned(),
        };
        self.dropped.inc();
        let (namespace, name) = (told.regarding.namespace, told.regarding.name);
        tracing::debug!(error = %why, ?namespace, ?name, reason = %event.reason, "event was not published");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{convert::Infallible, sync::Arc};

    use http_body_util::BodyExt as _;
    use kube::client::Body;
    use serde_json::{Value, json};
    use tokio::sync::Semaphore;

    type Requests = mpsc::UnboundedReceiver<(String, Value)>;

    /// An API that takes an Event for each permit of the gate, and says which.
    fn api() -> (Client, Requests, Arc<Semaphore>) {
        let (sender, requests) = mpsc::unbounded_channel();
        let gate = Arc::new(Semaphore::new(0));
        let open = Arc::clone(&gate);
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let (sender, open) = (sender.clone(), Arc::clone(&open));
            async move {
                open.acquire().await.unwrap().forget();
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let value: Value = serde_json::from_slice(&body).unwrap();
                let refused = value["reason"] == "Refused";
                sender
                    .send((format!("{} {}", head.method, head.uri.path()), value))
                    .unwrap();
                let (code, answer) = if refused {
                    (
                        403,
                        json!({"kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403})
                            .to_string(),
                    )
                } else {
                    (201, String::from_utf8(body.to_vec()).unwrap())
                };
                let answer = http::Response::builder()
                    .status(code)
                    .body(Body::from(answer.into_bytes()));
                Ok::<_, Infallible>(answer.unwrap())
            }
        });
        (Client::new(service, "default"), requests, gate)
    }

    fn task(version: &str) -> Task {
        let mut task = Task::new("t1", crate::crd::TaskSpec::default());
        task.metadata.namespace = Some("ns".into());
        task.metadata.uid = Some("u1".into());
        task.metadata.resource_version = Some(version.into());
        task
    }

    fn start(client: Client) -> (Events, JoinHandle<()>, Counter, CancellationToken) {
        let (dropped, shutdown) = (Counter::default(), CancellationToken::new());
        let (events, publisher) =
            Events::start(client, Some("pod-1".into()), dropped.clone(), shutdown.clone());
        (events, publisher, dropped, shutdown)
    }

    #[tokio::test]
    async fn an_event_is_published_and_a_repeat_is_folded_into_a_series() {
        let (client, mut requests, gate) = api();
        gate.add_permits(10);
        let (events, _publisher, dropped, _) = start(client);
        events.warn(&task("1"), "ImagePullFailed", "Start", "no such image");
        events.warn(&task("2"), "ImagePullFailed", "Start", "no such image");
        let (first, event) = requests.recv().await.unwrap();
        assert_eq!(first, "POST /apis/events.k8s.io/v1/namespaces/ns/events");
        let regarding = json!({"apiVersion": "errand.dev/v1alpha1", "kind": "Task", "name": "t1", "namespace": "ns", "uid": "u1"});
        assert_eq!(event["regarding"], regarding);
        let words = [
            "type",
            "reason",
            "action",
            "note",
            "reportingController",
            "reportingInstance",
        ];
        let expected = [
            "Warning",
            "ImagePullFailed",
            "Start",
            "no such image",
            CONTROLLER,
            "pod-1",
        ];
        assert_eq!(words.map(|word| event[word].as_str().unwrap()), expected);
        let (second, event) = requests.recv().await.unwrap();
        assert!(
            second.starts_with("PATCH /apis/events.k8s.io/v1/namespaces/ns/events/t1."),
            "{second}"
        );
        assert_eq!(event["series"]["count"], 2);
        assert_eq!(dropped.get(), 0);
    }

    #[tokio::test]
    async fn a_full_queue_and_a_refusal_are_counted_and_never_block() {
        let (client, mut requests, gate) = api();
        let (events, publisher, dropped, shutdown) = start(client);
        // Nothing runs between these calls, so that none leaves the queue.
        for number in 0..QUEUE + 5 {
            events.normal(&task("1"), &format!("R{number}"), "Run", "");
        }
        assert_eq!(dropped.get(), 5);
        gate.add_permits(QUEUE + 1);
        for _ in 0..QUEUE {
            requests.recv().await.unwrap();
        }
        events.normal(&task("1"), "Refused", "Run", "");
        requests.recv().await.unwrap();
        shutdown.cancel();
        publisher.await.unwrap();
        assert_eq!(dropped.get(), 6);
    }

    #[tokio::test]
    async fn what_waits_at_the_end_is_still_published() {
        let (client, mut requests, gate) = api();
        gate.add_permits(2);
        let (events, publisher, dropped, shutdown) = start(client);
        shutdown.cancel();
        events.normal(&task("1"), "One", "Run", "");
        events.normal(&task("1"), "Two", "Run", "");
        publisher.await.unwrap();
        assert_eq!(requests.recv().await.unwrap().1["reason"], "One");
        assert_eq!(requests.recv().await.unwrap().1["reason"], "Two");
        events.normal(&task("1"), "Late", "Run", "");
        assert_eq!(dropped.get(), 1);
    }

    #[test]
    fn notes_are_cut_between_characters() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("aä", 2), "a");
        assert_eq!(cut("äää", 4), "ää");
        assert_eq!(cut("", 0), "");
    }
}
