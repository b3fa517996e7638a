use super::*;

/// A world with Tasks `own` and `other`, a pod of `own`, and the caller that the pod is.
async fn with_a_pod() -> (World, Access, Arc<Caller>, Task, Task) {
    let world = World::new().await;
    let access = world.access(config());
    world.account("robot").await;
    let (own, other) = (world.task("own").await, world.task("other").await);
    let pod = world.pod("own-1", &own).await;
    let caller = access
        .authenticate(&world.token(&["errand"], Some(&pod)).await)
        .await
        .unwrap();
    let identity = PodIdentity {
        namespace: "default".into(),
        name: "own-1".into(),
        uid: pod.uid().unwrap(),
    };
    assert_eq!(caller.pod, Some(identity));
    (world, access, caller, own, other)
}

#[tokio::test]
async fn a_pod_reports_for_its_own_task_and_for_no_other() {
    let (world, access, caller, own, other) = with_a_pod().await;
    for _ in 0..2 {
        assert_eq!(told(access.owns(&caller, &own).await), "ok");
        assert_eq!(told(access.owns(&caller, &other).await), "pod only");
    }
    assert_eq!(world.calls("own-1"), 2, "one read for each Task");
    let mut elsewhere = own.clone();
    elsewhere.metadata.namespace = Some("kube-system".into());
    assert_eq!(told(access.owns(&caller, &elsewhere).await), "pod only");
    let mut unknown = own;
    unknown.metadata.uid = None;
    assert_eq!(told(access.owns(&caller, &unknown).await), "pod only");
}

#[tokio::test]
async fn a_task_that_names_the_pod_needs_no_read() {
    let (world, access, caller, mut own, _) = with_a_pod().await;
    let uid = caller.pod.as_ref().map(|pod| pod.uid.clone());
    own.status = Some(read(
        json!({"phase": "Running", "pod": {"name": "own-1", "uid": uid}}),
    ));
    assert_eq!(told(access.owns(&caller, &own).await), "ok");
    assert_eq!(world.calls("own-1"), 0);
}

#[tokio::test]
async fn a_pods_token_is_good_for_nothing_else_whatever_its_account_may() {
    let (world, access, caller, ..) = with_a_pod().await;
    let robot = json!({"kind": "ServiceAccount", "name": "robot", "namespace": "default"});
    world
        .grant("robots", robot, &["tasks", "tasks/status", "functions"], &["*"])
        .await;
    for resource in [Resource::Tasks, Resource::TaskStatus, Resource::Functions] {
        for verb in [Verb::Create, Verb::List, Verb::Patch, Verb::Get] {
            assert_eq!(
                told(access.authorize(&caller, &action(verb, resource)).await),
                "pod only"
            );
        }
    }
    assert_eq!(told(access.home(&caller).await), "pod only");
    assert_eq!(world.calls("subjectaccessreviews"), 0);
    let account = access.authenticate(&world.token(&[], None).await).await.unwrap();
    assert_eq!(told(access.authorize(&account, &CREATE).await), "ok");
}

#[tokio::test]
async fn who_is_no_pod_owns_no_task() {
    let (_world, access, _, own, _) = with_a_pod().await;
    let ann = access.authenticate("ann-token").await.unwrap();
    assert_eq!(
        access.owns(&ann, &own).await.unwrap_err().to_string(),
        r#"user "ann" is not a pod of the task: its token is not bound to a pod for the audience errand"#
    );
}
