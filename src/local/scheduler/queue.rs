//! What the scheduler knows: nodes with their pods, and the pods that wait. No I/O.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};

use super::place::{NodeInfo, Placement, place};
use super::resources::{Resources, pod_requests};

/// Priority (higher first), then age, then name; the uid makes it unique.
type Rank = (Reverse<i32>, Option<jiff::Timestamp>, String, String);

#[derive(Debug)]
struct Waiting {
    pod: Arc<Pod>,
    rank: Rank,
    /// The sentence last written to its PodScheduled condition by us.
    said: Option<String>,
}

/// A pod and what to do about it.
#[derive(Debug)]
pub struct Decision {
    pub uid: String,
    pub pod: Arc<Pod>,
    pub placement: Placement,
    /// False when the same refusal was already written: nothing to do then.
    pub news: bool,
}

/// Nodes, placed pods and waiting pods.
#[derive(Debug, Default)]
pub struct Cluster {
    scheduler_name: String,
    nodes: BTreeMap<String, NodeInfo>,
    /// Uid -> node and requests of every placed pod that has not ended, also where the node is not known.
    placed: HashMap<String, (String, Resources)>,
    waiting: HashMap<String, Waiting>,
    /// Waiting pods to be tried, best first. The other waiting pods are parked until something changes.
    order: BTreeSet<Rank>,
    /// Uids of pods whose refusal is being written, and whether they are to be tried again after that. Two writes
    /// about one pod at a time could arrive in the wrong order.
    refusing: HashMap<String, bool>,
}

impl Cluster {
    /// An empty picture; only pods whose `spec.schedulerName` is `scheduler_name` are placed.
    pub fn new(scheduler_name: &str) -> Self {
        Self {
            scheduler_name: scheduler_name.to_owned(),
            ..Self::default()
        }
    }

    /// Takes in a node as it is now.
    pub fn apply_node(&mut self, node: &Node) {
        let mut info = NodeInfo::of(node);
        let changed = match self.nodes.remove(&info.name) {
            Some(earlier) => {
                let changed = info.differs_from(&earlier);
                info.keep_pods_of(earlier);
                changed
            }
            None => {
                for (uid, (node, requests)) in &self.placed {
                    if *node == info.name {
                        info.add_pod(uid, requests.clone());
                    }
                }
                true
            }
        };
        self.nodes.insert(info.name.clone(), info);
        if changed {
            self.wake();
        }
    }

    /// Forgets a node.
    pub fn delete_node(&mut self, name: &str) {
        if self.nodes.remove(name).is_some() {
            self.wake();
        }
    }

    /// Forgets nodes that a fresh list does not have.
    pub fn retain_nodes(&mut self, names: &HashSet<String>) {
        let gone: Vec<String> = self
            .nodes
            .keys()
            .filter(|name| !names.contains(*name))
            .cloned()
            .collect();
        gone.iter().for_each(|name| self.delete_node(name));
    }

