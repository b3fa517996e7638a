//! The door for clients of OpenStack Qinling.

use std::process::Command;

use errand::crd::Function;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::support::{docker::DockerEngine, http::Http, plane::Doors, process::Dev};

/// The real client, python-qinlingclient, from PyPI: its library and its commands of `openstack`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_real_client_finds_what_it_expects() {
    let doors = Doors::open(&["ann", "bob"]).await;
    doors.grant("ann").await;
    let url = doors.url();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let ran = tokio::task::spawn_blocking(move || {
        let tool = Command::new("tests/support/tool.sh")
            .arg("qinling-python")
            .output()
            .unwrap();
        assert!(tool.status.success(), "{}", String::from_utf8_lossy(&tool.stderr));
        let python = String::from_utf8(tool.stdout).unwrap();
        let mut client = Command::new(python.trim());
        client
            .arg("tests/plane/doors/qinling/client.py")
            .args([&url, "ann", "admin"])
            .arg(path);
        client.output().unwrap()
    });
    let ran = ran.await.unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(
        ran.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    assert!(said.ends_with(" steps, 0 failed\n"), "{said}");
}

const ID: &str = "0f1e2d3c-4b5a-4978-8069-1a2b3c4d5e6f";

/// A plane with the function `echo` that answers with its input, and the user `ann`, who may use it.
async fn open() -> (Doors, Http) {
    let doors = Doors::open(&["ann", "bob"]).await;
    doors.grant("ann").await;
    let script = "cat $ERRAND_INPUT_DIR/body";
    doors
        .function(
            "echo",
            json!({"container": {"image": "busybox", "command": ["sh", "-c", script]}}),
        )
        .await;
    let ann = doors.http.with("X-Auth-Token", "ann");
    (doors, ann)
}

fn function_id(ann: &Http) -> String {
    let functions = ann.get("/v1/functions").json();
    functions["functions"][0]["id"].as_str().unwrap().to_owned()
}

