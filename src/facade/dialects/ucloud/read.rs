//! Tasks of a user.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{
    calls::written,
    find,
    map::{self, shown},
    roles::Principal,
    second,
    wire::{FindById, ListRequest, Page, Task, TaskId},
};
use crate::{
    crd,
    facade::{
        refusal::Refusal,
        state::{Facade, is_over},
    },
};

/// Numbers of tasks that a page may have.
const PAGES: [usize; 5] = [10, 25, 50, 100, 250];
/// Tasks on a page where no such number is asked for.
const PAGE: usize = 50;
/// A Task that nobody reported on for so long is not listed: whoever did its work is gone.
const STALE: SignedDuration = SignedDuration::from_hours(15);

/// The Tasks of the caller that are not over, the oldest first.
///
/// # Errors
/// The API server does not answer.
pub async fn list(facade: &Facade, principal: &Principal, request: ListRequest) -> Result<Page, Refusal> {
    let now = Timestamp::now();
    let mut tasks = find::own(facade, principal).await?;
    tasks.retain(|task| is_current(task, STALE, now));
    let tasks = tasks.iter().map(|task| shown(task)).collect();
    Ok(page(tasks, request))
}

/// One Task, over or not.
///
/// # Errors
/// There is none that the caller may know of; the API server does not answer.
pub async fn view(facade: &Facade, principal: &Principal, request: FindById) -> Result<Value, Refusal> {
    let task = find::readable(facade, principal, &request.id).await?;
    match request.id {
        TaskId::Job(_) => written(shown(&task)),
        TaskId::Number(_) => written(second::map::shown(&task)),
    }
}

/// True for a Task that is not over, and that is reported on. Errand itself sees to Tasks in pods.
pub fn is_current(task: &crd::Task, stale: SignedDuration, now: Timestamp) -> bool {
    let since = SignedDuration::from_millis(now.as_millisecond().saturating_sub(map::modified_at(task)));
    !is_over(task) && (task.spec.external.is_none() || since < stale)
}

/// So many on a page.
pub fn page_size(asked: Option<i32>) -> usize {
    let asked = asked.and_then(|asked| usize::try_from(asked).ok());
    asked.filter(|asked| PAGES.contains(asked)).unwrap_or(PAGE)
}

fn page(mut tasks: Vec<Task>, request: ListRequest) -> Page {
    let (size, total) = (page_size(request.items_per_page), tasks.len());
    let number = usize::try_from(request.page.unwrap_or(0)).unwrap_or(0);
    tasks.sort_by(|a, b| (a.started_at, &a.job_id).cmp(&(b.started_at, &b.job_id)));
    let items = tasks.into_iter().skip(number.saturating_mul(size)).take(size);
    Page {
        items_in_total: total,
        items_per_page: size,
        page_number: number,
        items: items.collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tasks(count: i64) -> Vec<Task> {
        let task = |number: i64| Task {
            job_id: format!("{number:04}"),
            owner: "ann".into(),
            processor: "svc".into(),
            title: None,
            status: None,
            complete: false,
            // Two at a time, the newest first.
            started_at: (count - number) / 2,
            modified_at: 0,
        };
        (0..count).map(task).collect()
    }

    fn numbers(items_per_page: Option<i32>, number: Option<i32>) -> (usize, usize, usize, usize) {
        let request = ListRequest {
            items_per_page,
            page: number,
        };
        let page = page(tasks(60), request);
        (
            page.items_in_total,
            page.items_per_page,
            page.page_number,
            page.items.len(),
        )
    }

    #[test]
    fn pages_have_one_of_five_sizes_and_one_past_the_end_is_empty() {
        assert_eq!(numbers(None, None), (60, 50, 0, 50));
        assert_eq!(numbers(Some(25), Some(2)), (60, 25, 2, 10));
        assert_eq!(numbers(Some(100), Some(0)), (60, 100, 0, 60));
        for odd in [0, -1, 1, 51, i32::MAX, i32::MIN] {
            assert_eq!(numbers(Some(odd), Some(-3)), (60, 50, 0, 50), "{odd}");
        }
        assert_eq!(
            numbers(Some(250), Some(i32::MAX)),
            (60, 250, i32::MAX as usize, 0)
        );
    }

    #[test]
    fn the_oldest_come_first_and_their_ids_decide_between_equals() {
        let items = page(tasks(4), ListRequest::default()).items;
        let ids: Vec<_> = items.iter().map(|task| task.job_id.as_str()).collect();
        assert_eq!(ids, ["0003", "0001", "0002", "0000"]);
    }

    #[test]
    fn a_task_is_current_until_it_is_over_or_nobody_reports_on_it() {
        let task = |external: bool, phase: &str, modified: &str| -> crd::Task {
            let spec = match external {
                true => json!({"external": {"processor": "svc"}}),
                false => json!({"functionRef": {"name": "f"}}),
            };
            serde_json::from_value(json!({
                "apiVersion": crd::API_VERSION, "kind": "Task", "metadata": {"name": "t"},
                "spec": spec, "status": {"phase": phase, "modifiedAt": modified},
            }))
            .unwrap()
        };
        let now = "2026-01-02T00:00:00Z".parse().unwrap();
        for (external, phase, modified, current) in [
            (true, "Running", "2026-01-01T09:00:01Z", true),
            (true, "Running", "2026-01-01T09:00:00Z", false),
            (true, "Succeeded", "2026-01-01T23:59:59Z", false),
            (false, "Queued", "2025-01-01T00:00:00Z", true),
            (false, "Cancelled", "2026-01-01T23:59:59Z", false),
        ] {
            let is = is_current(&task(external, phase, modified), STALE, now);
            assert_eq!(is, current, "{external} {phase} {modified}");
        }
    }
}
