//! What may be large in a Task, and what caches leave out.

use super::Task;

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
