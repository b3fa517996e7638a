//! Tasks that are made by themselves.

use errand::crd::{LABEL_SCHEDULE, Schedule, Task};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::{ResourceExt as _, api::ListParams};

use crate::support::{Space, in_space, tools};

#[tokio::test]
async fn a_schedule_whose_moment_has_come_makes_its_task_once() {
    in_space("schedule", |space: Space| async move {
        let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
        let at = now - SignedDuration::from_secs(1);
        let function = format!(
            "{{container: {{image: {}, command: [sh, -c, echo done]}}}}",
            tools()
        );
        space.apply(&format!(
            "apiVersion: errand.dev/v1alpha1\nkind: Schedule\nmetadata: {{name: once}}\n\
             spec: {{startAt: '{at}', template: {{spec: {{function: {function}}}}}}}\n",
        ));
        let labels = ListParams::default().labels(&format!("{LABEL_SCHEDULE}=once"));
        let made = || async { space.api::<Task>().list(&labels).await.unwrap().items };
        let task = space
            .poll("the Task", || async {
                made().await.first().map(|task| task.name_any())
            })
            .await;
        let status = space.succeeded(&task).await;
        assert_eq!(status.result.unwrap().body.as_deref(), Some("done\n"));
        let schedule: Schedule = space.api().get("once").await.unwrap();
        let status = schedule.status.unwrap();
        assert_eq!((status.created, status.last_schedule_time), (Some(1), Some(at)));
        assert_eq!(made().await.len(), 1);
    })
    .await;
}
