//! The questions that others ask about tokens and rights: `authentication.k8s.io` and `authorization.k8s.io`.
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{User, rbac::Attributes, tokens::API_AUDIENCE};
use crate::local::api::{
    core::Core,
    http::status::{ApiError, Result, Subject},
    meta,
    schema::FieldError,
};

/// Answers a review: the review with its status. `asker` is who sent it, `namespace` that of the path.
///
/// # Errors
/// 422 for a question that lacks something.
pub fn answer(core: &Core, asker: &User, kind: &str, namespace: &str, mut review: Value) -> Result<Value> {
    let status = match kind {
        "TokenReview" => token_review(core, &review)?,
        "SelfSubjectReview" => json!({"userInfo": user_info(asker)}),
        "SelfSubjectAccessReview" => access(core, asker, kind, &review)?,
        "SubjectAccessReview" => access(core, &subject(kind, &review)?, kind, &review)?,
        "LocalSubjectAccessReview" => {
            if meta::text(&review, &["spec", "resourceAttributes", "namespace"]) != namespace {
                let why = "must match metadata.namespace";
                let error = FieldError::invalid("spec.resourceAttributes.namespace", &namespace.into(), why);
                return Err(invalid(kind, &error));
            }
            access(core, &subject(kind, &review)?, kind, &review)?
        }
        "SelfSubjectRulesReview" => json!({
            "resourceRules": [], "nonResourceRules": [], "incomplete": true,
            "evaluationError": "rules are not listed; ask with a SelfSubjectAccessReview"
        }),
        _ => return Err(ApiError::unknown_resource()),
    };
    meta::set(&mut review, &["status"], status);
    if meta::at(&review, &["metadata"]).is_none_or(Value::is_null) {
        meta::set(&mut review, &["metadata"], json!({}));
    }
    if kind == "TokenReview" {
        // The secret does not go back over the wire.
        meta::remove(&mut review, &["spec", "token"]);
    }
    Ok(review)
}

fn invalid(kind: &str, error: &FieldError) -> ApiError {
    let group = if kind == "TokenReview" {
        "authentication.k8s.io"
    } else {
        "authorization.k8s.io"
    };
    ApiError::invalid(
        Subject {
            group,
            plural: "",
            kind,
        },
        "",
        std::slice::from_ref(error),
    )
}

fn user_info(user: &User) -> Value {
    let mut info = Map::new();
    info.insert("username".into(), user.name.clone().into());
    if !user.uid.is_empty() {
        info.insert("uid".into(), user.uid.clone().into());
    }
    info.insert("groups".into(), user.groups.clone().into());
    if !user.extra.is_empty() {
        info.insert("extra".into(), json!(user.extra));
    }
    Value::Object(info)
}

fn token_review(core: &Core, review: &Value) -> Result<Value> {
    let token = meta::text(review, &["spec", "token"]);
    if token.is_empty() {
        return Err(invalid("TokenReview", &FieldError::required("spec.token", "")));
    }
    let wanted = meta::texts(review, &["spec", "audiences"]);
    let wanted = if wanted.is_empty() {
        vec![API_AUDIENCE]
    } else {
        wanted
    };
    let refused = |why: &str| json!({"authenticated": false, "user": {}, "error": why});
    let Some(bearer) = core.tokens.bearer_of(core, token) else {
        return Ok(refused(
            "the token is not known, has ended, or what it was bound to is gone",
        ));
    };
    let audiences: Vec<&str> = wanted
        .into_iter()
        .filter(|audience| bearer.audiences.iter().any(|known| known == audience))
        .collect();
    if audiences.is_empty() {
        return Ok(refused(&format!(
            "the token is for audiences {:?}",
            bearer.audiences
        )));
    }
    Ok(json!({"authenticated": true, "user": user_info(&bearer.user), "audiences": audiences}))
}

/// Whom a SubjectAccessReview is about.
fn subject(kind: &str, review: &Value) -> Result<User> {
    let spec = &review["spec"];
    let name = meta::text(spec, &["user"]);
    let groups = meta::texts(spec, &["groups"]);
    if name.is_empty() && groups.is_empty() {
        let why = "at least one of user or group must be specified";
        return Err(invalid(kind, &FieldError::invalid("spec.user", &"".into(), why)));
    }
    let extra = spec.get("extra").and_then(Value::as_object).into_iter().flatten();
    let extra: BTreeMap<String, Vec<String>> = extra
        .filter_map(|(key, values)| {
            let values = values
                .as_array()?
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect();
            Some((key.clone(), values))
        })
        .collect();
    // Groups are taken as they are said; the asker knows whether the user is authenticated.
    Ok(User {
        name: name.to_owned(),
        uid: meta::text(spec, &["uid"]).to_owned(),
        groups: groups.into_iter().map(str::to_owned).collect(),
        extra,
    })
}

fn access(core: &Core, user: &User, kind: &str, review: &Value) -> Result<Value> {
    let spec = &review["spec"];
    let given = |field: &str| spec.get(field).filter(|value| value.is_object());
    let wanted = match (given("resourceAttributes"), given("nonResourceAttributes")) {
        (Some(resource), None) => Attributes {
            verb: meta::text(resource, &["verb"]).to_owned(),
            group: meta::text(resource, &["group"]).to_owned(),
            // Nothing said means everything, which only a star grants.
            resource: Some(meta::text(resource, &["resource"]))
                .filter(|r| !r.is_empty())
                .unwrap_or("*")
                .to_owned(),
            subresource: meta::text(resource, &["subresource"]).to_owned(),
            namespace: meta::text(resource, &["namespace"]).to_owned(),
            name: meta::text(resource, &["name"]).to_owned(),
            path: String::new(),
        },
        (None, Some(path)) => Attributes::path(meta::text(path, &["verb"]), meta::text(path, &["path"])),
        _ => {
            let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            return Err(invalid(
                kind,
                &FieldError::invalid("spec.resourceAttributes", &Value::Null, why),
            ));
        }
    };
    Ok(match core.policy().allows(user, &wanted) {
        Some(reason) if reason.is_empty() => json!({"allowed": true}),
        Some(reason) => json!({"allowed": true, "reason": reason}),
        None => json!({"allowed": false}),
    })
}
