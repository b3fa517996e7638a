//! Callbacks: the controller's pod tells this machine of the ends of Tasks.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use errand::crd::{CallbackState, CallbackStatus, Phase};
use k8s_openapi::api::core::v1::Secret;
use kube::{ResourceExt as _, api::PostParams};
use serde_json::{Value, json};

use crate::support::{
    Space, in_space, installation,
    receiver::{Receiver, Reply},
    space::shell,
};

async fn secret(space: &Space, name: &str, key: &[u8]) {
    let value = format!("whsec_{}", STANDARD.encode(key));
    let secret = json!({"metadata": {"name": name}, "stringData": {"key": value}});
    let secret: Secret = serde_json::from_value(secret).unwrap();
    space.api().create(&PostParams::default(), &secret).await.unwrap();
}

async fn tells(space: &Space, name: &str, callback: Value) {
    let function = shell("echo $ERRAND_TASK", json!({}));
    space
        .task(name, json!({"function": function, "callback": callback}))
        .await;
}

/// The callback of a Task, once this is so.
async fn callback(
    space: &Space,
    name: &str,
    what: &str,
    is_so: fn(&CallbackStatus) -> bool,
) -> CallbackStatus {
    space
        .until(name, what, |task| {
            task.status.as_ref()?.callback.clone().filter(is_so)
        })
        .await
}

#[tokio::test]
async fn a_signed_callback_is_tried_again_until_it_is_taken() {
    in_space("callback", |space: Space| async move {
        let key = b"0123456789abcdef0123456789abcdef";
        // The name that the chart's values let the controller read.
        secret(&space, "e2e-callback-key", key).await;
        let receiver = Receiver::on(installation::listener(), |number, _| match number {
            0 | 1 => Reply::Status(503),
            _ => Reply::Status(200),
        });
        let spec = json!({
            "url": receiver.url(), "secretRef": {"name": "e2e-callback-key", "key": "key"},
            "retry": {"limit": 3, "backoff": "500ms"},
        });
        tells(&space, "t", spec).await;
        let midway = callback(&space, "t", "two tries failed", |told| told.attempts == 2).await;
        assert_eq!(
            (midway.state, midway.last_status, midway.message.as_deref()),
            (
                CallbackState::Delivering,
                Some(503),
                Some("the answer was 503 Service Unavailable")
            )
        );
        assert!(midway.next_attempt_at > midway.last_attempt_at, "{midway:?}");
        let told = callback(&space, "t", "it is over", |told| told.state.is_over()).await;
        assert_eq!(
            (told.state, told.attempts, told.last_status, told.message),
            (CallbackState::Delivered, 3, Some(200), None)
        );
        let calls = receiver.calls();
        let id = format!("msg_{}", space.get("t").await.uid().unwrap());
        let between: Vec<_> = calls
            .windows(2)
            .map(|two| (two[1].at - two[0].at).as_millis())
            .collect();
        // 500 ms and four times that, each moved by a tenth.
        assert!(
            between.len() == 2 && between[0] >= 450 && between[1] >= 1800,
            "{between:?}"
        );
        for call in &calls {
            assert_eq!(call.header("webhook-id"), Some(id.as_str()));
            assert_eq!(
                call.header("webhook-signature"),
                Some(call.signature(key).as_str())
            );
            let event = call.json();
            let data = &event["data"];
            assert_eq!(
                (
                    &event["type"],
                    &data["namespace"],
                    &data["name"],
                    &data["phase"],
                    &data["result"]["body"]
                ),
                (
                    &json!("task.finished"),
                    &json!(space.name),
                    &json!("t"),
                    &json!("Succeeded"),
                    &json!("t\n")
                )
            );
        }
    })
    .await;
}

#[tokio::test]
async fn neither_addresses_that_hand_out_credentials_nor_keys_that_were_not_granted_are_used() {
    in_space("callback-never", |space: Space| async move {
        secret(&space, "other-key", &[7; 32]).await;
        let metadata = "http://169.254.169.254/latest/meta-data/iam/";
        let receiver = Receiver::on(installation::listener(), move |_, _| {
            Reply::With(307, "location", metadata.to_owned())
        });
        let (direct, mapped) = (json!({"url": metadata}), json!({"url": "http://[::ffff:169.254.169.254]/"}));
        let moved = json!({"url": receiver.url(), "followRedirects": true});
        let signed = json!({
            "url": receiver.url(), "secretRef": {"name": "other-key", "key": "key"}, "retry": {"limit": 1},
        });
        let cases = [
            ("direct", direct, "169.254.169.254 is not called: it is link-local"),
            ("mapped", mapped, "::ffff:169.254.169.254 is not called: it is link-local"),
            ("moved", moved, "169.254.169.254 is not called: it is link-local"),
            (
                "signed",
                signed,
                "the controller may not read Secret other-key: it needs the right to get it (rbac.callbackSecrets of the chart)",
            ),
        ];
        for (name, spec, _) in &cases {
            tells(&space, name, spec.clone()).await;
        }
        for (name, _, words) in &cases {
            let told = callback(&space, name, "it is over", |told| told.state.is_over()).await;
            assert_eq!(
                (told.state, told.attempts, told.last_status, told.message.as_deref()),
                (CallbackState::Failed, 1, None, Some(*words)),
                "{name}"
            );
            assert_eq!(space.get(name).await.status.unwrap().phase, Some(Phase::Succeeded));
        }
        // That of the redirect alone.
        assert_eq!(receiver.calls().len(), 1);
    })
    .await;
}
