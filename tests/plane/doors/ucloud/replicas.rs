//! Several facades before one API server, and none of them remembers anything.

use errand::facade::Config;
use serde_json::json;

use super::{PATH, SERVICE, USER, complete, listener, made, ok, open, post, update};
use crate::support::socket::Socket;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_listens_at_one_replica_hears_what_is_posted_at_another() {
    let doors = open(&[]).await;
    let replica = doors.replica(Config::default()).await;
    let (here, there) = (doors.as_user(SERVICE), replica.http.bearer(SERVICE));
    let mut users = [
        listener(&doors.http, "task.listen", USER).await,
        listener(&replica.http, "task.listen", USER).await,
    ];
    let id = made(&here, "t");
    // At once, though the other replica may not have seen the Task yet.
    let both = [&there, &here];
    for count in 0..20 {
        update(
            both[count % 2],
            &json!({"jobId": id, "messageToAppend": count.to_string()}),
        );
    }
    complete(&there, &json!(id));
    for user in &mut users {
        assert_eq!(user.json().await["payload"]["newTitle"], json!("t"));
        for count in 0..20 {
            assert_eq!(
                user.json().await["payload"]["messageToAppend"],
                json!(count.to_string())
            );
        }
        assert_eq!(user.json().await["payload"]["complete"], json!(true));
    }
    let over = ok(&replica
        .http
        .bearer("admin")
        .get(&format!("{PATH}/retrieve?id={id}")));
    assert_eq!(over["complete"], json!(true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn messages_that_are_posted_at_once_all_arrive_once_and_in_one_order() {
    let doors = open(&[]).await;
    let replica = doors.replica(Config::default()).await;
    let services = [doors.as_user(SERVICE), replica.http.bearer(SERVICE)];
    let id = made(&services[0], "t");
    let mut users = [
        listener(&doors.http, "task.listen", USER).await,
        listener(&replica.http, "task.listen", USER).await,
    ];
    let posting = (0..8).map(|poster: usize| {
        let (service, id) = (services[poster % 2].clone(), id.clone());
        tokio::task::spawn_blocking(move || {
            for count in 0..5 {
                let said = json!({"jobId": id, "messageToAppend": format!("{poster}.{count}")});
                assert_eq!(
                    post(&service, "/postStatus", &json!({"update": said})).status,
                    200
                );
            }
        })
    });
    for posted in posting.collect::<Vec<_>>() {
        posted.await.unwrap();
    }
    let mut heard = Vec::new();
    for user in &mut users {
        let mut all = Vec::new();
        while all.len() < 40 {
            let news = user.json().await["payload"].clone();
            // A listener that came before its replica saw the Task hears of it too.
            all.extend(news["messageToAppend"].as_str().map(str::to_owned));
        }
        heard.push(all);
    }
    assert_eq!(heard[0], heard[1]);
    let mut sorted = heard[0].clone();
    sorted.sort();
    let want: Vec<String> = (0..8)
        .flat_map(|poster| (0..5).map(move |count| format!("{poster}.{count}")))
        .collect();
    assert_eq!(sorted, want);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_stopped_says_goodbye_on_its_sockets() {
    let doors = open(&[]).await;
    let replica = doors.replica(Config::default()).await;
    let mut user = Socket::open(&replica.http, PATH).await;
    super::listen(&mut user, "task.listen", USER).await;
    drop(replica.stop);
    let (goodbye, said) = user.end().await;
    assert_eq!(
        (goodbye.map(|frame| u16::from(frame.code)), said),
        (Some(1000), Vec::new())
    );
}
