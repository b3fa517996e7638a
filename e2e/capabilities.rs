//! What a Task asks of its machine, as kernel, kubelet and scheduler hold it.

use errand::crd::{Phase, TaskStatus};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{Api, ResourceExt as _, api::ListParams};
use serde_json::json;

use crate::support::{
    Space,
    command::kubectl,
    in_space,
    space::{kubeconfig, lacks_evidence, shell},
    tools,
};

/// What containerd and Docker leave to a container by default; CRI-O leaves less.
const DEFAULT_CAPABILITIES: u64 = 0xa804_25fb;
/// CAP_SYS_ADMIN (capabilities(7)), which mounting needs.
const SYS_ADMIN: u64 = 1 << 21;

/// Prints quota, period and memory limit, of version 1 or 2 of the kernel's control groups.
const LIMITS: &str = "cd /sys/fs/cgroup; if test -e cpu.max; then cat cpu.max memory.max; else \
                      echo $(cat cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us); cat memory/memory.limit_in_bytes; fi";
/// Prints what the kernel says of the process, and whether it may mount.
const PRIVILEGES: &str = "grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status; \
                          mount -t tmpfs mine /tmp 2>/dev/null && echo mounted || echo refused";

#[tokio::test]
async fn the_kernel_holds_processor_time_and_memory_to_what_was_asked_for() {
    in_space("limits", |space: Space| async move {
        let asked = json!({"capabilities": {"cpu": "500m", "memory": "96Mi"}});
        space.script("asks", LIMITS, asked).await;
        let status = space.succeeded("asks").await;
        assert_eq!(said(&status), format!("50000 100000\n{}\n", 96 * 1024 * 1024));
        // A Task may ask for more than its Function does.
        let function = json!({"capabilities": {"cpu": "100m", "memory": "64Mi"}});
        space.function("small", shell(LIMITS, function)).await;
        let more = json!({"functionRef": {"name": "small"}, "capabilities": {"memory": "128Mi"}});
        space.task("more", more).await;
        let status = space.succeeded("more").await;
        assert_eq!(said(&status), format!("10000 100000\n{}\n", 128 * 1024 * 1024));
    })
    .await;
}

#[tokio::test]
async fn a_task_with_limits_runs_under_a_quota_and_its_pod_is_guaranteed() {
    in_space("quota", |space: Space| async move {
        let hard = json!({"limits.cpu": "400m", "limits.memory": "128Mi", "requests.cpu": "400m", "requests.memory": "128Mi"});
        let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "all"}, "spec": {"hard": hard}});
        space.apply(&quota.to_string());
        let asked = json!({"capabilities": {"cpu": "400m", "memory": "128Mi"}});
        // The quota fits one of them.
        space.script("first", "until test -e /tmp/go; do sleep 0.1; done", asked.clone()).await;
        space.running("first").await;
        let pod = space.pod_of("first").await;
        assert_eq!(pod.status.unwrap().qos_class.as_deref(), Some("Guaranteed"));
        space.script("second", "true", asked).await;
        let waits = space
            .until("second", "it waits for the quota", |task| {
                let status = task.status.clone()?;
                Some((status.phase?, status.message?))
            })
            .await;
        assert_eq!(waits.0, Phase::Queued, "{}", waits.1);
        assert!(waits.1.contains("exceeded quota: all"), "{}", waits.1);
        space.kubectl(&["exec", &pod.metadata.name.unwrap(), "--", "touch", "/tmp/go"]).ok();
        space.succeeded("first").await;
        space.succeeded("second").await;
    })
    .await;
}

#[tokio::test]
async fn a_container_that_takes_more_memory_than_its_limit_ends_as_oom_killed() {
    in_space("memory", |space: Space| async move {
        // Keeps all of the one endless line in memory.
        let script = "echo before; exec busybox sort /dev/zero";
        space
            .script("takes", script, json!({"capabilities": {"memory": "48Mi"}}))
            .await;
        let status = space.failed("takes", "OOMKilled").await;
        assert_eq!(status.exit_code, Some(137));
        assert_eq!(
            status.message.as_deref(),
            Some("the container used more memory than its limit; raise capabilities.memory")
        );
        assert_eq!(status.logs.unwrap().tail, "before\n");
        assert_eq!(status.error.unwrap().code, 8);
    })
    .await;
}

