//! The calls that are under way in this process: one per Task, some at once, and few to one host.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use k8s_openapi::jiff::Timestamp;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{
    Settings,
    call::{Caller, Limits, Message},
    decide::{self, Answer, Attempt, Next},
    event, secret,
    sign::Keys,
    target::Target,
};
use crate::{
    chain::chain,
    crd::{Callback, CallbackPolicy, Task},
    engine::{
        context::Context,
        task::{
            reconcile::{Error, Subject},
            write,
        },
    },
    tls::{Outgoing, OutgoingFiles, TlsError},
};

/// Wait before a Task is looked at again that could not be fetched.
const FETCH_AGAIN: Duration = Duration::from_secs(5);

/// How far the call about a Task has come, as far as this process knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Flight {
    /// None.
    #[default]
    None,
    /// It waits for its turn, or for an answer.
    Underway,
    /// It has ended, and status does not say so yet.
    Ended(Attempt),
}

/// The calls under way.
pub struct Desk {
    caller: Caller,
    flights: Mutex<HashMap<String, Flight>>,
    all: Arc<Semaphore>,
    hosts: Mutex<HashMap<String, Arc<Semaphore>>>,
    per_host: usize,
    stop: CancellationToken,
}

impl Desk {
    /// All calls stop with `stop`.
    ///
    /// # Errors
    /// TLS is not to be had.
    pub fn new(settings: &Settings, stop: CancellationToken) -> Result<Self, TlsError> {
        let tls = match &settings.tls {
            Some(tls) => tls.clone(),
            None => Outgoing::open(OutgoingFiles::default())?,
        };
        Ok(Self {
            caller: Caller::new(settings.networks.clone(), tls),
            flights: Mutex::default(),
            all: Arc::new(Semaphore::new(settings.at_once)),
            hosts: Mutex::default(),
            per_host: settings.per_host,
            stop,
        })
    }

    /// How far the call about a Task has come.
    pub fn state(&self, uid: &str) -> Flight {
        lock(&self.flights).get(uid).cloned().unwrap_or_default()
    }

    /// Calls that are under way or wait for their turn.
    pub fn underway(&self) -> usize {
        lock(&self.flights).len()
    }

    /// Forgets a call that has ended and is written down, or whose Task is gone.
    pub fn forget(&self, uid: &str) {
        lock(&self.flights).remove(uid);
    }

    /// A turn for this host and one of all, in this order: those who wait for a slow host keep nobody else waiting.
    async fn turn(&self, host: &str) -> Option<Turn<'_>> {
        let own = lock(&self.hosts)
            .entry(host.to_owned())
            .or_insert_with(|| Arc::new(Semaphore::new(self.per_host)))
            .clone();
        let mut turn = Turn {
            desk: self,
            host: host.to_owned(),
            permits: Vec::with_capacity(2),
        };
        // They are never closed.
        turn.permits.push(own.acquire_owned().await.ok()?);
        turn.permits.push(self.all.clone().acquire_owned().await.ok()?);
        Some(turn)
    }
}

