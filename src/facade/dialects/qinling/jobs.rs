//! `/v1/jobs`: functions that run by themselves. Each is a Schedule, which the controller looks after; nothing is timed
//! here.

use std::{collections::BTreeMap, time::Duration};

use axum::{Json, extract::State, http::StatusCode};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    change::changed,
    failure::Refused,
    fields::{self, Fields},
    filters::Filters,
    find,
    job::{self, Change, Shown, Times, Work},
    package::is_image,
    scope::{home, listed},
    target::{Target, resolve},
    uses,
};
use crate::{
    crd::{Function, FunctionRef, Schedule},
    facade::{
        access::{Resource, Verb},
        edits::edit,
        extract::{Asker, PathOf, Payload, QueryOf},
        refusal::Refusal,
        state::Facade,
        views::Key,
    },
};

/// How long an answer waits for the controller to have seen a Schedule, so that it tells the next time.
const SETTLED: Duration = Duration::from_secs(2);

/// Who makes a job makes executions.
const RIGHTS: [(Verb, Resource); 2] = [
    (Verb::Create, Resource::Tasks),
    (Verb::Create, Resource::Schedules),
];

const KNOWN: [&str; 11] = [
    "id",
    "name",
    "function_id",
    "function_alias",
    "function_version",
    "function_input",
    "status",
    "pattern",
    "count",
    "first_execution_time",
    "next_execution_time",
];
const READ_ONLY: [&str; 3] = ["project_id", "created_at", "updated_at"];

/// Jobs, the oldest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QinlingJobs)]
pub struct Jobs {
    /// The jobs.
    jobs: Vec<Shown>,
}

fn show(facade: &Facade, schedule: &Schedule) -> Shown {
    let function = schedule.spec.template.spec.function_ref.as_ref();
    let namespace = schedule.namespace().unwrap_or_default();
    let function = function.and_then(|function| find::id_of(facade, namespace, function));
    job::shown(schedule, function)
}

/// The Schedule once the controller has seen it, or as it was written.
async fn settled(facade: &Facade, written: Schedule) -> Schedule {
    let mut follower = facade.views.schedules.follow(&Key::of(&written));
    let generation = written.metadata.generation;
    let seen = follower.wait_for(|known| {
        let status = known.as_ref().and_then(|known| known.status.as_ref());
        status.is_some_and(|status| status.observed_generation >= generation)
    });
    match tokio::time::timeout(SETTLED, seen).await {
        Ok(Ok(known)) => known.as_deref().cloned().unwrap_or(written),
        _ => written,
    }
}

/// Makes a job
///
/// Fields: `function_id` or `function_alias`, `function_version`, `function_input`, `name`, `pattern` (a cron expression
/// in UTC), `first_execution_time` (at least a minute ahead) and `count`. Without `pattern` it runs once.
#[utoipa::path(
    post, path = "/v1/jobs", tag = "qinling", operation_id = "qinlingCreateJob",
    request_body(content = serde_json::Value, description = "The job"),
    responses((status = 201, description = "The job", body = Shown), Refused),
    security(("token" = [])),
)]
pub async fn create(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    Payload(body): Payload,
) -> Result<(StatusCode, Json<Shown>), Refusal> {
    let fields = Fields::read(&body, &KNOWN, &READ_ONLY)?;
    let target = Target::read(&fields)?;
    let times = Times::read(&fields, Timestamp::now())?;
    let (name, input) = (fields.short_text("name", 256)?, fields.text("function_input")?);
    let namespace = home(&facade, &caller, &RIGHTS).await?;
    let (function, version) = resolve(&facade, &namespace, &target).await?;
    let work = Work {
        name,
        alias: target.alias().map(str::to_owned),
        function: reference(function.name_any(), version),
        input,
        words: is_image(&function),
        owner: caller.user.clone(),
    };
    let id = Uuid::new_v4().to_string();
    let made = facade
        .objects
        .create(&job::schedule(&id, &namespace, times, work))
        .await?;
    let made = settled(&facade, made).await;
    Ok((StatusCode::CREATED, Json(show(&facade, &made))))
}

fn reference(name: String, version: i64) -> FunctionRef {
    FunctionRef {
        name,
        version: (version > 0).then_some(version),
    }
}

