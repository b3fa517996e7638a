//! Waiting until a container answers.

use std::time::Duration;

use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{Limits, Refusal, Request, RequestError, Route, SendError, send};
use crate::crd;

/// One probe may take this long; a container that accepts and then says nothing is asked again.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// What counts as ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// A connection is accepted.
    Tcp,
    /// GET of this path is answered with a status from 200 to 399, as the kubelet counts it.
    Http(String),
}

impl From<&crd::Http> for Readiness {
    fn from(http: &crd::Http) -> Self {
        http.readiness_path.clone().map_or(Self::Tcp, Self::Http)
    }
}

/// Why the wait ended without the container being ready.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum WaitError {
    #[error("the function was not ready on {route} in time: {last}")]
    Deadline { route: String, last: String },
    #[error("the function cannot be asked on {route}: {why}")]
    Hopeless { route: String, why: String },
    #[error("the wait for the function was called off")]
    Cancelled,
}

/// Why a probe found the container not ready.
enum NotReady {
    /// It may be at the next one.
    Yet(String),
    /// No probe will ever find it ready.
    Ever(String),
}

/// Probes every `poll` until it is ready.
///
/// # Errors
/// The deadline has passed, waiting is of no use, or `cancel` was called.
pub async fn wait_ready(
    route: &Route,
    readiness: &Readiness,
    poll: Duration,
    deadline: Instant,
    cancel: &CancellationToken,
) -> Result<(), WaitError> {
    let mut last = None;
    let probing = async {
        loop {
            match probe(route, readiness, deadline.min(Instant::now() + PROBE_TIMEOUT)).await {
                Ok(()) => return Ok(()),
                Err(NotReady::Ever(why)) => return Err(why),
                // A probe that the deadline cut short says less than the one before it.
                Err(NotReady::Yet(why)) if last.is_none() || Instant::now() < deadline => last = Some(why),
                Err(NotReady::Yet(_)) => {}
            }
            sleep(poll).await;
        }
    };
    tokio::select! {
        biased;
        () = cancel.cancelled() => return Err(WaitError::Cancelled),
        outcome = timeout_at(deadline, probing) => match outcome {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(why)) => return Err(WaitError::Hopeless { route: route.to_string(), why }),
            Err(_) => {}
        },
    }
    let last = last.unwrap_or_else(|| "it was not asked".to_owned());
    Err(WaitError::Deadline {
        route: route.to_string(),
        last,
    })
}

async fn probe(route: &Route, readiness: &Readiness, deadline: Instant) -> Result<(), NotReady> {
    let path = match (readiness, route) {
        (Readiness::Http(path), _) => path,
        (Readiness::Tcp, Route::Direct(target)) => {
            return match timeout_at(deadline, TcpStream::connect(target)).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(NotReady::Yet(format!("could not connect: {error}"))),
                Err(_) => Err(NotReady::Yet("could not connect: no reply".to_owned())),
            };
        }
        (Readiness::Tcp, Route::ApiProxy(_)) => {
            return Err(NotReady::Ever(RequestError::ProxyReadiness.to_string()));
        }
    };
    let request = Request {
        method: "GET".into(),
        path: path.clone(),
        ..Request::default()
    };
    let limits = Limits {
        result: 0,
        read: 1,
        deadline,
    };
    match send(route, &request, limits).await {
        Ok(answer) if (200..400).contains(&answer.status) => Ok(()),
        Ok(answer) => Err(NotReady::Yet(format!(
            "GET {path} was answered with {}",
            answer.status
        ))),
        Err(error) => Err(not_ready(&error)),
    }
}

/// A right that is missing, or a path that does not go through, will not come right by asking again.
fn not_ready(error: &SendError) -> NotReady {
    let why = crate::chain::chain(error);
    match error {
        SendError::Request(_) | SendError::NotPassedOn(Refusal { code: 403, .. }) => NotReady::Ever(why),
        _ => NotReady::Yet(why),
    }
}
