//! What becomes of tasks in pods.

use errand::crd::Phase;
use kube::{Api, ResourceExt as _, api::ListParams};
use serde_json::Value;

use super::*;
use crate::support::receiver::{Receiver, Reply};

/// The one Task there is.
async fn only(doors: &Doors) -> errand::crd::Task {
    let tasks: Api<errand::crd::Task> = Api::namespaced(doors.client.clone(), "default");
    let all = tasks.list(&ListParams::default()).await.unwrap();
    let [task] = &all.items[..] else { panic!("{all:?}") };
    task.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_runs_in_a_pod_and_its_result_comes_back_here_and_at_the_other_doors() {
    let (doors, bbs) = open().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("result");
    let file = file.to_str().unwrap();
    let definition = script(&format!("echo told; printf 42 > {file}"), file);
    bbs.desire("Some_guid", "cf-tasks", &definition).unwrap();
    assert_eq!(bbs.task("Some_guid").number(FAILED), 0);
    let task = bbs.until_state("Some_guid", COMPLETED);
    assert_eq!(
        (
            task.number(FAILED),
            task.text(REASON),
            task.text(RESULT),
            task.text(GUID)
        ),
        (0, String::new(), "42".into(), "Some_guid".into()),
        "{task:?}"
    );
    assert_eq!(task.all(DEFINITION), [definition]);
    assert!(task.number(FIRST_COMPLETED_AT) > 0);

    let object = only(&doors).await;
    let path = format!("/errand/v1/namespaces/default/tasks/{}", object.name_any());
    let admin = doors.as_user("admin");
    let shown: Value = admin.get(&path).json();
    assert_eq!(shown["status"]["phase"], "Succeeded", "{shown}");
    assert_eq!(shown["spec"]["domain"], "cf-tasks");
    assert_eq!(admin.get(&format!("{path}/result")).text(), "42");
    assert!(admin.get(&format!("{path}/log")).text().contains("told"));
    let listed = admin.get("/openshift/v1/default/tasks").json();
    assert_eq!(listed["tasks"][0]["status"], "SUCCEEDED", "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_fails_is_told_in_the_words_of_cells() {
    let (_doors, bbs) = open().await;
    bbs.desire("g", "d", &script("exit 3", "")).unwrap();
    let task = bbs.until_state("g", COMPLETED);
    assert_eq!(
        (task.number(FAILED), task.text(REASON)),
        (1, "TSK: Exited with status 3".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_task_is_on_its_node_and_cancelled_at_once() {
    let (doors, bbs) = open().await;
    bbs.desire("g", "d", &script("sleep 600", "")).unwrap();
    let running = bbs.until_state("g", RUNNING);
    let node = running.text(CELL);
    assert!(!node.is_empty());
    let start = |cell: &str| bbs.call("/v1/tasks/start", &[text(1, "g"), text(2, cell)].concat());
    let again = start(&node);
    assert_eq!((error(&again), again.number(2)), (Ok(()), 0));
    let other = start("elsewhere");
    let refused = "Cannot transition from Running to Running".to_owned();
    assert_eq!(error(&other), Err((STATE_TRANSITION, refused)));
    let cells = bbs.call("/v1/cells/list.r1", b"");
    assert_eq!(cells.message(2).unwrap().text(1), node);

    bbs.named("cancel", "g").unwrap();
    let task = bbs.task("g");
    assert_eq!(
        (
            task.number(STATE),
            task.number(FAILED),
            task.text(REASON),
            task.text(CELL)
        ),
        (COMPLETED, 1, "task was cancelled".into(), String::new())
    );
    let deadline = std::time::Instant::now() + PATIENCE;
    while only(&doors).await.status.unwrap().phase != Some(Phase::Cancelled) {
        assert!(std::time::Instant::now() < deadline);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let later = bbs.task("g");
    assert_eq!(later.text(REASON), "task was cancelled");
    assert_eq!(later.number(FIRST_COMPLETED_AT), task.number(FIRST_COMPLETED_AT));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_in_a_pod_ends_as_its_cell_says() {
    let (doors, bbs) = open().await;
    bbs.desire("g", "d", &script("sleep 600", "")).unwrap();
    let node = bbs.until_state("g", RUNNING).text(CELL);
    let complete = |cell: &str| {
        let body = [text(1, "g"), text(2, cell), text(5, "early")].concat();
        bbs.done("/v1/tasks/complete", &body)
    };
    assert_eq!(
        complete("other").unwrap_err().1,
        format!("Running on cell {node} not other")
    );
    complete(&node).unwrap();
    let task = bbs.task("g");
    assert_eq!((task.number(STATE), task.number(FAILED)), (COMPLETED, 0));
    let deadline = std::time::Instant::now() + PATIENCE;
    while only(&doors).await.status.unwrap().phase != Some(Phase::Succeeded) {
        assert!(std::time::Instant::now() < deadline);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(bbs.task("g").text(RESULT), "early");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_with_a_callback_is_told_of_and_gone() {
    let (_doors, bbs) = open().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/done", listener.local_addr().unwrap());
    let taken = std::thread::spawn(move || {
        use std::io::{BufRead as _, BufReader, Read as _, Write as _};
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut reader = BufReader::new(stream);
        let (mut line, mut length) = (String::new(), 0);
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).unwrap();
            if let Some(bytes) = line.to_lowercase().strip_prefix("content-length:") {
                length = bytes.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let answer = b"HTTP/1.1 500 Broken\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        reader.get_mut().write_all(answer).unwrap();
        serde_json::from_slice::<Value>(&body).unwrap()
    });
    let definition = [script("exit 1", ""), text(12, &url), text(13, "note")].concat();
    bbs.desire("g", "d", &definition).unwrap();
    let body = tokio::task::spawn_blocking(|| taken.join().unwrap())
        .await
        .unwrap();
    assert_eq!(
        (
            &body["task_guid"],
            &body["failed"],
            &body["failure_reason"],
            &body["annotation"]
        ),
        (
            &"g".into(),
            &true.into(),
            &"TSK: Exited with status 1".into(),
            &"note".into()
        ),
        "{body}"
    );
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let answer = bbs.call("/v1/tasks/get_by_task_guid.r3", &text(1, "g"));
        if let Err((kind, _)) = error(&answer) {
            assert_eq!(kind, NOT_FOUND);
            break;
        }
        assert!(std::time::Instant::now() < deadline);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_with_a_password_runs_once_its_secret_is_there_and_both_go_together() {
    let (doors, bbs) = open().await;
    // image_username 23, image_password 24; of two root file systems the later counts.
    let definition = [
        text(24, "hush"),
        script("true", ""),
        text(1, "docker://registry.example.com/a#1"),
        text(23, "ann"),
    ]
    .concat();
    bbs.desire("g", "d", &definition).unwrap();
    let task = bbs.until_state("g", COMPLETED);
    assert_eq!((task.number(FAILED), task.text(REASON)), (0, String::new()));
    assert_eq!(task.all(DEFINITION), [definition]);
    let secrets: Api<k8s_openapi::api::core::v1::Secret> = Api::namespaced(doors.client.clone(), "default");
    let all = || async { secrets.list(&ListParams::default()).await.unwrap().items };
    let [secret] = &all().await[..] else {
        panic!("one Secret")
    };
    let data = secret.data.as_ref().unwrap();
    let content: Value = serde_json::from_slice(&data[".dockerconfigjson"].0).unwrap();
    assert_eq!(
        content["auths"]["registry.example.com"]["password"], "hush",
        "{content}"
    );
    bbs.named("resolving", "g").unwrap();
    bbs.named("delete", "g").unwrap();
    let deadline = std::time::Instant::now() + PATIENCE;
    while !all().await.is_empty() {
        assert!(std::time::Instant::now() < deadline, "the Secret stays");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_finds_the_files_that_came_with_it() {
    let (_doors, bbs) = open().await;
    let folder = tempfile::tempdir().unwrap();
    let result = folder.path().join("result");
    let result = result.to_str().unwrap();
    // Processes of this machine find mounts by the names that their environment has.
    let variable = [
        text(1, "SERVICE_BINDING_ROOT"),
        text(2, "/etc/cf-service-bindings"),
    ]
    .concat();
    let file = [text(1, "redis/username"), text(2, "ann")].concat();
    let definition = [
        script(
            &format!("cat $SERVICE_BINDING_ROOT/redis/username > {result}"),
            result,
        ),
        message(2, &variable),
        message(28, &file),
    ]
    .concat();
    bbs.desire("g", "d", &definition).unwrap();
    let task = bbs.until_state("g", COMPLETED);
    assert_eq!(
        (task.number(FAILED), task.text(REASON), task.text(RESULT)),
        (0, String::new(), "ann".into())
    );
    assert_eq!(task.all(DEFINITION), [definition]);
    let outside = [
        script("true", ""),
        message(28, &[text(1, "../x"), text(2, "")].concat()),
    ]
    .concat();
    let (kind, sentence) = bbs.desire("outside", "d", &outside).unwrap_err();
    assert_eq!(kind, INVALID_REQUEST);
    assert!(sentence.contains("the path \"../x\" of a file"), "{sentence}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_layer_of_a_stack_is_there_before_the_action() {
    let (_doors, bbs) = open().await;
    let folder = tempfile::tempdir().unwrap();
    let (result, to) = (folder.path().join("result"), folder.path().join("app"));
    let (result, to) = (result.to_str().unwrap(), to.to_str().unwrap());
    let archive = crate::engine::containers::tgz(&[("hello", b"from the layer")]);
    let served = Receiver::start(move |_, _| Reply::Body(archive.clone()));
    let layer = served.url();
    let root = format!("preloaded+layer:cflinuxfs4?layer={layer}&layer_path={to}&layer_digest=");
    let definition = [
        script(&format!("cat {to}/hello > {result}"), result),
        text(1, &root),
    ]
    .concat();
    bbs.desire("g", "d", &definition).unwrap();
    let task = bbs.until_state("g", COMPLETED);
    assert_eq!(
        (task.number(FAILED), task.text(REASON), task.text(RESULT)),
        (0, String::new(), "from the layer".into())
    );
}
