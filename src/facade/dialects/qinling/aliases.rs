//! `/v1/aliases`: names for versions of functions. They stand in `spec.aliases` of the Function.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State, http::StatusCode};
use kube::ResourceExt as _;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    change::changed,
    failure::Refused,
    fields::Fields,
    filters::Filters,
    find, jobs, map,
    scope::{home, listed},
    uses,
};
use crate::{
    crd::{Alias, Function},
    facade::{
        access::{Resource, Verb},
        extract::{Asker, PathOf, Payload, QueryOf},
        refusal::Refusal,
        state::Facade,
        views::Facet,
    },
};

/// Most aliases of a function.
const MOST: usize = 100;

const KNOWN: [&str; 4] = ["name", "function_id", "function_version", "description"];
const READ_ONLY: [&str; 4] = ["id", "project_id", "created_at", "updated_at"];

/// An alias.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = QinlingAlias)]
pub struct Shown {
    /// Its id, a UUID.
    id: String,
    /// Its name.
    name: String,
    /// Text for people.
    description: Option<String>,
    /// The function.
    function_id: String,
    /// The version; 0 for the function as it stands.
    function_version: i64,
    /// The namespace.
    project_id: String,
    /// Always null: aliases are a part of their function.
    created_at: Option<String>,
    /// Always null.
    updated_at: Option<String>,
}

/// Aliases, in the order of their names.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QinlingAliases)]
pub struct Aliases {
    /// The aliases.
    function_aliases: Vec<Shown>,
}

fn show(function: &Function, alias: &Alias) -> Shown {
    let function_id = map::id(function);
    Shown {
        id: id(&function_id, &alias.name),
        name: alias.name.clone(),
        description: alias.description.clone(),
        function_id,
        function_version: alias.version,
        project_id: function.namespace().unwrap_or_default(),
        created_at: None,
        updated_at: None,
    }
}

/// A UUID that is always the same for the same alias.
fn id(function: &str, name: &str) -> String {
    use md5::{Digest as _, Md5};
    let digest: [u8; 16] = Md5::digest(format!("{function} {name}")).into();
    uuid::Builder::from_md5_bytes(digest).into_uuid().to_string()
}

fn none(name: &str) -> Refusal {
    Refusal::NotFound(format!("FunctionAlias not found [name={name}]"))
}

/// The Function of a namespace that has an alias of this name, and the alias.
fn named(facade: &Facade, namespace: &str, name: &str) -> Option<(Arc<Function>, Alias)> {
    let functions = facade
        .views
        .functions
        .by_facet(&Facet::Namespace(namespace.to_owned()));
    functions.into_iter().find_map(|function| {
        let alias = function
            .spec
            .aliases
            .iter()
            .find(|alias| alias.name == name)?
            .clone();
        Some((function, alias))
    })
}

/// Puts an alias on a Function.
async fn put(facade: &Facade, function: &Function, alias: &Alias) -> Result<Shown, Refusal> {
    let written = changed(facade, &facade.views.functions, function, |function| {
        let id = map::id(function);
        let aliases = &mut function.spec.aliases;
        aliases.retain(|known| known.name != alias.name);
        if aliases.iter().any(|known| known.version == alias.version) {
            let same = format!("['function_id', 'function_version'] {id}, {}", alias.version);
            return Err(duplicate(&same));
        }
        if aliases.len() >= MOST {
            return Err(Refusal::Invalid(format!(
                "a function may have at most {MOST} aliases"
            )));
        }
        aliases.push(alias.clone());
        Ok(())
    });
    Ok(show(&written.await?, alias))
}

/// Takes an alias off a Function.
async fn take(facade: &Facade, function: &Function, name: &str) -> Result<(), Refusal> {
    let written = changed(facade, &facade.views.functions, function, |function| {
        function.spec.aliases.retain(|alias| alias.name != name);
        Ok(())
    });
    written.await.map(drop)
}

fn duplicate(what: &str) -> Refusal {
    Refusal::Invalid(format!("Duplicate entry for function_aliases: {what}"))
}

/// Names a version of a function
#[utoipa::path(
    post, path = "/v1/aliases", tag = "qinling", operation_id = "qinlingCreateAlias",
    request_body(content = serde_json::Value, description = "name, function_id, function_version, description"),
    responses((status = 201, description = "The alias", body = Shown), Refused),
    security(("token" = [])),
)]
pub async fn create(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    Payload(body): Payload,
) -> Result<(StatusCode, Json<Shown>), Refusal> {
    let fields = Fields::read(&body, &KNOWN, &READ_ONLY)?;
    let missing = |name: &str| {
        let sentence = format!("Required param is missing. Required: {{'{name}'}}");
        Refusal::Invalid(sentence)
    };
    let name = fields.short_text("name", 253)?.filter(|name| !name.is_empty());
    let alias = Alias {
        name: name.ok_or_else(|| missing("name"))?,
        version: fields.integer("function_version", 0)?.unwrap_or(0),
        description: fields.short_text("description", 4096)?,
    };
    let id = fields.id("function_id")?.ok_or_else(|| missing("function_id"))?;
    let namespace = home(&facade, &caller, &[(Verb::Update, Resource::Functions)]).await?;
    let function = find::function_in(&facade, &namespace, &id).await?;
    if named(&facade, &namespace, &alias.name).is_some() {
        return Err(duplicate(&format!("['name'] {}", alias.name)));
    }
    let shown = put(&facade, &function, &alias).await?;
    Ok((StatusCode::CREATED, Json(shown)))
}

