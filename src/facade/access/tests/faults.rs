use super::*;
use crate::chain::chain;

#[tokio::test]
async fn an_api_server_that_fails_makes_access_unavailable_and_the_next_request_asks_again() {
    let world = World::new().await;
    let access = world.access(config());
    world
        .grant(
            "creators",
            json!({"kind": "User", "name": "ann"}),
            &["tasks"],
            &["create"],
        )
        .await;
    for code in [401, 403, 422, 429, 500, 503] {
        world.set(Line::Down(code));
        let error = access.authenticate("ann-token").await.unwrap_err();
        assert_eq!(error.to_string(), "could not check the token", "{code}");
        assert!(chain(&error).contains("on purpose"), "{}", chain(&error));
    }
    world.set(Line::Clear);
    let ann = access.authenticate("ann-token").await.unwrap();
    world.set(Line::Down(500));
    assert_eq!(told(access.authenticate("ann-token").await), "ok", "kept");
    assert_eq!(told(access.authorize(&ann, &CREATE).await), "unavailable");
    assert_eq!(told(access.namespace_for("x", "y").await), "unavailable");
    world.set(Line::Clear);
    assert_eq!(told(access.authorize(&ann, &CREATE).await), "ok");
    assert_eq!(told(access.namespace_for("x", "y").await), "ok");
}

#[tokio::test]
async fn an_api_server_that_is_silent_is_not_waited_for_longer_than_the_limit() {
    let world = World::new().await;
    let access = world.access(AccessConfig {
        time_limit: SHORT,
        ..config()
    });
    world.set(Line::Held);
    let error = access.authenticate("ann-token").await.unwrap_err();
    assert_eq!(
        chain(&error),
        "could not check the token: the API server did not answer within 20ms"
    );
}

#[tokio::test]
async fn callers_who_ask_the_same_at_once_share_one_call_and_who_leaves_takes_nothing_along() {
    let world = World::new().await;
    let access = world.access(config());
    let ann = access.authenticate("ann-token").await.unwrap();
    world.set(Line::Held);
    let mut tokens: Vec<_> = (0..4)
        .map(|_| Box::pin(access.authenticate("bob-token")))
        .collect();
    let mut rights: Vec<_> = (0..4)
        .map(|_| Box::pin(access.authorize(&ann, &CREATE)))
        .collect();
    for (token, right) in tokens.iter_mut().zip(&mut rights) {
        assert!(futures::poll!(token).is_pending() && futures::poll!(right).is_pending());
    }
    drop((tokens.remove(0), rights.remove(0)));
    world.set(Line::Clear);
    for caller in futures::future::try_join_all(tokens).await.unwrap() {
        assert_eq!(caller.user, "bob");
    }
    for right in futures::future::join_all(rights).await {
        assert_eq!(told(right), "forbidden");
    }
    assert_eq!(
        (world.calls("tokenreviews"), world.calls("subjectaccessreviews")),
        (1 + 1, 1)
    );
}

#[tokio::test]
async fn a_token_is_not_in_what_is_kept_or_printed() {
    let world = World::new().await;
    let access = world.access(config());
    world.set(Line::Down(500));
    let error = access.authenticate("s3cret-token").await.unwrap_err();
    assert!(!format!("{error:?} {}", chain(&error)).contains("s3cret"));
    world.set(Line::Clear);
    let caller = access.authenticate("ann-token").await.unwrap();
    assert!(!format!("{caller:?}").contains("ann-token"));
}
