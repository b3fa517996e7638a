use super::*;

fn ann() -> Value {
    json!({"kind": "User", "name": "ann"})
}

#[tokio::test]
async fn a_caller_may_do_what_a_role_grants_and_is_told_what_not() {
    let world = World::new().await;
    let access = world.access(config());
    let dev = json!({"kind": "Group", "name": "dev"});
    world.grant("creators", dev, &["tasks"], &["create", "get"]).await;
    world
        .grant("reporters", ann(), &["tasks/status"], &["patch"])
        .await;
    let caller = access.authenticate("ann-token").await.unwrap();
    let mut may = Vec::new();
    for resource in [Resource::Tasks, Resource::TaskStatus, Resource::Functions] {
        for verb in [
            Verb::Get,
            Verb::List,
            Verb::Watch,
            Verb::Create,
            Verb::Update,
            Verb::Patch,
            Verb::Delete,
        ] {
            match told(access.authorize(&caller, &action(verb, resource)).await) {
                "ok" => may.push((verb, resource)),
                told => assert_eq!(told, "forbidden"),
            }
        }
    }
    assert_eq!(
        may,
        [
            (Verb::Get, Resource::Tasks),
            (Verb::Create, Resource::Tasks),
            (Verb::Patch, Resource::TaskStatus)
        ]
    );
    let refused = access
        .authorize(&caller, &action(Verb::Delete, Resource::Tasks))
        .await
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        r#"user "ann" cannot delete tasks in namespace "default""#
    );
    for namespace in ["kube-system", "none", ""] {
        let elsewhere = access.authorize(&caller, &Action { namespace, ..CREATE }).await;
        assert_eq!(told(elsewhere), "forbidden", "{namespace}");
    }
    let bob = access.authenticate("bob-token").await.unwrap();
    assert_eq!(told(access.authorize(&bob, &CREATE).await), "forbidden");
}

#[tokio::test]
async fn a_role_may_name_the_one_task_that_it_is_about() {
    let world = World::new().await;
    let access = world.access(config());
    let rules = json!([{"apiGroups": ["errand.dev"], "resources": ["tasks"], "resourceNames": ["mine"], "verbs": ["get"]}]);
    make::<Role>(
        Api::namespaced(world.client.clone(), "default"),
        json!({"metadata": {"name": "one"}, "rules": rules}),
    )
    .await;
    make::<RoleBinding>(
        Api::namespaced(world.client.clone(), "default"),
        binding("one", "Role", ann()),
    )
    .await;
    let caller = access.authenticate("ann-token").await.unwrap();
    for (name, outcome) in [
        (Some("mine"), "ok"),
        (Some("other"), "forbidden"),
        (None, "forbidden"),
    ] {
        let get = Action {
            name,
            ..action(Verb::Get, Resource::Tasks)
        };
        assert_eq!(told(access.authorize(&caller, &get).await), outcome, "{name:?}");
    }
}

#[tokio::test]
async fn a_revoked_right_and_a_new_one_take_effect_once_the_old_answer_is_no_longer_kept() {
    let world = World::new().await;
    let short = AccessConfig {
        token_ttl: SHORT,
        denied_ttl: SHORT,
        ..config()
    };
    let (quick, slow) = (world.access(short), world.access(config()));
    let caller = quick.authenticate("ann-token").await.unwrap();
    world.grant("creators", ann(), &["tasks"], &["create"]).await;
    assert_eq!(told(quick.authorize(&caller, &CREATE).await), "ok");
    assert_eq!(told(slow.authorize(&caller, &CREATE).await), "ok");
    world.revoke("creators").await;
    eventually("the right ends", || async {
        told(quick.authorize(&caller, &CREATE).await) == "forbidden"
    })
    .await;
    assert_eq!(told(slow.authorize(&caller, &CREATE).await), "ok", "still kept");
    let binding = binding("creators", "Role", ann());
    make::<RoleBinding>(Api::namespaced(world.client.clone(), "default"), binding).await;
    eventually("the right is back", || async {
        told(quick.authorize(&caller, &CREATE).await) == "ok"
    })
    .await;
}

#[tokio::test]
async fn an_answer_is_only_for_who_and_what_was_asked_about() {
    let world = World::new().await;
    let access = world.access(config());
    world
        .grant(
            "creators",
            json!({"kind": "Group", "name": "dev"}),
            &["tasks"],
            &["create"],
        )
        .await;
    let ann = access.authenticate("ann-token").await.unwrap();
    for _ in 0..2 {
        assert_eq!(told(access.authorize(&ann, &CREATE).await), "ok");
    }
    assert_eq!(world.calls("subjectaccessreviews"), 1);
    let mut outsider = (*ann).clone();
    outsider.groups = vec!["de".into(), "v".into()];
    assert_eq!(told(access.authorize(&outsider, &CREATE).await), "forbidden");
    let mut scoped = (*ann).clone();
    scoped.extra.insert("scopes".into(), vec!["x".into()]);
    assert_eq!(told(access.authorize(&scoped, &CREATE).await), "ok");
    assert_eq!(world.calls("subjectaccessreviews"), 3);
}

#[tokio::test]
async fn answers_are_bounded_in_number() {
    let world = World::new().await;
    let access = world.access(AccessConfig {
        entries: 4,
        ..config()
    });
    let caller = access.authenticate("ann-token").await.unwrap();
    for number in 0..20 {
        let name = format!("n{number}");
        assert_eq!(told(access.authenticate(&name).await), "invalid token");
        let get = Action {
            name: Some(&name),
            ..action(Verb::Get, Resource::Tasks)
        };
        assert_eq!(told(access.authorize(&caller, &get).await), "forbidden");
        assert_eq!(access.namespace_for("x/y", &name).await.unwrap(), None);
    }
    let inner = &access.inner;
    assert_eq!(
        (
            inner.callers.sizes(),
            inner.rights.sizes(),
            inner.namespaces.sizes()
        ),
        ((4, 0), (4, 0), (4, 0))
    );
}
