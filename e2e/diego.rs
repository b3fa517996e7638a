//! Diego's door: tasks in real containers for clients that show a certificate.

use std::collections::BTreeSet;

use errand::crd::{Phase, Task};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::{
    core::v1::{Node, Pod},
    networking::v1::NetworkPolicy,
};
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, WatchEvent, WatchParams},
};
use serde_json::{Value, json};

use crate::support::{
    Space,
    account::EVERYTHING,
    diego::{
        AUTHORITY, Authority, CELL, COMPLETED, DEFINITION, FAILED, GUID, NOT_FOUND, REASON, RESULT, RUNNING,
        STATE, UNKNOWN, callback, error, result_file, script,
    },
    in_space, installation,
    protobuf::{Fields, message, number, text},
    receiver::{Receiver, Reply},
};

/// The one Task there is.
async fn only(space: &Space) -> Task {
    let tasks = space.api::<Task>().list(&ListParams::default()).await.unwrap();
    let [task] = &tasks.items[..] else {
        panic!("{:?}", tasks.items)
    };
    task.clone()
}

#[tokio::test]
async fn a_task_runs_on_a_node_that_is_a_cell_and_its_result_comes_back() {
    in_space("diego", |space: Space| async move {
        let bbs = space.diego(EVERYTHING).await;
        assert_eq!(bbs.respond("/v1/ping", b"").await.unwrap(), (200, vec![8, 1]));
        let waits = "until test -e /tmp/go; do sleep 0.1; done; echo told; echo 42 >/tmp/result";
        let definition = script(waits, &[result_file("/tmp/result")]);
        assert_eq!(
            bbs.desire("Some_guid", "cf-tasks", &definition).await.unwrap(),
            Ok(())
        );
        let running = bbs.until(&space, "Some_guid", RUNNING).await;
        let task = only(&space).await;
        let pod = task.status.unwrap().pod.unwrap();
        assert_eq!(Some(running.text(CELL)), pod.node);

        let cells = bbs.call("/v1/cells/list.r1", b"").await.unwrap();
        let cells: Vec<Fields> = cells.all(2).iter().map(|cell| Fields::parse(cell)).collect();
        let nodes = Api::<Node>::all(space.client.clone())
            .list(&ListParams::default())
            .await
            .unwrap();
        let names: BTreeSet<String> = nodes.iter().map(|node| node.name_any()).collect();
        assert_eq!(
            cells.iter().map(|cell| cell.text(1)).collect::<BTreeSet<_>>(),
            names
        );
        for cell in &cells {
            let memory = cell.message(4).unwrap().number(1);
            assert!(!cell.text(2).is_empty() && memory > 0, "{cell:?}");
        }
        let one = ["Some_guid"];
        assert_eq!(bbs.listed("", "").await, one);
        assert_eq!(bbs.listed("cf-tasks", &running.text(CELL)).await, one);
        assert_eq!(bbs.listed("other", "").await, [""; 0]);

        space.kubectl(&["exec", &pod.name, "--", "touch", "/tmp/go"]).ok();
        let task = bbs.until(&space, "Some_guid", COMPLETED).await;
        let end = (
            task.number(FAILED),
            task.text(REASON),
            task.text(RESULT),
            task.text(CELL),
        );
        assert_eq!(end, (0, String::new(), "42\n".into(), String::new()));
        assert_eq!(task.all(DEFINITION), [definition]);
        let logs = only(&space).await.status.unwrap().logs.unwrap();
        assert_eq!(logs.tail, "[TSK] told\n[TSK] Exit status 0\n");
        space.no_pods().await;
    })
    .await;
}

