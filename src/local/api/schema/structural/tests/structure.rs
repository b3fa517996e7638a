use super::*;

#[test]
fn values_are_refused_in_the_real_servers_words() {
    let schema = compile(json!({"type": "object", "required": ["name"], "properties": {
        "name": {"type": "string", "minLength": 2, "maxLength": 4, "pattern": "^[a-zé]+$"},
        "n": {"type": "integer", "minimum": 1, "maximum": 10, "multipleOf": 2},
        "x": {"type": "number", "minimum": 0, "exclusiveMinimum": true, "maximum": 1, "exclusiveMaximum": true},
        "mode": {"type": "string", "enum": ["b", "c"]},
        "at": {"type": "string", "format": "date-time"},
        "small": {"type": "integer", "format": "int32"},
        "whole": {"type": "integer"},
        "list": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"type": "string"}},
        "map": {"type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": {"type": "boolean"}},
        "port": {"x-kubernetes-int-or-string": true},
        "maybe": {"type": "string", "nullable": true},
    }}));
    for (spec, found) in [
        (json!({"name": "ab"}), vec![]),
        (
            json!({"name": "éé", "n": 4, "x": 0.5, "mode": "b", "at": "2024-01-01T00:00:00Z", "list": ["a"], "map": {"a": true}, "port": "http", "maybe": null}),
            vec![],
        ),
        (json!({}), vec!["spec.name: Required value"]),
        (
            json!({"name": "a"}),
            vec!["spec.name: Invalid value: \"a\": spec.name in body should be at least 2 chars long"],
        ),
        (
            json!({"name": "abcde"}),
            vec!["spec.name: Too long: may not be more than 4 bytes"],
        ),
        (
            json!({"name": "A1"}),
            vec!["spec.name: Invalid value: \"A1\": spec.name in body should match '^[a-zé]+$'"],
        ),
        (
            json!({"name": 3}),
            vec![
                "spec.name: Invalid value: \"integer\": spec.name in body must be of type string: \"integer\"",
            ],
        ),
        (
            json!({"name": null}),
            vec!["spec.name: Invalid value: \"null\": spec.name in body must be of type string: \"null\""],
        ),
        (
            json!({"name": "ab", "n": 0}),
            vec!["spec.n: Invalid value: 0: spec.n in body should be greater than or equal to 1"],
        ),
        (
            json!({"name": "ab", "n": 12}),
            vec!["spec.n: Invalid value: 12: spec.n in body should be less than or equal to 10"],
        ),
        (
            json!({"name": "ab", "n": 3}),
            vec!["spec.n: Invalid value: 3: spec.n in body should be a multiple of 2"],
        ),
        (json!({"name": "ab", "n": 4.0}), vec![]),
        (
            json!({"name": "ab", "n": 4.5}),
            vec![
                "spec.n: Invalid value: \"number\": spec.n in body must be of type integer: \"number\"",
                "spec.n: Invalid value: 4.5: spec.n in body should be a multiple of 2",
            ],
        ),
        (
            json!({"name": "ab", "x": 0}),
            vec!["spec.x: Invalid value: 0: spec.x in body should be greater than 0"],
        ),
        (
            json!({"name": "ab", "x": 1.0}),
            vec!["spec.x: Invalid value: 1: spec.x in body should be less than 1"],
        ),
        (
            json!({"name": "ab", "mode": "a"}),
            vec!["spec.mode: Unsupported value: \"a\": supported values: \"b\", \"c\""],
        ),
        (
            json!({"name": "ab", "at": "soon"}),
            vec!["spec.at: Invalid value: \"soon\": spec.at in body must be of type date-time: \"soon\""],
        ),
        (json!({"name": "ab", "whole": i64::MAX}), vec![]),
        (
            json!({"name": "ab", "whole": 17_167_151_179_699_965_078_u64}),
            vec![
                "spec.whole: Invalid value: \"number\": spec.whole in body must be of type integer: \"number\"",
            ],
        ),
        (
            json!({"name": "ab", "small": 3_000_000_000u64}),
            vec![
                "spec.small: Invalid value: 3000000000: Checked value must be of type integer with format int32 in spec.small",
            ],
        ),
        (
            json!({"name": "ab", "list": []}),
            vec!["spec.list: Invalid value: 0: spec.list in body should have at least 1 items"],
        ),
        (
            json!({"name": "ab", "list": ["a", "b", "c"]}),
            vec!["spec.list: Too many: 3: must have at most 2 items"],
        ),
        (
            json!({"name": "ab", "list": ["a", 1]}),
            vec![
                "spec.list[1]: Invalid value: \"integer\": spec.list[1] in body must be of type string: \"integer\"",
            ],
        ),
        (
            json!({"name": "ab", "map": {}}),
            vec!["spec.map: Invalid value: 0: spec.map in body should have at least 1 properties"],
        ),
        (
            json!({"name": "ab", "map": {"a": true, "b": true}}),
            vec![
                "spec.map: Too many: 2: must have at most 1 items"
                    .replace("1 items", "1 item")
                    .leak() as &str,
            ],
        ),
        (
            json!({"name": "ab", "map": {"a": 1}}),
            vec![
                "spec.map.a: Invalid value: \"integer\": spec.map.a in body must be of type boolean: \"integer\"",
            ],
        ),
        (
            json!({"name": "ab", "port": true}),
            vec![
                "spec.port: Invalid value: \"boolean\": spec.port in body must be of type integer,string: \"boolean\"",
            ],
        ),
    ] {
        assert_eq!(errors(&schema, spec.clone()), found, "{spec}");
    }
}

