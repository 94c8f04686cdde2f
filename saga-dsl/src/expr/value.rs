//! The evaluator's values: they borrow from the documents and the expression wherever they can.

use std::{borrow::Borrow, collections::BTreeMap, rc::Rc};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use jiff::{SignedDuration, Timestamp};
use serde_json::Number as Finite;

use super::{Budget, EvalError, time};
use crate::json::{Fields, Items, Json, Number, Shape, push_text};

/// A value; cheap to clone.
#[derive(Debug, Clone)]
pub(super) enum Val<'a> {
    Null,
    Bool(bool),
    Int(i64),
    /// A whole number of a JSON document: an int, but also a double where it meets one,
    /// because JSON writers drop the `.0`.
    Whole(i64),
    /// Any other number of a JSON document: a decimal, or a whole number that an int does not hold. It keeps its text.
    Written(Number<'a>),
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
    /// Of a document, and how it stands there.
    Written(&'a str, Json<'a>),
    Built(Rc<str>),
}

#[derive(Debug, Clone)]
pub(super) enum List<'a> {
    Json(Json<'a>),
    Built(Rc<[Val<'a>]>),
}

#[derive(Debug, Clone)]
pub(super) enum Map<'a> {
    Json(Json<'a>),
    Built(Rc<BTreeMap<Text<'a>, Val<'a>>>),
}

impl Text<'_> {
    pub fn as_str(&self) -> &str {
        match self {
            Self::Borrowed(text) | Self::Written(text, _) => text,
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
            Self::Json(json) => items(*json).map_or(0, Items::len),
            Self::Built(items) => items.len(),
        }
    }

    pub fn get(&self, index: usize) -> Option<Val<'a>> {
        match self {
            Self::Json(json) => items(*json)?.get(index).map(Val::from_json),
            Self::Built(items) => items.get(index).cloned(),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = Val<'a>> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}

fn items(json: Json<'_>) -> Option<Items<'_>> {
    match json.shape() {
        Shape::List(items) => Some(items),
        Shape::Null | Shape::Bool(_) | Shape::Number(_) | Shape::Text(_) | Shape::Object(_) => None,
    }
}

fn fields(json: Json<'_>) -> Option<Fields<'_>> {
    match json.shape() {
        Shape::Object(fields) => Some(fields),
        Shape::Null | Shape::Bool(_) | Shape::Number(_) | Shape::Text(_) | Shape::List(_) => None,
    }
}

impl<'a> Map<'a> {
    pub fn len(&self) -> usize {
        match self {
            Self::Json(json) => fields(*json).map_or(0, Fields::len),
            Self::Built(fields) => fields.len(),
        }
    }

    pub fn get(&self, key: &str) -> Option<Val<'a>> {
        match self {
            Self::Json(json) => fields(*json)?.get(key).map(Val::from_json),
            Self::Built(fields) => fields.get(key).cloned(),
        }
    }

    /// Keys in the order of their letters.
    pub fn keys(&self) -> Vec<Text<'a>> {
        match self {
            Self::Json(json) => fields(*json)
                .into_iter()
                .flat_map(Fields::iter)
                .map(|(key, _)| Text::Borrowed(key))
                .collect(),
            Self::Built(fields) => fields.keys().cloned().collect(),
        }
    }
}

impl<'a> Val<'a> {
    pub fn from_json(json: Json<'a>) -> Self {
        match json.shape() {
            Shape::Null => Self::Null,
            Shape::Bool(value) => Self::Bool(value),
            Shape::Number(number) => number.as_i64().map_or(Self::Written(number), Self::Whole),
            Shape::Text(text) => Self::Text(Text::Written(text, json)),
            Shape::List(_) => Self::List(List::Json(json)),
            Shape::Object(_) => Self::Map(Map::Json(json)),
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
            Self::Written(number) if number.is_whole() => "an int",
            Self::Double(_) | Self::Written(_) => "a double",
            Self::Text(_) => "a string",
            Self::Bytes(_) => "bytes",
            Self::Timestamp(_) => "a timestamp",
            Self::Duration(_) => "a duration",
            Self::List(_) => "a list",
            Self::Map(_) => "an object",
        }
    }

    /// Appends the JSON form, charged for. What comes of a document is written as it stands there.
    pub fn write(self, out: &mut String, budget: &mut Budget) -> Result<(), EvalError> {
        /// What a value takes beside its text.
        const OVERHEAD: usize = 8;
        budget.build(OVERHEAD)?;
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => out.push_str(if value { "true" } else { "false" }),
            Self::Int(value) | Self::Whole(value) => out.push_str(&value.to_string()),
            Self::Written(number) => written(number.written(), out, budget)?,
            Self::Double(value) => {
                let finite = Finite::from_f64(value);
                let finite = finite
                    .ok_or_else(|| EvalError::Convert(format!("JSON has no number for {value}")))?;
                out.push_str(&finite.to_string());
            }
            Self::Text(Text::Written(_, json)) => written(json.written(), out, budget)?,
            Self::Text(text) => {
                budget.build(text.as_str().len())?;
                push_text(out, text.as_str());
            }
            Self::Bytes(bytes) => {
                budget.build(bytes.len().div_ceil(3) * 4)?;
                push_text(out, &BASE64.encode(bytes));
            }
            Self::Timestamp(time) => push_text(out, &time.to_string()),
            Self::Duration(duration) => push_text(out, &time::duration_text(duration)),
            Self::List(List::Json(json)) | Self::Map(Map::Json(json)) => {
                written(json.written(), out, budget)?;
            }
            Self::List(List::Built(items)) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    item.clone().write(out, budget)?;
                }
                out.push(']');
            }
            Self::Map(Map::Built(fields)) => {
                out.push('{');
                for (index, (name, value)) in fields.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    budget.build(name.as_str().len())?;
                    push_text(out, name.as_str());
                    out.push(':');
                    value.clone().write(out, budget)?;
                }
                out.push('}');
            }
        }
        Ok(())
    }
}

fn written(text: &str, out: &mut String, budget: &mut Budget) -> Result<(), EvalError> {
    budget.build(text.len())?;
    out.push_str(text);
    Ok(())
}

/// How bytes read inside a text.
pub(super) fn bytes_text(bytes: &[u8], budget: &mut Budget) -> Result<String, EvalError> {
    budget.build(bytes.len().div_ceil(3) * 4)?;
    Ok(BASE64.encode(bytes))
}

/// What bytes look like in JSON: base64 with padding.
pub(crate) fn parse_bytes(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}
