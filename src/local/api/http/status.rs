//! Refusals: every answer that is not a success is a `meta/v1 Status`, with the words the Kubernetes API server uses.
//!
//! Texts follow `k8s.io/apimachinery/pkg/api/errors` and `k8s.io/apiserver/pkg/endpoints`, since clients and people
//! both read them.
use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::local::api::schema::FieldError;

/// One entry of `details.causes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// `FieldValueRequired`, `FieldValueInvalid`, ... (`metav1.CauseType`).
    pub reason: String,
    /// What is wrong, without the field.
    pub message: String,
    /// Path in the object, dots and brackets.
    pub field: String,
}

impl Cause {
    fn json(&self) -> Value {
        json!({"reason": self.reason, "message": self.message, "field": self.field})
    }
}

impl From<&FieldError> for Cause {
    fn from(error: &FieldError) -> Self {
        Self {
            reason: error.kind.reason().into(),
            message: error.message.clone(),
            field: error.field.clone(),
        }
    }
}

/// What a refusal is about: the plural (or for `Invalid` the kind), its group and the object's name.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// API group, empty for core.
    pub group: &'a str,
    /// Plural resource name.
    pub plural: &'a str,
    /// Kind.
    pub kind: &'a str,
}

impl Subject<'_> {
    /// `pods` or `tasks.errand.dev`.
    pub fn qualified(&self) -> String {
        qualify(self.plural, self.group)
    }
}

fn qualify(word: &str, group: &str) -> String {
    if group.is_empty() {
        word.to_string()
    } else {
        format!("{word}.{group}")
    }
}

/// A refused request. `Display` gives the message.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// HTTP status.
    pub code: StatusCode,
    /// `metav1.StatusReason`.
    pub reason: &'static str,
    /// A sentence for people.
    pub message: String,
    /// `details` without causes.
    pub details: Vec<(&'static str, Value)>,
    /// `details.causes`.
    pub causes: Vec<Cause>,
    /// `metadata.continue` of an expired list.
    pub continue_token: Option<String>,
}

const RETRY: &str = "retryAfterSeconds";

/// Result of everything that may be refused.
pub type Result<T, E = ApiError> = std::result::Result<T, E>;