#[tokio::test]
async fn only_the_user_whom_kubernetes_lets_in_is_let_in() {
    in_space("diego-users", |space: Space| async move {
        let bbs = space.diego(EVERYTHING).await;
        let exits = script("exit 3", &[]);
        assert_eq!(bbs.desire("g", "d", &exits).await.unwrap(), Ok(()));

        let authority = Authority::of_the_door(&space.client).await;
        let other = format!("not-{}", space.name);
        let stranger = authority.client(&other);
        let may_not = |verb: &str| {
            let words = format!("user {other:?} cannot {verb} tasks in namespace {other:?}");
            (UNKNOWN, words)
        };
        assert_eq!(
            stranger.desire("h", "d", &exits).await.unwrap(),
            Err(may_not("create"))
        );
        let listed = stranger.call("/v1/tasks/list.r3", b"").await.unwrap();
        assert_eq!(error(&listed), Err(may_not("list")));
        // What the name of a certificate must not say.
        let (status, _) = authority
            .client("system:admin")
            .respond("/v1/ping", b"")
            .await
            .unwrap();
        assert_eq!(status, 401);

        // TLS 1.3 tells a client of its certificate only with the first answer.
        for (client, alert) in [
            (authority.other("elsewhere").client(&space.name), "UnknownCA"),
            (authority.other(AUTHORITY).client(&space.name), "DecryptError"),
            (authority.nobody(), "CertificateRequired"),
        ] {
            let refused = client.respond("/v1/ping", b"").await.unwrap_err();
            assert!(refused.to_string().contains(alert), "{refused}");
        }
        let task = bbs.until(&space, "g", COMPLETED).await;
        let end = (task.number(FAILED), task.text(REASON));
        assert_eq!(end, (1, "TSK: Exited with status 3".into()));
    })
    .await;
}

#[tokio::test]
async fn a_running_task_is_cancelled_and_a_stream_tells_of_its_whole_life() {
    in_space("diego-events", |space: Space| async move {
        let bbs = space.diego(EVERYTHING).await;
        let events = bbs.events().await;
        let waits = script(
            "exec 2>/dev/null; trap 'echo heard; exit 4' TERM; echo ready; while :; do sleep 0.1; done",
            &[],
        );
        assert_eq!(bbs.desire("g", "d", &waits).await.unwrap(), Ok(()));
        let node = bbs.until(&space, "g", RUNNING).await.text(CELL);
        let name = only(&space).await.name_any();
        space.says(&name, "ready").await;
        assert_eq!(bbs.named("cancel", "g").await, Ok(()));
        let task = bbs.task("g").await.unwrap();
        let end = |task: &Fields| (task.number(STATE), task.number(FAILED), task.text(REASON));
        assert_eq!(end(&task), (COMPLETED, 1, "task was cancelled".into()));
        let status = space.ended(&name).await;
        assert_eq!(status.phase, Some(Phase::Cancelled));
        let log = status.logs.unwrap().tail;
        assert_eq!(log, "[TSK] ready\n[TSK] heard\n[TSK] Exit status 4\n");
        space.no_pods().await;
        assert_eq!(bbs.named("resolving", "g").await, Ok(()));
        assert_eq!(bbs.named("delete", "g").await, Ok(()));

        let seen = events.up_to("task_removed").await;
        let told: Vec<_> = seen
            .iter()
            .map(|(name, event)| {
                // A task that changed is told of as it was, and as it is.
                let field = if name == "task_changed" { 2 } else { 1 };
                let task = event.message(field).unwrap();
                assert_eq!(task.text(GUID), "g");
                (
                    name.as_str(),
                    task.number(STATE),
                    task.text(CELL),
                    task.text(REASON),
                )
            })
            .collect();
        let (none, cancelled) = (String::new, || "task was cancelled".to_owned());
        let resolving = 4;
        let expected = [
            ("task_created", 1, none(), none()),
            ("task_changed", RUNNING, node, none()),
            ("task_changed", COMPLETED, none(), cancelled()),
            ("task_changed", resolving, none(), cancelled()),
            ("task_removed", resolving, none(), cancelled()),
        ];
        assert_eq!(told, expected);
    })
    .await;
}

