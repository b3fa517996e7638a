//! What goes over a socket: one JSON object in each message of text. Pure.

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{failure::told, wire::Unit};
use crate::facade::refusal::Refusal;

/// What a healthy server says from time to time.
pub const KEEP_ALIVE: &str = r#"{"ping":"pong"}"#;

/// A call.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Its name.
    pub call: String,
    /// What the client calls the stream of its answers.
    pub stream_id: String,
    /// What is sent with it.
    pub payload: Map<String, Value>,
    /// Who calls.
    #[serde(default)]
    pub bearer: Option<String>,
}

impl Request {
    /// The call in a message; `None` for what is none, to which UCloud says nothing.
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Frame<'a, P> {
    stream_id: &'a str,
    payload: P,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(rename = "type")]
    kind: &'static str,
}

/// One of several answers on a stream.
pub fn message(stream: &str, payload: &impl Serialize) -> String {
    written(&Frame {
        stream_id: stream,
        payload,
        status: None,
        kind: "message",
    })
}

/// The last answer on a stream.
pub fn response(stream: &str, outcome: &Result<Value, Refusal>) -> String {
    match outcome {
        Ok(payload) => ended(stream, StatusCode::OK, payload),
        Err(refusal) => {
            let (status, body) = told(refusal);
            ended(stream, status, &body)
        }
    }
}

/// The answer to a call that there is not.
pub fn unknown(stream: &str) -> String {
    ended(stream, StatusCode::NOT_FOUND, &Unit {})
}

fn ended(stream: &str, status: StatusCode, payload: &impl Serialize) -> String {
    written(&Frame {
        stream_id: stream,
        payload,
        status: Some(status.as_u16()),
        kind: "response",
    })
}

fn written(frame: &impl Serialize) -> String {
    // Numbers are finite or become null, and keys are strings: serialization cannot fail.
    serde_json::to_string(frame).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn frames_are_written_in_the_order_that_ucloud_has() {
        assert_eq!(
            message("0", &json!({"jobId": "J"})),
            r#"{"streamId":"0","payload":{"jobId":"J"},"type":"message"}"#
        );
        assert_eq!(
            response("1", &Ok(json!({}))),
            r#"{"streamId":"1","payload":{},"status":200,"type":"response"}"#
        );
        assert_eq!(
            response("1", &Err(Refusal::NotFound("there is no task nope".into()))),
            r#"{"streamId":"1","payload":{"why":"Not Found","errorCode":null},"status":404,"type":"response"}"#
        );
        assert_eq!(
            unknown("\"\u{0}"),
            r#"{"streamId":"\"\u0000","payload":{},"status":404,"type":"response"}"#
        );
    }

    #[test]
    fn a_call_is_read_with_what_a_client_adds_or_leaves_out() {
        let whole = r#"{"call":"task.listen","streamId":"0","payload":{},"bearer":"t","project":null,"causedBy":"x"}"#;
        let request = Request::parse(whole).unwrap();
        assert_eq!(
            (
                request.call.as_str(),
                request.stream_id.as_str(),
                request.bearer.as_deref()
            ),
            ("task.listen", "0", Some("t"))
        );
        for bearer in ["", r#","bearer":null"#] {
            let text = format!(r#"{{"call":"c","streamId":"s","payload":{{"a":[1]}}{bearer}}}"#);
            assert_eq!(Request::parse(&text).unwrap().bearer, None);
        }
    }

    #[test]
    fn what_is_no_call_is_passed_over() {
        for text in [
            "",
            "READY",
            "null",
            "[]",
            "{}",
            r#"{"call":"c","streamId":"s"}"#,
            r#"{"call":"c","payload":{}}"#,
            r#"{"streamId":"s","payload":{}}"#,
            r#"{"call":"c","streamId":0,"payload":{}}"#,
            r#"{"call":"c","streamId":"s","payload":[]}"#,
            r#"{"call":"c","streamId":"s","payload":null}"#,
            r#"{"call":"c","streamId":"s","payload":{}"#,
            r#"{"call":"c","streamId":"s","payload":{}}{}"#,
        ] {
            assert_eq!(Request::parse(text), None, "{text}");
        }
        let deep = format!(
            r#"{{"call":"c","streamId":"s","payload":{{"a":{}"#,
            "[".repeat(100_000)
        );
        assert_eq!(Request::parse(&deep), None);
    }

    proptest! {
        #[test]
        fn whatever_a_stream_is_called_comes_back(stream in ".{0,40}") {
            let frame: Value = serde_json::from_str(&unknown(&stream)).unwrap();
            prop_assert_eq!(&frame["streamId"], &json!(stream));
        }

        #[test]
        fn any_text_is_a_call_or_none(text in "\\PC{0,80}") {
            Request::parse(&text);
        }
    }
}
