//! Types as written, against values, against each other, and from JSON Schemas.

#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::Type;

fn ty(written: Value) -> Type {
    Type::from_value(&written).unwrap()
}

#[test]
fn written_types_come_back_as_written() {
    let rows = [
        (json!("string"), "string"),
        (json!("optional int"), "optional int"),
        (json!(["double"]), "[double]"),
        (json!([["bool"]]), "[[bool]]"),
        (
            json!({"a": "bytes", "b": ["timestamp"], "c": {"d": "optional duration"}}),
            "{a: bytes, b: [timestamp], c: {d: optional duration}}",
        ),
        (json!({}), "{}"),
        (json!("any"), "any"),
    ];
    for (written, shown) in rows {
        let read: Type = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(read.to_string(), shown);
        assert_eq!(serde_json::to_value(&read).unwrap(), written);
    }
    assert_eq!(ty(json!("optional   int")).to_string(), "optional int");
    for unwritten in [
        Type::Null,
        Type::Optional(Box::new(Type::List(Box::new(Type::Int)))),
    ] {
        assert!(serde_json::to_value(unwritten).is_err());
    }
}

#[test]
fn what_is_no_type_is_told_with_its_place() {
    let rows = [
        (
            json!("strng"),
            "",
            "no type `strng`",
            "did you mean `string`?",
        ),
        (json!("integer"), "", "", "`int`"),
        (json!("Boolean"), "", "", "`bool`"),
        (json!("datetime"), "", "", "`timestamp`"),
        (json!("array"), "", "", "`[string]`"),
        (json!("bool?"), "", "", "`optional bool`"),
        (json!("zebra"), "", "", "string, int"),
        (json!("optional"), "", "before a type", "optional string"),
        (json!("optional optional int"), "", "not a type", ""),
        (json!("optional strin"), "", "`strin`", "`string`"),
        (json!(""), "", "not a type", ""),
        (json!([]), "", "0 types", "[string]"),
        (json!(["int", "int"]), "", "2 types", ""),
        (json!({"a": {"b": ["itn"]}}), "/a/b/0", "`itn`", "`int`"),
        (json!({"a-b": "int"}), "/a-b", "cannot name a field", "_"),
        (json!({"a/b": "int"}), "/a~1b", "cannot name a field", ""),
        (json!({"1A": "int"}), "/1A", "cannot name a field", ""),
        (json!({"ü": "int"}), "/ü", "cannot name a field", ""),
        (json!(null), "", "missing", ""),
        (json!(1), "", "`1` is not a type", ""),
        (json!(true), "", "`true` is not a type", ""),
    ];
    for (written, place, message, help) in rows {
        let fault = Type::from_value(&written).unwrap_err();
        assert_eq!(fault.place, place, "{written}");
        assert!(fault.message.contains(message), "{written}: {fault:?}");
        assert!(
            fault.help.as_deref().unwrap_or_default().contains(help),
            "{written}: {fault:?}"
        );
    }
    let error = serde_json::from_value::<Type>(json!({"a": "strng"}))
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "/a: there is no type `strng` (help: did you mean `string`?)"
    );
    let mut deep = json!("int");
    for _ in 0..100 {
        deep = json!([deep]);
    }
    assert!(
        Type::from_value(&deep)
            .unwrap_err()
            .message
            .contains("at most 32 deep")
    );
}

#[test]
fn values_are_checked_to_the_last_fault() {
    let rows = [
        (json!("string"), json!("x"), vec![]),
        (
            json!("string"),
            json!(1),
            vec![": expected a string, got 1"],
        ),
        (json!("int"), json!(-3), vec![]),
        (
            json!("int"),
            json!(1.0),
            vec![": expected an int of 64 bits, got 1.0"],
        ),
        (json!("int"), json!(u64::MAX), vec![]),
        (
            json!("int"),
            json!(1e19),
            vec![": expected an int of 64 bits, got 1e+19"],
        ),
        (json!("double"), json!(1), vec![]),
        (
            json!("double"),
            json!("1"),
            vec![": expected a double, got '1'"],
        ),
        (
            json!("bool"),
            json!(null),
            vec![": expected a bool, got null"],
        ),
        (json!("bytes"), json!("YWI="), vec![]),
        (
            json!("bytes"),
            json!("YWI"),
            vec![": expected bytes as base64, got 'YWI'"],
        ),
        (
            json!("timestamp"),
            json!("2026-01-31T09:00:00+01:00"),
            vec![],
        ),
        (
            json!("timestamp"),
            json!("2026-01-31"),
            vec![": expected a timestamp such as 2026-01-31T09:00:00Z, got '2026-01-31'"],
        ),
        (json!("duration"), json!("1h30m"), vec![]),
        (
            json!("duration"),
            json!("soon"),
            vec![": expected a duration such as 1h30m, got 'soon'"],
        ),
        (json!("any"), json!([null]), vec![]),
        (json!("optional int"), json!(null), vec![]),
        (
            json!("optional int"),
            json!("x"),
            vec![": expected an int of 64 bits, got 'x'"],
        ),
        (
            json!(["int"]),
            json!([1, "a", null]),
            vec![
                "[1]: expected an int of 64 bits, got 'a'",
                "[2]: expected an int of 64 bits, got null",
            ],
        ),
        (json!(["int"]), json!(null), vec![]),
        (
            json!(["int"]),
            json!({}),
            vec![": expected a list [int], got an object"],
        ),
        (
            json!({"id": "string", "note": "optional string", "items": [{"sku": "string", "qty": "int"}], "tags": ["string"]}),
            json!({"idd": 1, "items": [{"sku": "a", "qty": 1}, {"sku": 2, "other": 3}]}),
            vec![
                "id: is missing, expected a string",
                "items[1].qty: is missing, expected an int of 64 bits",
                "items[1].sku: expected a string, got 2",
                "items[1].other: no such field",
                "idd: no such field, did you mean `id`?",
            ],
        ),
    ];
    for (written, value, expected) in rows {
        let found: Vec<_> = ty(written)
            .check_value(&value)
            .into_iter()
            .map(|found| format!("{}: {}", found.path, found.message))
            .collect();
        assert_eq!(found, expected, "{value}");
    }
    let many = json!(vec!["x"; 1_000]);
    assert_eq!(ty(json!(["int"])).check_value(&many).len(), 100);
}

