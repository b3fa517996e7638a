//! The Task of a moment. Pure.

use k8s_openapi::jiff::Timestamp;
use kube::{Resource as _, ResourceExt as _};
use sha2::{Digest as _, Sha256};

use crate::{
    crd::{ANNOTATION_SCHEDULED, LABEL_SCHEDULE, Schedule, Task},
    engine::pod::{cut, label_value},
};

/// Longest name of an object (apimachinery, `DNS1123SubdomainMaxLength`).
const MAX_NAME: usize = 253;

/// Name of the Task of a moment: the same for the same Schedule and moment, and another for any other.
pub fn name(schedule: &Schedule, moment: Timestamp) -> String {
    let digest = Sha256::digest(schedule.uid().unwrap_or_default().as_bytes());
    let mark: String = digest.iter().take(3).map(|byte| format!("{byte:02x}")).collect();
    let suffix = format!("-{}-{mark}", moment.as_second());
    format!("{}{suffix}", cut(&schedule.name_any(), MAX_NAME - suffix.len()))
}

/// The Task of a moment.
pub fn task(schedule: &Schedule, moment: Timestamp) -> Task {
    let template = &schedule.spec.template;
    let mut task = Task::new(&name(schedule, moment), template.spec.clone());
    let more = template.metadata.clone().unwrap_or_default();
    task.metadata.namespace = schedule.namespace();
    // Without blockOwnerDeletion, which would need a right to schedules/finalizers.
    task.metadata.owner_references = schedule.controller_owner_ref(&()).map(|owner| vec![owner]);
    *task.labels_mut() = more.labels;
    *task.annotations_mut() = more.annotations;
    let name = label_value(&schedule.name_any());
    task.labels_mut().insert(LABEL_SCHEDULE.to_owned(), name);
    let moment = moment.to_string();
    task.annotations_mut()
        .insert(ANNOTATION_SCHEDULED.to_owned(), moment);
    task
}

/// True for a Task that this Schedule made.
pub fn is_of(task: &Task, schedule: &Schedule) -> bool {
    let uid = schedule.uid();
    task.namespace() == schedule.namespace()
        && task
            .owner_references()
            .iter()
            .any(|owner| Some(&owner.uid) == uid.as_ref())
}

/// Name of the Schedule that made a Task.
pub fn maker(task: &Task) -> Option<&str> {
    let owner = task.metadata.owner_references.iter().flatten();
    let kind = Schedule::kind(&());
    owner
        .filter(|owner| owner.kind == kind && owner.controller == Some(true))
        .map(|owner| owner.name.as_str())
        .next()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn schedule(name: &str, uid: &str) -> Schedule {
        serde_json::from_value(json!({
            "apiVersion": "errand.dev/v1alpha1", "kind": "Schedule",
            "metadata": {"name": name, "namespace": "n", "uid": uid},
            "spec": {"schedule": "* * * * *", "template": {
                "metadata": {"labels": {"team": "a"}, "annotations": {"why": "b"}},
                "spec": {"functionRef": {"name": "f"}, "owner": "ann"},
            }},
        }))
        .unwrap()
    }

    fn moment(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_task_of_a_moment_is_the_template_with_a_name_of_its_own() {
        let (tick, at) = (schedule("tick", "u"), moment("2026-01-01T00:01:00Z"));
        let made = serde_json::to_value(task(&tick, at)).unwrap();
        let name = format!("tick-1767225660-{}", &format!("{:x}", Sha256::digest("u"))[..6]);
        let expected: Value = json!({
            "apiVersion": "errand.dev/v1alpha1", "kind": "Task",
            "metadata": {
                "name": name, "namespace": "n",
                "labels": {"team": "a", "errand.dev/schedule": "tick"},
                "annotations": {"why": "b", "errand.dev/scheduled-at": "2026-01-01T00:01:00Z"},
                "ownerReferences": [{"apiVersion": "errand.dev/v1alpha1", "kind": "Schedule", "name": "tick",
                    "uid": "u", "controller": true}],
            },
            "spec": {"functionRef": {"name": "f"}, "owner": "ann"},
        });
        assert_eq!(made, expected);
        let made = task(&tick, at);
        assert!(is_of(&made, &tick) && !is_of(&made, &schedule("tick", "other")));
        assert_eq!(
            (maker(&made), maker(&Task::new("t", made.spec.clone()))),
            (Some("tick"), None)
        );
    }

    #[test]
    fn names_differ_by_schedule_and_moment_and_are_never_too_long() {
        let at = moment("2026-01-01T00:01:00Z");
        let long = "x".repeat(253);
        let names = [
            name(&schedule("tick", "u"), at),
            name(&schedule("tick", "v"), at),
            name(&schedule("tick", "u"), moment("2026-01-01T00:02:00Z")),
            name(&schedule(&long, "u"), at),
            name(&schedule(&long, "v"), at),
        ];
        let different: std::collections::BTreeSet<&String> = names.iter().collect();
        assert_eq!(different.len(), names.len(), "{names:?}");
        assert!(names.iter().all(|name| name.len() <= MAX_NAME));
    }
}
