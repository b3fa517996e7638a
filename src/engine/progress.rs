//! Progress read from the logs of running Tasks, until a reconcile writes it into their status.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use super::task::{reconcile::Subject, view::PodView};
use crate::crd::Progress;

/// The newest progress of each Task, by uid.
#[derive(Debug, Default)]
pub struct ProgressDesk {
    news: Mutex<HashMap<String, Progress>>,
}

impl ProgressDesk {
    /// `limit` logs are followed at once.
    pub fn new(
        _limit: usize,
        _client: kube::Client,
        _wake: tokio::sync::mpsc::UnboundedSender<kube_runtime::reflector::ObjectRef<crate::crd::Task>>,
        _shutdown: tokio_util::sync::CancellationToken,
    ) -> Self {
        Self::default()
    }

    /// The newest progress of a Task.
    pub fn news(&self, uid: &str) -> Option<Progress> {
        self.news
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(uid)
            .cloned()
    }

    /// Follows the log of a Task, if it is not followed yet and there is room.
    pub fn follow(&self, _subject: &Subject, _pod: &PodView) {}

    /// Forgets a Task.
    pub fn forget(&self, uid: &str) {
        self.news
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(uid);
    }
}
