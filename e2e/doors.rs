//! Tasks over REST: through the facade's Service, with the token of a service account.

use serde_json::{Value, json};

use crate::support::{Space, account::EVERYTHING, http::Answer, in_space, installation, space::shell, tools};

#[tokio::test]
async fn a_command_is_called_through_greencloud_in_the_namespace_of_the_account() {
    in_space("gc-command", |space: Space| async move {
        let function = shell(
            "busybox tr a-z A-Z <$ERRAND_INPUT_DIR/body; cat $ERRAND_INPUT_DIR/query",
            json!({}),
        );
        space.function("upper", function).await;
        let ann = space.user("ann", EVERYTHING).await;
        let created = ann.post("/v1/task/upper?size=10", b"shout ");
        assert_eq!(created.status, 201, "{created:?}");
        let id = created.json()["id"].as_str().unwrap().to_owned();

        let result = ann.get_until_not(&format!("/v1/task/{id}/result"), 404);
        let seen = (result.status, result.header("content-type"), result.text());
        assert_eq!(
            seen,
            (200, Some("text/plain; charset=utf-8"), "SHOUT size=10".to_owned())
        );
        let status = space.succeeded(&id).await;
        let owner = space.get(&id).await.spec.owner;
        assert_eq!(owner, Some(format!("system:serviceaccount:{}:ann", space.name)));

        let listed = ann.get("/v1/task/list").json();
        assert_eq!(
            listed,
            json!([{"id": id, "issued": listed[0]["issued"], "progress": 100, "status": 200}])
        );
        let detail = ann.get(&format!("/v1/task/{id}")).json();
        let pod = status.pod.unwrap();
        let node = space.kubectl(&[
            "get",
            "node",
            &pod.node.unwrap(),
            "-o",
            "jsonpath={.metadata.uid}",
        ]);
        assert_eq!(
            (&detail["node"], &detail["progress"]),
            (&json!(node.ok()), &json!(100)),
            "{detail}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_web_server_is_called_through_greencloud_and_its_answer_comes_back() {
    in_space("gc-http", |space: Space| async move {
        let function = json!({
            "container": {"image": tools(), "command": ["httpd", "-f", "-p", "8080", "-h", "/www"]},
            "http": {"path": "/index.html"},
        });
        space.function("page", function).await;
        let ann = space.user("ann", EVERYTHING).await;
        // This server takes POST for scripts only, and its refusal is an answer like any other.
        let created = ann.post("/v1/task/page", b"");
        let id = created.json()["id"].as_str().unwrap().to_owned();
        let status = space.succeeded(&id).await;
        // The facade hears of the end a moment after the API server has it.
        let answer = space
            .poll("the facade knows the end", || async {
                let answer = ann.get(&format!("/v1/task/{id}/result"));
                (answer.status != 404).then_some(answer)
            })
            .await;
        let result = status.result.unwrap();
        assert_eq!(
            (answer.status, answer.text()),
            (result.status, result.body.unwrap())
        );
        assert_eq!(answer.status, 501, "{answer:?}");
    })
    .await;
}

#[tokio::test]
async fn a_task_is_followed_listed_and_read_at_errands_own_door() {
    in_space("own-door", |space: Space| async move {
        let ann = space.user("ann", EVERYTHING).await;
        let script = "echo '::progress 50 half'; echo first; sleep 3; echo second";
        space.script("counts", script, json!({})).await;
        let tasks = format!("/errand/v1/namespaces/{}/tasks", space.name);

        // The stream ends with the Task.
        let stream = ann.get(&format!("{tasks}/counts/events"));
        assert_eq!(
            (stream.status, stream.header("content-type")),
            (200, Some("text/event-stream"))
        );
        let seen = events(&stream);
        let named = |name: &str| -> Vec<(&str, Value)> {
            let of_name = seen.iter().filter(|event| event.name == name);
            of_name
                .map(|event| {
                    (
                        &*event.id,
                        serde_json::from_str(&event.data).unwrap_or(json!(event.data)),
                    )
                })
                .collect()
        };
        assert_eq!(named("log"), [("1.1", json!("first")), ("1.2", json!("second"))]);
        let progress = named("progress");
        assert_eq!(
            progress[0].1,
            json!({"percent": 50, "title": "half"}),
            "{seen:#?}"
        );
        let phases: Vec<Value> = named("status")
            .iter()
            .map(|(_, data)| data["phase"].clone())
            .collect();
        assert!(phases.contains(&json!("Running")), "{phases:?}");
        let end = seen.last().unwrap();
        let end_data: Value = serde_json::from_str(&end.data).unwrap();
        assert_eq!((&*end.name, &end_data["phase"]), ("end", &json!("Succeeded")));

        let result = ann.get(&format!("{tasks}/counts/result"));
        assert_eq!(
            (result.status, result.text()),
            (200, "first\nsecond\n".to_owned())
        );
        assert_eq!(result.header("errand-phase"), Some("Succeeded"));
        let log = ann.get(&format!("{tasks}/counts/log")).text();
        assert!(log.ends_with("first\nsecond\n"), "{log}");
        let list = ann.get(&tasks).json();
        let names: Vec<&Value> = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| &item["name"])
            .collect();
        assert_eq!(names, ["counts"]);
        let whole = ann.get(&format!("{tasks}/counts")).json();
        assert_eq!(
            whole["metadata"]["uid"],
            json!(space.get("counts").await.metadata.uid)
        );
    })
    .await;
}

#[tokio::test]
async fn a_running_task_is_cancelled_at_errands_own_door() {
    in_space("own-cancel", |space: Space| async move {
        let ann = space.user("ann", EVERYTHING).await;
        space
            .script(
                "waits",
                "trap 'echo heard; exit 0' TERM; echo ready; sleep 600 & wait",
                json!({}),
            )
            .await;
        space.running("waits").await;
        space.says("waits", "ready").await;
        let task = format!("/errand/v1/namespaces/{}/tasks/waits", space.name);
        let pending = ann.get(&format!("{task}/result?wait=1s"));
        assert_eq!(
            (pending.status, &pending.json()["phase"]),
            (202, &json!("Running"))
        );
        assert_eq!(ann.post(&format!("{task}/cancel"), b"").status, 202);
        let ended = ann.get(&format!("{task}?wait=60s")).json()["status"].clone();
        assert_eq!(
            (&ended["phase"], &ended["result"]["status"]),
            (&json!("Cancelled"), &json!(499)),
            "{ended}"
        );
        assert_eq!(ann.get(&format!("{task}/log")).text(), "ready\nheard\n");
    })
    .await;
}

#[tokio::test]
async fn a_pod_reports_the_progress_and_the_end_of_its_own_task_only() {
    in_space("own-report", |space: Space| async move {
        space.script("other", "sleep 600", json!({})).await;
        let report = |task: &str, what: &str, body: &str| {
            format!(
                "wget -q -O - --header \"Authorization: Bearer $(cat /token/errand)\" --post-data '{body}' \
                 http://{}/errand/v1/namespaces/$ERRAND_NAMESPACE/tasks/{task}/{what} || echo refused",
                installation::facade_address()
            )
        };
        let script = [
            report("other", "progress", r#"{"percent": 1}"#),
            report("$ERRAND_TASK", "progress", r#"{"percent": 70, "title": "most"}"#),
            "until test -e /tmp/go; do sleep 0.1; done".to_owned(),
            report(
                "$ERRAND_TASK",
                "end",
                r#"{"phase": "Succeeded", "result": {"body": "by report"}}"#,
            ),
            "sleep 600".to_owned(),
        ]
        .join("\n");
        let token = json!({
            "container": {"volumeMounts": [{"name": "token", "mountPath": "/token", "readOnly": true}]},
            "pod": {"volumes": [{"name": "token", "projected": {"sources": [
                {"serviceAccountToken": {"audience": "errand", "path": "errand"}}]}}]},
        });
        space.script("reports", &script, token).await;
        let (progress, pod) = space
            .until("reports", "progress", |task| {
                let status = task.status.clone()?;
                Some((status.progress?, status.pod?.name))
            })
            .await;
        assert_eq!(
            (progress.percent, progress.title.as_deref()),
            (Some(70), Some("most"))
        );
        space.kubectl(&["exec", &pod, "--", "touch", "/tmp/go"]).ok();
        let status = space.succeeded("reports").await;
        assert_eq!(status.reason.as_deref(), Some("Reported"));
        assert_eq!(status.result.unwrap().body.as_deref(), Some("by report"));
        assert_eq!(status.logs.unwrap().tail.matches("refused").count(), 1);
        assert_eq!(space.get("other").await.status.unwrap().progress, None);
    })
    .await;
}

/// An event of a stream.
#[derive(Debug)]
struct Event {
    name: String,
    id: String,
    data: String,
}

fn events(answer: &Answer) -> Vec<Event> {
    let field = |event: &str, name: &str| {
        let prefix = format!("{name}: ");
        let lines = event.lines().filter_map(|line| line.strip_prefix(&prefix));
        lines.collect::<Vec<_>>().join("\n")
    };
    let text = answer.text();
    let blocks = text.split("\n\n").filter(|block| block.starts_with("event: "));
    blocks
        .map(|block| Event {
            name: field(block, "event"),
            id: field(block, "id"),
            data: field(block, "data"),
        })
        .collect()
}