#[test]
fn junctions_speak_for_no_field() {
    let schema = compile(json!({"type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}, "c": {"type": "integer"}},
        "oneOf": [{"required": ["a"]}, {"required": ["b"]}],
        "not": {"required": ["c"]},
    }));
    assert_eq!(errors(&schema, json!({"a": 1})), Vec::<String>::new());
    assert_eq!(
        errors(&schema, json!({})),
        [
            "<nil>: Invalid value: \"\": \"spec\" must validate one and only one schema (oneOf). Found none valid",
            "spec.a: Required value",
        ]
    );
    assert_eq!(
        errors(&schema, json!({"a": 1, "b": 1})),
        [
            "<nil>: Invalid value: \"\": \"spec\" must validate one and only one schema (oneOf). Found 2 valid alternatives"
        ]
    );
    assert_eq!(
        errors(&schema, json!({"a": 1, "c": 1})),
        ["<nil>: Invalid value: \"\": \"spec\" must not validate the schema (not)"]
    );
    let schema = compile(json!({"type": "object", "properties": {"a": {"type": "integer"}},
        "anyOf": [{"properties": {"a": {"minimum": 10}}}, {"properties": {"a": {"maximum": 0}}}],
        "allOf": [{"required": ["a"]}],
    }));
    assert_eq!(errors(&schema, json!({"a": 10})), Vec::<String>::new());
    assert_eq!(
        errors(&schema, json!({"a": 5})),
        [
            "<nil>: Invalid value: \"\": \"spec\" must validate at least one schema (anyOf)",
            "spec.a: Invalid value: 5: spec.a in body should be greater than or equal to 10",
        ]
    );
    assert_eq!(
        errors(&schema, json!({})),
        [
            "spec.a: Required value",
            "<nil>: Invalid value: \"\": \"spec\" must validate all the schemas (allOf). None validated",
        ]
    );
}

#[test]
fn members_of_sets_and_map_lists_are_distinct() {
    let schema = compile(json!({"type": "object", "properties": {
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name", "proto"],
            "items": {"type": "object", "required": ["name"], "properties": {
                "name": {"type": "string"}, "proto": {"type": "string", "default": "TCP"}, "v": {"type": "integer"}}}},
    }}));
    assert_eq!(
        errors(
            &schema,
            json!({"set": ["a", "b"], "map": [{"name": "x"}, {"name": "x", "proto": "UDP"}]})
        ),
        Vec::<String>::new()
    );
    assert_eq!(
        errors(&schema, json!({"set": ["a", "b", "a", "a"]})),
        ["spec.set[2]: Duplicate value: \"a\""]
    );
    assert_eq!(
        errors(
            &schema,
            json!({"map": [{"name": "x", "v": 1}, {"name": "x", "proto": "TCP", "v": 2}]})
        ),
        ["spec.map[1]: Duplicate value: map[string]interface {}{\"name\":\"x\", \"proto\":\"TCP\"}"]
    );
}

