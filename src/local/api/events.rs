//! Events are one set of objects seen through two groups. They are stored as core/v1; this converts. Pure.
//!
//! Field names follow `pkg/apis/events/v1/conversion.go` of Kubernetes.
use serde_json::{Map, Value};

use super::store::FieldPath;

/// The newer group.
pub const GROUP: &str = "events.k8s.io";

/// core/v1 name and events.k8s.io/v1 name of what is called differently.
const RENAMED: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// events.k8s.io/v1 -> core/v1.
pub fn to_core(value: Value) -> Value {
    renamed(value, "v1", |name| {
        RENAMED
            .iter()
            .find(|(_, new)| *new == name)
            .map(|(core, _)| *core)
    })
}

/// core/v1 -> events.k8s.io/v1.
pub fn to_new(value: Value) -> Value {
    renamed(value, "events.k8s.io/v1", |name| {
        RENAMED
            .iter()
            .find(|(core, _)| *core == name)
            .map(|(_, new)| *new)
    })
}

fn renamed(value: Value, api_version: &str, name_of: impl Fn(&str) -> Option<&'static str>) -> Value {
    let Value::Object(fields) = value else {
        return value;
    };
    let mut out = Map::with_capacity(fields.len());
    for (name, field) in fields {
        match name.as_str() {
            "apiVersion" => out.insert(name, api_version.into()),
            other => {
                let name = name_of(other).map_or(name.clone(), str::to_owned);
                out.insert(name, field)
            }
        };
    }
    Value::Object(out)
}

/// Fields that events can be selected by, under both names.
pub fn selectable_fields() -> Vec<FieldPath> {
    let mut fields = Vec::new();
    for part in [
        "kind",
        "namespace",
        "name",
        "uid",
        "apiVersion",
        "resourceVersion",
        "fieldPath",
    ] {
        let core = FieldPath::dotted(&format!("involvedObject.{part}"));
        fields.push(FieldPath {
            label: format!("regarding.{part}"),
            ..core.clone()
        });
        fields.push(core);
    }
    let source = FieldPath::dotted("source.component");
    fields.push(FieldPath {
        label: "source".into(),
        ..source
    });
    let reporter = FieldPath::dotted("reportingComponent");
    fields.push(FieldPath {
        label: "reportingController".into(),
        ..reporter.clone()
    });
    fields.push(reporter);
    fields.extend(["reason", "type"].map(FieldPath::dotted));
    fields
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_reads_the_same_through_both_groups() {
        let new = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"},
            "regarding": {"kind": "Pod"}, "note": "pulled", "reportingController": "c", "reason": "Pulled",
            "deprecatedCount": 3
        });
        let core = json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"},
            "involvedObject": {"kind": "Pod"}, "message": "pulled", "reportingComponent": "c", "reason": "Pulled",
            "count": 3
        });
        assert_eq!(to_core(new.clone()), core);
        assert_eq!(to_new(core), new);
    }
}
