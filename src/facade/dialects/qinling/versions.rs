//! `/v1/functions/{id}/versions`: a version is a ControllerRevision that belongs to the Function and holds what is fixed
//! of its spec: the package. Everything else comes from the Function as it stands.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use k8s_openapi::{api::apps::v1::ControllerRevision, apimachinery::pkg::runtime::RawExtension};
use kube::{Resource as _, ResourceExt as _};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::{
    failure::Refused,
    fields::{self, Fields},
    find, functions, job, map,
    package::{self, Settings, Stored},
    uses, webhooks,
    wire::time,
};
use crate::{
    crd::{Function, LABEL_FUNCTION_UID, revision_name},
    facade::{
        access::Verb,
        extract::{Asker, PathOf, Payload, QueryOf},
        refusal::Refusal,
        state::Facade,
        views::Key,
    },
};

/// Most versions of a function.
const MOST: usize = 10;

/// A version.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = QinlingVersion)]
pub struct Version {
    /// Its id, a UUID.
    id: String,
    /// Text for people.
    description: Option<String>,
    /// The function.
    function_id: String,
    /// Its number, from 1.
    version_number: i64,
    /// Executions that are still kept.
    count: i64,
    /// The namespace.
    project_id: String,
    /// When it was made.
    created_at: Option<String>,
    /// Always null: versions do not change.
    updated_at: Option<String>,
}

/// Versions, the oldest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QinlingVersions)]
pub struct Versions {
    /// The versions.
    function_versions: Vec<Version>,
}

/// What a revision holds. The engine reads `spec`.
#[derive(Debug, Deserialize, Serialize)]
struct Data {
    /// Parts of the Function's spec, put over it as a merge patch.
    spec: serde_json::Value,
    stored: Stored,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    description: Option<String>,
}

fn data(revision: &ControllerRevision) -> Option<Data> {
    let data = revision.data.as_ref()?;
    serde_json::from_value(data.0.clone()).ok()
}

fn not_found(function: &Function, version: i64) -> Refusal {
    let id = map::id(function);
    Refusal::NotFound(format!(
        "FunctionVersion not found [function_id={id}, version_number={version}]"
    ))
}

/// Every version of a Function, the oldest first.
pub async fn all(facade: &Facade, function: &Function) -> Result<Vec<ControllerRevision>, Refusal> {
    let namespace = function.namespace().unwrap_or_default();
    let labels = format!("{LABEL_FUNCTION_UID}={}", function.uid().unwrap_or_default());
    let mut revisions = Vec::new();
    facade
        .objects
        .list(&namespace, &labels, |revision: ControllerRevision| {
            revisions.push(revision)
        })
        .await?;
    revisions.sort_by_key(|revision| revision.revision);
    Ok(revisions)
}

/// One version.
pub async fn get(facade: &Facade, function: &Function, version: i64) -> Result<ControllerRevision, Refusal> {
    let name = revision_name(&function.name_any(), version);
    let key = Key::new(function.namespace().unwrap_or_default(), name);
    let found: Option<ControllerRevision> = facade.objects.get(&key).await?;
    let own = found.filter(|revision| {
        let uid = function.uid();
        revision
            .owner_references()
            .iter()
            .any(|owner| Some(&owner.uid) == uid.as_ref())
    });
    own.ok_or_else(|| not_found(function, version))
}

/// The number of the newest; 0 where there is none.
pub fn latest(revisions: &[ControllerRevision]) -> i64 {
    revisions
        .iter()
        .map(|revision| revision.revision)
        .max()
        .unwrap_or(0)
}

/// The newest versions by the uids of these Functions; one list for each namespace.
pub async fn newest(facade: &Facade, functions: &[Arc<Function>]) -> Result<HashMap<String, i64>, Refusal> {
    let packaged = functions
        .iter()
        .filter(|function| Settings::of(function).is_some());
    let namespaces: BTreeSet<String> = packaged.filter_map(|function| function.namespace()).collect();
    let mut newest = HashMap::new();
    for namespace in namespaces {
        let take = |revision: ControllerRevision| {
            if let Some(uid) = revision.labels().get(LABEL_FUNCTION_UID) {
                let known = newest.entry(uid.clone()).or_insert(0);
                *known = revision.revision.max(*known);
            }
        };
        facade.objects.list(&namespace, LABEL_FUNCTION_UID, take).await?;
    }
    Ok(newest)
}