#[test]
fn unknown_fields_are_pruned_and_named() {
    let schema = compile(json!({"type": "object", "properties": {
        "known": {"type": "string"},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
            "strict": {"type": "object", "properties": {"a": {"type": "integer"}}}}},
        "any": {"x-kubernetes-preserve-unknown-fields": true},
        "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"a": {"type": "integer"}}}},
        "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "integer"}}}},
        "pod": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object"}}},
    }}));
    let mut object = json!({
        "apiVersion": "g/v1", "kind": "K", "foo": 1,
        "metadata": {"name": "x", "labels": {"a": "b"}, "managedFields": [{"fieldsV1": {"f:spec": {"f:x": {}}}}], "nmae": "y"},
        "spec": {
            "known": "x", "unknown": 1,
            "free": {"more": {"deep": 1}, "strict": {"a": 1, "b": 2}},
            "any": [1, {"x": 1}],
            "map": {"k": {"a": 1, "b": 2}},
            "list": [{"a": 1}, {"a": 1, "b": 2}],
            "pod": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "bad": 1}, "spec": {"x": 1}, "other": 1},
        },
    });
    let mut unknown = schema.prune(&mut object);
    unknown.sort();
    assert_eq!(
        unknown,
        [
            "foo",
            "metadata.nmae",
            "spec.free.strict.b",
            "spec.list[1].b",
            "spec.map.k.b",
            "spec.pod.metadata.bad",
            "spec.pod.other",
            "spec.pod.spec.x",
            "spec.unknown",
        ]
    );
    assert_eq!(
        object,
        json!({
            "apiVersion": "g/v1", "kind": "K",
            "metadata": {"name": "x", "labels": {"a": "b"}, "managedFields": [{"fieldsV1": {"f:spec": {"f:x": {}}}}]},
            "spec": {
                "known": "x",
                "free": {"more": {"deep": 1}, "strict": {"a": 1}},
                "any": [1, {"x": 1}],
                "map": {"k": {"a": 1}},
                "list": [{"a": 1}, {"a": 1}],
                "pod": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {}},
            },
        })
    );
    assert_eq!(schema.validate(&object, None), Vec::new());
}

#[test]
fn embedded_resources_say_what_they_are() {
    let schema = compile(
        json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}),
    );
    assert_eq!(
        errors(&schema, json!({"x": 1})),
        ["spec.apiVersion: Required value", "spec.kind: Required value"]
    );
}

#[test]
fn defaults_fill_absent_fields_and_forbidden_nulls() {
    let schema = compile(json!({"type": "object", "default": {}, "properties": {
        "a": {"type": "string", "default": "x"},
        "b": {"type": "object", "default": {}, "properties": {"c": {"type": "integer", "default": 1}}},
        "d": {"type": "object", "properties": {"e": {"type": "integer", "default": 1}}},
        "n": {"type": "string", "nullable": true, "default": "x"},
        "plain": {"type": "string"},
        "list": {"type": "array", "items": {"type": "object", "properties": {"p": {"type": "string", "default": "TCP"}}}},
        "map": {"type": "object", "additionalProperties": {"type": "integer", "default": 7}},
    }}));
    let defaulted = |object: Value| {
        let mut object = object;
        schema.default(&mut object);
        object["spec"].clone()
    };
    assert_eq!(defaulted(json!({})), json!({"a": "x", "b": {"c": 1}, "n": "x"}));
    assert_eq!(
        defaulted(json!({"spec": null})),
        json!({"a": "x", "b": {"c": 1}, "n": "x"})
    );
    assert_eq!(
        defaulted(
            json!({"spec": {"a": null, "n": null, "plain": null, "d": {}, "list": [{}], "map": {"k": null}}})
        ),
        json!({"a": "x", "n": null, "d": {"e": 1}, "list": [{"p": "TCP"}], "map": {"k": 7}, "b": {"c": 1}})
    );
}

