use super::*;

fn rules(rules: Value, properties: Value) -> Value {
    json!({"type": "object", "x-kubernetes-validations": rules, "properties": properties})
}

fn ints() -> Value {
    json!({"a": {"type": "integer"}, "b": {"type": "integer"}})
}

#[test]
fn a_broken_rule_names_the_type_and_says_its_message() {
    let schema = compile(rules(
        json!([
            {"rule": "has(self.a) != has(self.b)", "message": "exactly one of a and b must be set"},
            {"rule": "!has(self.a) || self.a > 0"},
        ]),
        ints(),
    ));
    assert_eq!(errors(&schema, json!({"a": 1})), Vec::<String>::new());
    assert_eq!(
        errors(&schema, json!({})),
        ["spec: Invalid value: \"object\": exactly one of a and b must be set"]
    );
    assert_eq!(
        errors(&schema, json!({"a": -1})),
        ["spec: Invalid value: \"object\": failed rule: !has(self.a) || self.a > 0"]
    );
}

#[test]
fn reason_field_path_and_message_expression_are_heeded() {
    let schema = compile(rules(
        json!([
            {"rule": "!has(self.a)", "reason": "FieldValueForbidden", "fieldPath": ".a", "message": "no a"},
            {"rule": "!has(self.b) || self.b < 5", "messageExpression": "'b is ' + string(self.b)", "fieldPath": ".b"},
            {"rule": "has(self.b)", "reason": "FieldValueRequired", "fieldPath": ".b", "messageExpression": "'' + ''", "message": "need b"},
        ]),
        ints(),
    ));
    assert_eq!(
        errors(&schema, json!({"a": 1, "b": 7})),
        [
            "spec.a: Forbidden: no a",
            "spec.b: Invalid value: \"object\": b is 7"
        ]
    );
    assert_eq!(errors(&schema, json!({})), ["spec.b: Required value: need b"]);
}

#[test]
fn a_string_is_measured_in_characters_and_bytes_in_bytes() {
    for (rule, good) in [
        ("size(self.text) == 3", true),
        ("self.text.size() == 3", true),
        ("bytes(self.text).size() == 9", true),
        ("self.list.size() == 2 && self.map.size() == 1", true),
        ("self.text.size() == 9", false),
    ] {
        let text = json!({"type": "string"});
        let properties = json!({
            "text": text,
            "list": {"type": "array", "items": text},
            "map": {"type": "object", "additionalProperties": text},
        });
        let schema = compile(rules(json!([{"rule": rule, "message": "no"}]), properties));
        let found = errors(
            &schema,
            json!({"text": "é€😀", "list": ["", ""], "map": {"a": ""}}),
        );
        let wanted: &[&str] = if good {
            &[]
        } else {
            &["spec: Invalid value: \"object\": no"]
        };
        assert_eq!(found, wanted, "{rule}");
    }
}

#[test]
fn transition_rules_compare_with_the_former_self() {
    let schema = compile(json!({"type": "object", "properties": {
        "fixed": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "is immutable"}]},
        "once": {"type": "boolean", "x-kubernetes-validations": [
            {"rule": "oldSelf.orValue(false) == false || self", "optionalOldSelf": true, "message": "cannot be unset"}]},
        "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": {
            "type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "n": {"type": "integer",
                "x-kubernetes-validations": [{"rule": "self >= oldSelf", "message": "may not shrink"}]}}}},
    }}));
    let old = json!({"fixed": "a", "once": true, "list": [{"name": "x", "n": 5}, {"name": "y", "n": 1}]});
    assert_eq!(errors(&schema, old.clone()), Vec::<String>::new());
    assert_eq!(
        update_errors(&schema, old.clone(), old.clone()),
        Vec::<String>::new()
    );
    assert_eq!(
        update_errors(
            &schema,
            old,
            json!({"fixed": "b", "once": false, "list": [{"name": "y", "n": 2}, {"name": "x", "n": 4}, {"name": "z", "n": 0}]})
        ),
        [
            "spec.fixed: Invalid value: \"string\": is immutable",
            "spec.once: Invalid value: \"boolean\": cannot be unset",
            "spec.list[1].n: Invalid value: \"integer\": may not shrink",
        ]
    );
}

