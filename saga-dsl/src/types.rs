//! The type language of inputs, outputs and payloads.
//!
//! Written `string`, `optional int`, `[T]`, `{field: T}`; the serde form is exactly the written form.

mod entered;
mod equal;
mod schema;
#[cfg(test)]
mod tests;
mod value;
mod written;

use std::collections::BTreeMap;

pub(crate) use self::written::{SCALARS, is_field_name};
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

impl Type {
    /// The type without `optional`: of a value that is there.
    #[must_use]
    pub fn present(&self) -> Self {
        match self {
            Self::Optional(inner) => inner.present(),
            other => other.clone(),
        }
    }

    /// With an article, for sentences: `an int`.
    #[must_use]
    pub fn phrase(&self) -> String {
        match self {
            Self::Int => "an int".to_owned(),
            Self::String | Self::Double | Self::Bool | Self::Timestamp | Self::Duration => {
                format!("a {self}")
            }
            Self::Bytes => "bytes".to_owned(),
            Self::Any => "anything".to_owned(),
            Self::Null => "null".to_owned(),
            Self::List(item) => format!("a list [{item}]"),
            Self::Object(_) => "an object".to_owned(),
            Self::Optional(inner) => format!("{} that may be absent", inner.phrase()),
        }
    }

    /// Whether values of both types may stand at one place for the same thing: numbers of either kind, lists of such,
    /// objects, and null or nothing beside anything.
    #[must_use]
    pub(crate) fn may_stand_for(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any | Self::Null, _) | (_, Self::Any | Self::Null) => true,
            (Self::Optional(one), other) | (other, Self::Optional(one)) => one.may_stand_for(other),
            (Self::List(one), Self::List(other)) => one.may_stand_for(other),
            (Self::Int | Self::Double, Self::Int | Self::Double)
            | (Self::Object(_), Self::Object(_)) => true,
            (
                Self::String
                | Self::Int
                | Self::Double
                | Self::Bool
                | Self::Bytes
                | Self::Timestamp
                | Self::Duration
                | Self::List(_)
                | Self::Object(_),
                other,
            ) => self == other,
        }
    }

    /// The type of a value that is of the one or of the other type.
    #[must_use]
    pub fn join(&self, other: &Self) -> Self {
        match (self, other) {
            (a, b) if a == b => a.clone(),
            (Self::Null, ty) | (ty, Self::Null) => match ty {
                Self::Optional(_) | Self::Any => ty.clone(),
                ty => Self::Optional(Box::new(ty.clone())),
            },
            (Self::Optional(a), b) | (b, Self::Optional(a)) => match a.join(&b.present()) {
                Self::Any => Self::Any,
                joined => Self::Optional(Box::new(joined)),
            },
            (Self::List(a), Self::List(b)) => Self::List(Box::new(a.join(b))),
            _ => Self::Any,
        }
    }
}

/// A name as a segment of a JSON pointer.
pub(crate) fn pointer_segment(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
