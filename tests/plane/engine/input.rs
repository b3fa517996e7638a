//! Input reaches the container, and results come back byte for byte.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use super::ends::inline;
use crate::support::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn input_arrives_as_files_variables_and_arguments() {
    let world = World::start().await;
    let mut spec = inline(
        r#"cd "$ERRAND_INPUT_DIR"; cat body; echo "|$(cat query)|$(cat headers.json)|$(cat content-type)|$ERRAND_INPUT|$0|$1|$ERRAND_TASK $ERRAND_NAMESPACE $ERRAND_ATTEMPT""#,
    );
    spec["input"] = json!({
        "body": "hé $(HOME)", "query": "a=1&b=%20", "headers": {"X-One": "1"}, "contentType": "text/x", "args": ["zero", "$(PATH)"],
    });
    world.task("t", spec).await;
    assert_eq!(
        world.succeeded("t").await.body.as_deref(),
        Some("hé $(HOME)|a=1&b=%20|{\"X-One\":\"1\"}|text/x|hé $(HOME)|zero|$(PATH)|t default 1\n")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_binary_body_arrives_byte_for_byte_and_a_binary_result_comes_back_so() {
    let world = World::start().await;
    let bytes: Vec<u8> = (0..131_072_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let mut spec = inline(r#"cat "$ERRAND_INPUT_DIR/body""#);
    spec["input"] = json!({"bodyBase64": STANDARD.encode(&bytes)});
    world.task("t", spec).await;
    let result = world.succeeded("t").await;
    assert_eq!(
        result.body_base64.map(|text| STANDARD.decode(text).unwrap()),
        Some(bytes)
    );
    assert_eq!(
        (result.size_bytes, result.content_type.as_deref()),
        (Some(131_072), Some("application/octet-stream"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_can_come_from_a_file_the_log_or_the_termination_message() {
    let world = World::start().await;
    let file = world.folder().join("result");
    for (name, script, result, expected) in [
        (
            "file",
            format!("echo noise; printf 'in file' > {}", file.display()),
            json!({"from": "File", "path": file}),
            "in file",
        ),
        (
            "log",
            "printf 'all of it'".to_owned(),
            json!({"from": "Log"}),
            "all of it",
        ),
        (
            "message",
            "echo noise; printf 'the message' > /dev/termination-log".to_owned(),
            json!({"from": "TerminationMessage"}),
            "the message",
        ),
    ] {
        let mut spec = inline(&script);
        spec["function"]["result"] = result;
        world.task(name, spec).await;
        assert_eq!(
            world.succeeded(name).await.body.as_deref(),
            Some(expected),
            "{name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_supervisor_the_log_is_the_result() {
    let world = World::start().await;
    let mut spec = inline("echo plain");
    spec["function"]["supervise"] = json!(false);
    world.task("t", spec).await;
    let result = world.succeeded("t").await;
    assert_eq!(
        (result.body.as_deref(), result.size_bytes),
        (Some("plain\n"), Some(6))
    );
}
