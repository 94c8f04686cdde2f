//! Values against types, and types against types.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Type;
use crate::{
    expr::{time, value::parse_bytes},
    json::{Fields, Json, Shape, push_text},
    near_miss::near_miss,
    payload::Payload,
};

/// A place where a value does not fit its type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", if .path.is_empty() { String::new() } else { format!("{}: ", .path) })]
pub struct Mismatch {
    /// Where: `items[2].qty`; empty for the whole value.
    pub path: String,
    /// What is wrong, and what was probably meant.
    pub message: String,
}

/// More mismatches than these are not collected.
const MISMATCHES_MAX: usize = 100;

impl Type {
    /// Every place where `value` does not fit, up to a hundred; empty: it fits.
    ///
    /// An optional value may be absent or null, a list too (it is then empty); fields that the type does not
    /// name are mismatches.
    #[must_use]
    pub fn check_value(&self, value: &Value) -> Vec<Mismatch> {
        self.check_json(Payload::from_value(value.clone()).json())
    }

    /// As [`Type::check_value`], of a document as it was written.
    #[must_use]
    pub fn check_json(&self, json: Json<'_>) -> Vec<Mismatch> {
        let mut found = Vec::new();
        check(self, json, &mut String::new(), &mut found);
        found
    }

    /// The text of the document with the absent lists of this type filled in as empty ones, everything else as it was
    /// written; `None` where no list is absent.
    #[must_use]
    pub fn fill_absent_lists(&self, json: Json<'_>) -> Option<String> {
        let mut out = String::with_capacity(json.written().len());
        fill(self, json, &mut out).then_some(out)
    }

    /// The value with the absent lists of this type filled in as empty ones. Hashes of version 1 are of what this gives.
    #[must_use]
    pub fn with_absent_lists(&self, value: Value) -> Value {
        match (self, value) {
            (Self::List(_), Value::Null) => Value::Array(Vec::new()),
            (Self::List(item), Value::Array(items)) => Value::Array(
                items
                    .into_iter()
                    .map(|value| item.with_absent_lists(value))
                    .collect(),
            ),
            (Self::Object(types), Value::Object(mut fields)) => {
                for (name, ty) in types {
                    match fields.remove(name) {
                        Some(value) => {
                            fields.insert(name.clone(), ty.with_absent_lists(value));
                        }
                        None if matches!(ty, Self::List(_)) => {
                            fields.insert(name.clone(), Value::Array(Vec::new()));
                        }
                        None => {}
                    }
                }
                Value::Object(fields)
            }
            (Self::Optional(inner), value) if !value.is_null() => inner.with_absent_lists(value),
            (_, value) => value,
        }
    }

    /// Whether a value of type `other` may stand where this type is asked for, as far as can be told.
    #[must_use]
    pub fn accepts(&self, other: &Self) -> bool {
        self.mismatches(other).is_empty()
    }

    /// Every place where a value of type `other` would not fit, as far as can be told.
    ///
    /// Times and bytes are texts in JSON and fit where a string is asked for. A field that this type does not
    /// name is a mismatch only if it looks like the misspelled name of one that is not given.
    #[must_use]
    pub fn mismatches(&self, other: &Self) -> Vec<Mismatch> {
        let mut found = Vec::new();
        compare(self, other, &mut String::new(), &mut found);
        found
    }
}

fn check(ty: &Type, json: Json<'_>, path: &mut String, found: &mut Vec<Mismatch>) {
    if found.len() >= MISMATCHES_MAX {
        return;
    }
    let fits = match (ty, json.shape()) {
        (Type::Any, _)
        | (Type::Null | Type::Optional(_) | Type::List(_), Shape::Null)
        | (Type::String, Shape::Text(_))
        | (Type::Bool, Shape::Bool(_))
        | (Type::Double, Shape::Number(_)) => true,
        (Type::Optional(inner), _) => return check(inner, json, path, found),
        (Type::Int, Shape::Number(number)) => number.fits_int(),
        (Type::Timestamp, Shape::Text(text)) => time::parse_timestamp(text).is_some(),
        (Type::Duration, Shape::Text(text)) => time::parse_duration(text).is_some(),
        (Type::Bytes, Shape::Text(text)) => parse_bytes(text).is_some(),
        (Type::List(item), Shape::List(items)) => {
            for (index, json) in items.iter().enumerate() {
                within(path, &format!("[{index}]"), |path| {
                    check(item, json, path, found)
                });
            }
            return;
        }
        (Type::Object(types), Shape::Object(fields)) => {
            return check_fields(types, fields, path, found);
        }
        _ => false,
    };
    if !fits {
        let message = format!("expected {}, got {}", expectation(ty), shown(json));
        report(path, message, found);
    }
}

fn check_fields(
    types: &BTreeMap<String, Type>,
    fields: Fields<'_>,
    path: &mut String,
    found: &mut Vec<Mismatch>,
) {
    for (name, ty) in types {
        within(path, &dotted(path, name), |path| match fields.get(name) {
            Some(json) => check(ty, json, path, found),
            None if may_be_left_out(ty) => {}
            None => report(
                path,
                format!("is missing, expected {}", expectation(ty)),
                found,
            ),
        });
    }
    for (name, _) in fields.iter().filter(|(name, _)| !types.contains_key(*name)) {
        let missing = types
            .keys()
            .filter(|known| fields.get(known).is_none())
            .map(String::as_str);
        let help = near_miss(name, missing)
            .map(|meant| format!(", did you mean `{meant}`?"))
            .unwrap_or_default();
        within(path, &dotted(path, name), |path| {
            report(path, format!("no such field{help}"), found)
        });
    }
}

