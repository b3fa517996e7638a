//! A Task's way on real pods, from `kubectl apply` to its result.

use std::path::{Path, PathBuf};

use errand::crd::{Phase, Progress};
use serde_json::json;
use serde_yaml::Value as Yaml;

use crate::support::{Space, in_space, space::shell, tools};

#[tokio::test]
async fn a_command_task_applied_with_kubectl_has_result_log_node_and_times() {
    in_space("command", |space: Space| async move {
        let function = shell("cat $ERRAND_INPUT_DIR/body; echo to the log >&2", json!({}));
        space.function("greet", function).await;
        space.apply(
            "apiVersion: errand.dev/v1alpha1\nkind: Task\nmetadata: {name: first}\n\
             spec: {functionRef: {name: greet}, input: {body: hello}}\n",
        );
        let status = space.succeeded("first").await;
        let result = status.result.unwrap();
        assert_eq!((result.status, result.body.as_deref()), (200, Some("hello")));
        assert!(status.logs.unwrap().tail.contains("to the log"));
        let node = status.pod.unwrap().node.unwrap();
        let nodes = space.kubectl(&["get", "nodes", "-o", "name"]).ok();
        assert!(nodes.contains(&node), "{node} is none of {nodes}");
        let times = [
            status.issued_at,
            status.assigned_at,
            status.started_at,
            status.finished_at,
        ];
        let times: Vec<_> = times.into_iter().map(Option::unwrap).collect();
        assert!(times.is_sorted(), "{times:?}");
        assert_eq!(status.attempts, Some(1));
        space.no_pods().await;
    })
    .await;
}

#[tokio::test]
async fn an_http_task_gets_the_answer_of_its_function_directly_and_through_the_api_server() {
    in_space("http", |space: Space| async move {
        for dispatch in ["Direct", "ApiProxy"] {
            let name = dispatch.to_lowercase();
            let function = json!({
                "container": {"image": tools(), "command": ["httpd", "-f", "-p", "8080", "-h", "/www"]},
                "http": {"port": 8080, "readinessPath": "/", "dispatch": dispatch},
                "timeout": "1m",
            });
            space.function(&name, function).await;
            let task = json!({"functionRef": {"name": name}, "input": {"method": "GET"}});
            space.task(&name, task).await;
            let result = space.succeeded(&name).await.result.unwrap();
            assert_eq!(
                (result.status, result.body.as_deref()),
                (200, Some("served\n")),
                "{dispatch}"
            );
        }
        space.no_pods().await;
    })
    .await;
}

#[tokio::test]
async fn progress_is_in_the_status_while_the_container_runs_and_not_in_the_result() {
    in_space("progress", |space: Space| async move {
        let script = "echo '::progress 40 copying'; echo data; until test -e /tmp/go; do sleep 0.1; done";
        space.script("copies", script, json!({})).await;
        let (phase, progress, pod) = space
            .until("copies", "progress", |task| {
                let status = task.status.clone()?;
                Some((status.phase?, status.progress?, status.pod?.name))
            })
            .await;
        let copying = Progress {
            percent: Some(40),
            title: Some("copying".into()),
            ..Progress::default()
        };
        assert_eq!((phase, progress), (Phase::Running, copying.clone()));
        let shown = space.kubectl(&[
            "get",
            "task",
            "copies",
            "-o",
            "jsonpath={.status.progress.percent}",
        ]);
        assert_eq!(shown.ok(), "40");

        space.kubectl(&["exec", &pod, "--", "touch", "/tmp/go"]).ok();
        let status = space.succeeded("copies").await;
        assert_eq!(status.result.unwrap().body.as_deref(), Some("data\n"));
        let done = Progress {
            percent: Some(100),
            ..copying
        };
        assert_eq!(status.progress, Some(done));
    })
    .await;
}

#[tokio::test]
async fn the_examples_run_on_the_cluster_as_they_say() {
    in_space("examples", |space: Space| async move {
        let folder = tempfile::tempdir().unwrap();
        let examples = here(folder.path());
        let mut args = vec!["apply", "--validate=false"];
        for example in &examples {
            args.extend(["-f", example.to_str().unwrap()]);
        }
        let applied = space.kubectl(&args).ok();
        assert_eq!(applied.lines().count(), examples.len(), "{applied}");

        let body = |status: &errand::crd::TaskStatus| status.result.clone().unwrap().body.unwrap();
        let hello = space.succeeded("hello-ada").await;
        assert_eq!(body(&hello), "hello, Ada\n");
        let copy = space.succeeded("copy-two").await;
        assert_eq!(body(&copy), "2 files copied\n");
        assert_eq!(copy.progress.unwrap().percent, Some(100));
        let page = space.succeeded("page-hello").await;
        assert_eq!(body(&page), "/cgi-bin/shout?lang=en: HELLO\n");
        let content_type = page.result.unwrap().content_type;
        assert_eq!(content_type.as_deref(), Some("text/plain; charset=utf-8"));
        let inline = space.succeeded("inline").await;
        assert!(body(&inline).trim().parse::<u32>().unwrap() >= 2025, "{inline:?}");
        let broken = space.failed("broken-once", "ExitCode").await;
        assert_eq!((broken.exit_code, broken.attempts), (Some(3), Some(2)));
        assert_eq!(broken.logs.unwrap().tail, "no such record\n");
    })
    .await;
}

/// The examples as files that run with the image of tools.
fn here(folder: &Path) -> Vec<PathBuf> {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let files = std::fs::read_dir(examples)
        .unwrap()
        .map(|file| file.unwrap().path());
    let manifests = files.filter(|file| file.extension().is_some_and(|end| end == "yaml"));
    let rewritten = manifests.map(|file| {
        let mut manifest: Yaml = serde_yaml::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        if manifest["metadata"]["name"] == "page" {
            without_python(&mut manifest["spec"]);
        }
        let spec = &mut manifest["spec"];
        if spec.get("container").is_some() {
            spec["container"]["image"] = tools().into();
        }
        if spec.get("function").is_some() {
            spec["function"]["container"]["image"] = tools().into();
        }
        let target = folder.join(file.file_name().unwrap());
        // JSON, since kubectl takes a bare `on` of YAML for a boolean.
        std::fs::write(&target, serde_json::to_string(&manifest).unwrap()).unwrap();
        target
    });
    rewritten.collect()
}

/// The image of tools has no Python: its web server does with a script what the example does.
fn without_python(spec: &mut Yaml) {
    let script = r#"
busybox mkdir -p /tmp/site/cgi-bin
cat >/tmp/site/cgi-bin/shout <<'END'
#!/bin/sh
printf 'Content-Type: text/plain; charset=utf-8\r\n\r\n'
printf '%s?%s: %s\n' "$SCRIPT_NAME" "$QUERY_STRING" "$(head -c "$CONTENT_LENGTH" | busybox tr a-z A-Z)"
END
busybox chmod 755 /tmp/site/cgi-bin/shout
exec httpd -f -p "$PORT" -h /tmp/site
"#;
    spec["container"]["command"] = vec!["sh", "-c"].into();
    spec["container"]["args"] = vec![script].into();
    spec["http"]["path"] = "/cgi-bin/shout".into();
}
