//! Tasks of Diego's while facades and controllers are killed: each runs once, is told of, and leaves nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use errand::crd::Task;
use futures::{StreamExt as _, stream};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        core::v1::{Pod, Secret},
        networking::v1::NetworkPolicy,
    },
};
use kube::{Api, Resource, ResourceExt as _, api::ListParams};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{
    dice::Dice,
    processes::{Renewed, leader, running},
    support::{healthy, in_healthy_cluster},
};
use crate::support::{
    Space,
    account::EVERYTHING,
    diego::{Diego, EXISTS, Outcome, callback, result_file, script},
    installation,
    protobuf::{message, text},
    receiver::{Call, Receiver, Reply},
};

const TASKS: usize = 200;
/// Desired and not called back yet. So many keep two slow cores busy, and all stages of a task apart until the last kill.
const AT_ONCE: usize = 40;
const KILLS: usize = 8;
/// The Go client's pause before it tries again (`bbs/client.go`).
const AGAIN: Duration = Duration::from_millis(500);

/// What is known of a task.
#[derive(Clone, Debug, Default)]
struct Known {
    /// Its desire was answered.
    desired: bool,
    /// One word for each start of its container.
    starts: BTreeSet<String>,
    /// What it was called back with.
    ends: Vec<Value>,
}

/// All tasks, by guid: what their containers and their callbacks tell.
#[derive(Clone, Default)]
struct Book(Arc<Mutex<BTreeMap<String, Known>>>);

impl Book {
    fn note(&self, guid: &str, change: impl FnOnce(&mut Known)) -> Known {
        let mut tasks = self.0.lock().unwrap();
        let known = tasks.entry(guid.to_owned()).or_default();
        change(known);
        known.clone()
    }

    /// `GET /start/GUID/WORD` from a container, and `POST /end` from a controller.
    fn hear(&self, call: &Call) -> Reply {
        if let Some(start) = call.target.strip_prefix("GET /start/") {
            let (guid, word) = start.split_once('/').unwrap();
            self.note(guid, |known| known.starts.extend([word.to_owned()]));
            return Reply::Status(200);
        }
        let end = call.json();
        let known = self.note(end["task_guid"].as_str().unwrap(), |known| {
            known.ends.push(end.clone())
        });
        // A task that is gone could be desired again by a client that has not heard yet that it was accepted, and would
        // run again: then it is not taken yet.
        Reply::Status(if known.desired { 200 } else { 503 })
    }

    /// How often anything was heard.
    fn heard(&self) -> usize {
        let tasks = self.0.lock().unwrap();
        tasks
            .values()
            .map(|known| known.starts.len() + known.ends.len())
            .sum()
    }

    /// Waits until this is so, as long as anything is heard of any task.
    async fn until(&self, space: &Space, what: &str, is_so: impl Fn() -> bool) {
        while !is_so() {
            let before = self.heard();
            space
                .poll(what, || async {
                    (is_so() || self.heard() > before).then_some(())
                })
                .await;
        }
    }

    fn over(&self) -> usize {
        let tasks = self.0.lock().unwrap();
        tasks.values().filter(|known| known.is_over()).count()
    }
}

impl Known {
    fn is_over(&self) -> bool {
        self.desired && !self.ends.is_empty()
    }
}

