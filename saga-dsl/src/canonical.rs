//! The canonical JSON of a definition: what is stored, hashed and pinned.
//!
//! Keys are sorted at every level by this module rather than by `serde_json`'s map, whose order hangs on
//! a feature that any crate of a build may switch on; a hash must not.

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::definition::Definition;

/// Not the canonical form of a definition.
#[derive(Debug, thiserror::Error)]
pub enum CanonicalError {
    /// Not JSON, or not of the model's shape.
    #[error("not a definition: {0}")]
    Shape(#[from] serde_json::Error),
    /// It reads, but writing it again gives something else: an unknown key, or another spelling.
    #[error("not in canonical form")]
    NotCanonical,
}

impl Definition {
    /// What was written, without defaults, with sorted keys and no spaces.
    #[must_use]
    pub fn canonical_json(&self) -> String {
        let mut out = String::new();
        // The model holds only texts, finite numbers, lists and maps with text keys: it always serialises.
        write_sorted(&serde_json::to_value(self).unwrap_or_default(), &mut out);
        out
    }

    /// SHA-256 of [`Definition::canonical_json`].
    #[must_use]
    pub fn content_hash(&self) -> [u8; 32] {
        Sha256::digest(self.canonical_json()).into()
    }

    /// Reads what [`Definition::canonical_json`] wrote, and nothing else.
    ///
    /// # Errors
    /// When the text is not exactly a canonical form, so that nothing is dropped in silence.
    pub fn from_canonical_json(json: &str) -> Result<Self, CanonicalError> {
        let definition: Self = serde_json::from_str(json)?;
        if definition.canonical_json() == json {
            Ok(definition)
        } else {
            Err(CanonicalError::NotCanonical)
        }
    }
}

fn write_sorted(value: &Value, out: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(key, _)| key.as_str());
            out.push('{');
            for (n, (key, value)) in fields.into_iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write_sorted(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                write_sorted(item, out);
            }
            out.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            out.push_str(&value.to_string());
        }
    }
}
