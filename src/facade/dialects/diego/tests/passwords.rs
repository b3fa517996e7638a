//! Passwords of registries: where they go, and who reads them.

use k8s_openapi::api::{
    core::v1::Secret,
    rbac::v1::{Role, RoleBinding},
};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, PostParams},
};
use serde_json::json;

use super::{super::names, *};
use crate::{
    crd,
    facade::{dialects::diego::Keys, tests::line::Fault},
};

fn with_keys(cells: bool) -> Settings {
    Settings {
        cells,
        keys: Some(Keys::parse(&"k".repeat(32)).unwrap()),
        ..Settings::default()
    }
}

/// A definition with a password in the middle of it, and fields that are not known.
fn with_password(password: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    put(&mut bytes, 4711, b"from the future");
    put(&mut bytes, 24, password.as_bytes());
    put(&mut bytes, 23, b"ann");
    bytes.extend(definition().encode_to_vec());
    bytes
}

impl Bbs {
    async fn desire_bytes(&self, guid: &str, definition: &[u8]) -> Result<(), (ErrorType, String)> {
        outcome(
            &self
                .bytes("/v1/tasks/desire.r2", desire(guid, "d", definition))
                .await,
        )
    }

    fn tasks(&self) -> Api<crd::Task> {
        Api::namespaced(self.facade.objects.client(), "default")
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.facade.objects.client(), "default")
    }

    async fn object(&self, guid: &str) -> crd::Task {
        self.tasks().get(&names::object_name(guid)).await.unwrap()
    }

    /// Lets a user do this with resources of these groups.
    async fn allow(&self, user: &str, rights: &[(&str, &str, &[&str])]) {
        let rules = rights.iter().map(
            |(group, resource, verbs)| json!({"apiGroups": [group], "resources": [resource], "verbs": verbs}),
        );
        let role = json!({"metadata": {"name": user}, "rules": rules.collect::<Vec<_>>()});
        let group = "rbac.authorization.k8s.io";
        let binding = json!({"metadata": {"name": user}, "roleRef": {"apiGroup": group, "kind": "Role", "name": user},
            "subjects": [{"apiGroup": group, "kind": "User", "name": user}]});
        let client = self.facade.objects.client();
        let (roles, bindings): (Api<Role>, Api<RoleBinding>) = (
            Api::namespaced(client.clone(), "default"),
            Api::namespaced(client, "default"),
        );
        let params = PostParams::default();
        let role = serde_json::from_value(role).unwrap();
        let binding = serde_json::from_value(binding).unwrap();
        roles.create(&params, &role).await.unwrap();
        bindings.create(&params, &binding).await.unwrap();
    }
}

#[tokio::test]
async fn a_password_stands_in_a_secret_of_the_task_and_nowhere_else() {
    let bbs = Bbs::open(with_keys(false)).await;
    let bytes = with_password("hush-hush");
    bbs.desire_bytes("g", &bytes).await.unwrap();
    let task = bbs.object("g").await;
    assert_eq!(task.spec.suspend, Some(false), "its Secret is there");
    assert!(!serde_json::to_string(&task).unwrap().contains("hush-hush"));
    let shown = names::definition(&task).unwrap();
    assert!(!shown.windows(9).any(|part| part == b"hush-hush"));

    let pod = task.spec.actions.as_ref().unwrap().pod.as_ref().unwrap();
    let [named] = &pod.image_pull_secrets[..] else {
        panic!("{pod:?}")
    };
    let secret = bbs.secrets().get(&named.name).await.unwrap();
    assert_eq!(secret.type_.as_deref(), Some("kubernetes.io/dockerconfigjson"));
    let owners: Vec<_> = secret.owner_references().iter().map(|owner| &owner.uid).collect();
    assert_eq!(owners, [&task.uid().unwrap()]);

    assert_eq!(bbs.got("g").await.task_definition, Some(bytes.clone()));
    assert_eq!(bbs.listed("", "").await[0].task_definition, Some(bytes));
}

#[tokio::test]
async fn a_password_is_shown_to_who_may_read_secrets_and_taken_from_who_may_make_them() {
    let mut bbs = Bbs::open(with_keys(false)).await;
    let tasks = ("errand.dev", "tasks", &["get", "list", "create"][..]);
    bbs.allow("reader", &[tasks]).await;
    bbs.allow("maker", &[tasks, ("", "secrets", &["create"])]).await;
    bbs.allow("keeper", &[tasks, ("", "secrets", &["get"])]).await;
    let bytes = with_password("hush");
    bbs.caller("reader", &[]);
    let refused = "user \"reader\" cannot create secrets in namespace \"default\"";
    let refused = Err((ErrorType::UnknownError, refused.to_owned()));
    assert_eq!(bbs.desire_bytes("g", &bytes).await, refused);
    bbs.caller("maker", &[]);
    bbs.desire_bytes("g", &bytes).await.unwrap();

    let without = names::definition(&bbs.object("g").await).unwrap();
    assert!(without.len() < bytes.len());
    for (user, wanted) in [("reader", &without), ("maker", &without), ("keeper", &bytes)] {
        bbs.caller(user, &[]);
        let got = bbs.got("g").await.task_definition;
        assert_eq!(got.as_ref(), Some(wanted), "{user}");
        let listed = &bbs.listed("", "").await[0].task_definition;
        assert_eq!(listed.as_ref(), Some(wanted), "{user}");
    }
}

