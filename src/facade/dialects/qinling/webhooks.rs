//! `/v1/webhooks`: addresses that run a function without a token. They live on the Function as annotations, one each: who
//! may change the Function may change them, and they go with it.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode, header},
};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    change::changed,
    executions,
    failure::Refused,
    fields::{self, Fields},
    filters::Filters,
    inputs, map,
    map::Extra,
    root::base,
    scope::{home, listed},
    target::{Target, resolve},
    wire::time,
};
use crate::{
    crd::{Function, FunctionRef, Task, TaskSpec},
    facade::{
        access::{Caller, Resource, Verb},
        extract::{Asker, PathOf, Payload, QueryOf, text},
        refusal::Refusal,
        state::Facade,
        views::Facet,
    },
};

/// How the annotations begin.
const ANNOTATION: &str = "errand.dev/webhook-";
/// Most webhooks of a function.
const MOST: usize = 100;

/// A webhook as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Hook {
    /// The alias that stands for the function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// The version; 0 for the function as it stands.
    #[serde(default)]
    pub version: i64,
    /// Text for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Who made it: executions belong to them.
    pub owner: String,
    /// When.
    pub created: Timestamp,
    /// When it changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated: Option<Timestamp>,
}

/// A webhook.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = QinlingWebhook)]
pub struct Shown {
    /// Its id, a UUID.
    id: String,
    /// The function; null with an alias.
    function_id: Option<String>,
    /// The alias.
    function_alias: Option<String>,
    /// The version; null with an alias.
    function_version: Option<i64>,
    /// Text for people.
    description: Option<String>,
    /// The namespace.
    project_id: String,
    /// When it was made.
    created_at: Option<String>,
    /// When it changed last.
    updated_at: Option<String>,
    /// What to POST to.
    webhook_url: String,
}

/// Webhooks, the oldest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QinlingWebhooks)]
pub struct Webhooks {
    /// The webhooks.
    webhooks: Vec<Shown>,
}

/// What a call made.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QinlingInvoked)]
pub struct Invoked {
    /// Id of the execution.
    execution_id: String,
}

/// The webhooks of a Function.
pub fn all(function: &Function) -> Vec<(String, Hook)> {
    let read = |(name, text): (&String, &String)| {
        let id = name.strip_prefix(ANNOTATION)?.to_owned();
        Some((id, serde_json::from_str(text).ok()?))
    };
    function.annotations().iter().filter_map(read).collect()
}

fn key(id: &str) -> String {
    format!("{ANNOTATION}{id}")
}

fn none(id: &str) -> Refusal {
    Refusal::NotFound(format!("Webhook not found [id={id}]"))
}

/// The one Function that has this webhook. Whoever may change a Function can write the id of a stranger's webhook on it:
/// then neither is called.
fn of(facade: &Facade, id: &str) -> Result<(Arc<Function>, Hook), Refusal> {
    let found = facade.views.functions.by_facet(&Facet::Annotation(key(id)));
    let mut found = found.into_iter().filter_map(|function| {
        let hook = all(&function).into_iter().find(|(known, _)| known == id)?.1;
        Some((function, hook))
    });
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        _ => Err(none(id)),
    }
}

/// The webhook, if the caller may do this to its function.
async fn own(
    facade: &Facade,
    caller: &Caller,
    verb: Verb,
    id: &str,
) -> Result<(Arc<Function>, Hook), Refusal> {
    let id = fields::id("id", id)?;
    let namespace = home(facade, caller, &[(verb, Resource::Functions)]).await?;
    let (function, hook) = of(facade, &id)?;
    if function.namespace().as_ref() == Some(&namespace) {
        Ok((function, hook))
    } else {
        Err(none(&id))
    }
}

fn show(function: &Function, id: &str, hook: &Hook, base: &str) -> Shown {
    let by_alias = hook.alias.is_some();
    Shown {
        id: id.to_owned(),
        function_id: (!by_alias).then(|| map::id(function)),
        function_alias: hook.alias.clone(),
        function_version: (!by_alias).then_some(hook.version),
        description: hook.description.clone(),
        project_id: function.namespace().unwrap_or_default(),
        created_at: Some(time(hook.created)),
        updated_at: hook.updated.map(time),
        webhook_url: format!("{base}/v1/webhooks/{id}/invoke"),
    }
}

async fn write(facade: &Facade, function: &Function, id: &str, hook: &Hook) -> Result<Function, Refusal> {
    let text = json!(hook).to_string();
    let written = changed(facade, &facade.views.functions, function, |function| {
        function.annotations_mut().insert(key(id), text.clone());
        if all(function).len() > MOST {
            return Err(Refusal::Invalid(format!(
                "a function may have at most {MOST} webhooks"
            )));
        }
        Ok(())
    });
    written.await
}

async fn take(facade: &Facade, function: &Function, id: &str) -> Result<(), Refusal> {
    let written = changed(facade, &facade.views.functions, function, |function| {
        function.annotations_mut().remove(&key(id));
        Ok(())
    });
    written.await.map(drop)
}

