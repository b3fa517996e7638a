//! Against an API that holds one Lease and checks its resourceVersion, in paused time.

use std::{
    convert::Infallible,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::json;
use tokio::{sync::watch, task::JoinHandle, time::timeout};

use super::*;

#[derive(Clone, Default)]
struct Server {
    lease: Arc<Mutex<Option<Lease>>>,
    version: Arc<AtomicU64>,
    writes: Arc<AtomicU64>,
}

impl Server {
    /// A client whose requests take `latency` each way, and for ever while `hangs` is set.
    fn client(&self, latency: Duration, hangs: Arc<AtomicBool>) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let (server, hangs) = (server.clone(), Arc::clone(&hangs));
            async move {
                sleep(latency).await;
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let answer = server.answer(&head.method, &body);
                // A write may well have been done before its answer is lost.
                if hangs.load(Ordering::SeqCst) {
                    std::future::pending::<()>().await;
                }
                sleep(latency).await;
                Ok::<_, Infallible>(answer)
            }
        });
        Client::new(service, "ns")
    }

    fn answer(&self, method: &http::Method, body: &[u8]) -> http::Response<Body> {
        let mut lease = self.lease.lock().unwrap();
        let version_of = |lease: &Lease| lease.metadata.resource_version.clone();
        match (method.as_str(), &*lease) {
            ("GET", Some(lease)) => respond(200, &json!(lease)),
            ("GET", None) => fail(404, "NotFound"),
            ("POST", Some(_)) => fail(409, "AlreadyExists"),
            ("POST", None) | ("PUT", Some(_)) => {
                let mut new: Lease = serde_json::from_slice(body).unwrap();
                if method == "PUT" && lease.as_ref().and_then(version_of) != version_of(&new) {
                    return fail(409, "Conflict");
                }
                let version = self.version.fetch_add(1, Ordering::SeqCst) + 1;
                new.metadata.resource_version = Some(version.to_string());
                self.writes.fetch_add(1, Ordering::SeqCst);
                *lease = Some(new);
                respond(200, &json!(*lease))
            }
            (method, _) => panic!("{method}"),
        }
    }

    fn spec(&self) -> LeaseSpec {
        self.lease.lock().unwrap().clone().unwrap().spec.unwrap()
    }
}

fn respond(code: u16, value: &serde_json::Value) -> http::Response<Body> {
    http::Response::builder()
        .status(code)
        .body(Body::from(value.to_string().into_bytes()))
        .unwrap()
}

fn fail(code: u16, reason: &str) -> http::Response<Body> {
    respond(
        code,
        &json!({"kind": "Status", "status": "Failure", "reason": reason, "code": code, "message": reason}),
    )
}

#[derive(Debug, thiserror::Error)]
#[error("broken")]
struct Broken;

/// A candidate that runs until it is told to shut down, and what can be seen of it.
struct Player {
    hangs: Arc<AtomicBool>,
    leads: watch::Receiver<bool>,
    leadership: Arc<Mutex<Option<Leadership>>>,
    shutdown: CancellationToken,
    handle: JoinHandle<Result<(), LeadError<Broken>>>,
}

impl Player {
    /// With `stubborn`, its work does not end when it is told to.
    fn start(server: &Server, name: &str, latency: Duration, stubborn: bool) -> Self {
        let (hangs, shutdown) = (Arc::new(AtomicBool::new(false)), CancellationToken::new());
        let client = server.client(latency, Arc::clone(&hangs));
        let (sender, leads) = watch::channel(false);
        let leadership = Arc::new(Mutex::new(None));
        let shown = Arc::clone(&leadership);
        let work = move |held: Leadership| {
            *shown.lock().unwrap() = Some(held.clone());
            let shown = Shown(sender.clone());
            shown.0.send_replace(true);
            async move {
                let _shown = shown;
                held.stop().cancelled().await;
                if stubborn {
                    std::future::pending::<()>().await;
                }
                Ok::<_, Broken>(())
            }
        };
        let config = LeaderConfig::new("ns", "errand", name);
        let handle = tokio::spawn(lead(client, config, shutdown.clone(), work));
        Self {
            hangs,
            leads,
            leadership,
            shutdown,
            handle,
        }
    }

