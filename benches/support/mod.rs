//! What the benchmarks share: a plane as a process of its own, and rows of a table.

// Each benchmark uses its part.
#![allow(dead_code)]

pub mod load;

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

pub const ERRAND: &str = env!("CARGO_BIN_EXE_errand");

/// With as many workers as the machine of the figures has cores.
pub fn runtime() -> tokio::runtime::Runtime {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all().build().unwrap()
}

pub fn row(what: &str, time: Duration, beside: &str) {
    println!("| {what} | {:.2} ms | {beside} |", millis(time));
}

pub fn beside(time: Duration, other: Duration, what: &str) -> String {
    format!("{:.1} x {what}", time.as_secs_f64() / other.as_secs_f64())
}

pub fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// `errand dev` as a process of its own.
pub struct Plane {
    child: Child,
    /// `http://HOST:PORT` of the facade.
    pub facade: String,
    /// The same of Diego's door, where it is open.
    pub diego: Option<String>,
}

impl Plane {
    pub fn start(folder: &Path) -> Self {
        Self::start_with(folder, &[])
    }

    /// With more arguments.
    pub fn start_with(folder: &Path, more: &[String]) -> Self {
        let mut child = Command::new(ERRAND)
            .args([
                "dev",
                "--facade-addr",
                "127.0.0.1:0",
                "--api-addr",
                "127.0.0.1:0",
                "--runtime",
                "process",
                "--token",
                "admin=bench",
                // A line for each request would be measured too.
                "--log-level",
                "info,errand::access=warn",
                "--kubeconfig",
            ])
            .arg(folder.join("kubeconfig"))
            .args(more)
            .env("TMPDIR", folder)
            .stdout(Stdio::piped())
            .stderr(File::create(folder.join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert!(
            line.starts_with("ready "),
            "{line}{}",
            fs::read_to_string(folder.join("log")).unwrap()
        );
        let said = |key: &str| {
            let value = line.split_whitespace().find_map(|part| part.strip_prefix(key));
            value.map(str::to_owned)
        };
        Self {
            facade: said("facade=").unwrap(),
            diego: said("diego="),
            child,
        }
    }

    /// Most memory so far in MiB, from /proc.
    pub fn memory(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .unwrap();
        line.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0
    }

    pub fn stop(&mut self) {
        let _ = kill(
            Pid::from_raw(i32::try_from(self.child.id()).unwrap()),
            Signal::SIGTERM,
        );
        let _ = self.child.wait();
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client of the plane whose kubeconfig this is.
pub async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    Client::try_from(config.unwrap()).unwrap()
}
