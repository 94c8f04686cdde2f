//! What a text stands for where the definition's own types say so.

use super::{
    Budget, EvalError,
    arithmetic::{exact_double, rounds},
    functions::Function,
    value::{List, Val, parse_bytes},
};
use crate::types::Type;

/// How to read the JSON form of a value that is typed, before an operator or function takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decoding {
    to: Target,
    /// Over the items of lists, so many lists deep.
    lists: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Timestamp,
    Duration,
    Bytes,
    Double,
}

impl Decoding {
    /// How values of this type are read; `None`: as they are.
    pub fn of(ty: &Type) -> Option<Self> {
        let to = match ty {
            Type::Timestamp => Target::Timestamp,
            Type::Duration => Target::Duration,
            Type::Bytes => Target::Bytes,
            Type::Double => Target::Double,
            Type::Optional(inner) => return Self::of(inner),
            Type::List(item) => {
                let item = Self::of(item)?;
                return Some(Self {
                    lists: item.lists.checked_add(1)?,
                    ..item
                });
            }
            Type::String | Type::Int | Type::Bool | Type::Any | Type::Null | Type::Object(_) => {
                return None;
            }
        };
        Some(Self { to, lists: 0 })
    }
}

/// The value that a JSON form stands for; values that are no JSON form stay as they are.
///
/// Only arithmetic reads numbers as doubles, and names its operator with `symbol`: comparisons and functions take a
/// number for what it is, so that none is rounded.
pub(super) fn decoded<'a>(
    decoding: Decoding,
    value: Val<'a>,
    symbol: Option<&str>,
    budget: &mut Budget,
) -> Result<Val<'a>, EvalError> {
    if decoding.to == Target::Double {
        return match (symbol, value) {
            (Some(symbol), Val::Whole(value)) => exact_double(symbol, value).map(Val::Double),
            (Some(symbol), Val::Written(number)) => match number.as_double() {
                Some(double) => Ok(Val::Double(double)),
                None => Err(EvalError::Range(rounds(symbol, number.written()))),
            },
            (_, value) => Ok(value),
        };
    }
    if let (Val::List(items), Some(lists)) = (&value, decoding.lists.checked_sub(1)) {
        budget.build(items.len() * size_of::<Val<'_>>())?;
        let inner = Decoding { lists, ..decoding };
        let items: Result<_, _> = items
            .iter()
            .map(|item| {
                budget.step()?;
                decoded(inner, item, symbol, budget)
            })
            .collect();
        return Ok(Val::List(List::Built(items?)));
    }
    match (decoding.to, value) {
        (Target::Timestamp, value @ Val::Text(_)) => Function::ToTimestamp.of_one(value, budget),
        (Target::Duration, value @ Val::Text(_)) => Function::ToDuration.of_one(value, budget),
        (Target::Bytes, Val::Text(text)) => {
            budget.build(text.as_str().len())?;
            let bytes = parse_bytes(text.as_str());
            bytes.map(|bytes| Val::Bytes(bytes.into())).ok_or_else(|| {
                EvalError::Convert("a value of type bytes is not base64 with padding".to_owned())
            })
        }
        (_, value) => Ok(value),
    }
}
