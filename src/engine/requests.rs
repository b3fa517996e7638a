//! The requests to HTTP functions that are under way in this process: one per Task, sent once.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube_runtime::reflector::ObjectRef;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    http::{self, Limits, PodProxy, READ_CAP, Readiness, Request, Route},
    resolve::{DEFAULT_PORT, Facts},
    task::{
        dispatch::RequestState,
        reconcile::Subject,
        view::{PodView, RunState},
    },
};
use crate::{
    chain::chain,
    crd::{Dispatch, Http, Task},
};

/// How often a container that does not answer yet is asked again.
const POLL: Duration = Duration::from_millis(20);
/// The same through the API server, which others need too.
const PROXY_POLL: Duration = Duration::from_millis(250);
/// A request outlives the run time limit by so much, so that the limit is what ends the Task.
const OVERTIME: Duration = Duration::from_secs(2);

/// The requests under way.
pub struct Requests {
    client: Client,
    flights: Arc<Mutex<HashMap<String, Flight>>>,
    wake: mpsc::UnboundedSender<ObjectRef<Task>>,
    shutdown: CancellationToken,
}

struct Flight {
    attempt: u32,
    state: RequestState,
    stop: CancellationToken,
}

/// Where and within what limits a request goes.
struct Target {
    route: Route,
    http: Http,
    deadline: Instant,
    facts: Facts,
}

impl Requests {
    /// `client` is for requests through the API server, `wake` has a Task looked at again; all requests stop with
    /// `shutdown`.
    pub fn new(
        client: Client,
        wake: mpsc::UnboundedSender<ObjectRef<Task>>,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            client,
            flights: Arc::default(),
            wake,
            shutdown,
        }
    }

    /// How far the request of an attempt has come.
    pub fn state(&self, uid: &str, attempt: u32) -> RequestState {
        let flights = lock(&self.flights);
        let flight = flights.get(uid).filter(|flight| flight.attempt == attempt);
        flight.map_or(RequestState::None, |flight| flight.state.clone())
    }

    /// Begins to wait for the container to answer at all.
    pub fn await_ready(&self, subject: &Subject, pod: Option<&PodView>) {
        // Without an address the pod's next event brings the Task back.
        let Some((pod, target)) = pod.and_then(|pod| Some((pod, self.target(subject, pod)?))) else {
            return;
        };
        let stop = self.begin(&subject.uid, pod.attempt, RequestState::AwaitingReady);
        let report = self.reporter(subject, pod.attempt);
        tokio::spawn(async move {
            let poll = match target.route {
                Route::Direct(_) => POLL,
                Route::ApiProxy(_) => PROXY_POLL,
            };
            let ready = http::wait_ready(
                &target.route,
                &Readiness::from(&target.http),
                poll,
                target.deadline,
                &stop,
            )
            .await;
            match ready {
                Ok(()) => report(RequestState::Ready),
                Err(http::WaitError::Cancelled) => {}
                Err(error) => report(RequestState::Failed(chain(&error))),
            }
        });
    }

    /// Sends the request. `task` is the whole Task, bodies included.
    pub fn send(&self, subject: &Subject, task: &Task, pod: Option<&PodView>) {
        let Some((pod, target)) = pod.and_then(|pod| Some((pod, self.target(subject, pod)?))) else {
            return;
        };
        let stop = self.begin(&subject.uid, pod.attempt, RequestState::Sent);
        let report = self.reporter(subject, pod.attempt);
        let request = Request::new(&target.http, task.spec.input.as_ref());
        tokio::spawn(async move {
            let request = match request {
                Ok(request) => request,
                Err(error) => return report(RequestState::Failed(chain(&error))),
            };
            let limits = Limits {
                result: usize::try_from(target.facts.result_limit).unwrap_or(0),
                read: READ_CAP,
                deadline: target.deadline,
            };
            let answer = tokio::select! {
                answer = http::send(&target.route, &request, limits) => answer,
                () = stop.cancelled() => return,
            };
            report(match answer {
                Ok(answer) => RequestState::Answered(Box::new(answer.into_result())),
                Err(error) => RequestState::Failed(chain(&error)),
            });
        });
    }

    /// Stops and forgets the request of a Task.
    pub fn forget(&self, uid: &str) {
        if let Some(flight) = lock(&self.flights).remove(uid) {
            flight.stop.cancel();
        }
    }

    /// `None` while the pod has no address, or does not run.
    fn target(&self, subject: &Subject, pod: &PodView) -> Option<Target> {
        let facts = pod.facts.clone()?;
        let http = facts.http.clone()?;
        let RunState::Running { started_at } = pod.state else {
            return None;
        };
        let port = http.port.unwrap_or(DEFAULT_PORT);
        let address = SocketAddr::new(pod.pod.ip.as_deref()?.parse().ok()?, port);
        let route = match http.dispatch.unwrap_or_default() {
            Dispatch::Direct => Route::Direct(address),
            Dispatch::ApiProxy => Route::ApiProxy(PodProxy {
                client: self.client.clone(),
                namespace: subject.namespace.clone(),
                pod: pod.pod.name.clone(),
                port,
            }),
        };
        let ran = super::task::plan::since(started_at, Timestamp::now());
        Some(Target {
            route,
            http,
            deadline: Instant::now() + facts.timeout().saturating_sub(ran) + OVERTIME,
            facts,
        })
    }

    fn begin(&self, uid: &str, attempt: u32, state: RequestState) -> CancellationToken {
        let stop = self.shutdown.child_token();
        let flight = Flight {
            attempt,
            state,
            stop: stop.clone(),
        };
        if let Some(before) = lock(&self.flights).insert(uid.to_owned(), flight) {
            before.stop.cancel();
        }
        stop
    }

    /// Notes a new state of the attempt's request, if it is still wanted, and wakes the Task.
    fn reporter(&self, subject: &Subject, attempt: u32) -> impl Fn(RequestState) + Send + 'static {
        let (flights, wake) = (self.flights.clone(), self.wake.clone());
        let (uid, reference) = (subject.uid.clone(), subject.reference());
        move |state| {
            if let Some(flight) = lock(&flights)
                .get_mut(&uid)
                .filter(|flight| flight.attempt == attempt)
            {
                flight.state = state;
                drop(wake.send(reference.clone()));
            }
        }
    }
}

fn lock(flights: &Mutex<HashMap<String, Flight>>) -> std::sync::MutexGuard<'_, HashMap<String, Flight>> {
    flights.lock().unwrap_or_else(PoisonError::into_inner)
}
