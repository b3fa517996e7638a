//! Tasks in the words of the second API. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    super::{
        ids::JobId,
        map::{modified_at, processor, started_at, text, title},
        report::filled,
    },
    wire::{NewStatus, Specification, State, Status, Task},
};
use crate::{
    crd::{self, EndPhase, Phase, Progress},
    facade::{reports::News, state::phase},
};

/// Annotation of a Task that came through this API: what no other door gives it.
const ANNOTATION: &str = "ucloud.errand.dev/task";

/// What a Task remembers of how it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Extras {
    /// Its owner may stop it.
    pub can_cancel: bool,
    /// Name of a picture.
    pub icon: Option<String>,
    /// How far it had come, in words.
    pub progress: Option<String>,
}

impl Extras {
    /// As an annotation.
    ///
    /// # Errors
    /// None that JSON of texts can meet.
    pub fn annotations(&self) -> serde_json::Result<BTreeMap<String, String>> {
        Ok(BTreeMap::from([(
            ANNOTATION.to_owned(),
            serde_json::to_string(self)?,
        )]))
    }

    /// Nothing, where anybody has spoilt the annotation.
    fn of(task: &crd::Task) -> Self {
        let annotations = task.metadata.annotations.as_ref();
        let kept = annotations.and_then(|all| all.get(ANNOTATION));
        kept.and_then(|kept| serde_json::from_str(kept).ok())
            .unwrap_or_default()
    }
}

/// True for a Task that its owner may stop. Whatever runs in a pod can be stopped.
pub fn can_cancel(task: &crd::Task) -> bool {
    task.spec.external.is_none() || Extras::of(task).can_cancel
}

fn state(phase: Phase) -> State {
    match phase {
        Phase::Queued | Phase::Pending => State::InQueue,
        Phase::Running => State::Running,
        Phase::Succeeded => State::Success,
        Phase::Failed => State::Failure,
        Phase::Cancelled => State::Cancelled,
    }
}

/// The phase that a final state is.
pub fn end(state: State) -> Option<EndPhase> {
    match state {
        State::Success => Some(EndPhase::Succeeded),
        State::Failure => Some(EndPhase::Failed),
        State::Cancelled => Some(EndPhase::Cancelled),
        State::InQueue | State::Suspended | State::Running => None,
    }
}

/// The number of a Task; 0 for an object without a uid, which no API server has.
pub fn task_id(task: &crd::Task) -> i64 {
    JobId::of(&task.metadata).map_or(0, JobId::number)
}

/// A Task as it is.
pub fn shown(task: &crd::Task) -> Task {
    let extras = Extras::of(task);
    let progress = task.status.as_ref().and_then(|status| status.progress.as_ref());
    let words = progress.and_then(|progress| progress.title.clone());
    Task {
        task_id: task_id(task),
        created_at: started_at(task),
        modified_at: modified_at(task),
        created_by: task.spec.owner.clone().unwrap_or_default(),
        provider: processor(task),
        status: Status {
            state: state(phase(task)),
            title: title(task),
            body: text(task),
            progress: words.or(extras.progress),
            progress_percentage: progress
                .and_then(|progress| progress.percent)
                .map_or(-1.0, f64::from),
        },
        specification: Specification {
            can_pause: false,
            can_cancel: can_cancel(task),
        },
        icon: extras.icon,
    }
}

/// A new status as news of the Task.
pub fn news(status: &NewStatus) -> News {
    let progress = Progress {
        percent: status.progress_percentage.and_then(percent),
        title: filled(status.progress.clone()),
        message: filled(status.body.clone()),
        ..Progress::default()
    };
    News {
        title: filled(status.title.clone()),
        progress: Some(progress).filter(|progress| *progress != Progress::default()),
        ..News::default()
    }
}

