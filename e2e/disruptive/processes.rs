//! Controllers and facades as processes of their nodes, behind Kubernetes' back.

use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::support::cluster;
use crate::support::{Space, command::kubectl, installation::NAMESPACE, space::kubeconfig};

const LEASE: &str = "errand-controller";

/// A running controller or facade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// As the cluster's process namespace counts.
    pub pid: String,
    pub pod: String,
}

/// All `controller`s or `facade`s that run, as the process table of the nodes says.
pub fn running(part: &str) -> Vec<Process> {
    // Processes may go while they are looked at.
    let script = r#"for pid in $(pgrep -f "^/errand $0"); do
        pod=$(tr '\0' '\n' <"/proc/$pid/environ" 2>/dev/null | sed -n 's/^HOSTNAME=//p')
        [ -z "$pod" ] || echo "$pid $pod"
    done"#;
    let found = cluster(&["run", "bash", "-c", script, part]).text();
    let process = |line: &str| {
        let (pid, pod) = line.split_once(' ')?;
        Some(Process {
            pid: pid.to_owned(),
            pod: pod.to_owned(),
        })
    };
    found.lines().filter_map(process).collect()
}

impl Process {
    /// False where it has ended already.
    pub fn signal(&self, signal: &str) -> bool {
        cluster(&["run", "kill", signal, &self.pid]).code == Some(0)
    }
}

/// A controller that is stopped by SIGSTOP; it goes on at the latest when this goes.
pub struct Paused(Process);

impl Paused {
    pub fn pause(controller: Process) -> Self {
        assert!(controller.signal("-STOP"), "{controller:?} cannot be stopped");
        Self(controller)
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        let went_on = self.0.signal("-CONT");
        eprintln!("{:?} goes on: {went_on}", self.0);
    }
}

fn lease(space: &Space) -> Api<Lease> {
    Api::namespaced(space.client.clone(), NAMESPACE)
}

/// Who holds the Lease: the pod's name and what tells its processes apart.
async fn holder(space: &Space) -> Option<String> {
    let lease = lease(space).get_opt(LEASE).await.ok()??;
    lease.spec?.holder_identity.filter(|holder| !holder.is_empty())
}

/// The process that leads.
pub async fn leader(space: &Space) -> Process {
    space
        .poll("a controller leads", || async {
            let holder = holder(space).await?;
            let pod = holder.split('_').next()?.to_owned();
            running("controller")
                .into_iter()
                .find(|controller| controller.pod == pod)
        })
        .await
}

/// Waits until another than `before` leads.
pub async fn another_leads(space: &Space, before: &str) -> String {
    space
        .poll("another controller leads", || async {
            let holder = holder(space).await?;
            (holder != before
                && running("controller")
                    .iter()
                    .any(|controller| holder.starts_with(&controller.pod)))
            .then_some(holder)
        })
        .await
}

/// Takes the Lease in a name that nobody has, as if it had come from elsewhere.
pub async fn usurp(space: &Space) {
    let now = k8s_openapi::jiff::Timestamp::now();
    let spec = json!({"holderIdentity": "nobody", "acquireTime": format!("{now:.6}"), "renewTime": format!("{now:.6}")});
    let patch = Patch::Merge(json!({"spec": spec}));
    lease(space)
        .patch(LEASE, &PatchParams::default(), &patch)
        .await
        .unwrap();
}

/// New pods for these: those that were killed start ever later, and the next test need not wait for that.
pub struct Renewed(pub &'static [&'static str]);

impl Drop for Renewed {
    fn drop(&mut self) {
        for part in self.0 {
            let deployment = format!("errand-{part}");
            let restart = [
                "--namespace",
                NAMESPACE,
                "rollout",
                "restart",
                "deployment",
                &deployment,
            ];
            let ran = kubectl(kubeconfig(), restart);
            if ran.code != Some(0) {
                eprintln!("{deployment} could not be restarted: {ran:?}");
            }
        }
    }
}