/// Drops a package that neither the Function nor any version runs.
pub async fn forget_unused(facade: &Facade, function: &Function, stored: &Stored) -> Result<(), Refusal> {
    let now = Settings::of(function)
        .is_some_and(|settings| settings.stored == *stored || settings.previous.as_ref() == Some(stored));
    if now
        || all(facade, function)
            .await?
            .iter()
            .any(|one| data(one).is_some_and(|data| data.stored == *stored))
    {
        return Ok(());
    }
    package::drop_stored(facade, function, stored).await
}

fn show(facade: &Facade, function: &Function, revision: &ControllerRevision) -> Version {
    Version {
        id: revision.uid().unwrap_or_default(),
        description: data(revision).and_then(|data| data.description),
        function_id: map::id(function),
        version_number: revision.revision,
        count: uses::count(facade, function, revision.revision),
        project_id: function.namespace().unwrap_or_default(),
        created_at: revision.creation_timestamp().map(|made| time(made.0)),
        updated_at: None,
    }
}

/// Keeps a function's package as a version
#[utoipa::path(
    post, path = "/v1/functions/{id}/versions", tag = "qinling", operation_id = "qinlingCreateVersion",
    params(("id" = String, Path, description = "Function")),
    request_body(content = serde_json::Value, description = "description"),
    responses((status = 201, description = "The version", body = Version), Refused),
    security(("token" = [])),
)]
pub async fn create(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf(id): PathOf<String>,
    Payload(body): Payload,
) -> Result<(StatusCode, Json<Version>), Refusal> {
    let id = fields::id("id", &id)?;
    let description = Fields::read(&body, &["description"], &[])?.short_text("description", 4096)?;
    let function = find::function(&facade, &caller, Verb::Update, &id).await?;
    let forbidden = |why: String| Refusal::Forbidden(why);
    let settings = Settings::of(&function)
        .ok_or_else(|| forbidden("Function versioning only allowed for package type function.".to_owned()))?;
    let known = all(&facade, &function).await?;
    if known.len() >= MOST {
        return Err(forbidden(format!(
            "Can not create more than {MOST} versions for the function {id}."
        )));
    }
    let newest = known.last();
    if newest
        .and_then(data)
        .is_some_and(|data| data.stored == settings.stored)
    {
        let number = latest(&known);
        return Err(forbidden(format!(
            "Function package not changed since the latest version {number}."
        )));
    }
    let revision = revision(&function, latest(&known) + 1, settings.stored, description);
    let made = facade.objects.create(&revision).await?;
    Ok((StatusCode::CREATED, Json(show(&facade, &function, &made))))
}

fn revision(
    function: &Function,
    number: i64,
    stored: Stored,
    description: Option<String>,
) -> ControllerRevision {
    let name = function.name_any();
    let mut revision = ControllerRevision {
        revision: number,
        data: Some(RawExtension(json!(Data {
            spec: json!({"pod": {"volumes": package::volumes(&name, &stored)}}),
            stored,
            description,
        }))),
        ..ControllerRevision::default()
    };
    revision.metadata.name = Some(revision_name(&name, number));
    revision.metadata.namespace = function.namespace();
    revision.metadata.owner_references = function.owner_ref(&()).map(|owner| vec![owner]);
    let uid = function.uid().unwrap_or_default();
    revision.metadata.labels = Some([(LABEL_FUNCTION_UID.to_owned(), uid)].into());
    revision
}

/// Versions of a function
#[utoipa::path(
    get, path = "/v1/functions/{id}/versions", tag = "qinling", operation_id = "qinlingListVersions",
    params(("id" = String, Path, description = "Function")),
    responses((status = 200, description = "The versions", body = Versions), Refused),
    security(("token" = [])),
)]
pub async fn list(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf(id): PathOf<String>,
) -> Result<Json<Versions>, Refusal> {
    let id = fields::id("id", &id)?;
    let function = find::function(&facade, &caller, Verb::Get, &id).await?;
    let revisions = all(&facade, &function).await?;
    let function_versions = revisions
        .iter()
        .map(|one| show(&facade, &function, one))
        .collect();
    Ok(Json(Versions { function_versions }))
}

