//! The facade of `errand dev` as its clients meet it: Errand's own door, denials, hostile connections.

use std::{
    io::{Read as _, Write as _},
    process::Command,
};

use serde_json::{Value, json};

use crate::support::{
    Dev,
    http::{Answer, Http},
    receiver::{Receiver, Reply},
    wait_for,
};

const ADMIN: &str = "Bearer s3cret";
const ANN: &str = "annie";

fn start() -> Dev {
    Dev::start(&["--token", "admin=s3cret", "--token", "ann=annie:dev"])
}

fn task(dev: &Dev, name: &str, command: &str) {
    let command = json!(["sh", "-c", command]);
    dev.apply(
        &json!({
            "apiVersion": "errand.dev/v1alpha1", "kind": "Task", "metadata": {"name": name},
            "spec": {"function": {"container": {"image": "i", "command": command}}},
        })
        .to_string(),
    );
}

/// Whoever holds what stands in the header Authorization; nobody where it is empty.
fn caller(dev: &Dev, authorization: &str) -> Http {
    let http = Http::to(dev.says("facade"));
    match authorization {
        "" => http,
        _ => http.with("authorization", authorization),
    }
}

fn get(dev: &Dev, path: &str, authorization: &str) -> Answer {
    caller(dev, authorization).get(path)
}

const TASKS: &str = "/errand/v1/namespaces/default/tasks";

/// The events of a stream: name, id, data.
fn events(answer: &Answer) -> Vec<(String, String, String)> {
    let field = |event: &str, name: &str| {
        let prefix = format!("{name}: ");
        let lines = event.lines().filter_map(|line| line.strip_prefix(&prefix));
        lines.collect::<Vec<_>>().join("\n")
    };
    let text = answer.text();
    let blocks = text.split("\n\n").filter(|block| block.starts_with("event: "));
    blocks
        .map(|block| (field(block, "event"), field(block, "id"), field(block, "data")))
        .collect()
}

#[test]
fn a_task_is_followed_read_and_listed_with_a_token_and_no_kubeconfig() {
    let dev = start();
    task(&dev, "counts", "echo ::progress 50 half; echo first; echo second");
    let stream = get(&dev, &format!("{TASKS}/counts/events"), ADMIN);
    assert_eq!(
        (stream.status, stream.header("content-type")),
        (200, Some("text/event-stream"))
    );
    let seen = events(&stream);
    let lines: Vec<_> = seen
        .iter()
        .filter(|event| event.0 == "log")
        .map(|event| (&*event.1, &*event.2))
        .collect();
    assert_eq!(lines, [("1.1", "first"), ("1.2", "second")]);
    let (name, _, end) = seen.last().unwrap();
    let end: Value = serde_json::from_str(end).unwrap();
    assert_eq!(
        (name.as_str(), &end["phase"], &end["attempt"]),
        ("end", &json!("Succeeded"), &json!(1))
    );

    let again = caller(&dev, ADMIN)
        .with("last-event-id", "1.1")
        .get(&format!("{TASKS}/counts/events"));
    let lines: Vec<_> = events(&again)
        .into_iter()
        .filter(|event| event.0 == "log")
        .collect();
    assert_eq!(lines, [("log".into(), "1.2".into(), "second".into())]);

    let log = get(&dev, &format!("{TASKS}/counts/log"), ADMIN);
    assert!(log.text().ends_with("first\nsecond\n"), "{log:?}");
    let whole = get(&dev, &format!("{TASKS}/counts?wait=30s"), ADMIN).json();
    assert_eq!(
        (&whole["kind"], &whole["status"]["phase"]),
        (&json!("Task"), &json!("Succeeded"))
    );
    let list = get(&dev, TASKS, ADMIN).json();
    assert_eq!(
        (&list["items"][0]["name"], &list["items"][0]["phase"]),
        (&json!("counts"), &json!("Succeeded"))
    );
}

