//! A Task's way on real pods, from `kubectl apply` to its result.

use errand::crd::Phase;
use serde_json::json;

use crate::support::{Space, in_space, space::shell, tools};

#[tokio::test]
async fn a_command_task_applied_with_kubectl_has_result_log_node_and_times() {
    in_space("command", |space: Space| async move {
        let function = shell("cat $ERRAND_INPUT_DIR/body; echo to the log >&2", json!({}));
        space.function("greet", function).await;
        space.apply(
            "apiVersion: errand.dev/v1alpha1\nkind: Task\nmetadata: {name: first}\n\
             spec: {functionRef: {name: greet}, input: {body: hello}}\n",
        );
        let status = space.succeeded("first").await;
        let result = status.result.unwrap();
        assert_eq!((result.status, result.body.as_deref()), (200, Some("hello")));
        assert!(status.logs.unwrap().tail.contains("to the log"));
        let node = status.pod.unwrap().node.unwrap();
        let nodes = space.kubectl(&["get", "nodes", "-o", "name"]).ok();
        assert!(nodes.contains(&node), "{node} is none of {nodes}");
        let times = [
            status.issued_at,
            status.assigned_at,
            status.started_at,
            status.finished_at,
        ];
        let times: Vec<_> = times.into_iter().map(Option::unwrap).collect();
        assert!(times.is_sorted(), "{times:?}");
        assert_eq!(status.attempts, Some(1));
        space.no_pods().await;
    })
    .await;
}

#[tokio::test]
async fn an_http_task_gets_the_answer_of_its_function() {
    in_space("http", |space: Space| async move {
        let function = json!({
            "container": {"image": tools(), "command": ["httpd", "-f", "-p", "8080", "-h", "/www"]},
            "http": {"port": 8080},
            "timeout": "1m",
        });
        space.function("page", function).await;
        space
            .task(
                "get",
                json!({"functionRef": {"name": "page"}, "input": {"method": "GET"}}),
            )
            .await;
        let status = space.succeeded("get").await;
        let result = status.result.unwrap();
        assert_eq!((result.status, result.body.as_deref()), (200, Some("served\n")));
        assert_eq!(status.phase, Some(Phase::Succeeded));
        space.no_pods().await;
    })
    .await;
}
