//! `/v1/endpoint`: opening functions to callers without a token.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    counts::count,
    failure::Failure,
    find,
    ids::{Id, function_id},
    public::{self, LABEL_ENDPOINT},
    settings::{self, Change, Endpoint},
    wire::{Created, OrEmpty, Refused},
};
use crate::{
    crd::Function,
    facade::{
        access::{Caller, Resource, Verb},
        edits::edit,
        extract::{Asker, PathOf, QueryOf},
        refusal::Refusal,
        state::Facade,
        views::{Facet, Key},
    },
};

/// Endpoints on a page where the client names no number, and at most.
const PAGE: usize = 100;

/// An endpoint.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = GreenCloudEndpoint)]
pub struct Shown {
    /// The function that it calls.
    function_id: String,
    /// Text for people.
    description: String,
    /// Words to find it by.
    tags: Vec<String>,
    /// Calls that it takes in a day; -1 for any number.
    daily_limit: i64,
    /// Sites whose scripts may call it; none for any caller.
    origin: Vec<String>,
    /// Always empty.
    ip: Vec<String>,
    /// Always empty.
    time_limit: TimeLimit,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

/// Always empty.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = GreenCloudTimeLimit)]
pub struct TimeLimit {
    from: &'static str,
    to: &'static str,
    timezone: &'static str,
}

/// An endpoint in a list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = GreenCloudEndpointSummary)]
pub struct Summary {
    id: String,
    description: String,
    tags: Vec<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

/// Endpoints, the newest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GreenCloudEndpoints)]
pub struct Summaries {
    results: Vec<Summary>,
}

/// How often an endpoint was called, in tasks that still exist.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = GreenCloudEndpointMetrics)]
pub struct Metrics {
    /// Since midnight UTC.
    today_tasks: usize,
    /// Not over.
    pending_tasks: usize,
    /// In the last seven days.
    week_tasks: usize,
}

/// What a list is narrowed to.
#[derive(Debug, Default, Deserialize, IntoParams, ToSchema)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
#[schema(as = GreenCloudNarrow)]
pub struct Narrow {
    /// Page, counted from 1.
    #[param(minimum = 1)]
    page: Option<usize>,
    /// Endpoints on a page.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<usize>,
    /// Only those of this function.
    function_id: Option<String>,
}

/// Opens a function to callers without a token
#[utoipa::path(
    post, path = "/v1/endpoint/{id}", tag = "greencloud", operation_id = "greencloudCreateEndpoint",
    params(("id" = String, Path, description = "Function")),
    request_body = Option<Change>,
    responses((status = 201, description = "It is open", body = Created), Refused),
    security(("token" = [])),
)]
pub async fn create(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf(function): PathOf<String>,
    OrEmpty(change): OrEmpty<Change>,
) -> Result<(StatusCode, Json<Created>), Failure> {
    let namespace = facade.access.home(&caller).await?;
    // Who opens a function makes tasks through others.
    facade
        .authorize(&caller, Verb::Create, Resource::Tasks, &namespace, None)
        .await?;
    facade
        .authorize(&caller, Verb::Update, Resource::Functions, &namespace, None)
        .await?;
    let function = find::function(&facade, &namespace, &function).await?;
    let now = Timestamp::now();
    let mut endpoint = Endpoint::new(&caller.user, now);
    endpoint.change(change).map_err(Refusal::Forbidden)?;
    let id = Id::new(now);
    let written = edit::<Failure, Function>(&facade, Key::of(function.as_ref()), |function| {
        Ok(settings::write(function, id.as_str(), &endpoint)?)
    });
    facade.views.functions.seen(&written.await?).await;
    Ok((StatusCode::CREATED, Json(Created { id })))
}

/// Changes an endpoint
#[utoipa::path(
    patch, path = "/v1/endpoint/{id}", tag = "greencloud", operation_id = "greencloudEditEndpoint",
    params(("id" = String, Path, description = "Endpoint")),
    request_body = Option<Change>,
    responses((status = 204, description = "It is changed"), Refused),
    security(("token" = [])),
)]
pub async fn change(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf(id): PathOf<String>,
    OrEmpty(change): OrEmpty<Change>,
) -> Result<StatusCode, Failure> {
    let (function, _) = known(&facade, &caller, Verb::Update, &id).await?;
    let written = edit::<Failure, Function>(&facade, Key::of(function.as_ref()), |function| {
        let mut endpoint = settings::read(function, &id).ok_or_else(|| none(&id))?;
        endpoint.change(change.clone()).map_err(Refusal::Forbidden)?;
        Ok(settings::write(function, &id, &endpoint)?)
    });
    facade.views.functions.seen(&written.await?).await;
    Ok(StatusCode::NO_CONTENT)
}

