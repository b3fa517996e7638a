//! Which logs the node has: the [`LogSource`] it offers.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use futures::FutureExt;
use futures::future::BoxFuture;

use super::log_file::LogFile;
use super::runtime::{LogHandle, PodKey};
use crate::local::logs::{LogError, LogOptions, LogSource, LogStream};

/// The runs of a container whose logs can be read: the current one and the one before.
const RUNS_KEPT: usize = 2;

#[derive(Debug, Default)]
struct PodLogs {
    namespace: String,
    name: String,
    /// Container -> why it waits, and its runs, newest last.
    containers: HashMap<String, (String, Vec<LogHandle>)>,
}

/// The table; clones share it.
#[derive(Clone, Debug)]
pub struct NodeLogs {
    pods: Arc<RwLock<HashMap<String, PodLogs>>>,
    /// Holds a folder per pod uid.
    folder: PathBuf,
}

impl NodeLogs {
    /// An empty table over the folder that has one folder per pod uid.
    pub fn new(folder: PathBuf) -> Self {
        Self {
            pods: Arc::default(),
            folder,
        }
    }

    /// Makes a pod's containers known.
    pub fn add_pod(&self, pod: &PodKey, containers: impl Iterator<Item = String>) {
        let waiting = |name| (name, ("ContainerCreating".to_owned(), Vec::new()));
        let logs = PodLogs {
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            containers: containers.map(waiting).collect(),
        };
        self.pods
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(pod.uid.clone())
            .or_insert(logs);
    }

    /// Says why a container does not run yet.
    pub fn waits(&self, uid: &str, container: &str, reason: &str) {
        self.change(uid, container, |entry| reason.clone_into(&mut entry.0));
    }

    /// Adds the log of a container's new run.
    pub fn add_run(&self, uid: &str, container: &str, log: LogHandle) {
        self.change(uid, container, |(_, runs)| {
            runs.push(log);
            let surplus = runs.len().saturating_sub(RUNS_KEPT);
            runs.drain(..surplus);
        });
    }

    /// Forgets a pod.
    pub fn remove_pod(&self, uid: &str) {
        self.pods
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(uid);
    }

    fn change(&self, uid: &str, container: &str, change: impl FnOnce(&mut (String, Vec<LogHandle>))) {
        let mut pods = self.pods.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = pods
            .get_mut(uid)
            .and_then(|pod| pod.containers.get_mut(container))
        {
            change(entry);
        }
    }

    fn find(&self, wanted: &PodKey, container: &str, previous: bool) -> Result<LogHandle, LogError> {
        let pods = self.pods.read().unwrap_or_else(PoisonError::into_inner);
        let by_name = |pod: &&PodLogs| pod.namespace == wanted.namespace && pod.name == wanted.name;
        let pod = if wanted.uid.is_empty() {
            pods.values().find(by_name)
        } else {
            pods.get(&wanted.uid)
        };
        let none = || LogError::PodNotFound {
            namespace: wanted.namespace.clone(),
            pod: wanted.name.clone(),
        };
        let Some(pod) = pod else {
            return self.on_disk(&wanted.uid, container, previous).ok_or_else(none);
        };
        let (pod_name, container) = (wanted.name.clone(), container.to_owned());
        let Some((reason, runs)) = pod.containers.get(&container) else {
            return Err(LogError::ContainerNotFound {
                pod: pod_name,
                container,
            });
        };
        let index = runs.len().checked_sub(if previous { 2 } else { 1 });
        match index.and_then(|index| runs.get(index)) {
            Some(log) => Ok(log.clone()),
            None => match self.on_disk(&wanted.uid, &container, previous) {
                Some(log) => Ok(log),
                None if previous => Err(LogError::NoPrevious {
                    pod: pod_name,
                    container,
                }),
                None => Err(LogError::NotStarted {
                    pod: pod_name,
                    container,
                    reason: reason.clone(),
                }),
            },
        }
    }

    /// What an earlier node left: the newest run there, or the one before.
    fn on_disk(&self, uid: &str, container: &str, previous: bool) -> Option<LogHandle> {
        let safe = |text: &str| !text.is_empty() && !text.contains(['/', '\0']) && !text.starts_with('.');
        if !safe(uid) || !safe(container) {
            return None;
        }
        let folder = self.folder.join(uid).join("logs");
        let run_of = |file: std::fs::DirEntry| {
            let name = file.file_name().into_string().ok()?;
            name.strip_prefix(container)?
                .strip_prefix('.')?
                .split('.')
                .next()?
                .parse::<u32>()
                .ok()
        };
        let newest = std::fs::read_dir(&folder)
            .ok()?
            .flatten()
            .filter_map(run_of)
            .max()?;
        let run = if previous { newest.checked_sub(1)? } else { newest };
        LogFile::reopen(&folder, &format!("{container}.{run}")).map(LogHandle::File)
    }
}

impl LogSource for NodeLogs {
    fn logs(
        &self,
        namespace: &str,
        pod: &str,
        uid: &str,
        container: &str,
        opts: LogOptions,
    ) -> BoxFuture<'static, Result<LogStream, LogError>> {
        let wanted = PodKey {
            namespace: namespace.to_owned(),
            name: pod.to_owned(),
            uid: uid.to_owned(),
        };
        let container = container.to_owned();
        let table = self.clone();
        async move {
            let log = table.find(&wanted, &container, opts.previous)?;
            log.read(&container, opts).await
        }
        .boxed()
    }
}
