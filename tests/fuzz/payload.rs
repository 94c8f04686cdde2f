//! JSON payloads at the edge: inputs of starts, outputs of participants.

use saga_core::Payload;
use saga_engine::document::{self, BYTES_MAX, DEPTH_MAX, clean_text};
use serde_json::Value;

use crate::{edits::edited, run::fuzz};

const WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    "\\udc00",
    "\\u00e9",
    "\"a\":",
    "null",
    "true",
    "0",
    "-0",
    "1.0",
    "1e5",
    "1e400",
    "-1e-400",
    "9223372036854775808",
    "123456789012345678901234567890",
    "\u{0}",
    "\u{feff}",
    "ü",
    " ",
    "\n",
    "/*",
    "NaN",
    "'",
];

#[test]
fn payload() {
    let originals = [
        r#"{"trip_id":"t","flight":{"from":"FRA","to":"LIS"},"nights":3,"amount_cents":64900,"ok":true,"n":null}"#,
        r#"[[],[{}],"\"\\\u00e9\ud83d\ude00",1.5e3,-0.0,{"a":[1,2,{"b":"[{"}]}]"#,
        "\"text\"",
        "9007199254740993",
        "",
    ];
    fuzz(
        "payload",
        edited(
            originals.map(|text| text.as_bytes().to_vec()).to_vec(),
            WORDS,
        ),
        target,
    );
}

pub fn target(bytes: &[u8]) {
    let whole: Result<Value, _> = serde_json::from_slice(bytes);
    match document::read(bytes) {
        Ok(payload) => {
            // What is let in has a meaning, and the same one for whoever looks into it.
            assert_eq!(
                Some(payload.to_value()),
                whole.as_ref().ok().cloned(),
                "{}",
                payload.text()
            );
            assert!(payload.text().len() <= BYTES_MAX);
            assert!(depth(&payload.to_value()) <= DEPTH_MAX);
            let body = serde_json::to_vec(&payload).expect("a payload is JSON");
            assert_eq!(
                serde_json::from_slice::<Payload>(&body).expect("what was written can be read"),
                payload
            );
        }
        // What is kept out is no JSON, or beyond a limit.
        Err(document::Fault::NotJson(_) | document::Fault::NoValue(_)) => {
            assert!(whole.is_err(), "a good document is refused")
        }
        Err(document::Fault::TooDeep) => {
            assert!(whole.map_or(true, |value| depth(&value) > DEPTH_MAX))
        }
        Err(document::Fault::TooLarge(size)) => assert!(size > BYTES_MAX),
    }
    let text = String::from_utf8_lossy(bytes).into_owned();
    for limit in [0, 1, 7, 128] {
        let clean = clean_text(text.clone(), limit);
        assert!(clean.len() <= limit && !clean.contains('\0'));
    }
}

fn depth(value: &Value) -> u32 {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}
