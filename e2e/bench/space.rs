//! A namespace for one measurement.

use std::time::Duration;

use errand::crd::Function;
use k8s_openapi::api::core::v1::{Namespace, Secret, ServiceAccount};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, PostParams},
};
use serde_json::json;

/// The Function that Tasks name.
pub const FUNCTION: &str = "noop";
/// The same, paused.
pub const PAUSED: &str = "paused";

pub struct Space {
    client: Client,
    pub name: String,
}

impl Space {
    /// Makes it, and waits until pods can be made in it.
    pub async fn open(client: &Client, name: String) -> Self {
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        let namespaces: Api<Namespace> = Api::all(client.clone());
        namespaces
            .create(&PostParams::default(), &namespace)
            .await
            .unwrap();
        let functions: Api<Function> = Api::namespaced(client.clone(), &name);
        for (name, paused) in [(FUNCTION, false), (PAUSED, true)] {
            let function = json!({
                "apiVersion": "errand.dev/v1alpha1", "kind": "Function", "metadata": {"name": name},
                "spec": {"container": {"image": "hollow:1", "command": ["true"]}, "timeout": "10m", "paused": paused},
            });
            let function = serde_json::from_value(function).unwrap();
            functions.create(&PostParams::default(), &function).await.unwrap();
        }
        let space = Self {
            client: client.clone(),
            name,
        };
        while !space.takes_pods().await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        space
    }

    /// Pods need the default service account; before Kubernetes 1.24 with a Secret of its own.
    async fn takes_pods(&self) -> bool {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &self.name);
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.name);
        let account = accounts.get_opt("default").await.unwrap();
        let old = self
            .client
            .apiserver_version()
            .await
            .unwrap()
            .minor
            .parse::<u32>();
        let needs_secret = old.is_ok_and(|minor| minor < 24);
        let linked = account.as_ref().is_some_and(|account| account.secrets.is_some());
        let secret = !secrets
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .is_empty();
        account.is_some() && (!needs_secret || (linked && secret))
    }

    /// Deletes it with all that is in it, and waits until it is gone.
    pub async fn close(self) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces
            .delete(&self.name, &DeleteParams::default())
            .await
            .unwrap();
        while namespaces.get_opt(&self.name).await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}