#[tokio::test]
async fn the_network_of_a_task_is_closed_but_for_its_rules_before_it_has_a_pod() {
    in_space("diego-egress", |space: Space| async move {
        let bbs = space.diego(EVERYTHING).await;
        let pods = space.api::<Pod>();
        let from = pods
            .list(&ListParams::default())
            .await
            .unwrap()
            .metadata
            .resource_version
            .unwrap();
        // protocol 1, destinations 2, port_range 4 {start 1, end 2}
        let range = [number(1, 5432), number(2, 5432)].concat();
        let rule = [text(1, "tcp"), text(2, "10.0.0.0-10.0.0.2"), message(4, &range)].concat();
        let definition = script("true", &[message(14, &rule)]);
        assert_eq!(bbs.desire("g", "d", &definition).await.unwrap(), Ok(()));
        let task = bbs.until(&space, "g", COMPLETED).await;
        assert_eq!(task.number(FAILED), 0, "{task:?}");

        let policies = space
            .api::<NetworkPolicy>()
            .list(&ListParams::default())
            .await
            .unwrap();
        let [policy] = &policies.items[..] else {
            panic!("{policies:?}")
        };
        let spec: Value = serde_json::to_value(&policy.spec).unwrap();
        let block = |cidr: &str| json!({"ipBlock": {"cidr": cidr}});
        let ports = &spec["egress"][0]["ports"][0];
        assert_eq!(
            (
                &spec["policyTypes"],
                &spec["egress"][0]["to"],
                &ports["port"],
                &ports["protocol"]
            ),
            (
                &json!(["Egress"]),
                &json!([block("10.0.0.0/31"), block("10.0.0.2/32")]),
                &json!(5432),
                &json!("TCP")
            )
        );
        // The pod as it was made, to be told from what it became.
        let events = pods.watch(&WatchParams::default(), &from).await.unwrap();
        let made = events.try_filter_map(|event| async move {
            Ok(match event {
                WatchEvent::Added(pod) => Some(pod),
                _ => None,
            })
        });
        let pod = std::pin::pin!(made).next().await.unwrap().unwrap();
        let selected = spec["podSelector"]["matchLabels"].as_object().unwrap();
        for (label, value) in selected {
            assert_eq!(pod.labels().get(label).map(String::as_str), value.as_str());
        }
        // Of one store, whose revisions are in order.
        let revision = |version: Option<String>| version.unwrap().parse::<u64>().unwrap();
        assert!(revision(policy.resource_version()) < revision(pod.resource_version()));
    })
    .await;
}

#[tokio::test]
async fn a_task_is_gone_once_its_callback_was_taken() {
    in_space("diego-callback", |space: Space| async move {
        let bbs = space.diego(EVERYTHING).await;
        let receiver = Receiver::on(installation::listener(), |number, _| match number {
            // Tried again at once.
            0 => Reply::Status(503),
            _ => Reply::Status(500),
        });
        let more = [callback(&receiver.url()), text(13, "note"), result_file("/tmp/result")];
        let definition = script("echo 42 >/tmp/result; exit 1", &more);
        assert_eq!(bbs.desire("g", "d", &definition).await.unwrap(), Ok(()));
        let calls = receiver.heard(2).await;
        for call in &calls {
            let mut body = call.json();
            assert!(body["created_at"].take().as_i64().unwrap() > 1_700_000_000_000_000_000);
            let expected = json!({
                "task_guid": "g", "failed": true, "failure_reason": "TSK: Exited with status 1", "result": "42\n",
                "annotation": "note", "created_at": null,
            });
            assert_eq!((call.target.as_str(), body), ("POST /hook", expected));
        }
        space
            .poll("the task is gone", || async {
                (bbs.task("g").await.err()?.0 == NOT_FOUND).then_some(())
            })
            .await;
        space.no_pods().await;
        assert_eq!(space.api::<Task>().list(&ListParams::default()).await.unwrap().items, []);
        assert_eq!(receiver.calls().len(), 2);
    })
    .await;
}
