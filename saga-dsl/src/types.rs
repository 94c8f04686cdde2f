//! The type language of inputs, outputs and payloads.
//!
//! Written `string`, `optional int`, `[T]`, `{field: T}`; the serde form is exactly the written form.

mod schema;
mod value;
mod written;

use std::collections::BTreeMap;

pub use self::{value::Mismatch, written::TypeFault};

/// A type as saga files write it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Type {
    /// Text.
    String,
    /// A whole number that fits 64 bits with sign.
    Int,
    /// A number.
    Double,
    /// True or false.
    Bool,
    /// Bytes; base64 text in JSON.
    Bytes,
    /// A point in time; RFC 3339 text in JSON.
    Timestamp,
    /// A span of time; text such as `1h30m` in JSON.
    Duration,
    /// Not checked.
    #[default]
    Any,
    /// Only null. Comes of expressions; files cannot write it.
    Null,
    /// A list; an absent list is empty.
    List(Box<Type>),
    /// Fields by name, no others.
    Object(BTreeMap<String, Type>),
    /// May be absent. Files write it before scalars only.
    Optional(Box<Type>),
}
