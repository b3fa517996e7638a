//! `errand controller` as a process of this machine, and the API server beside it.

use std::{
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Clock ticks per second in /proc, on every Linux.
const TICKS: f64 = 100.0;

pub struct Controller {
    child: Child,
    port: u16,
}

impl Controller {
    /// Starts it and waits until its caches are filled. Its log goes to a file.
    pub async fn start(kubeconfig: &Path, log: &Path) -> Self {
        // Taken again a moment later; nobody else takes ports of this machine one by one.
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        // It ends with this process, however that ends.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", env!("CARGO_BIN_EXE_errand"), "controller"])
            .args([
                "--lease-namespace",
                "default",
                "--runner-image",
                "errand:bench",
                "--log-level",
                "warn",
            ])
            .args(["--health-addr", &format!("127.0.0.1:{port}"), "--kubeconfig"])
            .arg(kubeconfig)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(log).unwrap())
            .spawn()
            .unwrap();
        let mut controller = Self { child, port };
        while !controller.leads().await {
            if let Some(status) = controller.child.try_wait().unwrap() {
                panic!(
                    "the controller ended with {status}: {}",
                    fs::read_to_string(log).unwrap()
                );
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        controller
    }

    /// True once it leads and its caches are filled.
    async fn leads(&self) -> bool {
        self.page("/metrics").await.contains("errand_leader 1")
            && self.page("/readyz").await.contains("200 OK")
    }

    async fn page(&self, path: &str) -> String {
        let mut answer = String::new();
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)).await {
            let head = format!("GET {path} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n");
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.read_to_string(&mut answer).await;
        }
        answer
    }

    /// CPU seconds so far.
    pub fn cpu(&self) -> f64 {
        cpu(&PathBuf::from(format!("/proc/{}", self.child.id())))
    }

    /// MiB now.
    pub fn memory(&self) -> f64 {
        self.status("VmRSS:")
    }

    /// Most MiB since the start or the last call.
    pub fn peak(&self) -> f64 {
        let peak = self.status("VmHWM:");
        // proc(5): 5 resets the peak.
        fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").unwrap();
        peak
    }

    fn status(&self, key: &str) -> f64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0
    }

    fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap()
    }
}

/// The API server of a cluster.
pub struct ApiServer {
    proc: PathBuf,
}

impl ApiServer {
    /// That of the cluster which lives in this folder.
    pub fn of(cluster: &Path) -> Self {
        let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        let of_cluster = |proc: &PathBuf| {
            let line = fs::read(proc.join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line);
            let program = line.split('\0').next().unwrap_or_default();
            program.ends_with("/kube-apiserver") && line.contains(&*cluster.to_string_lossy())
        };
        let mut found = processes.filter(of_cluster);
        Self {
            proc: found.next().expect("the API server runs"),
        }
    }

    /// CPU seconds so far.
    pub fn cpu(&self) -> f64 {
        cpu(&self.proc)
    }
}

/// CPU seconds of the process with this folder under /proc.
fn cpu(proc: &Path) -> f64 {
    let stat = fs::read_to_string(proc.join("stat")).unwrap();
    // The name in parentheses may hold spaces; utime and stime are the 12th and 13th field after it.
    let fields = stat.rsplit(')').next().unwrap().split_whitespace();
    let ticks = fields.skip(11).take(2).map(|field| field.parse::<f64>().unwrap());
    ticks.sum::<f64>() / TICKS
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
