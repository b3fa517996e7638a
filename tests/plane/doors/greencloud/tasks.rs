//! `/v1/task`.

use serde_json::json;

use super::{id, open, refused, shell};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_is_called_and_its_answer_replayed() {
    let (doors, ann) = open(&[]).await;
    let json_body = ann.with("Content-Type", "application/json");
    let task = id(&json_body.post("/v1/task/echo/?show=a\\b&empty=&x=%20", br#"{"k":1}"#));
    let answer = ann.get_until_not(&format!("/v1/task/{task}/result"), 404);
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (
            200,
            "['POST', '/?show=a\\\\b&empty=&x=%20', 'application/json', ['connection', 'content-length', 'content-type', 'host']]"
        )
    );
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("content-security-policy"), Some("sandbox"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    for left_behind in ["gc-storage", "x-own", "access-control-allow-origin"] {
        assert_eq!(answer.header(left_behind), None, "{answer:?}");
    }

    let seconds = i64::from_str_radix(&task[..8], 16).unwrap();
    let detail = ann.get(&format!("/v1/task/{task}")).json();
    let object = doors.task(&task).await;
    let status = object.status.unwrap();
    let pod = status.pod.unwrap();
    assert_eq!(
        detail,
        json!({
            "functionId": detail["functionId"], "issued": seconds.to_string(),
            "assigned": status.assigned_at.unwrap().as_second().to_string(),
            "finished": status.finished_at.unwrap().as_second().to_string(),
            "progress": 100, "node": pod.node_uid.unwrap(), "timeout": 3600,
            "capabilities": {"cpuCount": 0, "memSize": 0, "networkLatency": 0, "privileged": false},
        })
    );
    assert_eq!(
        ann.get("/v1/task/list").json(),
        json!([{"id": task, "issued": seconds.to_string(), "progress": 100, "status": 200}])
    );
    // The id of the function is as good as its name.
    let again = id(&ann.post(
        &format!("/v1/task/{}", detail["functionId"].as_str().unwrap()),
        b"",
    ));
    let list = ann.get("/v1/task/list/").json();
    assert_eq!(list.as_array().unwrap().len(), 2);
    assert_ne!(again, task);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_is_a_function_too() {
    let (doors, ann) = open(&[]).await;
    doors
        .function("upper", shell("tr a-z A-Z < $ERRAND_INPUT_DIR/body"))
        .await;
    let task = id(&ann.post("/v1/task/upper", b"shout"));
    let answer = ann.get_until_not(&format!("/v1/task/{task}/result/"), 404);
    assert_eq!((answer.status, answer.text().as_str()), (200, "SHOUT"));
    refused(
        &ann.get(&format!("/v1/task/{}", "0".repeat(24))),
        404,
        "NOT_FOUND",
    );
}