    async fn wait(&mut self, leads: bool) {
        timeout(Duration::from_secs(600), self.leads.wait_for(|now| *now == leads))
            .await
            .unwrap()
            .unwrap();
    }

    fn leads(&self) -> bool {
        *self.leads.borrow()
    }

    fn hang(&self, hangs: bool) {
        self.hangs.store(hangs, Ordering::SeqCst);
    }

    fn is_held_now(&self) -> bool {
        self.leadership.lock().unwrap().as_ref().unwrap().is_held_now()
    }
}

/// Shows that the work has ended, even if it was dropped.
struct Shown(watch::Sender<bool>);

impl Drop for Shown {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}

const FAST: Duration = Duration::from_millis(5);

#[tokio::test(start_paused = true)]
async fn of_three_candidates_one_leads_at_a_time_however_the_api_hangs() {
    let server = Server::default();
    let latencies = [FAST, Duration::from_millis(90), Duration::from_millis(700)];
    let players = ["a", "b", "c"].into_iter().zip(latencies);
    let players: Vec<_> = players
        .map(|(name, latency)| Player::start(&server, name, latency, name == "b"))
        .collect();
    let (mut leaders_seen, mut last) = (0, None);
    // Ten minutes in steps of 50 ms; every 40 s the leader's API hangs, for 30 s.
    for step in 0..12_000_u32 {
        sleep(Duration::from_millis(50)).await;
        let leaders: Vec<_> = (0..3).filter(|&at| players[at].leads()).collect();
        assert!(leaders.len() <= 1, "{leaders:?} at step {step}");
        for &at in &leaders {
            assert!(
                players[at].is_held_now(),
                "{at} works without a hold at step {step}"
            );
        }
        if let [at] = leaders[..]
            && last != Some(at)
        {
            last = Some(at);
            leaders_seen += 1;
        }
        match step % 800 {
            0 => leaders.iter().for_each(|&at| players[at].hang(true)),
            600 => players.iter().for_each(|player| player.hang(false)),
            _ => {}
        }
    }
    assert!(leaders_seen >= 10, "{leaders_seen}");
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_api_hangs_steps_down_before_its_lease_expires() {
    for stubborn in [false, true] {
        let server = Server::default();
        let mut player = Player::start(&server, "a", FAST, stubborn);
        player.wait(true).await;
        sleep(Duration::from_secs(60)).await;
        assert!(player.leads() && player.is_held_now());
        player.hang(true);
        let hung = Instant::now();
        player.wait(false).await;
        let limit = Duration::from_secs(if stubborn { 14 } else { 10 });
        let took = hung.elapsed();
        assert!(took <= limit && took > limit - Duration::from_secs(3), "{took:?}");
        player.hang(false);
        player.wait(true).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_makes_the_other_take_over_at_its_next_try() {
    let server = Server::default();
    let mut first = Player::start(&server, "a", FAST, false);
    first.wait(true).await;
    let mut second = Player::start(&server, "b", FAST, false);
    sleep(Duration::from_secs(120)).await;
    assert!(first.leads() && !second.leads());
    first.shutdown.cancel();
    let start = Instant::now();
    first.handle.await.unwrap().unwrap();
    second.wait(true).await;
    assert!(
        start.elapsed() < Duration::from_millis(2500),
        "{:?}",
        start.elapsed()
    );
    let spec = server.spec();
    assert_eq!(
        (spec.holder_identity.as_deref(), spec.lease_transitions),
        (Some("b"), Some(2))
    );
    assert_eq!(spec.lease_duration_seconds, Some(15));
}

#[tokio::test(start_paused = true)]
async fn a_dead_leader_is_followed_after_its_lease_and_not_before() {
    let server = Server::default();
    let mut first = Player::start(&server, "a", FAST, false);
    first.wait(true).await;
    first.handle.abort();
    let mut second = Player::start(&server, "b", FAST, false);
    let start = Instant::now();
    second.wait(true).await;
    let took = start.elapsed();
    assert!(
        took >= Duration::from_secs(15) && took < Duration::from_secs(18),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_process_that_was_paused_knows_at_once_that_it_lost_the_lease() {
    let leadership = Leadership::new(Instant::now() + Duration::from_secs(15));
    assert!(leadership.is_held_now());
    // No timer has fired and nothing has been cancelled: only the clock has moved.
    tokio::time::advance(Duration::from_secs(15)).await;
    assert!(!leadership.stop().is_cancelled() && !leadership.is_held_now());
    let alone = Leadership::alone(CancellationToken::new());
    tokio::time::advance(Duration::from_secs(10 * 365 * 24 * 3600)).await;
    assert!(alone.is_held_now());
}

#[tokio::test(start_paused = true)]
async fn work_that_fails_releases_the_lease_and_is_reported() {
    let server = Server::default();
    let client = server.client(FAST, Arc::default());
    let config = LeaderConfig::new("ns", "errand", "a");
    let outcome = lead(client, config, CancellationToken::new(), async |_| Err(Broken)).await;
    assert!(matches!(outcome, Err(LeadError::Work(Broken))), "{outcome:?}");
    assert_eq!(server.spec().holder_identity, None);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_a_candidacy_that_never_led() {
    let server = Server::default();
    let client = server.client(FAST, Arc::new(AtomicBool::new(true)));
    let shutdown = CancellationToken::new();
    let candidacy = lead(
        client,
        LeaderConfig::new("ns", "errand", "a"),
        shutdown.clone(),
        async |_| Err(Broken),
    );
    let candidacy = tokio::spawn(candidacy);
    sleep(Duration::from_secs(5)).await;
    shutdown.cancel();
    candidacy.await.unwrap().unwrap();
}

#[test]
fn a_held_lease_may_be_taken_only_after_it_was_seen_unchanged_for_its_duration() {
    let config = LeaderConfig::new("ns", "errand", "me");
    let lease = |holder: Option<&str>, seconds| Lease {
        spec: Some(LeaseSpec {
            holder_identity: holder.map(str::to_owned),
            lease_duration_seconds: seconds,
            ..LeaseSpec::default()
        }),
        ..Lease::default()
    };
    let seconds = Duration::from_secs;
    assert!(may_take(&Lease::default(), &config, seconds(0)));
    assert!(may_take(&lease(None, Some(15)), &config, seconds(0)));
    assert!(may_take(&lease(Some(""), Some(15)), &config, seconds(0)));
    assert!(may_take(&lease(Some("me"), Some(15)), &config, seconds(0)));
    assert!(!may_take(&lease(Some("you"), Some(30)), &config, seconds(30)));
    assert!(may_take(&lease(Some("you"), Some(30)), &config, seconds(31)));
    assert!(!may_take(&lease(Some("you"), None), &config, seconds(15)));
    assert!(may_take(&lease(Some("you"), Some(-1)), &config, seconds(16)));
}

#[test]
fn durations_in_the_wrong_order_are_refused() {
    let good = LeaderConfig::new("ns", "errand", "me");
    assert_eq!(good.check(), Ok(()));
    let seconds = Duration::from_secs;
    let lease = LeaderConfig {
        lease_duration: seconds(10),
        ..good.clone()
    };
    assert_eq!(
        lease.check(),
        Err(ConfigError::Lease {
            lease: seconds(10),
            renew: seconds(10)
        })
    );
    let renew = LeaderConfig {
        retry_period: seconds(9),
        ..good.clone()
    };
    assert_eq!(
        renew.check(),
        Err(ConfigError::Renew {
            renew: seconds(10),
            retry: seconds(9)
        })
    );
    assert_eq!(
        LeaderConfig {
            identity: String::new(),
            ..good.clone()
        }
        .check(),
        Err(ConfigError::Identity)
    );
    assert_eq!(
        LeaderConfig {
            lease_duration: Duration::from_millis(10_001),
            ..good
        }
        .seconds(),
        11
    );
}
