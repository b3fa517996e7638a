//! What every handler shares.

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    access::{Access, Action, Caller, Resource, Verb},
    config::Config,
    metrics::Metrics,
    objects::Objects,
    refusal::Refusal,
    reports::Reports,
    views::{Key, Views},
};
use crate::crd::{Phase, Task};

/// The facade. Clones share everything.
#[derive(Clone)]
pub struct Facade {
    inner: Arc<Inner>,
}

/// What is shared.
pub struct Inner {
    /// Who may do what.
    pub access: Access,
    /// What is known without asking.
    pub views: Views,
    /// What is asked for.
    pub objects: Objects,
    /// What Tasks report.
    pub reports: Reports,
    /// Configuration.
    pub config: Config,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Cancelled once the process is to end: streams end then.
    pub shutdown: CancellationToken,
    /// Room for live logs.
    pub logs: Arc<Semaphore>,
    /// Open WebSockets.
    pub sockets: TaskTracker,
}

impl std::ops::Deref for Facade {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.inner
    }
}

impl Facade {
    /// Puts the parts together.
    pub fn new(inner: Inner) -> Self {
        Self {
            inner: Arc::new(inner),
        }
    }

    /// May the caller do this to Tasks (one of them, or in general) of a namespace?
    ///
    /// # Errors
    /// [`Refusal::Forbidden`], or the API server does not answer.
    pub async fn authorize(
        &self,
        caller: &Caller,
        verb: Verb,
        resource: Resource,
        namespace: &str,
        name: Option<&str>,
    ) -> Result<(), Refusal> {
        let action = Action {
            verb,
            resource,
            namespace,
            name,
        };
        Ok(self.access.authorize(caller, &action).await?)
    }

    /// The Task of this name: from the view, or asked for where the view does not have it (yet). Without its bodies
    /// and log where it comes from the view.
    ///
    /// # Errors
    /// The API server does not answer.
    pub async fn task(&self, key: &Key) -> Result<Option<Arc<Task>>, Refusal> {
        match self.views.tasks.get(key) {
            Some(task) => Ok(Some(task)),
            // A Task made a moment ago, perhaps through another replica.
            None => Ok(self.objects.get(key).await?.map(Arc::new)),
        }
    }

    /// Waits until the Task is in a final phase or gone, for at most so long and not past the shutdown. Nothing is
    /// polled.
    pub async fn wait_for_end(&self, key: &Key, limit: Duration) {
        let mut follower = self.views.tasks.follow(key);
        // A Task that is not in view at first is a new one, not one that is gone.
        let mut seen = false;
        let ended = follower.wait_for(|task| match task {
            Some(task) => {
                seen = true;
                is_over(task)
            }
            None => seen,
        });
        tokio::select! {
            _ = tokio::time::timeout(limit, ended) => {}
            () = self.shutdown.cancelled() => {}
        }
    }
}

/// The phase of a Task.
pub fn phase(task: &Task) -> Phase {
    let status = task.status.as_ref();
    status.and_then(|status| status.phase).unwrap_or(Phase::Queued)
}

/// True once the Task is in a final phase.
pub fn is_over(task: &Task) -> bool {
    phase(task).is_terminal()
}

/// There is no such Task.
pub fn gone(key: &Key) -> Refusal {
    Refusal::NotFound(format!(
        "there is no Task {} in namespace {}",
        key.name, key.namespace
    ))
}