#[test]
fn a_result_is_waited_for_and_comes_back_byte_for_byte() {
    let dev = start();
    task(&dev, "bytes", r"printf '\000\001\377'");
    let result = get(&dev, &format!("{TASKS}/bytes/result?wait=60s"), ADMIN);
    assert_eq!(
        (result.status, result.body.as_slice()),
        (200, [0, 1, 255].as_slice())
    );
    assert_eq!(result.header("errand-phase"), Some("Succeeded"));
    assert_eq!(result.header("errand-result-status"), Some("200"));
    assert_eq!(result.header("x-content-type-options"), Some("nosniff"));

    task(&dev, "slow", "sleep 300");
    let pending = get(&dev, &format!("{TASKS}/slow/result?wait=10ms"), ADMIN);
    assert_eq!(pending.status, 202, "{pending:?}");
    let cancelled = caller(&dev, ADMIN).post(&format!("{TASKS}/slow/cancel"), b"");
    assert_eq!(cancelled.status, 202, "{cancelled:?}");
    let gone = get(&dev, &format!("{TASKS}/slow?wait=60s"), ADMIN).json();
    assert_eq!(gone["status"]["phase"], "Cancelled");
}

#[test]
fn kubernetes_decides_who_may_what_and_a_revoked_right_ends_soon() {
    let dev = start();
    task(&dev, "mine", "true");
    let refused = |headers: &str, path: &str| {
        let answer = get(&dev, path, headers);
        (
            answer.status,
            answer.json()["error"]["message"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        )
    };
    let one = format!("{TASKS}/mine");
    assert_eq!(
        refused("", &one),
        (401, "a token is needed in the header Authorization".into())
    );
    assert_eq!(
        refused("Bearer nobody", &one),
        (401, "the token is not valid, or has ended".into())
    );
    assert_eq!(
        refused(ANN, TASKS),
        (
            403,
            "user \"ann\" cannot list tasks in namespace \"default\"".into()
        )
    );
    dev.apply(
        r#"
{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: reader, namespace: default},
 rules: [{apiGroups: [errand.dev], resources: [tasks], verbs: [get, list]}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: readers, namespace: default},
 roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader},
 subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: dev}]}
"#,
    );
    let status = |path: &str| get(&dev, path, ANN).status;
    wait_for(
        "the new right",
        || dev.log(),
        || (status(&one) == 200).then_some(()),
    );
    assert_eq!(status("/errand/v1/namespaces/kube-system/tasks/mine"), 403);
    assert_eq!(caller(&dev, ANN).post(&format!("{one}/cancel"), b"").status, 403);
    dev.kubectl(&["delete", "rolebinding", "readers"]).ok();
    wait_for(
        "the end of the right",
        || dev.log(),
        || (status(&one) == 403).then_some(()),
    );
}

fn post(dev: &Dev, path: &str, authorization: &str, body: &Value) -> Answer {
    caller(dev, authorization).post(path, body.to_string().as_bytes())
}

#[test]
fn whoever_does_the_work_of_an_external_task_reports_its_progress_and_its_end() {
    let dev = start();
    dev.apply("{apiVersion: errand.dev/v1alpha1, kind: Task, metadata: {name: far}, spec: {external: {processor: p}}}");
    let far = format!("{TASKS}/far");
    let progress = json!({"current": 3, "maximum": 4, "title": "third"});
    assert_eq!(post(&dev, &format!("{far}/progress"), ANN, &progress).status, 403);
    assert_eq!(
        post(&dev, &format!("{far}/progress"), ADMIN, &progress).status,
        202
    );
    let status = || get(&dev, &far, ADMIN).json()["status"].clone();
    wait_for(
        "the progress",
        || status().to_string(),
        || (status()["progress"]["title"] == "third").then_some(()),
    );
    assert_eq!(status()["progress"]["percent"], 75);
    for bad in [
        json!({}),
        json!({"percent": 101}),
        json!({"percentage": 1}),
        json!([]),
    ] {
        assert_eq!(
            post(&dev, &format!("{far}/progress"), ADMIN, &bad).status,
            400,
            "{bad}"
        );
    }
    let end = json!({"phase": "Failed", "message": "no more paper", "result": {"status": 507, "bodyBase64": "AP8="}});
    assert_eq!(post(&dev, &format!("{far}/end"), ADMIN, &end).status, 202);
    let ended = get(&dev, &format!("{far}?wait=60s"), ADMIN).json()["status"].clone();
    assert_eq!(
        (&ended["phase"], &ended["message"]),
        (&json!("Failed"), &json!("no more paper")),
        "{ended}"
    );
    assert_eq!(
        (&ended["result"]["status"], &ended["error"]["code"]),
        (&json!(507), &json!(2)),
        "{ended}"
    );
    assert_eq!(get(&dev, &format!("{far}/result"), ADMIN).body, [0, 255]);
    assert_eq!(post(&dev, &format!("{far}/end"), ADMIN, &end).status, 409);
}

