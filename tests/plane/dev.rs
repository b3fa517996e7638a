//! `errand dev` itself: what it prints, what it refuses, how it stops.

use std::{
    fs,
    net::TcpListener,
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
    path::Path,
    time::Duration,
};

use nix::sys::signal::Signal;

use crate::support::{
    Dev,
    command::{ERRAND, command, run},
    docker::{DockerEngine, TOOLS},
    errand, wait_for,
};

const ENDLESS: &str = "apiVersion: errand.dev/v1alpha1\nkind: Task\nmetadata: {name: endless}\nspec: {function: {container: {image: i, command: [sh, -c, 'sleep 98765 & sleep 98765']}}}\n";

#[test]
fn the_ready_line_says_how_to_reach_it() {
    let dev = Dev::start(&["--token", "admin=s3cret", "--token", "ann=other:dev"]);
    assert!(dev.says("api").starts_with("https://127.0.0.1:"), "{}", dev.ready);
    assert!(
        dev.ready.starts_with("ready facade=http://127.0.0.1:"),
        "{}",
        dev.ready
    );
    assert_eq!(Path::new(dev.says("kubeconfig")), dev.kubeconfig());
    assert_eq!(dev.says("token"), "s3cret");
    assert_eq!(
        fs::metadata(dev.kubeconfig()).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let review = dev.folder().join("review.yaml");
    fs::write(
        &review,
        "{apiVersion: authentication.k8s.io/v1, kind: SelfSubjectReview}",
    )
    .unwrap();
    let user = [
        "create",
        "--validate=false",
        "-o",
        "jsonpath={.status.userInfo.username}",
        "-f",
        review.to_str().unwrap(),
    ];
    assert_eq!(dev.kubectl(&user).ok(), "admin");
    let ann = dev.kubectl(&["--token", "other", "get", "tasks"]);
    assert!(
        ann.stderr.contains("User \"ann\" cannot list resource \"tasks\""),
        "{}",
        ann.stderr
    );
}

#[test]
fn the_ready_line_ends_with_the_door_of_diego_where_it_is_asked_for() {
    let dev = Dev::start(&["--diego-addr", "127.0.0.1:0"]);
    assert!(
        dev.says("diego").starts_with("http://127.0.0.1:"),
        "{}",
        dev.ready
    );
    assert!(dev.ready.ends_with(dev.says("diego")), "{}", dev.ready);
}

#[test]
fn files_and_folders_are_applied_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.yaml"), "apiVersion: errand.dev/v1alpha1\nkind: Function\nmetadata: {name: f}\nspec: {container: {image: i, command: [echo, applied]}}\n").unwrap();
    let dev = Dev::start(&["--apply", folder.path().to_str().unwrap()]);
    assert_eq!(dev.errand(&["run", "f"]).ok(), "applied\n");
}

#[test]
fn a_mistake_in_what_it_is_given_ends_it_with_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let kubeconfig_text = kubeconfig.to_str().unwrap();
    let common = ["dev", "--runtime", "process", "--kubeconfig", kubeconfig_text];
    for (args, sentence) in [
        (
            vec!["--api-addr", &taken],
            "already in use; choose another with --api-addr",
        ),
        (
            vec!["--api-addr", "127.0.0.1:0", "--facade-addr", &taken],
            "already in use; choose another with --facade-addr",
        ),
        (
            vec![
                "--facade-addr",
                "127.0.0.1:0",
                "--api-addr",
                "127.0.0.1:0",
                "--apply",
                "/nowhere",
            ],
            "could not read /nowhere",
        ),
        (vec!["--token", "ann"], "a token is given as USER=TOKEN"),
        (vec!["--diego-addr", "0.0.0.0:0"], "whoever reaches it is admin"),
        (
            vec!["--diego-addr", "127.0.0.1:0", "--diego-ca", "/nowhere"],
            "--diego-cert",
        ),
        (
            vec![
                "--facade-addr",
                "127.0.0.1:0",
                "--api-addr",
                "127.0.0.1:0",
                "--data-dir",
                "/proc/errand",
            ],
            "/proc/errand",
        ),
    ] {
        let ran = errand(&kubeconfig, common.iter().copied().chain(args.iter().copied()));
        assert!(matches!(ran.code, Some(1 | 2)), "{args:?}: {ran:?}");
        assert!(ran.stderr.contains(sentence), "{args:?}: {}", ran.stderr);
        assert!(ran.stdout.is_empty(), "{args:?}: {}", ran.text());
    }
}

#[test]
fn signals_stop_it_within_five_seconds_and_leave_no_process_behind() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut dev = Dev::start(&[]);
        dev.apply(ENDLESS);
        runs(&dev, "endless");
        let mark = dev.folder().to_str().unwrap().to_owned();
        assert!(
            !processes_with(&mark).is_empty(),
            "the command should run below {mark}"
        );
        let (code, took) = dev.stop_by(signal);
        assert_eq!(code, Some(0), "{}", dev.log());
        assert!(took < Duration::from_secs(5), "{signal} took {took:?}");
        wait_for(
            "the end of all processes",
            || format!("{:?}", processes_with(&mark)),
            || processes_with(&mark).is_empty().then_some(()),
        );
        assert_eq!(pod_folders(&dev), 0);
    }
}

/// Processes whose environment names the folder: what the plane started has its TMPDIR or paths below it.
fn processes_with(mark: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        // The plane itself and kubectl carry the folder as an argument of --kubeconfig or in KUBECONFIG.
        let plane = command.contains(" dev ") || command.contains("kubectl");
        if !plane && !command.is_empty() && String::from_utf8_lossy(&environment).contains(mark) {
            found.push(command);
        }
    }
    found
}

