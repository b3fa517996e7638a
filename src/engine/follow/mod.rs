//! Progress of running Tasks, read from their logs.
//!
//! For Tasks whose supervisor cannot report by itself. Each log that is followed costs a connection to the API server,
//! so their number is bounded; progress is a courtesy, and a Task that is not followed runs as well.

use std::{
    collections::HashMap,
    hash::Hash,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{AsyncBufRead, AsyncBufReadExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, api::LogParams};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::handover::progress::{MAX_LINE, Progress};

/// Reports of one Task come no more often than this; each costs a status write.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// From the request to the head of the answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Wait before a log is asked for again, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// A log that could be followed for this long is worth asking for again without delay.
const GOOD_WHILE: Duration = Duration::from_secs(10);

/// Tries in a row that came to nothing before a log is let go.
const MAX_FRUITLESS: u32 = 8;

/// Lines of the past that are read at the first try: enough to find where a chatty command stands after this process
/// was restarted, without reading its whole log again.
const TAIL_LINES: i64 = 100;

/// Which log to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Name of the container.
    pub container: String,
}

/// Follows logs, one for each key (a Task), and reports the progress found in them. Clones share one set.
#[derive(Clone)]
pub struct Follower<K> {
    shared: Arc<Shared<K>>,
}

struct Shared<K> {
    client: Client,
    limit: usize,
    reports: mpsc::Sender<(K, Progress)>,
    shutdown: CancellationToken,
    followed: Mutex<HashMap<K, Followed>>,
}

struct Followed {
    source: Source,
    stop: CancellationToken,
    /// Held by the task that follows as well, so that one that ends knows whether this entry is still its own.
    own: Arc<()>,
}

impl<K: Clone + Eq + Hash + Send + Sync + 'static> Follower<K> {
    /// Follows at most `limit` logs at once; `reports` gets what they say, the newest once a second for each key.
    /// All of it ends with `shutdown`.
    pub fn new(
        client: Client,
        limit: usize,
        reports: mpsc::Sender<(K, Progress)>,
        shutdown: CancellationToken,
    ) -> Self {
        let shared = Shared {
            client,
            limit,
            reports,
            shutdown,
            followed: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Follows the log of `source` for `key`, from now until it is stopped, the log ends, or nothing comes of it.
    ///
    /// Saying it again changes nothing; another source (the pod of another attempt) takes the place of the first.
    /// False where as many logs as allowed are followed already: say it again later.
    pub fn follow(&self, key: K, source: Source) -> bool {
        let mut followed = self.shared.lock();
        match followed.get(&key) {
            Some(present) if present.source == source => return true,
            Some(_) => {}
            None if followed.len() >= self.shared.limit || self.shared.shutdown.is_cancelled() => {
                return false;
            }
            None => {}
        }
        let (stop, own) = (self.shared.shutdown.child_token(), Arc::new(()));
        let entry = Followed {
            source: source.clone(),
            stop: stop.clone(),
            own: Arc::clone(&own),
        };
        if let Some(replaced) = followed.insert(key.clone(), entry) {
            replaced.stop.cancel();
        }
        let log = Log {
            pods: Api::namespaced(self.shared.client.clone(), &source.namespace),
            source,
            reports: self.shared.reports.clone(),
            key,
        };
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = log.follow() => {}
            }
            let mut followed = shared.lock();
            if followed
                .get(&log.key)
                .is_some_and(|present| Arc::ptr_eq(&present.own, &own))
            {
                followed.remove(&log.key);
            }
        });
        true
    }

    /// Stops following for `key`. What was not yet reported is not reported.
    pub fn stop(&self, key: &K) {
        if let Some(followed) = self.shared.lock().remove(key) {
            followed.stop.cancel();
        }
    }

    /// How many logs are followed.
    pub fn len(&self) -> usize {
        self.shared.lock().len()
    }

    /// True where no log is followed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K> Shared<K> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, Followed>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Log<K> {
    pods: Api<Pod>,
    source: Source,
    reports: mpsc::Sender<(K, Progress)>,
    key: K,
}

impl<K: Clone> Log<K> {
    async fn follow(&self) {
        let mut last_read = None;
        let mut coalesce = Coalesce::default();
        let (mut fruitless, mut delay) = (0, RETRY.0);
        while fruitless < MAX_FRUITLESS && !self.reports.is_closed() {
            let start = Instant::now();
            match self.connect(last_read).await {
                Ok(log) => self.read(log, &mut coalesce, &mut last_read).await,
                Err(Connect::Gone) => return,
                Err(Connect::Failed(why)) => {
                    let Source { namespace, pod, .. } = &self.source;
                    tracing::debug!(error = %why, %namespace, %pod, "could not follow the log");
                }
            }
            // A log of a container that has ended is over at once each time, until someone stops this.
            (fruitless, delay) = match start.elapsed() >= GOOD_WHILE {
                true => (0, RETRY.0),
                false => (fruitless + 1, delay),
            };
            sleep(delay).await;
            delay = (2 * delay).min(RETRY.1);
        }
    }

