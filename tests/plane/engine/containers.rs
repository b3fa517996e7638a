//! Tasks in containers of a Docker engine, all the way: Task, engine, pod, container, Task.

use std::sync::Arc;

use errand::{
    crd::{Phase, TaskStatus},
    engine::Delivery,
};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, api::PostParams};
use serde_json::{Value, json};

use crate::support::{
    docker::{DockerEngine, TOOLS},
    ground::{self, RUNNER_IMAGE},
    registry::Registry,
    world::World,
};

async fn world(docker: &Arc<DockerEngine>) -> World {
    let docker = Arc::clone(docker);
    World::start_with(move |setup| setup.docker = Some(docker)).await
}

/// A Task that runs a shell script in the image of tools.
fn script(script: &str) -> Value {
    command(&["sh", "-c", script])
}

fn command(command: &[&str]) -> Value {
    json!({"function": {"container": {"image": TOOLS, "imagePullPolicy": "Never", "command": command}}})
}

/// A gzipped tar of files that their owner may write and their group may read.
pub fn tgz(files: &[(&str, &[u8])]) -> Vec<u8> {
    let encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut builder = tar::Builder::new(encoder);
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o640);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

/// How a Task ended: phase, reason, exit code, status and body of the result.
#[derive(Debug, PartialEq)]
struct End<'a> {
    phase: Phase,
    reason: &'a str,
    exit_code: Option<i32>,
    result: Option<(u16, Option<&'a str>)>,
}

fn end(status: &TaskStatus) -> End<'_> {
    let result = status.result.as_ref();
    End {
        phase: status.phase.unwrap(),
        reason: status.reason.as_deref().unwrap(),
        exit_code: status.exit_code,
        result: result.map(|result| (result.status, result.body.as_deref())),
    }
}