#[test]
fn values_have_the_types_that_the_schema_gives_them() {
    let schema = compile(rules(
        json!([
            {"rule": "self.whole == 2.0 && self.ratio > 1.5"},
            {"rule": "self.at > timestamp('2024-01-01T00:00:00Z')"},
            {"rule": "self.wait <= duration('1h')"},
            {"rule": "size(self.blob) == 5"},
            {"rule": "self.map['a.b'] == 1 && 'c' in self.map"},
            {"rule": "self.__namespace__ == 'n'"},
            {"rule": "self.a__dash__b == 1 && self.snake_case == 1"},
            {"rule": "self.port == 80 || self.port == '80'"},
            {"rule": "quantity(self.cpu).isLessThan(quantity('2'))"},
            {"rule": "self.list.all(x, x > 0) && self.list.exists(x, x == 2) && self.list.map(x, x * 2) == [2, 4]"},
            {"rule": "self.name.matches('^[a-z]+$') && self.name.startsWith('a')"},
        ]),
        json!({
            "whole": {"type": "number"}, "ratio": {"type": "number"},
            "at": {"type": "string", "format": "date-time"},
            "wait": {"type": "string", "format": "duration"},
            "blob": {"type": "string", "format": "byte"},
            "map": {"type": "object", "additionalProperties": {"type": "integer"}},
            "namespace": {"type": "string"},
            "a-b": {"type": "integer"}, "snake_case": {"type": "integer"},
            "port": {"x-kubernetes-int-or-string": true},
            "cpu": {"type": "string"},
            "list": {"type": "array", "items": {"type": "integer"}},
            "name": {"type": "string"},
        }),
    ));
    assert_eq!(
        errors(
            &schema,
            json!({
                "whole": 2, "ratio": 2, "at": "2024-06-01T00:00:00Z", "wait": "90s", "blob": "aGVsbG8=",
                "map": {"a.b": 1, "c": 2}, "namespace": "n", "a-b": 1, "snake_case": 1, "port": 80, "cpu": "500m",
                "list": [1, 2], "name": "abc",
            })
        ),
        Vec::<String>::new()
    );
}

#[test]
fn a_pattern_means_the_same_each_time_wherever_it_comes_from() {
    let schema = compile(rules(
        json!([{"rule": "self.text.matches(self.pattern)"}]),
        json!({"text": {"type": "string"}, "pattern": {"type": "string"}}),
    ));
    let errors = |text: &str, pattern: &str| errors(&schema, json!({"text": text, "pattern": pattern}));
    let refused = ["spec: Invalid value: \"object\": failed rule: self.text.matches(self.pattern)"];
    // More patterns than are kept, and each is met again.
    for number in (0..100).chain(0..100) {
        let pattern = format!("^a{{{number}}}$");
        assert_eq!(errors(&"a".repeat(number), &pattern), Vec::<String>::new());
        assert_eq!(errors(&"a".repeat(number + 1), &pattern), refused);
    }
    // Too large to be kept.
    for _ in 0..2 {
        assert_eq!(errors(&"é".repeat(100), r"^\w{100}$"), Vec::<String>::new());
        assert_eq!(errors(&"é".repeat(99), r"^\w{100}$"), refused);
    }
    for _ in 0..2 {
        let broken = errors("a", "(");
        assert!(broken[0].contains("'(' not a valid regex"), "{broken:?}");
    }
}

#[test]
fn optionals_and_bindings_work_as_in_kubernetes() {
    let schema = compile(rules(
        json!([
            {"rule": "self.?inner.?x.orValue(7) == 7 || self.inner.x == 3", "message": "one"},
            {"rule": "self.?inner.x.orValue(7) == 7 || self.inner.x == 3", "message": "two"},
            {"rule": "cel.bind(n, self.?a.orValue(1), n > 0 && n < 10)", "message": "three"},
            {"rule": "self.?a.optMap(v, v > 0).orValue(true)", "message": "four"},
            {"rule": "self.?inner.hasValue() == has(self.inner)", "message": "five"},
        ]),
        json!({"a": {"type": "integer"}, "inner": {"type": "object", "properties": {"x": {"type": "integer"}}}}),
    ));
    for good in [
        json!({}),
        json!({"a": 3}),
        json!({"inner": {}}),
        json!({"inner": {"x": 3}}),
    ] {
        assert_eq!(errors(&schema, good.clone()), Vec::<String>::new(), "{good}");
    }
    assert_eq!(
        errors(&schema, json!({"a": 0})),
        [
            "spec: Invalid value: \"object\": three",
            "spec: Invalid value: \"object\": four"
        ]
    );
}

