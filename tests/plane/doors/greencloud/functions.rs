//! `/v1/function`.

use serde_json::json;

use super::{id, open, refused};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_is_made_of_an_image_and_changed() {
    let (_doors, ann) = open(&[]).await;
    let new = json!({"name": "hello1", "description": "says hello", "tag": ["demo"], "lang": "GO", "type": "DOCKER", "image": "x/hello:1"});
    let function = id(&ann.post("/v1/function", new.to_string().as_bytes()));
    let path = format!("/v1/function/{function}");
    let mut shown = json!({"name": "hello1", "description": "says hello", "type": "docker", "lang": "go",
        "tags": [{"id": "demo", "name": "demo", "color": ""}],
        "capabilities": {"timeout": 10, "cpuCount": 0, "memSize": 0, "networkLatency": 0, "privileged": false},
        "metrics": {"todaysTasks": 0, "pendingTasks": 0, "weekTasks": 0, "completedTasks": 0}});
    assert_eq!(ann.get(&path).json(), shown);
    let tagged = ann.get("/v1/function/list?tag=demo").json();
    assert_eq!(
        tagged,
        json!([{"id": function, "name": "hello1", "description": "says hello", "lang": "go",
            "tags": [{"id": "demo", "name": "demo", "color": ""}], "createdAt": tagged[0]["createdAt"]}])
    );
    tagged[0]["createdAt"].as_str().unwrap().parse::<u32>().unwrap();
    assert_eq!(ann.get("/v1/function/list/").json().as_array().unwrap().len(), 2);

    assert_eq!(ann.send("PATCH", &path, br#"{"name":"hello2"}"#).status, 204);
    let needs = br#"{"timeout":60,"cpuCount":2,"memSize":512,"privilaged":true,"networkLatency":0}"#;
    assert_eq!(ann.post(&format!("{path}/capabilities"), needs).status, 204);
    shown["name"] = json!("hello2");
    shown["capabilities"] =
        json!({"timeout": 60, "cpuCount": 2, "memSize": 512, "networkLatency": 0, "privileged": true});
    assert_eq!(ann.get(&path).json(), shown);
    assert_eq!(
        ann.get(&format!("{path}/capabilities/")).json(),
        shown["capabilities"]
    );
    assert_eq!(ann.send("DELETE", &path, b"").status, 204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_map_is_refused_with_a_sentence() {
    let (doors, ann) = open(&["bob"]).await;
    let without_image = br#"{"name":"hello1","lang":"GO","type":"DOCKER"}"#;
    refused(&ann.post("/v1/function", without_image), 400, "BAD_REQUEST");
    refused(
        &ann.post("/v1/function/echo/capabilities", br#"{"timeout":5}"#),
        400,
        "BAD_REQUEST",
    );
    refused(
        &ann.post("/v1/build/echo?arch=amd64", b"PK"),
        400,
        "NOT_SUPPORTED",
    );
    refused(&ann.get("/v1/build/list"), 400, "NOT_SUPPORTED");
    refused(&ann.get("/v1/function/none"), 404, "NOT_FOUND");
    refused(
        &doors.as_user("bob").post("/v1/function/echo/togglePause", b""),
        403,
        "FORBIDDEN",
    );
    refused(
        &doors.http.post("/v1/function", without_image),
        401,
        "UNAUTHORIZED",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_function_takes_no_calls() {
    let (_doors, ann) = open(&[]).await;
    assert_eq!(ann.post("/v1/function/echo/togglePause", b"").status, 204);
    refused(&ann.post("/v1/task/echo", b""), 409, "FUNCTION_PAUSED");
    assert_eq!(ann.post("/v1/function/echo/togglePause/", b"").status, 204);
    id(&ann.post("/v1/task/echo", b""));
}