/// Who opens a function makes executions through others.
const RIGHTS: [(Verb, Resource); 2] = [
    (Verb::Create, Resource::Tasks),
    (Verb::Update, Resource::Functions),
];

const KNOWN: [&str; 4] = ["function_id", "function_version", "function_alias", "description"];
const READ_ONLY: [&str; 5] = ["id", "project_id", "created_at", "updated_at", "webhook_url"];

/// Opens a function to callers without a token
#[utoipa::path(
    post, path = "/v1/webhooks", tag = "qinling", operation_id = "qinlingCreateWebhook",
    request_body(content = serde_json::Value, description = "function_id or function_alias, function_version, description"),
    responses((status = 201, description = "The webhook", body = Shown), Refused),
    security(("token" = [])),
)]
pub async fn create(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    headers: HeaderMap,
    Payload(body): Payload,
) -> Result<(StatusCode, Json<Shown>), Refusal> {
    let fields = Fields::read(&body, &KNOWN, &READ_ONLY)?;
    let target = Target::read(&fields)?;
    let namespace = home(&facade, &caller, &RIGHTS).await?;
    let (function, version) = resolve(&facade, &namespace, &target).await?;
    let hook = Hook {
        alias: target.alias().map(str::to_owned),
        version: if target.alias().is_some() { 0 } else { version },
        description: fields.short_text("description", 4096)?,
        owner: caller.user.clone(),
        created: Timestamp::now(),
        updated: None,
    };
    let id = Uuid::new_v4().to_string();
    let written = write(&facade, &function, &id, &hook).await?;
    Ok((
        StatusCode::CREATED,
        Json(show(&written, &id, &hook, &base(&facade, &headers))),
    ))
}

/// Webhooks
#[utoipa::path(
    get, path = "/v1/webhooks", tag = "qinling", operation_id = "qinlingListWebhooks",
    params(
        ("project_id" = Option<String>, Query),
        ("all_projects" = Option<String>, Query, description = "true: of every namespace"),
    ),
    responses((status = 200, description = "The webhooks", body = Webhooks), Refused),
    security(("token" = [])),
)]
pub async fn list(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    headers: HeaderMap,
    QueryOf(query): QueryOf<BTreeMap<String, String>>,
) -> Result<Json<Webhooks>, Refusal> {
    let filters = Filters::read(query, &["project_id"])?;
    let view = (&facade.views.functions, Resource::Functions);
    let functions = listed(&facade, &caller, view, &filters).await?;
    let base = base(&facade, &headers);
    let shown = functions.iter().flat_map(|function| {
        let hooks = all(function).into_iter();
        hooks
            .map(|(id, hook)| show(function, &id, &hook, &base))
            .collect::<Vec<_>>()
    });
    let mut webhooks: Vec<Shown> = shown
        .filter(|hook| filters.admit_project(&hook.project_id))
        .collect();
    webhooks.sort_by(|a, b| (&a.created_at, &a.id).cmp(&(&b.created_at, &b.id)));
    Ok(Json(Webhooks { webhooks }))
}

/// One webhook
#[utoipa::path(
    get, path = "/v1/webhooks/{id}", tag = "qinling", operation_id = "qinlingGetWebhook",
    params(("id" = String, Path, description = "Webhook")),
    responses((status = 200, description = "The webhook", body = Shown), Refused),
    security(("token" = [])),
)]
pub async fn get(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf(id): PathOf<String>,
    headers: HeaderMap,
) -> Result<Json<Shown>, Refusal> {
    let (function, hook) = own(&facade, &caller, Verb::Get, &id).await?;
    Ok(Json(show(&function, &id, &hook, &base(&facade, &headers))))
}

/// Changes a webhook
///
/// null leaves a field as it is.
#[utoipa::path(
    put, path = "/v1/webhooks/{id}", tag = "qinling", operation_id = "qinlingUpdateWebhook",
    params(("id" = String, Path, description = "Webhook")),
    request_body(content = serde_json::Value, description = "function_id or function_alias, function_version, description"),
    responses((status = 200, description = "The webhook", body = Shown), Refused),
    security(("token" = [])),
)]
pub async fn change(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf(id): PathOf<String>,
    headers: HeaderMap,
    Payload(body): Payload,
) -> Result<Json<Shown>, Refusal> {
    let fields = Fields::read(&body, &KNOWN, &READ_ONLY)?;
    let namespace = home(&facade, &caller, &RIGHTS).await?;
    let (old, mut hook) = own(&facade, &caller, Verb::Update, &id).await?;
    let mut function = old.clone();
    match (fields.text("function_alias")?, fields.id("function_id")?) {
        (None, None) => {
            if let Some(version) = fields.integer("function_version", 0)? {
                let target = Target::Function {
                    id: map::id(old.as_ref()),
                    version,
                };
                hook.version = resolve(&facade, &namespace, &target).await?.1;
                hook.alias = None;
            }
        }
        _ => {
            let target = Target::read(&fields)?;
            let (named, version) = resolve(&facade, &namespace, &target).await?;
            function = named;
            hook.alias = target.alias().map(str::to_owned);
            hook.version = if hook.alias.is_some() { 0 } else { version };
        }
    }
    hook.description = fields.short_text("description", 4096)?.or(hook.description);
    hook.updated = Some(Timestamp::now());
    if function.uid() != old.uid() {
        // In between it is on neither rather than on both, which would look like a forged one.
        take(&facade, &old, &id).await?;
    }
    let written = write(&facade, &function, &id, &hook).await?;
    Ok(Json(show(&written, &id, &hook, &base(&facade, &headers))))
}

