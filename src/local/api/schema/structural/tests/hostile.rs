use proptest::prelude::*;

use super::*;
use crate::local::api::schema::structural::MAX_REPORTED;

/// One schema with every feature, and rules at several levels.
fn rich() -> Schema {
    compile(json!({"type": "object",
        "x-kubernetes-validations": [
            {"rule": "!has(self.n) || self.n < 1000"},
            {"rule": "!has(self.list) || self.list.all(x, !has(x.name) || x.name != 'bad')"},
            {"rule": "!has(oldSelf.n) || has(self.n)"},
        ],
        "properties": {
            "n": {"type": "integer", "default": 1, "minimum": 0},
            "s": {"type": "string", "maxLength": 5, "pattern": "^[a-z]*$", "nullable": true},
            "e": {"type": "string", "enum": ["a", "b"], "default": "a"},
            "t": {"type": "string", "format": "date-time"},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "any": {"x-kubernetes-preserve-unknown-fields": true, "nullable": true},
            "ios": {"x-kubernetes-int-or-string": true},
            "map": {"type": "object", "additionalProperties": {"type": "integer", "default": 3}},
            "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "required": ["name"], "properties": {
                    "name": {"type": "string"}, "p": {"type": "string", "default": "x"}}}},
            "spec": {"type": "object", "default": {}, "properties": {"n": {"type": "integer", "default": 2}}},
        },
        "anyOf": [{"required": ["n"]}, {"not": {"required": ["e"]}}],
    }))
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0i64..5).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        "[ab]{0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        let key = prop_oneof![
            4 => prop_oneof![
                Just("n"), Just("s"), Just("e"), Just("t"), Just("free"), Just("any"), Just("ios"), Just("map"),
                Just("list"), Just("spec"), Just("name"), Just("p"), Just("metadata"), Just("labels"),
            ].prop_map(str::to_owned),
            1 => "\\PC{0,5}",
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..6).prop_map(|fields| fields.into_iter().collect()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn pruning_and_defaulting_are_idempotent(object in any_json()) {
        let schema = rich();
        let mut once = json!({"spec": object});
        schema.prune(&mut once);
        let mut twice = once.clone();
        prop_assert_eq!(schema.prune(&mut twice), Vec::<String>::new());
        prop_assert_eq!(&once, &twice);
        schema.default(&mut once);
        let mut twice = once.clone();
        schema.default(&mut twice);
        prop_assert_eq!(&once, &twice);
        // defaults bring in nothing unknown
        prop_assert_eq!(schema.prune(&mut twice), Vec::<String>::new());
    }

    #[test]
    fn a_valid_object_stays_valid(object in any_json(), old in any_json()) {
        let schema = rich();
        let object = json!({"spec": object});
        let _ = schema.validate(&object, Some(&json!({"spec": old})));
        if schema.validate(&object, None).is_empty() {
            let mut shaped = object.clone();
            schema.prune(&mut shaped);
            schema.default(&mut shaped);
            prop_assert_eq!(schema.validate(&shaped, None), Vec::new(), "{}", shaped);
        }
    }

    #[test]
    fn any_schema_is_compiled_or_refused(schema in any_schema(), object in any_json()) {
        if let Ok(schema) = Schema::compile(&schema) {
            let mut object = object;
            schema.prune(&mut object);
            schema.default(&mut object);
            let _ = schema.validate(&object, Some(&object));
        }
    }
}

fn any_schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!({"type": "string"})),
        Just(json!({"type": "integer", "minimum": 3})),
        Just(json!({"x-kubernetes-preserve-unknown-fields": true})),
        Just(json!(null)),
        Just(json!([1])),
        any_json(),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let word = prop_oneof![
            Just("properties"),
            Just("items"),
            Just("additionalProperties"),
            Just("oneOf"),
            Just("not"),
            Just("default"),
            Just("x-kubernetes-list-map-keys"),
            Just("required"),
            Just("enum"),
            Just("x-kubernetes-validations"),
        ];
        let kind = prop_oneof![Just("object"), Just("array")];
        (kind, prop::collection::vec((word, inner), 0..4)).prop_map(|(kind, fields)| {
            let mut schema = json!({"type": kind});
            for (word, inner) in fields {
                schema[word] = match word {
                    "properties" => json!({"n": inner, "spec": inner}),
                    "oneOf" | "x-kubernetes-validations" => json!([inner]),
                    _ => inner,
                };
            }
            schema
        })
    })
}

fn deep(levels: usize) -> Value {
    let mut value = json!(1);
    for i in 0..levels {
        value = if i % 2 == 0 {
            json!({"a": value})
        } else {
            json!([value])
        };
    }
    value
}