#[tokio::test]
async fn only_a_privileged_container_may_mount() {
    in_space("privileges", |space: Space| async move {
        space.script("plain", PRIVILEGES, json!({})).await;
        space
            .script(
                "mighty",
                PRIVILEGES,
                json!({"capabilities": {"privileged": true}}),
            )
            .await;
        let plain = Privileges::read(&space.succeeded("plain").await);
        assert_eq!(plain.effective & !DEFAULT_CAPABILITIES, 0, "{plain:x?}");
        assert_eq!(
            (plain.no_new, plain.filtered, plain.mounted),
            (true, true, false),
            "{plain:x?}"
        );
        let mighty = Privileges::read(&space.succeeded("mighty").await);
        assert_eq!(mighty.effective & SYS_ADMIN, SYS_ADMIN, "{mighty:x?}");
        assert_eq!(
            (mighty.no_new, mighty.filtered, mighty.mounted),
            (false, false, true),
            "{mighty:x?}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_container_that_fills_the_disk_beyond_its_limit_is_evicted() {
    in_space("disk", |space: Space| async move {
        let disk = json!({"capabilities": {"ephemeralStorage": "16Mi"}});
        // Within the limit; what brings the supervisor in does not count.
        space
            .script(
                "modest",
                "head -c 8m /dev/zero >/tmp/some; sleep 25; echo done",
                disk.clone(),
            )
            .await;
        space
            .script(
                "greedy",
                "echo before; head -c 64m /dev/zero >/tmp/much; sleep 600",
                disk,
            )
            .await;
        let status = space.failed("greedy", "Evicted").await;
        let message = status.message.clone().unwrap();
        assert!(
            message.contains("ephemeral") && message.contains("limit"),
            "{message}"
        );
        assert_eq!(status.error.as_ref().unwrap().code, 8);
        // Kubelets, old and new ones, may have let go of an evicted container before its log was read; the Task tells so.
        let expected = (!lacks_evidence(&status)).then_some("before\n");
        let tail = status.logs.map(|logs| logs.tail);
        assert_eq!(tail.as_deref(), expected);
        assert_eq!(said(&space.succeeded("modest").await), "done\n");
    })
    .await;
}

#[tokio::test]
async fn a_pod_has_no_volume_that_its_task_does_not_need() {
    in_space("volumes", |space: Space| async move {
        let wait = shell("sleep 600", json!({}));
        space.function("wait", wait.clone()).await;
        space
            .function(
                "page",
                json!({"container": {"image": tools(), "command": ["sleep", "600"]}, "http": {}}),
            )
            .await;
        let mut bare = wait;
        bare["supervise"] = json!(false);
        space.function("bare", bare).await;
        let input = json!({"body": "text", "query": "a=b"});
        let bytes = json!({"bodyBase64": "AP8="});
        let supervisor = "errand-bin";
        for (task, function, input, volumes) in [
            ("plain", "wait", None, vec![supervisor]),
            (
                "with-text",
                "wait",
                Some(&input),
                vec!["errand-input", supervisor],
            ),
            (
                "with-bytes",
                "wait",
                Some(&bytes),
                vec!["errand-input", "errand-input-decoded", supervisor],
            ),
            ("http", "page", Some(&input), vec![]),
            ("bare-plain", "bare", None, vec![]),
            ("bare-text", "bare", Some(&input), vec!["errand-input"]),
        ] {
            space
                .task(task, json!({"functionRef": {"name": function}, "input": input}))
                .await;
            let pod = space.pod_of(task).await;
            let found: Vec<String> = pod
                .spec
                .unwrap()
                .volumes
                .into_iter()
                .flatten()
                .map(|volume| volume.name)
                .collect();
            assert_eq!(found, volumes, "{task}");
        }
    })
    .await;
}

#[tokio::test]
async fn node_selector_and_node_affinity_choose_the_node() {
    in_space("nodes", |space: Space| async move {
        let key = format!("{}.e2e.errand.dev/colour", space.name);
        let [first, second] = two_nodes(&space).await;
        let _labels = [Label::put(&first, &key, "blue"), Label::put(&second, &key, "green")];
        let affinity = |operator: &str, values: &[&str]| {
            json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": key, "operator": operator, "values": values}]}]}})
        };
        let preferred = json!({"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 100, "preference": {"matchExpressions": [{"key": key, "operator": "In", "values": ["green"]}]}}]});
        for (task, capabilities, node) in [
            ("selects-blue", json!({"nodeSelector": {&key: "blue"}}), &first),
            ("selects-green", json!({"nodeSelector": {&key: "green"}}), &second),
            ("wants-blue", json!({"nodeAffinity": affinity("In", &["blue", "red"])}), &first),
            (
                "not-blue",
                json!({"nodeAffinity": affinity("NotIn", &["blue"]), "nodeSelector": {&key: "green"}}),
                &second,
            ),
            ("prefers-green", json!({"nodeAffinity": preferred}), &second),
        ] {
            space.script(task, "true", json!({"capabilities": capabilities})).await;
            let status = space.succeeded(task).await;
            assert_eq!(status.pod.unwrap().node.as_ref(), Some(node), "{task}");
        }
    })
    .await;
}

#[tokio::test]
async fn network_latency_is_a_bound_that_the_node_must_keep() {
    in_space("latency", |space: Space| async move {
        // Nobody else gives nodes this label.
        let key = "errand.dev/network-latency-ms";
        let [near, far] = two_nodes(&space).await;
        let _labels = [Label::put(&near, key, "5"), Label::put(&far, key, "50")];
        let selector = format!("{}.e2e.errand.dev/far", space.name);
        let _far = Label::put(&far, &selector, "yes");
        for (task, capabilities, node) in [
            ("near-enough", json!({"networkLatencyMs": 20}), &near),
            ("just-below", json!({"networkLatencyMs": 6}), &near),
            (
                "far-will-do",
                json!({"networkLatencyMs": 51, "nodeSelector": {&selector: "yes"}}),
                &far,
            ),
        ] {
            space
                .script(task, "true", json!({"capabilities": capabilities}))
                .await;
            let status = space.succeeded(task).await;
            assert_eq!(status.pod.unwrap().node.as_ref(), Some(node), "{task}");
        }
        // The bound itself is not below it.
        let none = json!({"capabilities": {"networkLatencyMs": 5}, "pendingTimeout": "2s"});
        space.script("too-near", "true", none).await;
        unschedulable(&space, "too-near", "2s").await;
    })
    .await;
}

#[tokio::test]
async fn a_task_that_no_node_fits_says_so_while_it_waits_and_when_it_ends() {
    in_space("unschedulable", |space: Space| async move {
        let asked =
            json!({"capabilities": {"resources": {"example.com/e2e-gpu": 1}}, "pendingTimeout": "12s"});
        space.script("wants-gpu", "true", asked).await;
        let (reason, message) = space
            .until("wants-gpu", "it is Pending", |task| {
                let status = task.status.clone()?;
                (status.phase == Some(Phase::Pending)).then_some((status.reason?, status.message?))
            })
            .await;
        assert_eq!(reason, "Unschedulable");
        assert!(message.contains("Insufficient example.com/e2e-gpu"), "{message}");
        let message = unschedulable(&space, "wants-gpu", "12s").await;
        assert!(message.contains("Insufficient example.com/e2e-gpu"), "{message}");
        space.no_pods().await;
    })
    .await;
}

/// The message of a Task that no node fitted.
async fn unschedulable(space: &Space, task: &str, limit: &str) -> String {
    let status = space.failed(task, "Unschedulable").await;
    assert_eq!((status.error.unwrap().code, status.started_at), (8, None));
    let message = status.message.unwrap();
    assert!(
        message.starts_with(&format!("no node took the pod within {limit}: 0/")),
        "{message}"
    );
    message
}

fn said(status: &TaskStatus) -> String {
    status.result.clone().unwrap().body.unwrap_or_default()
}

/// What [`PRIVILEGES`] printed.
#[derive(Debug)]
struct Privileges {
    effective: u64,
    no_new: bool,
    filtered: bool,
    mounted: bool,
}

impl Privileges {
    fn read(status: &TaskStatus) -> Self {
        let text = said(status);
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("no {name} in {text}"))
                .trim()
                .to_owned()
        };
        Self {
            effective: u64::from_str_radix(&field("CapEff:"), 16).unwrap(),
            no_new: field("NoNewPrivs:") == "1",
            filtered: field("Seccomp:") == "2",
            mounted: text.ends_with("mounted\n"),
        }
    }
}

/// A label of a node for as long as this lives.
struct Label {
    node: String,
    key: String,
}

impl Label {
    fn put(node: &str, key: &str, value: &str) -> Self {
        kubectl(kubeconfig(), ["label", "node", node, &format!("{key}={value}")]).ok();
        Self {
            node: node.to_owned(),
            key: key.to_owned(),
        }
    }
}

impl Drop for Label {
    fn drop(&mut self) {
        let _ = kubectl(
            kubeconfig(),
            ["label", "node", &self.node, &format!("{}-", self.key)],
        );
    }
}

/// Two nodes that take pods.
async fn two_nodes(space: &Space) -> [String; 2] {
    let nodes = Api::<Node>::all(space.client.clone())
        .list(&ListParams::default())
        .await
        .unwrap();
    let open = nodes.items.iter().filter(|node| {
        let spec = node.spec.clone().unwrap_or_default();
        spec.unschedulable != Some(true) && spec.taints.unwrap_or_default().is_empty()
    });
    let names: Vec<String> = open.map(|node| node.name_any()).take(2).collect();
    names
        .try_into()
        .unwrap_or_else(|found| panic!("two nodes are needed; there are {found:?}"))
}

impl Space {
    /// The pod of a Task.
    async fn pod_of(&self, task: &str) -> Pod {
        self.poll(&format!("{task} has a pod"), || async {
            let selector = format!("errand.dev/task={task}");
            let pods = self
                .api::<Pod>()
                .list(&ListParams::default().labels(&selector))
                .await;
            pods.unwrap().items.pop()
        })
        .await
    }
}
