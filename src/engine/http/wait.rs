//! Waiting until a container answers.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{Limits, Request, send};
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
    #[error("the function was not ready on {target} in time: {last}")]
    Deadline { target: SocketAddr, last: String },
    #[error("the wait for the function was called off")]
    Cancelled,
}

/// Probes `target` every `poll` until it is ready.
///
/// # Errors
/// The deadline has passed, or `cancel` was called.
pub async fn wait_ready(
    target: SocketAddr,
    readiness: &Readiness,
    poll: Duration,
    deadline: Instant,
    cancel: &CancellationToken,
) -> Result<(), WaitError> {
    let mut last = None;
    let probing = async {
        while let Err(why) = probe(target, readiness, deadline.min(Instant::now() + PROBE_TIMEOUT)).await {
            // A probe that the deadline cut short says less than the one before it.
            if last.is_none() || Instant::now() < deadline {
                last = Some(why);
            }
            sleep(poll).await;
        }
    };
    tokio::select! {
        biased;
        () = cancel.cancelled() => return Err(WaitError::Cancelled),
        outcome = timeout_at(deadline, probing) => if outcome.is_ok() {
            return Ok(());
        },
    }
    let last = last.unwrap_or_else(|| "it was not asked".to_owned());
    Err(WaitError::Deadline { target, last })
}

async fn probe(target: SocketAddr, readiness: &Readiness, deadline: Instant) -> Result<(), String> {
    match readiness {
        Readiness::Tcp => match timeout_at(deadline, TcpStream::connect(target)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(format!("could not connect: {error}")),
            Err(_) => Err("could not connect: no reply".to_owned()),
        },
        Readiness::Http(path) => {
            let request = Request {
                method: "GET".into(),
                path: path.clone(),
                ..Request::default()
            };
            match send(
                target,
                &request,
                Limits {
                    result: 0,
                    read: 1,
                    deadline,
                },
            )
            .await
            {
                Ok(answer) if (200..400).contains(&answer.status) => Ok(()),
                Ok(answer) => Err(format!("GET {path} was answered with {}", answer.status)),
                Err(error) => Err(crate::chain::chain(&error)),
            }
        }
    }
}