/// Jobs
#[utoipa::path(
    get, path = "/v1/jobs", tag = "qinling", operation_id = "qinlingListJobs",
    params(
        ("project_id" = Option<String>, Query),
        ("all_projects" = Option<String>, Query, description = "true: of every namespace"),
    ),
    responses((status = 200, description = "The jobs", body = Jobs), Refused),
    security(("token" = [])),
)]
pub async fn list(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    QueryOf(query): QueryOf<BTreeMap<String, String>>,
) -> Result<Json<Jobs>, Refusal> {
    let filters = Filters::read(query, &["project_id"])?;
    let view = (&facade.views.schedules, Resource::Schedules);
    let seen = listed(&facade, &caller, view, &filters).await?;
    let shown = seen.iter().map(|schedule| show(&facade, schedule));
    let mut jobs: Vec<Shown> = shown
        .filter(|job| filters.admit_project(&job.project_id))
        .collect();
    jobs.sort_by(|a, b| (&a.created_at, &a.id).cmp(&(&b.created_at, &b.id)));
    Ok(Json(Jobs { jobs }))
}

/// One job
#[utoipa::path(
    get, path = "/v1/jobs/{id}", tag = "qinling", operation_id = "qinlingGetJob",
    params(("id" = String, Path, description = "Job")),
    responses((status = 200, description = "The job", body = Shown), Refused),
    security(("token" = [])),
)]
pub async fn get(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf(id): PathOf<String>,
) -> Result<Json<Shown>, Refusal> {
    let id = fields::id("id", &id)?;
    let schedule = find::schedule(&facade, &caller, Verb::Get, &id).await?;
    Ok(Json(show(&facade, &schedule)))
}

/// Changes a job
///
/// `name`, `function_input`, `status` (running, paused or cancelled), `pattern` and `next_execution_time`; null leaves a
/// field as it is, and so do other fields. A job that is over is not changed.
#[utoipa::path(
    put, path = "/v1/jobs/{id}", tag = "qinling", operation_id = "qinlingUpdateJob",
    params(("id" = String, Path, description = "Job")),
    request_body(content = serde_json::Value, description = "name, function_input, status, pattern, next_execution_time"),
    responses((status = 200, description = "The job", body = Shown), Refused),
    security(("token" = [])),
)]
pub async fn change(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf(id): PathOf<String>,
    Payload(body): Payload,
) -> Result<Json<Shown>, Refusal> {
    let id = fields::id("id", &id)?;
    let fields = Fields::read(&body, &KNOWN, &READ_ONLY)?;
    let change = Change::read(&fields, Timestamp::now())?;
    let schedule = find::schedule(&facade, &caller, Verb::Update, &id).await?;
    let words = takes_words(&facade, &schedule);
    let key = Key::of(schedule.as_ref());
    let written = edit::<Refusal, Schedule>(&facade, key, |schedule| change.apply(schedule, words));
    let written = settled(&facade, written.await?).await;
    Ok(Json(show(&facade, &written)))
}

fn takes_words(facade: &Facade, schedule: &Schedule) -> bool {
    let function = schedule.spec.template.spec.function_ref.as_ref();
    let key = function.map(|function| Key::new(schedule.namespace().unwrap_or_default(), &function.name));
    let function = key.and_then(|key| facade.views.functions.get(&key));
    function.is_some_and(|function: std::sync::Arc<Function>| is_image(&function))
}

/// Deletes a job
///
/// Its executions stay.
#[utoipa::path(
    delete, path = "/v1/jobs/{id}", tag = "qinling", operation_id = "qinlingDeleteJob",
    params(("id" = String, Path, description = "Job")),
    responses((status = 204, description = "It is gone"), Refused),
    security(("token" = [])),
)]
pub async fn delete(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf(id): PathOf<String>,
) -> Result<StatusCode, Refusal> {
    let id = fields::id("id", &id)?;
    let schedule = find::schedule(&facade, &caller, Verb::Delete, &id).await?;
    let key = Key::of(schedule.as_ref());
    facade.objects.delete_alone::<Schedule>(&key).await?;
    facade.views.schedules.gone(&schedule).await;
    Ok(StatusCode::NO_CONTENT)
}

/// Has the jobs that name an alias run what it stands for now.
///
/// # Errors
/// The API server refuses or does not answer.
pub async fn follow(
    facade: &Facade,
    namespace: &str,
    alias: &str,
    function: &str,
    version: i64,
) -> Result<(), Refusal> {
    let function = reference(function.to_owned(), version);
    for schedule in uses::jobs_of_alias(facade, namespace, alias) {
        let turned = changed(facade, &facade.views.schedules, &schedule, |schedule| {
            job::turn(schedule, &function);
            Ok(())
        });
        turned.await?;
    }
    Ok(())
}
