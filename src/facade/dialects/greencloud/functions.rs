//! `/v1/function`: functions of the caller's namespace. Code is brought as an image; nothing is built here.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    counts::count,
    failure::Failure,
    find,
    ids::Id,
    sheet::{
        self, CapabilitiesChange, FunctionChange, FunctionDetail, FunctionNeeds, FunctionSummary, NewFunction,
    },
    wire::{Created, Refused},
};
use crate::{
    crd::Function,
    facade::{
        access::{Caller, Resource, Verb},
        edits::edit,
        extract::{Asker, JsonPayload, PathOf, QueryOf},
        refusal::Refusal,
        state::Facade,
        views::{Facet, Key},
    },
};

const NO_BUILDS: &str = "nothing is built here: put the function into an image and create it with POST /v1/function and its \"image\"";

/// What a list is narrowed to.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Narrow {
    /// Only functions with this tag.
    tag: Option<String>,
}

/// Makes a function of an image
///
/// The image answers HTTP requests on port 8080, or on the port that it is given as `PORT`.
#[utoipa::path(
    post, path = "/v1/function", tag = "greencloud", operation_id = "greencloudCreateFunction",
    request_body = NewFunction,
    responses((status = 201, description = "The function is there", body = Created), Refused),
    security(("token" = [])),
)]
pub async fn create(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    JsonPayload(new): JsonPayload<NewFunction>,
) -> Result<(StatusCode, Json<Created>), Failure> {
    let namespace = facade.access.home(&caller).await?;
    facade
        .authorize(&caller, Verb::Create, Resource::Functions, &namespace, None)
        .await?;
    let id = Id::new(Timestamp::now());
    let mut function = sheet::function(&id, new).map_err(Refusal::Invalid)?;
    function.metadata.namespace = Some(namespace);
    let written = facade.objects.create(&function).await?;
    facade.views.functions.seen(&written).await;
    Ok((StatusCode::CREATED, Json(Created { id })))
}

/// One function
#[utoipa::path(
    get, path = "/v1/function/{id}", tag = "greencloud", operation_id = "greencloudGetFunction",
    params(("id" = String, Path, description = "Function")),
    responses((status = 200, description = "The function", body = FunctionDetail), Refused),
    security(("token" = [])),
)]
pub async fn get(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf(id): PathOf<String>,
) -> Result<Json<FunctionDetail>, Failure> {
    let function = known(&facade, &caller, Verb::Get, &id).await?;
    let tasks = facade
        .views
        .tasks
        .by_facet(&Facet::Function(Key::of(function.as_ref())));
    Ok(Json(sheet::detail(&function, count(&tasks, Timestamp::now()))))
}

/// All functions
///
/// The newest first.
#[utoipa::path(
    get, path = "/v1/function/list", tag = "greencloud", operation_id = "greencloudListFunctions",
    params(Narrow),
    responses((status = 200, description = "The functions", body = Vec<FunctionSummary>), Refused),
    security(("token" = [])),
)]
pub async fn list(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    QueryOf(narrow): QueryOf<Narrow>,
) -> Result<Json<Vec<FunctionSummary>>, Failure> {
    let namespace = facade.access.home(&caller).await?;
    facade
        .authorize(&caller, Verb::List, Resource::Functions, &namespace, None)
        .await?;
    let mut functions = facade.views.functions.by_facet(&Facet::Namespace(namespace));
    functions.sort_by_key(|function| std::cmp::Reverse(function.creation_timestamp()));
    let tagged = |summary: &FunctionSummary| narrow.tag.as_ref().is_none_or(|tag| summary.is_tagged(tag));
    let summaries = functions.iter().map(|function| sheet::summary(function));
    Ok(Json(summaries.filter(tagged).collect()))
}

/// Changes name, description or tags
#[utoipa::path(
    patch, path = "/v1/function/{id}", tag = "greencloud", operation_id = "greencloudEditFunction",
    params(("id" = String, Path, description = "Function")),
    request_body = FunctionChange,
    responses((status = 204, description = "It is changed"), Refused),
    security(("token" = [])),
)]
pub async fn change(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf(id): PathOf<String>,
    JsonPayload(change): JsonPayload<FunctionChange>,
) -> Result<StatusCode, Failure> {
    update(&facade, &caller, &id, |function| {
        Ok(sheet::change(function, change.clone()).map_err(Refusal::Invalid)?)
    })
    .await
}

