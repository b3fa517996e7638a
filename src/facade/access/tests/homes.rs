use super::*;

const SERVICE: &str = "example.com/service-instance";

#[tokio::test]
async fn a_namespace_label_stands_for_a_user_before_groups() {
    let world = World::new().await;
    let access = world.access(AccessConfig {
        namespaces: NamespaceRule::Label,
        ..config()
    });
    world
        .namespace("of-dev", json!({"errand.dev/account": "dev"}))
        .await;
    world
        .namespace("of-bob", json!({"errand.dev/account": "bob"}))
        .await;
    world.namespace("of-nobody", json!({})).await;
    let home = |token: &'static str| {
        let access = &access;
        async move { access.home(&access.authenticate(token).await.unwrap()).await }
    };
    assert_eq!(home("ann-token").await.unwrap(), "of-dev");
    assert_eq!(home("bob-token").await.unwrap(), "of-bob");
    assert_eq!(home("bob-token").await.unwrap(), "of-bob");
    assert_eq!(world.calls("namespaces"), 2);
}

#[tokio::test]
async fn a_namespace_is_found_by_any_label_where_one_alone_has_it_else_by_its_name() {
    let world = World::new().await;
    let access = world.access(config());
    world.namespace("a", json!({SERVICE: "s1"})).await;
    world.namespace("b", json!({SERVICE: "s2"})).await;
    world.namespace("c", json!({SERVICE: "s2"})).await;
    world.namespace("s4", json!({SERVICE: "s3"})).await;
    world.namespace("s3", json!({})).await;
    for (text, namespace) in [
        ("s1", Some("a")),
        ("s3", Some("s4")),
        ("s4", Some("s4")),
        ("b", Some("b")),
        ("nobody", None),
        ("s1,s2", None),
        ("", None),
        ("s1) or (x", None),
    ] {
        let found = access.namespace_for(SERVICE, text).await.unwrap();
        assert_eq!(found.as_deref(), namespace, "{text}");
    }
    let error = access.namespace_for(SERVICE, "s2").await.unwrap_err();
    let why = "namespaces \"b\" and \"c\" both have the label";
    assert!(error.to_string().starts_with(why), "{error}");
}

#[tokio::test]
async fn a_new_label_is_seen_once_the_old_answer_is_no_longer_kept() {
    let world = World::new().await;
    let access = world.access(AccessConfig {
        denied_ttl: SHORT,
        ..config()
    });
    assert_eq!(access.namespace_for(SERVICE, "s1").await.unwrap(), None);
    world.namespace("a", json!({SERVICE: "s1"})).await;
    eventually("the namespace is found", || async {
        let found = access.namespace_for(SERVICE, "s1").await;
        found.is_ok_and(|name| name.as_deref() == Some("a"))
    })
    .await;
}

#[tokio::test]
async fn other_rules_ask_nobody() {
    let world = World::new().await;
    for (rule, namespace) in [("fixed:jobs", "jobs"), ("user:u-", "u-ann"), ("group:", "dev")] {
        let access = world.access(AccessConfig {
            namespaces: rule.parse().unwrap(),
            ..config()
        });
        let ann = access.authenticate("ann-token").await.unwrap();
        assert_eq!(access.home(&ann).await.unwrap(), namespace);
    }
    assert_eq!(world.calls("namespaces"), 0);
}
