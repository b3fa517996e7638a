//! What others wrote: kubectl, where it is on the PATH.
use std::{path::Path, process::Stdio};

use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, process::Command};

use super::{
    super::ApiOptions,
    served::{Served, TOKEN, serve},
};

struct Kubectl {
    served: Served,
    folder: tempfile::TempDir,
}

impl Kubectl {
    /// `None` where there is no kubectl.
    async fn new() -> Option<Self> {
        let there = Command::new("kubectl")
            .args(["version", "--client"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if !there.await.is_ok_and(|status| status.success()) {
            eprintln!("kubectl is not on the PATH; nothing was tested");
            return None;
        }
        let served = serve(ApiOptions::default()).await;
        let folder = tempfile::tempdir().unwrap();
        let authority = folder.path().join("ca.crt");
        std::fs::write(&authority, served.server.authority_pem()).unwrap();
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": format!("https://{}", served.address), "certificate-authority": authority}}],
            "users": [{"name": "c", "user": {"token": TOKEN}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        });
        std::fs::write(folder.path().join("config"), config.to_string()).unwrap();
        Some(Self { served, folder })
    }

    /// Standard output, or standard error of a command that failed.
    async fn run(&self, command: &str, input: &str) -> Result<String, String> {
        let folder: &Path = self.folder.path();
        let mut child = Command::new("kubectl")
            .args(command.split(' '))
            .env("KUBECONFIG", folder.join("config"))
            .env("HOME", folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .await
            .unwrap();
        let output = child.wait_with_output().await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim().to_owned();
        if output.status.success() {
            Ok(text(output.stdout))
        } else {
            Err(text(output.stderr))
        }
    }

    async fn ok(&self, command: &str, input: &str) -> String {
        self.run(command, input)
            .await
            .unwrap_or_else(|error| panic!("kubectl {command}: {error}"))
    }

    async fn err(&self, command: &str, input: &str) -> String {
        self.run(command, input).await.expect_err(command)
    }

    async fn end(self) {
        self.served.stop.cancel();
        self.served.ended.await.unwrap();
    }
}

const DEFINITION: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.org}
spec:
  group: example.org
  scope: Namespaced
  names: {plural: widgets, kind: Widget, shortNames: [wg]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    additionalPrinterColumns: [{name: Size, type: integer, jsonPath: .spec.size}]
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, properties: {size: {type: integer, description: How large it is.}}}
          status: {type: object, properties: {phase: {type: string}}}
"#;

fn widget(size: u32) -> String {
    json!({"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": size}}).to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_resources_are_applied_shown_explained_awaited_and_deleted() {
    let Some(kubectl) = Kubectl::new().await else {
        return;
    };
    assert!(kubectl.ok("apply -f -", DEFINITION).await.ends_with("created"));
    kubectl
        .ok(
            "wait --for=condition=Established crd/widgets.example.org --timeout=30s",
            "",
        )
        .await;
    assert_eq!(
        kubectl.ok("apply -f -", &widget(3)).await,
        "widget.example.org/w created"
    );
    assert_eq!(
        kubectl.ok("apply -f -", &widget(3)).await,
        "widget.example.org/w unchanged"
    );
    assert_eq!(
        kubectl.ok("apply -f -", &widget(4)).await,
        "widget.example.org/w configured"
    );
    let table = kubectl.ok("get wg", "").await;
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        (&rows[0][..], &rows[1][..2]),
        (&["NAME", "SIZE"][..], &["w", "4"][..])
    );
    let yaml: Value = serde_yaml::from_str(&kubectl.ok("get wg w -o yaml", "").await).unwrap();
    assert_eq!(yaml["metadata"]["generation"], 2);
    assert!(
        kubectl
            .ok("explain widgets.spec.size", "")
            .await
            .contains("How large it is.")
    );
    assert!(kubectl.ok("describe widget w", "").await.contains("Size:  4"));
    assert!(kubectl.ok("api-resources", "").await.contains("widgets"));
    let patch = r#"patch wg w --subresource=status --type=merge -p {"status":{"phase":"Done"}}"#;
    kubectl.ok(patch, "").await;
    kubectl
        .ok("wait --for=jsonpath={.status.phase}=Done wg/w --timeout=30s", "")
        .await;
    let unknown = widget(3).replace("size", "sise");
    assert!(
        kubectl
            .err("apply -f -", &unknown)
            .await
            .contains("unknown field \"spec.sise\"")
    );
    assert!(
        kubectl
            .ok("apply --server-side --force-conflicts -f -", &widget(7))
            .await
            .contains("serverside-applied")
    );
    assert_eq!(
        kubectl.ok("delete wg w", "").await.lines().next().unwrap(),
        "widget.example.org \"w\" deleted"
    );
    assert!(
        kubectl
            .err("get wg w", "")
            .await
            .contains("widgets.example.org \"w\" not found")
    );
    kubectl.ok("delete crd widgets.example.org", "").await;
    kubectl.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn built_in_objects_are_made_changed_and_authorised() {
    let Some(kubectl) = Kubectl::new().await else {
        return;
    };
    kubectl.ok("create namespace x", "").await;
    kubectl.ok("-n x create configmap a --from-literal=k=v", "").await;
    kubectl.ok(r#"-n x patch cm a -p {"data":{"k":"w"}}"#, "").await;
    kubectl.ok("-n x label cm a tier=one", "").await;
    assert_eq!(
        kubectl
            .ok("-n x get cm -l tier=one -o jsonpath={.items[*].data.k}", "")
            .await,
        "w"
    );
    kubectl.ok("run p --image=a:1 --restart=Never -- true", "").await;
    assert!(kubectl.ok("get pod p", "").await.contains("Pending"));
    assert!(kubectl.ok("describe pod p", "").await.contains("QoS Class:"));
    assert_eq!(kubectl.ok("logs p", "").await, "");
    kubectl.ok("delete pod p", "").await;
    kubectl
        .ok("create role r --verb=get,list --resource=pods", "")
        .await;
    kubectl.ok("create rolebinding b --role=r --user=ann", "").await;
    assert_eq!(kubectl.ok("auth can-i list pods --as=ann", "").await, "yes");
    assert!(kubectl.run("auth can-i delete pods --as=ann", "").await.is_err());
    assert!(
        kubectl
            .err("get cm --as=ann", "")
            .await
            .contains("User \"ann\" cannot list resource \"configmaps\"")
    );
    kubectl.ok("delete namespace x", "").await;
    assert!(kubectl.err("get namespace x", "").await.contains("not found"));
    kubectl.end().await;
}