/// Deletes a function
///
/// Its endpoints go with it. Tasks that are over stay until their time has come.
#[utoipa::path(
    delete, path = "/v1/function/{id}", tag = "greencloud", operation_id = "greencloudDeleteFunction",
    params(("id" = String, Path, description = "Function")),
    responses((status = 204, description = "It is gone"), Refused),
    security(("token" = [])),
)]
pub async fn delete(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf(id): PathOf<String>,
) -> Result<StatusCode, Failure> {
    let function = known(&facade, &caller, Verb::Delete, &id).await?;
    facade
        .objects
        .delete::<Function>(&Key::of(function.as_ref()))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a function needs
#[utoipa::path(
    get, path = "/v1/function/{id}/capabilities", tag = "greencloud", operation_id = "greencloudGetCapabilities",
    params(("id" = String, Path, description = "Function")),
    responses((status = 200, description = "What it needs", body = FunctionNeeds), Refused),
    security(("token" = [])),
)]
pub async fn capabilities(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf(id): PathOf<String>,
) -> Result<Json<FunctionNeeds>, Failure> {
    let function = known(&facade, &caller, Verb::Get, &id).await?;
    Ok(Json(sheet::needs(&function)))
}

/// Changes what a function needs
///
/// What is left out stays; 0 takes a requirement away.
#[utoipa::path(
    post, path = "/v1/function/{id}/capabilities", tag = "greencloud", operation_id = "greencloudSetCapabilities",
    params(("id" = String, Path, description = "Function")),
    request_body = CapabilitiesChange,
    responses((status = 204, description = "It is changed"), Refused),
    security(("token" = [])),
)]
pub async fn set_capabilities(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf(id): PathOf<String>,
    JsonPayload(change): JsonPayload<CapabilitiesChange>,
) -> Result<StatusCode, Failure> {
    update(&facade, &caller, &id, |function| {
        Ok(sheet::set_needs(function, &change).map_err(Refusal::Invalid)?)
    })
    .await
}

/// Pauses a function, or resumes it
///
/// A paused function takes no calls, and its tasks that wait go on waiting.
#[utoipa::path(
    post, path = "/v1/function/{id}/togglePause", tag = "greencloud", operation_id = "greencloudTogglePause",
    params(("id" = String, Path, description = "Function")),
    responses((status = 204, description = "It is paused, or no longer"), Refused),
    security(("token" = [])),
)]
pub async fn toggle_pause(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf(id): PathOf<String>,
) -> Result<StatusCode, Failure> {
    update(&facade, &caller, &id, |function| {
        function.spec.paused = Some(function.spec.paused != Some(true));
        Ok(())
    })
    .await
}

/// Builds are not made here
///
/// Always refused: create the function with an image.
#[utoipa::path(
    post, path = "/v1/build/{id}", tag = "greencloud", operation_id = "greencloudBuild",
    params(("id" = String, Path, description = "Function")),
    responses((status = 400, description = "Nothing is built here", body = super::wire::ErrorBody), Refused),
    security(("token" = [])),
)]
pub async fn build(Asker(_): Asker) -> Failure {
    Failure::Unsupported(NO_BUILDS)
}

/// There are no builds
///
/// Always refused: create the function with an image.
#[utoipa::path(
    get, path = "/v1/build/{id}", tag = "greencloud", operation_id = "greencloudGetBuild",
    params(("id" = String, Path, description = "Build, or the word list")),
    responses((status = 400, description = "Nothing is built here", body = super::wire::ErrorBody), Refused),
    security(("token" = [])),
)]
pub async fn get_build(Asker(_): Asker) -> Failure {
    Failure::Unsupported(NO_BUILDS)
}

async fn update(
    facade: &Facade,
    caller: &Caller,
    id: &str,
    change: impl Fn(&mut Function) -> Result<(), Failure>,
) -> Result<StatusCode, Failure> {
    let function = known(facade, caller, Verb::Update, id).await?;
    let written = edit::<Failure, Function>(facade, Key::of(function.as_ref()), change).await?;
    facade.views.functions.seen(&written).await;
    Ok(StatusCode::NO_CONTENT)
}

/// The Function of the caller's namespace, if they may do this to it.
async fn known(facade: &Facade, caller: &Caller, verb: Verb, id: &str) -> Result<Arc<Function>, Failure> {
    let namespace = facade.access.home(caller).await?;
    facade
        .authorize(caller, verb, Resource::Functions, &namespace, None)
        .await?;
    Ok(find::function(facade, &namespace, id).await?)
}
