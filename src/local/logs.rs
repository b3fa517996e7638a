//! How container logs get from a node to whoever serves `pods/log`.
//!
//! A node registers a [`LogSource`] under its name; the API server finds it through the pod's
//! `spec.nodeName`. This stands for the kubelet's port 10250, which a plane of one process does not need.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use axum::body::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

/// The options of the core/v1 `pods/log` call (`PodLogOptions`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogOptions {
    /// Name of the container; the caller has already resolved a missing one.
    pub container: Option<String>,
    /// Keep the stream open and send what is still being written; ends when the container ends.
    pub follow: bool,
    /// The log of the run before the current one (restarted containers).
    pub previous: bool,
    /// Put an RFC 3339 timestamp with nanoseconds and a space before each line.
    pub timestamps: bool,
    /// Only so many lines from the end.
    pub tail_lines: Option<u64>,
    /// Stop after so many bytes of output.
    pub limit_bytes: Option<u64>,
    /// Only lines written in the last so many seconds.
    pub since_seconds: Option<i64>,
    /// Only lines written at or after this time. Goes before `since_seconds` when both are set.
    pub since_time: Option<jiff::Timestamp>,
}

impl LogOptions {
    /// The earliest time whose lines are wanted, from `since_time` or `since_seconds` before `now`.
    pub fn since(&self, now: jiff::Timestamp) -> Option<jiff::Timestamp> {
        self.since_time.or_else(|| {
            let seconds = self.since_seconds?;
            now.checked_sub(jiff::SignedDuration::from_secs(seconds)).ok()
        })
    }
}

/// Bytes of a log in order, each item some whole or part lines.
pub type LogStream = BoxStream<'static, std::io::Result<Bytes>>;

/// Why a log cannot be read. The texts are those of the kubelet, which users know.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The node runs no such pod. Kubernetes answers 404.
    #[error("pod {namespace:?}/{pod:?} not found on this node")]
    PodNotFound { namespace: String, pod: String },
    /// The pod has no such container. Kubernetes answers 400.
    #[error("container {container} is not valid for pod {pod}")]
    ContainerNotFound { pod: String, container: String },
    /// The container has not started. Kubernetes answers 400.
    #[error("container {container:?} in pod {pod:?} is waiting to start: {reason}")]
    NotStarted {
        pod: String,
        container: String,
        reason: String,
    },
    /// `previous` was asked of a container that never restarted. Kubernetes answers 400.
    #[error("previous terminated container {container:?} in pod {pod:?} not found")]
    NoPrevious { pod: String, container: String },
    /// No node of that name is served here. Kubernetes answers 500 or 504.
    #[error("node {node:?} is not reachable")]
    NodeUnreachable { node: String },
    /// The runtime could not read it.
    #[error("read the log of container {container:?}")]
    Read {
        container: String,
        #[source]
        source: std::io::Error,
    },
}

impl LogError {
    /// The HTTP code with which an API server passes this on.
    pub fn code(&self) -> u16 {
        match self {
            Self::PodNotFound { .. } => 404,
            Self::ContainerNotFound { .. } | Self::NotStarted { .. } | Self::NoPrevious { .. } => 400,
            Self::NodeUnreachable { .. } => 502,
            Self::Read { .. } => 500,
        }
    }
}

/// Something that can read the logs of the pods of one node.
pub trait LogSource: Send + Sync {
    /// Opens the log of one container. `uid` tells a pod from an earlier one of the same name.
    fn logs(
        &self,
        namespace: &str,
        pod: &str,
        uid: &str,
        container: &str,
        opts: LogOptions,
    ) -> BoxFuture<'static, Result<LogStream, LogError>>;
}

/// Node name -> the [`LogSource`] that serves it. Clones share one table.
#[derive(Clone, Default)]
pub struct LogRouter {
    nodes: Arc<RwLock<HashMap<String, Arc<dyn LogSource>>>>,
}

impl LogRouter {
    /// Serves the logs of `node` from `source`, in place of any earlier one.
    pub fn register(&self, node: &str, source: Arc<dyn LogSource>) {
        self.nodes
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(node.to_owned(), source);
    }

    /// Forgets a node; logs of its pods can no longer be read.
    pub fn unregister(&self, node: &str) {
        self.nodes
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(node);
    }

    /// The source that serves `node`.
    pub fn get(&self, node: &str) -> Option<Arc<dyn LogSource>> {
        self.nodes
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(node)
            .cloned()
    }
}

impl fmt::Debug for LogRouter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_list().entries(nodes.keys()).finish()
    }
}
