//! One plane, and the Tasks that rows are about.

use std::collections::HashSet;

use errand::crd::{self, Function, Phase, Task};
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use super::{doors::Door, eventually, exchange::Who};
use crate::support::{http::Http, plane::Doors};

/// The name of a Task that was never made.
const NOTHING: &str = "nothing";

/// Which Task a row is about. All run a Function and were made with kubectl, where nothing else is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// None: the request makes one.
    Nothing,
    /// All that were made at doors, and one that kubectl made: each printed `SHOUT`, and wrote to standard error.
    Succeeded,
    /// Runs, and will for long.
    Running,
    /// The same, and has said `::progress 40 copying`.
    Reporting,
    /// Ended with code 3 and an empty result.
    Failed,
    /// Ran out of time.
    TimedOut,
    /// Was stopped.
    Cancelled,
    /// Runs, for this door alone.
    Stoppable,
    /// Belongs to ann, and succeeded.
    Owned,
    /// Was never there.
    Unknown,
    /// Was there, and ended.
    Gone,
}

/// A Task, and its Function.
#[derive(Clone)]
pub struct Subject {
    pub task: Task,
    pub function: Function,
}

impl Subject {
    /// A Task that was never made, for rows that are about none and for the page.
    pub fn placeholder() -> Self {
        let object = |kind: &str, name: &str, spec: Value| {
            json!({"apiVersion": crd::API_VERSION, "kind": kind, "spec": spec,
                "metadata": {"name": name, "namespace": "default", "uid": "0f1e2d3c-4b5a-4978-8069-1a2b3c4d5e6f",
                    "creationTimestamp": "2026-01-31T12:00:00Z"}})
        };
        let mut task = object("Task", NOTHING, json!({"functionRef": {"name": "upper"}}));
        task["status"] = json!({"phase": "Succeeded"});
        let function = object("Function", "upper", json!({"container": {"image": "busybox"}}));
        Self {
            task: serde_json::from_value(task).unwrap(),
            function: serde_json::from_value(function).unwrap(),
        }
    }
}

/// The plane.
pub struct Ground {
    doors: Doors,
    /// Names of Tasks that were seen.
    known: HashSet<String>,
    /// Names of Tasks that succeeded, made at doors and with kubectl.
    succeeded: Vec<String>,
    /// The Task that is gone, as it was.
    gone: Subject,
}

impl Ground {
    pub async fn open() -> Self {
        let doors = Doors::open(&["ann", "bob", "eve"]).await;
        for user in ["ann", "bob"] {
            doors.grant(user).await;
        }
        for (name, script, more) in [
            (
                "upper",
                "tr a-z A-Z < $ERRAND_INPUT_DIR/body; echo shouted >&2",
                json!({}),
            ),
            ("fails", "echo no such record >&2; exit 3", json!({})),
            ("sleeps", "sleep 600", json!({})),
            ("reports", "echo ::progress 40 copying; sleep 600", json!({})),
            ("late", "sleep 600", json!({"timeout": "1s"})),
            ("brief", "true", json!({"ttlAfterFinished": "0s"})),
        ] {
            let mut spec = json!({"container": {"image": "busybox", "command": ["sh", "-c", script]}});
            spec.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            doors.function(name, spec).await;
        }
        let mut ground = Self {
            doors,
            known: HashSet::new(),
            succeeded: vec!["by-kubectl".to_owned()],
            gone: Subject::placeholder(),
        };
        for (name, function, more) in [
            ("by-kubectl", "upper", json!({})),
            ("of-ann", "upper", json!({"owner": "ann"})),
            ("runs", "sleeps", json!({})),
            ("reports", "reports", json!({})),
            ("fails", "fails", json!({})),
            ("late", "late", json!({})),
            ("stopped", "sleeps", json!({})),
        ] {
            ground.create(name, function, more).await;
        }
        let gone = ground.create("brief", "brief", json!({})).await;
        ground.gone = Subject {
            function: ground.function("brief").await,
            task: gone,
        };
        for (name, phase) in [
            ("by-kubectl", Phase::Succeeded),
            ("of-ann", Phase::Succeeded),
            ("runs", Phase::Running),
            ("fails", Phase::Failed),
            ("late", Phase::Failed),
            ("stopped", Phase::Running),
        ] {
            ground.until(name, phase).await;
        }
        ground.stop("stopped").await;
        ground.until("stopped", Phase::Cancelled).await;
        ground.progress("reports", 40).await;
        ground.new_tasks().await;
        ground
    }