    async fn connect(&self, last_read: Option<Instant>) -> Result<impl AsyncBufRead, Connect> {
        let params = LogParams {
            container: Some(self.source.container.clone()),
            follow: true,
            tail_lines: last_read.is_none().then_some(TAIL_LINES),
            since_seconds: last_read.map(since_seconds),
            ..LogParams::default()
        };
        match timeout(CONNECT_TIMEOUT, self.pods.log_stream(&self.source.pod, &params)).await {
            Ok(Ok(log)) => Ok(log),
            Ok(Err(kube::Error::Api(status))) if status.is_not_found() => Err(Connect::Gone),
            Ok(Err(error)) => Err(Connect::Failed(error.to_string())),
            Err(_) => Err(Connect::Failed("the API did not answer in time".to_owned())),
        }
    }

    /// Reads until the log ends, however it does.
    async fn read(&self, log: impl AsyncBufRead, coalesce: &mut Coalesce, last_read: &mut Option<Instant>) {
        let mut log = pin!(log);
        let mut lines = Lines::default();
        loop {
            let next = coalesce.next_report();
            tokio::select! {
                chunk = log.fill_buf() => match chunk {
                    Ok([]) => break,
                    Ok(chunk) => {
                        *last_read = Some(Instant::now());
                        lines.push(chunk, |line| coalesce.take(Progress::parse(line)));
                        let length = chunk.len();
                        log.as_mut().consume(length);
                    }
                    Err(error) => {
                        tracing::debug!(%error, pod = %self.source.pod, "the log broke off");
                        break;
                    }
                },
                () = wait_until(next) => self.report(coalesce).await,
            }
        }
        coalesce.take(lines.end().and_then(Progress::parse));
        self.report(coalesce).await;
    }

    async fn report(&self, coalesce: &mut Coalesce) {
        if let Some(progress) = coalesce.report() {
            // Nobody listens any longer: the loop above ends at its next turn.
            let _ = self.reports.send((self.key.clone(), progress)).await;
        }
    }
}

enum Connect {
    /// The pod is gone.
    Gone,
    Failed(String),
}

/// The whole seconds since then, so that no line is missed; lines that come twice do no harm.
fn since_seconds(then: Instant) -> i64 {
    i64::try_from(then.elapsed().as_secs())
        .unwrap_or(i64::MAX)
        .saturating_add(1)
}

async fn wait_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// The newest progress that was not reported yet, and when it may be.
#[derive(Debug, Default)]
struct Coalesce {
    newest: Option<Progress>,
    reported: Option<(Progress, Instant)>,
}

impl Coalesce {
    fn take(&mut self, progress: Option<Progress>) {
        if let Some(progress) = progress {
            let known = self
                .reported
                .as_ref()
                .is_some_and(|(reported, _)| *reported == progress);
            self.newest = (!known).then_some(progress);
        }
    }

    fn next_report(&self) -> Option<Instant> {
        self.newest.as_ref()?;
        Some(
            self.reported
                .as_ref()
                .map_or_else(Instant::now, |(_, then)| *then + REPORT_EVERY),
        )
    }

    fn report(&mut self) -> Option<Progress> {
        let progress = self.newest.take()?;
        self.reported = Some((progress.clone(), Instant::now()));
        Some(progress)
    }
}

/// Cuts a stream of bytes into lines, and holds back no more than [`MAX_LINE`] bytes: longer lines are passed over.
#[derive(Debug, Default)]
struct Lines {
    held: Vec<u8>,
    too_long: bool,
}

impl Lines {
    /// Calls `on_line` with each line that ends in `chunk`, without its newline.
    fn push(&mut self, chunk: &[u8], mut on_line: impl FnMut(&[u8])) {
        let mut parts = chunk.split(|byte| *byte == b'\n');
        let rest = parts.next_back().unwrap_or_default();
        for part in parts {
            // Most lines lie whole in a chunk and need no copy.
            if self.held.is_empty() && !self.too_long && part.len() <= MAX_LINE {
                on_line(part);
                continue;
            }
            self.hold(part);
            if let Some(line) = self.end() {
                on_line(line);
            }
            self.held.clear();
            self.too_long = false;
        }
        self.hold(rest);
    }

    fn hold(&mut self, part: &[u8]) {
        self.too_long |= self.held.len() + part.len() > MAX_LINE;
        if self.too_long {
            self.held.clear();
        } else {
            self.held.extend_from_slice(part);
        }
    }

    /// The line that has no end yet.
    fn end(&self) -> Option<&[u8]> {
        (!self.too_long).then_some(&self.held)
    }
}

#[cfg(test)]
mod tests;
