//! `/v1/functions`.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use uuid::Uuid;

use super::{
    change::changed,
    failure::{Refused, fault},
    fields::{self, Fields},
    filters::Filters,
    find,
    form::Form,
    map,
    package::{self, Settings, Stored},
    runtimes,
    scope::{home, listed},
    sheet::{self, Code, Words},
    uses,
    versions::{self, latest},
    wire,
};
use crate::{
    crd::{Container, Function, FunctionSpec, Phase, ResultSource, ResultSpec, Task},
    facade::{
        access::{Resource, Verb},
        extract::{Asker, PathOf, Payload, QueryOf},
        refusal::Refusal,
        state::{Facade, phase},
        views::{Facet, Key},
    },
};

const UNCHANGEABLE: &str = "The image type function code can not be changed.";

/// Makes a function
///
/// `code` is JSON text: `{"source": "image", "image": "..."}`, or `{"source": "package", "md5sum": "..."}` with the zip
/// in the part `package` and a `runtime_id`. `swift` is refused.
#[utoipa::path(
    post, path = "/v1/functions", tag = "qinling", operation_id = "qinlingCreateFunction",
    request_body(content = serde_json::Value, content_type = "multipart/form-data", description = "code, name, description, runtime_id, entry, cpu, memory_size, timeout, package"),
    responses((status = 201, description = "The function", body = wire::Function), Refused),
    security(("token" = [])),
)]
pub async fn create(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    form: Form,
) -> Result<(StatusCode, Json<wire::Function>), Refusal> {
    let namespace = home(&facade, &caller, &[(Verb::Create, Resource::Functions)]).await?;
    let missing = || Refusal::Invalid("Required param is missing. Required: {'code'}".to_owned());
    let code = Code::read(form.text("code").ok_or_else(missing)?)?;
    let words = Words::read(&form)?;
    let name = Uuid::new_v4().to_string();
    let (mut function, package) = match code {
        Code::Image(image) => {
            let mut spec = FunctionSpec {
                container: Container {
                    image,
                    ..Container::default()
                },
                // An image's log is no output, but what it says on purpose is.
                result: Some(ResultSpec {
                    from: Some(ResultSource::TerminationMessage),
                    ..ResultSpec::default()
                }),
                ..FunctionSpec::default()
            };
            words.limits().apply(&mut spec);
            (Function::new(&name, spec), None)
        }
        Code::Package(md5) => {
            let (runtime, image) = runtimes::chosen(&facade, &namespace, form.text("runtime_id")).await?;
            let bytes = form.package.as_deref().unwrap_or_default();
            let settings = Settings {
                runtime,
                entry: words.entry(),
                stored: checked(bytes, md5.as_deref())?,
                previous: None,
                updated: None,
            };
            let spec = package::spec(&name, &image, &settings, words.limits());
            let mut function = Function::new(&name, spec);
            settings.note(&mut function);
            (function, Some((settings.stored, bytes)))
        }
    };
    words.apply(&mut function.spec);
    function.metadata.namespace = Some(namespace);
    let written = facade.objects.create(&function).await?;
    if let Some((stored, bytes)) = package
        && let Err(refusal) = package::store(&facade, &written, &stored, bytes).await
    {
        // A function without its package would never start.
        facade.objects.delete::<Function>(&Key::of(&written)).await?;
        return Err(refusal);
    }
    facade.views.functions.seen(&written).await;
    Ok((StatusCode::CREATED, Json(sheet::shown(&written, 0, 0))))
}

/// The package, if it is one that may be kept and has the digest that the client says.
fn checked(bytes: &[u8], md5: Option<&str>) -> Result<Stored, Refusal> {
    if bytes.len() > package::MAX_PACKAGE {
        return Err(Refusal::TooLarge {
            limit: package::MAX_PACKAGE,
        });
    }
    let stored = package::check(bytes)?;
    match md5 {
        Some(md5) if !md5.eq_ignore_ascii_case(&stored.md5) => {
            Err(Refusal::Invalid("Package md5 mismatch.".to_owned()))
        }
        _ => Ok(stored),
    }
}

/// Functions
///
/// In the order of their ids.
#[utoipa::path(
    get, path = "/v1/functions", tag = "qinling", operation_id = "qinlingListFunctions",
    params(
        ("project_id" = Option<String>, Query),
        ("all_projects" = Option<String>, Query, description = "true: of every namespace"),
    ),
    responses((status = 200, description = "The functions", body = wire::Functions), Refused),
    security(("token" = [])),
)]
pub async fn list(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    QueryOf(query): QueryOf<BTreeMap<String, String>>,
) -> Result<Json<wire::Functions>, Refusal> {
    let filters = Filters::read(query, &["project_id"])?;
    let view = (&facade.views.functions, Resource::Functions);
    let mut admitted = listed(&facade, &caller, view, &filters).await?;
    admitted.retain(|function| filters.admit_project(&function.namespace().unwrap_or_default()));
    let newest = versions::newest(&facade, &admitted).await?;
    let listed = admitted.iter().map(|function| {
        let version = function.uid().and_then(|uid| newest.get(&uid).copied());
        sheet::listed(function, uses::count(&facade, function, 0), version.unwrap_or(0))
    });
    let mut functions: Vec<_> = listed.collect();
    functions.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(Json(wire::Functions { functions }))
}

