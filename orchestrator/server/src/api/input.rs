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

use super::error::{Code, Refusal};
use saga_engine::{
    document::{self, Fault},
    input_hash::{self, InputHash},
};

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
        let known = self
            .by_hash
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&plan.hash)
            .cloned();
        known.unwrap_or_else(|| {
            let ty = Type::Object(plan.definition.input.clone());
            let made = Arc::new(InputType {
                has_lists: has_lists(&ty),
                ty,
            });
            let mut by_hash = self.by_hash.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(by_hash.entry(plan.hash).or_insert(made))
        })
    }

    /// Reads the payload of a start. Empty bytes count as an empty object.
    pub(super) fn read(&self, plan: &Plan, bytes: &[u8]) -> Result<Payload, Refusal> {
        if bytes.len() > document::BYTES_SOFT_MAX {
            tracing::warn!(
                saga = plan.definition.saga,
                bytes = bytes.len(),
                "an input is large"
            );
        }
        let input = document::read(if bytes.is_empty() { b"{}" } else { bytes })?;
        if !input.json().is_object() {
            return Err(Refusal::new(
                Code::Malformed,
                "input: a saga's input is a JSON object",
            ));
        }
        one_field_each("input", &input)?;
        let input_type = self.of(plan);
        let mismatches = input_type.ty.check_json(input.json());
        if !mismatches.is_empty() {
            let list = mismatches
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; ");
            let Plan { definition, .. } = plan;
            let text = format!(
                "the input does not fit {}@{}: {list}",
                definition.saga, definition.version
            );
            return Err(Refusal::new(
                Code::Input,
                document::clean_text(text, 8 * 1024),
            ));
        }
        if input_type.has_lists
            && let Some(filled) = input_type.ty.fill_absent_lists(input.json())
        {
            if filled.len() > document::BYTES_MAX {
                return Err(Fault::TooLarge(filled.len()).into());
            }
            let wrong = |error| Refusal::new(Code::Internal, format!("input: {error}"));
            return Payload::from_text(filled).map_err(wrong);
        }
        Ok(input)
    }

    /// The hash by which a start with a key is known again.
    pub(super) fn hash(&self, plan: &Plan, input: &Payload) -> InputHash {
        input_hash::of_payload(&self.of(plan).ty, input)
    }
}

/// Refuses a document in which a field stands twice: one reader takes the first, another the last.
pub(super) fn one_field_each(what: &str, document: &Payload) -> Result<(), Refusal> {
    match document.repeated_field() {
        None => Ok(()),
        Some(field) => {
            let field = document::clean_text(field.to_owned(), 256);
            Err(Refusal::new(
                Code::Malformed,
                format!("{what}: the field `{field}` stands twice in one object"),
            ))
        }
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
    let Some(template) = &plan.idempotency_key else {
        return Ok(None);
    };
    let key = template
        .eval_text(&InputScope(input), &mut Budget::default())
        .map_err(|error| {
            Refusal::new(
                Code::Key,
                format!("idempotency_key of {}: {error}", plan.definition.saga),
            )
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

struct InputScope<'a>(&'a Payload);

impl Scope for InputScope<'_> {
    fn value(&self, root: &Root) -> Option<Payload> {
        match root {
            Root::Input => Some(self.0.clone()),
            Root::StepOutput(_)
            | Root::StepStatus(_)
            | Root::StepError(_)
            | Root::Saga(_)
            | Root::Own(_)
            | Root::Local(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_rules() {
        assert!(check_key(&"ü".repeat(200), Code::Malformed).is_ok());
        assert!(check_key(&"ü".repeat(201), Code::Malformed).is_err());
        assert!(
            check_key("", Code::Malformed).is_err() && check_key("a\0", Code::Malformed).is_err()
        );
    }
}
