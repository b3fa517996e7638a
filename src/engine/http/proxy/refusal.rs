//! Telling the API server's own answers from those that it passes on. Pure.
//!
//! A proxied answer bears no mark. What the API server says by itself is a `Status` object of its API
//! (`k8s.io/apiserver/pkg/endpoints/handlers/responsewriters`), so an answer counts as its own where it is one that the
//! proxy, authentication or authorization gives on this very request. A function that answers with such an object, word
//! for word and with the name of its own pod, is misjudged; so is an error page of a load balancer before the API
//! server, which counts as the function's answer.

use kube::core::{Status, response::StatusSummary};

use super::super::{Answer, route::PodProxy};

/// Bytes of an answer that are looked at. The API server's own are shorter.
pub const LOOKED_AT: usize = 16 * 1024;

/// How the proxy begins what it says where it got no answer (`k8s.io/apimachinery/pkg/util/proxy/transport.go`).
const NO_ANSWER: &str = "error trying to reach service: ";
/// How Go goes on where there was no connection, so that nothing was sent.
const NO_CONNECTION: &str = "dial tcp ";

/// Why the API server did not pass a request on, or got no answer to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its status code.
    pub code: u16,
    /// Its words.
    pub message: String,
    /// True where the request may have reached the function.
    pub sent: bool,
}

/// The API server's own words, where the answer is not the function's.
pub fn refusal(answer: &Answer, pod: &PodProxy) -> Option<Refusal> {
    let status = status(answer)?;
    let about_pod = || {
        let details = status.details.as_ref();
        details.is_some_and(|details| {
            let name = details.name.as_str();
            let port = name.strip_prefix(pod.pod.as_str());
            details.kind == "pods" && (name == pod.pod || port == Some(&format!(":{}", pod.port)))
        })
    };
    let sent = match (status.code, status.reason.as_str()) {
        (403, "Forbidden") | (404, "NotFound") if about_pod() => false,
        (500.., _) if status.message.starts_with(NO_ANSWER) => {
            let why = status.message.get(NO_ANSWER.len()..).unwrap_or_default();
            !why.starts_with(NO_CONNECTION)
        }
        // These name no pod. A function that asks the API server itself may pass them on, so nothing is promised.
        (401, "Unauthorized") | (429, "TooManyRequests") => true,
        (400, "BadRequest") if status.message == "address not allowed" => true,
        _ => return None,
    };
    Some(Refusal {
        code: status.code,
        message: status.message,
        sent,
    })
}

