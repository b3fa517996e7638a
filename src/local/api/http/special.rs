//! Resources and subresources that are no plain objects: reviews, bindings, evictions, tokens, logs, proxies.
use axum::body::Body;
use http::{Request, Response, StatusCode};
use serde_json::{Value, json};

use super::{
    logs,
    negotiate::{Accepted, Format},
    proxy, respond,
    router::{Exchange, json_body, text},
    status::{ApiError, Result, Subject},
};
use crate::local::api::{
    auth::{
        reviews,
        tokens::{self, API_AUDIENCE, Binding},
    },
    catalogue::{PODS, SERVICE_ACCOUNTS},
    meta,
    schema::FieldError,
    store::Address,
    verbs::{
        Call, WriteOptions,
        delete::{self, DeleteOptions},
        prepare,
        update::{self, Part},
    },
};

/// What answers instead of the store.
pub(super) enum Special {
    Review,
    Log,
    Proxy,
    Binding,
    Eviction,
    Token,
}

impl Special {
    pub fn of(exchange: &Exchange<'_>) -> Option<Self> {
        let resource = &exchange.kind.resource;
        match exchange.target.subresource.as_deref() {
            None if matches!(
                resource.group.as_str(),
                "authentication.k8s.io" | "authorization.k8s.io"
            ) =>
            {
                Some(Self::Review)
            }
            Some("log") if exchange.kind.is(PODS) => Some(Self::Log),
            Some("proxy") if exchange.kind.is(PODS) => Some(Self::Proxy),
            Some("binding") if exchange.kind.is(PODS) => Some(Self::Binding),
            Some("eviction") if exchange.kind.is(PODS) => Some(Self::Eviction),
            Some("token") if exchange.kind.is(SERVICE_ACCOUNTS) => Some(Self::Token),
            _ => None,
        }
    }

    pub async fn serve(self, exchange: &Exchange<'_>, request: Request<Body>) -> Result<Response<Body>> {
        match self {
            Self::Log => return logs::serve(exchange).await,
            Self::Proxy => return proxy::serve(exchange, request).await,
            Self::Review | Self::Binding | Self::Eviction | Self::Token => {}
        }
        let accepted = Accepted::choose(text(request.headers(), http::header::ACCEPT))?;
        let agent = text(request.headers(), http::header::USER_AGENT)
            .unwrap_or("")
            .to_owned();
        let options = WriteOptions::parse(exchange.query, &agent)?;
        let wanted = match self {
            Self::Binding => "Binding",
            Self::Eviction => "Eviction",
            Self::Token => "TokenRequest",
            _ => &exchange.kind.resource.kind,
        };
        let body = if exchange.kind.resource.kind == "SelfSubjectReview" {
            // Who asks is all there is to say, and `kubectl auth whoami` says it in protobuf.
            json!({})
        } else {
            json_body(request, wanted).await?
        };
        if !body.is_object() {
            return Err(ApiError::bad_request(format!(
                "the object provided is unrecognized (must be of type {wanted})"
            )));
        }
        match self {
            Self::Review => review(exchange, accepted.format, body),
            Self::Binding => bind(exchange, options, &body, accepted.format),
            Self::Eviction => evict(exchange, options, &body, accepted.format),
            Self::Token | Self::Log | Self::Proxy => issue(exchange, body, accepted.format),
        }
    }
}

fn success(format: Format) -> Response<Body> {
    let status =
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    respond::value(format, StatusCode::CREATED, &status)
}

fn review(exchange: &Exchange<'_>, format: Format, mut body: Value) -> Result<Response<Body>> {
    prepare::check_type(exchange.kind, &mut body)?;
    let kind = &exchange.kind.resource.kind;
    let namespace = exchange.target.namespace.as_deref().unwrap_or("");
    let answer = reviews::answer(exchange.core, exchange.user, kind, namespace, body)?;
    Ok(respond::value(format, StatusCode::CREATED, &answer))
}