/// A turn. Dropped, it is the next one's.
struct Turn<'a> {
    desk: &'a Desk,
    host: String,
    permits: Vec<OwnedSemaphorePermit>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.permits.clear();
        let mut hosts = lock(&self.desk.hosts);
        // Whoever waits for a turn holds the semaphore too.
        if hosts
            .get(&self.host)
            .is_some_and(|own| Arc::strong_count(own) == 1)
        {
            hosts.remove(&self.host);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins to call about a Task, unless that is under way. The Task is woken once the call has ended.
pub fn begin(ctx: &Arc<Context>, subject: &Subject) {
    let uid = subject.uid.clone();
    {
        let mut flights = lock(&ctx.callbacks.flights);
        if flights.contains_key(&uid) {
            return;
        }
        flights.insert(uid.clone(), Flight::Underway);
    }
    let (ctx, subject) = (ctx.clone(), subject.with(subject.task.clone()));
    tokio::spawn(async move {
        let attempt = tokio::select! {
            attempt = attempt(&ctx, &subject) => attempt,
            () = ctx.callbacks.stop.cancelled() => return,
        };
        match attempt {
            Some(attempt) => {
                // Not where the Task has gone meanwhile.
                if let Some(flight) = lock(&ctx.callbacks.flights).get_mut(&uid) {
                    *flight = Flight::Ended(attempt);
                }
            }
            None => ctx.callbacks.forget(&uid),
        }
        ctx.wake(subject.reference());
    });
}

/// One round of tries; `None` where there was none, and the Task is to be looked at again.
async fn attempt(ctx: &Arc<Context>, subject: &Subject) -> Option<Attempt> {
    let callback = subject.task.spec.callback.as_ref()?;
    let ended = |tries, answer| Attempt {
        tries,
        answer,
        at: Timestamp::now(),
    };
    let target = match Target::parse(&callback.url) {
        Ok(target) => target,
        Err(error) => return Some(ended(1, Answer::Refused(chain(&error)))),
    };
    let _turn = ctx.callbacks.turn(target.authority()).await?;
    let task = match due(ctx, subject, callback).await {
        Ok(task) => task?,
        Err(error) => {
            tracing::warn!(task = %subject.name, namespace = %subject.namespace, error = %chain(&error), "could not fetch a Task for its callback");
            drop(_turn);
            sleep(FETCH_AGAIN).await;
            return None;
        }
    };
    let keys = match &callback.secret_ref {
        None => None,
        Some(reference) => match secret::keys(ctx, &subject.namespace, reference).await {
            Ok(keys) => Some(keys),
            Err(error) => return Some(ended(1, Answer::Broken(chain(&error)))),
        },
    };
    let body = event::body(&task, callback);
    let id = event::id(&task);
    let limits = Limits {
        timeout: decide::timeout(callback),
        redirects: callback.follows_redirects(),
    };
    let most = match callback.policy() {
        CallbackPolicy::Standard => 1,
        CallbackPolicy::Diego => decide::DIEGO_TRIES,
    };
    let mut tries = 0;
    loop {
        // Only the leader calls, and it may have been paused since the last look.
        if !ctx.leadership.is_held_now() {
            return (tries > 0)
                .then(|| ended(tries, Answer::Broken("the controller has lost its lease".into())));
        }
        let message = message(callback, &id, keys.as_ref(), Timestamp::now(), &body);
        let answer = ctx.callbacks.caller.post(&target, &message, limits).await;
        tries += 1;
        ctx.metrics.callback_tried(outcome(&answer));
        tracing::debug!(task = %subject.name, namespace = %subject.namespace, ?answer, "called back");
        if tries >= most || !decide::diego_repeats(&answer) {
            return Some(ended(tries, answer));
        }
    }
}

/// The whole Task as it is now, if its callback is still due: the cache may be behind, and holds no bodies.
async fn due(ctx: &Arc<Context>, subject: &Subject, callback: &Callback) -> Result<Option<Task>, Error> {
    let Some(task) = write::refresh(ctx, subject).await? else {
        return Ok(None);
    };
    let status = task.status.clone().unwrap_or_default();
    let next = decide::next(callback, &status, Timestamp::now(), &ctx.config.callbacks);
    let due = next == Next::Try && task.metadata.deletion_timestamp.is_none();
    Ok(due.then_some(task))
}

fn message(callback: &Callback, id: &str, keys: Option<&Keys>, now: Timestamp, body: &[u8]) -> Message {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let mut put = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    let seconds = now.as_second();
    // Diego's own callback has none of these.
    if callback.policy() == CallbackPolicy::Standard || keys.is_some() {
        put("webhook-id", id);
        put("webhook-timestamp", &seconds.to_string());
    }
    if let Some(keys) = keys {
        put("webhook-signature", &keys.sign(id, seconds, body));
    }
    Message {
        headers,
        body: axum::body::Bytes::copy_from_slice(body),
    }
}

fn outcome(answer: &Answer) -> &'static str {
    match answer {
        Answer::Status(200..=299, _) => "2xx",
        Answer::Status(300..=399, _) => "3xx",
        Answer::Status(400..=499, _) => "4xx",
        Answer::Status(..) => "5xx",
        Answer::TimedOut(_) => "timeout",
        Answer::Broken(_) => "transport",
        Answer::Refused(_) => "refused",
    }
}
