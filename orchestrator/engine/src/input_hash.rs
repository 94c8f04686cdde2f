//! Hashes of start payloads: whether a start that comes again asks for the same.
//!
//! Version 2 is of the payload's *value* by the definition's types: `100`, `100.0` and `1e2` are one number, an optional
//! field that is null is an absent one, `1h` and `60m` are one duration. Version 1, of releases up to 0.1, is of the
//! spelling that `serde_json` gives numbers. Both have 32 bytes; those of version 2 begin with `MARK`, so that the
//! stored form is the same and an older server still reads it. A stored hash of version 1 is compared the old way first,
//! and then by the payload in the journal, hashed anew.

use saga_core::Payload;
use saga_dsl::types::Type;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// How a hash of version 2 begins. A hash of version 1 begins so once in 2^64.
const MARK: [u8; 8] = *b"saga-ih2";

/// A hash as it is stored.
pub type InputHash = [u8; 32];

/// Of the payload of a start that has a key.
#[must_use]
pub fn of_payload(ty: &Type, input: &Payload) -> InputHash {
    let mut hash = Sha256::new();
    ty.feed_value(input.json(), &mut |bytes| hash.update(bytes));
    marked(hash)
}

/// Of what was asked for and the payload's text, for starts without a key: a repeated request repeats both.
#[must_use]
pub fn of_request(name: &str, input: &Payload) -> InputHash {
    marked(request(name, input.text()))
}

/// Whether the hash has the version that this release makes.
#[must_use]
pub fn is_current(hash: &InputHash) -> bool {
    hash.starts_with(&MARK)
}

/// Whether `stored`, of version 1, is the hash of this start, computed as the releases that made it did.
#[must_use]
pub fn is_version_1_of(stored: &InputHash, name: &str, key: bool, input: &Payload) -> bool {
    let value = input.to_value();
    if key {
        let mut hash = Sha256::new();
        feed_version_1(&value, &mut hash);
        return *stored == <[u8; 32]>::from(hash.finalize());
    }
    // A payload with absent lists was written anew before it was hashed.
    [input.text(), &value.to_string()]
        .iter()
        .any(|text| *stored == <[u8; 32]>::from(request(name, text).finalize()))
}

fn marked(hash: Sha256) -> InputHash {
    let mut out: [u8; 32] = hash.finalize().into();
    out[..MARK.len()].copy_from_slice(&MARK);
    out
}

fn request(name: &str, text: &str) -> Sha256 {
    let mut hash = Sha256::new_with_prefix(name);
    hash.update(b"\0");
    hash.update(text);
    hash
}

/// SHA-256 over the value with sorted keys, numbers as `serde_json` prints them.
fn feed_version_1(value: &Value, hash: &mut Sha256) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(key, _)| key.as_str());
            hash.update(b"{");
            for (key, value) in fields {
                feed_text(key, hash);
                hash.update(b":");
                feed_version_1(value, hash);
                hash.update(b",");
            }
            hash.update(b"}");
        }
        Value::Array(items) => {
            hash.update(b"[");
            for item in items {
                feed_version_1(item, hash);
                hash.update(b",");
            }
            hash.update(b"]");
        }
        Value::String(text) => feed_text(text, hash),
        Value::Null | Value::Bool(_) | Value::Number(_) => hash.update(value.to_string()),
    }
}

