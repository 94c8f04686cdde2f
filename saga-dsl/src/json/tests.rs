//! The reader against `serde_json`, and what it keeps.

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::{Fault, Json, Shape, push_text, read};
use crate::payload::Payload;

/// The value as `serde_json` would build it.
fn built(json: Json<'_>) -> Value {
    match json.shape() {
        Shape::Null => Value::Null,
        Shape::Bool(value) => value.into(),
        Shape::Number(number) => serde_json::from_str(number.written()).expect("a number"),
        Shape::Text(text) => text.into(),
        Shape::List(items) => items.iter().map(built).collect(),
        Shape::Object(fields) => Value::Object(
            fields
                .iter()
                .map(|(name, json)| (name.to_owned(), built(json)))
                .collect::<Map<_, _>>(),
        ),
    }
}

/// Both readers take it, with one value, or neither does.
fn same(text: &str) {
    match (read(text), serde_json::from_str::<Value>(text)) {
        (Ok(tree), Ok(value)) => assert_eq!(built(tree.view(text)), value, "{text}"),
        (Err(_), Err(_)) => {}
        (ours, theirs) => panic!("{text}: {ours:?} and {theirs:?}"),
    }
}

#[test]
fn both_readers_agree() {
    for text in [
        "",
        " null ",
        "nul",
        "tru",
        "[1,2 , 3]",
        "[1,]",
        "[,1]",
        "{\"a\":1,}",
        "{\"b\":{\"c\":[]},\"a\":\"x\"}",
        "{\"a\" 1}",
        "{a:1}",
        "01",
        "-",
        "-0",
        "1.",
        ".5",
        "1e",
        "1e+",
        "1E-5",
        "1e400",
        "1e-400",
        "\"\\u00e9\\n\\/\\b\"",
        "\"\\ud83d\\ude00\"",
        "\"\\ud83d\"",
        "\"\\ude00\"",
        "\"\\ud83dx\"",
        "\"\\ud83d\\u0041\"",
        "\"\\u00g1\"",
        "\"\\x\"",
        "\"\\",
        "\"",
        "\"a\tb\"",
        "\"\u{7f}\\u0000é\"",
        "\u{feff}1",
        "1 1",
        "[",
        "{",
        "{\"a\"",
        "{\"\\u0061\":1}",
    ] {
        same(text);
    }
}

#[test]
fn parts_without_a_value_are_named() {
    let fault = |text: &str| read(text).expect_err(text);
    assert_eq!(fault(r#"{"a":"x\ud800"}"#), Fault::LoneSurrogate(7));
    assert_eq!(fault("[1e400]"), Fault::NumberTooLarge("1e400".to_owned()));
    assert_eq!(fault(&"[".repeat(1_000)), Fault::TooDeep);
    assert!(matches!(fault("{}}"), Fault::Syntax(2)));
}

#[test]
fn of_two_fields_with_one_name_the_last_counts_and_both_are_kept() {
    let payload = Payload::from_bytes(br#"{"a":1,"b":[{"x":1,"\u0078":2}],"c":3}"#).expect("JSON");
    assert_eq!(payload.repeated_field(), Some("x"));
    let Some(Shape::List(items)) = payload.json().get("b").map(Json::shape) else {
        panic!("a list")
    };
    let first = items.get(0).expect("an item");
    assert_eq!(first.get("x").map(Json::written), Some("2"));
    assert_eq!(first.written(), r#"{"x":1,"\u0078":2}"#);
    let once = Payload::from_bytes(br#"{"a":{"a":1},"b":[{"a":1}]}"#).expect("JSON");
    assert_eq!(once.repeated_field(), None);
}

#[test]
fn written_texts_are_what_serde_writes() {
    let all: String = (0..0x300)
        .filter_map(char::from_u32)
        .chain(['\u{2028}', '😀'])
        .collect();
    let mut out = String::new();
    push_text(&mut out, &all);
    assert_eq!(out, Value::from(all).to_string());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_pieces_of_json_read_alike(pieces in prop::collection::vec(prop::sample::select(vec![
        "{", "}", "[", "]", ",", ":", "\"a\"", "\"\\u0061\"", "\"\\ud83d\"", "1", "-0", "1.5e3", "true", "null", " ", "\"b\":", "\"é\\\"\"",
    ]), 0..12)) {
        same(&pieces.concat());
    }
}
