//! Many Tasks, and the book that their containers write themselves into: what started is counted on the nodes.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex},
};

use errand::crd::{Phase, Task};
use futures::{StreamExt as _, stream};
use kube::{ResourceExt as _, api::ListParams};
use kube_runtime::{WatchStreamExt as _, watcher};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::support::cluster_dir;
use crate::support::{Space, space::shell};

/// Tasks made at once.
const MAKERS: usize = 16;

/// A folder on both nodes in which each container notes its start.
pub struct Ledger {
    folder: PathBuf,
}

impl Ledger {
    pub fn open(space: &Space) -> Self {
        let folder = cluster_dir().join("ledgers").join(&space.name);
        std::fs::create_dir_all(&folder).unwrap();
        Self { folder }
    }

    /// A Function's spec whose container notes its start and then runs a script; `more` is merged into it.
    pub fn shell(&self, script: &str, more: Value) -> Value {
        // One short line appended is one write, which no other can cut in two.
        let script = format!("echo \"$ERRAND_TASK $ERRAND_ATTEMPT\" >>/ledger/starts\n{script}");
        let mut spec = shell(&script, more);
        spec["container"]["volumeMounts"] = json!([{"name": "ledger", "mountPath": "/ledger"}]);
        spec["pod"] =
            json!({"volumes": [{"name": "ledger", "hostPath": {"path": self.folder, "type": "Directory"}}]});
        spec
    }

    /// `TASK ATTEMPT` of every container that started, in order of the names.
    pub fn starts(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.join("starts")).unwrap_or_default();
        let mut starts: Vec<_> = text.lines().map(str::to_owned).collect();
        starts.sort();
        starts
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Tasks of one Function that runs for a moment and says its Task's name, and the ends that were seen of them.
pub struct Load<'a> {
    space: &'a Space,
    ledger: Ledger,
    ends: Ends,
    names: Mutex<Vec<String>>,
}

impl<'a> Load<'a> {
    /// Makes the Function. Its containers sleep for so many seconds; `more` is merged into its spec.
    pub async fn of(space: &'a Space, seconds: u32, more: Value) -> Self {
        let ledger = Ledger::open(space);
        let script = format!("sleep {seconds}; echo $ERRAND_TASK");
        space.function("work", ledger.shell(&script, more)).await;
        let (ends, names) = (Ends::watch(space), Mutex::default());
        Self {
            space,
            ledger,
            ends,
            names,
        }
    }

    /// Makes Tasks called by this word and a number.
    pub async fn make(&self, word: &str, count: usize) {
        let made = stream::iter(0..count).map(|number| async move {
            let name = format!("{word}-{number:03}");
            self.space
                .task(&name, json!({"functionRef": {"name": "work"}}))
                .await;
            name
        });
        let made: Vec<_> = made.buffer_unordered(MAKERS).collect().await;
        self.names.lock().unwrap().extend(made);
    }

    /// How many Tasks are over.
    pub fn over(&self) -> usize {
        self.ends.seen.lock().unwrap().len()
    }

    /// Waits until at least so many containers have started.
    pub async fn started(&self, count: usize) {
        let what = format!("{count} containers have started");
        self.space
            .poll(&what, || async {
                (self.ledger.starts().len() >= count).then_some(())
            })
            .await;
    }

    /// Waits until at least so many Tasks are over, as long as there is progress.
    pub async fn ended(&self, count: usize) {
        let mut over = self.over();
        while over < count {
            let before = over;
            over = self
                .space
                .poll(&format!("more than {before} of {count} Tasks end"), || async {
                    Some(self.over()).filter(|over| *over > before)
                })
                .await;
        }
    }

    /// Waits for all, as long as there is progress, and checks that each succeeded in its first attempt, with its own result,
    /// ended once, started one container, and left no pod.
    pub async fn all_ran_once(self) {
        let mut names = std::mem::take(&mut *self.names.lock().unwrap());
        names.sort();
        self.ended(names.len()).await;
        self.space.no_pods().await;
        let ran: Vec<_> = names.iter().map(|name| ran_once(name)).collect();
        let tasks = self
            .space
            .api::<Task>()
            .list(&ListParams::default())
            .await
            .unwrap();
        let mut found: Vec<_> = tasks.iter().map(story).collect();
        found.sort_by_key(|story| story["name"].as_str().map(str::to_owned));
        assert_eq!(found, ran);
        let once: Vec<_> = names.iter().map(|name| format!("{name} 1")).collect();
        assert_eq!(self.ledger.starts(), once, "each Task starts one container");
        let ends = self.ends.seen.lock().unwrap().clone();
        let twice: Vec<_> = ends.iter().filter(|(_, ends)| ends.len() != 1).collect();
        assert!(twice.is_empty(), "ended more than once: {twice:#?}");
    }
}

/// What must be true of a Task that ran undisturbed.
fn ran_once(name: &str) -> Value {
    json!({"name": name, "phase": "Succeeded", "attempts": 1, "exitCode": 0, "result": format!("{name}\n")})
}

fn story(task: &Task) -> Value {
    let status = task.status.clone().unwrap_or_default();
    json!({
        "name": task.name_any(), "phase": status.phase, "attempts": status.attempts, "exitCode": status.exit_code,
        "result": status.result.and_then(|result| result.body),
    })
}

/// Every end of every Task that a watch has shown: its phase, reason and time.
struct Ends {
    seen: Arc<Mutex<BTreeMap<String, BTreeSet<String>>>>,
    watch: JoinHandle<()>,
}

impl Ends {
    fn watch(space: &Space) -> Self {
        let seen: Arc<Mutex<BTreeMap<String, BTreeSet<String>>>> = Arc::default();
        let noted = seen.clone();
        let tasks = watcher(space.api::<Task>(), watcher::Config::default())
            .default_backoff()
            .applied_objects();
        let watch = tokio::spawn(tasks.for_each(move |task| {
            if let Ok(task) = task {
                note(&mut noted.lock().unwrap(), &task);
            }
            std::future::ready(())
        }));
        Self { seen, watch }
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

fn note(ends: &mut BTreeMap<String, BTreeSet<String>>, task: &Task) {
    let Some(status) = &task.status else { return };
    let over = status.phase.is_some_and(Phase::is_terminal);
    // A Task that were to run again after its end would be noted too.
    if over || ends.contains_key(&task.name_any()) {
        let end = format!("{:?} {:?} {:?}", status.phase, status.reason, status.finished_at);
        ends.entry(task.name_any()).or_default().insert(end);
    }
}
