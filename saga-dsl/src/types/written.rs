//! Types as they are written: from the texts, lists and maps of a file, and back.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    ser::{Error as _, SerializeMap as _},
};
use serde_json::Value;

use super::Type;
use crate::near_miss::near_miss;

/// Scalars by their written names.
pub(crate) const SCALARS: [(&str, Type); 8] = [
    ("string", Type::String),
    ("int", Type::Int),
    ("double", Type::Double),
    ("bool", Type::Bool),
    ("bytes", Type::Bytes),
    ("timestamp", Type::Timestamp),
    ("duration", Type::Duration),
    ("any", Type::Any),
];

/// What people write who come from other languages.
const FOREIGN: [(&str, &str); 19] = [
    ("integer", "int"),
    ("long", "int"),
    ("int32", "int"),
    ("int64", "int"),
    ("uint", "int"),
    ("float", "double"),
    ("number", "double"),
    ("decimal", "double"),
    ("boolean", "bool"),
    ("str", "string"),
    ("text", "string"),
    ("date", "timestamp"),
    ("datetime", "timestamp"),
    ("time", "timestamp"),
    ("object", "{field: string}"),
    ("map", "{field: string}"),
    ("struct", "{field: string}"),
    ("list", "[string]"),
    ("array", "[string]"),
];

/// Deepest nesting of a written type.
const DEPTH_MAX: usize = 32;

/// Something that is not a type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TypeFault {
    /// JSON pointer to the place.
    pub place: String,
    /// What is wrong.
    pub message: String,
    /// How to put it right.
    pub help: Option<String>,
}

impl Type {
    /// Reads a written type.
    ///
    /// # Errors
    /// The first fault, with its place.
    pub fn from_value(value: &Value) -> Result<Self, TypeFault> {
        read(value, DEPTH_MAX)
    }
}

fn read(value: &Value, depth: usize) -> Result<Type, TypeFault> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(fault(
            format!("a type nests at most {DEPTH_MAX} deep"),
            None,
        ));
    };
    match value {
        Value::String(text) => read_text(text),
        Value::Array(items) => match items.as_slice() {
            [item] => {
                let item = read(item, depth).map_err(|fault| below(fault, "0"))?;
                Ok(Type::List(Box::new(item)))
            }
            _ => Err(fault(
                format!(
                    "the type of a list names the type of its items, once; here stand {} types",
                    items.len()
                ),
                Some("[string]".to_owned()),
            )),
        },
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| {
                let ty = if is_field_name(name) {
                    read(value, depth)
                } else {
                    let help =
                        "a name begins with a letter or `_`, then come letters, digits and `_`";
                    Err(fault(
                        format!("`{name}` cannot name a field"),
                        Some(help.to_owned()),
                    ))
                };
                Ok((name.clone(), ty.map_err(|fault| below(fault, name))?))
            })
            .collect::<Result<BTreeMap<_, _>, _>>()
            .map(Type::Object),
        Value::Null => Err(fault(
            "a type is missing here".to_owned(),
            Some("any".to_owned()),
        )),
        Value::Bool(_) | Value::Number(_) => Err(fault(format!("`{value}` is not a type"), None)),
    }
}

/// The one rule for names of fields, at the top of an input and below: letters of either case, digits and `_`, and no
/// digit first.
pub(crate) fn is_field_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn read_text(text: &str) -> Result<Type, TypeFault> {
    let mut words = text.split_ascii_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some("optional"), Some(name), None) => Ok(Type::Optional(Box::new(scalar(name)?))),
        (Some("optional"), None, None) => Err(fault(
            "`optional` stands before a type".to_owned(),
            Some("optional string".to_owned()),
        )),
        (Some(name), None, None) => scalar(name),
        _ => Err(fault(
            format!("`{text}` is not a type"),
            Some(known_types()),
        )),
    }
}

fn scalar(name: &str) -> Result<Type, TypeFault> {
    if let Some((_, ty)) = SCALARS.iter().find(|(known, _)| *known == name) {
        return Ok(ty.clone());
    }
    let lower = name.to_ascii_lowercase();
    let help = if let Some(name) = name.strip_suffix('?') {
        format!("`optional {name}`: what may be absent is said by a word")
    } else if let Some((_, meant)) = FOREIGN.iter().find(|(foreign, _)| *foreign == lower) {
        format!("it is called `{meant}` here")
    } else if let Some(meant) = near_miss(
        name,
        SCALARS.iter().map(|(known, _)| *known).chain(["optional"]),
    ) {
        format!("did you mean `{meant}`?")
    } else {
        known_types()
    };
    Err(fault(format!("there is no type `{name}`"), Some(help)))
}

fn known_types() -> String {
    let names: Vec<_> = SCALARS.iter().map(|(name, _)| *name).collect();
    format!(
        "{}, `optional` before one of these, [T] or {{field: T}}",
        names.join(", ")
    )
}

fn fault(message: String, help: Option<String>) -> TypeFault {
    TypeFault {
        place: String::new(),
        message,
        help,
    }
}

fn below(mut fault: TypeFault, segment: &str) -> TypeFault {
    fault
        .place
        .insert_str(0, &format!("/{}", crate::types::pointer_segment(segment)));
    fault
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::List(item) => write!(f, "[{item}]"),
            Self::Optional(inner) => write!(f, "optional {inner}"),
            Self::Object(fields) => {
                f.write_str("{")?;
                for (position, (name, ty)) in fields.iter().enumerate() {
                    let comma = if position == 0 { "" } else { ", " };
                    write!(f, "{comma}{name}: {ty}")?;
                }
                f.write_str("}")
            }
            scalar => {
                let name = SCALARS
                    .iter()
                    .find(|(_, known)| known == scalar)
                    .map_or("any", |(name, _)| name);
                f.write_str(name)
            }
        }
    }
}

impl Serialize for Type {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::List(item) => serializer.collect_seq([item]),
            Self::Object(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (name, ty) in fields {
                    map.serialize_entry(name, ty)?;
                }
                map.end()
            }
            Self::Null => Err(S::Error::custom("a file cannot write the type of null")),
            Self::Optional(inner) if !SCALARS.iter().any(|(_, scalar)| *scalar == **inner) => Err(
                S::Error::custom("a file writes `optional` before scalars only"),
            ),
            written => serializer.collect_str(written),
        }
    }
}

impl<'de> Deserialize<'de> for Type {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_value(&Value::deserialize(deserializer)?).map_err(|fault| {
            let TypeFault {
                place,
                message,
                help,
            } = fault;
            let place = if place.is_empty() {
                String::new()
            } else {
                format!("{place}: ")
            };
            let help = help
                .map(|help| format!(" (help: {help})"))
                .unwrap_or_default();
            serde::de::Error::custom(format!("{place}{message}{help}"))
        })
    }
}