/// A text with its length before it, so that no two values feed the same bytes.
fn feed_text(text: &str, hash: &mut Sha256) {
    hash.update(b"\"");
    hash.update((text.len() as u64).to_be_bytes());
    hash.update(text);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn payload(text: &str) -> Payload {
        Payload::from_bytes(text.as_bytes()).expect("JSON")
    }

    fn ty() -> Type {
        Type::from_value(&json!({
            "k": "string", "amount": "double", "n": "int", "note": "optional string", "tags": ["string"],
            "at": "optional timestamp", "wait": "optional duration", "any": "any",
        }))
        .expect("types")
    }

    fn hash(text: &str) -> InputHash {
        of_payload(&ty(), &payload(text))
    }

    #[test]
    fn equal_values_have_one_hash_whatever_their_spelling() {
        let equal = [
            [r#"{"amount":100}"#, r#"{"amount":100.0}"#],
            [r#"{"amount":100}"#, r#"{ "amount" : 1e2 }"#],
            [r#"{"amount":0.1}"#, r#"{"amount":1.00E-1}"#],
            [r#"{"amount":0}"#, r#"{"amount":-0.0}"#],
            [
                r#"{"any":{"a":1,"b":[2.50]}}"#,
                r#"{"any":{"b":[25e-1],"a":1.0}}"#,
            ],
            [r#"{"k":"x"}"#, r#"{"k":"\u0078","note":null}"#],
            [
                r#"{"at":"2026-01-31T10:00:00Z"}"#,
                r#"{"at":"2026-01-31T12:00:00+02:00"}"#,
            ],
            [r#"{"wait":"1h"}"#, r#"{"wait":"60m"}"#],
        ];
        for [a, b] in equal {
            assert_eq!(hash(a), hash(b), "{a} {b}");
            assert!(is_current(&hash(a)));
        }
    }

    #[test]
    fn different_values_have_different_hashes() {
        let different = [
            r#"{"amount":100}"#,
            r#"{"amount":101}"#,
            r#"{"amount":-100}"#,
            r#"{"amount":1000}"#,
            r#"{"amount":100.00000000000000000001}"#,
            r#"{"n":18446744073709551615}"#,
            r#"{"n":18446744073709551614}"#,
            r#"{"k":"100"}"#,
            r#"{"any":null}"#,
            r#"{"any":"null"}"#,
            r#"{"any":[1]}"#,
            r#"{"any":[[1]]}"#,
            r#"{"any":[1,1]}"#,
            r#"{"any":["1,1"]}"#,
            r#"{"any":{"b":1}}"#,
            r#"{"any":{},"b":1}"#,
            r#"{"at":"2026-01-31T10:00:00Z"}"#,
            r#"{"k":"2026-01-31T10:00:00Z"}"#,
            "{}",
            "[]",
        ];
        let hashes: std::collections::BTreeSet<_> =
            different.iter().map(|json| hash(json)).collect();
        assert_eq!(hashes.len(), different.len());
    }

    /// As the release before versions stored them.
    #[test]
    fn hashes_of_version_1_are_recognised() {
        let input = payload(r#"{"k":"1","amount":100.0,"tags":[]}"#);
        let mut old = Sha256::new();
        feed_version_1(&json!({"k": "1", "amount": 100.0, "tags": []}), &mut old);
        let old: InputHash = old.finalize().into();
        // Computed apart from this code.
        assert_eq!(old[..3], [0x3b, 0x46, 0x62]);
        assert!(!is_current(&old) && is_version_1_of(&old, "idem", true, &input));
        assert!(!is_version_1_of(
            &old,
            "idem",
            true,
            &payload(r#"{"k":"1","amount":100,"tags":[]}"#)
        ));
        let request: InputHash = request("idem", input.text()).finalize().into();
        assert!(is_version_1_of(&request, "idem", false, &input));
        assert!(!is_version_1_of(&request, "other", false, &input));
    }

    proptest! {
        #[test]
        fn any_number_hashes_like_its_other_spellings(digits in "[1-9][0-9]{0,30}", zeros in 0_usize..5, point in 0_usize..5) {
            let plain = format!(r#"{{"amount":{digits}}}"#);
            let padded = format!(r#"{{"amount":{digits}.{}}}"#, "0".repeat(zeros + 1));
            let shifted = format!(r#"{{"amount":{digits}{}e-{point}}}"#, "0".repeat(point));
            prop_assert_eq!(hash(&plain), hash(&padded));
            prop_assert_eq!(hash(&plain), hash(&shifted));
            let other = format!(r#"{{"amount":{digits}1}}"#);
            prop_assert_ne!(hash(&plain), hash(&other));
        }
    }
}