/// One function, or its package
///
/// `download=true` answers with the zip.
#[utoipa::path(
    get, path = "/v1/functions/{id}", tag = "qinling", operation_id = "qinlingGetFunction",
    params(("id" = String, Path, description = "Function"), ("download" = Option<String>, Query)),
    responses(
        (status = 200, description = "The function", content(
            (wire::Function = "application/json"), (Vec<u8> = "application/zip"),
        )),
        (status = 405, description = "An image is not downloaded", body = super::failure::Fault),
        Refused,
    ),
    security(("token" = [])),
)]
pub async fn get(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf(id): PathOf<String>,
    QueryOf(query): QueryOf<BTreeMap<String, String>>,
) -> Result<Response, Refusal> {
    let function = find::function(&facade, &caller, Verb::Get, &id).await?;
    let download = query
        .get("download")
        .is_some_and(|word| word.eq_ignore_ascii_case("true"));
    if !download {
        return Ok(Json(show(&facade, &function).await?).into_response());
    }
    match Settings::of(&function) {
        Some(settings) => {
            let bytes = package::load(&facade, &function, &settings.stored).await?;
            Ok(zip(&map::id(function.as_ref()), bytes))
        }
        None => {
            let sentence = "Download image function is not allowed.".to_owned();
            Ok(fault(StatusCode::METHOD_NOT_ALLOWED, sentence))
        }
    }
}

/// A package as a file.
pub fn zip(name: &str, bytes: Vec<u8>) -> Response {
    let mut response = bytes.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/zip"));
    if let Ok(disposition) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, disposition);
    }
    response
}

async fn show(facade: &Facade, function: &Function) -> Result<wire::Function, Refusal> {
    let newest = match Settings::of(function) {
        Some(_) => latest(&versions::all(facade, function).await?),
        None => 0,
    };
    Ok(sheet::shown(function, uses::count(facade, function, 0), newest))
}

/// Changes a function
///
/// What the form leaves out stays; other fields in it are passed over. Of an image only name, description and timeout
/// can be changed, and so of a function with a job that is not over.
#[utoipa::path(
    put, path = "/v1/functions/{id}", tag = "qinling", operation_id = "qinlingUpdateFunction",
    params(("id" = String, Path, description = "Function")),
    request_body(content = serde_json::Value, content_type = "multipart/form-data", description = "name, description, code, package, entry, cpu, memory_size, timeout"),
    responses((status = 200, description = "The function", body = wire::Function), Refused),
    security(("token" = [])),
)]
pub async fn change(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf(id): PathOf<String>,
    form: Form,
) -> Result<Json<wire::Function>, Refusal> {
    let function = find::function(&facade, &caller, Verb::Update, &id).await?;
    let words = Words::read(&form)?;
    let code = form.text("code").map(Code::read).transpose()?;
    let source = form.text("source");
    let touches = words.changes_code() || code.is_some() || source.is_some() || form.package.is_some();
    if touches {
        uses::refuse_with_jobs(&facade, &function)?;
    }
    let settings = Settings::of(&function);
    let package = match &settings {
        _ if !touches => None,
        None => return Err(Refusal::Invalid(UNCHANGEABLE.to_owned())),
        Some(settings) => new_package(settings, code, source, form.package.as_deref())?,
    };
    if let Some(stored) = &package {
        let bytes = form.package.as_deref().unwrap_or_default();
        package::store(&facade, &function, stored, bytes).await?;
    }
    let written = changed(&facade, &facade.views.functions, &function, |function| {
        apply(function, &words, package.as_ref());
        Ok(())
    });
    let written = written.await?;
    let before = settings
        .filter(|_| package.is_some())
        .and_then(|old| old.previous);
    if let Some(before) = before {
        versions::forget_unused(&facade, &written, &before).await?;
    }
    Ok(Json(show(&facade, &written).await?))
}

/// The package that a change brings, if it brings one.
fn new_package(
    settings: &Settings,
    code: Option<Code>,
    source: Option<&str>,
    bytes: Option<&[u8]>,
) -> Result<Option<Stored>, Refusal> {
    let md5 = match code {
        Some(Code::Image(_)) => {
            return Err(Refusal::Invalid(
                "The function code type can not be changed.".to_owned(),
            ));
        }
        Some(Code::Package(md5)) => md5,
        None => None,
    };
    if source.is_some_and(|source| source != "package") {
        return Err(Refusal::Invalid(
            "The function code type can not be changed.".to_owned(),
        ));
    }
    let Some(bytes) = bytes else { return Ok(None) };
    if md5.as_deref() == Some(settings.stored.md5.as_str()) {
        let sentence = "The function code checksum is not changed.";
        return Err(Refusal::Invalid(sentence.to_owned()));
    }
    checked(bytes, md5.as_deref()).map(Some)
}

