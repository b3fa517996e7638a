//! The calls as requests.

use serde_json::json;

use super::{PATH, READ, REPORT, SERVICE, USER, complete, create, made, ok, open, post, refused, update};
use crate::support::http::Http;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_counts_to_three_and_its_user_sees_how_far_it_is() {
    let doors = open(&[]).await;
    // As UCloud's documentation has its curl lines.
    let malformed = "content-type: application/json; charset=utf-8";
    let service = doors.as_user(SERVICE).with("Content-Type", malformed);
    let user = doors.as_user(USER);

    let made = create(&service, "We are counting to 3", USER);
    let task = ok(&made);
    let (id, since) = (
        task["jobId"].as_str().unwrap(),
        task["startedAt"].as_i64().unwrap(),
    );
    let text = format!(
        r#"{{"jobId":"{id}","owner":"User#1234","processor":"_ucloud","title":"We are counting to 3","status":null,"complete":false,"startedAt":{since},"modifiedAt":{since}}}"#
    );
    assert_eq!(made.text(), text);
    assert_eq!((id.len(), id.as_bytes()[14], since % 1000), (36, b'4', 0));
    assert!(since > 1_700_000_000_000, "{since}");

    for count in 1..=3 {
        let said = format!("Count is now {count}");
        update(
            &service,
            &json!({"jobId": id, "newTitle": null, "speeds": [], "progress": null, "complete": false,
                "messageToAppend": said, "newStatus": format!("at {count}")}),
        );
    }
    let seen = ok(&user.get(&format!("{PATH}/retrieve?id={id}")));
    assert_eq!(
        (&seen["status"], &seen["complete"]),
        (&json!("at 3"), &json!(false))
    );
    assert!(seen["modifiedAt"].as_i64().unwrap() > since, "{seen}");
    let listed = ok(&user.get(&format!("{PATH}?itemsPerPage=100&page=0")));
    assert_eq!(
        listed,
        json!({"itemsInTotal": 1, "itemsPerPage": 100, "pageNumber": 0, "items": [seen]})
    );
    let kept = doors.task(id).await.status.unwrap().messages;
    let kept: Vec<_> = kept
        .iter()
        .map(|message| (message.sequence, message.text.as_str()))
        .collect();
    assert_eq!(
        kept,
        [
            (1, "Count is now 1"),
            (2, "Count is now 2"),
            (3, "Count is now 3")
        ]
    );

    // Over once, it stays as it is, and nobody is told off for it.
    for _ in 0..2 {
        complete(&service, &json!(id));
    }
    update(&service, &json!({"jobId": id, "newTitle": "too late"}));
    let over = ok(&user.get(&format!("{PATH}/retrieve?id={id}")));
    assert_eq!(
        (&over["complete"], &over["title"], &over["status"]),
        (&json!(true), &json!("We are counting to 3"), &json!("at 3"))
    );
    assert_eq!(
        user.get(PATH).text(),
        r#"{"itemsInTotal":0,"itemsPerPage":50,"pageNumber":0,"items":[]}"#
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_role_makes_its_own_calls_and_no_others() {
    let doors = open(&["guest"]).await;
    let id = made(&doors.as_user(SERVICE), "t");
    let retrieve = format!("{PATH}/retrieve?id={id}");
    let statuses = |http: &Http| {
        let say = json!({"update": {"jobId": id}});
        [
            http.get(PATH).status,
            http.get(&retrieve).status,
            http.get(&format!("{PATH}/browse")).status,
            create(http, "t", USER).status,
            post(http, "/postStatus", &say).status,
            post(http, "/markAsComplete", &json!({"id": "none"})).status,
        ]
    };
    // The task belongs to the user, and its work is the service's.
    assert_eq!(statuses(&doors.as_user(USER)), [200, 200, 200, 401, 401, 401]);
    assert_eq!(statuses(&doors.as_user(SERVICE)), [401, 401, 401, 200, 200, 404]);
    assert_eq!(statuses(&doors.as_user("admin")), [200, 200, 200, 200, 404, 404]);
    assert_eq!(statuses(&doors.as_user("guest")), [401; 6]);
    assert_eq!(statuses(&doors.as_user("nobody")), [401; 6]);
    assert_eq!(statuses(&doors.http), [401; 6]);
    // Who may not call is told so whatever they sent.
    let user = doors.as_user(USER);
    refused(&user.send("PUT", PATH, b"{"), 401, "Unauthorized");
    refused(
        &doors.as_user(SERVICE).get(&format!("{PATH}?page=x")),
        401,
        "Unauthorized",
    );
    refused(
        &doors.http.post(&format!("{PATH}/postStatus"), b""),
        401,
        "Unauthorized",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_of_others_and_of_foreign_namespaces_do_not_exist() {
    let doors = open(&["bob", "other"]).await;
    doors.allow("default", "bob", READ).await;
    doors.allow("default", "other", REPORT).await;
    let id = made(&doors.as_user(SERVICE), "mine");
    let retrieve = format!("{PATH}/retrieve?id={id}");
    assert_eq!(ok(&doors.as_user(USER).get(&retrieve))["jobId"], json!(id));
    assert_eq!(ok(&doors.as_user("admin").get(&retrieve))["jobId"], json!(id));
    let bob = doors.as_user("bob");
    refused(&bob.get(&retrieve), 404, "Not Found");
    assert_eq!(ok(&bob.get(PATH))["itemsInTotal"], json!(0));
    let other = doors.as_user("other");
    for (path, body) in [
        (
            "/postStatus",
            json!({"update": {"jobId": id, "newTitle": "stolen"}}),
        ),
        ("/markAsComplete", json!({"id": id})),
    ] {
        refused(&post(&other, path, &body), 404, "Not Found");
    }
    let task = doors.task(&id).await;
    assert_eq!(
        (task.status.unwrap().title, task.spec.owner.as_deref()),
        (None, Some(USER))
    );

    // A Task of the user's where they have no rights, and the same with them.
    doors
        .create(
            None,
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "far"}}),
        )
        .await;
    let task = json!({"apiVersion": "errand.dev/v1alpha1", "kind": "Task", "metadata": {"name": "abroad"},
        "spec": {"owner": USER, "title": "abroad", "external": {"processor": SERVICE}}});
    doors.create(Some("far"), task).await;
    let user = doors.as_user(USER);
    let titles = || -> Vec<String> {
        let items = ok(&user.get(PATH))["items"].take();
        let titles = items
            .as_array()
            .unwrap()
            .iter()
            .map(|task| task["title"].as_str().unwrap().to_owned());
        let mut titles: Vec<String> = titles.collect();
        titles.sort();
        titles
    };
    let admin = doors.as_user("admin");
    let seen_by_admin = || admin.get("/errand/v1/namespaces/far/tasks").json()["items"][0]["uid"].clone();
    crate::support::wait_for("the task abroad in view", String::new, || {
        seen_by_admin().is_string().then_some(())
    });
    assert_eq!(titles(), ["mine"]);
    let abroad = seen_by_admin();
    let retrieve = format!("{PATH}/retrieve?id={}", abroad.as_str().unwrap());
    refused(&user.get(&retrieve), 404, "Not Found");
    refused(
        &post(&doors.as_user(SERVICE), "/markAsComplete", &json!({"id": abroad})),
        404,
        "Not Found",
    );
    doors.allow("far", USER, READ).await;
    crate::support::wait_for("the new right", String::new, || {
        (titles() == ["abroad", "mine"]).then_some(())
    });
    crate::support::wait_for("the new right", String::new, || {
        (user.get(&retrieve).status == 200).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_door_made_a_task_it_is_listed_and_shown() {
    let doors = open(&[]).await;
    let sleep = json!({"container": {"image": "i", "command": ["sleep", "300"]}});
    doors.function("nap", sleep).await;
    let task = json!({"apiVersion": "errand.dev/v1alpha1", "kind": "Task", "metadata": {"name": "nap-1"},
        "spec": {"owner": USER, "functionRef": {"name": "nap"}}});
    doors.create(Some("default"), task).await;
    let nobodys = json!({"apiVersion": "errand.dev/v1alpha1", "kind": "Task", "metadata": {"name": "nap-2"},
        "spec": {"functionRef": {"name": "nap"}}});
    doors.create(Some("default"), nobodys).await;
    let foreign = json!({"apiVersion": "errand.dev/v1alpha1", "kind": "Task", "metadata": {"name": "nap-3"},
        "spec": {"owner": "bob", "functionRef": {"name": "nap"}}});
    doors.create(Some("default"), foreign).await;
    let user = doors.as_user(USER);
    let items = crate::support::wait_for("two tasks", String::new, || {
        let page = ok(&user.get(PATH));
        (page["itemsInTotal"] == 2).then(|| page["items"].clone())
    });
    let (mut owners, mut ids) = (Vec::new(), Vec::new());
    for task in items.as_array().unwrap() {
        assert_eq!(
            (&task["title"], &task["processor"], &task["complete"]),
            (&json!("nap"), &json!("errand"), &json!(false))
        );
        owners.push(task["owner"].as_str().unwrap());
        ids.push(task["jobId"].as_str().unwrap());
        let path = format!("{PATH}/retrieve?id={}", task["jobId"].as_str().unwrap());
        assert_eq!(ok(&user.get(&path))["jobId"], task["jobId"]);
    }
    owners.sort_unstable();
    assert_eq!(owners, ["", USER]);
    let uids = [doors.task("nap-1").await, doors.task("nap-2").await].map(|task| task.metadata.uid.unwrap());
    assert!(
        uids.iter().all(|uid| ids.contains(&uid.as_str())),
        "{uids:?} {ids:?}"
    );
    // Its pod does its work, and no service may end it.
    for name in [SERVICE, "admin"] {
        refused(
            &post(&doors.as_user(name), "/markAsComplete", &json!({"id": uids[0]})),
            404,
            "Not Found",
        );
    }
}