#[test]
fn absent_lists_are_empty() {
    let input = ty(
        json!({"id": "string", "tags": ["string"], "items": [{"parts": ["int"]}], "note": "optional string"}),
    );
    let value = json!({"id": "x", "items": [{}, {"parts": null}, {"parts": [1]}]});
    assert_eq!(input.check_value(&value), []);
    let expected =
        json!({"id": "x", "tags": [], "items": [{"parts": []}, {"parts": []}, {"parts": [1]}]});
    assert_eq!(input.with_absent_lists(value), expected);
    let written = r#"{"note": "x", "items":[{"parts": [1.0]}], "id":"\u0078"}"#;
    let payload = crate::payload::Payload::from_bytes(written.as_bytes()).unwrap();
    let filled = input.fill_absent_lists(payload.json());
    let expected = r#"{"id":"\u0078","items":[{"parts": [1.0]}],"note":"x","tags":[]}"#;
    assert_eq!(filled.as_deref(), Some(expected));
    let whole =
        crate::payload::Payload::from_bytes(br#"{"id": "x", "tags": [], "items": []}"#).unwrap();
    assert_eq!(input.fill_absent_lists(whole.json()), None);
}

#[test]
fn types_are_compared() {
    let rows = [
        (json!("double"), json!("int"), true),
        (json!("int"), json!("double"), false),
        (json!("string"), json!("timestamp"), true),
        (json!("timestamp"), json!("string"), false),
        (json!("any"), json!({"a": "int"}), true),
        (json!({"a": "int"}), json!("any"), true),
        (json!("int"), json!("optional int"), false),
        (json!("optional int"), json!("int"), true),
        (json!("optional int"), json!("optional int"), true),
        (json!(["double"]), json!(["int"]), true),
        (json!(["string"]), json!(["int"]), false),
        (
            json!({"a": "int"}),
            json!({"a": "int", "zebra": "int"}),
            true,
        ),
        (json!({"a": "int"}), json!({}), false),
        (json!({"a": "optional int", "l": ["int"]}), json!({}), true),
        (
            json!({"customer": "optional int"}),
            json!({"custommer": "int"}),
            false,
        ),
    ];
    for (wanted, given, expected) in rows {
        assert_eq!(
            ty(wanted.clone()).accepts(&ty(given.clone())),
            expected,
            "{wanted} <- {given}"
        );
    }
    let wanted = ty(json!({"items": [{"qty": "int"}], "id": "string"}));
    let given = ty(json!({"items": [{"qty": "string"}]}));
    let found: Vec<_> = wanted
        .mismatches(&given)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        found,
        [
            "id: is missing, expected a string",
            "items[].qty: expected an int, got a string"
        ]
    );
}

