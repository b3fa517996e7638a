//! The words and forms that an operator chooses.

use errand::facade::dialects::{
    Settings,
    cloudru::{self, AnyForm},
};
use serde_json::{Value, json};

use super::{create, until};
use crate::support::{Dev, http::Http, plane::Doors};

/// A task that succeeded and one that failed, where the door is told this.
async fn ended(any: AnyForm, statuses: &str) -> (Value, Value) {
    let cloudru = cloudru::Settings {
        any,
        statuses: statuses.parse().unwrap(),
    };
    let doors = Doors::with_settings(
        &["ann"],
        Settings {
            cloudru,
            ..Settings::default()
        },
    )
    .await;
    doors.grant("ann").await;
    let ann = doors.as_user("ann");
    create(&doors, "fine", "printf hello", json!({})).await;
    create(&doors, "broken", "exit 3", json!({})).await;
    (until(&ann, "fine", "DONE"), until(&ann, "broken", "ERROR"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_written_in_the_form_and_phases_in_the_words_that_are_set() {
    let statuses = "Running=IN_PROGRESS,Succeeded=DONE,Failed=ERROR";
    let (string, info) = (
        "type.googleapis.com/google.protobuf.StringValue",
        "type.googleapis.com/google.rpc.ErrorInfo",
    );
    let (fine, broken) = ended(AnyForm::Proto3, statuses).await;
    assert_eq!(fine["metadata"], json!({"@type": string, "value": "fine"}));
    assert_eq!(
        fine["response"],
        json!({"@type": "type.googleapis.com/google.protobuf.Struct", "value": {"httpStatus": 200,
            "contentType": "text/plain; charset=utf-8", "body": "hello", "sizeBytes": 5, "truncated": false}})
    );
    assert_eq!(
        broken["error"]["details"],
        json!([{"@type": info, "reason": "ExitCode", "domain": "errand.dev", "metadata": {}}])
    );

    let (fine, broken) = ended(AnyForm::Both, statuses).await;
    assert_eq!(
        fine["metadata"],
        json!({"typeUrl": string, "@type": string, "value": "CgRmaW5l"})
    );
    assert_eq!(
        broken["error"]["details"],
        json!([{"typeUrl": info, "@type": info, "value": "CghFeGl0Q29kZRIKZXJyYW5kLmRldg==",
            "reason": "ExitCode", "domain": "errand.dev", "metadata": {}}])
    );
}

#[test]
fn errand_dev_takes_the_flags_of_the_facade() {
    let flags = [
        "--token",
        "admin=s3cret",
        "--cloudru-any-form=proto3",
        "--cloudru-statuses=Succeeded=DONE",
    ];
    let dev = Dev::start(&flags);
    let task = json!({"apiVersion": "errand.dev/v1alpha1", "kind": "Task", "metadata": {"name": "fine"},
        "spec": {"function": {"container": {"image": "i", "command": ["true"]}}}});
    dev.apply(&task.to_string());
    let admin = Http::to(dev.says("facade")).bearer("s3cret");
    let task = until(&admin, "fine", "DONE");
    assert_eq!(
        task["metadata"]["@type"],
        "type.googleapis.com/google.protobuf.StringValue"
    );
}