fn apply(function: &mut Function, words: &Words, package: Option<&Stored>) {
    words.apply(&mut function.spec);
    let name = function.name_any();
    let Some(mut settings) = Settings::of(function) else {
        return;
    };
    if let Some(entry) = &words.entry {
        settings.entry.clone_from(entry);
        function.spec.container.args = package::args(entry);
    }
    if let Some(stored) = package.filter(|stored| **stored != settings.stored) {
        settings.previous = Some(std::mem::replace(&mut settings.stored, stored.clone()));
        function.spec.pod.get_or_insert_default().volumes = package::volumes(&name, stored);
    }
    settings.updated = Some(Timestamp::now());
    settings.note(function);
}

/// Deletes a function
///
/// Refused while an alias, a webhook or a job that is not over stands for it. Its executions stay.
#[utoipa::path(
    delete, path = "/v1/functions/{id}", tag = "qinling", operation_id = "qinlingDeleteFunction",
    params(("id" = String, Path, description = "Function")),
    responses((status = 204, description = "It is gone"), Refused),
    security(("token" = [])),
)]
pub async fn delete(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf(id): PathOf<String>,
) -> Result<StatusCode, Refusal> {
    let id = fields::id("id", &id)?;
    let function = find::function(&facade, &caller, Verb::Delete, &id).await?;
    uses::refuse_used(&facade, &function)?;
    let key = Key::of(function.as_ref());
    facade.objects.delete::<Function>(&key).await?;
    facade.views.functions.gone(&function).await;
    Ok(StatusCode::NO_CONTENT)
}

/// Asks for more or fewer workers
///
/// `count` is checked and nothing follows: each execution has a pod of its own, made when it is needed.
#[utoipa::path(
    post, path = "/v1/functions/{id}/{scale}", tag = "qinling", operation_id = "qinlingScaleFunction",
    params(("id" = String, Path, description = "Function"), ("scale" = String, Path, description = "scale_up, scale_down or detach")),
    request_body(content = Option<serde_json::Value>, description = "count, of 1 or more; none with detach"),
    responses((status = 202, description = "It is noted"), Refused),
    security(("token" = [])),
)]
pub async fn scale(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf((id, scale)): PathOf<(String, String)>,
    Payload(body): Payload,
) -> Result<StatusCode, Refusal> {
    let id = fields::id("id", &id)?;
    find::function(&facade, &caller, Verb::Update, &id).await?;
    noted(&scale, &body)
}

/// Checks what is said of workers.
pub fn noted(scale: &str, body: &[u8]) -> Result<StatusCode, Refusal> {
    match scale {
        "detach" => Ok(StatusCode::ACCEPTED),
        "scale_up" | "scale_down" => {
            let fields = Fields::read(body, &["count"], &[])?;
            let missing = || Refusal::Invalid("Missing argument: \"count\"".to_owned());
            fields.integer("count", 1)?.ok_or_else(missing)?;
            Ok(StatusCode::ACCEPTED)
        }
        _ => Err(Refusal::NotFound("there is nothing at this path".to_owned())),
    }
}

/// Pods of a function
#[utoipa::path(
    get, path = "/v1/functions/{id}/workers", tag = "qinling", operation_id = "qinlingListWorkers",
    params(("id" = String, Path, description = "Function"), ("function_version" = Option<i64>, Query)),
    responses((status = 200, description = "The pods", body = wire::Workers), Refused),
    security(("token" = [])),
)]
pub async fn workers(
    State(facade): State<Facade>,
    Asker(caller): Asker,
    PathOf(id): PathOf<String>,
    QueryOf(query): QueryOf<BTreeMap<String, String>>,
) -> Result<Json<wire::Workers>, Refusal> {
    let id = fields::id("id", &id)?;
    let function = find::function(&facade, &caller, Verb::Get, &id).await?;
    let version = query
        .get("function_version")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let tasks = facade
        .views
        .tasks
        .by_facet(&Facet::Function(Key::of(function.as_ref())));
    let pod = |task: &Task| {
        let runs = phase(task) == Phase::Running && map::version(task) == version;
        let pod = task.status.as_ref()?.pod.as_ref().filter(|_| runs)?;
        Some(pod.name.clone())
    };
    let workers = tasks
        .iter()
        .filter_map(|task| pod(task))
        .map(|worker_name| wire::Worker {
            function_id: id.clone(),
            function_version: version,
            worker_name,
        });
    Ok(Json(wire::Workers {
        workers: workers.collect(),
    }))
}