#[test]
fn schemas_become_types_where_they_fit() {
    let rows = [
        (json!({"type": "string", "format": "date-time"}), "string"),
        (
            json!({"type": "integer", "format": "uint64", "minimum": 0}),
            "int",
        ),
        (json!({"type": "number"}), "double"),
        (json!({"type": "boolean"}), "bool"),
        (json!({"type": "null"}), "any"),
        (json!({"type": ["string", "null"]}), "optional string"),
        (json!({"type": ["string"]}), "string"),
        (json!({"type": ["string", "integer"]}), "any"),
        (
            json!({"type": "string", "nullable": true}),
            "optional string",
        ),
        (
            json!({"type": "array", "items": {"type": "integer"}}),
            "[int]",
        ),
        (json!({"type": "array"}), "[any]"),
        (json!({"enum": ["a", "b"]}), "string"),
        (json!({"const": "a"}), "string"),
        (json!({"enum": ["a", 1]}), "any"),
        (json!({"type": "object"}), "any"),
        (
            json!({"type": "object", "additionalProperties": false}),
            "{}",
        ),
        (
            json!({"type": "object", "additionalProperties": {"type": "integer"}}),
            "any",
        ),
        (
            json!({"type": "object", "required": ["a", "c"], "properties": {
                "a": {"type": "integer"}, "b": {"type": "string"}, "c": {"type": ["integer", "null"]}}}),
            "{a: int, b: optional string, c: optional int}",
        ),
        (
            json!({"type": "object", "properties": {"a": true}, "additionalProperties": true}),
            "any",
        ),
        (
            json!({"anyOf": [{"type": "integer"}, {"type": "null"}]}),
            "optional int",
        ),
        (
            json!({"oneOf": [{"type": "integer"}, {"type": "string"}]}),
            "any",
        ),
        (
            json!({"oneOf": [{"const": "a", "type": "string"}, {"enum": ["b", "c"]}]}),
            "string",
        ),
        (
            json!({"anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}], "$defs": {"A": {"type": "object", "properties": {}}}}),
            "optional {}",
        ),
        (json!({"anyOf": []}), "any"),
        (json!({"anyOf": [{"type": "null"}]}), "any"),
        (
            json!({"allOf": [{"type": "integer"}, {"minimum": 1}]}),
            "any",
        ),
        (json!({"allOf": [{"type": "integer"}]}), "int"),
        (
            json!({"$ref": "#/$defs/A", "$defs": {"A": {"type": "array", "items": {"$ref": "#/$defs/B"}}, "B": {"type": "string"}}}),
            "[string]",
        ),
        (
            json!({"$ref": "#/definitions/A", "definitions": {"A": {"type": "integer"}}}),
            "int",
        ),
        (json!({"$ref": "#/$defs/missing"}), "any"),
        (json!({"$ref": "https://example.com/a"}), "any"),
        (json!({"$ref": "#"}), "any"),
        (json!(true), "any"),
        (json!(null), "any"),
    ];
    for (schema, expected) in rows {
        assert_eq!(
            Type::from_json_schema(&schema).to_string(),
            expected,
            "{schema}"
        );
    }
}

#[test]
fn schemas_that_refer_to_themselves_end() {
    let list = json!({"$ref": "#/$defs/L", "$defs": {"L": {"type": "object", "required": ["next", "other"], "properties": {
        "next": {"$ref": "#/$defs/L"}, "other": {"$ref": "#/$defs/L"}}}}});
    // Doubling at every level would take millions of visits.
    let ty = Type::from_json_schema(&list);
    assert!(ty.to_string().len() < 100_000);
}

mod random {
    use proptest::prelude::*;
    use serde_json::Value;

    use crate::{payload::Payload, types::Type};

    /// JSON that looks like types, schemas or values, often enough.
    fn json() -> impl Strategy<Value = Value> {
        let word = prop::sample::select(vec![
            "string",
            "int",
            "optional int",
            "timestamp",
            "optional",
            "integer",
            "object",
            "array",
            "null",
            "#/$defs/a",
            "#",
            "2026-01-31T09:00:00Z",
            "1h",
            "YWI=",
            "é",
        ]);
        let key = prop::sample::select(vec![
            "a",
            "b",
            "type",
            "properties",
            "items",
            "$ref",
            "$defs",
            "anyOf",
            "required",
            "enum",
            "additionalProperties",
            "nullable",
            "const",
            "a/~b",
        ]);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            word.prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 40, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::vec((key.clone(), inner), 0..5).prop_map(|fields| {
                    Value::Object(
                        fields
                            .into_iter()
                            .map(|(key, value)| (key.to_owned(), value))
                            .collect(),
                    )
                }),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn types_come_back_as_written(written in json()) {
            match Type::from_value(&written) {
                Ok(ty) => {
                    let again = Type::from_value(&serde_json::to_value(&ty).expect("a written type"));
                    prop_assert_eq!(again, Ok(ty));
                }
                Err(fault) => prop_assert!(written.pointer(&fault.place).is_some(), "{:?}", fault),
            }
        }

        #[test]
        fn filling_in_absent_lists_breaks_nothing(schema in json(), value in json()) {
            for ty in [Type::from_json_schema(&schema), Type::from_value(&schema).unwrap_or_default()] {
                let before = ty.check_value(&value);
                let filled = ty.with_absent_lists(value.clone());
                prop_assert_eq!(ty.with_absent_lists(filled.clone()), filled.clone());
                prop_assert_eq!(before.is_empty(), ty.check_value(&filled).is_empty());
                let payload = Payload::from_value(value.clone());
                let text = ty.fill_absent_lists(payload.json());
                prop_assert_eq!(text.is_some(), filled != value);
                let found = text.map_or(Ok(value.clone()), |text| serde_json::from_str(&text));
                prop_assert_eq!(found.expect("JSON"), filled);
            }
        }

        #[test]
        fn a_type_accepts_itself(schema in json()) {
            let ty = Type::from_json_schema(&schema);
            prop_assert!(ty.accepts(&ty), "{}", ty);
        }
    }
}