fn failed<'a>(reason: &'a str, exit_code: Option<i32>, result: (u16, Option<&'a str>)) -> End<'a> {
    End {
        phase: Phase::Failed,
        reason,
        exit_code,
        result: Some(result),
    }
}

fn words(status: &TaskStatus) -> &str {
    status.message.as_deref().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_runs_in_its_image_under_the_supervisor() {
    let Some(docker) = DockerEngine::shared() else {
        return;
    };
    let world = world(&docker).await;
    let mut spec = script(
        "echo '::progress 40 copying'; ls /; echo err >&2; while ! test -e /gate/go; do sleep 0.05; done",
    );
    spec["function"]["container"]["volumeMounts"] = json!([{"name": "gate", "mountPath": "/gate"}]);
    spec["function"]["pod"] = json!({"volumes": [{"name": "gate", "hostPath": {"path": world.folder()}}]});
    world.task("t", spec).await;
    let progress = world
        .until("t", "progress is 40", |task| {
            let progress = task.status.as_ref()?.progress.clone()?;
            (progress.percent == Some(40)).then_some(progress)
        })
        .await;
    assert_eq!(progress.title.as_deref(), Some("copying"));
    assert_eq!(docker.containers(world.folder()).len(), 1);
    std::fs::write(world.folder().join("go"), "").unwrap();
    let status = world.ended("t").await.status.unwrap();
    // The image's own root, and what the engine puts into it.
    let root = "bin\ndev\nerrand\netc\ngate\nproc\nsys\ntmp\nwww\n";
    assert_eq!(
        end(&status),
        End {
            phase: Phase::Succeeded,
            reason: "Completed",
            exit_code: Some(0),
            result: Some((200, Some(root))),
        }
    );
    assert_eq!(status.progress.unwrap().percent, Some(100));
    let tail = status.logs.unwrap().tail;
    assert!(tail.ends_with("err\n") && tail.contains("www\n"), "{tail}");
    assert!(status.pod.unwrap().ip.is_some());
    world.no_pods().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn input_reaches_the_container_as_files_and_as_a_variable() {
    let Some(docker) = DockerEngine::shared() else {
        return;
    };
    let world = world(&docker).await;
    let mut spec = script("cat $ERRAND_INPUT_DIR/body");
    spec["input"] = json!({"bodyBase64": "/wAK"});
    world.task("binary", spec).await;
    let mut spec = script("cat $ERRAND_INPUT_DIR/query; echo \" $ERRAND_INPUT $1\"");
    spec["input"] = json!({"body": "text", "query": "a=b", "args": ["zero", "one"]});
    world.task("text", spec).await;
    let binary = world.succeeded("binary").await;
    assert_eq!((binary.body, binary.body_base64.as_deref()), (None, Some("/wAK")));
    assert_eq!(
        world.succeeded("text").await.body.as_deref(),
        Some("a=b text one\n")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http_function_answers_from_its_container() {
    let Some(docker) = DockerEngine::shared() else {
        return;
    };
    let world = world(&docker).await;
    let mut spec = command(&["sh", "-c", "exec httpd -f -p $PORT -h /www"]);
    spec["function"]["http"] = json!({"port": 8081, "path": "/index.html"});
    // As the first process of its container it is deaf to SIGTERM.
    spec["function"]["pod"] = json!({"terminationGracePeriodSeconds": 1});
    world.task("t", spec).await;
    let status = world.ended("t").await.status.unwrap();
    assert_eq!(
        end(&status),
        End {
            phase: Phase::Succeeded,
            reason: "Completed",
            exit_code: None,
            result: Some((200, Some("served\n"))),
        }
    );
    let result = status.result.unwrap();
    assert_eq!(
        (
            result.content_type.as_deref(),
            result.size_bytes,
            result.truncated
        ),
        (Some("text/html"), Some(7), false)
    );
    world.no_pods().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_are_those_of_the_containers_cgroup() {
    let Some(docker) = DockerEngine::shared() else {
        return;
    };
    let world = world(&docker).await;
    // The first of each is cgroup v2.
    let mut spec = script(
        "cd /sys/fs/cgroup; cat cpu.max 2>/dev/null || cat cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us; \
         cat memory.max 2>/dev/null || cat memory/memory.limit_in_bytes",
    );
    spec["capabilities"] = json!({"cpu": "250m", "memory": "64Mi"});
    world.task("t", spec).await;
    let result = world.succeeded("t").await.body.unwrap();
    let limits: Vec<&str> = result.split_whitespace().collect();
    assert_eq!(limits, ["25000", "100000", "67108864"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_takes_more_memory_than_its_limit_is_killed_for_it() {
    let Some(docker) = DockerEngine::shared() else {
        return;
    };
    let world = world(&docker).await;
    // The kernel kills whoever has most of it: that must not be a supervisor of a dev build, whose file is large.
    let mut spec = script("echo before; exec dd if=/dev/zero of=/dev/null bs=2G count=1");
    spec["capabilities"] = json!({"memory": "256Mi"});
    let mut bare = spec.clone();
    bare["function"]["supervise"] = json!(false);
    bare["function"]["result"] = json!({"from": "Log"});
    world.task("supervised", spec).await;
    world.task("bare", bare).await;
    for name in ["supervised", "bare"] {
        let status = world.ended(name).await.status.unwrap();
        assert_eq!(
            end(&status),
            failed("OOMKilled", Some(137), (500, Some("before\n"))),
            "{name}"
        );
        assert_eq!(
            words(&status),
            "the container used more memory than its limit; raise capabilities.memory"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_cannot_be_pulled_ends_the_task_with_the_engines_words() {
    let Some(docker) = DockerEngine::shared() else {
        return;
    };
    let world = world(&docker).await;
    let mut spec = command(&["true"]);
    spec["function"]["container"]["image"] = json!("127.0.0.1:1/none:1");
    spec["function"]["container"]["imagePullPolicy"] = json!("IfNotPresent");
    world.task("refused", spec.clone()).await;
    spec["function"]["container"]["image"] = json!("local.test/none:1");
    spec["function"]["container"]["imagePullPolicy"] = json!("Never");
    world.task("absent", spec.clone()).await;
    spec["function"]["container"]["image"] = json!("No Image");
    world.task("unnamed", spec).await;
    for (name, part) in [
        ("refused", "connection refused"),
        (
            "absent",
            "\"local.test/none:1\" is not present with pull policy of Never",
        ),
        ("unnamed", "invalid reference format"),
    ] {
        let status = world.ended(name).await.status.unwrap();
        assert_eq!(
            end(&status),
            failed("ImagePullFailed", None, (500, None)),
            "{name}"
        );
        let words = words(&status);
        assert!(
            words.starts_with("the image cannot be pulled: ") && words.contains(part),
            "{words}"
        );
        assert_eq!(status.error.map(|error| error.code), Some(5));
    }
    world.no_pods().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pending_limit_ends_pulls_that_fail_and_pulls_that_hang() {
    let Some(docker) = DockerEngine::shared() else {
        return;
    };
    let engine = Arc::clone(&docker);
    let world = World::start_with(move |setup| {
        setup.docker = Some(engine);
        setup.engine.bad_start_grace = std::time::Duration::from_secs(3600);
    })
    .await;
    // Takes connections and never says a word.
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let deaf = format!("{}/none:1", deaf.local_addr().unwrap());
    for (name, image) in [("fails", "127.0.0.1:1/none:1"), ("hangs", deaf.as_str())] {
        let mut spec = command(&["true"]);
        spec["function"]["container"]["image"] = json!(image);
        spec["function"]["container"]["imagePullPolicy"] = json!("Always");
        spec["function"]["pendingTimeout"] = json!("5s");
        world.task(name, spec).await;
    }
    let status = world.ended("fails").await.status.unwrap();
    assert_eq!(end(&status), failed("ImagePullFailed", None, (500, None)));
    let status = world.ended("hangs").await.status.unwrap();
    assert_eq!(end(&status), failed("PendingTimedOut", None, (408, None)));
    world.no_pods().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_is_not_in_the_image_is_named() {
    let Some(docker) = DockerEngine::shared() else {
        return;
    };
    let world = world(&docker).await;
    let spec = command(&["no-such-program"]);
    let mut bare = spec.clone();
    bare["function"]["supervise"] = json!(false);
    bare["function"]["result"] = json!({"from": "Log"});
    world.task("supervised", spec).await;
    world.task("bare", bare).await;
    for (name, code) in [("supervised", 127), ("bare", 128)] {
        let status = world.ended(name).await.status.unwrap();
        assert_eq!(
            end(&status),
            failed("StartFailed", Some(code), (500, None)),
            "{name}"
        );
        assert!(words(&status).contains("no-such-program"), "{}", words(&status));
    }
    world.no_pods().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancel_and_time_out_and_deletion_keep_what_the_container_said() {
    let Some(docker) = DockerEngine::shared() else {
        return;
    };
    let world = world(&docker).await;
    let heard = script("trap 'echo heard; exit 0' TERM; echo ready; while :; do sleep 0.05; done");
    let mut late = script("echo ready; exec sleep 600");
    late["timeout"] = json!("1s");
    world.task("cancelled", heard.clone()).await;
    world.task("late", late).await;
    world.running("cancelled").await;
    world.log_of("cancelled", "ready").await;
    world.cancel("cancelled").await;
    let status = world.ended("cancelled").await.status.unwrap();
    assert_eq!(
        end(&status),
        End {
            phase: Phase::Cancelled,
            reason: "Cancelled",
            exit_code: Some(0),
            result: Some((499, Some("ready\nheard\n"))),
        }
    );
    let status = world.ended("late").await.status.unwrap();
    assert_eq!(
        end(&status),
        failed("TimedOut", Some(124), (408, Some("ready\n")))
    );
    world.no_pods().await;

    world.task("lost", heard).await;
    world.running("lost").await;
    world.log_of("lost", "ready").await;
    world.delete_pods().await;
    let status = world.ended("lost").await.status.unwrap();
    assert_eq!(
        end(&status),
        failed("PodLost", Some(0), (500, Some("ready\nheard\n")))
    );
    world.no_pods().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_ignores_the_stop_is_killed_and_its_log_kept() {
    let Some(docker) = DockerEngine::shared() else {
        return;
    };
    let world = world(&docker).await;
    let mut spec = script("trap '' TERM; echo ready; while :; do sleep 0.05; done");
    spec["function"]["pod"] = json!({"terminationGracePeriodSeconds": 1});
    world.task("t", spec).await;
    world.running("t").await;
    world.log_of("t", "ready").await;
    world.cancel("t").await;
    let status = world.ended("t").await.status.unwrap();
    assert_eq!(
        end(&status),
        End {
            phase: Phase::Cancelled,
            reason: "Cancelled",
            exit_code: Some(137),
            result: Some((499, Some("ready\n"))),
        }
    );
    world.no_pods().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_init_container_brings_the_supervisor_where_image_volumes_are_unknown() {
    let Some(docker) = DockerEngine::shared() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    ground::lay_out_image(folder.path());
    docker.image(RUNNER_IMAGE, folder.path(), "USER 65532:65532");
    let engine = Arc::clone(&docker);
    let world = World::start_with(move |setup| {
        setup.docker = Some(engine);
        setup.engine.runner.delivery = Some(Delivery::InitContainer);
        setup.engine.runner.pull_policy = Some("Never".to_owned());
    })
    .await;
    world.task("t", script("ls /errand/bin; echo err >&2")).await;
    let status = world.ended("t").await.status.unwrap();
    assert_eq!(
        end(&status),
        End {
            phase: Phase::Succeeded,
            reason: "Completed",
            exit_code: Some(0),
            result: Some((200, Some("errand\n"))),
        },
        "{status:#?}"
    );
    world.no_pods().await;
    // The supervisor cannot be had: the container of the Task never starts.
    docker.docker(&["rmi", "--force", RUNNER_IMAGE]);
    world.task("absent", script("true")).await;
    let status = world.ended("absent").await.status.unwrap();
    assert_eq!(
        end(&status),
        failed("ImagePullFailed", None, (500, None)),
        "{status:#?}"
    );
    assert!(words(&status).contains(RUNNER_IMAGE), "{}", words(&status));
    world.no_pods().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_pulled_with_the_secrets_that_the_task_names() {
    let Some(docker) = DockerEngine::shared() else {
        return;
    };
    let world = world(&docker).await;
    let registry = Registry::serve(&docker, TOOLS, "ann:hush");
    let image = format!("{}/tools:1", registry.addr);
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), "default");
    let auths = json!({"auths": {registry.addr.to_string(): {"username": "ann", "password": "hush"}}});
    let secret = json!({"metadata": {"name": "registry"}, "type": "kubernetes.io/dockerconfigjson",
        "stringData": {".dockerconfigjson": auths.to_string()}});
    let secret = serde_json::from_value(secret).unwrap();
    secrets.create(&PostParams::default(), &secret).await.unwrap();
    let spec = |secrets: Value| {
        let container = json!({"image": image, "imagePullPolicy": "Always", "command": ["echo", "pulled"]});
        json!({"function": {"container": container, "pod": {"imagePullSecrets": secrets}}})
    };
    world.task("stranger", spec(json!([{"name": "missing"}]))).await;
    let words = world
        .until("stranger", "its image is not pulled", |task| {
            let status = task.status.as_ref()?;
            (status.reason.as_deref()?.starts_with("ImagePull")).then(|| status.message.clone().unwrap())
        })
        .await;
    assert!(words.contains("auth"), "{words}");
    world
        .task("known", spec(json!([{"name": "missing"}, {"name": "registry"}])))
        .await;
    let status = world.ended("known").await.status.unwrap();
    assert_eq!(
        end(&status),
        End {
            phase: Phase::Succeeded,
            reason: "Completed",
            exit_code: Some(0),
            result: Some((200, Some("pulled\n"))),
        }
    );
}