/// The three fields of an error.
fn fault(sentence: &str) -> Value {
    json!({"faultcode": "Client", "faultstring": sentence, "debuginfo": null})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_of_another_door_runs_here_and_its_execution_is_a_task_there() {
    let (doors, ann) = open().await;
    let function = function_id(&ann);
    let body = json!({"id": ID, "function_id": function, "input": "{\"a\":1}", "description": "one"});
    let made = ann.post("/v1/executions", body.to_string().as_bytes());
    assert_eq!(
        (made.status, made.header("content-type")),
        (201, Some("application/json"))
    );
    let mut shown = made.json();
    let result: Value = serde_json::from_str(shown["result"].as_str().unwrap()).unwrap();
    assert_eq!(result["output"], "{\"a\": 1}");
    for field in ["result", "created_at", "updated_at"] {
        assert!(shown[field].is_string(), "{shown}");
        shown[field].take();
    }
    let expected = json!({
        "id": ID, "function_id": function, "function_version": 0, "function_alias": null, "description": "one",
        "status": "success", "sync": true, "input": "{\"a\": 1}", "result": null, "project_id": "default",
        "created_at": null, "updated_at": null,
    });
    assert_eq!(shown, expected);
    let task = doors
        .as_user("ann")
        .get(&format!("/errand/v1/namespaces/default/tasks/{ID}"))
        .json();
    assert_eq!(task["status"]["phase"], "Succeeded", "{task}");
    let twice = ann.post("/v1/executions", body.to_string().as_bytes());
    assert_eq!(twice.status, 400, "{}", twice.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_requests_get_the_errors_of_the_api() {
    let (doors, ann) = open().await;
    let function = function_id(&ann);
    let execution = |more: &str| format!("{{\"function_id\": \"{function}\"{more}}}").into_bytes();
    for (body, sentence) in [
        (Vec::new(), "Missing argument: \"body\""),
        (b"{".to_vec(), "Request is not in valid JSON format"),
        (
            b"{}".to_vec(),
            "Either function_alias or function_id must be provided.",
        ),
        (execution(", \"x\": 1"), "Unknown attribute for argument body: x"),
        (
            execution(", \"status\": \"success\""),
            "Invalid input for field/attribute status. Value: 'success'. Cannot set read only field.",
        ),
        (
            execution(", \"input\": {\"a\": 1}"),
            "Invalid input for field/attribute input. Value: '{\"a\": 1}'. Wrong type. Expected a string.",
        ),
    ] {
        let refused = ann.post("/v1/executions", &body);
        assert_eq!((refused.status, refused.json()), (400, fault(sentence)));
    }
    let job = |more: &str| execution(&format!(", \"pattern\": \"0 0 1 1 *\"{more}"));
    let made = ann.post("/v1/jobs", &job("")).json();
    let path = format!("/v1/jobs/{}", made["id"].as_str().unwrap());
    for (verb, path, body, status, sentence) in [
        (
            "POST",
            "/v1/jobs",
            b"".to_vec(),
            400,
            "Missing argument: \"body\"",
        ),
        (
            "POST",
            "/v1/jobs",
            b"[]".to_vec(),
            400,
            "Request is not in valid JSON format",
        ),
        (
            "POST",
            "/v1/jobs",
            job(", \"x\": 1"),
            400,
            "Unknown attribute for argument body: x",
        ),
        (
            "POST",
            "/v1/jobs",
            job(", \"project_id\": \"p\""),
            400,
            "Invalid input for field/attribute project_id. Value: 'p'. Cannot set read only field.",
        ),
        (
            "POST",
            "/v1/jobs",
            job(", \"count\": \"many\""),
            400,
            "Invalid input for field/attribute count. Value: 'many'. Wrong type. Expected an integer.",
        ),
        (
            "POST",
            "/v1/jobs",
            execution(", \"pattern\": \"\\u0000\u{e9} * * *\""),
            400,
            "The specified pattern is not valid: \0\u{e9} * * *",
        ),
        (
            "POST",
            "/v1/jobs",
            execution(", \"first_execution_time\": \"tomorrow\""),
            400,
            "Unknown string format: tomorrow",
        ),
        (
            "PUT",
            &path,
            b"{\"status\": \"gone\"}".to_vec(),
            400,
            "Invalid status.",
        ),
        (
            "PUT",
            &path,
            b"{\"pattern\": \"* *\"}".to_vec(),
            400,
            "The specified pattern is not valid: * *",
        ),
        (
            "GET",
            "/v1/jobs/abc",
            Vec::new(),
            400,
            "Invalid input for field/attribute id. Value: 'abc'. unable to convert to uuid. \
             Error: Expected a uuid but received abc.",
        ),
        (
            "GET",
            "/v1/jobs?limit=1",
            Vec::new(),
            400,
            "Unknown argument: \"limit\"",
        ),
        (
            "DELETE",
            &format!("/v1/jobs/{ID}"),
            Vec::new(),
            404,
            &format!("Job not found [id={ID}]"),
        ),
    ] {
        let refused = ann.send(verb, path, &body);
        assert_eq!(
            (refused.status, refused.json()),
            (status, fault(sentence)),
            "{verb} {path}"
        );
    }
    let large = execution(&format!(", \"input\": \"{}\"", "x".repeat(200_000)));
    assert_eq!(ann.post("/v1/executions", &large).status, 413);
    let missing = format!("Execution not found [id={ID}]");
    let log = ann.get(&format!("/v1/executions/{ID}/log"));
    assert_eq!((log.status, log.json()), (404, json!({"faultstring": missing})));
    let one = ann.get(&format!("/v1/executions/{ID}"));
    assert_eq!((one.status, one.json()), (404, fault(&missing)));
    assert_eq!(
        ann.send("PUT", &format!("/v1/executions/{ID}"), b"{}").status,
        405
    );
    let nobody = doors.http.get("/v1/executions");
    assert_eq!(
        (nobody.status, nobody.header("content-type")),
        (401, Some("application/json"))
    );
    let form = ann.with("Content-Type", "multipart/form-data; boundary=x");
    for body in [
        "",
        "--x--",
        "--x\r\nContent-Disposition: form-data; name=\"code\"\r\n\r\n{}\r\n--x--",
    ] {
        let refused = form.post("/v1/functions", body.as_bytes());
        assert_eq!(refused.status, 400, "{body:?}: {}", refused.text());
        assert_eq!(refused.json().as_object().unwrap().len(), 1, "{}", refused.text());
    }
}

#[test]
fn an_image_gets_the_words_of_its_input_and_is_stopped_at_its_time_limit() {
    let Some(docker) = DockerEngine::shared() else {
        return;
    };
    let root = tempfile::tempdir().unwrap();
    let busybox = Command::new("tests/support/busybox-root.sh")
        .arg(root.path())
        .status()
        .unwrap();
    assert!(busybox.success());
    let dev = Dev::start_on("docker", &docker.host);
    let admin = Http::to(dev.says("facade")).with("X-Auth-Token", dev.says("token"));
    let form = admin.with("Content-Type", "application/x-www-form-urlencoded");
    let run = |image: &str, entrypoint: &str, input: &str| {
        docker.image(image, root.path(), &format!("ENTRYPOINT {entrypoint}"));
        let code = format!("code={{\"source\":\"image\",\"image\":\"{image}\"}}&timeout=2&cpu=100");
        let function = form.post("/v1/functions", code.as_bytes());
        assert_eq!(function.status, 201, "{}", function.text());
        let order = json!({"function_id": function.json()["id"], "input": input});
        let ran = admin.post("/v1/executions", order.to_string().as_bytes()).json();
        let result: Value = serde_json::from_str(ran["result"].as_str().unwrap()).unwrap();
        let log = admin
            .get(&format!("/v1/executions/{}/log", ran["id"].as_str().unwrap()))
            .text();
        (ran["status"].as_str().unwrap().to_owned(), result, log)
    };
    let (status, result, log) = run("local.test/says:1", "[\"/bin/echo\", \"said\"]", "one two");
    assert_eq!((status.as_str(), log.as_str()), ("success", "said one two\n"));
    let names: Vec<&String> = result.as_object().unwrap().keys().collect();
    assert_eq!(names, ["duration"]);
    let (status, result, _) = run("local.test/sleeps:1", "[\"/bin/sleep\"]", "60");
    assert_eq!(
        (status.as_str(), &result["output"]),
        ("failed", &json!("Function execution timeout."))
    );
    assert!(result["duration"].as_f64().unwrap() >= 2.0, "{result}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_does_not_lead_to_what_belongs_to_others() {
    let (doors, ann) = open().await;
    let path = format!("/v1/functions/{}", function_id(&ann));
    let md5 = "d41d8cd98f00b204e9800998ecf8427e";
    let name = format!("echo-{md5}-0");
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "binaryData": {"part": "c2VjcmV0"},
    });
    doors.create(Some("default"), map).await;
    let previous = json!({"md5": md5, "parts": 1});
    let settings = json!({"runtime": ID, "entry": "main.main", "md5": md5, "parts": 1, "previous": previous});
    let annotations = json!({"errand.dev/qinling-function": settings.to_string()});
    let functions: Api<Function> = Api::namespaced(doors.client.clone(), "default");
    let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
    functions
        .patch("echo", &PatchParams::default(), &patch)
        .await
        .unwrap();
    // 405 until the facade knows of the package.
    let loaded = ann.get_until_not(&format!("{path}?download=true"), 405);
    assert_eq!(loaded.status, 404, "{}", loaded.text());
    // An empty zip. The package before the one that it replaces is dropped, if it is the function's own.
    let zip = b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let head = "--x\r\nContent-Disposition: form-data; name=\"package\"; filename=\"p\"\r\n\r\n";
    let form = [head.as_bytes(), zip, b"\r\n--x--\r\n"].concat();
    let multipart = ann.with("Content-Type", "multipart/form-data; boundary=x");
    let changed = multipart.send("PUT", &path, &form);
    assert_eq!(changed.status, 200, "{}", changed.text());
    let maps: Api<ConfigMap> = Api::namespaced(doors.client.clone(), "default");
    assert!(
        maps.get_opt(&name).await.unwrap().is_some(),
        "somebody else's ConfigMap was deleted"
    );
}
