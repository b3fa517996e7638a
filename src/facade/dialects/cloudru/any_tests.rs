//! Bytes as Google's own library writes them (protobuf 6 for Python, `SerializeToString` in base64).

use super::*;

fn documented(message: Message) -> Value {
    serde_json::to_value(message.into_any(AnyForm::Documented)).unwrap()
}

fn bytes(message: &Message) -> String {
    STANDARD.encode(message.bytes())
}

fn structure(value: Value) -> Message {
    Message::Struct(value.as_object().unwrap().clone())
}

#[test]
fn text_is_a_string_value() {
    for (text, wanted) in [("c-42", "CgRjLTQy"), ("", ""), ("é", "CgLDqQ==")] {
        let any = documented(Message::Text(text.into()));
        assert_eq!(any, json!({"typeUrl": STRING_VALUE, "value": wanted}));
    }
    let long = bytes(&Message::Text("x".repeat(200)));
    assert!(long.starts_with("CsgBeHh4") && long.len() == 272, "{long}");
}

#[test]
fn any_json_object_is_a_struct() {
    let all = json!({"a": null, "b": 1.5, "c": "", "d": true, "e": false, "f": {"x": [1, "y", []]}, "g": {}, "": -3});
    let wanted = "CgcKAWESAggACg4KAWISCREAAAAAAAD4PwoHCgFjEgIaAAoHCgFkEgIgAQoHCgFlEgIgAAokCgFmEh8qHQobCgF4EhYyFAoJEQAAAAAAAPA/CgMaAXkKAjIACgcKAWcSAioACg0KABIJEQAAAAAAAAjA";
    assert_eq!(bytes(&structure(all)), wanted);
    assert_eq!(bytes(&structure(json!({}))), "");
}

#[test]
fn error_info_is_written_field_by_field() {
    let info = |metadata: &[(&str, &str)]| Message::ErrorInfo {
        reason: "TimedOut".into(),
        domain: "errand.dev".into(),
        metadata: metadata
            .iter()
            .map(|(key, value)| ((*key).into(), (*value).into()))
            .collect(),
    };
    assert_eq!(bytes(&info(&[])), "CghUaW1lZE91dBIKZXJyYW5kLmRldg==");
    assert_eq!(
        bytes(&info(&[("k", "v"), ("z", "")])),
        "CghUaW1lZE91dBIKZXJyYW5kLmRldhoGCgFrEgF2GgUKAXoSAA=="
    );
}

#[test]
fn each_form_is_written_as_its_readers_expect_it() {
    let info = || Message::ErrorInfo {
        reason: "TimedOut".into(),
        domain: "errand.dev".into(),
        metadata: BTreeMap::new(),
    };
    let (text, fields) = (|| Message::Text("c-42".into()), || structure(json!({"a": 1})));
    for (message, proto3, both) in [
        (
            text(),
            json!({"@type": STRING_VALUE, "value": "c-42"}),
            json!({"typeUrl": STRING_VALUE, "@type": STRING_VALUE, "value": "CgRjLTQy"}),
        ),
        (
            fields(),
            json!({"@type": STRUCT, "value": {"a": 1}}),
            json!({"typeUrl": STRUCT, "@type": STRUCT, "value": bytes(&fields())}),
        ),
        (
            Message::Empty,
            json!({"@type": EMPTY, "value": {}}),
            json!({"typeUrl": EMPTY, "@type": EMPTY, "value": ""}),
        ),
        (
            info(),
            json!({"@type": ERROR_INFO, "reason": "TimedOut", "domain": "errand.dev", "metadata": {}}),
            json!({"typeUrl": ERROR_INFO, "@type": ERROR_INFO, "value": "CghUaW1lZE91dBIKZXJyYW5kLmRldg==",
                "reason": "TimedOut", "domain": "errand.dev", "metadata": {}}),
        ),
    ] {
        let written = |form| serde_json::to_value(message.clone().into_any(form)).unwrap();
        assert_eq!(written(AnyForm::Proto3), proto3);
        assert_eq!(written(AnyForm::Both), both);
    }
}

#[test]
fn a_detail_that_is_no_known_message_loses_nothing() {
    let info = json!({"@type": ERROR_INFO, "reason": "r", "domain": "d", "metadata": {"k": "v"}});
    let wanted = Message::ErrorInfo {
        reason: "r".into(),
        domain: "d".into(),
        metadata: BTreeMap::from([("k".into(), "v".into())]),
    };
    assert_eq!(Message::of_detail(&info), wanted);
    let text = json!({"@type": STRING_VALUE, "value": "x"});
    assert_eq!(Message::of_detail(&text), Message::Text("x".into()));
    let fields = json!({"@type": STRUCT, "value": {"a": [1]}});
    assert_eq!(Message::of_detail(&fields), structure(json!({"a": [1]})));
    assert_eq!(Message::of_detail(&json!({"@type": EMPTY})), Message::Empty);
    for other in [
        json!({"@type": ERROR_INFO, "reason": 7}),
        json!({"@type": ERROR_INFO, "reason": "r", "more": true}),
        json!({"@type": STRING_VALUE, "value": 1}),
        json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1s"}),
        json!({"@type": null}),
        json!({}),
    ] {
        assert_eq!(Message::of_detail(&other), structure(other.clone()));
    }
}
