//! `errand controller` and `errand facade` as processes of their own, as they run in a cluster.

use std::{
    fs::{self, File},
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::support::{Dev, command::ERRAND, http::Http, wait_for};

/// A process that serves health on a port of its own. Killed when dropped.
struct Process {
    child: Child,
    log: PathBuf,
    health: String,
}

impl Process {
    fn start(dev: &Dev, args: &[&str]) -> Self {
        let (log, health) = (dev.folder().join(args[0]), free());
        let child = Command::new(ERRAND)
            .args(args)
            .args(["--health-addr", &health, "--kubeconfig"])
            .arg(dev.kubeconfig())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let process = Self {
            child,
            log,
            health: format!("http://{health}"),
        };
        let listens = || std::net::TcpStream::connect(&health).is_ok();
        wait_for("health", || process.log(), || listens().then_some(()));
        let ready = || Http::to(&process.health).get("/readyz").status == 200;
        wait_for("readiness", || process.log(), || ready().then_some(()));
        process
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn metrics(&self) -> String {
        Http::to(&self.health).get("/metrics").text()
    }

    /// The exit code after SIGTERM.
    fn stop(&mut self) -> Option<i32> {
        kill(
            Pid::from_raw(i32::try_from(self.child.id()).unwrap()),
            Signal::SIGTERM,
        )
        .unwrap();
        let mut code = None;
        let log = self.log.clone();
        let said = || fs::read_to_string(&log).unwrap_or_default();
        wait_for("the end of the process", said, || {
            let status = self.child.try_wait().unwrap()?;
            code = status.code();
            Some(())
        });
        code
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address that was free a moment ago.
fn free() -> String {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string()
}

#[test]
fn a_controller_takes_the_lease_becomes_ready_and_gives_it_back() {
    let dev = Dev::start(&[]);
    let mut controller = Process::start(&dev, &["controller"]);
    let leads = || controller.metrics().lines().any(|line| line == "errand_leader 1");
    wait_for("leadership", || controller.log(), || leads().then_some(()));
    let holder = [
        "get",
        "lease",
        "errand-controller",
        "-o",
        "jsonpath={.spec.holderIdentity}",
    ];
    assert_ne!(dev.kubectl(&holder).ok(), "");
    assert!(
        controller.log().contains("subcommand=\"controller\""),
        "{}",
        controller.log()
    );
    assert_eq!(controller.stop(), Some(0), "{}", controller.log());
    assert_eq!(dev.kubectl(&holder).ok(), "");
}

#[test]
fn a_second_facade_knows_what_was_made_at_the_first() {
    let dev = Dev::start(&["--token", "admin=s3cret"]);
    dev.apply("apiVersion: errand.dev/v1alpha1\nkind: Function\nmetadata: {name: f}\nspec: {container: {image: i, command: [echo, done]}}\n");
    let addr = free();
    let mut second = Process::start(&dev, &["facade", "--facade-addr", &addr]);
    let other = Http::to(&format!("http://{addr}")).with("authorization", "s3cret");
    let made = Http::to(dev.says("facade"))
        .bearer("s3cret")
        .post("/v1/task/f", b"");
    let id = made.json()["id"].as_str().unwrap().to_owned();
    // At once: what its watch has not brought yet, it asks for.
    let seen = other.get(&format!("/v1/task/{id}"));
    assert_eq!(seen.status, 200, "{seen:?}");
    let result = format!("/errand/v1/namespaces/default/tasks/{id}/result?wait=60s");
    assert_eq!(other.get(&result).text(), "done\n");
    assert!(
        second.metrics().contains("errand_facade_requests_total"),
        "{}",
        second.metrics()
    );
    drop(other.connect());
    assert_eq!(second.stop(), Some(0), "{}", second.log());
}
