//! What strangers send, and who may not.

use super::*;

#[tokio::test]
async fn what_is_no_message_is_told_so_by_every_call() {
    let bbs = Bbs::open(with_cells(0)).await;
    for call in CALLS {
        for garbage in [b"{{".as_slice(), &[0x0a, 0xff], &[0x80; 40], &[0xff; 1000]] {
            let body = bbs.bytes(call, garbage.to_vec()).await;
            assert_eq!(outcome(&body), bad_request(), "{call}");
        }
    }
    let inner = desire("g", "d", b"{{");
    let body = bbs.bytes("/v1/tasks/desire.r2", inner).await;
    assert_eq!(outcome(&body), bad_request());
}

#[tokio::test]
async fn requests_without_what_they_need_name_it() {
    let bbs = Bbs::open(with_cells(0)).await;
    for call in CALLS.into_iter().filter(|call| !call.contains("list")) {
        let body = bbs.bytes(call, Vec::new()).await;
        let (kind, text) = outcome(&body).unwrap_err();
        assert_eq!(kind, ErrorType::InvalidRequest, "{call}");
        assert!(text.starts_with("Invalid field: "), "{call}: {text}");
    }
}

#[tokio::test]
async fn actions_nested_ten_thousand_deep_are_refused_and_harm_nobody() {
    let bbs = Bbs::open(with_cells(0)).await;
    let mut action = Vec::new();
    for _ in 0..10_000 {
        let mut serial = Vec::new();
        put(&mut serial, 1, &action);
        let mut next = Vec::new();
        put(&mut next, 8, &serial);
        action = next;
    }
    let mut definition = Vec::new();
    put(&mut definition, 1, b"docker:///busybox");
    put(&mut definition, 3, &action);
    let body = bbs
        .bytes("/v1/tasks/desire.r2", desire("g", "d", &definition))
        .await;
    assert_eq!(outcome(&body), bad_request());
    bbs.desire("g", "d").await.unwrap();
}

#[tokio::test]
async fn a_definition_may_be_as_large_as_an_object_holds_and_not_larger() {
    let bbs = Bbs::open(with_cells(0)).await;
    let most = super::super::names::MAX_DEFINITION;
    let sized = |bytes: usize| {
        let mut definition = definition().encode_to_vec();
        // The tag takes two bytes, the length three.
        let rest = bytes - definition.len() - 5;
        put(&mut definition, 1000, &vec![b'x'; rest]);
        assert_eq!(definition.len(), bytes);
        definition
    };
    let largest = sized(most);
    let body = bbs.bytes("/v1/tasks/desire.r2", desire("g", "d", &largest)).await;
    outcome(&body).unwrap();
    assert_eq!(bbs.got("g").await.task_definition, Some(largest));
    bbs.start("g", "cell").await;
    bbs.reject("g", &"\u{1}".repeat(1023)).await.unwrap();
    let body = bbs
        .bytes("/v1/tasks/desire.r2", desire("h", "d", &sized(most + 1)))
        .await;
    let text = "the task definition has 184321 bytes; at most 184320 are possible";
    assert_eq!(outcome(&body), Err((ErrorType::InvalidRequest, text.into())));
    let body = bbs.bytes("/v1/tasks/desire.r2", vec![0; 256 * 1024 + 1]).await;
    let text = "the body may have at most 262144 bytes";
    assert_eq!(outcome(&body), Err((ErrorType::InvalidRequest, text.into())));
}

#[tokio::test]
async fn other_paths_and_methods_are_told_in_plain_text() {
    let bbs = Bbs::open(with_cells(0)).await;
    let (status, headers, _) = bbs.send("GET", "/v1/tasks/list.r3", "").await;
    assert_eq!((status, headers["allow"].to_str().unwrap()), (405, "POST"));
    for path in [
        "/v1/tasks/list",
        "/v1/tasks/desire",
        "/v1/tasks/desire.r1",
        "/",
        "/openapi.json",
        "/docs",
    ] {
        let (status, headers, _) = bbs.send("POST", path, "").await;
        assert_eq!(status, 404, "{path}");
        assert!(
            headers["content-type"]
                .to_str()
                .unwrap()
                .starts_with("text/plain"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn success_has_no_bytes_and_a_length_all_the_same() {
    let bbs = Bbs::open(with_cells(0)).await;
    let body = desire("g", "d", &definition().encode_to_vec());
    let response = bbs.respond("POST", "/v1/tasks/desire.r2", body).await;
    assert_eq!(http_body::Body::size_hint(response.body()).exact(), Some(0));
    assert!(!response.headers().contains_key("content-encoding"));
}

#[tokio::test]
async fn whoever_may_not_is_told_so_and_learns_nothing() {
    let bbs = Bbs::open_for("ann", &["system:authenticated"], with_cells(0)).await;
    let refused = |what: &str| {
        let text = format!("user \"ann\" cannot {what} in namespace \"default\"");
        Err((ErrorType::UnknownError, text))
    };
    assert_eq!(bbs.desire("g", "d").await, refused("create tasks"));
    let listed: TasksResponse = bbs.call("/v1/tasks/list.r3", TasksRequest::default()).await;
    assert_eq!(
        (told(listed.error), listed.tasks.len()),
        (refused("list tasks"), 0)
    );
    let name = super::super::names::object_name("g");
    let one = bbs.response("g").await;
    assert_eq!(
        (told(one.error), one.task),
        (refused(&format!("get task \"{name}\"")), None)
    );
    assert_eq!(
        bbs.named("cancel", "g").await,
        refused(&format!("patch task \"{name}\""))
    );
    assert_eq!(
        bbs.named("delete", "g").await,
        refused(&format!("delete task \"{name}\""))
    );
    assert_eq!(
        told(bbs.start("g", "cell").await.error),
        refused(&format!("patch the status of task \"{name}\""))
    );
    for path in ["/v1/events/tasks.r1", "/v1/events/tasks"] {
        let body = bbs.bytes(path, Vec::new()).await;
        assert_eq!(outcome(&body), refused("watch tasks"));
    }
    for path in ["/v1/domains/list", "/v1/cells/list.r1"] {
        let body = bbs.bytes(path, Vec::new()).await;
        assert_eq!(outcome(&body), refused("list tasks"), "{path}");
    }
}

#[tokio::test]
async fn what_cannot_be_run_is_refused_with_a_sentence() {
    let bbs = Bbs::open(Settings::default()).await;
    let sent = TaskDefinition {
        root_fs: "preloaded:cflinuxfs4".into(),
        ..definition()
    };
    let body = bbs
        .bytes("/v1/tasks/desire.r2", desire("g", "d", &sent.encode_to_vec()))
        .await;
    let (kind, text) = outcome(&body).unwrap_err();
    assert_eq!(kind, ErrorType::InvalidRequest);
    assert!(text.contains("--diego-stack cflinuxfs4=IMAGE"), "{text}");
}