/// What schedulers do: puts a pod on a node, once.
fn bind(
    exchange: &Exchange<'_>,
    options: WriteOptions,
    body: &Value,
    format: Format,
) -> Result<Response<Body>> {
    let name = exchange.name()?;
    let node = meta::text(body, &["target", "name"]);
    if node.is_empty() {
        let subject = Subject {
            group: "",
            plural: "",
            kind: "Binding",
        };
        return Err(ApiError::invalid(
            subject,
            name,
            &[FieldError::required("target.name", "")],
        ));
    }
    let uid = meta::meta_text(body, "uid");
    let annotations = meta::at(body, &["metadata", "annotations"])
        .and_then(Value::as_object)
        .cloned();
    let mut call = exchange.call(options);
    let subject = exchange.kind.subject();
    update::modify(&mut call, name, Part::Main, |_, pod| {
        if !uid.is_empty() && uid != meta::meta_text(pod, "uid") {
            return Err(ApiError::uid_conflict(
                subject,
                name,
                uid,
                meta::meta_text(pod, "uid"),
            ));
        }
        if meta::is_deleting(pod) {
            let why = format!("pod {name} is being deleted, cannot be assigned to a host");
            return Err(ApiError::conflict(subject, name, &why));
        }
        let current = meta::text(pod, &["spec", "nodeName"]);
        if !current.is_empty() {
            let why = format!("pod {name} is already assigned to node {current:?}");
            return Err(ApiError::conflict(subject, name, &why));
        }
        let mut bound = pod.clone();
        meta::set(&mut bound, &["spec", "nodeName"], node);
        for (key, value) in annotations.iter().flatten() {
            meta::set(&mut bound, &["metadata", "annotations", key], value.clone());
        }
        Ok(bound)
    })?;
    let mut call = exchange.call(WriteOptions::default());
    scheduled(&mut call, name)?;
    Ok(success(format))
}

/// The binding itself says so in the pod's conditions, as in `BindingREST.assignPod`.
fn scheduled(call: &mut Call<'_>, name: &str) -> Result<()> {
    let condition = json!({
        "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": meta::now()
    });
    add_condition(call, name, &condition)
}

/// There are no disruption budgets here, so an eviction is a deletion that says what it is, as in
/// `EvictionREST.addConditionAndDeletePod`.
fn evict(
    exchange: &Exchange<'_>,
    options: WriteOptions,
    body: &Value,
    format: Format,
) -> Result<Response<Body>> {
    let name = exchange.name()?;
    let deletion = body.get("deleteOptions").filter(|options| options.is_object());
    let mut deletion = match deletion {
        Some(body) => DeleteOptions::parse(Some(body), exchange.query)?,
        None => DeleteOptions::default(),
    };
    let mut call = exchange.call(options);
    if !call.options.dry_run && !deletion.dry_run {
        let current = call.stored(name)?;
        deletion.check(call.kind, &current)?;
        // Checked just now; the condition makes another version.
        deletion.version = None;
        let condition = json!({
            "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting", "lastTransitionTime": meta::now()
        });
        add_condition(&mut call, name, &condition)?;
    }
    delete::delete(&mut call, name, &deletion)?;
    Ok(success(format))
}

/// Puts a condition into a pod's status, in place of an earlier one of its type.
fn add_condition(call: &mut Call<'_>, name: &str, condition: &Value) -> Result<()> {
    update::modify(call, name, Part::Status, |_, pod| {
        let mut conditions: Vec<Value> = meta::at(pod, &["status", "conditions"])
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        conditions.retain(|old| old["type"] != condition["type"]);
        conditions.push(condition.clone());
        let mut new = pod.clone();
        meta::set(&mut new, &["status", "conditions"], conditions);
        Ok(new)
    })
    .map(drop)
}

/// Seconds that a token lives unless asked otherwise, and the least that may be asked.
const TOKEN_SECONDS: (i64, i64) = (3600, 600);