/// Closes an endpoint
///
/// Tasks that came through it stay.
#[utoipa::path(
    delete, path = "/v1/endpoint/{id}", tag = "greencloud", operation_id = "greencloudDeleteEndpoint",
    params(("id" = String, Path, description = "Endpoint")),
    responses((status = 204, description = "It is closed"), Refused),
    security(("token" = [])),
)]
pub async fn delete(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf(id): PathOf<String>,
) -> Result<StatusCode, Failure> {
    let (function, _) = known(&facade, &caller, Verb::Update, &id).await?;
    let written = edit::<Failure, Function>(&facade, Key::of(function.as_ref()), |function| {
        if settings::remove(function, &id) {
            Ok(())
        } else {
            Err(none(&id).into())
        }
    });
    facade.views.functions.seen(&written.await?).await;
    Ok(StatusCode::NO_CONTENT)
}

/// One endpoint
#[utoipa::path(
    get, path = "/v1/endpoint/{id}", tag = "greencloud", operation_id = "greencloudGetEndpoint",
    params(("id" = String, Path, description = "Endpoint")),
    responses((status = 200, description = "The endpoint", body = Shown), Refused),
    security(("token" = [])),
)]
pub async fn get(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf(id): PathOf<String>,
) -> Result<Json<Shown>, Failure> {
    let (function, endpoint) = known(&facade, &caller, Verb::Get, &id).await?;
    Ok(Json(Shown {
        function_id: function_id(&function.metadata),
        description: endpoint.description,
        tags: endpoint.tags,
        daily_limit: endpoint.daily_limit,
        origin: endpoint.origin,
        ip: Vec::new(),
        time_limit: TimeLimit::default(),
        created_at: endpoint.created_at,
    }))
}

/// How often an endpoint was called
#[utoipa::path(
    get, path = "/v1/endpoint/{id}/metrics", tag = "greencloud", operation_id = "greencloudGetEndpointMetrics",
    params(("id" = String, Path, description = "Endpoint")),
    responses((status = 200, description = "Numbers of tasks", body = Metrics), Refused),
    security(("token" = [])),
)]
pub async fn metrics(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf(id): PathOf<String>,
) -> Result<Json<Metrics>, Failure> {
    let (function, _) = known(&facade, &caller, Verb::Get, &id).await?;
    let tasks = facade
        .views
        .tasks
        .by_facet(&Facet::Function(Key::of(function.as_ref())));
    let through = tasks
        .iter()
        .filter(|task| task.labels().get(LABEL_ENDPOINT) == Some(&id));
    let counts = count(through, Timestamp::now());
    Ok(Json(Metrics {
        today_tasks: counts.today,
        pending_tasks: counts.pending,
        week_tasks: counts.week,
    }))
}

/// Endpoints of the caller's functions
///
/// The newest first. What is asked for may stand in the query or in a body.
#[utoipa::path(
    get, path = "/v1/endpoint/list", tag = "greencloud", operation_id = "greencloudListEndpoints",
    params(Narrow),
    responses((status = 200, description = "The endpoints", body = Summaries), Refused),
    security(("token" = [])),
)]
pub async fn list(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    QueryOf(query): QueryOf<Narrow>,
    OrEmpty(body): OrEmpty<Narrow>,
) -> Result<Json<Summaries>, Failure> {
    let namespace = facade.access.home(&caller).await?;
    facade
        .authorize(&caller, Verb::List, Resource::Functions, &namespace, None)
        .await?;
    let limit = query.limit.or(body.limit).unwrap_or(PAGE);
    let page = query.page.or(body.page).unwrap_or(1);
    if page == 0 || !(1..=PAGE).contains(&limit) {
        return Err(Refusal::Invalid(format!("page counts from 1, and limit is 1 to {PAGE}")).into());
    }
    let functions = match query.function_id.or(body.function_id) {
        Some(id) => vec![find::function(&facade, &namespace, &id).await?],
        None => facade.views.functions.by_facet(&Facet::Namespace(namespace)),
    };
    let mut found: Vec<_> = functions
        .iter()
        .flat_map(|function| settings::all(function))
        .collect();
    found.sort_by(|(a, _), (b, _)| b.cmp(a));
    let shown = found.into_iter().skip(limit.saturating_mul(page - 1)).take(limit);
    let results = shown.map(|(id, endpoint)| Summary {
        id,
        description: endpoint.description,
        tags: endpoint.tags,
        created_at: endpoint.created_at,
    });
    Ok(Json(Summaries {
        results: results.collect(),
    }))
}

/// The endpoint of the caller's with this id, if they may do this to its Function.
async fn known(
    facade: &Facade,
    caller: &Caller,
    verb: Verb,
    id: &str,
) -> Result<(Arc<Function>, Endpoint), Failure> {
    let namespace = facade.access.home(caller).await?;
    facade
        .authorize(caller, verb, Resource::Functions, &namespace, None)
        .await?;
    let mut found = public::endpoints(facade, id).into_iter();
    let own = found.find(|(function, _)| function.namespace().as_ref() == Some(&namespace));
    own.ok_or_else(|| none(id).into())
}

fn none(id: &str) -> Refusal {
    Refusal::NotFound(format!("there is no endpoint {id}"))
}
