//! The long-running parts of one process: started in order, watched, and ended in the reverse order.

use std::time::Duration;

use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::chain::chain;

/// A part that ended without being asked to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {part} ended by itself: {why}")]
pub struct Failure {
    /// Which part.
    pub part: &'static str,
    /// Its error with all sources.
    pub why: String,
}

struct Room {
    part: &'static str,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

/// The parts, the oldest first. Dropped without [`Rooms::stop`], it tells all of them to end and waits for none.
pub struct Rooms {
    rooms: Vec<Room>,
    failures: mpsc::UnboundedReceiver<Failure>,
    report: mpsc::UnboundedSender<Failure>,
}

impl Default for Rooms {
    fn default() -> Self {
        let (report, failures) = mpsc::unbounded_channel();
        Self {
            rooms: Vec::new(),
            failures,
            report,
        }
    }
}

impl Rooms {
    /// Starts a part; it is to run until the token is cancelled.
    pub fn start<F, E>(&mut self, part: &'static str, run: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::error::Error + 'static,
    {
        let shutdown = CancellationToken::new();
        let (work, asked, report) = (run(shutdown.clone()), shutdown.clone(), self.report.clone());
        let task = tokio::spawn(async move {
            let why = match work.await {
                Ok(()) if asked.is_cancelled() => return,
                Ok(()) => "it came to its end".to_owned(),
                Err(error) => chain(&error),
            };
            // Nobody listens any more once the process stops.
            let _ = report.send(Failure { part, why });
        });
        self.rooms.push(Room { part, shutdown, task });
    }

    /// The next part that fails; pends while all is well.
    pub async fn failed(&mut self) -> Failure {
        match self.failures.recv().await {
            Some(failure) => failure,
            // Cannot be: `self` holds a sender.
            None => std::future::pending().await,
        }
    }

    /// Ends the parts one after another, the youngest first; what has not ended by then is dropped.
    ///
    /// # Errors
    /// The names of the parts that were dropped.
    pub async fn stop(&mut self, within: Duration) -> Result<(), Vec<&'static str>> {
        let deadline = Instant::now() + within;
        let mut late = Vec::new();
        while let Some(mut room) = self.rooms.pop() {
            room.shutdown.cancel();
            if timeout_at(deadline, &mut room.task).await.is_err() {
                room.task.abort();
                late.push(room.part);
            }
            tracing::debug!(part = room.part, "ended");
        }
        if late.is_empty() { Ok(()) } else { Err(late) }
    }
}

impl Drop for Rooms {
    fn drop(&mut self) {
        for room in &self.rooms {
            room.shutdown.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use super::*;

    #[tokio::test]
    async fn the_youngest_part_ends_first() {
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut rooms = Rooms::default();
        for part in ["api", "node", "engine"] {
            let order = order.clone();
            rooms.start(part, |stop| async move {
                stop.cancelled().await;
                order.lock().unwrap().push(part);
                Ok::<_, io::Error>(())
            });
        }
        assert_eq!(rooms.stop(Duration::from_secs(60)).await, Ok(()));
        assert_eq!(*order.lock().unwrap(), ["engine", "node", "api"]);
    }

    #[tokio::test]
    async fn a_part_that_fails_is_named() {
        let mut rooms = Rooms::default();
        rooms.start("node", |_| async { Err(io::Error::other("no space left")) });
        assert_eq!(
            rooms.failed().await.to_string(),
            "the node ended by itself: no space left"
        );
        rooms.start("api", |_| async { Ok::<_, io::Error>(()) });
        assert_eq!(
            rooms.failed().await.to_string(),
            "the api ended by itself: it came to its end"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_does_not_end_is_dropped_and_named() {
        let mut rooms = Rooms::default();
        rooms.start("deaf", |_| std::future::pending::<Result<(), io::Error>>());
        rooms.start("good", |stop| async move {
            stop.cancelled().await;
            Ok::<_, io::Error>(())
        });
        assert_eq!(rooms.stop(Duration::from_secs(4)).await, Err(vec!["deaf"]));
    }
}
