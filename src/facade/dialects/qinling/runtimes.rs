//! `/v1/runtimes`: the catalogue of images that run packages. Each is a ConfigMap in the catalogue's namespace, so
//! whoever may make ConfigMaps there may make runtimes.

use std::collections::BTreeMap;

use axum::{Json, extract::State, http::StatusCode};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    failure::{Refused, not_allowed},
    fields::{self, Fields},
    filters::Filters,
    package::Settings,
    wire::{Runtime, Runtimes, time},
};
use crate::{
    crd::{Function, Phase},
    facade::{
        access::{Caller, Resource, Verb},
        extract::{Asker, PathOf, Payload, QueryOf},
        refusal::Refusal,
        state::{Facade, phase},
        views::{Facet, Key},
    },
};

/// Label of the ConfigMaps.
const LABEL: &str = "errand.dev/runtime";
/// Their key.
const DATA: &str = "runtime";

const READ_ONLY: [&str; 5] = ["id", "status", "project_id", "created_at", "updated_at"];

/// A runtime as it is kept.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Kept {
    image: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    description: Option<String>,
    is_public: bool,
    trusted: bool,
    project: String,
}

/// How many pods a runtime has.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QinlingPool)]
pub struct Pool {
    /// Id of the runtime.
    name: String,
    /// The pods.
    capacity: Capacity,
}

/// Pods of a runtime.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QinlingCapacity)]
pub struct Capacity {
    /// Those that run.
    total: usize,
    /// Always 0: none waits for work.
    available: usize,
}

fn name(id: &str) -> String {
    format!("runtime-{id}")
}

fn none(id: &str) -> Refusal {
    Refusal::NotFound(format!("Runtime not found [id={id}]"))
}

fn read(map: &ConfigMap) -> Option<Kept> {
    let text = map.data.as_ref()?.get(DATA)?;
    serde_json::from_str(text).ok()
}

fn show(map: &ConfigMap) -> Option<Runtime> {
    let kept = read(map)?;
    let name = map.name_any();
    Some(Runtime {
        id: name.strip_prefix("runtime-")?.to_owned(),
        name: kept.name,
        image: kept.image,
        description: kept.description,
        is_public: kept.is_public,
        trusted: kept.trusted,
        status: "available",
        project_id: kept.project,
        created_at: map.creation_timestamp().map(|made| time(made.0)),
        updated_at: None,
    })
}

/// Whether whoever calls may change the catalogue.
async fn manages(facade: &Facade, caller: &Caller, verb: Verb) -> Result<(), Refusal> {
    let catalogue = &facade.config.catalogue;
    let allowed = facade
        .authorize(caller, verb, Resource::ConfigMaps, catalogue, None)
        .await;
    allowed.map_err(not_allowed)
}

async fn get_map(facade: &Facade, id: &str) -> Result<ConfigMap, Refusal> {
    let key = Key::new(&facade.config.catalogue, name(id));
    let found: Option<ConfigMap> = facade.objects.get(&key).await?;
    found
        .filter(|map| map.labels().contains_key(LABEL))
        .ok_or_else(|| none(id))
}

/// Id and image of the runtime that a new function names, if its project may use it.
///
/// # Errors
/// None is named, or there is none of that id for this project.
pub async fn chosen(facade: &Facade, project: &str, id: Option<&str>) -> Result<(String, String), Refusal> {
    let Some(id) = id else {
        return Err(Refusal::Invalid("\"runtime_id\" must be specified.".to_owned()));
    };
    let id = fields::id("runtime_id", id)?;
    let kept = read(&get_map(facade, &id).await?);
    let usable = kept.filter(|kept| kept.is_public || kept.project == project);
    let image = usable.ok_or_else(|| none(&id))?.image;
    Ok((id, image))
}

/// Adds a runtime to the catalogue
///
/// Its image has `python3` 3.6 or newer on its PATH. Whoever may create ConfigMaps in the catalogue's namespace may
/// do this.
#[utoipa::path(
    post, path = "/v1/runtimes", tag = "qinling", operation_id = "qinlingCreateRuntime",
    request_body(content = serde_json::Value, description = "image, name, description, is_public, trusted"),
    responses((status = 201, description = "The runtime", body = Runtime), Refused),
    security(("token" = [])),
)]
pub async fn create(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    Payload(body): Payload,
) -> Result<(StatusCode, Json<Runtime>), Refusal> {
    let known = ["image", "name", "description", "is_public", "trusted"];
    let fields = Fields::read(&body, &known, &READ_ONLY)?;
    manages(&facade, &caller, Verb::Create).await?;
    let image = fields
        .short_text("image", 1024)?
        .filter(|image| !image.is_empty());
    let missing = || Refusal::Invalid("Required param is missing. Required: {'image'}".to_owned());
    let kept = Kept {
        image: image.ok_or_else(missing)?,
        name: fields.short_text("name", 255)?,
        description: fields.short_text("description", 4096)?,
        is_public: fields.boolean("is_public")?.unwrap_or(true),
        trusted: fields.boolean("trusted")?.unwrap_or(true),
        project: facade.access.home(&caller).await?,
    };
    let mut map = ConfigMap {
        data: Some([(DATA.to_owned(), json!(kept).to_string())].into()),
        ..ConfigMap::default()
    };
    map.metadata.name = Some(name(&Uuid::new_v4().to_string()));
    map.metadata.namespace = Some(facade.config.catalogue.clone());
    map.metadata.labels = Some([(LABEL.to_owned(), "true".to_owned())].into());
    let made = facade.objects.create(&map).await?;
    let shown = show(&made).ok_or_else(|| Refusal::Internal("a new runtime cannot be read".to_owned()))?;
    Ok((StatusCode::CREATED, Json(shown)))
}