/// A task that tells of its start, runs for a moment and leaves its guid. A start that was not heard of is told again, in
/// the same words.
fn definition(guid: &str, receiver: &Receiver) -> Vec<u8> {
    let address = receiver.addr;
    let tells = format!(
        "set -e; word=$(cat /proc/sys/kernel/random/uuid)
        tell() {{ wget -q -O /dev/null http://{address}/start/{guid}/$word; }}
        tell || {{ sleep 1; tell; }}
        sleep 2; echo {guid} >/tmp/result"
    );
    let anywhere = [text(1, "all"), text(2, "0.0.0.0/0")];
    script(
        &tells,
        &[
            result_file("/tmp/result"),
            callback(&format!("http://{address}/end")),
            message(14, &anywhere.concat()),
        ],
    )
}

/// Desires a task until it was accepted; gives how often that was tried.
async fn desire(space: &Space, bbs: &Diego, guid: &str, definition: &[u8]) -> usize {
    let tries = AtomicUsize::new(0);
    space
        .poll(&format!("{guid} is desired"), || async {
            let answer = bbs.desire(guid, "kills", definition).await;
            let tries = tries.fetch_add(1, Ordering::Relaxed) + 1;
            if accepted(&answer, tries) {
                return Some(tries);
            }
            tokio::time::sleep(AGAIN).await;
            None
        })
        .await
}

/// That a task exists is an acceptance for whoever was not answered before.
fn accepted(answer: &io::Result<Outcome>, tries: usize) -> bool {
    match answer {
        Ok(Ok(())) => true,
        Ok(Err((EXISTS, _))) if tries > 1 => true,
        Ok(Err(refused)) => panic!("after {tries} tries: {refused:?}"),
        Err(_) => false,
    }
}

async fn left<K>(space: &Space, fields: &str) -> Vec<String>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    let api: Api<K> = space.api();
    let found = api.list(&ListParams::default().fields(fields)).await.unwrap();
    found
        .iter()
        .map(|object| format!("{} {}", K::kind(&()), object.name_any()))
        .collect()
}

async fn nothing_is_left(space: &Space) {
    // Kubernetes before 1.24 makes one for each account.
    let not_of_accounts = "type!=kubernetes.io/service-account-token";
    space
        .poll("nothing of the tasks is left", || async {
            let left = [
                left::<Task>(space, "").await,
                left::<Pod>(space, "").await,
                left::<NetworkPolicy>(space, "").await,
                left::<Secret>(space, not_of_accounts).await,
            ];
            left.concat().is_empty().then_some(())
        })
        .await;
}

/// Kills one of these, unless none is up again from an earlier kill.
fn kill_one(part: &str, dice: &mut Dice, over: usize) {
    let all = running(part);
    if !all.is_empty() {
        let victim = &all[dice.below(all.len())];
        eprintln!(
            "{over} tasks are over; kills {victim:?}: {}",
            victim.signal("-KILL")
        );
    }
}

/// The first to go is the leader; then they take turns, and the dice say which and when.
async fn kill_at_random(space: &Space, book: &Book) {
    let mut dice = Dice::new();
    book.until(space, "a container has started", || book.heard() > 0)
        .await;
    assert!(leader(space).await.signal("-KILL"));
    let spread = TASKS / (KILLS + 1);
    for kill in 1..KILLS {
        let next = (kill - 1) * spread + dice.below(spread);
        book.until(space, &format!("{next} tasks are over"), || book.over() >= next)
            .await;
        tokio::time::sleep(Duration::from_millis(dice.below(1000) as u64)).await;
        kill_one(["controller", "facade"][kill % 2], &mut dice, book.over());
    }
}

#[tokio::test]
async fn facades_and_controllers_killed_at_random_moments_run_each_of_200_tasks_once_and_tell_of_it() {
    in_healthy_cluster("killed-diego", |space: Space| async move {
        let bbs = space.diego(EVERYTHING).await;
        let book = Book::default();
        let hears = book.clone();
        let receiver = Receiver::on(installation::listener(), move |_, call| hears.hear(call));
        let renewed = Renewed(&["controller", "facade"]);
        let lives = stream::iter(0..TASKS).map(async |number| {
            let guid = format!("task_{number:03}");
            let tries = desire(&space, &bbs, &guid, &definition(&guid, &receiver)).await;
            book.note(&guid, |known| known.desired = true);
            let is_over = || book.note(&guid, |_| ()).is_over();
            book.until(&space, &format!("{guid} is called back"), is_over)
                .await;
            tries
        });
        let lives = lives.buffer_unordered(AT_ONCE).collect::<Vec<_>>();
        let (tries, ()) = tokio::join!(lives, kill_at_random(&space, &book));
        // Killed ones start ever later; whoever is still waiting to does so now.
        drop(renewed);
        nothing_is_left(&space).await;
        let tasks = book.0.lock().unwrap().clone();
        let calls: usize = tasks.values().map(|known| known.ends.len()).sum();
        eprintln!(
            "{} desires and {calls} callbacks for {TASKS} tasks",
            tries.iter().sum::<usize>()
        );
        assert_eq!(tasks.len(), TASKS);
        for (guid, known) in &tasks {
            ran_once(guid, known);
        }
        healthy(&space).await;
    })
    .await;
}

/// One container started, and every callback tells the same good end.
fn ran_once(guid: &str, known: &Known) {
    assert_eq!(known.starts.len(), 1, "{guid} starts one container: {known:?}");
    let expected = json!({
        "task_guid": guid, "failed": false, "failure_reason": "", "result": format!("{guid}\n"),
        "created_at": known.ends[0]["created_at"],
    });
    for end in &known.ends {
        assert_eq!(*end, expected, "{guid}");
    }
}
