//! How tasks come, move on and go.

use super::*;
use crate::facade::views::Facet;

#[tokio::test]
async fn a_task_is_pending_until_the_first_cell_starts_it() {
    let bbs = Bbs::open(with_cells(0)).await;
    bbs.desire("g", "d").await.unwrap();
    let task = bbs.got("g").await;
    assert_eq!((task.state(), task.cell_id.as_str()), (State::Pending, ""));
    assert_eq!(task.task_definition, Some(definition().encode_to_vec()));
    assert_eq!((task.created_at, task.first_completed_at), (task.updated_at, 0));
    let granted = bbs.start("g", "cell").await;
    assert_eq!((granted.error, granted.should_start), (None, true));
    let again = bbs.start("g", "cell").await;
    assert_eq!((again.error, again.should_start), (None, false));
    let other = bbs.start("g", "other").await;
    assert_eq!(
        (told(other.error), other.should_start),
        (transition(State::Running, State::Running), false)
    );
    let task = bbs.got("g").await;
    assert_eq!((task.state(), task.cell_id.as_str()), (State::Running, "cell"));
    assert!(task.updated_at > task.created_at);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_cells_that_start_a_task_at_once_one_may() {
    let bbs = Arc::new(Bbs::open(with_cells(0)).await);
    bbs.desire("g", "d").await.unwrap();
    let cells = (0..12).map(|number| {
        let bbs = bbs.clone();
        tokio::spawn(async move { bbs.start("g", &format!("cell-{number}")).await })
    });
    let mut granted = 0;
    for cell in cells.collect::<Vec<_>>() {
        let response = cell.await.unwrap();
        granted += usize::from(response.should_start);
        assert_eq!(response.error.is_none(), response.should_start);
    }
    assert_eq!(granted, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn rejections_that_come_at_once_all_count() {
    let bbs = Arc::new(Bbs::open(with_cells(100)).await);
    bbs.desire("g", "d").await.unwrap();
    let calls = (0..10).map(|_| {
        let bbs = bbs.clone();
        tokio::spawn(async move { bbs.reject("g", "full").await })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap().unwrap();
    }
    assert_eq!(bbs.got("g").await.rejection_count, 10);
}

#[tokio::test]
async fn the_doors_own_rule_finds_the_namespace_where_there_is_one() {
    let by = |rule: &str| Settings {
        namespaces: Some(rule.parse().unwrap()),
        ..with_cells(0)
    };
    // Its namespace has the name of the user.
    let bbs = Bbs::open_for("kube-system", &["system:masters"], by("user")).await;
    bbs.desire("g", "d").await.unwrap();
    let home = bbs
        .facade
        .views
        .tasks
        .by_facet(&Facet::Namespace("kube-system".into()));
    assert_eq!(home.len(), 1);
    let bbs = Bbs::open_for("ann", &["system:masters"], by("group:ns:")).await;
    let (_, words) = bbs.desire("g", "d").await.unwrap_err();
    assert_eq!(
        words,
        r#"user "ann" is in no group "ns:" + NAMESPACE, so no namespace is theirs"#
    );
}

#[tokio::test]
async fn a_guid_is_taken_once() {
    let bbs = Bbs::open(with_cells(0)).await;
    bbs.desire("g", "d").await.unwrap();
    let exists = "the requested resource already exists";
    assert_eq!(
        bbs.desire("g", "other").await,
        Err((ErrorType::ResourceExists, exists.into()))
    );
    // Guids tell capitals apart, names of objects do not.
    bbs.desire("G", "d").await.unwrap();
    assert_eq!(bbs.listed("", "").await.len(), 2);
}

#[tokio::test]
async fn a_cancelled_task_is_completed_at_once_and_for_good() {
    let bbs = Bbs::open(with_cells(0)).await;
    for (guid, cell) in [("pending", None), ("running", Some("cell"))] {
        bbs.desire(guid, "d").await.unwrap();
        if let Some(cell) = cell {
            assert!(bbs.start(guid, cell).await.should_start);
        }
        bbs.named("cancel", guid).await.unwrap();
        let task = bbs.got(guid).await;
        assert_eq!(
            (
                task.state(),
                task.failed,
                task.failure_reason.as_str(),
                task.cell_id.as_str()
            ),
            (State::Completed, true, "task was cancelled", "")
        );
        assert_eq!(task.first_completed_at, task.updated_at);
        let over = transition(State::Completed, State::Completed);
        assert_eq!(bbs.named("cancel", guid).await, over);
        assert_eq!(bbs.fail(guid, "late").await, over);
        assert_eq!(bbs.complete(guid, "cell", "").await, over);
        assert_eq!(
            told(bbs.start(guid, "cell").await.error),
            transition(State::Completed, State::Running)
        );
    }
}

#[tokio::test]
async fn only_its_cell_completes_a_task_and_its_result_is_kept() {
    let bbs = Bbs::open(with_cells(0)).await;
    bbs.desire("g", "d").await.unwrap();
    assert_eq!(
        bbs.complete("g", "cell", "").await,
        transition(State::Pending, State::Completed)
    );
    bbs.start("g", "cell").await;
    let elsewhere = "Running on cell cell not other";
    assert_eq!(
        bbs.complete("g", "other", "").await,
        Err((ErrorType::RunningOnDifferentCell, elsewhere.into()))
    );
    bbs.complete("g", "cell", "{\"answer\": 42}").await.unwrap();
    let task = bbs.got("g").await;
    assert_eq!(
        (
            task.state(),
            task.failed,
            task.result.as_str(),
            task.cell_id.as_str()
        ),
        (State::Completed, false, "{\"answer\": 42}", "")
    );
    assert_eq!(bbs.listed("d", "").await, [task]);
}

#[tokio::test]
async fn results_of_many_tasks_are_listed() {
    let bbs = Bbs::open(with_cells(0)).await;
    for number in 0..5 {
        let guid = format!("g{number}");
        bbs.desire(&guid, "d").await.unwrap();
        bbs.start(&guid, "cell").await;
        bbs.complete(&guid, "cell", &guid).await.unwrap();
    }
    let listed = bbs.listed("d", "").await;
    assert_eq!(listed.len(), 5);
    assert!(
        listed.iter().all(|task| task.result == task.task_guid),
        "{listed:?}"
    );
}

#[tokio::test]
async fn a_failed_task_keeps_its_reason_up_to_a_bound() {
    let bbs = Bbs::open(with_cells(0)).await;
    for (guid, reason, kept) in [
        ("short", "no luck".to_owned(), "no luck".to_owned()),
        ("most", "x".repeat(1023), "x".repeat(1023)),
        (
            "long",
            "x".repeat(3000),
            format!("{}(truncated)", "x".repeat(1013)),
        ),
    ] {
        bbs.desire(guid, "d").await.unwrap();
        bbs.start(guid, "cell").await;
        bbs.fail(guid, &reason).await.unwrap();
        let task = bbs.got(guid).await;
        assert_eq!(
            (task.state(), task.failed, task.failure_reason),
            (State::Completed, true, kept)
        );
    }
}

#[tokio::test]
async fn the_first_rejection_fails_a_task_that_may_have_none() {
    let bbs = Bbs::open(with_cells(0)).await;
    bbs.desire("g", "d").await.unwrap();
    bbs.reject("g", "no room").await.unwrap();
    let task = bbs.got("g").await;
    assert_eq!(
        (task.state(), task.failed, task.failure_reason.as_str()),
        (State::Completed, true, "no room")
    );
    assert_eq!(
        (task.rejection_count, task.rejection_reason.as_str()),
        (1, "no room")
    );
    assert_eq!(
        bbs.reject("g", "again").await,
        transition(State::Completed, State::Completed)
    );
}

#[tokio::test]
async fn a_rejected_task_waits_again_until_that_was_once_too_often() {
    let bbs = Bbs::open(with_cells(1)).await;
    bbs.desire("g", "d").await.unwrap();
    bbs.start("g", "cell").await;
    bbs.reject("g", "first").await.unwrap();
    let task = bbs.got("g").await;
    assert_eq!(
        (task.state(), task.rejection_count, task.rejection_reason.as_str()),
        (State::Pending, 1, "first")
    );
    bbs.reject("g", "second").await.unwrap();
    let task = bbs.got("g").await;
    assert_eq!(
        (task.state(), task.rejection_count, task.failure_reason.as_str()),
        (State::Completed, 2, "second")
    );
    bbs.desire("h", "d").await.unwrap();
    bbs.named("cancel", "h").await.unwrap();
    assert_eq!(bbs.reject("h", "late").await, bad_request());
}

#[tokio::test]
async fn a_task_is_resolved_and_deleted_and_then_not_found() {
    let bbs = Bbs::open(with_cells(0)).await;
    bbs.desire("g", "d").await.unwrap();
    assert_eq!(
        bbs.named("resolving", "g").await,
        transition(State::Pending, State::Resolving)
    );
    assert_eq!(
        bbs.named("delete", "g").await,
        transition(State::Pending, State::Resolving)
    );
    bbs.named("cancel", "g").await.unwrap();
    assert_eq!(
        bbs.named("delete", "g").await,
        transition(State::Completed, State::Resolving)
    );
    bbs.named("resolving", "g").await.unwrap();
    assert_eq!(bbs.got("g").await.state(), State::Resolving);
    assert_eq!(
        bbs.named("resolving", "g").await,
        transition(State::Resolving, State::Resolving)
    );
    bbs.named("delete", "g").await.unwrap();
    let response = bbs.response("g").await;
    assert_eq!((told(response.error), response.task), (not_found(), None));
    bbs.desire("g", "d").await.unwrap();
    assert_eq!(bbs.got("g").await.state(), State::Pending);
}

#[tokio::test]
async fn what_is_not_there_is_told_the_same_by_every_call() {
    let bbs = Bbs::open(with_cells(0)).await;
    for call in ["cancel", "resolving", "delete"] {
        assert_eq!(bbs.named(call, "none").await, not_found(), "{call}");
    }
    assert_eq!(told(bbs.start("none", "cell").await.error), not_found());
    assert_eq!(bbs.fail("none", "why").await, not_found());
    assert_eq!(bbs.reject("none", "why").await, not_found());
    assert_eq!(bbs.complete("none", "cell", "").await, not_found());
    let task_guid = "none".into();
    let older: TaskResponse = bbs
        .call("/v1/tasks/get_by_task_guid.r2", TaskGuidRequest { task_guid })
        .await;
    assert_eq!((told(older.error), older.task), (not_found(), None));
}