    /// The listener of a door, as this caller.
    pub fn caller(&self, door: &dyn Door, who: Who) -> Http {
        if door.is_apart() {
            return self.doors.diego.clone();
        }
        match who {
            Who::Ann => self.doors.as_user("ann"),
            Who::Bob => self.doors.as_user("bob"),
            Who::Eve => self.doors.as_user("eve"),
            Who::Wrong => self.doors.as_user("wrong"),
            Who::Nobody => self.doors.http.clone(),
        }
    }

    /// The Tasks that a row is about at a door.
    pub async fn subjects(&mut self, about: About, door: &str) -> Vec<Subject> {
        let name = match about {
            About::Nothing => {
                let function = self.function("upper").await;
                return vec![Subject {
                    function,
                    ..Subject::placeholder()
                }];
            }
            About::Unknown => return vec![Subject::placeholder()],
            About::Gone => {
                self.vanished("brief").await;
                return vec![self.gone.clone()];
            }
            About::Succeeded => {
                let mut all = Vec::new();
                for name in &self.succeeded {
                    all.push(self.subject(name).await);
                }
                return all;
            }
            About::Running => "runs".to_owned(),
            About::Reporting => "reports".to_owned(),
            About::Failed => "fails".to_owned(),
            About::TimedOut => "late".to_owned(),
            About::Cancelled => "stopped".to_owned(),
            About::Owned => "of-ann".to_owned(),
            About::Stoppable => {
                let name = format!("for-{door}-{}", self.known.len());
                self.create(&name, "sleeps", json!({})).await;
                self.until(&name, Phase::Running).await;
                self.new_tasks().await;
                name
            }
        };
        vec![self.subject(&name).await]
    }

    /// The subject as it is now; one that is not there as it was.
    pub async fn fresh(&self, subject: &Subject) -> Subject {
        let now = self.tasks().get_opt(&subject.task.name_any()).await.unwrap();
        Subject {
            task: now.unwrap_or_else(|| subject.task.clone()),
            function: subject.function.clone(),
        }
    }

    /// Tasks that were not there when this was asked before.
    pub async fn new_tasks(&mut self) -> Vec<Subject> {
        let all = self.tasks().list(&ListParams::default()).await.unwrap();
        let mut new = Vec::new();
        for task in all {
            if self.known.insert(task.name_any()) {
                new.push(self.with_function(task).await);
            }
        }
        new
    }

    /// Lets later rows read a Task that was made at a door, once it has succeeded.
    pub async fn keep(&mut self, made: &Subject) {
        let name = made.task.name_any();
        let status = self.until(&name, Phase::Succeeded).await.status.unwrap();
        assert_eq!(status.result.unwrap().body.as_deref(), Some("SHOUT\n"), "{name}");
        self.succeeded.push(name);
    }

    async fn create(&self, name: &str, function: &str, more: Value) -> Task {
        let mut spec = json!({"functionRef": {"name": function}, "input": {"body": "shout\n"}});
        spec.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let task =
            json!({"apiVersion": crd::API_VERSION, "kind": "Task", "metadata": {"name": name}, "spec": spec});
        self.doors
            .create(Some("default"), task)
            .await
            .try_parse()
            .unwrap()
    }

    async fn stop(&self, name: &str) {
        let patch = Patch::Merge(json!({"spec": {"cancel": true}}));
        self.tasks()
            .patch(name, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    async fn until(&self, name: &str, phase: Phase) -> Task {
        eventually(&format!("{name} {phase}"), || async {
            let task = self.doors.task(name).await;
            let now = task.status.as_ref().and_then(|status| status.phase);
            (now == Some(phase)).then_some(task)
        })
        .await
    }

    async fn progress(&self, name: &str, percent: u8) {
        eventually(&format!("progress of {name}"), || async {
            let progress = self.doors.task(name).await.status?.progress?;
            (progress.percent == Some(percent)).then_some(())
        })
        .await;
    }

    async fn vanished(&self, name: &str) {
        eventually(&format!("the end of {name}'s time"), || async {
            self.tasks().get_opt(name).await.unwrap().is_none().then_some(())
        })
        .await;
    }

    async fn subject(&self, name: &str) -> Subject {
        self.with_function(self.doors.task(name).await).await
    }

    async fn with_function(&self, task: Task) -> Subject {
        let name = task
            .spec
            .function_ref
            .as_ref()
            .map(|function| function.name.clone());
        Subject {
            function: self.function(&name.unwrap()).await,
            task,
        }
    }

    async fn function(&self, name: &str) -> Function {
        let functions: Api<Function> = Api::namespaced(self.doors.client.clone(), "default");
        functions.get(name).await.unwrap()
    }

    fn tasks(&self) -> Api<Task> {
        Api::namespaced(self.doors.client.clone(), "default")
    }
}