#[test]
fn rules_that_cannot_be_right_are_refused_with_the_definition() {
    let at = "openAPIV3Schema.properties[spec].x-kubernetes-validations[0]";
    for (rule, message) in [
        (
            json!({"rule": "self.nope > 1"}),
            format!(
                "{at}.rule: Invalid value: \"self.nope > 1\": compilation failed: ERROR: <input>: undefined field 'nope'"
            ),
        ),
        (
            json!({"rule": "has(self.nope)"}),
            format!(
                "{at}.rule: Invalid value: \"has(self.nope)\": compilation failed: ERROR: <input>: undefined field 'nope'"
            ),
        ),
        (
            json!({"rule": "self.a.b == 1"}),
            format!(
                "{at}.rule: Invalid value: \"self.a.b == 1\": compilation failed: ERROR: <input>: type 'integer' does not support field selection"
            ),
        ),
        (
            json!({"rule": "this.a > 1"}),
            format!(
                "{at}.rule: Invalid value: \"this.a > 1\": compilation failed: ERROR: <input>: undeclared reference to 'this' (in container '')"
            ),
        ),
        (
            json!({"rule": "self.a >"}),
            format!("{at}.rule: Invalid value: \"self.a >\": compilation failed: "),
        ),
        (
            json!({"rule": ""}),
            format!("{at}.rule: Required value: rule is not specified"),
        ),
        (
            json!({"rule": "true", "optionalOldSelf": true}),
            format!(
                "{at}.optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule"
            ),
        ),
        (
            json!({"rule": "true", "reason": "Because"}),
            format!("{at}.reason: Unsupported value: \"Because\""),
        ),
    ] {
        let found = refused(rules(json!([rule]), ints()));
        assert!(found.starts_with(&message), "{rule}\n{found}");
    }
}

#[test]
fn transition_rules_need_members_that_can_be_told_apart() {
    let list = |kind: Value| {
        let mut list = json!({"type": "array", "x-kubernetes-list-map-keys": ["n"], "items": {
            "type": "object", "required": ["n"], "properties": {"n": {"type": "string"}},
            "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}});
        list["x-kubernetes-list-type"] = kind;
        list
    };
    assert!(Schema::compile(&with_spec(list(json!("map")))).is_ok());
    assert_eq!(
        refused(list(json!("set"))),
        "openAPIV3Schema.properties[spec].items.x-kubernetes-validations[0].rule: Invalid value: \"self == oldSelf\": oldSelf cannot be used on the uncorrelatable portion of the schema within openAPIV3Schema.properties[spec].items"
    );
}

#[test]
fn rules_at_the_root_see_only_the_name_of_the_metadata() {
    let root = |rule: &str| {
        Schema::compile(&json!({"type": "object", "x-kubernetes-validations": [{"rule": rule}]}))
    };
    let schema = root("self.metadata.name.startsWith('a')").unwrap();
    assert_eq!(
        schema.validate(&json!({"metadata": {"name": "abc"}}), None),
        Vec::new()
    );
    assert_eq!(
        schema.validate(&json!({"metadata": {"name": "x"}}), None)[0].to_string(),
        "<nil>: Invalid value: \"object\": failed rule: self.metadata.name.startsWith('a')"
    );
    assert!(root("self.metadata.labels.size() > 0").is_err());
}

#[test]
fn rules_wait_until_the_structure_is_right() {
    let schema = compile(rules(json!([{"rule": "self.a > 0"}]), ints()));
    assert_eq!(
        errors(&schema, json!({"a": "x"})),
        [
            "spec.a: Invalid value: \"string\": spec.a in body must be of type integer: \"string\"".to_owned(),
            "<nil>: Invalid value: \"null\": some validation rules were not checked because the object was invalid; correct the existing errors to complete validation".to_owned(),
        ]
    );
    assert_eq!(
        errors(&schema, json!({})),
        ["spec: Invalid value: \"object\": no such key: a evaluating rule: failed rule: self.a > 0"]
    );
}

#[test]
fn an_unchanged_value_is_not_complained_about_again() {
    let schema = compile(rules(json!([{"rule": "self.a > 0"}]), ints()));
    assert_eq!(
        update_errors(&schema, json!({"a": -1}), json!({"a": -1})),
        Vec::<String>::new()
    );
    assert_eq!(
        update_errors(&schema, json!({"a": -1}), json!({"a": -2})).len(),
        1
    );
}
