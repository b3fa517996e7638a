//! Tasks whose work a service does and reports: no pod, and the engine only keeps their time limit.

use std::collections::BTreeMap;

use super::{
    find,
    ids::JobId,
    map::shown,
    roles::Principal,
    second,
    wire::{CreateRequest, FindById, PostStatusRequest, Task, TaskUpdate, Unit},
};
use crate::{
    crd::{self, Duration, EndPhase, External, Progress, ReportedEnd, TaskSpec, change::cut},
    facade::{
        access::{Resource, Verb},
        refusal::Refusal,
        reports::News,
        state::Facade,
    },
};

/// Bytes of a title.
const TITLE: usize = 1024;
/// Bytes of a first status.
const STATUS: usize = 4096;
/// A Task that is never said to be over fails after 30 days, the longest that a Task can be given.
const LIMIT: Duration = Duration::from_secs(30 * 24 * 3600);

/// A Task to be made.
#[derive(Debug, Default)]
pub struct Made {
    /// Whom it belongs to.
    pub owner: String,
    /// What it is called.
    pub title: Option<String>,
    /// What is being done.
    pub status: Option<String>,
    /// What else it is to remember.
    pub annotations: Option<BTreeMap<String, String>>,
}

/// Makes a Task for a user, in the namespace of whoever does its work.
///
/// # Errors
/// The principal may not; the API server refuses or does not answer.
pub async fn make(
    facade: &Facade,
    principal: &Principal,
    id: JobId,
    made: Made,
) -> Result<crd::Task, Refusal> {
    let (caller, home) = (&principal.caller, &principal.home);
    facade
        .authorize(caller, Verb::Create, Resource::Tasks, home, None)
        .await?;
    let spec = TaskSpec {
        external: Some(External {
            processor: caller.user.clone(),
        }),
        title: made.title.map(|title| cut(&title, TITLE).to_owned()),
        description: made.status.map(|status| cut(&status, STATUS).to_owned()),
        owner: Some(made.owner),
        timeout: Some(LIMIT),
        ..TaskSpec::default()
    };
    let mut task = crd::Task::new(&id.to_string(), spec);
    task.metadata.namespace = Some(home.clone());
    task.metadata.annotations = made.annotations;
    let task = facade.objects.create(&task).await?;
    facade.views.tasks.seen(&task).await;
    Ok(task)
}

/// `task.create`
///
/// # Errors
/// As [`make`].
pub async fn create(facade: &Facade, principal: &Principal, request: CreateRequest) -> Result<Task, Refusal> {
    let made = Made {
        owner: request.owner,
        title: Some(request.title),
        status: request.initial_status,
        ..Made::default()
    };
    let task = make(facade, principal, JobId::new(), made).await?;
    Ok(shown(&task))
}

/// `task.postStatus` and `tasks.postStatus`. What is said of a Task that is over changes nothing.
///
/// # Errors
/// There is no such Task of the principal's; the API server refuses or does not answer.
pub async fn post_status(
    facade: &Facade,
    principal: &Principal,
    request: PostStatusRequest,
) -> Result<Unit, Refusal> {
    match request {
        PostStatusRequest::First { update } => {
            let id = super::wire::TaskId::Job(update.job_id.clone());
            let task = find::reportable(facade, principal, &id).await?;
            unless_over(facade.reports.news(&task, &news(update)).await)
        }
        PostStatusRequest::Second { update } => second::post_status(facade, principal, update).await,
    }
}

/// `task.markAsComplete` and `tasks.markAsComplete`. A Task that is over stays as it is.
///
/// # Errors
/// There is no such Task of the principal's; the API server refuses or does not answer.
pub async fn mark_as_complete(
    facade: &Facade,
    principal: &Principal,
    request: FindById,
) -> Result<Unit, Refusal> {
    let task = find::reportable(facade, principal, &request.id).await?;
    let end = ReportedEnd {
        phase: EndPhase::Succeeded,
        message: None,
        result: None,
    };
    unless_over(facade.reports.end(&task, &end).await)
}

/// Who reports on a Task that is over meanwhile has done nothing wrong.
pub fn unless_over(outcome: Result<(), Refusal>) -> Result<Unit, Refusal> {
    match outcome {
        Ok(()) | Err(Refusal::Conflict(_)) => Ok(Unit {}),
        Err(other) => Err(other),
    }
}

/// An update as news of the Task. Empty texts say nothing: the web client passes over them too.
fn news(update: TaskUpdate) -> News {
    let status = filled(update.new_status);
    let steps = update.progress;
    let progress = (status.is_some() || steps.is_some()).then(|| Progress {
        title: steps.as_ref().map(|steps| steps.title.clone()),
        current: steps.as_ref().map(|steps| i64::from(steps.current)),
        maximum: steps.as_ref().map(|steps| i64::from(steps.maximum)),
        message: status,
        percent: None,
    });
    News {
        title: filled(update.new_title),
        progress,
        speeds: update.speeds,
        message: update.message_to_append,
    }
}

/// A text that is there and not empty.
pub fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_update_says_only_what_it_holds() {
        let of = |update: serde_json::Value| news(serde_json::from_value(update).unwrap());
        let nothing = json!({"jobId": "J", "newTitle": "", "newStatus": "", "complete": true});
        assert_eq!(of(nothing), News::default());
        let all = json!({"jobId": "J", "newTitle": "t", "newStatus": "s", "messageToAppend": "m",
            "progress": {"title": "p", "current": 1, "maximum": 2},
            "speeds": [{"title": "a", "speed": 1.5, "unit": "b", "asText": "c"}]});
        let want = News {
            title: Some("t".into()),
            progress: Some(Progress {
                percent: None,
                title: Some("p".into()),
                current: Some(1),
                maximum: Some(2),
                message: Some("s".into()),
            }),
            speeds: vec![crd::Speed {
                title: "a".into(),
                speed: 1.5,
                unit: "b".into(),
                as_text: "c".into(),
            }],
            message: Some("m".into()),
        };
        assert_eq!(of(all), want);
    }

    #[test]
    fn only_the_end_of_a_task_excuses_a_report_that_comes_too_late() {
        assert!(unless_over(Err(Refusal::Conflict("over".into()))).is_ok());
        let gone = Refusal::NotFound("gone".into());
        assert_eq!(unless_over(Err(gone.clone())).unwrap_err(), gone);
    }
}
