//! What may be large in a Task, and what caches leave out.

use super::{MAX_RESULT_FILE_BYTES, Task};

/// Drops bodies, headers, the tree of actions with their files and the log from a Task that is kept in memory; their sizes stay.
pub fn drop_bulk(task: &mut Task) {
    task.metadata.managed_fields = None;
    if let Some(annotations) = &mut task.metadata.annotations {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
    if let Some(input) = &mut task.spec.input {
        input.body = None;
        input.body_base64 = None;
        input.headers.clear();
    }
    if let Some(actions) = &mut task.spec.actions {
        actions.action.clear();
        if let Some(files) = &mut actions.files {
            files.contents.clear();
        }
    }
    let Some(status) = &mut task.status else {
        return;
    };
    if let Some(logs) = &mut status.logs {
        logs.tail = String::new();
    }
    let reported = status.reported_end.as_mut().and_then(|end| end.result.as_mut());
    for result in status.result.as_mut().into_iter().chain(reported) {
        result.body = None;
        result.body_base64 = None;
        result.headers.clear();
    }
}

/// The same for a Task that was just deleted, of which nobody can ask any more: a result stays that is no larger than what
/// actions may leave.
pub fn drop_bulk_of_deleted(task: &mut Task) {
    let result = task.status.as_mut().and_then(|status| status.result.as_mut());
    let body = result.map(|result| (result.body.take(), result.body_base64.take()));
    drop_bulk(task);
    let length = |body: &Option<String>| body.as_ref().map_or(0, String::len);
    let most = usize::try_from(MAX_RESULT_FILE_BYTES).unwrap_or_default();
    let small = body.filter(|(text, bytes)| length(text) <= most && length(bytes) / 4 * 3 <= most);
    let result = task.status.as_mut().and_then(|status| status.result.as_mut());
    if let (Some(result), Some((text, bytes))) = (result, small) {
        result.body = text;
        result.body_base64 = bytes;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_a_deleted_task_a_small_result_is_known() {
        let left = |body: &str| {
            let result = json!({"status": 200, "sizeBytes": body.len(), "truncated": false, "body": body});
            let logs = json!({"tail": "log", "sizeBytes": 3, "truncated": false});
            let mut task: Task = serde_json::from_value(json!({
                "metadata": {"name": "t"}, "spec": {"functionRef": {"name": "f"}, "input": {"body": "in"}},
                "status": {"phase": "Succeeded", "result": result, "logs": logs},
            }))
            .unwrap();
            drop_bulk_of_deleted(&mut task);
            let status = task.status.unwrap();
            assert_eq!(
                (task.spec.input.unwrap().body, status.logs.unwrap().tail),
                (None, String::new())
            );
            status.result.unwrap().body
        };
        assert_eq!(left("42"), Some("42".to_owned()));
        let (most, more) = ("x".repeat(51_200), "x".repeat(51_201));
        assert_eq!((left(&most), left(&more)), (Some(most.clone()), None));
    }
}
