//! Who may not, and what is not there.

use serde_json::json;

use super::{TASKS, create, open, refused, until, until_at};

const NO_TASK: &str = "task not found";
const NO_INSTANCE: &str = "service instance not found";
const NO_TOKEN: &str = "a token is needed in the header Authorization";
const BAD_TOKEN: &str = "the token is not valid, or has ended";
const NO_PATH: &str = "there is nothing at this path";
const NO_METHOD: &str = "this method is not allowed here";
const BAD_TASK: &str = "the task id is neither a UUID nor the name of a task";
const BAD_INSTANCE: &str = "the service instance id must be 1 to 63 letters, digits, dashes, dots and underscores, a letter or digit at both ends";
const BAD_QUERY: &str = "a % in the query is not followed by two hexadecimal digits";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_has_no_right_to_a_service_instance_learns_nothing_of_it() {
    let (doors, ann) = open(&["eve"]).await;
    create(&doors, "mine", "true", json!({})).await;
    until(&ann, "mine", "SUCCEEDED");
    let eve = doors.as_user("eve");
    for path in [TASKS, &format!("{TASKS}/mine")] {
        refused(&doors.http.get(path), 401, 16, NO_TOKEN);
        assert_eq!(doors.http.get(path).header("www-authenticate"), Some("Bearer"));
        refused(&doors.as_user("wrong").get(path), 401, 16, BAD_TOKEN);
        let basic = doors.http.with("Authorization", "Basic eDp5");
        assert_eq!(basic.get(path).status, 401);
    }
    // The same words, whether there is something or not.
    for instance in [
        "default",
        "kube-system",
        "nowhere",
        "0a6f3c1e-5d0b-4a3e-9a52-0d6f6a5b7c11",
    ] {
        let sentence = format!("user \"eve\" may not read the tasks of service instance {instance}");
        for rest in ["tasks", "tasks/mine", "tasks/none"] {
            refused(
                &eve.get(&format!("/openshift/v1/{instance}/{rest}")),
                403,
                7,
                &sentence,
            );
        }
    }
    // Whoever may read all namespaces may know which there are.
    let admin = doors.as_user("admin");
    refused(&admin.get("/openshift/v1/nowhere/tasks"), 404, 5, NO_INSTANCE);
    refused(
        &admin.get("/openshift/v1/nowhere/tasks/mine"),
        404,
        5,
        NO_INSTANCE,
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_or_malformed_is_refused_as_a_gateway_does() {
    let (doors, ann) = open(&[]).await;
    create(&doors, "mine", "true", json!({})).await;
    let id = until(&ann, "mine", "SUCCEEDED")["id"]
        .as_str()
        .unwrap()
        .to_owned();
    for (path, status, code, message) in [
        (format!("{TASKS}/unknown"), 404, 5, NO_TASK),
        (
            format!("{TASKS}/0a6f3c1e-5d0b-4a3e-9a52-0d6f6a5b7c11"),
            404,
            5,
            NO_TASK,
        ),
        (format!("{TASKS}/Mine"), 400, 3, BAD_TASK),
        (format!("{TASKS}/a%2Fb"), 400, 3, BAD_TASK),
        (format!("{TASKS}/%zz"), 400, 3, BAD_TASK),
        (format!("{TASKS}/{}", "x".repeat(300)), 400, 3, BAD_TASK),
        ("/openshift/v1/a%20b/tasks".into(), 400, 3, BAD_INSTANCE),
        (
            format!("/openshift/v1/{}/tasks", "x".repeat(64)),
            400,
            3,
            BAD_INSTANCE,
        ),
        (format!("/openshift/v1/-x/tasks/{id}"), 400, 3, BAD_INSTANCE),
        (format!("{TASKS}?pageSize=%zz"), 400, 3, BAD_QUERY),
        (format!("{TASKS}/mine?%"), 400, 3, BAD_QUERY),
        ("/openshift/v1/default/clusters".into(), 404, 5, NO_PATH),
        (format!("{TASKS}/"), 404, 5, NO_PATH),
        (format!("{TASKS}/{id}/log"), 404, 5, NO_PATH),
        ("/openshift/v1//tasks".into(), 400, 3, BAD_INSTANCE),
    ] {
        let answer = ann.get(&path);
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        refused(&answer, status, code, message);
    }
    let broken = ann.get(&format!("{TASKS}/%ff"));
    assert_eq!(
        (broken.status, &broken.json()["code"]),
        (400, &json!(3)),
        "{broken:?}"
    );
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        refused(&ann.send(method, TASKS, b"{}"), 501, 12, NO_METHOD);
        refused(
            &ann.send(method, &format!("{TASKS}/{id}"), b""),
            501,
            12,
            NO_METHOD,
        );
    }
    // Parameters that nobody knows are passed over.
    assert_eq!(ann.get(&format!("{TASKS}/{id}?view=FULL")).status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_label_makes_a_namespace_a_service_instance() {
    let (doors, ann) = open(&["eve"]).await;
    let instance = "0a6f3c1e-5d0b-4a3e-9a52-0d6f6a5b7c11";
    let namespace = |name: &str, label: &str| {
        json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "labels": {"errand.dev/service-instance-id": label}}})
    };
    doors.create(None, namespace("team", instance)).await;
    doors.create(None, namespace("one", "shared")).await;
    doors.create(None, namespace("two", "shared")).await;
    create(&doors, "elsewhere", "true", json!({})).await;
    let elsewhere = until(&ann, "elsewhere", "SUCCEEDED")["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let task = json!({"apiVersion": "errand.dev/v1alpha1", "kind": "Task", "metadata": {"name": "t"},
        "spec": {"external": {"processor": "painter"}}});
    doors.create(Some("team"), task).await;

    let admin = doors.as_user("admin");
    let path = format!("/openshift/v1/{instance}/tasks");
    let found = until_at(&admin, &format!("{path}/t"), "RUNNING");
    let seen = (&found["serviceInstanceId"], &found["command"]);
    assert_eq!(seen, (&json!(instance), &json!("AWAIT painter")));
    assert_eq!(admin.get(&path).json(), json!({"tasks": [found]}));
    // The name of the namespace is as good as its label.
    assert_eq!(
        admin.get("/openshift/v1/team/tasks").json()["tasks"][0]["id"],
        found["id"]
    );
    // A task of another service instance is not there.
    refused(&admin.get(&format!("{path}/{elsewhere}")), 404, 5, NO_TASK);
    refused(&admin.get("/openshift/v1/shared/tasks"), 404, 5, NO_INSTANCE);
    // What is refused does not tell which namespace it is.
    let sentence = format!("user \"eve\" may not read the tasks of service instance {instance}");
    refused(&doors.as_user("eve").get(&path), 403, 7, &sentence);
}
