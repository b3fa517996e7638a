//! The release: upgraded, removed and put back.

use std::{path::Path, process::Command};

use crate::support::{
    command::{Ran, kubectl, run},
    installation::NAMESPACE,
    space::kubeconfig,
    tools,
};

/// Name of the release that `run.sh` installs.
const RELEASE: &str = "errand";

fn helm(args: &[&str]) -> Ran {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tool = run(command(root, "tests/support/tool.sh", &["helm"]), b"").ok();
    run(command(root, tool.trim(), args), b"")
}

fn command(root: &Path, program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(root.join(program));
    command
        .args(args)
        .current_dir(root)
        .env("KUBECONFIG", kubeconfig());
    command
}

/// Installs or upgrades as `run.sh` does, with more values, and waits until it is rolled out.
pub fn install(release: &str, namespace: &str, values: &[&str]) {
    let image =
        std::env::var("ERRAND_E2E_IMAGE").unwrap_or_else(|_| format!("errand:{}", env!("CARGO_PKG_VERSION")));
    let (repository, tag) = image.rsplit_once(':').expect("ERRAND_E2E_IMAGE is NAME:TAG");
    let (repository, tag, stack) = (
        format!("image.repository={repository}"),
        format!("image.tag={tag}"),
        format!("facade.diego.stacks.tools={}", tools()),
    );
    let mut args = vec![
        "upgrade",
        "--install",
        release,
        "charts/errand",
        "--namespace",
        namespace,
        "--create-namespace",
    ];
    args.extend([
        "--values",
        "e2e/values.yaml",
        "--set",
        &repository,
        "--set",
        &tag,
        "--set",
        &stack,
        "--wait",
        "--timeout",
        "110s",
    ]);
    for value in values {
        args.extend(["--set", value]);
    }
    helm(&args).ok();
}

pub fn uninstall(release: &str, namespace: &str) {
    helm(&[
        "uninstall",
        release,
        "--namespace",
        namespace,
        "--ignore-not-found",
        "--wait",
        "--timeout",
        "110s",
    ])
    .ok();
}

/// Puts the release back where a test that failed has left none.
pub fn ensure_installed() {
    let there = kubectl(
        kubeconfig(),
        [
            "--namespace",
            NAMESPACE,
            "get",
            "deployment",
            "errand-controller",
            "errand-facade",
        ],
    );
    if there.code != Some(0) {
        eprintln!("the release is not there: {}", there.stderr);
        install(RELEASE, NAMESPACE, &[]);
    }
}

/// Rolls both Deployments out by a changed value.
pub fn roll(mark: &str) {
    let values = ["controller", "facade"].map(|part| format!("{part}.podAnnotations.rolled={mark}"));
    install(RELEASE, NAMESPACE, &[&values[0], &values[1]]);
}

/// The release is gone; it is back at the latest when this goes.
pub struct Removed(());

impl Removed {
    pub fn remove() -> Self {
        uninstall(RELEASE, NAMESPACE);
        Self(())
    }
}

impl Drop for Removed {
    fn drop(&mut self) {
        // A panic while another unwinds would end the process.
        if std::thread::panicking() {
            let _ = std::panic::catch_unwind(|| install(RELEASE, NAMESPACE, &[]));
        } else {
            install(RELEASE, NAMESPACE, &[]);
        }
    }
}

/// A second release in a namespace of its own, which goes with this.
pub struct Other {
    name: &'static str,
    namespace: &'static str,
}

impl Other {
    pub fn install(name: &'static str, namespace: &'static str) -> Self {
        let other = Self { name, namespace };
        // Its namespace has no certificates.
        install(name, namespace, &["facade.diego.secretName="]);
        other
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let gone = std::panic::catch_unwind(|| uninstall(self.name, self.namespace));
        let _ = kubectl(
            kubeconfig(),
            ["delete", "namespace", self.namespace, "--wait=false"],
        );
        if !std::thread::panicking() {
            gone.unwrap();
        }
    }
}
