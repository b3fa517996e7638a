//! A Docker engine of this test process's own, shared by the tests that run at the same time.

use std::{
    ffi::OsStr,
    path::Path,
    process::Command,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tempfile::TempDir;

/// Asks for the tests that need root and Debian's docker.io, as `make test` does.
const GATE: &str = "ERRAND_TEST_ENGINE";
/// An image built FROM scratch with a static busybox in it, and `/www/index.html`.
pub const TOOLS: &str = "local.test/tools:1";

static SHARED: Mutex<Weak<DockerEngine>> = Mutex::new(Weak::new());

/// A running dockerd. The last test that holds it ends it, also by failing.
pub struct DockerEngine {
    folder: TempDir,
    /// Address of its socket.
    pub host: String,
}

impl DockerEngine {
    /// The engine with [`TOOLS`] in it; `None` where nobody asked for these tests. An engine that was asked for and
    /// cannot be had is a failure, never a silent skip.
    pub fn shared() -> Option<Arc<Self>> {
        if std::env::var_os(GATE).is_none() {
            eprintln!("not run: needs root and a Docker engine; set {GATE}=1, as `make test` does");
            return None;
        }
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = shared.upgrade() {
            return Some(engine);
        }
        let folder = tempfile::tempdir().unwrap();
        let host = script("start", folder.path(), &[]).unwrap();
        let engine = Arc::new(Self { folder, host });
        script("tools", engine.folder.path(), &[TOOLS.as_ref()]).unwrap();
        *shared = Arc::downgrade(&engine);
        Some(engine)
    }

    /// Makes an image of `FROM scratch`, a folder and an instruction of a Dockerfile.
    pub fn image(&self, tag: &str, root: &Path, instruction: &str) {
        let args = [tag.as_ref(), root.as_ref(), instruction.as_ref()];
        script("image", self.folder.path(), &args).unwrap();
    }

    /// Ids of the containers, running or not, of nodes that keep their pods below `folder`.
    pub fn containers(&self, folder: &Path) -> Vec<String> {
        let format = "{{.ID}} {{.Label \"local-node.node\"}}";
        let listed = self.docker(&["ps", "--all", "--format", format]);
        let ours = |line: &&str| line.contains(folder.to_str().unwrap());
        listed.lines().filter(ours).map(str::to_owned).collect()
    }

    /// What the `docker` command says.
    pub fn docker(&self, args: &[&str]) -> String {
        let ran = Command::new("docker")
            .args(["--host", &self.host])
            .args(args)
            .output()
            .unwrap();
        assert!(
            ran.status.success(),
            "docker {args:?}: {}",
            String::from_utf8_lossy(&ran.stderr)
        );
        String::from_utf8(ran.stdout).unwrap()
    }
}

impl Drop for DockerEngine {
    fn drop(&mut self) {
        // A test that already fails says more than this.
        let stopped = script("stop", self.folder.path(), &[]);
        if !std::thread::panicking() {
            stopped.unwrap();
        }
    }
}

fn script(action: &str, folder: &Path, args: &[&OsStr]) -> Result<String, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/docker-engine.sh");
    let ran = Command::new("sh")
        .arg(script)
        .arg(action)
        .arg(folder)
        .args(args)
        .output();
    let ran = ran.map_err(|error| error.to_string())?;
    if !ran.status.success() {
        return Err(format!("{action}: {}", String::from_utf8_lossy(&ran.stderr)));
    }
    Ok(String::from_utf8_lossy(&ran.stdout).trim().to_owned())
}