impl ApiError {
    /// A refusal with nothing but code, reason and text.
    pub fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: Vec::new(),
            causes: Vec::new(),
            continue_token: None,
        }
    }

    fn about(mut self, name: &str, group: &str, kind: &str) -> Self {
        for (key, value) in [("name", name), ("group", group), ("kind", kind)] {
            if !value.is_empty() {
                self.details.push((key, value.into()));
            }
        }
        self
    }

    /// 404 for an object.
    pub fn not_found(subject: Subject<'_>, name: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "NotFound",
            format!("{} {name:?} not found", subject.qualified()),
        )
        .about(name, subject.group, subject.plural)
    }

    /// 404 for a path or a resource nobody serves.
    pub fn unknown_resource() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "NotFound",
            "the server could not find the requested resource",
        )
    }

    /// 409 for a name that is taken.
    pub fn already_exists(subject: Subject<'_>, name: &str) -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "AlreadyExists",
            format!("{} {name:?} already exists", subject.qualified()),
        )
        .about(name, subject.group, subject.plural)
    }

    /// 409 with the given cause.
    pub fn conflict(subject: Subject<'_>, name: &str, why: &str) -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "Conflict",
            format!(
                "Operation cannot be fulfilled on {} {name:?}: {why}",
                subject.qualified()
            ),
        )
        .about(name, subject.group, subject.plural)
    }

    /// 409 for a stale resourceVersion.
    pub fn stale(subject: Subject<'_>, name: &str) -> Self {
        Self::conflict(
            subject,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 409 for a uid that is not the stored object's.
    pub fn uid_conflict(subject: Subject<'_>, name: &str, wanted: &str, stored: &str) -> Self {
        Self::conflict(
            subject,
            name,
            &format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {stored}"),
        )
    }

    /// 422 with its causes.
    pub fn invalid(subject: Subject<'_>, name: &str, errors: &[FieldError]) -> Self {
        let kind = qualify(subject.kind, subject.group);
        let message = format!("{kind} {name:?} is invalid: {}", FieldError::aggregate(errors));
        let mut error = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message).about(
            name,
            subject.group,
            subject.kind,
        );
        error.causes = errors.iter().map(Cause::from).collect();
        error
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// 401.
    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized")
    }

    /// 403 about an object.
    pub fn forbidden(subject: Subject<'_>, name: &str, why: &str) -> Self {
        let named = if name.is_empty() {
            String::new()
        } else {
            format!(" {name:?}")
        };
        Self::new(
            StatusCode::FORBIDDEN,
            "Forbidden",
            format!("{}{named} is forbidden: {why}", subject.qualified()),
        )
        .about(name, subject.group, subject.plural)
    }

    /// 403 about a path that is no resource.
    pub fn forbidden_path(why: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden", format!("forbidden: {why}"))
    }

    /// 405.
    pub fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
    }

    /// 406.
    pub fn not_acceptable() -> Self {
        Self::new(
            StatusCode::NOT_ACCEPTABLE,
            "NotAcceptable",
            "only the following media types are accepted: application/json, application/yaml",
        )
    }

    /// 415 with the types that would do.
    pub fn unsupported_media_type(accepted: &str) -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "UnsupportedMediaType",
            format!(
                "the body of the request was in an unknown format - accepted media types include: {accepted}"
            ),
        )
    }

    /// 413 for a request body.
    pub fn body_too_large(limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestEntityTooLarge",
            format!("Request entity too large: limit is {limit}"),
        )
    }

    /// 413 for an object that would not fit the store. A real cluster says `etcdserver: request is too large`.
    pub fn object_too_large(size: usize, limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestEntityTooLarge",
            format!(
                "etcdserver: request is too large: the object has {size} bytes, the limit is {limit} bytes"
            ),
        )
    }

    /// 410: the history that a watch or list asks for is gone.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, "Expired", message)
    }

    /// 504 for a resourceVersion that was never given out.
    pub fn version_from_future(asked: u64, current: u64) -> Self {
        let mut error = Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "Timeout",
            format!("Timeout: Too large resource version: {asked}, current: {current}"),
        );
        error.details.push((RETRY, 1.into()));
        error.causes.push(Cause {
            reason: "ResourceVersionTooLarge".into(),
            message: "Too large resource version".into(),
            field: String::new(),
        });
        error
    }

    /// 500.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalError",
            format!("Internal error occurred: {}", message.into()),
        )
    }

    /// Seconds after which to try again.
    pub fn retry_after(&self) -> Option<u64> {
        self.details
            .iter()
            .find(|(key, _)| *key == RETRY)
            .and_then(|(_, value)| value.as_u64())
    }

    /// The Status object.
    pub fn status(&self) -> Value {
        let mut metadata = Map::new();
        if let Some(token) = &self.continue_token {
            metadata.insert("continue".into(), token.clone().into());
        }
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": metadata,
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
        });
        let mut details: Map<String, Value> = self
            .details
            .iter()
            .map(|(key, value)| ((*key).into(), value.clone()))
            .collect();
        if !self.causes.is_empty() {
            details.insert("causes".into(), self.causes.iter().map(Cause::json).collect());
        }
        if !details.is_empty() {
            status["details"] = details.into();
        }
        status["code"] = self.code.as_u16().into();
        status
    }
}

/// The Status that answers a delete after which nothing is left.
pub fn deleted(subject: Subject<'_>, name: &str, uid: &str) -> Value {
    let mut details = Map::new();
    for (key, value) in [
        ("name", name),
        ("group", subject.group),
        ("kind", subject.plural),
        ("uid", uid),
    ] {
        if !value.is_empty() {
            details.insert(key.into(), value.into());
        }
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASKS: Subject<'_> = Subject {
        group: "errand.dev",
        plural: "tasks",
        kind: "Task",
    };

    #[test]
    fn not_found_names_the_group_qualified_resource() {
        assert_eq!(
            ApiError::not_found(TASKS, "x").status(),
            json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "tasks.errand.dev \"x\" not found", "reason": "NotFound",
                "details": {"name": "x", "group": "errand.dev", "kind": "tasks"}, "code": 404
            })
        );
    }

    #[test]
    fn invalid_lists_each_cause_once_in_the_message() {
        let missing = FieldError::required("spec.image", "");
        let error = ApiError::invalid(
            TASKS,
            "x",
            &[missing.clone(), missing, FieldError::forbidden("spec.a", "no")],
        );
        assert_eq!(
            error.message,
            "Task.errand.dev \"x\" is invalid: [spec.image: Required value, spec.a: Forbidden: no]"
        );
        assert_eq!(error.status()["details"]["kind"], "Task");
    }
}