/// One version, or its package
///
/// `download=true` answers with the zip.
#[utoipa::path(
    get, path = "/v1/functions/{id}/versions/{number}", tag = "qinling", operation_id = "qinlingGetVersion",
    params(("id" = String, Path, description = "Function"), ("number" = i64, Path, description = "Version"), ("download" = Option<String>, Query)),
    responses(
        (status = 200, description = "The version", content((Version = "application/json"), (Vec<u8> = "application/zip"))),
        Refused,
    ),
    security(("token" = [])),
)]
pub async fn get_one(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf((id, number)): PathOf<(String, String)>,
    QueryOf(query): QueryOf<BTreeMap<String, String>>,
) -> Result<Response, Refusal> {
    let id = fields::id("id", &id)?;
    let function = find::function(&facade, &caller, Verb::Get, &id).await?;
    let revision = get(&facade, &function, parse(&number)?).await?;
    if query
        .get("download")
        .is_some_and(|word| word.eq_ignore_ascii_case("true"))
    {
        let data = data(&revision).ok_or_else(|| not_found(&function, revision.revision))?;
        let bytes = package::load(&facade, &function, &data.stored).await?;
        return Ok(functions::zip(&format!("{id}_{number}"), bytes));
    }
    Ok(Json(show(&facade, &function, &revision)).into_response())
}

fn parse(text: &str) -> Result<i64, Refusal> {
    let number = text.parse().ok().filter(|number| *number >= 0);
    number.ok_or_else(|| {
        let sentence = format!(
            "Invalid input for field/attribute version. Value: '{text}'. unable to convert to int. \
             Error: Wrong type. Expected an integer."
        );
        Refusal::Invalid(sentence)
    })
}

/// Deletes a version
///
/// Refused while an alias, a webhook or a job stands for it.
#[utoipa::path(
    delete, path = "/v1/functions/{id}/versions/{number}", tag = "qinling", operation_id = "qinlingDeleteVersion",
    params(("id" = String, Path, description = "Function"), ("number" = i64, Path, description = "Version")),
    responses((status = 204, description = "It is gone"), Refused),
    security(("token" = [])),
)]
pub async fn delete(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf((id, number)): PathOf<(String, String)>,
) -> Result<StatusCode, Refusal> {
    let id = fields::id("id", &id)?;
    let function = find::function(&facade, &caller, Verb::Update, &id).await?;
    let revision = get(&facade, &function, parse(&number)?).await?;
    let number = revision.revision;
    let by = |what: &str| Err(uses::still_used("function version", what));
    if uses::jobs(&facade, &function)
        .iter()
        .any(|schedule| job::version(schedule) == number)
    {
        return by("running job(s)");
    }
    if function.spec.aliases.iter().any(|alias| alias.version == number) {
        return by("function alias(es)");
    }
    if webhooks::all(&function)
        .iter()
        .any(|(_, hook)| hook.version == number)
    {
        return by("webhook(s)");
    }
    facade
        .objects
        .delete::<ControllerRevision>(&Key::of(&revision))
        .await?;
    if let Some(data) = data(&revision) {
        forget_unused(&facade, &function, &data.stored).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Asks for more or fewer workers of a version
///
/// `count` is checked and nothing follows: each execution has a pod of its own, made when it is needed.
#[utoipa::path(
    post, path = "/v1/functions/{id}/versions/{number}/{scale}", tag = "qinling", operation_id = "qinlingScaleVersion",
    params(
        ("id" = String, Path, description = "Function"), ("number" = i64, Path, description = "Version; 0 for the function itself"),
        ("scale" = String, Path, description = "scale_up, scale_down or detach"),
    ),
    request_body(content = Option<serde_json::Value>, description = "count, of 1 or more; none with detach"),
    responses((status = 202, description = "It is noted"), Refused),
    security(("token" = [])),
)]
pub async fn scale(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf((id, number, scale)): PathOf<(String, String, String)>,
    Payload(body): Payload,
) -> Result<StatusCode, Refusal> {
    let id = fields::id("id", &id)?;
    let function = find::function(&facade, &caller, Verb::Update, &id).await?;
    let number = parse(&number)?;
    if number > 0 {
        get(&facade, &function, number).await?;
    }
    functions::noted(&scale, &body)
}
