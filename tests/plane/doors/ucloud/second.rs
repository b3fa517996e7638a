//! The second API: what newer web clients and providers call.

use serde_json::{Value, json};

use super::{PATH, SERVICE, USER, call, frame, listener, made, ok, open, post, refused, send};
use crate::support::{http::Http, socket::Socket, wait_for};

fn new(service: &Http, can_cancel: bool) -> Value {
    let body = json!({"user": USER, "title": "Copy", "body": "Soon", "progress": "0 of 9", "canPause": true,
        "canCancel": can_cancel, "icon": "heroTrash"});
    ok(&post(service, "", &body))
}

fn tell(service: &Http, id: &Value, status: &Value) {
    let body = json!({"update": {"taskId": id, "modifiedAt": 0, "newStatus": status}});
    assert_eq!(ok(&post(service, "/postStatus", &body)), json!({}));
}

/// As `TaskAndNotificationStream.ts` of the web client does it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_web_client_finds_its_way() {
    let doors = open(&[]).await;
    let service = doors.as_user(SERVICE);
    let task = new(&service, false);
    let id = task["taskId"].clone();
    assert!(id.as_i64().is_some_and(|id| (0..1 << 52).contains(&id)), "{task}");
    assert_eq!(
        task,
        json!({"taskId": id, "createdAt": task["createdAt"], "modifiedAt": task["createdAt"], "createdBy": USER,
            "provider": SERVICE, "icon": "heroTrash", "specification": {"canPause": false, "canCancel": false},
            "status": {"state": "IN_QUEUE", "title": "Copy", "body": "Soon", "progress": "0 of 9", "progressPercentage": -1.0}})
    );

    let user = doors.as_user(USER);
    let retrieve = format!("{PATH}/retrieve?id={id}");
    let state = || user.get(&retrieve).json()["status"]["state"].clone();
    wait_for(
        "the engine to see it",
        || state().to_string(),
        || (state() == "RUNNING").then_some(()),
    );

    let mut socket = Socket::open(&doors.http, PATH).await;
    assert_eq!(
        call(&mut socket, "core2", json!({}), USER).await,
        (json!(404), json!({}))
    );
    socket.say(frame("tasks.listen", "1", &json!({}), USER)).await;
    let (_, page) = call(&mut socket, "tasks.browse", json!({"itemsPerPage": 250}), USER).await;
    assert_eq!(
        (&page["itemsPerPage"], &page["next"], &page["items"][0]["taskId"]),
        (&json!(250), &json!(null), &id)
    );
    let mut notifications = Socket::open(&doors.http, "/api/notifications").await;
    notifications
        .say(frame("notifications.subscription", "0", &json!({}), USER))
        .await;
    assert_eq!(
        call(&mut notifications, "task.list", json!({}), USER).await,
        (json!(404), json!({}))
    );

    tell(
        &service,
        &id,
        &json!({"state": "RUNNING", "title": null, "body": "Copying", "progress": "3 of 9", "progressPercentage": 33.3}),
    );
    let heard = loop {
        let frame = socket.json().await;
        assert_eq!(
            (&frame["streamId"], &frame["type"]),
            (&json!("1"), &json!("message")),
            "{frame}"
        );
        if frame["payload"]["status"]["progressPercentage"] == json!(33.0) {
            break frame["payload"].clone();
        }
    };
    assert_eq!(
        (
            &heard["status"]["title"],
            &heard["status"]["body"],
            &heard["status"]["progress"]
        ),
        (&json!("Copy"), &json!("Copying"), &json!("3 of 9"))
    );
    tell(
        &service,
        &id,
        &json!({"state": "FAILURE", "body": "No more room"}),
    );
    let failed = loop {
        let payload = socket.json().await["payload"].clone();
        if payload["status"]["state"] == json!("FAILURE") {
            break payload;
        }
    };
    assert_eq!(failed["status"]["body"], json!("No more room"));
    // Final once, it stays so.
    tell(&service, &id, &json!({"state": "SUCCESS", "body": "after all"}));
    assert_eq!(ok(&user.get(&retrieve)), failed);
    assert_eq!(ok(&user.get(&format!("{PATH}/browse")))["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_task_loses_its_pod_and_keeps_its_log() {
    let doors = open(&[]).await;
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let script = format!(
        "echo before; sh -c 'echo $PPID' > {0}.new; mv {0}.new {0}; exec sleep 300",
        pid.display()
    );
    let task = json!({"apiVersion": "errand.dev/v1alpha1", "kind": "Task", "metadata": {"name": "long"},
        "spec": {"owner": USER, "title": "Long", "function": {"container": {"image": "i", "command": ["sh", "-c", script]}}}});
    doors.create(Some("default"), task).await;
    let user = doors.as_user(USER);
    let list = || user.get(&format!("{PATH}/browse")).text();
    let pid: i32 = wait_for("the process", list, || {
        std::fs::read_to_string(&pid).ok()?.trim().parse().ok()
    });
    let task = ok(&user.get(&format!("{PATH}/browse")))["items"][0].clone();
    let id = task["taskId"].clone();
    assert_eq!(
        task["specification"],
        json!({"canPause": false, "canCancel": true})
    );
    let ask = |state: &str| {
        post(
            &user,
            "/pauseOrCancel",
            &json!({"id": id, "requestedState": state}),
        )
    };
    refused(&ask("SUSPENDED"), 400, "this task cannot be paused");
    refused(&ask("RUNNING"), 400, "a task can only be cancelled");
    refused(&ask("NOTHING"), 400, "Bad request");
    let mut listener = listener(&doors.http, "tasks.listen", USER).await;
    assert_eq!(ok(&ask("CANCELLED")), json!({}));
    loop {
        let payload = listener.json().await["payload"].clone();
        if payload["status"]["state"] == json!("CANCELLED") {
            break;
        }
    }
    let process = nix::unistd::Pid::from_raw(pid);
    wait_for("the end of the process", String::new, || {
        nix::sys::signal::kill(process, None).is_err().then_some(())
    });
    let status = doors.task("long").await.status.unwrap();
    assert_eq!(status.logs.unwrap().tail, "before\n");
    // Over already: nothing to do.
    assert_eq!(ok(&ask("CANCELLED")), json!({}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_can_be_cancelled_is_and_only_by_its_owner() {
    let doors = open(&["bob", "eve"]).await;
    doors.allow("default", "bob", super::READ).await;
    doors
        .allow("default", "eve", &[(&["tasks"], &["get", "list"])])
        .await;
    let service = doors.as_user(SERVICE);
    let cancel = |http: &Http, id: &Value| {
        post(
            http,
            "/pauseOrCancel",
            &json!({"id": id, "requestedState": "CANCELLED"}),
        )
    };
    let user = doors.as_user(USER);
    let fixed = new(&service, false)["taskId"].clone();
    refused(&cancel(&user, &fixed), 400, "this task cannot be cancelled");
    let open = new(&service, true)["taskId"].clone();
    refused(&cancel(&doors.as_user("bob"), &open), 404, "Not Found");
    refused(&cancel(&service, &open), 401, "Unauthorized");
    refused(&cancel(&user, &json!(7)), 404, "Not Found");
    assert_eq!(ok(&cancel(&user, &open)), json!({}));
    let state = || ok(&user.get(&format!("{PATH}/retrieve?id={open}")))["status"]["state"].clone();
    wait_for(
        "the end",
        || state().to_string(),
        || (state() == "CANCELLED").then_some(()),
    );
    // Eve owns one, sees it, and may change nothing.
    let body = json!({"user": "eve", "canCancel": true});
    let hers = ok(&post(&service, "", &body))["taskId"].clone();
    refused(&cancel(&doors.as_user("eve"), &hers), 401, "Unauthorized");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_list_comes_in_parts_the_newest_first() {
    let doors = open(&[]).await;
    let service = doors.as_user(SERVICE);
    let mut made: Vec<i64> = (0..23)
        .map(|_| new(&service, false)["taskId"].as_i64().unwrap())
        .collect();
    let user = doors.as_user(USER);
    let all = wait_for("all in view", String::new, || {
        let page = ok(&user.get(&format!("{PATH}/browse?itemsPerPage=25")));
        let items = page["items"].as_array().unwrap().clone();
        (items.len() == 23).then_some(items)
    });
    let (mut seen, mut next) = (Vec::new(), String::new());
    let sizes: Vec<usize> = std::iter::from_fn(|| {
        let page = ok(&user.get(&format!("{PATH}/browse?itemsPerPage=10&next={next}")));
        let items = page["items"].as_array().unwrap().clone();
        seen.extend(items.iter().map(|task| task["taskId"].as_i64().unwrap()));
        let done = next == "end";
        next = page["next"].as_str().unwrap_or("end").to_owned();
        (!done).then_some(items.len())
    })
    .take(3)
    .collect();
    assert_eq!(sizes, [10, 10, 3]);
    assert_eq!(next, "end");
    let times: Vec<_> = all
        .iter()
        .map(|task| task["createdAt"].as_i64().unwrap())
        .collect();
    assert!(times.is_sorted_by(|a, b| a >= b), "{times:?}");
    seen.sort_unstable();
    made.sort_unstable();
    assert_eq!(seen, made);
    refused(&user.get(&format!("{PATH}/browse?next=x")), 400, "Bad request");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_clients_post_news_and_ends_to_the_path_of_all_tasks_and_each_api_sees_the_tasks_of_the_other()
{
    let doors = open(&[]).await;
    let service = doors.as_user(SERVICE);
    let id = made(&service, "first");
    let news = json!({"update": {"jobId": id, "newTitle": "told"}});
    assert_eq!(ok(&send(&service, "POST", "", &news)), json!({}));
    let user = doors.as_user(USER);
    let page = ok(&user.get(&format!("{PATH}/browse")));
    let task = &page["items"][0];
    assert_eq!(task["status"]["title"], json!("told"));
    let number = task["taskId"].clone();
    assert_eq!(
        ok(&user.get(&format!("{PATH}/retrieve?id={number}")))["taskId"],
        number
    );
    assert_eq!(ok(&send(&service, "POST", "", &json!({"id": number}))), json!({}));
    assert_eq!(
        ok(&user.get(&format!("{PATH}/retrieve?id={id}")))["complete"],
        json!(true)
    );
    let second = new(&service, false);
    let listed = ok(&user.get(PATH))["items"].clone();
    assert_eq!(
        (&listed[0]["title"], &listed[0]["status"], &listed[0]["startedAt"]),
        (&json!("Copy"), &json!("Soon"), &second["createdAt"])
    );
    refused(
        &send(&service, "POST", "", &json!({"title": "t"})),
        400,
        "Bad request",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_tells_of_its_own_task_and_of_no_other() {
    let doors = open(&[]).await;
    for name in ["own", "other"] {
        let task = json!({"apiVersion": "errand.dev/v1alpha1", "kind": "Task", "metadata": {"name": name},
            "spec": {"owner": USER, "title": name, "function": {"container": {"image": "i", "command": ["sleep", "300"]}}}});
        doors.create(Some("default"), task).await;
    }
    let user = doors.as_user(USER);
    let tasks = wait_for("both tasks", String::new, || {
        let items = ok(&user.get(&format!("{PATH}/browse")))["items"].clone();
        let items = items.as_array().unwrap().clone();
        let run = items.iter().all(|task| task["status"]["state"] == "RUNNING");
        (run && items.len() == 2).then_some(items)
    });
    let id = |title: &str| {
        let task = tasks.iter().find(|task| task["status"]["title"] == title);
        task.unwrap()["taskId"].clone()
    };
    let token = doors
        .pod_token(&doors.task("own").await.status.unwrap().pod.unwrap())
        .await;
    let pod = doors.http.bearer(&token);
    tell(
        &pod,
        &id("own"),
        &json!({"title": "told", "progressPercentage": 40}),
    );
    let other = json!({"update": {"taskId": id("other"), "newStatus": {"title": "told"}}});
    refused(&post(&pod, "/postStatus", &other), 404, "Not Found");
    refused(&pod.get(PATH), 401, "Unauthorized");
    refused(&post(&pod, "", &json!({"user": USER})), 401, "Unauthorized");
    let seen = ok(&user.get(&format!("{PATH}/retrieve?id={}", id("own"))))["status"].clone();
    assert_eq!(
        (&seen["title"], &seen["progressPercentage"]),
        (&json!("told"), &json!(40.0))
    );
    assert_eq!(
        ok(&post(&pod, "/markAsComplete", &json!({"id": id("own")}))),
        json!({})
    );
    let state = || ok(&user.get(&format!("{PATH}/retrieve?id={}", id("own"))))["status"]["state"].clone();
    wait_for(
        "the end",
        || state().to_string(),
        || (state() == "SUCCESS").then_some(()),
    );
}
