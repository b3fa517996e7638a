//! Leader election by a Lease of coordination.k8s.io, by the rules of client-go's `leaderelection`.
//!
//! - Every write carries the resourceVersion that was read, so of two writers one fails.
//! - A candidate takes a held Lease over only after it has seen it unchanged for the whole lease duration by its own
//!   monotonic clock. Times in the Lease are for people; clocks of machines are never compared.
//! - The leader counts its hold from before the renewal was sent, gives up after the renew deadline, and has the rest
//!   of the lease duration to end its work.
//!
//! Limit: the monotonic clock of Linux stands still while a whole machine is suspended. A machine that wakes up
//! believes in its lease until the next renewal fails.

use std::{
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::backoff::{jittered, random};

/// Time for the one write that releases the lease.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(3);

/// Who stands for election, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderConfig {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// Name of this candidate; no two may share it (a pod's name, say).
    pub identity: String,
    /// How long others wait for a leader that says nothing.
    pub lease_duration: Duration,
    /// How long the leader tries to renew before it gives up.
    pub renew_deadline: Duration,
    /// Time between tries.
    pub retry_period: Duration,
}

impl LeaderConfig {
    /// The durations that Kubernetes' own components use: 15 s, 10 s, 2 s.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>, identity: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            identity: identity.into(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }

    /// Checks that a leader steps down before its lease can be taken over, and tries more than once before.
    ///
    /// # Errors
    /// The names of two durations in the wrong order, or an identity that is empty.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.identity.is_empty() {
            return Err(ConfigError::Identity);
        }
        if self.lease_duration <= self.renew_deadline {
            return Err(ConfigError::Lease {
                lease: self.lease_duration,
                renew: self.renew_deadline,
            });
        }
        if self.renew_deadline <= self.retry_period.mul_f64(1.2) || self.retry_period.is_zero() {
            return Err(ConfigError::Renew {
                renew: self.renew_deadline,
                retry: self.retry_period,
            });
        }
        Ok(())
    }

    /// The Lease counts whole seconds. Rounded up, others wait a little longer than we hold.
    fn seconds(&self) -> i32 {
        let rounded = self.lease_duration.as_secs() + u64::from(self.lease_duration.subsec_nanos() > 0);
        i32::try_from(rounded.max(1)).unwrap_or(i32::MAX)
    }
}

/// What is wrong with a [`LeaderConfig`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum ConfigError {
    #[error("the identity of a candidate for leadership must not be empty")]
    Identity,
    #[error("the lease duration ({lease:?}) must be longer than the renew deadline ({renew:?})")]
    Lease { lease: Duration, renew: Duration },
    #[error(
        "the renew deadline ({renew:?}) must be longer than 1.2 retry periods ({retry:?}), which must not be zero"
    )]
    Renew { renew: Duration, retry: Duration },
}

