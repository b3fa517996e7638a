//! Which calls move a task on, from which state and to what (`db/sqldb/task_db.go` and `controllers/task_controller.go` of
//! the BBS). Pure.

use super::{
    failure::{Failure, bad_request, elsewhere, transition},
    messages::{CompleteTaskRequest, State},
    names::{Marks, marks, stored},
    view::{is_for_cells, standing},
};
use crate::{
    crd::{EndPhase, ReportedEnd, Task, TaskResult},
    facade::results,
};

/// What is to be written of a Task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Its marks.
    pub marks: Marks,
    /// It is to be stopped.
    pub cancel: bool,
}

/// What became of a cell's wish to start a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// It may, once this is written.
    Granted(Write),
    /// It does so already.
    Running,
}

/// A cell wants to start the task. Where tasks get pods no cell is let: Kubernetes starts them.
pub fn start(task: &Task, cell: &str, now: i64) -> Result<Start, Failure> {
    let standing = standing(task);
    match standing.state {
        State::Running if standing.cell == cell => Ok(Start::Running),
        State::Pending if is_for_cells(task) => Ok(Start::Granted(mark(task, now, |marks| {
            marks.cell = Some(cell.to_owned());
            marks.running = true;
        }))),
        state => Err(transition(state, State::Running)),
    }
}

/// Somebody wants the task stopped. It is so at once; a pod is let go of later, when its evidence is stored.
pub fn cancel(task: &Task, now: i64) -> Result<Write, Failure> {
    let write = mark(task, now, |marks| marks.cancelled_at = Some(now));
    open(task).map(|()| Write {
        cancel: true,
        ..write
    })
}

/// Somebody wants to be the one who tells of the end.
pub fn resolving(task: &Task, now: i64) -> Result<Write, Failure> {
    match standing(task).state {
        State::Completed => Ok(mark(task, now, |marks| marks.resolving_at = Some(now))),
        state => Err(transition(state, State::Resolving)),
    }
}

/// Somebody wants the task gone. The real server names Resolving for the state that it wants to find.
pub fn delete(task: &Task) -> Result<(), Failure> {
    match standing(task).state {
        State::Resolving => Ok(()),
        state => Err(transition(state, State::Resolving)),
    }
}

/// A cell tells of the end.
pub fn complete(task: &Task, request: &CompleteTaskRequest) -> Result<ReportedEnd, Failure> {
    let standing = standing(task);
    match standing.state {
        State::Running if standing.cell == request.cell_id => Ok(end(
            request.failed,
            &request.failure_reason,
            Some(&request.result),
        )),
        State::Running => Err(elsewhere(&standing.cell, &request.cell_id)),
        state => Err(transition(state, State::Completed)),
    }
}

/// Somebody says that the task failed.
pub fn fail(task: &Task, reason: &str) -> Result<ReportedEnd, Failure> {
    open(task).map(|()| end(true, reason, None))
}

/// What becomes of a task that a cell could not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// What is written first.
    pub write: Write,
    /// The task then fails: this was once too often.
    pub exhausted: bool,
}

/// A cell could not run the task, which may be rejected `retries` times.
pub fn reject(task: &Task, reason: &str, retries: u16, now: i64) -> Result<Rejected, Failure> {
    let exhausted = marks(task).rejections >= i32::from(retries);
    match (open(task), exhausted) {
        (Ok(()), _) => {}
        (Err(state), true) => return Err(state),
        (Err(_), false) => return Err(bad_request()),
    }
    let write = mark(task, now, |marks| {
        marks.rejections = marks.rejections.saturating_add(1);
        marks.rejection_reason = Some(stored(reason));
        marks.running = false;
    });
    Ok(Rejected { write, exhausted })
}

/// The task has no end yet.
fn open(task: &Task) -> Result<(), Failure> {
    match standing(task).state {
        State::Pending | State::Running => Ok(()),
        state => Err(transition(state, State::Completed)),
    }
}

fn mark(task: &Task, now: i64, change: impl FnOnce(&mut Marks)) -> Write {
    let mut marks = marks(task);
    change(&mut marks);
    marks.updated_at = Some(now);
    Write { marks, cancel: false }
}

fn end(failed: bool, reason: &str, result: Option<&str>) -> ReportedEnd {
    let phase = match failed {
        true => EndPhase::Failed,
        false => EndPhase::Succeeded,
    };
    let result = result.map(|text| {
        let (body, body_base64) = results::fields(text.as_bytes());
        TaskResult {
            status: phase.http_status(),
            content_type: None,
            size_bytes: i64::try_from(text.len()).ok(),
            body,
            body_base64,
            ..TaskResult::default()
        }
    });
    ReportedEnd {
        phase,
        message: failed.then(|| stored(reason)),
        result,
    }
}

#[cfg(test)]
mod tests {
    use kube::ResourceExt as _;
    use serde_json::{Value, json};

    use super::{super::names, *};

    /// A task that waits for cells.
    fn for_cells(marks: &Marks, status: Value) -> Task {
        let mut task = in_a_pod(marks, status);
        task.spec = serde_json::from_value(json!({"external": {"processor": "diego"}})).unwrap();
        task
    }

    fn in_a_pod(marks: &Marks, status: Value) -> Task {
        let meta = json!({"name": names::object_name("g")});
        let mut task: Task = serde_json::from_value(
            json!({"metadata": meta, "spec": {"function": {"container": {"image": "i"}}}, "status": status}),
        )
        .unwrap();
        let annotations = names::annotations("g", b"", None, &[]);
        task.annotations_mut().extend(annotations);
        task.annotations_mut()
            .insert(names::MARKS.into(), marks.to_text());
        task
    }

