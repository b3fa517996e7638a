//! The doors of other APIs, through the facade's Service.

use errand::crd::{Function, revision_name};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::support::{Space, account::EVERYTHING, in_space, installation, space::shell};

#[tokio::test]
async fn a_call_of_qinling_waits_for_its_pod() {
    in_space("qinling-call", |space: Space| async move {
        space
            .function(
                "upper",
                shell(
                    "busybox tr a-z A-Z <$ERRAND_INPUT_DIR/body; echo said >&2",
                    json!({}),
                ),
            )
            .await;
        let function: Function = space.api().get("upper").await.unwrap();
        let ann = space.user("ann", EVERYTHING).await;
        let order = json!({"function_id": function.uid(), "input": "shout", "description": "loud"});
        let made = ann.post("/v1/executions", order.to_string().as_bytes());
        let shown = made.json();
        assert_eq!(
            (made.status, &shown["status"]),
            (201, &json!("success")),
            "{shown}"
        );
        let result: Value = serde_json::from_str(shown["result"].as_str().unwrap()).unwrap();
        assert_eq!(result["output"], "SHOUT", "{shown}");
        let id = shown["id"].as_str().unwrap();
        assert_eq!(space.get(id).await.spec.description.as_deref(), Some("loud"));
        let log = ann.get(&format!("/v1/executions/{id}/log"));
        assert!(log.status == 200 && log.text().contains("said"), "{log:?}");
        let listed = ann.get("/v1/executions?status=success").json();
        assert_eq!(listed["executions"], json!([shown]));
        assert_eq!(
            ann.send("DELETE", &format!("/v1/executions/{id}"), b"").status,
            204
        );
        assert_eq!(ann.get(&format!("/v1/executions/{id}")).status, 404);
    })
    .await;
}

#[tokio::test]
async fn a_task_names_a_version_of_its_function() {
    in_space("versions", |space: Space| async move {
        let old = shell("echo the first", json!({}));
        space.function("speaks", shell("echo the second", json!({}))).await;
        let function: Function = space.api().get("speaks").await.unwrap();
        let owner = json!({"apiVersion": "errand.dev/v1alpha1", "kind": "Function", "name": "speaks", "uid": function.uid()});
        let revision = json!({
            "apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": 1,
            "metadata": {"name": revision_name("speaks", 1), "ownerReferences": [owner]},
            "data": {"spec": {"container": {"command": old["container"]["command"]}}},
        });
        space.apply(&revision.to_string());
        for (name, version, said) in [("first", 1, "the first\n"), ("now", 0, "the second\n")] {
            let task = json!({
                "apiVersion": "errand.dev/v1alpha1", "kind": "Task", "metadata": {"name": name},
                "spec": {"functionRef": {"name": "speaks", "version": version}},
            });
            space.apply(&task.to_string());
            let status = space.succeeded(name).await;
            assert_eq!(status.result.unwrap().body.as_deref(), Some(said));
        }
    })
    .await;
}

#[tokio::test]
async fn a_service_of_ucloud_reports_what_a_user_lists() {
    in_space("ucloud-report", |space: Space| async move {
        let group = "rbac.authorization.k8s.io";
        let rule = |resource: &str, verb: &str| json!({"apiGroups": ["errand.dev"], "resources": [resource], "verbs": [verb]});
        let robot = installation::facade().bearer(&space.account("robot").await);
        let role = json!({
            "apiVersion": format!("{group}/v1"), "kind": "Role", "metadata": {"name": "robot"},
            "rules": [rule("tasks", "create"), rule("tasks/status", "patch")],
        });
        let binding = json!({
            "apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": {"name": "robot"},
            "roleRef": {"apiGroup": group, "kind": "Role", "name": "robot"},
            "subjects": [{"kind": "ServiceAccount", "name": "robot", "namespace": space.name}],
        });
        space.apply(&json!({"apiVersion": "v1", "kind": "List", "items": [role, binding]}).to_string());
        let ann = space.user("ann", &["list", "get"]).await;
        let owner = format!("system:serviceaccount:{}:ann", space.name);
        let order = json!({"title": "copy", "owner": owner}).to_string();
        let made = space
            .poll("the service may make tasks", || async {
                let made = robot.send("PUT", "/api/tasks", order.as_bytes());
                (made.status != 401).then_some(made)
            })
            .await;
        assert_eq!(made.status, 200, "{made:?}");
        let id = made.json()["jobId"].as_str().unwrap().to_owned();
        let update = json!({"update": {"jobId": id, "progress": {"title": "files", "current": 1, "maximum": 2}}});
        let posted = robot.post("/api/tasks/postStatus", update.to_string().as_bytes());
        assert_eq!((posted.status, posted.json()), (200, json!({})));
        let progress = space.get(&id).await.status.unwrap().progress.unwrap();
        assert_eq!((progress.current, progress.maximum), (Some(1), Some(2)));
        let listed = ann.get("/api/tasks?itemsPerPage=10&page=0").json();
        assert_eq!((&listed["itemsInTotal"], &listed["items"][0]["jobId"]), (&json!(1), &json!(id)));
        assert_eq!(ann.post("/api/tasks/markAsComplete", json!({"id": id}).to_string().as_bytes()).status, 401);
        assert_eq!(robot.post("/api/tasks/markAsComplete", json!({"id": id}).to_string().as_bytes()).status, 200);
        space.succeeded(&id).await;
    })
    .await;
}

#[tokio::test]
async fn a_client_of_cloud_ru_reads_the_tasks_of_its_instance() {
    in_space("cloudru-read", |space: Space| async move {
        space.script("greets", "echo hello", json!({})).await;
        let uid = space.get("greets").await.uid();
        space.succeeded("greets").await;
        let ann = space.user("ann", &["list", "get"]).await;
        let tasks = format!("/openshift/v1/{}/tasks", space.name);
        let listed = ann.get(&tasks).json();
        let task = &listed["tasks"][0];
        assert_eq!(
            (&task["id"], &task["status"]),
            (&json!(uid), &json!("SUCCEEDED")),
            "{listed}"
        );
        let one = ann.get(&format!("{tasks}/{}", uid.unwrap())).json();
        assert!(one["task"]["response"].is_object(), "{one}");
        let elsewhere = ann.get("/openshift/v1/kube-system/tasks");
        assert_eq!(
            (elsewhere.status, &elsewhere.json()["code"]),
            (403, &json!(7)),
            "{elsewhere:?}"
        );
    })
    .await;
}
