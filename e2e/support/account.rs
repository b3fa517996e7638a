//! Service accounts, what they may do, and their tokens.

use k8s_openapi::api::{
    authentication::v1::TokenRequest, authorization::v1::LocalSubjectAccessReview, core::v1::ServiceAccount,
};
use kube::{Api, Client, Config, api::PostParams, config::Kubeconfig};
use serde_json::{Value, json};

use super::{Space, http::Http, installation, space::kubeconfig};

/// A token of a service account, for the API server.
pub async fn token(client: &Client, namespace: &str, account: &str) -> String {
    let request: TokenRequest =
        serde_json::from_value(json!({"spec": {"audiences": [], "expirationSeconds": 3600}})).unwrap();
    let api: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let answer = api
        .create_token_request(account, &PostParams::default(), &request)
        .await;
    answer.unwrap().status.unwrap().token
}

/// A client of the API server that is whoever holds the token.
pub async fn client(token: &str) -> Client {
    let mut kubeconfig = Kubeconfig::read_from(kubeconfig()).unwrap();
    for user in &mut kubeconfig.auth_infos {
        let auth = json!({"token": token});
        user.auth_info = Some(serde_json::from_value(auth).unwrap());
    }
    let config = Config::from_custom_kubeconfig(kubeconfig, &Default::default())
        .await
        .unwrap();
    Client::try_from(config).unwrap()
}

impl Space {
    /// Makes a service account of this namespace and returns its token.
    pub async fn account(&self, name: &str) -> String {
        let object: ServiceAccount = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        self.api().create(&PostParams::default(), &object).await.unwrap();
        token(&self.client, &self.name, name).await
    }

    /// Lets an account of this namespace do this with Tasks in it; Role and binding have its name.
    pub fn allow(&self, account: &str, verbs: &[&str]) {
        let subject = json!({"kind": "ServiceAccount", "name": account, "namespace": self.name});
        self.bind(account, subject, verbs);
    }

    /// Lets a user do this with Tasks in this namespace, and waits until the API server knows of it.
    pub async fn allow_user(&self, user: &str, verbs: &[&str]) {
        let subject = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user});
        self.bind(user, subject, verbs);
        self.allowed(user, verbs[0]).await;
    }

    fn bind(&self, name: &str, subject: Value, verbs: &[&str]) {
        let group = "rbac.authorization.k8s.io";
        let (version, metadata) = (format!("{group}/v1"), json!({"name": name}));
        let role = json!({
            "apiVersion": version, "kind": "Role", "metadata": metadata,
            "rules": [{"apiGroups": ["errand.dev"], "resources": ["tasks"], "verbs": verbs}],
        });
        let binding = json!({
            "apiVersion": version, "kind": "RoleBinding", "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
            "subjects": [subject],
        });
        self.apply(&json!({"apiVersion": "v1", "kind": "List", "items": [role, binding]}).to_string());
    }

    /// The facade for an account of this namespace that may do this with Tasks here.
    pub async fn user(&self, account: &str, verbs: &[&str]) -> Http {
        let http = installation::facade().bearer(&self.account(account).await);
        self.allow(account, verbs);
        let user = format!("system:serviceaccount:{}:{account}", self.name);
        self.allowed(&user, verbs[0]).await;
        http
    }

    /// Waits until the API server knows of a right: a facade that had asked before would believe for a while that there is
    /// none.
    async fn allowed(&self, user: &str, verb: &str) {
        let question: LocalSubjectAccessReview = serde_json::from_value(json!({
            "metadata": {"namespace": self.name},
            "spec": {
                "user": user,
                "resourceAttributes": {
                    "namespace": self.name, "group": "errand.dev", "resource": "tasks", "verb": verb,
                },
            },
        }))
        .unwrap();
        self.poll(&format!("{user} may {verb} Tasks"), || async {
            let answer = self.api().create(&PostParams::default(), &question).await;
            answer.unwrap().status.unwrap().allowed.then_some(())
        })
        .await;
    }
}

/// All that callers do with Tasks.
pub const EVERYTHING: &[&str] = &["get", "list", "watch", "create", "patch", "delete"];