#[test]
fn deep_values_and_schemas_are_walked_without_overflow() {
    let schema = compile(
        json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true,
        "x-kubernetes-validations": [{"rule": "true"}]}),
    );
    let mut object = json!({"spec": {"x": deep(120)}});
    schema.prune(&mut object);
    schema.default(&mut object);
    assert_eq!(schema.validate(&object, None), Vec::new());
    let mut nested = json!({"type": "string"});
    for _ in 0..60 {
        nested = json!({"type": "object", "properties": {"a": nested}});
    }
    assert!(Schema::compile(&nested).is_ok());
    for _ in 0..60 {
        nested = json!({"type": "object", "properties": {"a": nested}});
    }
    let error = Schema::compile(&nested).unwrap_err().to_string();
    assert!(
        error.contains("must not be nested deeper than 100 levels"),
        "{error}"
    );
}

#[test]
fn rules_of_any_length_and_depth_are_compiled_or_refused() {
    let n = 16 << 10;
    for rule in [
        "(".repeat(n),
        format!("{}1{}", "(".repeat(90), ")".repeat(90)),
        format!("{}1{} == 1", "(".repeat(2000), ")".repeat(2000)),
        format!("{}true", "!".repeat(n - 4)),
        format!("{}1 == 1", "-".repeat(n - 6)),
        format!("self{}", ".a".repeat(n / 2 - 2)),
        format!("1{} == 1", "+1".repeat(n / 2 - 4)),
        format!("true{}", "&&true".repeat(n / 6 - 2)),
        format!("true{}", "?true:true".repeat(n / 10 - 2)),
        format!("{}1{}", "[".repeat(2500), "]".repeat(2500)),
        format!("self{}", ".all(x,x".repeat(1000)),
        format!("self{} == 1", "[0]".repeat(90)),
        "x".repeat(n + 1),
        "'".repeat(n),
        "\u{0}é\n".repeat(100),
        "Foo{a: 1}.a == 1".to_owned(),
        "self == Foo{}".to_owned(),
    ] {
        let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
            "spec": {"x-kubernetes-preserve-unknown-fields": true, "x-kubernetes-validations": [{"rule": rule}]}}});
        if let Ok(schema) = Schema::compile(&schema) {
            schema.validate(&json!({"spec": [[[[1]]]]}), None);
        }
    }
}

#[test]
fn no_rule_and_no_object_occupies_the_server() {
    let schema = compile(json!({"type": "object", "properties": {
        "list": {"type": "array", "items": {"type": "string"}},
        "text": {"type": "string"},
    }, "x-kubernetes-validations": [
        {"rule": "!has(self.list) || self.list.all(a, self.list.all(b, self.list.all(c, a != b || b != c || a == c)))"},
        {"rule": "!has(self.list) || self.list.map(a, a + self.text).size() > 0"},
    ]}));
    let list: Vec<String> = (0..100_000).map(|i| i.to_string()).collect();
    // 10^15 comparisons and 100 GB, were they done.
    let found = errors(&schema, json!({"list": list, "text": "x".repeat(1_000_000)}));
    assert_eq!(
        found,
        [
            "spec: Invalid value: \"\": validation failed due to running out of cost budget, no further validation rules will be run"
        ]
    );
    // a small object is judged by both
    assert_eq!(
        errors(&schema, json!({"list": ["a", "b", "c"], "text": "x"})),
        Vec::<String>::new()
    );
}

#[test]
fn a_plain_rule_over_a_long_list_stays_within_the_budget() {
    let schema = compile(
        json!({"type": "object", "properties": {"list": {"type": "array", "items": {"type": "string"}}},
        "x-kubernetes-validations": [{"rule": "self.list.all(x, x != '')"}]}),
    );
    let list: Vec<String> = (0..50_000).map(|i| i.to_string()).collect();
    assert_eq!(errors(&schema, json!({"list": list})), Vec::<String>::new());
}

#[test]
fn a_flood_of_errors_is_cut() {
    let schema = compile(json!({"type": "object", "properties": {
        "list": {"type": "array", "items": {"type": "string"}},
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "integer"}},
    }}));
    let mut object = json!({"spec": {"list": vec![1; 200_000], "set": (0..100_000).chain(0..100_000).collect::<Vec<_>>()}});
    assert_eq!(schema.validate(&object, None).len(), MAX_REPORTED);
    for i in 0..1000 {
        object["spec"][format!("x{i}")] = json!(1);
    }
    assert_eq!(schema.prune(&mut object).len(), MAX_REPORTED);
    assert_eq!(object["spec"].as_object().unwrap().len(), 2);
}

#[test]
fn schemas_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Schema>();
}
