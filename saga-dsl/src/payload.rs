//! JSON documents as they travel: text that is parsed at most once, and only if somebody looks inside.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use serde_json::{Value, value::RawValue};

use crate::json::{self, Json, Tree};

/// A valid JSON document, cheap to clone.
///
/// Inputs and outputs mostly pass through the orchestrator unread, so the text is kept and a tree is
/// built on the first look only.
#[derive(Clone)]
pub struct Payload(Arc<Document>);

struct Document {
    text: Box<RawValue>,
    tree: OnceLock<Tree>,
}

/// The bytes are not a JSON document.
#[derive(Debug, thiserror::Error)]
#[error("not a JSON document: {0}")]
pub struct NotJson(#[from] serde_json::Error);

impl Payload {
    /// Reads a document from bytes.
    ///
    /// # Errors
    /// [`NotJson`] when the bytes are not exactly one JSON document.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NotJson> {
        Ok(Self::from_raw(serde_json::from_slice(bytes)?))
    }

    /// A document of JSON text that was just written.
    ///
    /// # Errors
    /// [`NotJson`] when it is not exactly one JSON document.
    pub fn from_text(text: String) -> Result<Self, NotJson> {
        Ok(Self::from_raw(RawValue::from_string(text)?))
    }

    /// A document of an already built value.
    #[must_use]
    pub fn from_value(value: Value) -> Self {
        Self::from_raw(
            serde_json::value::to_raw_value(&value).unwrap_or_else(|_| RawValue::NULL.to_owned()),
        )
    }

    fn from_raw(text: Box<RawValue>) -> Self {
        Self(Arc::new(Document {
            text,
            tree: OnceLock::new(),
        }))
    }

    /// The JSON text.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.text.get()
    }

    fn tree(&self) -> &Tree {
        self.0
            .tree
            .get_or_init(|| json::read(self.text()).unwrap_or(Tree::NULL))
    }

    /// The document, as it was written; its tree is built at the first call.
    ///
    /// A document that [`Payload::check`] refuses reads as null; the edge lets in none.
    #[must_use]
    pub fn json(&self) -> Json<'_> {
        self.tree().view(self.text())
    }

    /// The name of a field that stands twice in one object, if there is one.
    #[must_use]
    pub fn repeated_field(&self) -> Option<&str> {
        self.tree().repeated()
    }

    /// Whether every part of the document has a value.
    ///
    /// # Errors
    /// Half of a surrogate pair, a number beyond every double, or nesting without end: JSON by its form, without a value.
    pub fn check(&self) -> Result<(), json::Fault> {
        json::read(self.text()).map(|tree| {
            // Whoever came first has set it.
            let _ = self.0.tree.set(tree);
        })
    }

    /// The document as a value of `serde_json`, which rounds numbers to 64 bits. Built at every call.
    #[must_use]
    pub fn to_value(&self) -> Value {
        serde_json::from_str(self.text()).unwrap_or(Value::Null)
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Payload {}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0
            .text
            .serialize(serializer)
            .map_err(ser::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer)
            .map(Self::from_raw)
            .map_err(de::Error::custom)
    }
}

/// A field that is there holds a document, also where that document is `null`; serde would take it for absent.
///
/// # Errors
/// As [`Payload`]'s own.
pub fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Payload>, D::Error> {
    Payload::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_survives_as_it_was() {
        let payload = Payload::from_bytes(br#"{"b": 1.50, "a":[ ]}"#).expect("valid JSON");
        let body = serde_json::to_string(&vec![payload.clone()]).expect("serializable");
        assert_eq!(body, r#"[{"b": 1.50, "a":[ ]}]"#);
        let back: Vec<Payload> = serde_json::from_str(&body).expect("valid");
        assert_eq!(back, vec![payload]);
    }

    #[test]
    fn numbers_are_read_as_they_were_written() {
        // The fast way of reading doubles gives the neighbour of each.
        for number in [1.0 / 92_233_720_368_547_758_073.0, 1.0 / 3.0, 5e-324] {
            let live = Payload::from_value(number.into());
            let read = Payload::from_bytes(live.text().as_bytes()).expect("valid JSON");
            assert_eq!(read.to_value(), live.to_value(), "{}", live.text());
        }
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for bytes in [&b""[..], b"{", b"{} {}", b"\xff", b"nul"] {
            assert!(Payload::from_bytes(bytes).is_err(), "{bytes:?}");
        }
    }
}
