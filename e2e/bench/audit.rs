//! Writes to the API server by who made them, from its audit log.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead as _, BufReader, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use serde::Deserialize;

/// How often each writer made each kind of write.
pub type Writes = BTreeMap<(Writer, String), usize>;

/// The audit log from some point on.
pub struct Audit {
    path: PathBuf,
    read: u64,
}

/// Who wrote.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Writer {
    Client,
    Errand,
    Scheduler,
    Manager,
    Nodes,
    Other(String),
}

impl std::fmt::Display for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Errand => "Errand's controller",
            Self::Scheduler => "scheduler",
            Self::Manager => "controller manager",
            Self::Nodes => "nodes",
            Self::Other(agent) => agent,
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    verb: String,
    user: User,
    #[serde(default)]
    user_agent: String,
    object_ref: Option<Object>,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Deserialize)]
struct Object {
    resource: String,
    subresource: Option<String>,
    namespace: Option<String>,
}

impl Audit {
    /// The log of the cluster that lives in this folder.
    pub fn of(cluster: &Path) -> Self {
        Self {
            path: cluster.join("log/audit"),
            read: 0,
        }
    }

    /// Passes over what has been written so far.
    pub fn skip(&mut self) {
        self.read = std::fs::metadata(&self.path).unwrap().len();
    }

    /// Adds the writes to a namespace since the last call, and says how many there were.
    pub fn add(&mut self, namespace: &str, writes: &mut Writes) -> usize {
        let mut file = File::open(&self.path).unwrap();
        file.seek(SeekFrom::Start(self.read)).unwrap();
        let mut lines = BufReader::new(file);
        let (mut text, mut added) = (String::new(), 0);
        loop {
            text.clear();
            let length = lines.read_line(&mut text).unwrap();
            // A line that is being written is read the next time.
            if !text.ends_with('\n') {
                return added;
            }
            self.read += length as u64;
            let line: Line = serde_json::from_str(&text).unwrap();
            let Some(object) = line.object_ref.as_ref() else {
                continue;
            };
            if object.namespace.as_deref() == Some(namespace) {
                *writes
                    .entry((line.writer(), what(&line.verb, object)))
                    .or_default() += 1;
                added += 1;
            }
        }
    }
}

fn what(verb: &str, object: &Object) -> String {
    match &object.subresource {
        Some(part) => format!("{verb} {}/{part}", object.resource),
        None => format!("{verb} {}", object.resource),
    }
}

impl Line {
    fn writer(&self) -> Writer {
        let agent = self.user_agent.split(['/', ' ']).next().unwrap_or_default();
        match agent {
            super::CLIENT => Writer::Client,
            super::NODES => Writer::Nodes,
            "kube-scheduler" => Writer::Scheduler,
            "kube-controller-manager" => Writer::Manager,
            // The controller's client names no agent.
            "" if self.user.username == "admin" => Writer::Errand,
            _ => Writer::Other(format!("{agent} of {}", self.user.username)),
        }
    }
}