/// Why [`lead`] ended other than by a shutdown.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum LeadError<E: std::error::Error + 'static> {
    #[error("leader election cannot work with this configuration")]
    Config(#[source] ConfigError),
    #[error("the work of the leader failed")]
    Work(#[source] E),
}

/// The hold on a lease, as the work under it sees it.
#[derive(Clone, Debug)]
pub struct Leadership {
    stop: CancellationToken,
    expires: Arc<Mutex<Instant>>,
}

impl Leadership {
    /// A hold that runs out at `expires` unless it is renewed.
    pub fn new(expires: Instant) -> Self {
        Self {
            stop: CancellationToken::new(),
            expires: Arc::new(Mutex::new(expires)),
        }
    }

    /// A hold that is never lost, for a plane with one process. `shutdown` ends it.
    pub fn alone(shutdown: CancellationToken) -> Self {
        let century = Duration::from_secs(100 * 365 * 24 * 3600);
        Self {
            stop: shutdown,
            expires: Arc::new(Mutex::new(Instant::now() + century)),
        }
    }

    /// Cancelled when the work has to end: the lease is lost or about to be, or the process shuts down.
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Whether nobody else can hold the lease at this moment. A process that was paused for longer than the lease
    /// duration reads false here before anything else has run, so ask right before a write that must not be doubled.
    pub fn is_held_now(&self) -> bool {
        Instant::now() < self.expires()
    }

    fn expires(&self) -> Instant {
        *self.expires.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn renewed(&self, expires: Instant) {
        *self.expires.lock().unwrap_or_else(PoisonError::into_inner) = expires;
    }
}

/// Runs `work` whenever this candidate leads, until `shutdown`.
///
/// When the lease is lost or the process shuts down, [`Leadership::stop`] is cancelled and the work has until
/// shortly before the end of the lease to return; then it is dropped. On shutdown the lease goes on being renewed while the work ends, and is
/// released once it has, so that another takes over at its next try. How long that may take is for the work to bound.
///
/// # Errors
/// The configuration is wrong, or the work failed while it held the lease (which is then released).
/// Work that returns `Ok` by itself ends the candidacy.
pub async fn lead<F, Fut, E>(
    client: Client,
    config: LeaderConfig,
    shutdown: CancellationToken,
    mut work: F,
) -> Result<(), LeadError<E>>
where
    F: FnMut(Leadership) -> Fut,
    Fut: Future<Output = Result<(), E>>,
    E: std::error::Error + 'static,
{
    config.check().map_err(LeadError::Config)?;
    let mut candidate = Candidate::new(client, config);
    loop {
        let leadership = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            leadership = candidate.acquire() => leadership,
        };
        tracing::info!(identity = %candidate.config.identity, "leads");
        let working = pin!(work(leadership.clone()));
        match candidate.hold(&leadership, &shutdown, working).await {
            Ended::Worked(outcome) => {
                candidate.release().await;
                return outcome.map_err(LeadError::Work);
            }
            Ended::Lost(outcome) => {
                if let Some(Err(error)) = outcome {
                    tracing::warn!(%error, "the work of the leader failed while it lost the lease");
                }
                tracing::warn!(identity = %candidate.config.identity, "leads no longer");
            }
        }
        if shutdown.is_cancelled() {
            return Ok(());
        }
    }
}

enum Ended<T> {
    /// The work ended while the lease was held.
    Worked(T),
    /// The lease is not held any longer. `None`: the work had to be dropped.
    Lost(Option<T>),
}

struct Candidate {
    api: Api<Lease>,
    config: LeaderConfig,
    /// The Lease as it was read or written last, and when it was first seen so.
    seen: Option<(Lease, Instant)>,
}

#[derive(Debug, thiserror::Error)]
enum TryError {
    #[error("the lease could not be read or written")]
    Api(#[source] kube::Error),
    #[error("the API did not answer in time")]
    Timeout,
    #[error("another holds the lease")]
    Held,
}

impl Candidate {
    fn new(client: Client, config: LeaderConfig) -> Self {
        Self {
            api: Api::namespaced(client, &config.namespace),
            config,
            seen: None,
        }
    }

    /// Tries until the lease is held.
    async fn acquire(&mut self) -> Leadership {
        loop {
            let sent = Instant::now();
            match self.attempt(sent + self.config.renew_deadline).await {
                // An answer that took longer than the lease has lasted is worth nothing.
                Ok(()) if sent.elapsed() < self.config.renew_deadline => {
                    return Leadership::new(sent + self.config.lease_duration);
                }
                Ok(()) => {}
                Err(TryError::Held) => tracing::debug!("another leads"),
                Err(error) => {
                    tracing::warn!(error = %crate::chain::chain(&error), "could not stand for election")
                }
            }
            // Apart, candidates do not all write at the same moment.
            sleep(jittered(self.config.retry_period, 0.2, random())).await;
        }
    }

    /// Keeps the lease while the work runs.
    async fn hold<W: Future>(
        &mut self,
        leadership: &Leadership,
        shutdown: &CancellationToken,
        mut work: Pin<&mut W>,
    ) -> Ended<W::Output> {
        let slack = self.config.lease_duration - self.config.renew_deadline;
        loop {
            let give_up = leadership.expires() - slack;
            let renewing = async {
                sleep(self.config.retry_period).await;
                self.renew(give_up).await
            };
            tokio::select! {
                biased;
                () = sleep_until(give_up) => break,
                () = shutdown.cancelled(), if !leadership.stop.is_cancelled() => leadership.stop.cancel(),
                outcome = &mut work => return Ended::Worked(outcome),
                renewed = renewing => match renewed {
                    Some(sent) => leadership.renewed(sent + self.config.lease_duration),
                    None => break,
                },
            }
        }
        leadership.stop.cancel();
        // Dropping the work takes a moment too, and it must be over when another may begin.
        Ended::Lost(
            timeout_at(leadership.expires() - slack.div_f64(5.0), work)
                .await
                .ok(),
        )
    }

    /// Tries to renew until it works; gives the moment from which the renewal counts, or `None` where it is over.
    async fn renew(&mut self, give_up: Instant) -> Option<Instant> {
        loop {
            let sent = Instant::now();
            if sent >= give_up {
                return None;
            }
            match self.attempt(give_up).await {
                Ok(()) => return Some(sent),
                Err(TryError::Held) => return None,
                Err(error) => {
                    tracing::warn!(error = %crate::chain::chain(&error), "could not renew the lease");
                    sleep(self.config.retry_period.div_f64(2.0)).await;
                }
            }
        }
    }

    /// Reads the lease, and takes or renews it where the rules allow it.
    async fn attempt(&mut self, deadline: Instant) -> Result<(), TryError> {
        // One hanging request must not use up the time in which others might succeed.
        let patience = deadline.min(Instant::now() + self.config.renew_deadline.div_f64(2.0));
        timeout_at(patience, self.read_and_write())
            .await
            .map_err(|_| TryError::Timeout)?
    }

    async fn read_and_write(&mut self) -> Result<(), TryError> {
        let found = self.api.get_opt(&self.config.name).await.map_err(TryError::Api)?;
        let Some(found) = found else {
            self.seen = None;
            let lease = self.claim(Lease::default());
            let made = self
                .api
                .create(&PostParams::default(), &lease)
                .await
                .map_err(TryError::Api)?;
            self.seen = Some((made, Instant::now()));
            return Ok(());
        };
        let since = match &self.seen {
            Some((seen, since)) if seen.metadata.resource_version == found.metadata.resource_version => {
                *since
            }
            _ => Instant::now(),
        };
        self.seen = Some((found.clone(), since));
        if !may_take(&found, &self.config, since.elapsed()) {
            return Err(TryError::Held);
        }
        let lease = self.claim(found);
        let written = self
            .api
            .replace(&self.config.name, &PostParams::default(), &lease)
            .await;
        self.seen = Some((written.map_err(TryError::Api)?, Instant::now()));
        Ok(())
    }

    /// The Lease with us as its holder. Its resourceVersion stays, so that the server refuses a stale write.
    fn claim(&self, mut lease: Lease) -> Lease {
        let now = MicroTime(Timestamp::now());
        let old = lease.spec.take().unwrap_or_default();
        let ours = old.holder_identity.as_deref() == Some(self.config.identity.as_str());
        lease.metadata.name = Some(self.config.name.clone());
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.config.identity.clone()),
            lease_duration_seconds: Some(self.config.seconds()),
            acquire_time: if ours { old.acquire_time } else { Some(now.clone()) },
            renew_time: Some(now),
            lease_transitions: Some(old.lease_transitions.unwrap_or(0).saturating_add((!ours).into())),
            ..old
        });
        lease
    }

    /// Gives the lease back. Best effort: without it others wait for the lease duration.
    async fn release(&mut self) {
        let Some((mut lease, _)) = self.seen.take() else {
            return;
        };
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = None;
            // As client-go does: the shortest duration that validation allows.
            spec.lease_duration_seconds = Some(1);
        }
        let deadline = Instant::now() + RELEASE_TIMEOUT;
        let params = PostParams::default();
        match timeout_at(deadline, self.api.replace(&self.config.name, &params, &lease)).await {
            Ok(Ok(_)) => tracing::info!("released the lease"),
            Ok(Err(error)) => tracing::warn!(%error, "the lease was not released"),
            Err(_) => tracing::warn!("the lease was not released in time"),
        }
    }
}

/// Whether the rules let this candidate write the Lease, which it has seen unchanged for so long.
fn may_take(lease: &Lease, config: &LeaderConfig, unchanged: Duration) -> bool {
    let Some(spec) = &lease.spec else { return true };
    match spec.holder_identity.as_deref() {
        None | Some("") => true,
        Some(holder) if holder == config.identity => true,
        Some(_) => {
            let announced = spec
                .lease_duration_seconds
                .and_then(|seconds| u64::try_from(seconds).ok());
            unchanged > announced.map_or(config.lease_duration, Duration::from_secs)
        }
    }
}

#[cfg(test)]
mod tests;
