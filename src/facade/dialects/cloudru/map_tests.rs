use super::*;

fn read(name: &str, spec: Value, status: Value) -> Task {
    serde_json::from_value(json!({
        "apiVersion": "errand.dev/v1alpha1", "kind": "Task",
        "metadata": {"name": name, "uid": "0f1e2d3c-4b5a-4978-8069-1a2b3c4d5e6f", "creationTimestamp": "2022-06-01T09:00:00Z"},
        "spec": spec, "status": status,
    }))
    .unwrap()
}

fn with_status(status: Value) -> Value {
    let spec = json!({"functionRef": {"name": "hello"}, "owner": "u-17"});
    serde_json::to_value(task(&read("t", spec, status), "vdc-1", &Settings::default())).unwrap()
}

fn string(text: &str) -> Value {
    serde_json::to_value(Message::Text(text.into()).into_any(AnyForm::Documented)).unwrap()
}

#[test]
fn a_task_that_is_not_over_has_neither_response_nor_error() {
    let open = |status: &str, modified: &str| {
        json!({"id": "0f1e2d3c-4b5a-4978-8069-1a2b3c4d5e6f", "serviceInstanceId": "vdc-1", "command": "INVOKE hello",
            "status": status, "createdAt": "2022-06-01T09:00:00Z", "createdBy": "u-17", "modifiedAt": modified,
            "metadata": string("hello")})
    };
    for (status, wanted) in [
        (json!(null), open("PENDING", "2022-06-01T09:00:00Z")),
        (
            json!({"phase": "Queued"}),
            open("PENDING", "2022-06-01T09:00:00Z"),
        ),
        (
            json!({"phase": "Pending", "modifiedAt": "2022-06-01T09:00:07Z"}),
            open("PENDING", "2022-06-01T09:00:07Z"),
        ),
        (
            json!({"phase": "Running", "modifiedAt": "2022-06-01T09:00:07.25Z"}),
            open("RUNNING", "2022-06-01T09:00:07.250Z"),
        ),
        // The clock of whoever wrote the status is behind.
        (
            json!({"phase": "Running", "modifiedAt": "2022-06-01T08:59:59Z"}),
            open("RUNNING", "2022-06-01T09:00:00Z"),
        ),
        // What is reported has not come true yet.
        (
            json!({"phase": "Running", "reportedEnd": {"phase": "Failed"}}),
            open("RUNNING", "2022-06-01T09:00:00Z"),
        ),
    ] {
        assert_eq!(with_status(status.clone()), wanted, "{status}");
    }
}

#[test]
fn a_task_that_is_over_has_exactly_one_of_response_and_error() {
    let timed_out = json!({"phase": "Failed", "message": "m", "error": {"code": 4, "message": "deadline of 1800s exceeded", "details": [
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "TimedOut", "domain": "errand.dev"}]}});
    let info = json!({"typeUrl": "type.googleapis.com/google.rpc.ErrorInfo", "value": "CghUaW1lZE91dBIKZXJyYW5kLmRldg=="});
    let empty = json!({"typeUrl": "type.googleapis.com/google.protobuf.Empty", "value": ""});
    let result = json!({"status": 200, "contentType": "text/plain", "body": "hi", "truncated": false});
    // `httpStatus`, `contentType`, `body` and `truncated`, in this order.
    let answered = "ChcKCmh0dHBTdGF0dXMSCREAAAAAAABpQAobCgtjb250ZW50VHlwZRIMGgp0ZXh0L3BsYWluCgwKBGJvZHkSBBoCaGkKDwoJdHJ1bmNhdGVkEgIgAA==";
    let answered = json!({"typeUrl": "type.googleapis.com/google.protobuf.Struct", "value": answered});
    for (status, word, response, error) in [
        (
            json!({"phase": "Succeeded", "result": result}),
            "SUCCEEDED",
            answered,
            Value::Null,
        ),
        (json!({"phase": "Succeeded"}), "SUCCEEDED", empty, Value::Null),
        (
            timed_out,
            "FAILED",
            Value::Null,
            json!({"code": 4, "message": "deadline of 1800s exceeded", "details": [info]}),
        ),
        // Written by somebody else than the controller.
        (
            json!({"phase": "Failed", "message": "m"}),
            "FAILED",
            Value::Null,
            json!({"code": 2, "message": "m", "details": []}),
        ),
        (
            json!({"phase": "Failed", "error": {"code": 0, "message": "e"}}),
            "FAILED",
            Value::Null,
            json!({"code": 2, "message": "e", "details": []}),
        ),
        (
            json!({"phase": "Cancelled", "error": {"code": 1, "message": "stopped"}, "result": {"status": 499}}),
            "CANCELLED",
            Value::Null,
            json!({"code": 1, "message": "stopped", "details": []}),
        ),
        (
            json!({"phase": "Cancelled"}),
            "CANCELLED",
            Value::Null,
            json!({"code": 1, "message": "", "details": []}),
        ),
    ] {
        let written = with_status(status.clone());
        let seen = (&written["status"], &written["response"], &written["error"]);
        assert_eq!(seen, (&json!(word), &response, &error), "{status}");
        let fields = written.as_object().unwrap();
        assert!(
            fields.contains_key("response") != fields.contains_key("error"),
            "{written}"
        );
    }
}

#[test]
fn command_and_target_say_what_runs_where_nobody_has_named_it() {
    let inline = json!({"function": {"container": {"image": "x/hello:1"}}});
    let external = json!({"external": {"processor": "painter"}});
    for (spec, wanted) in [
        (
            json!({"functionRef": {"name": "hello"}}),
            ("INVOKE hello", "hello"),
        ),
        (
            json!({"functionRef": {"name": "hello"}, "command": "CREATE_CLUSTER"}),
            ("CREATE_CLUSTER", "hello"),
        ),
        (inline, ("RUN x/hello:1", "t")),
        (external, ("AWAIT painter", "painter")),
    ] {
        let task = read("t", spec, Value::Null);
        assert_eq!((command(&task).as_str(), target(&task).as_str()), wanted);
    }
}

#[test]
fn words_and_forms_are_those_that_are_set() {
    let settings = Settings {
        any: AnyForm::Proto3,
        statuses: "Queued=NEW,Failed=ERROR".parse().unwrap(),
    };
    let spec = json!({"functionRef": {"name": "hello"}});
    let error = json!({"code": 4, "message": "late", "details": [
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "TimedOut", "domain": "errand.dev"}]});
    let failed = read(
        "7d1f6a52-0000-4000-8000-0123456789ab",
        spec,
        json!({"phase": "Failed", "error": error}),
    );
    let failed = serde_json::to_value(task(&failed, "v", &settings)).unwrap();
    assert_eq!(failed["id"], "7d1f6a52-0000-4000-8000-0123456789ab");
    assert_eq!(failed["status"], "ERROR");
    assert_eq!(
        failed["metadata"],
        json!({"@type": "type.googleapis.com/google.protobuf.StringValue", "value": "hello"})
    );
    assert_eq!(
        failed["error"]["details"],
        json!([{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "TimedOut", "domain": "errand.dev", "metadata": {}}])
    );
}