/// Aliases
#[utoipa::path(
    get, path = "/v1/aliases", tag = "qinling", operation_id = "qinlingListAliases",
    params(
        ("project_id" = Option<String>, Query),
        ("all_projects" = Option<String>, Query, description = "true: of every namespace"),
    ),
    responses((status = 200, description = "The aliases", body = Aliases), Refused),
    security(("token" = [])),
)]
pub async fn list(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    QueryOf(query): QueryOf<BTreeMap<String, String>>,
) -> Result<Json<Aliases>, Refusal> {
    let filters = Filters::read(query, &["project_id"])?;
    let view = (&facade.views.functions, Resource::Functions);
    let functions = listed(&facade, &caller, view, &filters).await?;
    let aliases = functions
        .iter()
        .flat_map(|function| function.spec.aliases.iter().map(|alias| show(function, alias)));
    let mut function_aliases: Vec<Shown> = aliases
        .filter(|alias| filters.admit_project(&alias.project_id))
        .collect();
    function_aliases.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Json(Aliases { function_aliases }))
}

/// One alias
#[utoipa::path(
    get, path = "/v1/aliases/{name}", tag = "qinling", operation_id = "qinlingGetAlias",
    params(("name" = String, Path, description = "Alias")),
    responses((status = 200, description = "The alias", body = Shown), Refused),
    security(("token" = [])),
)]
pub async fn get(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf(name): PathOf<String>,
) -> Result<Json<Shown>, Refusal> {
    let namespace = home(&facade, &caller, &[(Verb::Get, Resource::Functions)]).await?;
    let (function, alias) = named(&facade, &namespace, &name).ok_or_else(|| none(&name))?;
    Ok(Json(show(&function, &alias)))
}

/// Changes what an alias stands for
///
/// null leaves a field as it is. Jobs that name the alias follow it.
#[utoipa::path(
    put, path = "/v1/aliases/{name}", tag = "qinling", operation_id = "qinlingUpdateAlias",
    params(("name" = String, Path, description = "Alias")),
    request_body(content = serde_json::Value, description = "function_id, function_version, description"),
    responses((status = 200, description = "The alias", body = Shown), Refused),
    security(("token" = [])),
)]
pub async fn change(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf(name): PathOf<String>,
    Payload(body): Payload,
) -> Result<Json<Shown>, Refusal> {
    let fields = Fields::read(&body, &KNOWN, &READ_ONLY)?;
    let namespace = home(&facade, &caller, &[(Verb::Update, Resource::Functions)]).await?;
    let (old, alias) = named(&facade, &namespace, &name).ok_or_else(|| none(&name))?;
    let changed = Alias {
        name,
        version: fields.integer("function_version", 0)?.unwrap_or(alias.version),
        description: fields.short_text("description", 4096)?.or(alias.description),
    };
    let function = match fields.id("function_id")? {
        Some(id) => find::function_in(&facade, &namespace, &id).await?,
        None => old.clone(),
    };
    let shown = put(&facade, &function, &changed).await?;
    if function.uid() != old.uid() {
        take(&facade, &old, &changed.name).await?;
    }
    jobs::follow(
        &facade,
        &namespace,
        &changed.name,
        &function.name_any(),
        changed.version,
    )
    .await?;
    Ok(Json(shown))
}

/// Deletes an alias
///
/// Refused while a job that is not over names it.
#[utoipa::path(
    delete, path = "/v1/aliases/{name}", tag = "qinling", operation_id = "qinlingDeleteAlias",
    params(("name" = String, Path, description = "Alias")),
    responses((status = 204, description = "It is gone"), Refused),
    security(("token" = [])),
)]
pub async fn delete(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf(name): PathOf<String>,
) -> Result<StatusCode, Refusal> {
    let namespace = home(&facade, &caller, &[(Verb::Update, Resource::Functions)]).await?;
    let (function, _) = named(&facade, &namespace, &name).ok_or_else(|| none(&name))?;
    if !uses::jobs_of_alias(&facade, &namespace, &name).is_empty() {
        return Err(uses::still_used("function alias", "running job(s)"));
    }
    take(&facade, &function, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
