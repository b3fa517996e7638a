//! `errand controller` and `errand facade` as processes of their own, as they run in a cluster.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use rcgen::{CertificateParams, KeyPair};
use tokio_rustls::rustls::{
    self, ClientConfig, ClientConnection, RootCertStore, StreamOwned, pki_types::ServerName,
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
        let listens = || TcpStream::connect(&health).is_ok();
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

#[test]
fn definitions_are_made_where_they_lack_and_mended_where_they_differ() {
    let dev = Dev::start(&[]);
    let apply = |tasks: &str, functions: &str| {
        let want = format!(
            "customresourcedefinition/tasks.errand.dev {tasks}\ncustomresourcedefinition/functions.errand.dev {functions}\n\
             customresourcedefinition/schedules.errand.dev unchanged\n"
        );
        assert_eq!(dev.errand(&["crds", "--apply"]).ok(), want);
    };
    apply("unchanged", "unchanged");
    dev.apply("{apiVersion: errand.dev/v1alpha1, kind: Task, metadata: {name: stays}, spec: {external: {processor: p}}}");
    let columns = r#"[{"op": "remove", "path": "/spec/versions/0/additionalPrinterColumns"}]"#;
    dev.kubectl(&["patch", "crd", "tasks.errand.dev", "--type=json", "-p", columns])
        .ok();
    dev.kubectl(&["annotate", "crd", "tasks.errand.dev", "example.com/note=kept"])
        .ok();
    apply("configured", "unchanged");
    let note = "jsonpath={.metadata.annotations.example\\.com/note} {.spec.versions[0].additionalPrinterColumns[0].name}";
    let kept = dev.kubectl(&["get", "crd", "tasks.errand.dev", "-o", note]).ok();
    assert_eq!(kept, "kept Phase");
    dev.kubectl(&["get", "task", "stays"]).ok();
    dev.kubectl(&["delete", "crd", "functions.errand.dev"]).ok();
    apply("unchanged", "created");
}

/// A certificate for localhost that is its own authority.
struct Pair {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Pair {
    fn make() -> Self {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate, key }
    }
}

/// The answer of an HTTPS server to a client that trusts the pair.
fn get_trusting(pair: &Pair, address: &str, path: &str) -> io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(pair.certificate.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, TcpStream::connect(address)?);
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn the_facade_speaks_https_and_follows_its_certificate() {
    let dev = Dev::start(&[]);
    let (certificate, key) = (dev.folder().join("tls.crt"), dev.folder().join("tls.key"));
    let (old, new) = (Pair::make(), Pair::make());
    fs::write(&certificate, old.certificate.pem()).unwrap();
    fs::write(&key, old.key.serialize_pem()).unwrap();
    let address = free();
    let files = [certificate.to_str().unwrap(), key.to_str().unwrap()];
    let args = [
        "facade",
        "--facade-addr",
        &address,
        "--tls-cert",
        files[0],
        "--tls-key",
        files[1],
    ];
    let mut facade = Process::start(&dev, &args);
    let answer = get_trusting(&old, &address, "/errand/v1/namespaces/default/tasks").unwrap();
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");

    fs::write(&certificate, new.certificate.pem()).unwrap();
    let told = || {
        facade
            .log()
            .contains("going on with the certificate as it was")
            .then_some(())
    };
    wait_for("the warning", || facade.log(), told);
    get_trusting(&old, &address, "/docs").unwrap();
    fs::write(&key, new.key.serialize_pem()).unwrap();
    let shown = || get_trusting(&new, &address, "/docs").ok();
    wait_for("the new certificate", || facade.log(), shown);
    assert_eq!(facade.stop(), Some(0));
}
