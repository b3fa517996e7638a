//! `/v1/task`.

use serde_json::json;

use super::{id, listed, open, refused, shell};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_bytes_come_back_as_they_went() {
    let (_doors, ann) = open(&[]).await;
    let all: Vec<u8> = (0..=255).collect();
    let most: Vec<u8> = all.iter().copied().cycle().take(131_072).collect();
    let http = ann.with("Content-Type", "application/x-thing");
    for body in [&b"\x00"[..], b"x", b"", &all, &most] {
        let task = id(&http.post("/v1/task/echo", body));
        let answer = http.get_until_not(&format!("/v1/task/{task}/result"), 404);
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, Some("application/x-thing"))
        );
        assert!(
            answer.body == body,
            "{} bytes went and {} came",
            body.len(),
            answer.body.len()
        );
    }
    let mut too_much = most;
    too_much.push(0);
    refused(&http.post("/v1/task/echo", &too_much), 413, "TOO_LARGE");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_status_the_function_gives_is_replayed() {
    let (_doors, ann) = open(&[]).await;
    for status in [404, 500, 503, 418, 401] {
        let task = id(&ann.post(&format!("/v1/task/echo?status={status}"), b"own words"));
        // A 404 of the function cannot be told from a task that is not over, but for the list.
        let wait = std::time::Instant::now() + crate::support::PATIENCE;
        while listed(&ann, &task)["progress"] != json!(100) {
            assert!(std::time::Instant::now() < wait, "{}", listed(&ann, &task));
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let answer = ann.get(&format!("/v1/task/{task}/result"));
        assert_eq!((answer.status, answer.text().as_str()), (status, "own words"));
        assert_eq!(listed(&ann, &task)["status"], json!(status));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_see_a_task_is_told_that_there_is_none() {
    let (doors, ann) = open(&["bob", "eve"]).await;
    doors.grant("bob").await;
    let task = id(&ann.post("/v1/task/echo", b"mine"));
    let (bob, eve) = (doors.as_user("bob"), doors.as_user("eve"));
    for path in [format!("/v1/task/{task}"), format!("/v1/task/{task}/result")] {
        refused(&doors.http.get(&path), 401, "UNAUTHORIZED");
        assert_eq!(doors.http.get(&path).header("www-authenticate"), Some("Bearer"));
        refused(&doors.as_user("wrong").get(&path), 401, "UNAUTHORIZED");
        refused(
            &doors.http.with("Authorization", "Basic eDp5").get(&path),
            401,
            "UNAUTHORIZED",
        );
        refused(&bob.get(&path), 404, "NOT_FOUND");
        refused(&eve.get(&path), 404, "NOT_FOUND");
    }
    refused(&doors.http.post("/v1/task/echo", b""), 401, "UNAUTHORIZED");
    refused(&eve.post("/v1/task/echo", b""), 403, "FORBIDDEN");
    refused(&eve.get("/v1/task/list"), 403, "FORBIDDEN");
    assert_eq!(bob.get("/v1/task/list").json(), json!([]));
    // A token needs no scheme.
    let bare = doors.http.with("Authorization", "ann");
    assert_eq!(bare.get("/v1/task/list").json()[0]["id"], task);
    refused(&ann.post("/v1/task/none", b""), 404, "NOT_FOUND");
    refused(&ann.get("/v1/task/what"), 400, "BAD_REQUEST");
    refused(
        &ann.send("DELETE", &format!("/v1/task/{task}"), b""),
        405,
        "METHOD_NOT_ALLOWED",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_made_elsewhere_have_an_id_as_well() {
    let (doors, ann) = open(&[]).await;
    doors
        .create(
            Some("default"),
            json!({"apiVersion": "errand.dev/v1alpha1", "kind": "Task", "metadata": {"name": "by-kubectl"},
            "spec": {"functionRef": {"name": "echo"}, "input": {"body": "hello"}}}),
        )
        .await;
    let object = doors.task("by-kubectl").await;
    let uid = object.metadata.uid.unwrap().replace('-', "");
    let issued = object.metadata.creation_timestamp.unwrap().0.as_second();
    let task = format!("{issued:08x}{}", &uid[..16]);
    let answer = ann.get_until_not(&format!("/v1/task/{task}/result"), 404);
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    assert_eq!(
        ann.get(&format!("/v1/task/{task}")).json()["issued"],
        issued.to_string()
    );
    assert_eq!(ann.get("/v1/task/list").json()[0]["id"], task);
}