#[test]
fn an_end_that_is_reported_is_told_to_whom_the_task_names() {
    let dev = start();
    let receiver = Receiver::start(|_, _| Reply::Status(200));
    dev.apply(
        &json!({
            "apiVersion": "errand.dev/v1alpha1", "kind": "Task", "metadata": {"name": "far"},
            "spec": {"external": {"processor": "printer"}, "callback": {"url": receiver.url(), "subject": "job 7"}},
        })
        .to_string(),
    );
    let status = || get(&dev, &format!("{TASKS}/far"), ADMIN).json()["status"].clone();
    let is = |pointer: &str, wanted: &str| (status().pointer(pointer)? == wanted).then_some(());
    wait_for("it runs", || status().to_string(), || is("/phase", "Running"));
    let end = json!({"phase": "Failed", "message": "no more paper"});
    assert_eq!(post(&dev, &format!("{TASKS}/far/end"), ADMIN, &end).status, 202);
    wait_for(
        "the callback",
        || status().to_string(),
        || is("/callback/state", "Delivered"),
    );
    let calls = receiver.calls();
    assert_eq!(calls.len(), 1);
    let data = calls[0].json()["data"].clone();
    assert_eq!(
        ["subject", "phase", "reason", "message"].map(|field| data[field].clone()),
        ["job 7", "Failed", "Reported", "no more paper"].map(Value::from)
    );
}

#[test]
fn a_pod_reports_for_its_own_task_and_may_do_nothing_else() {
    let dev = start();
    for name in ["own", "other"] {
        task(&dev, name, "echo before; sleep 300");
    }
    for name in ["own", "other"] {
        let running = [
            "wait",
            "--for=jsonpath={.status.phase}=Running",
            "task",
            name,
            "--timeout=60s",
        ];
        dev.kubectl(&running).ok();
    }
    let path = "jsonpath={.status.pod.name} {.status.pod.uid}";
    let pod = dev.kubectl(&["get", "task", "own", "-o", path]).ok();
    let (pod, uid) = pod.split_once(' ').unwrap();
    let bound = [
        "--bound-object-kind=Pod",
        "--bound-object-name",
        pod,
        "--bound-object-uid",
        uid,
    ];
    let token = dev
        .kubectl(
            &[
                ["create", "token", "default", "--audience=errand"].as_slice(),
                &bound,
            ]
            .concat(),
        )
        .ok();
    let token = format!("Bearer {}", token.trim());

    let half = json!({"percent": 50, "title": "half"});
    assert_eq!(
        post(&dev, &format!("{TASKS}/own/progress"), &token, &half).status,
        202
    );
    for name in ["other", "nobody"] {
        let refused = post(&dev, &format!("{TASKS}/{name}/progress"), &token, &half).status;
        assert!([403, 404].contains(&refused), "{name}: {refused}");
    }
    for path in ["", "/own", "/own/result", "/own/log", "/own/events"] {
        assert_eq!(get(&dev, &format!("{TASKS}{path}"), &token).status, 403, "{path}");
    }
    assert_eq!(
        post(&dev, &format!("{TASKS}/own/cancel"), &token, &json!({})).status,
        403
    );
    for path in ["/v1/task/list", "/v1/function/list"] {
        let status = get(&dev, path, &token).status;
        assert!([401, 403, 404].contains(&status), "{path}: {status}");
    }

    let end = json!({"phase": "Succeeded", "message": "early", "result": {"contentType": "text/plain", "body": "enough"}});
    assert_eq!(post(&dev, &format!("{TASKS}/own/end"), &token, &end).status, 202);
    let status = get(&dev, &format!("{TASKS}/own?wait=60s"), ADMIN).json()["status"].clone();
    assert_eq!(
        (&status["phase"], &status["message"]),
        (&json!("Succeeded"), &json!("early")),
        "{status}"
    );
    assert_eq!(status["result"]["body"], "enough", "{status}");
    assert_eq!(status["logs"]["tail"], "before\n", "{status}");
    assert_eq!(status["progress"]["title"], "half", "{status}");
}

