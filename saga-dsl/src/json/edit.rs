//! One field of a document set, everything else as it was written.

use super::{Fields, Json, Shape, push_text};

/// A path leads through a value that has no fields.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` is {what}, it has no fields")]
pub struct NoFields {
    /// The path as far as that value.
    pub path: String,
    /// What it is.
    pub what: &'static str,
}

/// The document with `value`, a JSON text, at a path of field names; objects that are absent on the way are made.
/// The objects on the way have their fields in the order of their names.
///
/// # Errors
/// [`NoFields`].
pub fn with_field(document: Json<'_>, path: &[String], value: &str) -> Result<String, NoFields> {
    let mut out = String::with_capacity(document.written().len() + value.len());
    set(Some(document), path, 0, value, &mut out)?;
    Ok(out)
}

fn set(
    json: Option<Json<'_>>,
    path: &[String],
    depth: usize,
    value: &str,
    out: &mut String,
) -> Result<(), NoFields> {
    let Some(name) = path.get(depth) else {
        out.push_str(value);
        return Ok(());
    };
    let what = match json.map(Json::shape) {
        None => return object(None, name, path, depth, value, out),
        Some(Shape::Object(_)) => return object(json, name, path, depth, value, out),
        Some(Shape::Null) => "null",
        Some(Shape::Bool(_)) => "a boolean",
        Some(Shape::Number(_)) => "a number",
        Some(Shape::Text(_)) => "a text",
        Some(Shape::List(_)) => "a list",
    };
    Err(NoFields {
        path: path[..depth].join("."),
        what,
    })
}

fn object(
    json: Option<Json<'_>>,
    name: &str,
    path: &[String],
    depth: usize,
    value: &str,
    out: &mut String,
) -> Result<(), NoFields> {
    let fields = match json.map(Json::shape) {
        Some(Shape::Object(fields)) => Some(fields),
        Some(Shape::Null | Shape::Bool(_) | Shape::Number(_) | Shape::Text(_) | Shape::List(_))
        | None => None,
    };
    let (mut comma, mut is_set) = ("{", false);
    let mut begin = |out: &mut String, name: &str| {
        out.push_str(comma);
        comma = ",";
        push_text(out, name);
        out.push(':');
    };
    for (known, field) in fields.into_iter().flat_map(Fields::iter) {
        if !is_set && known >= name {
            begin(out, name);
            set(
                (known == name).then_some(field),
                path,
                depth + 1,
                value,
                out,
            )?;
            is_set = true;
        }
        if known != name {
            begin(out, known);
            out.push_str(field.written());
        }
    }
    if !is_set {
        begin(out, name);
        set(None, path, depth + 1, value, out)?;
    }
    out.push('}');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Payload;

    fn edited(document: &str, path: &str, value: &str) -> Result<String, String> {
        let payload = Payload::from_bytes(document.as_bytes()).expect("JSON");
        let path: Vec<String> = path.split('.').map(str::to_owned).collect();
        with_field(payload.json(), &path, value).map_err(|fault| fault.to_string())
    }

    #[test]
    fn other_fields_stay_as_they_were_written() {
        let document = r#"{"zip":"1011","n":1.10,"o":{"b": 1e2, "a":"\u0041"}}"#;
        let expected = r#"{"n":1.10,"o":{"b": 1e2, "a":"\u0041"},"zip":"10115"}"#;
        assert_eq!(
            edited(document, "zip", r#""10115""#).as_deref(),
            Ok(expected)
        );
        assert_eq!(
            edited(document, "o.b", "18446744073709551615").as_deref(),
            Ok(r#"{"n":1.10,"o":{"a":"\u0041","b":18446744073709551615},"zip":"1011"}"#)
        );
    }

    #[test]
    fn absent_objects_are_made_and_values_have_no_fields() {
        assert_eq!(
            edited("{}", "a.b.c", "1").as_deref(),
            Ok(r#"{"a":{"b":{"c":1}}}"#)
        );
        assert_eq!(
            edited(r#"{"a":{}}"#, "a.b", "1").as_deref(),
            Ok(r#"{"a":{"b":1}}"#)
        );
        assert_eq!(
            edited(r#"{"x":1}"#, "a", "2").as_deref(),
            Ok(r#"{"a":2,"x":1}"#)
        );
        assert_eq!(
            edited(r#"{"a":1}"#, "a.b", "2"),
            Err("`a` is a number, it has no fields".to_owned())
        );
        assert_eq!(
            edited(r#"{"a":{"b":[]}}"#, "a.b.c", "2"),
            Err("`a.b` is a list, it has no fields".to_owned())
        );
    }
}