#[test]
fn with_a_data_dir_tasks_survive_a_kill_and_are_finished() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path().to_str().unwrap();
    let gate = Path::new(data).join("gate");
    let dev = Dev::start(&["--data-dir", data]);
    let script = format!(
        "while ! test -e {}; do sleep 0.1; done; echo finished",
        gate.display()
    );
    dev.apply(&format!("apiVersion: errand.dev/v1alpha1\nkind: Function\nmetadata: {{name: f}}\nspec: {{maxConcurrency: 1, container: {{image: i, command: [sh, -c, '{script}']}}, retry: {{limit: 3}}}}\n"));
    for name in ["running", "queued"] {
        dev.apply(&format!("apiVersion: errand.dev/v1alpha1\nkind: Task\nmetadata: {{name: {name}}}\nspec: {{functionRef: {{name: f}}}}\n"));
    }
    runs(&dev, "running");
    let folder = dev.kill();
    fs::write(&gate, "").unwrap();
    let dev = Dev::start_in(folder, &["--data-dir", data]);
    // Whatever became of the container that the kill cut off, the Task ends, and the queued one runs.
    assert_eq!(dev.errand(&["result", "queued", "--wait"]).ok(), "finished\n");
    wait_for(
        "the end of the first Task",
        || dev.log(),
        || {
            let phase = dev
                .kubectl(&["get", "task", "running", "-o", "jsonpath={.status.phase}"])
                .ok();
            matches!(phase.as_str(), "Succeeded" | "Failed").then_some(())
        },
    );
}

/// A Task that neither it nor its children end when asked to.
fn stubborn() -> String {
    format!(
        "apiVersion: errand.dev/v1alpha1\nkind: Task\nmetadata: {{name: stubborn}}\nspec: {{function: {{container: {{image: '{TOOLS}', \
         command: [sh, -c, 'trap \"\" TERM; echo ready; while :; do sleep 1; done']}}}}}}\n"
    )
}

#[test]
fn on_docker_tasks_run_in_containers_and_none_is_left_after_the_end() {
    let Some(docker) = DockerEngine::shared() else {
        return;
    };
    let mut dev = Dev::start_on("docker", &docker.host);
    let task = format!(
        "apiVersion: errand.dev/v1alpha1\nkind: Function\nmetadata: {{name: root}}\nspec: {{container: {{image: '{TOOLS}', command: [ls, /www]}}}}\n"
    );
    dev.apply(&task);
    assert_eq!(dev.errand(&["run", "root"]).ok(), "index.html\n");
    dev.apply(&stubborn());
    runs(&dev, "stubborn");
    assert_eq!(docker.containers(dev.folder()).len(), 1);
    let (code, took) = dev.stop_by(Signal::SIGTERM);
    assert_eq!(code, Some(0), "{}", dev.log());
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(docker.containers(dev.folder()), [""; 0]);
    assert_eq!(pod_folders(&dev), 0);
}

#[test]
fn auto_takes_docker_where_a_socket_answers_and_processes_elsewhere() {
    let nowhere = "unix:///nowhere/docker.sock";
    let docker = DockerEngine::shared();
    let hosts = docker.iter().map(|docker| (docker.host.as_str(), "docker://"));
    for (host, scheme) in hosts.chain([(nowhere, "process://")]) {
        let dev = Dev::start_on("auto", host);
        let runtime = [
            "get",
            "nodes",
            "-o",
            "jsonpath={.items[*].status.nodeInfo.containerRuntimeVersion}",
        ];
        let runtime = dev.kubectl(&runtime).ok();
        assert!(runtime.starts_with(scheme), "{runtime}");
        dev.apply(&stubborn());
        runs(&dev, "stubborn");
        let id = [
            "get",
            "pods",
            "-o",
            "jsonpath={.items[*].status.containerStatuses[*].containerID}",
        ];
        let id = dev.kubectl(&id).ok();
        assert!(id.starts_with(scheme), "{id}");
    }
}

#[test]
fn docker_without_an_engine_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let (kubeconfig, deaf) = (folder.path().join("kubeconfig"), folder.path().join("deaf"));
    // Takes connections and never says a word.
    let _deaf = UnixListener::bind(&deaf).unwrap();
    for socket in ["/nowhere/docker.sock", deaf.to_str().unwrap()] {
        let args = [
            "dev",
            "--runtime",
            "docker",
            "--api-addr",
            "127.0.0.1:0",
            "--kubeconfig",
        ];
        let mut dev = command(Path::new(ERRAND), &kubeconfig, args);
        dev.arg(&kubeconfig)
            .env("DOCKER_HOST", format!("unix://{socket}"))
            .env("TMPDIR", folder.path());
        let ran = run(dev, b"");
        assert_eq!((ran.code, ran.text().as_str()), (Some(1), ""), "{}", ran.stderr);
        let sentence = format!(
            "errand: could not set up the container runtime of node errand-dev: no container engine answers: \
             tried unix://{socket}. Start Docker or Podman, set DOCKER_HOST, or choose the process runtime"
        );
        assert_eq!(ran.stderr.lines().last(), Some(sentence.as_str()));
    }
    let left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert_eq!(left, ["deaf"], "nothing is left behind");
}

fn runs(dev: &Dev, task: &str) {
    let task = format!("task/{task}");
    dev.kubectl(&[
        "wait",
        "--for=jsonpath={.status.phase}=Running",
        &task,
        "--timeout=60s",
    ])
    .ok();
}

/// Folders of pods that a plane in memory has below its TMPDIR.
fn pod_folders(dev: &Dev) -> usize {
    let left = fs::read_dir(dev.folder())
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name());
    left.filter(|name| name.to_string_lossy().starts_with("errand-dev-"))
        .count()
}