/// As docs/users.md shows it. It needs curl, as the README's own lines do.
#[test]
fn a_container_reports_with_the_token_that_is_projected_into_it() {
    let dev = start();
    let script = format!(
        r#"report() {{ curl -sS -o /dev/null -w '%{{http_code}} ' -H "Authorization: Bearer $(cat /token/errand)" -d "$2" {}/errand/v1/namespaces/$ERRAND_NAMESPACE/tasks/$1; }}
        report $ERRAND_TASK/progress '{{"percent": 40, "title": "copying"}}'; report other/progress '{{"percent": 1}}'; report $ERRAND_TASK/cancel '{{}}'"#,
        dev.says("facade")
    );
    dev.apply(
        &json!({
            "apiVersion": "errand.dev/v1alpha1", "kind": "Task", "metadata": {"name": "inside"},
            "spec": {"function": {
                "container": {"image": "i", "command": ["sh", "-c", script],
                    "volumeMounts": [{"name": "token", "mountPath": "/token", "readOnly": true}]},
                "pod": {"volumes": [{"name": "token", "projected": {"sources": [
                    {"serviceAccountToken": {"audience": "errand", "path": "errand"}}]}}]},
            }},
        })
        .to_string(),
    );
    task(&dev, "other", "sleep 300");
    let result = get(&dev, &format!("{TASKS}/inside/result?wait=60s"), ADMIN);
    let codes = result.text();
    let codes: Vec<_> = codes.split_whitespace().collect();
    assert!(matches!(codes[..], ["202", "403" | "404", "403"]), "{result:?}");
}

#[test]
fn what_is_malformed_gets_a_sentence() {
    let dev = start();
    for (path, code) in [
        (format!("{TASKS}/no-such-task"), 404),
        (format!("{TASKS}/UPPER%20case"), 404),
        (format!("{TASKS}/x?wait=soon"), 400),
        (format!("{TASKS}?limit=0"), 400),
        (format!("{TASKS}?limit=many"), 400),
        ("/errand/v1/namespaces/default/tasks/%ff".into(), 400),
    ] {
        let answer = get(&dev, &path, ADMIN);
        assert_eq!(
            (answer.status, &answer.json()["error"]["code"]),
            (code, &json!(code)),
            "{path}: {answer:?}"
        );
    }
}

