//! The words and forms that an operator chooses.

use errand::facade::dialects::{
    Settings,
    cloudru::{self, AnyForm},
};
use serde_json::{Value, json};

use super::{create, until};
use crate::support::plane::Doors;

/// A task that succeeded and one that failed, where the door is told this.
async fn ended(any: AnyForm, statuses: &str) -> (Value, Value) {
    let cloudru = cloudru::Settings {
        any,
        statuses: statuses.parse().unwrap(),
    };
    let doors = Doors::with_settings(&["ann"], Settings { cloudru }).await;
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