/// The answer as a `Status` that speaks of a failure.
fn status(answer: &Answer) -> Option<Status> {
    let essence = answer.content_type.as_deref()?.split(';').next()?.trim();
    if answer.status < 400 || answer.truncated {
        return None;
    }
    let typed: Typed = match essence {
        "application/json" => serde_json::from_slice(&answer.body).ok()?,
        // The API server answers in what the request accepts.
        "application/yaml" => serde_yaml::from_slice(&answer.body).ok()?,
        _ => return None,
    };
    let whole = typed.kind == "Status" && typed.api_version == "v1" && typed.status.code == answer.status;
    (whole && typed.status.status == Some(StatusSummary::Failure)).then_some(typed.status)
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Typed {
    kind: String,
    api_version: String,
    #[serde(flatten)]
    status: Status,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod() -> PodProxy {
        let nobody = tower::service_fn(|_: http::Request<kube::client::Body>| async {
            Err::<http::Response<axum::body::Body>, _>(tower::BoxError::from("nobody"))
        });
        PodProxy {
            client: kube::Client::new(nobody, "n"),
            namespace: "n".into(),
            pod: "t-abc-1".into(),
            port: 8080,
        }
    }

    fn failure(code: u16, reason: &str, message: &str, details: Value) -> Value {
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code, "reason": reason,
            "message": message, "details": details,
        })
    }

    fn answer(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Answer {
        Answer {
            status,
            content_type: Some(content_type.into()),
            body: body.into(),
            ..Answer::default()
        }
    }

    /// Whether the request may have been sent, for an answer of the API server's own.
    fn sent(status: u16, body: &Value) -> Option<bool> {
        let answer = answer(status, "application/json", body.to_string());
        refusal(&answer, &pod()).map(|refusal| refusal.sent)
    }

    #[tokio::test]
    async fn the_proxys_own_failures_are_known_and_tell_whether_the_request_can_have_arrived() {
        let unreachable = |why: &str| {
            let message = format!("error trying to reach service: {why}");
            sent(503, &failure(503, "ServiceUnavailable", &message, Value::Null))
        };
        assert_eq!(
            unreachable("dial tcp 10.0.0.1:8080: connect: connection refused"),
            Some(false)
        );
        assert_eq!(unreachable("dial tcp 10.0.0.1:8080: i/o timeout"), Some(false));
        assert_eq!(unreachable("EOF"), Some(true));
        assert_eq!(
            unreachable("read tcp 10.0.0.2:1->10.0.0.1:8080: read: connection reset by peer"),
            Some(true)
        );
        let forbidden = failure(
            403,
            "Forbidden",
            "pods \"t-abc-1:8080\" is forbidden: User \"u\" cannot get resource \"pods/proxy\"",
            json!({"name": "t-abc-1:8080", "kind": "pods"}),
        );
        assert_eq!(sent(403, &forbidden), Some(false));
        let gone = failure(
            404,
            "NotFound",
            "pods \"t-abc-1\" not found",
            json!({"name": "t-abc-1", "kind": "pods"}),
        );
        assert_eq!(sent(404, &gone), Some(false));
        let unauthorized = failure(401, "Unauthorized", "Unauthorized", Value::Null);
        assert_eq!(sent(401, &unauthorized), Some(true));
    }

    #[tokio::test]
    async fn a_refusal_in_yaml_is_known_too() {
        let body = "apiVersion: v1\ncode: 503\nkind: Status\nmessage: 'error trying to reach service: EOF'\nmetadata: {}\n\
                    reason: ServiceUnavailable\nstatus: Failure\n";
        let expected = Refusal {
            code: 503,
            message: "error trying to reach service: EOF".into(),
            sent: true,
        };
        assert_eq!(
            refusal(&answer(503, "application/yaml", body), &pod()),
            Some(expected)
        );
    }

    #[tokio::test]
    async fn answers_of_the_function_stay_its_own() {
        let proxy = "error trying to reach service: EOF";
        let other = json!({"name": "other", "kind": "pods"});
        let strangers = [
            // Words of the API server about something else, which the function passes on.
            (
                404,
                failure(404, "NotFound", "pods \"other\" not found", other.clone()),
            ),
            (
                403,
                failure(403, "Forbidden", "pods \"other\" is forbidden", other),
            ),
            (
                409,
                failure(
                    409,
                    "Conflict",
                    "changed",
                    json!({"name": "t-abc-1", "kind": "pods"}),
                ),
            ),
            (
                503,
                failure(503, "ServiceUnavailable", "the server is busy", Value::Null),
            ),
            (503, json!({"error": proxy})),
            // The code says other than the object.
            (500, failure(503, "ServiceUnavailable", proxy, Value::Null)),
            (200, failure(200, "ServiceUnavailable", proxy, Value::Null)),
        ];
        for (status, body) in strangers {
            assert_eq!(sent(status, &body), None, "{status} {body}");
        }
        let whole = failure(503, "ServiceUnavailable", proxy, Value::Null).to_string();
        for content_type in ["text/plain", "text/html", "application/problem+json"] {
            let told = refusal(&answer(503, content_type, whole.clone()), &pod());
            assert_eq!(told, None, "{content_type}");
        }
        for body in ["", "{", "null", "[]", "[[[[", "\u{0}"] {
            for content_type in ["application/json", "application/yaml"] {
                assert_eq!(
                    refusal(&answer(503, content_type, body), &pod()),
                    None,
                    "{body:?}"
                );
            }
        }
        let cut = Answer {
            truncated: true,
            ..answer(503, "application/json", whole)
        };
        assert_eq!(refusal(&cut, &pod()), None);
    }
}