#[test]
fn what_is_not_structural_is_refused_with_its_path() {
    for (spec, message) in [
        (
            json!({}),
            "openAPIV3Schema.properties[spec].type: Required value: must not be empty for specified object fields",
        ),
        (
            json!({"type": "thing"}),
            "[openAPIV3Schema.properties[spec].type: Unsupported value: \"thing\": supported values: \"array\", \"boolean\", \"integer\", \"number\", \"object\", \"string\", openAPIV3Schema.properties[spec].type: Required value: must not be empty for specified object fields]",
        ),
        (
            json!({"type": "array", "items": {}}),
            "openAPIV3Schema.properties[spec].items.type: Required value: must not be empty for specified array items",
        ),
        (
            json!({"type": "array"}),
            "openAPIV3Schema.properties[spec].items: Required value: must be specified",
        ),
        (
            json!({"type": "array", "items": {"type": "string"}, "uniqueItems": true}),
            "openAPIV3Schema.properties[spec].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "string"}}),
            "openAPIV3Schema.properties[spec].additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
        ),
        (
            json!({"type": "object", "$ref": "#/x"}),
            "openAPIV3Schema.properties[spec].$ref: Forbidden: $ref is not supported",
        ),
        (
            json!({"type": "string", "pattern": "("}),
            "openAPIV3Schema.properties[spec].pattern: Invalid value",
        ),
        (
            json!({"type": "object", "oneOf": [{"type": "object"}]}),
            "openAPIV3Schema.properties[spec].oneOf[0].type: Forbidden: must be empty to be structural",
        ),
        (
            json!({"type": "object", "anyOf": [{"properties": {"a": {"minimum": 1}}}]}),
            "openAPIV3Schema.properties[spec].properties[a]: Required value: because it is defined in openAPIV3Schema.properties[spec].anyOf[0].properties[a]",
        ),
        (
            json!({"type": "array", "x-kubernetes-list-type": "map", "items": {"type": "object"}}),
            "openAPIV3Schema.properties[spec].x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map",
        ),
        (
            json!({"type": "integer", "default": "x"}),
            "openAPIV3Schema.properties[spec].default: Invalid value: \"string\":  in body must be of type integer: \"string\"",
        ),
        (
            json!({"type": "object", "default": {"x": 1}}),
            "openAPIV3Schema.properties[spec].default: Invalid value: map[string]interface {}{\"x\":1}: must not have unknown fields: x",
        ),
    ] {
        let found = refused(spec.clone());
        assert!(found.starts_with(message), "{spec}\n{found}");
    }
    let root = Schema::compile(&json!({"properties": {}}))
        .unwrap_err()
        .to_string();
    assert_eq!(
        root,
        "openAPIV3Schema.type: Required value: must not be empty at the root"
    );
}

#[test]
fn int_or_string_may_repeat_itself_in_any_of() {
    let schema = compile(
        json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}], "pattern": "^[0-9]+%?$"}),
    );
    assert_eq!(errors(&schema, json!(3)), Vec::<String>::new());
    assert_eq!(errors(&schema, json!("3%")), Vec::<String>::new());
    assert_eq!(errors(&schema, json!("x")).len(), 1);
}

#[test]
fn a_restriction_of_the_name_is_checked() {
    let schema = Schema::compile(&json!({"type": "object", "properties": {
        "metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 3}}}}}))
    .unwrap();
    let mut object = json!({"metadata": {"name": "abcd", "labels": {"a": "b"}}});
    assert_eq!(schema.prune(&mut object), Vec::<String>::new());
    let found = schema.validate(&object, None);
    assert_eq!(
        found[0].to_string(),
        "metadata.name: Too long: may not be more than 3 bytes"
    );
}

#[test]
fn an_update_complains_only_about_what_changed() {
    let schema = compile(json!({"type": "object", "properties": {
        "a": {"type": "string", "maxLength": 2}, "b": {"type": "string", "maxLength": 2}}}));
    let found = update_errors(
        &schema,
        json!({"a": "long", "b": "x"}),
        json!({"a": "long", "b": "longer"}),
    );
    assert_eq!(found, ["spec.b: Too long: may not be more than 2 bytes"]);
}