/// Runtimes
///
/// Those of every project and the caller's own.
#[utoipa::path(
    get, path = "/v1/runtimes", tag = "qinling", operation_id = "qinlingListRuntimes",
    responses((status = 200, description = "The runtimes", body = Runtimes), Refused),
    security(("token" = [])),
)]
pub async fn list(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    QueryOf(query): QueryOf<BTreeMap<String, String>>,
) -> Result<Json<Runtimes>, Refusal> {
    Filters::read(query, &[])?;
    let project = facade.access.home(&caller).await?;
    let mut runtimes = Vec::new();
    let take = |map: ConfigMap| runtimes.extend(show(&map));
    facade.objects.list(&facade.config.catalogue, LABEL, take).await?;
    runtimes.retain(|runtime| runtime.is_public || runtime.project_id == project);
    runtimes.sort_by(|a, b| (&a.created_at, &a.id).cmp(&(&b.created_at, &b.id)));
    Ok(Json(Runtimes { runtimes }))
}

/// One runtime
#[utoipa::path(
    get, path = "/v1/runtimes/{id}", tag = "qinling", operation_id = "qinlingGetRuntime",
    params(("id" = String, Path, description = "Runtime")),
    responses((status = 200, description = "The runtime", body = Runtime), Refused),
    security(("token" = [])),
)]
pub async fn get(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf(id): PathOf<String>,
) -> Result<Json<Runtime>, Refusal> {
    let id = fields::id("id", &id)?;
    let project = facade.access.home(&caller).await?;
    let shown = show(&get_map(&facade, &id).await?);
    let own = shown.filter(|runtime| runtime.is_public || runtime.project_id == project);
    own.map(Json).ok_or_else(|| none(&id))
}

/// Changes a runtime
///
/// Its image stays while functions use it.
#[utoipa::path(
    put, path = "/v1/runtimes/{id}", tag = "qinling", operation_id = "qinlingUpdateRuntime",
    params(("id" = String, Path, description = "Runtime")),
    request_body(content = serde_json::Value, description = "image, name, description"),
    responses((status = 200, description = "The runtime", body = Runtime), Refused),
    security(("token" = [])),
)]
pub async fn change(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf(id): PathOf<String>,
    Payload(body): Payload,
) -> Result<Json<Runtime>, Refusal> {
    let id = fields::id("id", &id)?;
    let fields = Fields::read(&body, &["image", "name", "description"], &READ_ONLY)?;
    manages(&facade, &caller, Verb::Update).await?;
    let mut map = get_map(&facade, &id).await?;
    let mut kept = read(&map).ok_or_else(|| none(&id))?;
    if let Some(image) = fields
        .short_text("image", 1024)?
        .filter(|image| *image != kept.image)
    {
        refuse_used(&facade, &id)?;
        kept.image = image;
    }
    kept.name = fields.short_text("name", 255)?.or(kept.name);
    kept.description = fields.short_text("description", 4096)?.or(kept.description);
    map.data = Some([(DATA.to_owned(), json!(kept).to_string())].into());
    let written = facade.objects.replace(&map).await?;
    show(&written).map(Json).ok_or_else(|| none(&id))
}

/// Takes a runtime out of the catalogue
///
/// Refused while functions use it.
#[utoipa::path(
    delete, path = "/v1/runtimes/{id}", tag = "qinling", operation_id = "qinlingDeleteRuntime",
    params(("id" = String, Path, description = "Runtime")),
    responses((status = 204, description = "It is gone"), Refused),
    security(("token" = [])),
)]
pub async fn delete(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf(id): PathOf<String>,
) -> Result<StatusCode, Refusal> {
    let id = fields::id("id", &id)?;
    manages(&facade, &caller, Verb::Delete).await?;
    let map = get_map(&facade, &id).await?;
    refuse_used(&facade, &id)?;
    facade.objects.delete::<ConfigMap>(&Key::of(&map)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Functions that run in this runtime, in every namespace.
fn users(facade: &Facade, id: &str) -> Vec<std::sync::Arc<Function>> {
    let all = facade.views.functions.read(|table| table.all());
    let uses = |function: &Function| Settings::of(function).is_some_and(|settings| settings.runtime == id);
    all.into_iter().filter(|function| uses(function)).collect()
}

fn refuse_used(facade: &Facade, id: &str) -> Result<(), Refusal> {
    if users(facade, id).is_empty() {
        return Ok(());
    }
    Err(Refusal::Forbidden(format!("Runtime {id} is still in use.")))
}

/// Pods of a runtime
///
/// None waits for work: each execution has a pod of its own.
#[utoipa::path(
    get, path = "/v1/runtimes/{id}/pool", tag = "qinling", operation_id = "qinlingGetPool",
    params(("id" = String, Path, description = "Runtime")),
    responses((status = 200, description = "The pods", body = Pool), Refused),
    security(("token" = [])),
)]
pub async fn pool(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf(id): PathOf<String>,
) -> Result<Json<Pool>, Refusal> {
    let id = fields::id("id", &id)?;
    manages(&facade, &caller, Verb::Get).await?;
    let running = |function: &Function| {
        let tasks = facade.views.tasks.by_facet(&Facet::Function(Key::of(function)));
        tasks.iter().filter(|task| phase(task) == Phase::Running).count()
    };
    let total = users(&facade, &id).iter().map(|function| running(function)).sum();
    Ok(Json(Pool {
        name: id,
        capacity: Capacity { total, available: 0 },
    }))
}
