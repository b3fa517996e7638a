//! `errand dev` as a process of its own, on a free port, in a folder of its own.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use super::{
    command::{Beside, ERRAND, Ran, command, errand, kubectl, kubectl_path},
    wait_for,
};

/// A running plane. Stopped when dropped; a failing test prints the end of its log.
pub struct Dev {
    child: Child,
    folder: TempDir,
    /// The ready line.
    pub ready: String,
}

impl Dev {
    /// Starts on the process runtime with `args` and waits for the ready line.
    pub fn start(args: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), args)
    }

    /// Starts in a folder that an earlier plane may have used.
    pub fn start_in(folder: TempDir, args: &[&str]) -> Self {
        let args: Vec<&str> = ["--runtime", "process"].iter().chain(args).copied().collect();
        Self::launch(folder, &args, None)
    }

    /// Starts on another runtime, which looks for its engine at `docker_host`.
    pub fn start_on(runtime: &str, docker_host: &str) -> Self {
        Self::launch(
            tempfile::tempdir().unwrap(),
            &["--runtime", runtime],
            Some(docker_host),
        )
    }

    fn launch(folder: TempDir, args: &[&str], docker_host: Option<&str>) -> Self {
        let (stdout, stderr) = (folder.path().join("stdout"), folder.path().join("log"));
        let mut command = Command::new(ERRAND);
        command
            .args([
                "dev",
                "--facade-addr",
                "127.0.0.1:0",
                "--api-addr",
                "127.0.0.1:0",
                "--kubeconfig",
            ])
            .arg(folder.path().join("kubeconfig"))
            .args(args)
            .env("TMPDIR", folder.path())
            .envs(docker_host.map(|host| ("DOCKER_HOST", host)))
            .stdin(Stdio::null())
            .stdout(File::create(&stdout).unwrap())
            .stderr(File::options().create(true).append(true).open(&stderr).unwrap());
        let mut child = command.spawn().unwrap();
        let log = || fs::read_to_string(&stderr).unwrap_or_default();
        let ready = wait_for("the ready line", log, || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("errand dev ended with {status}: {}", log());
            }
            fs::read_to_string(&stdout)
                .unwrap()
                .lines()
                .find(|line| line.starts_with("ready "))
                .map(str::to_owned)
        });
        Self { child, folder, ready }
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn process(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    /// The value of `key=` in the ready line.
    pub fn says(&self, key: &str) -> &str {
        let value = self
            .ready
            .split(' ')
            .find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        value.unwrap_or_else(|| panic!("no {key}= in {:?}", self.ready))
    }

    pub fn errand(&self, args: &[&str]) -> Ran {
        errand(&self.kubeconfig(), args)
    }

    pub fn kubectl(&self, args: &[&str]) -> Ran {
        kubectl(&self.kubeconfig(), args)
    }

    /// `errand` beside the test.
    pub fn errand_beside(&self, args: &[&str]) -> Beside {
        Beside::start(command(Path::new(ERRAND), &self.kubeconfig(), args))
    }

    /// `kubectl` beside the test.
    pub fn kubectl_beside(&self, args: &[&str]) -> Beside {
        Beside::start(command(kubectl_path(), &self.kubeconfig(), args))
    }

    /// `kubectl apply -f` of a text.
    pub fn apply(&self, manifest: &str) -> String {
        let mut file = tempfile::NamedTempFile::with_suffix_in(".yaml", self.folder()).unwrap();
        std::io::Write::write_all(&mut file, manifest.as_bytes()).unwrap();
        self.kubectl(&["apply", "-f", file.path().to_str().unwrap()]).ok()
    }

    /// What the plane said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Sends a signal and returns the exit code and how long the end took.
    pub fn stop_by(&mut self, signal: Signal) -> (Option<i32>, Duration) {
        let start = Instant::now();
        kill(self.process(), signal).unwrap();
        let log = self.folder.path().join("log");
        let log = || fs::read_to_string(&log).unwrap_or_default();
        let status = wait_for("the end of errand dev", log, || self.child.try_wait().unwrap());
        (status.code(), start.elapsed())
    }

    /// Kills the plane and hands back its folder.
    pub fn kill(mut self) -> TempDir {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        std::mem::replace(&mut self.folder, elsewhere)
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<_> = log.lines().rev().take(60).collect();
            eprintln!("the end of the plane's log:");
            tail.iter().rev().for_each(|line| eprintln!("  {line}"));
        }
        if self.child.try_wait().ok().flatten().is_none() {
            let _ = kill(self.process(), Signal::SIGTERM);
            for _ in 0..100 {
                if self.child.try_wait().ok().flatten().is_some() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