/// Rounded down; nothing where it is not known.
fn percent(percentage: f64) -> Option<u8> {
    let whole = percentage.floor().min(100.0);
    (0..=100).rev().find(|percent| f64::from(*percent) <= whole)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn task(spec: Value, status: Value, annotation: Option<&str>) -> crd::Task {
        let annotations = annotation.map(|text| json!({ANNOTATION: text}));
        serde_json::from_value(json!({
            "apiVersion": crd::API_VERSION, "kind": "Task", "spec": spec, "status": status,
            "metadata": {"name": "b06f51d2-88af-487c-bb4c-4cc156cf24fd", "creationTimestamp": "2026-01-01T00:00:00Z",
                "annotations": annotations},
        }))
        .unwrap()
    }

    #[test]
    fn a_task_of_a_service_shows_how_it_was_made_and_what_was_reported() {
        let extras = Extras {
            can_cancel: true,
            icon: Some("heroTrash".into()),
            progress: Some("0 of 9".into()),
        };
        let annotation = extras.annotations().unwrap()[ANNOTATION].clone();
        let spec =
            json!({"external": {"processor": "svc"}, "owner": "ann", "title": "Copy", "description": "Soon"});
        let made = task(spec.clone(), json!({"phase": "Queued"}), Some(&annotation));
        assert_eq!(
            serde_json::to_value(shown(&made)).unwrap(),
            json!({
                "taskId": 0xb_06f5_1d28_8af8i64, "createdAt": 1_767_225_600_000i64, "modifiedAt": 1_767_225_600_000i64,
                "createdBy": "ann", "provider": "svc",
                "status": {"state": "IN_QUEUE", "title": "Copy", "body": "Soon", "progress": "0 of 9", "progressPercentage": -1.0},
                "specification": {"canPause": false, "canCancel": true}, "icon": "heroTrash",
            })
        );
        let reported = json!({"phase": "Running", "title": "Move", "modifiedAt": "2026-01-01T00:00:01.5Z",
            "message": "the work is done and reported by svc", "progress": {"percent": 33, "title": "3 of 9", "message": "Now"}});
        let shown = serde_json::to_value(shown(&task(spec, reported, Some("{")))).unwrap();
        assert_eq!(
            (
                &shown["status"],
                &shown["modifiedAt"],
                &shown["specification"]["canCancel"]
            ),
            (
                &json!({"state": "RUNNING", "title": "Move", "body": "Now", "progress": "3 of 9", "progressPercentage": 33.0}),
                &json!(1_767_225_601_500i64),
                &json!(false)
            )
        );
    }

    #[test]
    fn a_task_in_a_pod_can_be_stopped_and_shows_its_phase() {
        let spec = json!({"functionRef": {"name": "thumbnail"}});
        for (status, state, body) in [
            (json!({}), "IN_QUEUE", json!("Queued")),
            (
                json!({"phase": "Pending", "message": "the image is pulled"}),
                "IN_QUEUE",
                json!("the image is pulled"),
            ),
            (json!({"phase": "Running"}), "RUNNING", json!("Running")),
            (json!({"phase": "Succeeded"}), "SUCCESS", json!("Succeeded")),
            (
                json!({"phase": "Failed", "message": "exit code 3"}),
                "FAILURE",
                json!("exit code 3"),
            ),
            (
                json!({"phase": "Cancelled", "message": "stopped"}),
                "CANCELLED",
                json!("stopped"),
            ),
        ] {
            let shown = serde_json::to_value(shown(&task(spec.clone(), status, None))).unwrap();
            let seen = (
                shown["status"]["state"].as_str().unwrap(),
                &shown["status"]["body"],
                &shown["status"]["title"],
                &shown["provider"],
                &shown["createdBy"],
                &shown["specification"]["canCancel"],
            );
            assert_eq!(
                seen,
                (
                    state,
                    &body,
                    &json!("thumbnail"),
                    &json!("errand"),
                    &json!(""),
                    &json!(true)
                )
            );
        }
    }

    #[test]
    fn percentages_lose_their_fraction_and_what_is_not_known_stays_as_it_was() {
        for (sent, kept) in [
            (0.0, Some(0)),
            (37.9, Some(37)),
            (100.0, Some(100)),
            (1e300, Some(100)),
            (-0.1, None),
            (-1e300, None),
        ] {
            assert_eq!(percent(sent), kept, "{sent}");
        }
        assert_eq!(news(&NewStatus::default()), News::default());
    }
}
