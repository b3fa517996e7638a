//! `/gc` and `/v1/endpoint`: calls without a token, the way browsers make them.

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{echo, id, listed, open, refused, shell};
use crate::support::{
    http::{Answer, Http},
    plane::Doors,
};

const SITE: &str = "https://app.example.org";

/// A browser's request from a page of [`SITE`].
fn browser(doors: &Doors) -> Http {
    doors.http.with("Origin", SITE)
}

fn has_cors(answer: &Answer) {
    assert_eq!(
        answer.header("access-control-allow-origin"),
        Some("*"),
        "{answer:?}"
    );
}

/// An endpoint of a function, with these settings.
fn endpoint(ann: &Http, function: &str, settings: Value) -> String {
    id(&ann.post(
        &format!("/v1/endpoint/{function}"),
        settings.to_string().as_bytes(),
    ))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_uploads_a_file_and_polls_for_the_answer() {
    let (doors, ann) = open(&[]).await;
    let endpoint = endpoint(&ann, "echo", json!({}));
    let preflight = browser(&doors)
        .with("Access-Control-Request-Method", "POST")
        .with("Access-Control-Request-Headers", "content-type");
    for path in [format!("/gc/{endpoint}"), format!("/gc/{endpoint}/")] {
        let answer = preflight.send("OPTIONS", &path, b"");
        assert!([200, 204].contains(&answer.status), "{answer:?}");
        has_cors(&answer);
        let said = |name: &str| answer.header(name).unwrap_or_default().to_ascii_lowercase();
        assert_eq!(said("access-control-allow-methods"), "get,post,options");
        assert_eq!(said("access-control-allow-headers"), "content-type,authorization");
    }

    let upload = browser(&doors).with("Content-Type", "application/octet-stream");
    let query = "show&email=a@b.c&filename=&sortcolumn=A&path=C:\\BA\\&itemcount=3&sheetcount=";
    let answer = upload.post(&format!("/gc/{endpoint}/?{query}"), b"PK\x03\x04\x00\xff");
    has_cors(&answer);
    let task = id(&answer);
    let result = format!("/gc/{task}/result");
    let early = browser(&doors).get(&result);
    if early.status != 200 {
        refused(&early, 404, "NOT_FOUND");
    }
    has_cors(&early);
    let answer = browser(&doors).get_until_not(&result, 404);
    has_cors(&answer);
    assert_eq!(
        (answer.status, answer.text()),
        (
            200,
            format!(
                "['POST', '/?{}', 'application/octet-stream', ['connection', 'content-length', 'content-type', 'host']]",
                query.replace('\\', "\\\\")
            )
        )
    );
    // The task belongs to whoever made the endpoint.
    assert_eq!(ann.get("/v1/task/list").json()[0]["id"], task);
    assert_eq!(
        ann.get(&format!("/v1/endpoint/{endpoint}/metrics")).json(),
        json!({"todayTasks": 1, "pendingTasks": 0, "weekTasks": 1})
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_posts_json_and_reads_json() {
    let (doors, ann) = open(&[]).await;
    let endpoint = endpoint(&ann, "echo", json!({}));
    let page = browser(&doors).with("Content-Type", "application/json");
    let body = br#"{"exampleKey":"exampleValue"}"#;
    let task = id(&page.post(&format!("/gc/{endpoint}"), body));
    let answer = page.get_until_not(&format!("/gc/{task}/result"), 404);
    assert_eq!(
        (
            answer.status,
            answer.header("content-type"),
            answer.body.as_slice()
        ),
        (200, Some("application/json"), &body[..])
    );
    assert_eq!(answer.header("content-security-policy"), Some("sandbox"));
    assert_eq!(answer.header("gc-storage"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_refusal_of_the_public_door_can_be_read_by_scripts() {
    let (doors, ann) = open(&[]).await;
    let endpoint = endpoint(&ann, "echo", json!({}));
    let page = browser(&doors);
    let too_much = vec![b'x'; 131_073];
    for (answer, status, code) in [
        (
            page.post(&format!("/gc/{}", "0".repeat(24)), b""),
            404,
            "NOT_FOUND",
        ),
        (
            page.get(&format!("/gc/{}/result", "0".repeat(24))),
            404,
            "NOT_FOUND",
        ),
        (page.get("/gc/what/result"), 400, "BAD_REQUEST"),
        (page.post(&format!("/gc/{endpoint}"), &too_much), 413, "TOO_LARGE"),
        (
            page.send("PUT", &format!("/gc/{endpoint}"), b""),
            405,
            "METHOD_NOT_ALLOWED",
        ),
    ] {
        refused(&answer, status, code);
        has_cors(&answer);
    }
    let answer = page.send("HEAD", &format!("/gc/{endpoint}"), b"");
    assert_eq!((answer.status, answer.body.len()), (405, 0));
    assert_eq!(ann.get("/v1/task/list").json(), json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_end_the_polling() {
    let (doors, ann) = open(&[]).await;
    doors
        .function("slow", {
            let mut slow = shell("sleep 600");
            slow["timeout"] = json!("1s");
            slow
        })
        .await;
    doors.function("broken", shell("exit 3")).await;
    let mut mute = echo();
    mute["timeout"] = json!("2s");
    doors.function("mute", mute).await;
    let page = browser(&doors);
    for (function, query, status, code) in [
        ("slow", "", 408, "TIMED_OUT"),
        ("mute", "?hang", 408, "TIMED_OUT"),
        ("broken", "", 500, "FUNCTION_FAILED"),
        ("echo", "?die", 500, "FUNCTION_FAILED"),
    ] {
        let endpoint = endpoint(&ann, function, json!({}));
        let task = id(&page.post(&format!("/gc/{endpoint}{query}"), b""));
        let answer = page.get_until_not(&format!("/gc/{task}/result"), 404);
        refused(&answer, status, code);
        has_cors(&answer);
        let listed = listed(&ann, &task);
        assert_eq!(
            (&listed["status"], &listed["progress"]),
            (&json!(status), &json!(100)),
            "{listed}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_is_public_for_five_minutes_and_then_its_owners() {
    let (doors, ann) = open(&["bob"]).await;
    doors.grant("bob").await;
    let endpoint = endpoint(&ann, "echo", json!({}));
    let page = browser(&doors);
    let task = id(&page.post(&format!("/gc/{endpoint}"), b"secret"));
    let result = format!("/gc/{task}/result");
    assert_eq!(page.get_until_not(&result, 404).text(), "secret");

    // Past the five minutes, and not past the hour that the Task is kept.
    let past = Timestamp::now() - SignedDuration::from_secs(301);
    doors
        .patch_status(&task, json!({"finishedAt": past.to_string()}))
        .await;
    let answer = page.get_until_not(&result, 200);
    refused(&answer, 401, "UNAUTHORIZED");
    has_cors(&answer);
    assert_eq!(ann.get(&result).text(), "secret");
    refused(&doors.as_user("bob").get(&result), 404, "NOT_FOUND");
    refused(&doors.as_user("nobody").get(&result), 401, "UNAUTHORIZED");

    // What was not called through an endpoint never was public.
    let own = id(&ann.post("/v1/task/echo", b"own"));
    ann.get_until_not(&format!("/v1/task/{own}/result"), 404);
    refused(&page.get(&format!("/gc/{own}/result")), 401, "UNAUTHORIZED");
    assert_eq!(ann.get(&format!("/gc/{own}/result")).text(), "own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_address_bar_gets_a_page_with_a_link_to_the_result() {
    let (doors, ann) = open(&[]).await;
    let endpoint = endpoint(&ann, "echo", json!({}));
    let page = doors.http.get(&format!("/gc/{endpoint}?show"));
    assert_eq!(
        (page.status, page.header("content-type")),
        (200, Some("text/html; charset=utf-8"))
    );
    let text = page.text();
    let link = text.split('"').find(|part| part.starts_with("/gc/")).unwrap();
    let answer = doors.http.get_until_not(link, 404);
    assert_eq!(answer.text(), "['GET', '/?show', None, ['connection', 'host']]");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_is_made_shown_changed_and_closed() {
    let (doors, ann) = open(&["bob"]).await;
    doors.grant("bob").await;
    let settings =
        json!({"description": "upload", "tag": ["a"], "dailyLimit": 5, "origin": [format!("{SITE}/")]});
    let endpoint = endpoint(&ann, "echo", settings);
    let path = format!("/v1/endpoint/{endpoint}");
    let shown = ann.get(&path).json();
    assert_eq!(
        shown,
        json!({"functionId": shown["functionId"], "description": "upload", "tags": ["a"], "dailyLimit": 5, "origin": [SITE],
            "ip": [], "timeLimit": {"from": "", "to": "", "timezone": ""}, "createdAt": shown["createdAt"]})
    );
    let created = shown["createdAt"].as_str().unwrap();
    assert!(created.len() == 20 && created.ends_with('Z'), "{created}");
    let listed =
        json!({"results": [{"id": endpoint, "description": "upload", "tags": ["a"], "createdAt": created}]});
    assert_eq!(ann.get("/v1/endpoint/list").json(), listed);
    assert_eq!(
        ann.get("/v1/endpoint/list?page=1&limit=1&functionId=echo").json(),
        listed
    );
    assert_eq!(
        ann.send("GET", "/v1/endpoint/list", br#"{"page":2,"limit":1}"#)
            .json(),
        json!({"results": []})
    );

    for bad in [
        json!({"ip": ["10.0.0.1"]}),
        json!({"dailyLimit": -2}),
        json!({"origin": ["http://x.org"]}),
    ] {
        refused(
            &ann.send("PATCH", &path, bad.to_string().as_bytes()),
            403,
            "FORBIDDEN",
        );
    }
    refused(&ann.send("PATCH", &path, b"{"), 400, "BAD_REQUEST");
    refused(&doors.http.get(&path), 401, "UNAUTHORIZED");
    assert_eq!(ann.get(&path).json(), shown);

    // Only pages of the site may call.
    let call = format!("/gc/{endpoint}");
    id(&browser(&doors).post(&call, b""));
    refused(&doors.http.post(&call, b""), 403, "FORBIDDEN");
    refused(
        &doors.http.with("Origin", "https://evil.example").post(&call, b""),
        403,
        "FORBIDDEN",
    );

    let changed = ann.send("PATCH", &path, br#"{"origin":[],"dailyLimit":1}"#);
    assert_eq!((changed.status, changed.body.len()), (204, 0));
    let spent = doors.http.post(&call, b"");
    refused(&spent, 429, "NO_QUOTA_AVAILABLE");
    has_cors(&spent);
    assert_eq!(ann.send("DELETE", &format!("{path}/"), b"").status, 204);
    refused(&doors.http.post(&call, b""), 404, "NOT_FOUND");
    refused(&ann.get(&path), 404, "NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limit_of_a_day_is_exact_however_many_call_at_once() {
    let (doors, ann) = open(&[]).await;
    doors.function("quick", shell("true")).await;
    let endpoint = endpoint(&ann, "quick", json!({"dailyLimit": 3}));
    let call = format!("/gc/{endpoint}");
    let calls: Vec<_> = (0..12)
        .map(|_| {
            let (http, call) = (doors.http.clone(), call.clone());
            std::thread::spawn(move || http.post(&call, b"").status)
        })
        .collect();
    let mut statuses: Vec<u16> = calls.into_iter().map(|call| call.join().unwrap()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [[201; 3].as_slice(), &[429; 9]].concat());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_an_endpoint_gets_no_calls() {
    let (doors, ann) = open(&[]).await;
    let endpoint = endpoint(&ann, "echo", json!({}));
    let call = format!("/gc/{endpoint}");
    id(&doors.http.post(&call, b""));
    let setting =
        json!({"dailyLimit": -1, "createdAt": "2026-01-31T12:00:00Z", "createdBy": "eve"}).to_string();
    let annotations = json!({format!("greencloud.errand.dev/endpoint-{endpoint}"): setting});
    doors
        .create(
            Some("default"),
            json!({"apiVersion": "errand.dev/v1alpha1", "kind": "Function", "spec": shell("true"),
                "metadata": {"name": "a-copy", "annotations": annotations}}),
        )
        .await;
    // The facade hears of it by its watch.
    let wait = std::time::Instant::now() + crate::support::PATIENCE;
    loop {
        let answer = doors.http.post(&call, b"");
        if answer.status == 409 {
            return refused(&answer, 409, "CONFLICT");
        }
        assert!(std::time::Instant::now() < wait, "{answer:?}");
    }
}