    /// Takes in a pod as it is now.
    pub fn apply_pod(&mut self, pod: Pod) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let ended = matches!(phase, Some("Succeeded" | "Failed"));
        let node = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.node_name.clone())
            .filter(|name| !name.is_empty());
        match node {
            _ if ended => self.delete_pod(&uid),
            Some(node) => {
                self.stop_waiting(&uid);
                self.count(&uid, &node, || pod_requests(&pod));
            }
            None if pod.metadata.deletion_timestamp.is_some() || !self.is_ours(&pod) => {
                self.stop_waiting(&uid)
            }
            // Placed by us a moment ago; this event is older than the binding.
            None if self.placed.contains_key(&uid) => {}
            None => self.wait(uid, pod),
        }
    }

    /// Forgets a pod and gives back what it occupied.
    pub fn delete_pod(&mut self, uid: &str) {
        self.stop_waiting(uid);
        self.release(uid);
    }

    /// Forgets pods that a fresh list does not have.
    pub fn retain_pods(&mut self, uids: &HashSet<String>) {
        let known = self.placed.keys().chain(self.waiting.keys());
        let gone: Vec<String> = known.filter(|uid| !uids.contains(*uid)).cloned().collect();
        gone.iter().for_each(|uid| self.delete_pod(uid));
    }

    /// Takes the next pod to be tried, decides, and counts it as placed if it has a node. After a refusal that is news
    /// the pod is left alone until [`Cluster::refused`].
    pub fn decide_next(&mut self) -> Option<Decision> {
        let uid = self.pop()?;
        let waiting = self.waiting.get_mut(&uid)?;
        let pod = waiting.pod.clone();
        let placement = place(&pod, self.nodes.values());
        let news = match &placement {
            Placement::Node(_) => true,
            Placement::Nowhere(message) => {
                let news = waiting.said.as_ref() != Some(message);
                waiting.said = Some(message.clone());
                news
            }
        };
        match &placement {
            Placement::Node(node) => {
                let node = node.clone();
                self.waiting.remove(&uid);
                self.count(&uid, &node, || pod_requests(&pod));
            }
            Placement::Nowhere(_) if news => drop(self.refusing.insert(uid.clone(), false)),
            Placement::Nowhere(_) => {}
        }
        Some(Decision {
            uid,
            pod,
            placement,
            news,
        })
    }

    fn pop(&mut self) -> Option<String> {
        loop {
            let uid = self.order.pop_first()?.3;
            match self.refusing.get_mut(&uid) {
                Some(again) => *again = true,
                None => return Some(uid),
            }
        }
    }

    /// The refusal is written, or could not be; then it is written at the next try.
    pub fn refused(&mut self, uid: &str, written: bool) {
        let again = self.refusing.remove(uid) == Some(true);
        if let Some(waiting) = self.waiting.get_mut(uid).filter(|_| !written) {
            waiting.said = None;
        }
        if again {
            self.retry(uid);
        }
    }

    /// A binding failed: the pod waits again, and is tried once [`Cluster::retry`] is called.
    pub fn unbind(&mut self, uid: &str, pod: Arc<Pod>) {
        self.release(uid);
        let rank = rank_of(&pod);
        self.waiting.insert(
            uid.to_owned(),
            Waiting {
                pod,
                rank,
                said: None,
            },
        );
    }

    /// The API server refused the binding to `node`; what the watch says of the pod since then stands.
    pub fn forget_binding(&mut self, uid: &str, node: &str) {
        if self.placed.get(uid).is_some_and(|(name, _)| name == node) {
            self.release(uid);
        }
    }

    /// Tries one waiting pod again.
    pub fn retry(&mut self, uid: &str) {
        if let Some(waiting) = self.waiting.get(uid) {
            self.order.insert(waiting.rank.clone());
        }
    }

    fn is_ours(&self, pod: &Pod) -> bool {
        let spec = pod.spec.as_ref();
        let name = spec
            .and_then(|spec| spec.scheduler_name.as_deref())
            .unwrap_or_default();
        let gated = spec
            .and_then(|spec| spec.scheduling_gates.as_ref())
            .is_some_and(|gates| !gates.is_empty());
        !gated && (name == self.scheduler_name || name.is_empty())
    }

    /// An update that does not touch the spec (our own condition, say) does not cause another try.
    fn wait(&mut self, uid: String, pod: Pod) {
        let rank = rank_of(&pod);
        let earlier = self.waiting.remove(&uid);
        let same = earlier
            .as_ref()
            .is_some_and(|earlier| earlier.pod.spec == pod.spec);
        if !same {
            if let Some(earlier) = &earlier {
                self.order.remove(&earlier.rank);
            }
            self.order.insert(rank.clone());
        }
        let said = earlier.and_then(|earlier| earlier.said);
        self.waiting.insert(
            uid,
            Waiting {
                pod: Arc::new(pod),
                rank,
                said,
            },
        );
    }

    fn stop_waiting(&mut self, uid: &str) {
        if let Some(waiting) = self.waiting.remove(uid) {
            self.order.remove(&waiting.rank);
        }
    }

    fn count(&mut self, uid: &str, node: &str, requests: impl FnOnce() -> Resources) {
        if self.placed.get(uid).is_some_and(|(name, _)| name == node) {
            return;
        }
        self.release(uid);
        let requests = requests();
        if let Some(info) = self.nodes.get_mut(node) {
            info.add_pod(uid, requests.clone());
        }
        self.placed.insert(uid.to_owned(), (node.to_owned(), requests));
    }

    fn release(&mut self, uid: &str) {
        let Some((node, _)) = self.placed.remove(uid) else {
            return;
        };
        if self.nodes.get_mut(&node).is_some_and(|info| info.remove_pod(uid)) {
            self.wake();
        }
    }

    /// Something changed in the waiting pods' favour, perhaps: all are tried again.
    fn wake(&mut self) {
        self.order
            .extend(self.waiting.values().map(|waiting| waiting.rank.clone()));
    }
}

fn rank_of(pod: &Pod) -> Rank {
    let meta = &pod.metadata;
    let priority = pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0);
    let created = meta.creation_timestamp.as_ref().map(|time| time.0);
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    let name = format!("{namespace}/{}", meta.name.as_deref().unwrap_or_default());
    (
        Reverse(priority),
        created,
        name,
        meta.uid.clone().unwrap_or_default(),
    )
}
