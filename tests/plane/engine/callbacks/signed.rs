//! Signatures, and the keys that make them.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use errand::crd::CallbackState;
use k8s_openapi::{api::core::v1::Secret, jiff::Timestamp};
use kube::{Api, ResourceExt as _, api::PostParams};
use serde_json::json;

use super::{taken, telling, told};
use crate::support::{fault::Fault, receiver::Receiver, world::World};

async fn secret(world: &World, value: &str) {
    let secret: Secret = serde_json::from_value(
        json!({"metadata": {"name": "hook"}, "data": {"key": STANDARD.encode(value)}}),
    )
    .unwrap();
    let api: Api<Secret> = Api::namespaced(world.client.clone(), "default");
    api.create(&PostParams::default(), &secret).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_callback_can_be_verified() {
    let world = World::start().await;
    let receiver = Receiver::start(taken);
    let key = b"0123456789abcdef0123456789abcdef";
    secret(&world, &format!("whsec_{}", STANDARD.encode(key))).await;
    let callback = json!({"url": receiver.url(), "secretRef": {"name": "hook", "key": "key"}});
    world.task("t", telling("true", callback)).await;
    assert_eq!(told(&world, "t").await.state, CallbackState::Delivered);
    let call = &receiver.calls()[0];
    assert_eq!(call.target, "POST /hook");
    assert_eq!(call.header("content-type"), Some("application/json"));
    let (id, timestamp) = (
        call.header("webhook-id").unwrap(),
        call.header("webhook-timestamp").unwrap(),
    );
    assert_eq!(id, format!("msg_{}", world.get("t").await.uid().unwrap()));
    assert_eq!(
        call.header("webhook-signature"),
        Some(call.signature(key).as_str())
    );
    let now = Timestamp::now().as_second();
    assert!(
        (now - timestamp.parse::<i64>().unwrap()).abs() < 300,
        "{timestamp}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_cannot_be_read_is_waited_for_with_a_sentence() {
    let forbidden = Arc::new(AtomicBool::new(true));
    let refused = forbidden.clone();
    let world = World::start_with(|setup| {
        setup.fault = Some(Arc::new(move |request| {
            match request.uri().path().contains("/secrets/") && refused.load(Ordering::SeqCst) {
                true => Fault::Status(403, "Forbidden"),
                false => Fault::None,
            }
        }));
    })
    .await;
    let receiver = Receiver::start(taken);
    secret(&world, &STANDARD.encode([7; 32])).await;
    let callback = json!({
        "url": receiver.url(), "secretRef": {"name": "hook", "key": "key"}, "retry": {"limit": 20, "backoff": "50ms"},
    });
    world.task("t", telling("true", callback)).await;
    let message = world
        .until("t", "it says why", |task| {
            task.status.as_ref()?.callback.as_ref()?.message.clone()
        })
        .await;
    assert_eq!(
        message,
        "the controller may not read Secret hook: it needs the right to get it (rbac.callbackSecrets of the chart)"
    );
    assert!(receiver.calls().is_empty(), "unsigned, nothing is sent");
    forbidden.store(false, Ordering::SeqCst);
    assert_eq!(told(&world, "t").await.state, CallbackState::Delivered);
}
