//! The evaluator's values: they borrow from the documents and the expression wherever they can.

use std::{borrow::Borrow, collections::BTreeMap, rc::Rc};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map as JsonMap, Number, Value};

use super::{Budget, EvalError, time};

/// A value; cheap to clone.
#[derive(Debug, Clone)]
pub(super) enum Val<'a> {
    Null,
    Bool(bool),
    Int(i64),
    /// A whole number of a JSON document: an int, but also a double where it meets one,
    /// because JSON writers drop the `.0`.
    Whole(i64),
    Double(f64),
    Text(Text<'a>),
    Bytes(Rc<[u8]>),
    Timestamp(Timestamp),
    Duration(SignedDuration),
    List(List<'a>),
    Map(Map<'a>),
}

#[derive(Debug, Clone)]
pub(super) enum Text<'a> {
    Borrowed(&'a str),
    Built(Rc<str>),
}

#[derive(Debug, Clone)]
pub(super) enum List<'a> {
    Json(&'a [Value]),
    Built(Rc<[Val<'a>]>),
}

#[derive(Debug, Clone)]
pub(super) enum Map<'a> {
    Json(&'a JsonMap<String, Value>),
    Built(Rc<BTreeMap<Text<'a>, Val<'a>>>),
}

impl Text<'_> {
    pub fn as_str(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Built(text) => text,
        }
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Text<'_> {}

impl PartialOrd for Text<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Borrow<str> for Text<'_> {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl<'a> List<'a> {
    pub fn len(&self) -> usize {
        match self {
            Self::Json(items) => items.len(),
            Self::Built(items) => items.len(),
        }
    }

    pub fn get(&self, index: usize) -> Option<Val<'a>> {
        match self {
            Self::Json(items) => items.get(index).map(Val::from_json),
            Self::Built(items) => items.get(index).cloned(),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = Val<'a>> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}

impl<'a> Map<'a> {
    pub fn len(&self) -> usize {
        match self {
            Self::Json(fields) => fields.len(),
            Self::Built(fields) => fields.len(),
        }
    }

    pub fn get(&self, key: &str) -> Option<Val<'a>> {
        match self {
            Self::Json(fields) => fields.get(key).map(Val::from_json),
            Self::Built(fields) => fields.get(key).cloned(),
        }
    }

    /// Keys in the order of their letters.
    pub fn keys(&self) -> Vec<Text<'a>> {
        match self {
            Self::Json(fields) => {
                let mut keys: Vec<_> = fields.keys().map(|key| Text::Borrowed(key.as_str())).collect();
                // Sorted already, unless a feature of serde_json keeps the order of insertion.
                keys.sort();
                keys
            }
            Self::Built(fields) => fields.keys().cloned().collect(),
        }
    }
}

impl<'a> Val<'a> {
    pub fn from_json(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(number) => match number.as_i64() {
                Some(whole) => Self::Whole(whole),
                None => Self::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) => Self::Text(Text::Borrowed(text)),
            Value::Array(items) => Self::List(List::Json(items)),
            Value::Object(fields) => Self::Map(Map::Json(fields)),
        }
    }

    /// A text of its own, charged for.
    pub fn text(text: impl Into<Rc<str>>, budget: &mut Budget) -> Result<Self, EvalError> {
        let text = text.into();
        budget.build(text.len())?;
        Ok(Self::Text(Text::Built(text)))
    }

    /// What it is, in a sentence.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a bool",
            Self::Int(_) | Self::Whole(_) => "an int",
            Self::Double(_) => "a double",
            Self::Text(_) => "a string",
            Self::Bytes(_) => "bytes",
            Self::Timestamp(_) => "a timestamp",
            Self::Duration(_) => "a duration",
            Self::List(_) => "a list",
            Self::Map(_) => "an object",
        }
    }

    /// The JSON form, charged for.
    pub fn into_json(self, budget: &mut Budget) -> Result<Value, EvalError> {
        /// What a value takes beside its text.
        const OVERHEAD: usize = 8;
        budget.build(OVERHEAD)?;
        Ok(match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(value),
            Self::Int(value) | Self::Whole(value) => Value::from(value),
            Self::Double(value) => Value::Number(
                Number::from_f64(value)
                    .ok_or_else(|| EvalError::Convert(format!("JSON has no number for {value}")))?,
            ),
            Self::Text(text) => {
                budget.build(text.as_str().len())?;
                Value::String(text.as_str().to_owned())
            }
            Self::Bytes(bytes) => {
                budget.build(bytes.len().div_ceil(3) * 4)?;
                Value::String(BASE64.encode(bytes))
            }
            Self::Timestamp(time) => Value::String(time.to_string()),
            Self::Duration(duration) => Value::String(time::duration_text(duration)),
            Self::List(items) => {
                let items = items.iter().map(|item| item.into_json(budget));
                Value::Array(items.collect::<Result<_, _>>()?)
            }
            Self::Map(map) => {
                let mut fields = JsonMap::new();
                for key in map.keys() {
                    let name = key.as_str().to_owned();
                    budget.build(name.len())?;
                    if let Some(value) = map.get(&name) {
                        fields.insert(name, value.into_json(budget)?);
                    }
                }
                Value::Object(fields)
            }
        })
    }
}

/// What bytes look like in JSON: base64 with padding.
pub(crate) fn parse_bytes(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}
