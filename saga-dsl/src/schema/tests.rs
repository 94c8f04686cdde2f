//! The schema and the reader agree: on the keys, on good files, and on what is no saga file at all.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::{Value, json};

use super::{checker::Checker, schema};
use crate::{
    codes::Code,
    diagnostic::Severity,
    file::{self, keys, steps::VERBS, unsupported::UNSUPPORTED},
};

/// A file in which every key of the language stands.
const EVERYTHING: &str = include_str!("everything.saga.yaml");

fn crate_file(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("the file is there")
}

fn valid(schema: &Value, source: &str) -> bool {
    file::plain_value(source).is_some_and(|value| Checker::new(schema).accepts(&value))
}

fn errors(source: &str) -> Vec<Code> {
    let found = file::load("t", source.as_bytes()).diagnostics;
    found
        .into_iter()
        .filter(|found| found.severity == Severity::Error)
        .map(|found| found.code)
        .collect()
}

/// Faults of the shape of one value, which a schema can tell.
fn is_of_shape(code: Code) -> bool {
    matches!(
        code,
        Code::S0101 | Code::S0105 | Code::S0107 | Code::S0108 | Code::S0109
    )
}

#[test]
fn the_keys_are_those_of_the_reader() {
    let schema = schema();
    let group = |verb: &'static str| [keys::GROUP, &[verb]].concat();
    let verbs: Vec<_> = VERBS
        .iter()
        .copied()
        .filter(|verb| !UNSUPPORTED.contains(verb))
        .collect();
    assert_eq!(
        verbs,
        ["action", "parallel", "sequence"],
        "a verb without a definition in the schema"
    );
    let objects = [
        ("", keys::FILE.to_vec()),
        ("/definitions/defaults", keys::DEFAULTS.to_vec()),
        ("/definitions/participant", keys::PARTICIPANT.to_vec()),
        (
            "/definitions/circuit_breaker",
            keys::CIRCUIT_BREAKER.to_vec(),
        ),
        ("/definitions/retry", keys::RETRY.to_vec()),
        ("/definitions/step", keys::STEP.to_vec()),
        (
            "/definitions/compensation_block",
            keys::COMPENSATION.to_vec(),
        ),
        ("/definitions/parallel", group("parallel")),
        ("/definitions/sequence", group("sequence")),
    ];
    for (place, keys) in &objects {
        let object = schema.pointer(place).expect(place);
        let offered: BTreeSet<_> = object["properties"]
            .as_object()
            .expect(place)
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(offered, keys.iter().copied().collect(), "{place}");
        for (key, shape) in object["properties"].as_object().expect(place) {
            assert!(
                shape["description"]
                    .as_str()
                    .is_some_and(|text| text.len() > 5),
                "{place}: {key}"
            );
        }
    }
    let closed = schema["definitions"].as_object().expect("a map").values();
    let closed = closed.filter(|one| one.get("properties").is_some()).count() + 1;
    assert_eq!(closed, objects.len(), "an object is not compared");
}

#[test]
fn good_files_are_valid() {
    let schema = schema();
    let mut checked = 0;
    let faults = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults");
    for case in fs::read_dir(faults).expect("the cases") {
        let name = case
            .expect("a case")
            .file_name()
            .into_string()
            .expect("a name");
        let good = crate_file(&format!("tests/faults/{name}/good.saga.yaml"));
        assert!(valid(&schema, &good), "{name}");
        checked += 1;
    }
    for path in [
        "../examples/book_trip/book_trip.saga.yaml",
        "tests/files/book_trip.saga.yaml",
        "tests/files/ship_order.saga.yaml",
    ] {
        assert!(valid(&schema, &crate_file(path)), "{path}");
    }
    assert!(checked > 50, "only {checked} files were found");
}

#[test]
fn bad_files_are_not() {
    let schema = schema();
    let mut checked = 0;
    let faults = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults");
    for case in fs::read_dir(faults).expect("the cases") {
        let name = case
            .expect("a case")
            .file_name()
            .into_string()
            .expect("a name");
        let code: Code = name
            .split('_')
            .next()
            .and_then(|code| code.parse().ok())
            .expect("a code");
        let told = is_of_shape(code)
            || [
                "S0103_names",
                "S0103_no_steps",
                "S0103_types",
                "S0103_words",
                "S0104_form",
            ]
            .contains(&&*name);
        if told {
            assert!(
                !valid(
                    &schema,
                    &crate_file(&format!("tests/faults/{name}/bad.saga.yaml"))
                ),
                "{name}"
            );
            checked += 1;
        }
    }
    assert!(checked > 12, "only {checked} files were found");
    for name in ["fulfil_order", "lab_report"] {
        assert!(
            !valid(
                &schema,
                &crate_file(&format!("tests/files/{name}.saga.yaml"))
            ),
            "{name} is for later"
        );
    }
}

/// Every place of `value`, the whole included, as JSON pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(map) => map
            .iter()
            .for_each(|(key, value)| places(value, &format!("{at}/{key}"), found)),
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(i, value)| places(value, &format!("{at}/{i}"), found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Every value of a file with everything in it is replaced by values of every sort, and every key is taken away and
/// misspelled. What the reader then takes is valid, and what is of a wrong shape to it is not.
#[test]
fn reader_and_schema_agree_on_every_slip() {
    assert_eq!(errors(EVERYTHING), []);
    let schema = schema();
    let whole = file::plain_value(EVERYTHING).expect("the file is plain");
    let mut slips = Vec::new();
    let others = [
        json!("none"),
        json!("5s"),
        json!("a/b"),
        json!("a-b"),
        json!("in"),
        json!("optional  int"),
        json!("unlimited"),
        json!("pivot"),
        json!("1h30m"),
        json!("30m1h"),
        json!(""),
        json!("true"),
        json!(0),
        json!(1),
        json!(2.5),
        json!(-1),
        json!(4_294_967_296_u64),
        json!(true),
        json!([]),
        json!(["a"]),
        json!([1]),
        json!({}),
        json!({"a": "int"}),
        json!({"A": "int"}),
        json!({"a": {"A": "int"}}),
        json!([{}]),
        json!({"action": "none"}),
        json!({"parallel": []}),
    ];
    let mut all = Vec::new();
    places(&whole, "", &mut all);
    for place in &all {
        for other in &others {
            let mut slip = whole.clone();
            *slip.pointer_mut(place).expect("it is a place of the file") = other.clone();
            slips.push((format!("{place} = {other}"), slip));
        }
        let Some((parent, key)) = place.rsplit_once('/') else {
            continue;
        };
        let mut without = whole.clone();
        let Some(map) = without.pointer_mut(parent).and_then(Value::as_object_mut) else {
            continue;
        };
        let value = map.remove(key).expect("the key is there");
        slips.push((format!("no {place}"), without.clone()));
        let map = without
            .pointer_mut(parent)
            .and_then(Value::as_object_mut)
            .expect("it was there before");
        map.insert(format!("{key}_"), value);
        slips.push((format!("{place}_"), without));
    }
    let checker = Checker::new(&schema);
    let (mut taken, mut refused) = (0, 0);
    for (name, slip) in slips {
        let errors = errors(&slip.to_string());
        if errors.is_empty() {
            assert!(checker.accepts(&slip), "{name}: the reader takes it");
            taken += 1;
        } else if errors.iter().copied().any(is_of_shape) {
            assert!(
                !checker.accepts(&slip),
                "{name}: the reader says {errors:?}"
            );
            refused += 1;
        }
    }
    assert!(
        taken > 100 && refused > 500,
        "{taken} were taken, {refused} refused"
    );
}