fn issue(exchange: &Exchange<'_>, mut body: Value, format: Format) -> Result<Response<Body>> {
    let name = exchange.name()?;
    let account = exchange.call(WriteOptions::default()).stored(name)?;
    let subject = Subject {
        group: "authentication.k8s.io",
        plural: "",
        kind: "TokenRequest",
    };
    let refuse = |error: FieldError| Err(ApiError::invalid(subject, "", &[error]));
    let seconds = body["spec"]
        .get("expirationSeconds")
        .and_then(Value::as_i64)
        .unwrap_or(TOKEN_SECONDS.0);
    if seconds < TOKEN_SECONDS.1 {
        let why = "may not specify a duration less than 10 minutes";
        return refuse(FieldError::invalid(
            "spec.expirationSeconds",
            &seconds.into(),
            why,
        ));
    }
    if seconds > 1 << 32 {
        let why = "may not specify a duration larger than 2^32 seconds";
        return refuse(FieldError::invalid(
            "spec.expirationSeconds",
            &seconds.into(),
            why,
        ));
    }
    let expires = jiff::Timestamp::now()
        .checked_add(jiff::SignedDuration::from_secs(seconds))
        .map_err(|error| ApiError::internal(error.to_string()))?;
    let mut audiences: Vec<String> = meta::texts(&body, &["spec", "audiences"])
        .into_iter()
        .map(str::to_owned)
        .collect();
    if audiences.is_empty() {
        audiences.push(API_AUDIENCE.into());
    }
    let pod = bound_pod(exchange, &body)?;
    let binding = Binding {
        namespace: &account.facts.namespace,
        account: name,
        account_uid: &account.facts.uid,
        pod: pod.as_ref().map(|(name, uid)| (name.as_str(), uid.as_str())),
        audiences: &audiences,
        expires,
    };
    let token = tokens::issue(exchange.core, &binding)?;
    meta::set(&mut body, &["apiVersion"], "authentication.k8s.io/v1");
    meta::set(&mut body, &["kind"], "TokenRequest");
    for (field, value) in [("name", name), ("namespace", &*account.facts.namespace)] {
        meta::set_meta(&mut body, field, value);
    }
    meta::set(&mut body, &["spec", "audiences"], audiences);
    meta::set(&mut body, &["spec", "expirationSeconds"], seconds);
    meta::set(
        &mut body,
        &["status"],
        json!({"token": token, "expirationTimestamp": meta::time(expires)}),
    );
    Ok(respond::value(format, StatusCode::CREATED, &body))
}

fn bound_pod(exchange: &Exchange<'_>, body: &Value) -> Result<Option<(String, String)>> {
    let Some(reference) = meta::at(body, &["spec", "boundObjectRef"]).filter(|value| value.is_object())
    else {
        return Ok(None);
    };
    let name = meta::text(reference, &["name"]);
    if meta::text(reference, &["kind"]) != "Pod" {
        return Err(ApiError::bad_request(
            "cannot bind token to object of this kind: only Pod is supported",
        ));
    }
    let pods = Subject {
        group: "",
        plural: "pods",
        kind: "Pod",
    };
    let namespace = exchange.target.namespace.as_deref().unwrap_or("");
    let pod = exchange
        .core
        .store
        .get(&Address::new(&PODS.into(), namespace, name));
    let pod = pod.ok_or_else(|| ApiError::not_found(pods, name))?;
    let uid = meta::text(reference, &["uid"]);
    if !uid.is_empty() && uid != &*pod.facts.uid {
        return Err(ApiError::uid_conflict(pods, name, uid, &pod.facts.uid));
    }
    let account = exchange.name()?;
    let own = meta::text(&pod.value(), &["spec", "serviceAccountName"]).to_owned();
    if own != account {
        let why = format!(
            "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
        );
        return Err(ApiError::bad_request(why));
    }
    Ok(Some((name.to_owned(), pod.facts.uid.to_string())))
}