#[test]
fn connections_that_are_slow_silent_or_garbled_keep_nobody_else_out() {
    let dev = start();
    let http = caller(&dev, "");
    let silent: Vec<_> = (0..50).map(|_| http.connect()).collect();
    let slow: Vec<_> = (0..50)
        .map(|_| {
            let mut stream = http.connect();
            stream.write_all(b"GET /docs HTTP/1.1\r\nhost: te").unwrap();
            stream
        })
        .collect();
    for garbled in [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(),
        b"GET  HTTP/9.9\r\n\r\n",
        b"\r\n\r\n\0\0\0\0",
        b"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
        b"GET /\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n",
    ] {
        let mut stream = http.connect();
        stream.write_all(garbled).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        // The other side may reset the connection.
        let _ = stream.read_to_end(&mut answer);
        assert!(
            !answer.starts_with(b"HTTP/1.1 2"),
            "{}: {}",
            garbled.escape_ascii(),
            answer.escape_ascii()
        );
    }
    assert_eq!(get(&dev, TASKS, ADMIN).status, 200);
    drop((silent, slow));
}

#[test]
fn a_stream_ends_properly_when_the_process_is_told_to_stop() {
    let mut dev = start();
    task(&dev, "endless", "echo on; sleep 300");
    let mut stream = caller(&dev, "").connect();
    let head = format!("GET {TASKS}/endless/events HTTP/1.1\r\nhost: x\r\nauthorization: {ADMIN}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut seen = Vec::new();
    let mut chunk = [0; 4096];
    while !seen.windows(8).any(|window| window == b"data: on") {
        let length = stream.read(&mut chunk).unwrap();
        assert_ne!(length, 0, "{}", seen.escape_ascii());
        seen.extend_from_slice(&chunk[..length]);
    }
    let (code, _) = dev.stop_by(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(code, Some(0), "{}", dev.log());
    stream.read_to_end(&mut seen).unwrap();
    assert!(
        seen.ends_with(b"\r\n0\r\n\r\n"),
        "the last chunk is missing: {}",
        seen.escape_ascii()
    );
}

/// No answer is a server error, and none is one that the document does not describe. Left out: that every input which
/// the document allows is accepted; ids and names are checked by more than their shape.
const CHECKS: &str = r#"
[checks]
enabled = false
not_a_server_error.enabled = true
status_code_conformance.enabled = true
content_type_conformance.enabled = true
response_headers_conformance.enabled = true
response_schema_conformance.enabled = true
unsupported_method.enabled = true
ignored_auth.enabled = true
"#;

/// Names of things that are there.
const THERE: &str = r#"
[parameters]
"path.namespace" = "default"
"path.name" = "done"
"path.serviceInstanceId" = "default"
"path.taskId" = "done"
"#;

/// A door that answers as a gateway does knows no 405: a method that is not there is not implemented.
const GATEWAY: &str = r#"
[[operations]]
include-path-regex = "^/openshift/"
checks.unsupported_method.enabled = false
checks.not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 501]
"#;

#[test]
fn schemathesis_finds_nothing_that_the_document_does_not_say() {
    let dev = start();
    task(&dev, "done", "echo done");
    get(&dev, &format!("{TASKS}/done?wait=60s"), ADMIN);
    let tool = Command::new("tests/support/tool.sh")
        .arg("schemathesis")
        .output()
        .unwrap();
    assert!(tool.status.success(), "{}", String::from_utf8_lossy(&tool.stderr));
    let tool = String::from_utf8(tool.stdout).unwrap();
    let config = |name: &str, text: &str| {
        let path = dev.folder().join(name);
        std::fs::write(&path, format!("{CHECKS}{text}{GATEWAY}")).unwrap();
        path
    };
    let document = format!("{}/openapi.json", dev.says("facade"));
    // Once with names of things that are there, once with anything.
    for config in [config("there.toml", THERE), config("anything.toml", "")] {
        let ran = Command::new(tool.trim())
            .arg("--config-file")
            .arg(config)
            .args([
                "run",
                &document,
                "--header",
                "Authorization: Bearer s3cret",
                "--max-examples",
                "20",
            ])
            .args(["--request-timeout", "70", "--no-color", "--seed", "1"])
            .current_dir(dev.folder())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(
            ran.status.success(),
            "{said}\n{}",
            String::from_utf8_lossy(&ran.stderr)
        );
        assert!(!said.contains("Unresolvable"), "{said}");
    }
}
