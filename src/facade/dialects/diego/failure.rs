//! What goes wrong, in the words of this API.
//!
//! An error that a client is to act on is a protobuf message in an answer with status 200, and its clients go by type and
//! text. What they should try again is an answer that is no protobuf at all: the Go client (`bbs/client.go`) repeats that
//! three times, half a second apart, and the error in a message never.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use prost::Message as _;

use super::messages::{Error, ErrorType, State};
use crate::facade::refusal::Refusal;

/// Media type of messages.
pub const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");

/// Why a request is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// An error of this API.
    Told(Error),
    /// A refusal of the base, which is not about the request.
    Refused(Refusal),
}

/// An error of this type.
pub fn error(kind: ErrorType, message: impl Into<String>) -> Failure {
    Failure::Told(Error {
        kind: kind.into(),
        message: message.into(),
    })
}

/// The request makes no sense.
pub fn bad_request() -> Failure {
    error(ErrorType::InvalidRequest, "the request received is invalid")
}

/// The request is wrong in a way that a sentence helps with.
pub fn invalid(sentence: impl Into<String>) -> Failure {
    error(ErrorType::InvalidRequest, sentence)
}

/// There is no such task.
pub fn not_found() -> Failure {
    error(
        ErrorType::ResourceNotFound,
        "the requested resource could not be found",
    )
}

/// There is such a task already.
pub fn exists() -> Failure {
    error(ErrorType::ResourceExists, "the requested resource already exists")
}

/// The task cannot come from the one state into the other.
pub fn transition(from: State, to: State) -> Failure {
    let text = format!("Cannot transition from {from:?} to {to:?}");
    error(ErrorType::InvalidStateTransition, text)
}

/// Another cell runs the task.
pub fn elsewhere(recorded: &str, caller: &str) -> Failure {
    let text = format!("Running on cell {recorded} not {caller}");
    error(ErrorType::RunningOnDifferentCell, text)
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotFound(_) => not_found(),
            Refusal::Conflict(_) => error(
                ErrorType::ResourceConflict,
                "the requested resource is in a conflicting state",
            ),
            Refusal::Invalid(sentence) => invalid(sentence),
            too_large @ Refusal::TooLarge { .. } => invalid(too_large.to_string()),
            // This API has no word for it: its clients may do anything. Trying again would not help them.
            Refusal::Forbidden(sentence) => error(ErrorType::UnknownError, sentence),
            other => Self::Refused(other),
        }
    }
}

/// All answers have their error as field 1, so one message stands for all.
#[derive(Clone, PartialEq, prost::Message)]
struct Failed {
    #[prost(message, optional, tag = "1")]
    error: Option<Error>,
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Self::Told(error) => message(Failed { error: Some(error) }.encode_to_vec()),
            Self::Refused(refusal) => refusal.into_response(),
        }
    }
}

/// An answer that is this message.
pub fn message(bytes: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(bytes));
    response.headers_mut().insert(header::CONTENT_TYPE, PROTOBUF);
    response
}

/// A refusal in the shape of this API: an error where trying again does not help, a line of text where it does and where
/// the path or method is not there.
pub fn refuse(refusal: &Refusal) -> Response {
    match Failure::from(refusal.clone()) {
        _ if matches!(refusal, Refusal::NotFound(_)) => plain(StatusCode::NOT_FOUND, "404 page not found"),
        Failure::Told(error) => Failure::Told(error).into_response(),
        Failure::Refused(Refusal::TooMany { .. }) => {
            plain(StatusCode::SERVICE_UNAVAILABLE, "too many requests at once")
        }
        Failure::Refused(other) => plain(other.status(), &other.to_string()),
    }
}

fn plain(status: StatusCode, text: &str) -> Response {
    (status, format!("{text}\n")).into_response()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::body::to_bytes;

    use super::*;

    async fn told(refusal: Refusal) -> (u16, String, Vec<u8>) {
        let response = refuse(&refusal);
        let media = response.headers()[header::CONTENT_TYPE]
            .to_str()
            .unwrap()
            .to_owned();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, media, body.to_vec())
    }

    #[tokio::test]
    async fn what_may_be_tried_again_is_no_protobuf_and_all_else_is_an_error_in_a_200() {
        let text = |body: &[u8]| String::from_utf8(body.to_vec()).unwrap();
        for (refusal, status, line) in [
            (
                Refusal::TooMany {
                    retry: Duration::ZERO,
                },
                503,
                "too many requests at once\n",
            ),
            (Refusal::Unavailable("away".into()), 503, "away\n"),
            (Refusal::Internal("broken".into()), 500, "broken\n"),
            (Refusal::Unauthenticated("who?".into()), 401, "who?\n"),
            (Refusal::Method, 405, "this method is not allowed here\n"),
            (
                Refusal::Slow(Duration::from_secs(1)),
                408,
                "the request did not arrive within 1 seconds\n",
            ),
            (Refusal::NotFound("x".into()), 404, "404 page not found\n"),
        ] {
            let (code, media, body) = told(refusal.clone()).await;
            assert_eq!((code, text(&body).as_str()), (status, line), "{refusal:?}");
            assert!(media.starts_with("text/plain"), "{media}");
        }
        for (refusal, kind, sentence) in [
            (
                Refusal::Forbidden("ann cannot".into()),
                ErrorType::UnknownError,
                "ann cannot",
            ),
            (Refusal::Invalid("bad".into()), ErrorType::InvalidRequest, "bad"),
            (
                Refusal::TooLarge { limit: 5 },
                ErrorType::InvalidRequest,
                "the body may have at most 5 bytes",
            ),
            (
                Refusal::Conflict("c".into()),
                ErrorType::ResourceConflict,
                "the requested resource is in a conflicting state",
            ),
        ] {
            let (code, media, body) = told(refusal.clone()).await;
            assert_eq!(
                (code, media.as_str()),
                (200, "application/x-protobuf"),
                "{refusal:?}"
            );
            let error = Failed::decode(&*body).unwrap().error.unwrap();
            assert_eq!(
                (error.kind(), error.message.as_str()),
                (kind, sentence),
                "{refusal:?}"
            );
        }
    }

    #[test]
    fn an_error_is_the_first_field_of_any_answer() {
        let Failure::Told(error) = not_found() else {
            panic!()
        };
        let bytes = Failed { error: Some(error) }.encode_to_vec();
        let mut wanted = vec![0x0a, 0x2d, 0x08, 0x0d, 0x12, 0x29];
        wanted.extend_from_slice(b"the requested resource could not be found");
        assert_eq!(bytes, wanted);
    }

    #[test]
    fn texts_name_states_and_cells() {
        let text = |failure: Failure| match failure {
            Failure::Told(error) => error.message,
            Failure::Refused(refusal) => refusal.to_string(),
        };
        assert_eq!(
            text(transition(State::Running, State::Resolving)),
            "Cannot transition from Running to Resolving"
        );
        assert_eq!(text(elsewhere("a", "b")), "Running on cell a not b");
    }
}