/// Closes a webhook
#[utoipa::path(
    delete, path = "/v1/webhooks/{id}", tag = "qinling", operation_id = "qinlingDeleteWebhook",
    params(("id" = String, Path, description = "Webhook")),
    responses((status = 204, description = "It is closed"), Refused),
    security(("token" = [])),
)]
pub async fn delete(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf(id): PathOf<String>,
) -> Result<StatusCode, Refusal> {
    let (function, _) = own(&facade, &caller, Verb::Update, &id).await?;
    take(&facade, &function, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Runs the function of a webhook
///
/// Without a token. What the query and a JSON object or form in the body name is the input.
#[utoipa::path(
    post, path = "/v1/webhooks/{id}/invoke", tag = "qinling", operation_id = "qinlingInvokeWebhook",
    params(("id" = String, Path, description = "Webhook")),
    request_body(content = Option<serde_json::Value>, description = "Arguments by name"),
    responses((status = 202, description = "The execution", body = Invoked), Refused),
)]
pub async fn invoke(
    State(facade): State<Facade>,
    PathOf(id): PathOf<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    Payload(body): Payload,
) -> Result<(StatusCode, Json<Invoked>), Refusal> {
    let uuid = fields::id("id", &id).map_err(|_| none(&id))?;
    let (function, hook) = of(&facade, &uuid)?;
    let namespace = function.namespace().unwrap_or_default();
    let (function, version) = match &hook.alias {
        Some(alias) => resolve(&facade, &namespace, &Target::Alias(alias.clone())).await?,
        None => (function, hook.version),
    };
    let arguments = arguments(query.as_deref(), text(&headers, header::CONTENT_TYPE), &body)?;
    let spec = TaskSpec {
        function_ref: Some(FunctionRef {
            name: function.name_any(),
            version: (version > 0).then_some(version),
        }),
        input: inputs::input(arguments.as_deref(), false),
        description: Some(format!("Created by Webhook {uuid}")),
        owner: Some(hook.owner),
        ..TaskSpec::default()
    };
    let execution_id = Uuid::new_v4().to_string();
    let mut task = Task::new(&execution_id, spec);
    task.metadata.namespace = Some(namespace);
    Extra {
        alias: hook.alias,
        sync: false,
    }
    .note(&mut task);
    executions::submit(&facade, &task).await?;
    Ok((StatusCode::ACCEPTED, Json(Invoked { execution_id })))
}

/// Query and body as one JSON object; `None` where there is neither.
fn arguments(query: Option<&str>, media: Option<&str>, body: &[u8]) -> Result<Option<String>, Refusal> {
    let texts = |bytes: &[u8]| {
        let pairs = form_urlencoded::parse(bytes).into_owned();
        pairs
            .map(|(name, text)| (name, Value::String(text)))
            .collect::<Map<_, _>>()
    };
    let mut all = texts(query.unwrap_or_default().as_bytes());
    let is_form = media.is_some_and(|media| media.starts_with("application/x-www-form-urlencoded"));
    if is_form {
        all.extend(texts(body));
    } else if !body.is_empty() {
        let malformed = |_| Refusal::Invalid("the body is neither a JSON object nor a form".to_owned());
        all.extend(serde_json::from_slice::<Map<String, Value>>(body).map_err(malformed)?);
    }
    Ok((!all.is_empty()).then(|| Value::Object(all).to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_and_body_become_one_object() {
        let json = Some("application/json");
        let form = Some("application/x-www-form-urlencoded");
        let text = |query, media, body: &str| arguments(query, media, body.as_bytes()).unwrap();
        assert_eq!(text(None, None, ""), None);
        assert_eq!(
            text(Some("a=1&b=x+y"), None, ""),
            Some(r#"{"a":"1","b":"x y"}"#.into())
        );
        assert_eq!(
            text(Some("a=1"), json, r#"{"a": 2, "c": [3]}"#),
            Some(r#"{"a":2,"c":[3]}"#.into())
        );
        assert_eq!(text(None, form, "a=1&b=2"), Some(r#"{"a":"1","b":"2"}"#.into()));
        assert!(arguments(None, json, b"[1]").is_err());
    }
}
