//! Tasks in each state, whatever made them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use errand::crd::Task;
use serde_json::{Value, json};

use super::{TASKS, create, open, until};

const STRING_VALUE: &str = "type.googleapis.com/google.protobuf.StringValue";

/// A StringValue of fewer than 128 bytes.
fn string(text: &str) -> Value {
    let length = u8::try_from(text.len()).unwrap();
    let bytes = [&[0x0a, length], text.as_bytes()].concat();
    json!({"typeUrl": STRING_VALUE, "value": STANDARD.encode(bytes)})
}

/// The object's times, as this API writes them.
fn times(task: &Task) -> (String, String) {
    let created = task.metadata.creation_timestamp.clone().unwrap().0;
    let status = task.status.clone().unwrap();
    let modified = status.modified_at.unwrap().max(created);
    // With a fraction of three digits, or none.
    let written = match modified.to_string() {
        whole if !whole.contains('.') => whole,
        _ => format!("{modified:.3}"),
    };
    (created.to_string(), written)
}

/// What is in a `response`, as far as the bytes of its strings show.
fn response(task: &Value) -> String {
    assert_eq!(
        task["response"]["typeUrl"], "type.googleapis.com/google.protobuf.Struct",
        "{task}"
    );
    let bytes = STANDARD
        .decode(task["response"]["value"].as_str().unwrap())
        .unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_task_of_the_namespace_is_read_in_whatever_state_it_is() {
    let (doors, ann) = open(&[]).await;
    create(
        &doors,
        "fine",
        "echo hello",
        json!({"owner": "u-17", "command": "CREATE_CLUSTER"}),
    )
    .await;
    create(&doors, "broken", "exit 3", json!({})).await;
    create(&doors, "late", "sleep 600", json!({"timeout": "1s"})).await;
    create(&doors, "stopped", "sleep 600", json!({"cancel": true})).await;
    create(
        &doors,
        "7d1f6a52-0000-4000-8000-0123456789ab",
        "sleep 600",
        json!({}),
    )
    .await;

    let fine = until(&ann, "fine", "SUCCEEDED");
    let object = doors.task("fine").await;
    let (created, modified) = times(&object);
    assert_eq!(
        fine,
        json!({"id": object.metadata.uid, "serviceInstanceId": "default", "command": "CREATE_CLUSTER", "status": "SUCCEEDED",
            "createdAt": created, "createdBy": "u-17", "modifiedAt": modified, "metadata": string("fine"),
            "response": fine["response"]})
    );
    let said = response(&fine);
    for part in [
        "httpStatus",
        "contentType",
        "text/plain",
        "body",
        "hello\n",
        "sizeBytes",
        "truncated",
    ] {
        assert!(said.contains(part), "{part} is not in {said:?}");
    }

    let running = until(&ann, "7d1f6a52-0000-4000-8000-0123456789ab", "RUNNING");
    let (created, modified) = times(&doors.task("7d1f6a52-0000-4000-8000-0123456789ab").await);
    assert_eq!(
        running,
        json!({"id": "7d1f6a52-0000-4000-8000-0123456789ab", "serviceInstanceId": "default", "command": "RUN busybox",
            "status": "RUNNING", "createdAt": created, "createdBy": "", "modifiedAt": modified,
            "metadata": string("7d1f6a52-0000-4000-8000-0123456789ab")})
    );

    // An ErrorInfo: reason, then domain.
    for (name, status, code, reason) in [
        ("broken", "FAILED", 2, "ExitCode"),
        ("late", "FAILED", 4, "TimedOut"),
        ("stopped", "CANCELLED", 1, "Cancelled"),
    ] {
        let task = until(&ann, name, status);
        let object = doors.task(name).await;
        let (created, modified) = times(&object);
        let length = u8::try_from(reason.len()).unwrap();
        let info = [&[0x0a, length], reason.as_bytes(), b"\x12\x0aerrand.dev"].concat();
        let info =
            json!({"typeUrl": "type.googleapis.com/google.rpc.ErrorInfo", "value": STANDARD.encode(info)});
        assert_eq!(
            task,
            json!({"id": object.metadata.uid, "serviceInstanceId": "default", "command": "RUN busybox", "status": status,
                "createdAt": created, "createdBy": "", "modifiedAt": modified, "metadata": string(name),
                "error": {"code": code, "message": object.status.unwrap().message, "details": [info]}})
        );
    }

    // The list has the same tasks, the newest first, and no body of a result.
    let list = ann.get(TASKS).json();
    let tasks = list["tasks"].as_array().unwrap();
    let key = |task: &Value| {
        (
            std::cmp::Reverse(task["createdAt"].to_string()),
            task["id"].to_string(),
        )
    };
    assert!(tasks.is_sorted_by_key(key), "{list}");
    let find = |id: &Value| tasks.iter().find(|task| task["id"] == *id).unwrap();
    assert_eq!((list.as_object().unwrap().len(), tasks.len()), (1, 5), "{list}");
    assert_eq!(find(&running["id"]), &running);
    let mut listed = find(&fine["id"]).clone();
    let said = response(&listed);
    assert!(said.contains("sizeBytes") && !said.contains("hello"), "{said:?}");
    listed["response"] = fine["response"].clone();
    assert_eq!(listed, fine);
    // By id as by name, in either case.
    let id = fine["id"].as_str().unwrap();
    for id in [id.to_owned(), id.to_ascii_uppercase()] {
        assert_eq!(ann.get(&format!("{TASKS}/{id}")).json(), json!({"task": fine}));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_made_at_another_door_is_a_task_here() {
    let (doors, ann) = open(&[]).await;
    let upper = json!({"container": {"image": "busybox", "command": ["sh", "-c", "tr a-z A-Z < $ERRAND_INPUT_DIR/body"]}});
    doors.function("upper", upper).await;
    let made = ann.post("/v1/task/upper", b"shout").json();
    let name = made["id"].as_str().unwrap();
    let task = until(&ann, name, "SUCCEEDED");
    let object = doors.task(name).await;
    let (created, modified) = times(&object);
    assert_eq!(
        task,
        json!({"id": object.metadata.uid, "serviceInstanceId": "default", "command": "INVOKE upper", "status": "SUCCEEDED",
            "createdAt": created, "createdBy": "ann", "modifiedAt": modified, "metadata": string("upper"),
            "response": task["response"]})
    );
    assert!(response(&task).contains("SHOUT"), "{task}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_not_changed_is_not_sent_again() {
    let (doors, ann) = open(&[]).await;
    assert_eq!(ann.get(TASKS).json(), json!({"tasks": []}));
    create(&doors, "fine", "true", json!({})).await;
    until(&ann, "fine", "SUCCEEDED");
    for path in [TASKS.to_owned(), format!("{TASKS}/fine")] {
        let first = ann.get(&path);
        let tag = first.header("etag").unwrap();
        let again = ann.with("If-None-Match", tag).get(&path);
        assert_eq!(
            (again.status, again.header("etag"), again.body.len()),
            (304, Some(tag), 0)
        );
        let other = ann.with("If-None-Match", "W/\"0\"").get(&path);
        assert_eq!((other.status, &other.body), (200, &first.body));
    }
}
