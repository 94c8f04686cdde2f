//! The start payload: read, filled, checked against the definition, hashed.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use saga_core::Payload;
use saga_dsl::{
    expr::{Budget, Root, Scope},
    plan::Plan,
    types::Type,
};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::error::{Code, Refusal};
use crate::document;

/// Longest idempotency key, in characters.
const KEY_CHARS_MAX: usize = 200;

/// The type of each plan's input, put together once; by content hash.
#[derive(Default)]
pub(super) struct InputTypes {
    by_hash: RwLock<HashMap<[u8; 32], Arc<InputType>>>,
}

struct InputType {
    ty: Type,
    /// Whether absent lists have to be filled in.
    has_lists: bool,
}

impl InputTypes {
    fn of(&self, plan: &Plan) -> Arc<InputType> {
        let known = self.by_hash.read().unwrap_or_else(PoisonError::into_inner).get(&plan.hash).cloned();
        known.unwrap_or_else(|| {
            let ty = Type::Object(plan.definition.input.clone());
            let made = Arc::new(InputType { has_lists: has_lists(&ty), ty });
            let mut by_hash = self.by_hash.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(by_hash.entry(plan.hash).or_insert(made))
        })
    }

    /// Reads the payload of a start. Empty bytes count as an empty object.
    pub(super) fn read(&self, plan: &Plan, bytes: &[u8]) -> Result<Payload, Refusal> {
        if bytes.len() > document::BYTES_SOFT_MAX {
            tracing::warn!(saga = plan.definition.saga, bytes = bytes.len(), "an input is large");
        }
        let input = document::read(if bytes.is_empty() { b"{}" } else { bytes })?;
        if !input.tree().is_object() {
            return Err(Refusal::new(Code::Malformed, "input: a saga's input is a JSON object"));
        }
        let input_type = self.of(plan);
        let mismatches = input_type.ty.check_value(input.tree());
        if !mismatches.is_empty() {
            let list = mismatches.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            let Plan { definition, .. } = plan;
            let text = format!("the input does not fit {}@{}: {list}", definition.saga, definition.version);
            return Err(Refusal::new(Code::Input, document::clean_text(text, 8 * 1024)));
        }
        if input_type.has_lists {
            let filled = input_type.ty.with_absent_lists(input.tree().clone());
            if filled != *input.tree() {
                return Ok(Payload::from_value(filled));
            }
        }
        Ok(input)
    }
}

fn has_lists(ty: &Type) -> bool {
    match ty {
        Type::List(_) => true,
        Type::Object(fields) => fields.values().any(has_lists),
        Type::Optional(inner) => has_lists(inner),
        Type::String
        | Type::Int
        | Type::Double
        | Type::Bool
        | Type::Bytes
        | Type::Timestamp
        | Type::Duration
        | Type::Any
        | Type::Null => false,
    }
}

/// The key that the definition computes for an input, if it has one.
pub(super) fn evaluate_key(plan: &Plan, input: &Payload) -> Result<Option<String>, Refusal> {
    let Some(template) = &plan.idempotency_key else { return Ok(None) };
    let key = template.eval_text(&InputScope(input.tree()), &mut Budget::default()).map_err(|error| {
        Refusal::new(Code::Key, format!("idempotency_key of {}: {error}", plan.definition.saga))
    })?;
    check_key(&key, Code::Key)?;
    Ok(Some(key))
}

/// The rules of a key.
pub(super) fn check_key(key: &str, code: Code) -> Result<(), Refusal> {
    let fault = match key {
        "" => "is empty",
        _ if key.chars().count() > KEY_CHARS_MAX => "has more than 200 characters",
        _ if key.contains('\0') => "holds a NUL character",
        _ => return Ok(()),
    };
    Err(Refusal::new(code, format!("key: {fault}")))
}

struct InputScope<'a>(&'a Value);

impl Scope for InputScope<'_> {
    fn value(&self, root: &Root) -> Option<std::borrow::Cow<'_, Value>> {
        match root {
            Root::Input => Some(std::borrow::Cow::Borrowed(self.0)),
            Root::StepOutput(_)
            | Root::StepStatus(_)
            | Root::StepError(_)
            | Root::Saga(_)
            | Root::Own(_)
            | Root::Local(_) => None,
        }
    }
}

/// SHA-256 over the value with sorted keys: two spellings of one input have one hash.
pub(super) fn canonical_hash(value: &Value) -> [u8; 32] {
    let mut hash = Sha256::new();
    feed(value, &mut hash);
    hash.finalize().into()
}

fn feed(value: &Value, hash: &mut Sha256) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(key, _)| key.as_str());
            hash.update(b"{");
            for (key, value) in fields {
                feed_text(key, hash);
                hash.update(b":");
                feed(value, hash);
                hash.update(b",");
            }
            hash.update(b"}");
        }
        Value::Array(items) => {
            hash.update(b"[");
            for item in items {
                feed(item, hash);
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

/// SHA-256 over what was asked for and the bytes as they came, for starts without a key: a repeated request repeats
/// both.
pub(super) fn raw_hash(name: &str, bytes: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new_with_prefix(name);
    hash.update(b"\0");
    hash.update(bytes);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(json: &str) -> [u8; 32] {
        canonical_hash(&serde_json::from_str(json).expect("JSON"))
    }

    #[test]
    fn the_order_of_keys_and_spaces_do_not_count_but_everything_else_does() {
        assert_eq!(hash(r#"{"a":1,"b":[true,null]}"#), hash(r#"{ "b": [true, null], "a": 1 }"#));
        let different = [
            r#"{"a":"1"}"#,
            r#"{"a":1}"#,
            r#"{"a":[1]}"#,
            r#"{"a":[[1]]}"#,
            r#"{"a":[1,1]}"#,
            r#"{"a":["1,1"]}"#,
            r#"{"a":{"b":1}}"#,
            r#"{"a":{},"b":1}"#,
            r#"{"a":null}"#,
            r#"{"a":"null"}"#,
            "{}",
            "[]",
        ];
        let hashes: std::collections::BTreeSet<_> = different.iter().map(|json| hash(json)).collect();
        assert_eq!(hashes.len(), different.len());
    }

    #[test]
    fn keys_have_rules() {
        assert!(check_key(&"ü".repeat(200), Code::Malformed).is_ok());
        assert!(check_key(&"ü".repeat(201), Code::Malformed).is_err());
        assert!(check_key("", Code::Malformed).is_err() && check_key("a\0", Code::Malformed).is_err());
    }
}