#[tokio::test]
async fn cells_from_outside_are_told_a_password_that_no_task_shows() {
    let bbs = Bbs::open(with_keys(true)).await;
    let bytes = with_password("hush");
    bbs.desire_bytes("g", &bytes).await.unwrap();
    let task = bbs.object("g").await;
    assert_eq!(task.spec.suspend, None);
    assert_ne!(names::definition(&task), Some(bytes.clone()));
    assert_eq!(bbs.secrets().list(&Default::default()).await.unwrap().items, []);
    assert_eq!(bbs.got("g").await.task_definition, Some(bytes));
}

#[tokio::test]
async fn without_keys_a_password_is_refused_with_a_sentence() {
    for cells in [false, true] {
        let settings = Settings {
            cells,
            ..Settings::default()
        };
        let bbs = Bbs::open(settings).await;
        let (kind, text) = bbs.desire_bytes("g", &with_password("hush")).await.unwrap_err();
        assert_eq!(kind, ErrorType::InvalidRequest);
        assert!(text.contains("--diego-encryption-keys"), "{text}");
        assert_eq!(
            bbs.tasks().list(&Default::default()).await.unwrap().items.len(),
            0
        );
    }
}

/// As a facade leaves it that dies between its first two writes.
async fn interrupted(bbs: &Bbs, bytes: &[u8]) {
    bbs.desire_bytes("g", bytes).await.unwrap();
    let mut task = bbs.object("g").await;
    let secret = super::super::pull::named(&task).unwrap().to_owned();
    let params = DeleteParams::default();
    bbs.secrets().delete(&secret, &params).await.unwrap();
    bbs.tasks().delete(&task.name_any(), &params).await.unwrap();
    bbs.facade.views.tasks.gone(&task).await;
    task.spec.suspend = Some(true);
    task.metadata.uid = None;
    task.metadata.resource_version = None;
    task.status = None;
    bbs.tasks().create(&PostParams::default(), &task).await.unwrap();
}

#[tokio::test]
async fn a_task_that_was_left_without_its_secret_is_finished_by_who_asks_for_it_again() {
    let bbs = Bbs::open(with_keys(false)).await;
    let bytes = with_password("hush");
    interrupted(&bbs, &bytes).await;
    let exists = Err((
        ErrorType::ResourceExists,
        "the requested resource already exists".to_owned(),
    ));
    assert_eq!(bbs.desire_bytes("g", &with_password("other")).await, exists);
    assert_eq!(bbs.object("g").await.spec.suspend, Some(true), "it is not theirs");
    bbs.desire_bytes("g", &bytes).await.unwrap();
    let task = bbs.object("g").await;
    assert_eq!(task.spec.suspend, Some(false));
    let secret = super::super::pull::named(&task).unwrap();
    let secret = bbs.secrets().get(secret).await.unwrap();
    assert_eq!(secret.owner_references()[0].uid, task.uid().unwrap());
    assert_eq!(
        bbs.desire_bytes("g", &bytes).await,
        exists,
        "now it is a task as any other"
    );
}

#[tokio::test]
async fn a_task_whose_secret_is_refused_is_taken_back() {
    let bbs = Bbs::open(with_keys(false)).await;
    let desire = async |guid| bbs.desire_bytes(guid, &with_password("hush")).await;
    // The first asks what the caller may do, the second shows the calls of those that follow.
    assert_eq!(desire("a").await, Ok(()));
    bbs.line.mend();
    assert_eq!(desire("b").await, Ok(()));
    let calls = bbs.line.calls();
    let place = calls.iter().position(|call| call == "POST secrets").unwrap();
    // As a quota or an admission webhook does.
    bbs.line.fail(place, Fault::Status(422));
    let refused = Err((ErrorType::InvalidRequest, "on purpose".into()));
    assert_eq!(desire("c").await, refused);
    bbs.line.mend();
    let mut left: Vec<String> = bbs
        .tasks()
        .list(&Default::default())
        .await
        .unwrap()
        .into_iter()
        .map(|task| task.name_any())
        .collect();
    left.sort();
    let mut wanted = ["a", "b"].map(names::object_name);
    wanted.sort();
    assert_eq!(left, wanted);
}
