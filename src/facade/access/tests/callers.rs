use std::fs;

use tempfile::TempDir;

use super::*;
use crate::local::api::auth::tokens::{API_AUDIENCE, Binding};

#[tokio::test]
async fn a_token_stands_for_whom_the_api_server_says() {
    let world = World::new().await;
    let access = world.access(config());
    let ann = Caller {
        user: "ann".into(),
        groups: vec!["dev".into(), "system:authenticated".into()],
        ..Caller::default()
    };
    assert_eq!(*access.authenticate("ann-token").await.unwrap(), ann);
    for (token, outcome) in [
        ("", "no token"),
        ("ann-toke", "invalid token"),
        ("ann token", "invalid token"),
        ("a.b.c", "invalid token"),
        (&"a".repeat(token::MAX_TOKEN + 1), "invalid token"),
    ] {
        let shown: String = token.chars().take(20).collect();
        assert_eq!(told(access.authenticate(token).await), outcome, "{shown}");
    }
}

#[tokio::test]
async fn a_token_is_asked_about_once_while_the_answer_is_kept() {
    let world = World::new().await;
    let access = world.access(config());
    for _ in 0..3 {
        assert_eq!(told(access.authenticate("ann-token").await), "ok");
        assert_eq!(told(access.clone().authenticate("wrong").await), "invalid token");
        assert_eq!(
            told(access.authenticate("with space inside").await),
            "invalid token"
        );
    }
    assert_eq!(world.calls("tokenreviews"), 1 + 1);
}

#[tokio::test]
async fn a_token_for_the_api_server_stays_that_of_an_account_in_a_pod_too() {
    let world = World::new().await;
    let access = world.access(config());
    let account = world.account("robot").await;
    let pod = world.pod("p", &world.task("t").await).await;
    for (audiences, pod) in [(&[API_AUDIENCE][..], Some(&pod)), (&["errand"], None)] {
        let caller = access
            .authenticate(&world.token(audiences, pod).await)
            .await
            .unwrap();
        assert_eq!(
            (caller.user.as_str(), &caller.uid, &caller.pod),
            (
                "system:serviceaccount:default:robot",
                &account.metadata.uid,
                &None
            )
        );
        assert!(
            caller
                .groups
                .contains(&"system:serviceaccounts:default".to_owned())
        );
    }
    let elsewhere = world.token(&["vault"], Some(&pod)).await;
    assert_eq!(told(access.authenticate(&elsewhere).await), "invalid token");
}

#[tokio::test]
async fn a_token_that_has_ended_is_not_valid() {
    let world = World::new().await;
    let account = world.account("robot").await;
    let issue = |seconds: i64| {
        world.server.issue_token(&Binding {
            namespace: "default",
            account: "robot",
            account_uid: account.metadata.uid.as_deref().unwrap(),
            pod: None,
            audiences: &[API_AUDIENCE.to_owned()],
            expires: jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds),
        })
    };
    let access = world.access(config());
    assert_eq!(told(access.authenticate(&issue(600)).await), "ok");
    assert_eq!(told(access.authenticate(&issue(-1)).await), "invalid token");
    // Kept for an hour, but for the end that the token itself tells.
    let short = issue(2);
    eventually("the token ends", || async {
        told(access.authenticate(&short).await) == "invalid token"
    })
    .await;
}

#[tokio::test]
async fn a_token_ends_with_its_pod_once_the_answer_is_no_longer_kept() {
    let world = World::new().await;
    let access = world.access(AccessConfig {
        token_ttl: SHORT,
        ..config()
    });
    world.account("robot").await;
    let pod = world.pod("p", &world.task("t").await).await;
    let token = world.token(&["errand"], Some(&pod)).await;
    assert_eq!(told(access.authenticate(&token).await), "ok");
    let api: Api<Pod> = Api::namespaced(world.client.clone(), "default");
    api.delete("p", &kube::api::DeleteParams::default().grace_period(0))
        .await
        .unwrap();
    eventually("the token ends", || async {
        told(access.authenticate(&token).await) == "invalid token"
    })
    .await;
}

#[tokio::test]
async fn static_tokens_go_first_and_their_users_have_the_rights_that_roles_grant() {
    let world = World::new().await;
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("tokens.csv");
    fs::write(&path, "legacy-1,portal,,\"portals,dev\"\n").unwrap();
    let access = world.access(AccessConfig {
        static_tokens: Some(path),
        ..config()
    });
    let portal = access.authenticate("legacy-1").await.unwrap();
    assert_eq!((portal.user.as_str(), world.calls("tokenreviews")), ("portal", 0));
    assert_eq!(access.authenticate("ann-token").await.unwrap().user, "ann");
    assert_eq!(told(access.authenticate("legacy-2").await), "invalid token");
    world
        .grant(
            "portals",
            json!({"kind": "Group", "name": "portals"}),
            &["tasks"],
            &["create"],
        )
        .await;
    assert_eq!(told(access.authorize(&portal, &CREATE).await), "ok");
    assert_eq!(
        told(
            access
                .authorize(&portal, &action(Verb::Delete, Resource::Tasks))
                .await
        ),
        "forbidden"
    );
}