    fn running() -> Marks {
        Marks {
            cell: Some("a".into()),
            running: true,
            ..Marks::default()
        }
    }

    fn text<T: std::fmt::Debug>(outcome: Result<T, Failure>) -> String {
        match outcome {
            Err(Failure::Told(error)) => error.message,
            other => format!("{other:?}"),
        }
    }

    const NOW: i64 = 7;

    #[test]
    fn one_cell_starts_a_pending_task_and_may_ask_again() {
        let pending = for_cells(&Marks::default(), json!({"phase": "Running"}));
        let wanted = Write {
            marks: Marks {
                updated_at: Some(NOW),
                ..running()
            },
            cancel: false,
        };
        assert_eq!(start(&pending, "a", NOW), Ok(Start::Granted(wanted)));
        let started = for_cells(&running(), json!({}));
        assert_eq!(start(&started, "a", NOW), Ok(Start::Running));
        let refused = "Cannot transition from Running to Running";
        assert_eq!(text(start(&started, "b", NOW)), refused);
        let over = for_cells(&running(), json!({"phase": "Succeeded"}));
        assert_eq!(
            text(start(&over, "a", NOW)),
            "Cannot transition from Completed to Running"
        );
    }

    #[test]
    fn no_cell_starts_what_kubernetes_runs() {
        let pod = json!({"name": "p", "node": "n1"});
        let pending = in_a_pod(&Marks::default(), json!({"phase": "Pending", "pod": pod}));
        assert_eq!(
            text(start(&pending, "n1", NOW)),
            "Cannot transition from Pending to Running"
        );
        let started = in_a_pod(&Marks::default(), json!({"phase": "Running", "pod": pod}));
        assert_eq!(start(&started, "n1", NOW), Ok(Start::Running));
    }

    #[test]
    fn only_the_cell_that_runs_a_task_completes_it() {
        let request = |cell: &str, failed| CompleteTaskRequest {
            task_guid: "g".into(),
            cell_id: cell.into(),
            failed,
            failure_reason: "broken".into(),
            result: "42".into(),
        };
        let started = for_cells(&running(), json!({}));
        let end = complete(&started, &request("a", false)).unwrap();
        let result = end.result.unwrap();
        assert_eq!(
            (end.phase, end.message, result.body.as_deref()),
            (EndPhase::Succeeded, None, Some("42"))
        );
        let end = complete(&started, &request("a", true)).unwrap();
        assert_eq!(
            (end.phase, end.message.as_deref()),
            (EndPhase::Failed, Some("broken"))
        );
        assert_eq!(
            text(complete(&started, &request("b", false))),
            "Running on cell a not b"
        );
        let pending = for_cells(&Marks::default(), json!({}));
        assert_eq!(
            text(complete(&pending, &request("a", false))),
            "Cannot transition from Pending to Completed"
        );
    }

    #[test]
    fn what_is_over_is_neither_cancelled_nor_failed_again() {
        for marks in [Marks::default(), running()] {
            let task = for_cells(&marks, json!({}));
            let write = cancel(&task, NOW).unwrap();
            assert_eq!((write.cancel, write.marks.cancelled_at), (true, Some(NOW)));
            assert_eq!(fail(&task, "why").unwrap().message.as_deref(), Some("why"));
        }
        let over = for_cells(&running(), json!({"phase": "Failed"}));
        for refused in [text(cancel(&over, NOW)), text(fail(&over, "why"))] {
            assert_eq!(refused, "Cannot transition from Completed to Completed");
        }
    }

    #[test]
    fn a_task_is_resolved_once_and_then_deleted() {
        let over = for_cells(&Marks::default(), json!({"phase": "Succeeded"}));
        assert_eq!(
            text(delete(&over)),
            "Cannot transition from Completed to Resolving"
        );
        let marks = resolving(&over, NOW).unwrap().marks;
        let resolved = for_cells(&marks, json!({"phase": "Succeeded"}));
        assert_eq!(delete(&resolved), Ok(()));
        assert_eq!(
            text(resolving(&resolved, NOW)),
            "Cannot transition from Resolving to Resolving"
        );
        let pending = for_cells(&Marks::default(), json!({}));
        assert_eq!(
            text(resolving(&pending, NOW)),
            "Cannot transition from Pending to Resolving"
        );
    }

    #[test]
    fn a_task_that_was_rejected_waits_again_until_that_was_once_too_often() {
        let first = reject(&for_cells(&running(), json!({})), "full", 1, NOW).unwrap();
        let wanted = Marks {
            cell: Some("a".into()),
            running: false,
            rejections: 1,
            rejection_reason: Some("full".into()),
            updated_at: Some(NOW),
            ..Marks::default()
        };
        assert_eq!((first.write.marks, first.exhausted), (wanted.clone(), false));
        let second = reject(&for_cells(&wanted, json!({})), "still full", 1, NOW).unwrap();
        assert_eq!((second.write.marks.rejections, second.exhausted), (2, true));
        let none = reject(&for_cells(&Marks::default(), json!({})), "full", 0, NOW).unwrap();
        assert!(none.exhausted);
        let over = json!({"phase": "Failed"});
        let once = for_cells(&Marks::default(), over.clone());
        assert_eq!(
            text(reject(&once, "x", 1, NOW)),
            "the request received is invalid"
        );
        let often = for_cells(&wanted, over);
        assert_eq!(
            text(reject(&often, "x", 1, NOW)),
            "Cannot transition from Completed to Completed"
        );
    }
}