/// Appends the document with its absent lists; whether there was one.
fn fill(ty: &Type, json: Json<'_>, out: &mut String) -> bool {
    let before = out.len();
    let mut filled = false;
    match (ty, json.shape()) {
        (Type::List(_), Shape::Null) => {
            out.push_str("[]");
            return true;
        }
        (Type::List(item), Shape::List(items)) => {
            out.push('[');
            for (index, json) in items.iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                filled |= fill(item, json, out);
            }
            out.push(']');
        }
        (Type::Object(types), Shape::Object(fields)) => {
            out.push('{');
            let absent = types
                .iter()
                .filter(|(name, ty)| matches!(ty, Type::List(_)) && fields.get(name).is_none());
            let mut comma = "";
            for (name, json) in fields.iter() {
                out.push_str(comma);
                comma = ",";
                push_text(out, name);
                out.push(':');
                match types.get(name) {
                    Some(ty) => filled |= fill(ty, json, out),
                    None => out.push_str(json.written()),
                }
            }
            for (name, _) in absent {
                out.push_str(comma);
                comma = ",";
                push_text(out, name);
                out.push_str(":[]");
                filled = true;
            }
            out.push('}');
        }
        (Type::Optional(inner), shape) if !matches!(shape, Shape::Null) => {
            return fill(inner, json, out);
        }
        _ => {}
    }
    if !filled {
        // Nothing was absent in here: as it was written, blanks and the order of fields too.
        out.truncate(before);
        out.push_str(json.written());
    }
    filled
}

fn compare(wanted: &Type, given: &Type, path: &mut String, found: &mut Vec<Mismatch>) {
    let fits = match (wanted, given) {
        (Type::Any, _)
        | (_, Type::Any)
        | (Type::Double, Type::Int)
        | (Type::String, Type::Timestamp | Type::Duration | Type::Bytes)
        | (Type::Optional(_) | Type::List(_), Type::Null) => true,
        (Type::Optional(inner), _) => return compare(inner, &given.present(), path, found),
        (Type::List(_), Type::Optional(inner)) => return compare(wanted, inner, path, found),
        (Type::List(wanted), Type::List(given)) => {
            return within(path, "[]", |path| compare(wanted, given, path, found));
        }
        (Type::Object(wanted), Type::Object(given)) => {
            return compare_fields(wanted, given, path, found);
        }
        _ => wanted == given,
    };
    if !fits {
        report(
            path,
            format!("expected {}, got {}", wanted.phrase(), given.phrase()),
            found,
        );
    }
}

fn compare_fields(
    wanted: &BTreeMap<String, Type>,
    given: &BTreeMap<String, Type>,
    path: &mut String,
    found: &mut Vec<Mismatch>,
) {
    for (name, ty) in wanted {
        within(path, &dotted(path, name), |path| match given.get(name) {
            Some(given) => compare(ty, given, path, found),
            None if may_be_left_out(ty) => {}
            None => report(
                path,
                format!("is missing, expected {}", expectation(ty)),
                found,
            ),
        });
    }
    for name in given.keys().filter(|name| !wanted.contains_key(*name)) {
        let missing = wanted
            .keys()
            .filter(|known| !given.contains_key(*known))
            .map(String::as_str);
        if let Some(meant) = near_miss(name, missing) {
            let message = format!("no such field, did you mean `{meant}`?");
            within(path, &dotted(path, name), |path| {
                report(path, message, found)
            });
        }
    }
}

fn may_be_left_out(ty: &Type) -> bool {
    matches!(ty, Type::Optional(_) | Type::List(_))
}

fn within(path: &mut String, segment: &str, run: impl FnOnce(&mut String)) {
    let length = path.len();
    path.push_str(segment);
    run(path);
    path.truncate(length);
}

fn dotted(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!(".{name}")
    }
}

fn report(path: &str, message: String, found: &mut Vec<Mismatch>) {
    if found.len() < MISMATCHES_MAX {
        found.push(Mismatch {
            path: path.to_owned(),
            message,
        });
    }
}

fn expectation(ty: &Type) -> String {
    match ty {
        Type::Int => "an int of 64 bits".to_owned(),
        Type::Timestamp => "a timestamp such as 2026-01-31T09:00:00Z".to_owned(),
        Type::Duration => "a duration such as 1h30m".to_owned(),
        Type::Bytes => "bytes as base64".to_owned(),
        Type::Optional(inner) => expectation(inner),
        other => other.phrase(),
    }
}

fn shown(json: Json<'_>) -> String {
    const SHOWN: usize = 40;
    match json.shape() {
        Shape::Null => "null".to_owned(),
        Shape::Bool(value) => value.to_string(),
        Shape::Number(number) if number.written().len() > SHOWN => "a longer number".to_owned(),
        Shape::Number(number) => number.written().to_owned(),
        Shape::Text(text) if text.chars().count() > SHOWN => "a longer text".to_owned(),
        Shape::Text(text) => format!("'{}'", text.escape_debug()),
        Shape::List(_) => "a list".to_owned(),
        Shape::Object(_) => "an object".to_owned(),
    }
}
